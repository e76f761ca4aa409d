//! What is said to be held is what there is.

use entrepot_oci::{RegistryId, RepositoryName};

use super::{Check, Pair};
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::SCAN_PAGE;
use crate::query;
use crate::read;
use crate::records::held::{HeldRecord, RepositoryHeldRecord};
use crate::records::{BlobRecord, ManifestRecord};
use crate::store::StorageError;

pub(super) fn registry(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account = parts.registry()?;
    parts.end()?;
    let record: HeldRecord = pair.decode()?;
    let in_all = sum(check, &record, |key| key.account(&account))?;
    check.require(
        (record.bytes, record.images) == (in_all.bytes, in_all.images),
        "a registry holds as much as is said",
        (&pair.key, &record, in_all),
    );
    // So no repository has too much for what another has too little.
    let mut each = RepositoryHeldRecord::default();
    pages(check, &keys::held_of(&account), |_, key, value| {
        let here: RepositoryHeldRecord = read::decode(key, value)?;
        each.bytes += here.bytes;
        each.images += here.images;
        Ok(())
    })?;
    check.require(
        each == in_all,
        "a registry holds what its repositories do",
        (&pair.key, each, in_all),
    );
    Ok(())
}

pub(super) fn repository(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account: RegistryId = parts.registry()?;
    let repository: RepositoryName = parts.name("repository")?;
    parts.end()?;
    check.require_key(
        &keys::repository(&account, &repository),
        "what is held is held by a repository that is there",
        pair,
    )?;
    let registry: Option<HeldRecord> = read::record(check.view, &keys::held(&account))?;
    let Some(registry) = registry else {
        check.violated(
            "what repositories hold is counted with their registry",
            pair,
        );
        return Ok(());
    };
    let record: RepositoryHeldRecord = pair.decode()?;
    let found = sum(check, &registry, |key| key.home(&account, &repository))?;
    check.require(
        record == found,
        "a repository holds as much as is said",
        (&pair.key, record, found),
    );
    Ok(())
}

/// What is counted of the links, manifests and deleted images under a prefix.
fn sum(
    check: &mut Check<'_>,
    registry: &HeldRecord,
    prefix: impl Fn(Key) -> Key,
) -> Result<RepositoryHeldRecord, StorageError> {
    let mut sum = RepositoryHeldRecord::default();
    pages(
        check,
        &prefix(Key::new(Namespace::Link)),
        |check, key, _| {
            if !registry.has_counted(key) {
                return Ok(());
            }
            let mut parts = Parts::of(key);
            parts.registry()?;
            parts.text("repository")?;
            let blob: Option<BlobRecord> = read::record(check.view, &keys::blob(&parts.digest()?))?;
            sum.bytes += blob.map_or(0, |blob| blob.size);
            Ok(())
        },
    )?;
    pages(
        check,
        &prefix(Key::new(Namespace::Manifest)),
        |_, key, value| {
            if registry.has_counted(key) {
                sum.bytes += read::decode::<ManifestRecord>(key, value)?.content_len;
                sum.images += 1;
            }
            Ok(())
        },
    )?;
    pages(
        check,
        &prefix(Key::new(Namespace::Deleted)),
        |_, key, value| {
            if registry.has_counted(key) {
                sum.bytes += query::deleted_of(key, value)?.manifest.content_len;
            }
            Ok(())
        },
    )?;
    Ok(sum)
}

pub(super) fn pages(
    check: &mut Check<'_>,
    prefix: &Key,
    mut each: impl FnMut(&Check<'_>, &[u8], bytes::Bytes) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let mut start = prefix.clone();
    loop {
        let page = read::page(check.view, prefix, Some(&start), SCAN_PAGE)?;
        let next = page
            .last()
            .map(|(key, _)| Key::of(key.to_vec()).successor());
        let is_full = page.len() == SCAN_PAGE;
        for (key, value) in page {
            each(check, &key, value)?;
        }
        match next {
            Some(next) if is_full => start = next,
            _ => return Ok(()),
        }
    }
}
