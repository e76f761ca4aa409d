//! Whatever a manifest names is there and knows of it, and tags point to
//! manifests. In a repository that is being deleted, the manifests that an index
//! names may be gone.

use entrepot_oci::{RegionName, Tag};

use super::blobs::{home_and_digest, home_and_digests};
use super::{Check, Pair};
use crate::keys::{self, Namespace};
use crate::query;
use crate::read;
use crate::records::pulls::{PullRecord, PullsSinceRecord};
use crate::records::{ReplicaRecord, SettledRecord, TagOriginRecord};
use crate::store::StorageError;

pub(super) fn manifest(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.summary.manifests += 1;
    let (account, repository, digest) = home_and_digest(pair)?;
    let entry = query::manifest_of(&pair.key, pair.value.clone())?;
    check.require_key(
        &keys::repository(&account, &repository),
        "a manifest's repository exists",
        pair,
    )?;
    let content = check
        .view
        .get(keys::content(&account, &repository, &digest).as_bytes())?;
    check.require(
        content.is_some_and(|content| content.len() as u64 == entry.content_len),
        "a manifest has its content",
        &pair.key,
    );
    let index =
        |namespace, to| keys::of_digest(namespace, &account, &repository, to).digest(&digest);
    for blob in &entry.blobs {
        check.require_key(
            &keys::link(&account, &repository, blob),
            "a manifest's blobs are linked in its repository",
            pair,
        )?;
        check.require_key(
            &index(Namespace::BlobUse, blob),
            "a manifest's blobs know that it uses them",
            pair,
        )?;
    }
    check.require(
        entry.absent.is_sorted_by(|a, b| a < b)
            && entry.absent.iter().all(|it| entry.children.contains(it)),
        "what an index was taken without is among its manifests",
        &pair.key,
    );
    // There they go in any order.
    let deleting = query::repository(check.view, &account, &repository)?
        .is_some_and(|repository| repository.deleting);
    for child in &entry.children {
        if !entry.absent.contains(child) && !deleting {
            check.require_key(
                &keys::manifest(&account, &repository, child),
                "an index's manifests are in its repository, but for those it was taken without",
                pair,
            )?;
        }
        check.require(
            entry.archived_at_ms.is_some()
                || !query::is_archived(check.view, &account, &repository, child)?,
            "what an index names is not in the archive unless the index is",
            &pair.key,
        );
        check.require_key(
            &index(Namespace::ChildUse, child),
            "an index's manifests know that it uses them",
            pair,
        )?;
    }
    if let Some(subject) = &entry.subject {
        check.require_key(
            &index(Namespace::Referrer, subject),
            "a manifest with a subject is one of its referrers",
            pair,
        )?;
    }
    Ok(())
}

pub(super) fn content(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let (account, repository, digest) = home_and_digest(pair)?;
    let is_here = read::exists(check.view, &keys::manifest(&account, &repository, &digest))?;
    let is_kept = read::exists(check.view, &keys::deleted(&account, &repository, &digest))?;
    check.require(
        is_here || is_kept,
        "content belongs to a manifest, or to one that was deleted",
        &pair.key,
    );
    Ok(())
}

pub(super) fn child_use(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let (account, repository, [child, parent]) = home_and_digests(pair)?;
    let entry = query::manifest_entry(check.view, &account, &repository, &parent)?;
    check.require(
        entry.is_some_and(|entry| entry.children.contains(&child)),
        "a manifest's use is one that an index states",
        &pair.key,
    );
    Ok(())
}

pub(super) fn referrer(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let (account, repository, [subject, manifest]) = home_and_digests(pair)?;
    let entry = query::manifest_entry(check.view, &account, &repository, &manifest)?;
    check.require(
        entry.is_some_and(|entry| entry.subject == Some(subject)),
        "a referrer is a manifest with that subject",
        &pair.key,
    );
    Ok(())
}

pub(super) fn pull(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    pair.decode::<PullRecord>()?;
    let (account, repository, digest) = home_and_digest(pair)?;
    check.require_key(
        &keys::manifest(&account, &repository, &digest),
        "what was pulled is there",
        pair,
    )
}

pub(super) fn pulls_since(pair: &Pair) -> Result<(), StorageError> {
    pair.parts().end()?;
    pair.decode::<PullsSinceRecord>().map(drop)
}

pub(super) fn tag(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.summary.tags += 1;
    let mut parts = pair.parts();
    let account = parts.registry()?;
    let repository = parts.name("repository")?;
    parts.name::<Tag>("tag")?;
    parts.end()?;
    let entry = query::tag_of(&pair.key, pair.value.clone())?;
    check.require_key(
        &keys::manifest(&account, &repository, &entry.digest),
        "a tag points to a manifest of its repository",
        pair,
    )?;
    check.require_key(
        &keys::tag_of(&account, &repository, &entry.digest, &entry.tag),
        "a manifest knows its tags",
        pair,
    )?;
    if let Some(origin) = entry.origin {
        check.require_key(
            &keys::tag_origin(&account, &repository, &entry.tag, &origin.source),
            "a replica's tag knows the newest push of its source",
            pair,
        )?;
    }
    Ok(())
}

pub(super) fn tag_of(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let mut parts = pair.parts();
    let account = parts.registry()?;
    let repository = parts.name("repository")?;
    let digest = parts.digest()?;
    let tag = parts.name("tag")?;
    parts.end()?;
    let entry = query::tag(check.view, &account, &repository, &tag)?;
    check.require(
        entry.is_some_and(|entry| entry.digest == digest),
        "a manifest's tag points to it",
        &pair.key,
    );
    Ok(())
}

pub(super) fn tag_origin(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account = parts.registry()?;
    let repository = parts.name("repository")?;
    let tag = parts.name("tag")?;
    let source = parts.source(&account, &repository)?;
    parts.end()?;
    let newest: TagOriginRecord = pair.decode()?;
    let entry = query::tag(check.view, &account, &repository, &tag)?;
    let origin = entry
        .and_then(|entry| entry.origin)
        .filter(|origin| origin.source == source);
    check.require(
        origin.is_none_or(|origin| origin.sequence == newest.sequence),
        "a replica's tag comes from the newest push of its source",
        &pair.key,
    );
    Ok(())
}

pub(super) fn settled(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    parts.registry()?;
    parts.name::<RegionName>("source region")?;
    parts.registry()?;
    parts.end()?;
    let record: SettledRecord = pair.decode()?;
    check.require(record.sequence > 0, "something is settled", &pair.key);
    Ok(())
}

pub(super) fn replica(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    let mut parts = pair.parts();
    let account = parts.registry()?;
    let repository = parts.name("repository")?;
    let digest = parts.digest()?;
    let here = keys::replica_of_here(&account, &repository, &digest);
    if pair.key != here.as_bytes() {
        parts.source(&account, &repository)?;
        parts.end()?;
    }
    let record: ReplicaRecord = pair.decode()?;
    check.require(
        record.pushed > 0 || record.deleted > 0,
        "of a replica something is known",
        &pair.key,
    );
    if record.pushed > record.deleted {
        check.require_key(
            &keys::manifest(&account, &repository, &digest),
            "what is here for somebody's sake is here",
            pair,
        )?;
    }
    Ok(())
}
