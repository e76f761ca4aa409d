//! What the rest of a node asks of a group's state.
//!
//! Owns the typed form of what is stored: names and digests come out
//! validated. Every function is a handful of point reads or one bounded scan
//! of the view it is given. A view may move on between two reads; a function
//! that needs two of them treats what vanished in between as absent.

mod accounts;
mod backfills;
mod blobs;
mod changes;
mod checking;
mod collection;
mod destination;
mod following;
mod held;
mod history;
mod identity;
mod images;
mod kept;
mod members;
mod pulls;
mod registry;
mod rules;
mod settings;
mod settled;
mod source;
mod tasks;
mod trust;
mod undelete;
mod uses;

pub(crate) use accounts::access_key_of;
pub use accounts::{
    AccessKey, Account, access_key, access_keys, account, accounts, first_account, generation,
};
pub use backfills::{
    Backfill, BackfillItem, Cursor, Place, WalkPage, WantedBackfill, backfill, backfill_items,
    backfill_page, backfill_rules, backfills, backfills_of_all, running_backfills,
    wanted_backfills,
};
pub(crate) use backfills::{backfill_of, item_of, rule_for, wanted_of};
pub use blobs::{Blob, blob, blobs, link_any, linked, links};
pub use changes::{Change, EntryChanges, RepositoryChanges, changes};
pub use checking::{
    LinkEntry, PlaceOf, Waiting, all_links, all_manifests, count_to_delete, homes_of,
    is_unlinked_candidate, is_unused_candidate, link, parents_of, unlinked_blobs_after, users_of,
    waiting,
};
pub use collection::{
    CollectedEntry, Collection, ToDelete, all_to_delete, collected, collection, collections,
    is_idle_link, nodes_to_delete, to_delete, unlinked_blobs, unused_links,
};
pub use destination::{Destination, DestinationError};
pub(crate) use following::settings_task_of;
pub use following::{SettingsTask, settings_tasks};
pub use held::{Allowance, Held, allowance, held, registries_held, repository_held};
pub use history::{GoneTag, TagMove, gone_tag_count, gone_tags, tag_moves};
pub(crate) use history::{gone_tag_of, gone_tag_of_order, tag_move_of};
pub(crate) use identity::policy_user_of;
pub use identity::{
    AWS_POLICIES, Entity, Managed, Permissions, Policy, PolicyUser, PolicyVersion, Role, entities,
    entity, group_members, permissions, policies, policy, policy_arn, policy_by_arn, policy_users,
    policy_version, policy_versions,
};
pub use images::{
    ImageSize, ManifestEntry, ServedManifest, StoredManifest, TagEntry, image_size, is_archived,
    manifest, manifest_entry, manifests, referrers, served_manifest, tag, tags, tags_of,
};
pub(crate) use images::{manifest_of, tag_of};
pub use kept::{Kept, kept, registries_kept, repository_kept};
pub use members::{
    Member, Region, all_members, is_formed, level, member, members, public_region, region, regions,
};
pub(crate) use members::{cluster, member_of};
pub use pulls::{pulled_at_ms, pulls_since_ms};
pub use registry::{
    Count, Encryption, Quotas, RegistrySettings, Repository, RepositoryQuotas, RepositorySettings,
    image_count, registry_settings, repositories, repository, repository_count, tag_count,
};
pub(crate) use rules::rule_of;
pub use rules::{Rule, by_destination, destinations, rule, rules, rules_of_all};
pub use settings::{
    Mutability, RegistryItem, RepositoryText, TextOf, matches_wildcard, registry_item,
    registry_items, registry_items_of_all, repository_tags, repository_text, template_for,
    texts_of_all,
};
pub(crate) use settled::dead_replica;
pub use settled::{DeadReplica, dead_replicas, settled, settled_up_to};
pub use source::{OriginError, Source, TagOrigin, was_deleted};
pub use tasks::{
    Task, TaskKey, TaskKeyError, denied_tasks, denied_tasks_of, open_tasks, task, tasks, tasks_of,
};
pub use trust::{
    AuthorityEntry, CertificateEntry, JoinTokenEntry, Standing, authority, certificates,
    is_recorded, is_revoked, join_token, standing,
};
pub(crate) use trust::{join_token_of, serial_of};
pub(crate) use undelete::deleted_of;
pub use undelete::{DeletedImage, DueImage, deleted_image, deleted_images, due_images};
pub(crate) use uses::referring_to;
pub use uses::{images_naming, indexes_naming, is_brought_by, is_replica};

pub use crate::records::backfills::{BackfillCount, BackfillPhase, ItemState};
pub use crate::records::collection::Why;
pub use crate::records::identity::{AccessKeyState, AccountState, EntityKind};
pub use crate::records::members::MemberState;
pub use crate::records::rules::{NearRegions, Objective, PrefixMapping, RuleOptions, TimeWindow};
pub use crate::records::settings::{CreatedFor, ItemKind, MutabilityMode, TextKind};
pub use crate::records::undelete::Cause;
pub use crate::records::{TaskKind, TaskState};

use std::str::FromStr;

use crate::keys::Key;
use crate::store::StorageError;

/// A stored name as the type that it was checked with when it came in.
pub(crate) fn parsed<T: FromStr>(key: &[u8], what: &str, text: &str) -> Result<T, StorageError> {
    text.parse()
        .map_err(|_| StorageError::corrupt(key, format_args!("{what} {text:?}")))
}

/// Where a scan goes on after the name that the page before ended with. Any
/// text will do, valid or not: clients choose it.
fn after_name(prefix: &Key, after: Option<&str>) -> Option<Key> {
    after.map(|after| prefix.clone().name(after).successor())
}
