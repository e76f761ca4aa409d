//! Every key of a group's state, and nothing else that knows their layout.
//!
//! A key is a namespace byte and then its parts: an account or a registry as the
//! 12 bytes of its id, a digest as an algorithm byte and its raw bytes, a number as 8 bytes big
//! endian, any other name as its bytes and 0x00, which no name contains. So
//! keys sort as their parts do, no key can be read in two ways and a prefix
//! ends at the end of a part.
//!
//! Namespace 0x00 belongs to the store (applied log id, membership).

mod backfills;
mod collection;
mod following;
mod held;
mod history;
mod identity;
mod parts;
mod pulls;
mod undelete;

pub(crate) use backfills::{
    backfill, backfill_item, backfill_items, backfills_of, running_backfill, wanted_backfill,
    wanted_backfills,
};
pub(crate) use collection::{
    collected, collected_at, collection, to_delete, to_delete_of, unlinked, unused, unused_at,
};
pub(crate) use following::{settings_of, settings_origin, settings_outbox, settings_task};
pub(crate) use held::{held, held_of, repository_held};
pub(crate) use history::{
    gone_tag, gone_tag_count, gone_tag_order, gone_tags_of, gone_tags_then, tag_history, tag_move,
    tag_moves,
};
pub(crate) use identity::{
    PolicyUse, access_key, access_key_of, access_keys_of, entities, entity, first_account,
    group_member, group_members, identities, policies, policy, policy_use, policy_uses,
    policy_version, policy_versions,
};
pub(crate) use parts::Parts;
pub(crate) use pulls::{pull, pulls_since};
pub(crate) use undelete::{
    deleted, deleted_until, deleted_until_then, kept, kept_of, kept_order, repository_kept,
};

use entrepot_oci::{AccountId, Algorithm, Digest, RegionName, RegistryId, RepositoryName, Tag};

use crate::limits::{HASH_BYTES, SERIAL_BYTES};
use crate::query::{Source, TaskKey};
use crate::records::settings::{ItemKind, TextKind};

/// The lowest first byte of a state machine's key; what sorts before it is the
/// store's own.
pub const FIRST: u8 = 0x01;

/// The namespaces. A byte that is retired is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Namespace {
    /// id -> `EnvelopeRecord`
    Envelope = FIRST,
    /// slot -> `SlotRecord`
    EnvelopeSlot = 0x02,
    /// -> `ClusterRecord`
    Cluster = 0x08,
    /// node -> `MemberRecord`
    Member = 0x09,
    /// region -> `RegionRecord`
    Region = 0x0a,
    /// -> `AuthorityRecord`
    Authority = 0x0b,
    /// hash -> `JoinTokenRecord`
    JoinToken = 0x0c,
    /// node, serial number -> `CertificateRecord`
    Certificate = 0x0d,
    /// serial number -> `RevokedRecord`
    Revoked = 0x0e,
    /// node -> `RevokedRecord`
    RevokedNode = 0x0f,
    /// account -> `AccountRecord`
    Account = 0x10,
    /// account -> `SettingsRecord`
    Settings = 0x11,
    /// account, rule -> `RuleRecord`
    Rule = 0x12,
    /// -> `FirstAccountRecord`
    FirstAccount = 0x13,
    /// id -> `AccessKeyRecord`
    AccessKey = 0x14,
    /// account, owner, id -> nothing: the keys that somebody has
    AccessKeyOf = 0x15,
    /// account -> `IdentitiesRecord`
    Identities = 0x16,
    /// account, kind, name -> `EntityRecord`: users, groups and roles
    Entity = 0x17,
    /// account, name -> `PolicyRecord`
    Policy = 0x18,
    /// account, name, version -> `PolicyVersionRecord`
    PolicyVersion = 0x19,
    /// account, group, user -> nothing
    GroupMember = 0x1a,
    /// account, ARN, how, kind, name -> nothing: who has a managed policy
    PolicyUse = 0x1b,
    /// account, repository -> `RepositoryRecord`
    Repository = 0x20,
    /// account, repository -> `ResourceTagsRecord`
    ResourceTags = 0x21,
    /// account, repository, kind -> `TextRecord`
    RepositoryText = 0x22,
    /// account, kind, name -> `ItemRecord`: what a registry has under names
    RegistryItem = 0x23,
    /// account -> `CountRecord`: of its repositories
    RepositoryCount = 0x28,
    /// account, repository -> `CountRecord`: of its manifests
    ImageCount = 0x29,
    /// account, repository, digest -> `CountRecord`: of a manifest's tags, once they
    /// are many
    TagCount = 0x2a,
    /// account -> `HeldRecord`: bytes and images of a registry
    Held = 0x2b,
    /// account, repository -> `RepositoryHeldRecord`
    RepositoryHeld = 0x2c,
    /// digest -> `BlobRecord`
    Blob = 0x30,
    /// account, repository, digest -> `LinkRecord`
    Link = 0x31,
    /// digest, account, repository -> nothing: a blob's links
    LinkOf = 0x32,
    /// account, repository, blob, manifest -> nothing: who names a blob
    BlobUse = 0x33,
    /// -> `CollectionRecord`
    Collection = 0x38,
    /// time in ms, account, repository, digest -> nothing: links that may be unused
    Unused = 0x39,
    /// digest -> `UnlinkedRecord`: blobs that may have no link
    Unlinked = 0x3a,
    /// digest -> `CollectedRecord`
    Collected = 0x3b,
    /// log index, digest -> nothing: the same, oldest first
    CollectedAt = 0x3c,
    /// node, digest -> `ToDeleteRecord`
    ToDelete = 0x3d,
    /// account, repository, digest -> `ManifestRecord`
    Manifest = 0x40,
    /// account, repository, digest -> the manifest's own bytes
    Content = 0x41,
    /// account, repository, child, parent -> nothing: which index names a manifest
    ChildUse = 0x42,
    /// account, repository, subject, manifest -> nothing
    Referrer = 0x43,
    /// account, repository, digest -> `PullRecord`
    Pull = 0x44,
    /// -> `PullsSinceRecord`
    PullsSince = 0x45,
    /// account, repository, digest -> `DeletedRecord`: what can be restored
    Deleted = 0x46,
    /// time in ms, account, repository, digest -> nothing: when that goes for good
    DeletedUntil = 0x47,
    /// account -> `KeptRecord`: how much there is of these
    Kept = 0x48,
    /// account, repository -> `KeptRecord`
    RepositoryKept = 0x49,
    /// account, repository, log index, digest -> nothing: the same, those deleted first
    /// first
    KeptOrder = 0x4a,
    /// account, repository, tag -> `TagRecord`
    Tag = 0x50,
    /// account, repository, digest, tag -> nothing: a manifest's tags
    TagOf = 0x51,
    /// account, repository, tag, source -> `TagOriginRecord`
    TagOrigin = 0x52,
    /// account, repository, digest, source or an empty name -> `ReplicaRecord`
    Replica = 0x53,
    /// account, source region, source account -> `SettledRecord`
    Settled = 0x54,
    /// account, repository, tag, number -> `TagMoveRecord`
    TagMove = 0x55,
    /// account, repository, tag -> `TagHistoryRecord`
    TagHistory = 0x56,
    /// time in ms, account, repository, tag -> nothing: when a tag went of which is told
    GoneTag = 0x57,
    /// account, repository -> `GoneTagsRecord`: how many these are
    GoneTagCount = 0x58,
    /// account, repository, time in ms, tag -> nothing: the same, those that went first
    /// first
    GoneTagOrder = 0x59,
    /// account, repository, digest, tag, destination -> `TaskRecord`
    Task = 0x60,
    /// sequence and a task's key -> nothing: the open tasks, oldest first
    Outbox = 0x61,
    /// a task's key -> nothing: what failed because its destination denied it
    Denied = 0x62,
    /// account, sequence -> `BackfillRecord`
    Backfill = 0x68,
    /// account, sequence -> nothing: those that are not over
    RunningBackfill = 0x69,
    /// account, sequence, state, repository, digest, tag -> `BackfillItemRecord`
    BackfillItem = 0x6a,
    /// account, destination, rule -> `WantedBackfillRecord`
    WantedBackfill = 0x6b,
    /// account, repository, destination -> `SettingsTaskRecord`
    SettingsTask = 0x70,
    /// sequence, account, repository, destination -> nothing: the same, oldest first
    SettingsOutbox = 0x71,
    /// account, repository, source region, source repository -> `SettingsOriginRecord`
    SettingsOrigin = 0x72,
}

/// Every namespace, in order.
const NAMESPACES: [Namespace; 72] = [
    Namespace::Envelope,
    Namespace::EnvelopeSlot,
    Namespace::Cluster,
    Namespace::Member,
    Namespace::Region,
    Namespace::Authority,
    Namespace::JoinToken,
    Namespace::Certificate,
    Namespace::Revoked,
    Namespace::RevokedNode,
    Namespace::Account,
    Namespace::Settings,
    Namespace::Rule,
    Namespace::FirstAccount,
    Namespace::AccessKey,
    Namespace::AccessKeyOf,
    Namespace::Identities,
    Namespace::Entity,
    Namespace::Policy,
    Namespace::PolicyVersion,
    Namespace::GroupMember,
    Namespace::PolicyUse,
    Namespace::Repository,
    Namespace::ResourceTags,
    Namespace::RepositoryText,
    Namespace::RegistryItem,
    Namespace::RepositoryCount,
    Namespace::ImageCount,
    Namespace::TagCount,
    Namespace::Held,
    Namespace::RepositoryHeld,
    Namespace::Blob,
    Namespace::Link,
    Namespace::LinkOf,
    Namespace::BlobUse,
    Namespace::Collection,
    Namespace::Unused,
    Namespace::Unlinked,
    Namespace::Collected,
    Namespace::CollectedAt,
    Namespace::ToDelete,
    Namespace::Manifest,
    Namespace::Content,
    Namespace::ChildUse,
    Namespace::Referrer,
    Namespace::Pull,
    Namespace::PullsSince,
    Namespace::Deleted,
    Namespace::DeletedUntil,
    Namespace::Kept,
    Namespace::RepositoryKept,
    Namespace::KeptOrder,
    Namespace::Tag,
    Namespace::TagOf,
    Namespace::TagOrigin,
    Namespace::Replica,
    Namespace::Settled,
    Namespace::TagMove,
    Namespace::TagHistory,
    Namespace::GoneTag,
    Namespace::GoneTagCount,
    Namespace::GoneTagOrder,
    Namespace::Task,
    Namespace::Outbox,
    Namespace::Denied,
    Namespace::Backfill,
    Namespace::RunningBackfill,
    Namespace::BackfillItem,
    Namespace::WantedBackfill,
    Namespace::SettingsTask,
    Namespace::SettingsOutbox,
    Namespace::SettingsOrigin,
];

/// Puts a key together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key(Vec<u8>);

// === impl Namespace ===

impl Namespace {
    /// The namespace of keys that begin with this byte.
    pub(crate) fn of(byte: u8) -> Option<Self> {
        NAMESPACES
            .into_iter()
            .find(|namespace| *namespace as u8 == byte)
    }
}

// === impl Key ===

impl Key {
    pub(crate) fn new(namespace: Namespace) -> Self {
        let mut bytes = Vec::with_capacity(96);
        bytes.push(namespace as u8);
        Self(bytes)
    }

    /// A key that a scan gave back.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// An account is its digits, as its private registry is.
    #[must_use]
    pub(crate) fn account(self, account: &RegistryId) -> Self {
        self.raw(account.as_str().as_bytes())
    }

    /// `name` must not contain 0x00, which holds for every validated name.
    #[must_use]
    pub(crate) fn name(self, name: &str) -> Self {
        self.raw(name.as_bytes()).raw(&[0])
    }

    #[must_use]
    pub(crate) fn digest(self, digest: &Digest) -> Self {
        self.raw(&[algorithm_byte(digest.algorithm())])
            .raw(digest.bytes())
    }

    #[must_use]
    pub(crate) fn number(self, number: u64) -> Self {
        self.raw(&number.to_be_bytes())
    }

    /// Registry and repository, with which most keys begin.
    #[must_use]
    pub(crate) fn home(self, account: &RegistryId, repository: &RepositoryName) -> Self {
        self.account(account).name(repository.as_str())
    }

    /// As it stands beside a repository: account and name only where they differ.
    #[must_use]
    pub(crate) fn source(
        self,
        account: &RegistryId,
        repository: &RepositoryName,
        source: &Source,
    ) -> Self {
        let key = self.name(source.region.as_str());
        if source.is_namesake(account, repository) {
            key
        } else {
            key.home(&source.account, &source.repository)
        }
    }

    #[must_use]
    pub(crate) fn task(self, key: &TaskKey) -> Self {
        self.home(&key.account, &key.repository)
            .digest(&key.digest)
            .name(key.tag.as_ref().map_or("", Tag::as_str))
            .name(&key.destination.name(&key.account))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The least key after this one: the start of a scan that leaves it out.
    #[must_use]
    pub(crate) fn successor(self) -> Self {
        self.raw(&[0])
    }

    /// The least key that does not begin with this one: the end of a scan.
    pub(crate) fn prefix_end(&self) -> Vec<u8> {
        let mut end = self.0.clone();
        while end.pop_if(|last| *last == u8::MAX).is_some() {}
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        end
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

// === keys with one shape each ===

pub(crate) fn envelope(id: &[u8]) -> Key {
    Key::new(Namespace::Envelope).raw(id)
}

pub(crate) fn envelope_slot(slot: u64) -> Key {
    Key::new(Namespace::EnvelopeSlot).number(slot)
}

pub(crate) fn cluster() -> Key {
    Key::new(Namespace::Cluster)
}

pub(crate) fn member(node: u64) -> Key {
    Key::new(Namespace::Member).number(node)
}

pub(crate) fn region(name: &RegionName) -> Key {
    Key::new(Namespace::Region).name(name.as_str())
}

pub(crate) fn authority() -> Key {
    Key::new(Namespace::Authority)
}

pub(crate) fn join_token(hash: &[u8; HASH_BYTES]) -> Key {
    Key::new(Namespace::JoinToken).raw(hash)
}

pub(crate) fn certificate(node: u64, serial: &[u8; SERIAL_BYTES]) -> Key {
    Key::new(Namespace::Certificate).number(node).raw(serial)
}

pub(crate) fn revoked(serial: &[u8; SERIAL_BYTES]) -> Key {
    Key::new(Namespace::Revoked).raw(serial)
}

pub(crate) fn revoked_node(node: u64) -> Key {
    Key::new(Namespace::RevokedNode).number(node)
}

pub(crate) fn account(account: &AccountId) -> Key {
    Key::new(Namespace::Account).account(account)
}

pub(crate) fn settings(account: &RegistryId) -> Key {
    Key::new(Namespace::Settings).account(account)
}

pub(crate) fn rule(account: &RegistryId, id: &str) -> Key {
    Key::new(Namespace::Rule).account(account).name(id)
}

pub(crate) fn repository(account: &RegistryId, repository: &RepositoryName) -> Key {
    Key::new(Namespace::Repository).home(account, repository)
}

pub(crate) fn repository_count(account: &RegistryId) -> Key {
    Key::new(Namespace::RepositoryCount).account(account)
}

pub(crate) fn image_count(account: &RegistryId, repository: &RepositoryName) -> Key {
    Key::new(Namespace::ImageCount).home(account, repository)
}

pub(crate) fn tag_count(account: &RegistryId, repository: &RepositoryName, digest: &Digest) -> Key {
    of_digest(Namespace::TagCount, account, repository, digest)
}

pub(crate) fn resource_tags(account: &RegistryId, repository: &RepositoryName) -> Key {
    Key::new(Namespace::ResourceTags).home(account, repository)
}

pub(crate) fn repository_text(
    account: &RegistryId,
    repository: &RepositoryName,
    kind: TextKind,
) -> Key {
    Key::new(Namespace::RepositoryText)
        .home(account, repository)
        .raw(&[kind.byte()])
}

/// The prefix of what a registry has of a kind.
pub(crate) fn registry_items(account: &RegistryId, kind: ItemKind) -> Key {
    Key::new(Namespace::RegistryItem)
        .account(account)
        .raw(&[kind.byte()])
}

pub(crate) fn registry_item(account: &RegistryId, kind: ItemKind, name: &str) -> Key {
    registry_items(account, kind).name(name)
}

pub(crate) fn blob(digest: &Digest) -> Key {
    Key::new(Namespace::Blob).digest(digest)
}

/// Any key of account, repository and one digest.
pub(crate) fn of_digest(
    namespace: Namespace,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Key {
    Key::new(namespace).home(account, repository).digest(digest)
}

pub(crate) fn link(account: &RegistryId, repository: &RepositoryName, digest: &Digest) -> Key {
    of_digest(Namespace::Link, account, repository, digest)
}

pub(crate) fn link_of(digest: &Digest, account: &RegistryId, repository: &RepositoryName) -> Key {
    Key::new(Namespace::LinkOf)
        .digest(digest)
        .home(account, repository)
}

pub(crate) fn manifest(account: &RegistryId, repository: &RepositoryName, digest: &Digest) -> Key {
    of_digest(Namespace::Manifest, account, repository, digest)
}

pub(crate) fn content(account: &RegistryId, repository: &RepositoryName, digest: &Digest) -> Key {
    of_digest(Namespace::Content, account, repository, digest)
}

pub(crate) fn tag(account: &RegistryId, repository: &RepositoryName, tag: &Tag) -> Key {
    Key::new(Namespace::Tag)
        .home(account, repository)
        .name(tag.as_str())
}

pub(crate) fn tag_of(
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
    tag: &Tag,
) -> Key {
    of_digest(Namespace::TagOf, account, repository, digest).name(tag.as_str())
}

pub(crate) fn tag_origin(
    account: &RegistryId,
    repository: &RepositoryName,
    tag: &Tag,
    source: &Source,
) -> Key {
    Key::new(Namespace::TagOrigin)
        .home(account, repository)
        .name(tag.as_str())
        .source(account, repository, source)
}

pub(crate) fn replica(
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
    source: &Source,
) -> Key {
    of_digest(Namespace::Replica, account, repository, digest).source(account, repository, source)
}

/// Of an image that this registry's own pushes brought too.
pub(crate) fn replica_of_here(
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Key {
    of_digest(Namespace::Replica, account, repository, digest).name("")
}

pub(crate) fn settled(account: &RegistryId, region: &RegionName, source: &RegistryId) -> Key {
    Key::new(Namespace::Settled)
        .account(account)
        .name(region.as_str())
        .account(source)
}

pub(crate) fn denied(key: &TaskKey) -> Key {
    Key::new(Namespace::Denied).task(key)
}

pub(crate) fn task(key: &TaskKey) -> Key {
    Key::new(Namespace::Task).task(key)
}

pub(crate) fn outbox(sequence: u64, key: &TaskKey) -> Key {
    Key::new(Namespace::Outbox).number(sequence).task(key)
}

/// Sorts as the algorithms' names do.
fn algorithm_byte(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Sha256 => 1,
        Algorithm::Sha512 => 2,
    }
}

#[cfg(test)]
mod tests {
    use entrepot_oci::{Algorithm, Digest};

    use super::{Key, NAMESPACES, Namespace, Parts};

    #[test]
    fn each_namespace_has_a_byte_of_its_own_above_the_stores() {
        assert!(NAMESPACES.is_sorted_by(|a, b| (*a as u8) < (*b as u8)));
        assert!(NAMESPACES.iter().all(|it| *it as u8 >= super::FIRST));
        for namespace in NAMESPACES {
            assert_eq!(Namespace::of(namespace as u8), Some(namespace));
        }
    }

    #[test]
    fn keys_sort_as_their_parts_do() {
        let key = |name: &str, digest: &Digest, number| {
            Key::new(Namespace::Tag)
                .name(name)
                .digest(digest)
                .number(number)
        };
        let short = Digest::from_bytes(Algorithm::Sha256, &[0xff; 32]).unwrap();
        let long = Digest::from_bytes(Algorithm::Sha512, &[0; 64]).unwrap();
        let mut last = None;
        for name in ["", "a", "a-", "a/b", "aa", "b"] {
            for digest in [&short, &long] {
                for number in [0, 1, 255, 256, u64::MAX] {
                    let key = Some(key(name, digest, number));
                    assert!(last < key);
                    last = key;
                }
            }
        }
    }

    #[test]
    fn a_prefix_ends_before_what_does_not_begin_with_it() {
        let end = |bytes: &[u8]| Key::of(bytes.to_vec()).prefix_end();
        assert_eq!(end(&[1, 2]), [1, 3]);
        assert_eq!(end(&[1, 0xff, 0xff]), [2]);
        assert_eq!(end(&[1, 0xfe]), [1, 0xff]);
    }

    #[test]
    fn a_torn_key_is_corrupt() {
        let key = Key::new(Namespace::Tag)
            .name("v1")
            .digest(&Digest::of(Algorithm::Sha256, b""))
            .number(7)
            .into_bytes();
        let read = |key: &[u8]| {
            let mut parts = Parts::of(key);
            let name = parts.text("name").map(str::to_owned)?;
            let digest = parts.digest()?;
            let number = parts.number()?;
            parts.end().map(|()| (name, digest, number))
        };
        assert_eq!(read(&key).unwrap().2, 7);
        for length in 0..key.len() {
            assert!(read(&key[..length]).is_err(), "{length}");
        }
        assert!(read(&[&key[..], &[0]].concat()).is_err());
    }
}
