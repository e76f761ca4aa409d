//! What can be restored has its bytes and blobs, is not there as well, and goes in
//! time.

use entrepot_oci::Tag;

use super::blobs::home_and_digest;
use super::{Check, Pair};
use crate::keys::{self, Namespace};
use crate::limits::{AUTHOR_BYTES_MAX, DELETED_TAGS_MAX};
use crate::query;
use crate::read;
use crate::records::undelete::DeletedRecord;
use crate::store::StorageError;

pub(super) fn deleted(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.summary.deleted += 1;
    let (account, repository, digest) = home_and_digest(pair)?;
    let image = query::deleted_of(&pair.key, pair.value.clone())?;
    check.require_key(
        &keys::repository(&account, &repository),
        "a deleted image's repository exists",
        pair,
    )?;
    let is_here = read::exists(check.view, &keys::manifest(&account, &repository, &digest))?;
    check.require(!is_here, "a deleted image is not here", &pair.key);
    let content = check
        .view
        .get(keys::content(&account, &repository, &digest).as_bytes())?;
    check.require(
        content.is_some_and(|content| content.len() as u64 == image.manifest.content_len),
        "a deleted image has its content",
        &pair.key,
    );
    check.require_key(
        &keys::deleted_until(image.until_ms, &account, &repository, &digest),
        "a deleted image goes in time",
        pair,
    )?;
    check.require_key(
        &keys::kept_order(&account, &repository, image.index, &digest),
        "a deleted image is known by when it was deleted",
        pair,
    )?;
    check.require_key(
        &keys::repository_kept(&account, &repository),
        "what a repository keeps is counted",
        pair,
    )?;
    for blob in &image.manifest.blobs {
        check.require_key(
            &keys::link(&account, &repository, blob),
            "a deleted image's blobs are linked in its repository",
            pair,
        )?;
        let key = keys::of_digest(Namespace::BlobUse, &account, &repository, blob);
        check.require_key(
            &key.digest(&digest),
            "a deleted image's blobs know that it keeps them",
            pair,
        )?;
    }
    check.require(
        image.tags.len() <= DELETED_TAGS_MAX && image.tags.is_sorted_by(|a, b| a < b),
        "a deleted image's tags are few, sorted and unlike",
        &pair.key,
    );
    let tags = image.tags.iter().map(Tag::as_str);
    check.require(
        image.cost == DeletedRecord::takes(image.manifest.content_len, tags),
        "a deleted image counts as its manifest, its tags and the rest",
        &pair.key,
    );
    check.require(
        image.by.len() <= AUTHOR_BYTES_MAX,
        "who deleted an image has a short name",
        &pair.key,
    );
    Ok(())
}

pub(super) fn until(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let mut parts = pair.parts();
    parts.number()?;
    let account = parts.registry()?;
    let repository = parts.name("repository")?;
    let digest = parts.digest()?;
    parts.end()?;
    let image = query::deleted_image(check.view, &account, &repository, &digest)?;
    let key = image.map(|it| keys::deleted_until(it.until_ms, &account, &repository, &digest));
    check.require(
        key.is_some_and(|key| key.as_bytes() == pair.key),
        "what goes in time is deleted, and goes then",
        &pair.key,
    );
    Ok(())
}
