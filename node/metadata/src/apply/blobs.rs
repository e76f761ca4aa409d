//! Blobs enter repositories and leave them.
//!
//! The invariant: a linked blob has a record whose holders have their copies, and a blob that a manifest names
//! is linked in the manifest's repository.

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use super::held::{self, Bounds, Thing};
use super::registry::{Creation, require_repository};
use super::{Stop, collection, invalid, parse, reported};
use crate::command::{LinkBlob, MountBlob, UnlinkBlob};
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::{HOLDERS_MAX, INLINE_BYTES_MAX};
use crate::overlay::Overlay;
use crate::query;
use crate::read;
use crate::records::collection::Why;
use crate::records::{BlobRecord, LinkRecord, RepositoryRecord};
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
    let (repository_created, home) = creation.ensured(overlay, &account, &repository)?;

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
    let link = NewLink {
        account: &account,
        repository: &repository,
        digest: &digest,
        index,
        at_ms: command.at_ms,
        is_bounded: !command.is_replica,
    };
    let created = link.put(overlay, &home)?;
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
    let (repository_created, home) = creation.ensured(overlay, &account, &repository)?;
    if !query::linked(overlay, &account, &from, &digest)? {
        return Err(Refused::BlobsUnknown(reported([&digest])).into());
    }
    let link = NewLink {
        account: &account,
        repository: &repository,
        digest: &digest,
        index,
        at_ms: command.at_ms,
        is_bounded: true,
    };
    let created = link.put(overlay, &home)?;
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
    let key = keys::link(&account, &repository, &digest);
    held::unlinked(overlay, &account, &repository, &key, &digest)?;
    overlay.delete(key);
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

/// A link that is asked for.
struct NewLink<'a> {
    account: &'a RegistryId,
    repository: &'a RepositoryName,
    digest: &'a Digest,
    index: u64,
    at_ms: i64,
    /// By how many bytes there may be.
    is_bounded: bool,
}

// === impl NewLink ===

impl NewLink<'_> {
    /// Whether the link is new. Its blob has a record by now. `record`: of the
    /// repository.
    fn put(&self, overlay: &mut Overlay<'_>, record: &RepositoryRecord) -> Result<bool, Stop> {
        let (account, repository, digest) = (self.account, self.repository, self.digest);
        let home = collection::Home {
            account,
            repository,
        };
        let key = keys::link(account, repository, digest);
        if let Some(link) = read::record(overlay, &key)? {
            home.relinked(overlay, digest, link, self.at_ms)?;
            return Ok(false);
        }
        self.count(overlay, &key, record)?;
        let link = LinkRecord {
            linked_at_ms: self.at_ms,
            index: self.index,
            unused_at_ms: None,
        };
        overlay.put(key, &link);
        overlay.mark(keys::link_of(digest, account, repository));
        home.linked(overlay, digest, link.since_ms())?;
        Ok(true)
    }

    fn count(
        &self,
        overlay: &mut Overlay<'_>,
        key: &Key,
        record: &RepositoryRecord,
    ) -> Result<(), Stop> {
        let settings = query::registry_settings(overlay, self.account)?;
        if !settings.counts_bytes {
            return Ok(());
        }
        let bytes = held::blob_bytes(overlay, self.digest)?;
        let thing = Thing {
            account: self.account,
            repository: self.repository,
            key,
            bytes,
            is_image: false,
        };
        let bounds = Bounds {
            settings: &settings,
            record,
            is_bounded: self.is_bounded,
            is_held: false,
        };
        held::advance(overlay, self.account, &settings)?;
        thing.add(overlay, &bounds)
    }
}
