//! What a registry and its repositories are to be like: resource tags, policies,
//! and what a registry has under names.

use std::collections::BTreeMap;

use bytes::Bytes;
use entrepot_oci::{RegistryId, RepositoryName};

use super::registry::require_repository;
use super::{Stop, following, invalid, parse};
use crate::command::{
    DeleteRegistryItem, PutRegistryItem, PutRepositoryText, RepositorySpec, TagRepository,
};
use crate::keys;
use crate::limits::{
    CACHE_RULES_MAX, CATALOG_TEXT_BYTES_MAX, CREATION_TEMPLATES_MAX, IDENTITY_PROVIDERS_MAX,
    ITEM_BODY_BYTES_MAX, ITEM_NAME_BYTES_MAX, KMS_KEY_BYTES_MAX, LIFECYCLE_RUN_BYTES_MAX,
    LIFECYCLE_TEXT_BYTES_MAX, MUTABILITY_FILTER_BYTES_MAX, MUTABILITY_FILTERS_MAX,
    POLICY_TEXT_BYTES_MAX, PULL_TIME_EXCLUSIONS_MAX, RESOURCE_TAGS, RESOURCE_TAGS_MAX,
    TAG_KEY_CHARS_MAX, TAG_VALUE_CHARS_MAX, WEBHOOK_NAME_BYTES_MAX, WEBHOOKS_MAX,
};
use crate::overlay::Overlay;
use crate::read;
use crate::records::RepositoryRecord;
use crate::records::settings::{
    EncryptionRecord, ItemKind, ItemRecord, MutabilityMode, MutabilityRecord, ResourceTagsRecord,
    TextKind, TextRecord,
};
use crate::response::{Done, EntityLimit, Item, Outcome, Refused};
use crate::store::StorageError;

/// Stars in one exclusion filter, as in ECR.
const STARS_MAX: usize = 2;

/// Account settings that ECR has.
const ACCOUNT_SETTINGS: [&str; 3] = [
    "BASIC_SCAN_TYPE_VERSION",
    "REGISTRY_POLICY_SCOPE",
    "BLOB_MOUNTING",
];

/// Gives a repository that is being made what it is to have.
pub(super) fn furnish(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    spec: RepositorySpec,
    record: &mut RepositoryRecord,
    at_ms: i64,
) -> Result<(), Stop> {
    if let Some(mutability) = &spec.mutability {
        check_mutability(mutability)?;
    }
    if let Some(encryption) = &spec.encryption {
        check_encryption(encryption)?;
    }
    record.mutability = spec.mutability;
    record.encryption = spec.encryption;
    record.scan_on_push = spec.scan_on_push;
    if !spec.tags.is_empty() {
        let tags = ResourceTagsRecord { tags: spec.tags };
        check_tags(&tags)?;
        overlay.put(keys::resource_tags(account, repository), &tags);
    }
    for (kind, text) in [
        (TextKind::Policy, spec.policy),
        (TextKind::Lifecycle, spec.lifecycle),
        (TextKind::Catalog, spec.catalog),
    ] {
        if !text.is_empty() {
            put(overlay, account, repository, kind, text, at_ms)?;
        }
    }
    Ok(())
}

pub(super) fn tag_repository(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: TagRepository,
) -> Result<Outcome, Stop> {
    let account = parse("account", &command.account)?;
    let repository = parse("repository", &command.repository)?;
    require_repository(overlay, &account, &repository)?;
    let key = keys::resource_tags(&account, &repository);
    let before: ResourceTagsRecord = read::record(overlay, &key)?.unwrap_or_default();
    let mut after = before.clone();
    for name in &command.remove {
        after.tags.remove(name);
    }
    if command.distinct {
        check_case(&after, &command.set)?;
    }
    after.tags.extend(command.set);
    check_tags(&after)?;
    if after.tags.is_empty() {
        overlay.delete(key);
    } else if after != before {
        overlay.put(key, &after);
    }
    if after != before {
        following::changed(overlay, &account, &repository, index)?;
    }
    Ok(Outcome::Done(Done {}))
}

pub(super) fn put_text(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: PutRepositoryText,
) -> Result<Outcome, Stop> {
    let account = parse("account", &command.account)?;
    let repository = parse("repository", &command.repository)?;
    let Ok(kind) = TextKind::try_from(command.kind) else {
        return Err(invalid("text", "is of a kind that is not known here").into());
    };
    require_repository(overlay, &account, &repository)?;
    let at_ms = command.at_ms;
    if !command.text.is_empty() {
        put(overlay, &account, &repository, kind, command.text, at_ms)?;
        following::changed(overlay, &account, &repository, index)?;
        return Ok(Outcome::Done(Done {}));
    }
    let key = keys::repository_text(&account, &repository, kind);
    if !read::exists(overlay, &key)? {
        let item = Item {
            kind: kind.name().to_owned(),
            name: repository.to_string(),
        };
        return Err(Refused::ItemUnknown(item).into());
    }
    overlay.delete(key);
    following::changed(overlay, &account, &repository, index)?;
    Ok(Outcome::Done(Done {}))
}

pub(super) fn put(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    kind: TextKind,
    text: String,
    at_ms: i64,
) -> Result<(), Stop> {
    let max = match kind {
        TextKind::Policy => POLICY_TEXT_BYTES_MAX,
        TextKind::Lifecycle | TextKind::LifecyclePreview => LIFECYCLE_TEXT_BYTES_MAX,
        TextKind::LifecycleRun => LIFECYCLE_RUN_BYTES_MAX,
        TextKind::Catalog => CATALOG_TEXT_BYTES_MAX,
    };
    if text.len() > max {
        let rule = format_args!("must be of at most {max} bytes").to_string();
        return Err(invalid(kind.name(), rule).into());
    }
    let record = TextRecord {
        text,
        updated_at_ms: at_ms,
    };
    overlay.put(keys::repository_text(account, repository, kind), &record);
    Ok(())
}

/// Deletes what only a repository that exists has.
pub(super) fn clear(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Result<(), StorageError> {
    overlay.delete(keys::resource_tags(account, repository));
    for kind in TextKind::ALL {
        overlay.delete(keys::repository_text(account, repository, kind));
    }
    following::forget(overlay, account, repository)
}

pub(super) fn put_item(
    overlay: &mut Overlay<'_>,
    command: PutRegistryItem,
) -> Result<Outcome, Stop> {
    let account: RegistryId = parse("account", &command.account)?;
    let kind = item_kind(command.kind)?;
    check_name(kind, &command.name)?;
    check_body(kind, &command.body)?;
    let key = keys::registry_item(&account, kind, &command.name);
    let before: Option<ItemRecord> = read::record(overlay, &key)?;
    let item = || Item {
        kind: kind.name().to_owned(),
        name: command.name.clone(),
    };
    if kind == ItemKind::WebhookProgress {
        // It may have been deleted since.
        let webhook = keys::registry_item(&account, ItemKind::Webhook, &command.name);
        if !read::exists(overlay, &webhook)? {
            return Err(Refused::ItemUnknown(item()).into());
        }
    }
    let created_at_ms = match &before {
        Some(_) if command.must_be_new => return Err(Refused::ItemExists(item()).into()),
        Some(before)
            if command
                .expected
                .as_ref()
                .is_some_and(|body| *body != before.body) =>
        {
            return Err(Refused::ItemUnknown(item()).into());
        }
        Some(before) => before.created_at_ms,
        None if command.must_exist || command.expected.is_some() => {
            return Err(Refused::ItemUnknown(item()).into());
        }
        None => {
            let max = items_max(kind);
            let prefix = keys::registry_items(&account, kind);
            if read::page(overlay, &prefix, None, max)?.len() >= max {
                return Err(Refused::EntityLimit(EntityLimit::new(kind.name(), max)).into());
            }
            command.at_ms
        }
    };
    let record = ItemRecord {
        body: command.body,
        created_at_ms,
        updated_at_ms: command.at_ms,
    };
    overlay.put(key, &record);
    Ok(Outcome::Done(Done {}))
}

pub(super) fn delete_item(
    overlay: &mut Overlay<'_>,
    command: &DeleteRegistryItem,
) -> Result<Outcome, Stop> {
    let account: RegistryId = parse("account", &command.account)?;
    let kind = item_kind(command.kind)?;
    check_name(kind, &command.name)?;
    let key = keys::registry_item(&account, kind, &command.name);
    if !read::exists(overlay, &key)? {
        let item = Item {
            kind: kind.name().to_owned(),
            name: command.name.clone(),
        };
        return Err(Refused::ItemUnknown(item).into());
    }
    overlay.delete(key);
    if kind == ItemKind::Webhook {
        let progress = ItemKind::WebhookProgress;
        overlay.delete(keys::registry_item(&account, progress, &command.name));
    }
    Ok(Outcome::Done(Done {}))
}

/// What may be changed by itself.
fn item_kind(kind: i32) -> Result<ItemKind, Refused> {
    match ItemKind::try_from(kind) {
        Ok(ItemKind::ReplicationConfiguration) => Err(invalid(
            ItemKind::ReplicationConfiguration.name(),
            "is changed with the rules alone",
        )),
        Ok(kind) => Ok(kind),
        Err(_) => Err(invalid("item", "is of a kind that is not known here")),
    }
}

/// Keeps what the rules were made from.
pub(super) fn put_configuration(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    document: Bytes,
    at_ms: i64,
) -> Result<(), Stop> {
    let kind = ItemKind::ReplicationConfiguration;
    check_body(kind, &document)?;
    let key = keys::registry_item(account, kind, "");
    let before: Option<ItemRecord> = read::record(overlay, &key)?;
    let record = ItemRecord {
        body: document,
        created_at_ms: before.map_or(at_ms, |before| before.created_at_ms),
        updated_at_ms: at_ms,
    };
    overlay.put(key, &record);
    Ok(())
}

fn check_body(kind: ItemKind, body: &Bytes) -> Result<(), Refused> {
    if body.len() > ITEM_BODY_BYTES_MAX {
        return Err(invalid(kind.name(), "must be of at most 65536 bytes"));
    }
    Ok(())
}

/// How many of a kind a registry may have, as in ECR.
pub(crate) fn items_max(kind: ItemKind) -> usize {
    match kind {
        ItemKind::CreationTemplate => CREATION_TEMPLATES_MAX,
        ItemKind::PullThroughCacheRule => CACHE_RULES_MAX,
        ItemKind::PullTimeExclusion => PULL_TIME_EXCLUSIONS_MAX,
        ItemKind::AccountSetting => ACCOUNT_SETTINGS.len(),
        ItemKind::Webhook | ItemKind::WebhookProgress => WEBHOOKS_MAX,
        ItemKind::IdentityProvider => IDENTITY_PROVIDERS_MAX,
        ItemKind::Policy
        | ItemKind::ScanningConfiguration
        | ItemKind::SigningConfiguration
        | ItemKind::ReplicationConfiguration
        | ItemKind::CatalogData => 1,
    }
}

fn check_name(kind: ItemKind, name: &str) -> Result<(), Refused> {
    let printable = |name: &str| name.bytes().all(|byte| byte.is_ascii_graphic());
    let right = match kind {
        ItemKind::Policy
        | ItemKind::ScanningConfiguration
        | ItemKind::SigningConfiguration
        | ItemKind::ReplicationConfiguration
        | ItemKind::CatalogData => name.is_empty(),
        ItemKind::AccountSetting => ACCOUNT_SETTINGS.contains(&name),
        ItemKind::Webhook | ItemKind::WebhookProgress => {
            (1..=WEBHOOK_NAME_BYTES_MAX).contains(&name.len()) && printable(name)
        }
        _ => (1..=ITEM_NAME_BYTES_MAX).contains(&name.len()) && printable(name),
    };
    if right {
        return Ok(());
    }
    Err(invalid(kind.name(), "cannot be called so"))
}

pub(super) fn check_mutability(mutability: &MutabilityRecord) -> Result<(), Refused> {
    let filters = &mutability.filters;
    let right = match MutabilityMode::try_from(mutability.mode) {
        Ok(MutabilityMode::Mutable | MutabilityMode::Immutable) => filters.is_empty(),
        Ok(_) => (1..=MUTABILITY_FILTERS_MAX).contains(&filters.len()),
        Err(_) => return Err(invalid("tag mutability", "is not known here")),
    };
    if !right {
        return Err(invalid(
            "tag mutability",
            "has 1 to 5 filters with exclusions, and none without",
        ));
    }
    for filter in filters {
        let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"._*-".contains(&byte);
        if !(1..=MUTABILITY_FILTER_BYTES_MAX).contains(&filter.len())
            || !filter.bytes().all(sign)
            || filter.matches('*').count() > STARS_MAX
        {
            return Err(invalid(
                "exclusion filter",
                "must be of 1 to 128 characters of [a-zA-Z0-9._*-], two of them * at most",
            ));
        }
    }
    Ok(())
}

fn check_encryption(encryption: &EncryptionRecord) -> Result<(), Refused> {
    let has_key = !encryption.kms_key.is_empty();
    let right = match encryption.kind.as_str() {
        "AES256" => !has_key,
        "KMS" | "KMS_DSSE" => encryption.kms_key.len() <= KMS_KEY_BYTES_MAX,
        _ => false,
    };
    if right {
        return Ok(());
    }
    Err(invalid(
        "encryption",
        "must be AES256 without a key, or KMS or KMS_DSSE with one of at most 2048 bytes",
    ))
}

/// To the conditions of policies, two keys that differ by case alone are one key
/// with two values.
fn check_case(record: &ResourceTagsRecord, set: &BTreeMap<String, String>) -> Result<(), Refused> {
    let lower: BTreeMap<String, &String> = record
        .tags
        .keys()
        .map(|key| (key.to_lowercase(), key))
        .collect();
    let mut own = BTreeMap::new();
    for key in set.keys() {
        let folded = key.to_lowercase();
        let before = lower.get(&folded).copied().filter(|before| *before != key);
        let twin = before.or_else(|| own.get(&folded).copied());
        if let Some(twin) = twin {
            return Err(invalid(
                "tag key",
                format_args!("'{key}' differs from '{twin}' by case alone"),
            ));
        }
        own.insert(folded, key);
    }
    Ok(())
}

pub(super) fn check_tags(record: &ResourceTagsRecord) -> Result<(), Stop> {
    for (key, value) in &record.tags {
        let length = key.chars().count();
        if !(1..=TAG_KEY_CHARS_MAX).contains(&length) || key.contains(char::is_control) {
            return Err(invalid("tag key", "must be of 1 to 128 characters").into());
        }
        if value.chars().count() > TAG_VALUE_CHARS_MAX || value.contains(char::is_control) {
            return Err(invalid("tag value", "must be of at most 256 characters").into());
        }
    }
    if record.tags.len() > RESOURCE_TAGS_MAX {
        let limit = EntityLimit::new(RESOURCE_TAGS, RESOURCE_TAGS_MAX);
        return Err(Refused::EntityLimit(limit).into());
    }
    Ok(())
}
