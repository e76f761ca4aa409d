//! Blobs enter repositories and leave them.
//!
//! The invariant: a linked blob has a record whose holders have their copies, and a blob that a manifest names
//! is linked in the manifest's repository.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use super::registry::{Creation, require_repository};
use super::{Stop, collection, invalid, parse, reported};
use crate::command::{LinkBlob, MountBlob, UnlinkBlob};
use crate::keys::{self, Namespace, Parts};
use crate::limits::{HOLDERS_MAX, INLINE_BYTES_MAX};
use crate::overlay::Overlay;
use crate::query;
use crate::read;
use crate::records::collection::Why;
use crate::records::{BlobRecord, LinkRecord};
use crate::response::{BlobLinked, Done, Outcome, Referenced, Refused};
use crate::store::StorageError;

const ROOT_BYTES: usize = 32;

pub(super) fn link(
    overlay: &mut Overlay<'_>,
    index: u64,
    mut command: LinkBlob,
) -> Result<Outcome, Stop> {
    let account = parse("account", &command.account)?;
    let repository = parse("repository", &command.repository)?;
    let digest = parse("digest", &command.digest)?;
    if command.root.len() != ROOT_BYTES {
        return Err(invalid("root", "must be of 32 bytes").into());
    }
    match &command.content {
        Some(content) if content.len() > INLINE_BYTES_MAX => {
            return Err(invalid("content", "is too long to be kept here").into());
        }
        Some(content) if content.len() as u64 != command.size => {
            return Err(invalid("content", "must be all of the blob").into());
        }
        None if command.holders.is_empty() && !command.must_be_known => {
            return Err(invalid("holders", "must be 1 to 64 nodes").into());
        }
        _ => {}
    }
    if command.holders.len() > HOLDERS_MAX {
        return Err(invalid("holders", "must be 1 to 64 nodes").into());
    }
    let creation = Creation {
        wanted: command.create_repository,
        index,
        at_ms: command.at_ms,
        is_bounded: true,
    };
    let repository_created = creation.ensure(overlay, &account, &repository)?;

    let key = keys::blob(&digest);
    let known: Option<BlobRecord> = read::record(overlay, &key)?;
    if command.must_be_known {
        if known.is_none() {
            return Err(Refused::BlobsUnknown(reported([&digest])).into());
        }
        command.holders.clear();
        command.content = None;
    } else if !command.holders.is_empty() {
        collection::require_seen(overlay, &digest, command.seen)?;
    }
    let (mut holders, content) = match &known {
        Some(known) if known.size != command.size || known.root != command.root => {
            return Err(Refused::BlobMismatch(digest.to_string()).into());
        }
        Some(known) => (known.holders.clone(), known.content.clone()),
        None => (Vec::new(), None),
    };
    holders.append(&mut command.holders);
    holders.sort_unstable();
    holders.dedup();
    let record = BlobRecord {
        size: command.size,
        root: command.root,
        holders,
        content: content.or(command.content),
    };
    if known.as_ref() != Some(&record) {
        overlay.put(key, &record);
    }
    let created = put_link(
        overlay,
        index,
        command.at_ms,
        &account,
        &repository,
        &digest,
    )?;
    Ok(Outcome::BlobLinked(BlobLinked {
        created,
        repository_created,
    }))
}

pub(super) fn mount(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &MountBlob,
) -> Result<Outcome, Stop> {
    let account = parse("account", &command.account)?;
    let from = parse("source repository", &command.from)?;
    let repository = parse("repository", &command.repository)?;
    let digest = parse("digest", &command.digest)?;
    let creation = Creation {
        wanted: command.create_repository,
        index,
        at_ms: command.at_ms,
        is_bounded: true,
    };
    let repository_created = creation.ensure(overlay, &account, &repository)?;
    if !query::linked(overlay, &account, &from, &digest)? {
        return Err(Refused::BlobsUnknown(reported([&digest])).into());
    }
    let created = put_link(
        overlay,
        index,
        command.at_ms,
        &account,
        &repository,
        &digest,
    )?;
    Ok(Outcome::BlobLinked(BlobLinked {
        created,
        repository_created,
    }))
}

pub(super) fn unlink(overlay: &mut Overlay<'_>, command: &UnlinkBlob) -> Result<Outcome, Stop> {
    let account = parse("account", &command.account)?;
    let repository = parse("repository", &command.repository)?;
    let digest = parse("digest", &command.digest)?;
    require_repository(overlay, &account, &repository)?;
    if !query::linked(overlay, &account, &repository, &digest)? {
        return Err(Refused::BlobsUnknown(reported([&digest])).into());
    }
    let uses = keys::of_digest(Namespace::BlobUse, &account, &repository, &digest);
    if let Some(used) = read::first(overlay, &uses)? {
        return Err(Refused::BlobReferenced(referenced(&digest, &used)?).into());
    }
    overlay.delete(keys::link(&account, &repository, &digest));
    overlay.delete(keys::link_of(&digest, &account, &repository));
    collection::unlinked(overlay, &digest, Why::Unlinked)?;
    Ok(Outcome::Done(Done {}))
}

/// From a key of namespace `BlobUse` or `ChildUse`.
pub(super) fn referenced(digest: &Digest, key: &[u8]) -> Result<Referenced, StorageError> {
    let mut parts = Parts::of(key);
    parts.registry()?;
    parts.text("repository")?;
    parts.digest()?;
    Ok(Referenced {
        digest: digest.to_string(),
        by: parts.digest()?.to_string(),
    })
}

/// Whether the link is new.
fn put_link(
    overlay: &mut Overlay<'_>,
    index: u64,
    linked_at_ms: i64,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<bool, StorageError> {
    let home = collection::Home {
        account,
        repository,
    };
    let key = keys::link(account, repository, digest);
    if let Some(link) = read::record(overlay, &key)? {
        home.relinked(overlay, digest, link, linked_at_ms)?;
        return Ok(false);
    }
    let record = LinkRecord {
        linked_at_ms,
        index,
        unused_at_ms: None,
    };
    overlay.put(key, &record);
    overlay.mark(keys::link_of(digest, account, repository));
    home.linked(overlay, digest, record.since_ms())?;
    Ok(true)
}
