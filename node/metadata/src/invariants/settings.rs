//! What registries and repositories are to be like can be read, is bounded, and
//! belongs to what is there.

use entrepot_oci::RepositoryName;

use super::{Check, Pair};
use crate::apply::settings::items_max;
use crate::keys;
use crate::limits::RESOURCE_TAGS_MAX;
use crate::read;
use crate::records::settings::{ItemKind, ItemRecord, ResourceTagsRecord, TextKind, TextRecord};
use crate::store::StorageError;

pub(super) fn resource_tags(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account = parts.registry()?;
    let repository: RepositoryName = parts.name("repository")?;
    parts.end()?;
    let record: ResourceTagsRecord = pair.decode()?;
    check.require(
        (1..=RESOURCE_TAGS_MAX).contains(&record.tags.len()),
        "a repository has few tags, or none and no record of them",
        &pair.key,
    );
    let home = keys::repository(&account, &repository);
    check.require_key(&home, "tags are those of a repository", pair)
}

pub(super) fn text(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account = parts.registry()?;
    let repository: RepositoryName = parts.name("repository")?;
    let kind = TextKind::of_byte(parts.array::<1>()?[0]);
    parts.end()?;
    let record: TextRecord = pair.decode()?;
    check.require(
        kind.is_some() && !record.text.is_empty(),
        "a text is of a kind that is known, and not empty",
        &pair.key,
    );
    let home = keys::repository(&account, &repository);
    check.require_key(&home, "a text is that of a repository", pair)
}

pub(super) fn item(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account = parts.registry()?;
    let kind = ItemKind::of_byte(parts.array::<1>()?[0]);
    let name = parts.text("name")?.to_owned();
    parts.end()?;
    pair.decode::<ItemRecord>()?;
    let Some(kind) = kind else {
        check.violated("a registry's item is of a kind that is known", pair);
        return Ok(());
    };
    if kind == ItemKind::WebhookProgress {
        let webhook = keys::registry_item(&account, ItemKind::Webhook, &name);
        check.require_key(&webhook, "progress is that of a webhook", pair)?;
    }
    let max = items_max(kind);
    let prefix = keys::registry_items(&account, kind);
    let items = read::page(check.view, &prefix, None, max + 1)?;
    check.require(
        items.len() <= max,
        "a registry has no more of anything than it may",
        &pair.key,
    );
    Ok(())
}
