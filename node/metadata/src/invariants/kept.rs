//! What is said to be kept of deleted images is what there is, and not too much.

use entrepot_oci::{RegistryId, RepositoryName};

use super::held::pages;
use super::{Check, Pair};
use crate::keys::{self, Key, Namespace};
use crate::limits::{KEPT_BYTES_MAX, KEPT_EXCESS_MAX};
use crate::query;
use crate::read;
use crate::records::undelete::KeptRecord;
use crate::store::StorageError;

pub(super) fn registry(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account = parts.registry()?;
    parts.end()?;
    let record: KeptRecord = pair.decode()?;
    let mut sum = KeptRecord::default();
    pages(check, &keys::kept_of(&account), |_, key, value| {
        let here: KeptRecord = read::decode(key, value)?;
        sum.images += here.images;
        sum.bytes += here.bytes;
        sum.cost += here.cost;
        Ok(())
    })?;
    check.require(
        record == sum && record.images > 0,
        "a registry keeps what its repositories do",
        (&pair.key, record, sum),
    );
    Ok(())
}

pub(super) fn repository(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account: RegistryId = parts.registry()?;
    let repository: RepositoryName = parts.name("repository")?;
    parts.end()?;
    let record: KeptRecord = pair.decode()?;
    let mut sum = KeptRecord::default();
    let prefix = Key::new(Namespace::Deleted).home(&account, &repository);
    pages(check, &prefix, |_, key, value| {
        sum.images += 1;
        let image = query::deleted_of(key, value)?;
        sum.bytes += image.manifest.content_len;
        sum.cost += image.cost;
        Ok(())
    })?;
    check.require(
        record == sum && record.images > 0,
        "a repository keeps as much as is said",
        (&pair.key, record, sum),
    );
    check.require(
        record.cost <= KEPT_BYTES_MAX + KEPT_EXCESS_MAX,
        "a repository keeps no more than it may",
        (&pair.key, record),
    );
    check.require_key(
        &keys::kept(&account),
        "what repositories keep is counted with their registry",
        pair,
    )
}

pub(super) fn order(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let mut parts = pair.parts();
    let account = parts.registry()?;
    let repository = parts.name("repository")?;
    let index = parts.number()?;
    let digest = parts.digest()?;
    parts.end()?;
    let image = query::deleted_image(check.view, &account, &repository, &digest)?;
    check.require(
        image.is_some_and(|image| image.index == index),
        "what is known by when it was deleted is deleted",
        &pair.key,
    );
    Ok(())
}
