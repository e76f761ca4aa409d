//! What nothing refers to goes.
//!
//! A link is in use while a manifest of its repository names its blob, a blob while
//! it has a link. Whatever ceases to be in use is noted as a candidate; here it is
//! looked at again, so that a candidate is only ever a hint. Where collection has not
//! begun nothing is noted: releases that know nothing of it apply the same commands.
//!
//! The invariants:
//!
//! - A blob goes only if it has no link at that log index, and a link only if no
//!   manifest names its blob. Both are decided here, in the order of the log.
//! - A copy counts only if its node looked for collections of the blob when it had
//!   applied all there are by now, *before* it put the file in place: a link that
//!   names older looks is refused. So no link ever relies on a file that is deleted
//!   because of a collection, see `docs/deletion.md`.
//! - The record of a collection stays until no node deletes a file because of it
//!   any more, and no older look counts.

use std::collections::BTreeSet;

use entrepot_oci::{Digest, RegistryId, RepositoryName};

use super::{Stop, held, invalid, parse};
use crate::command::{
    BeginCollection, CollectBlobs, CollectFiles, CollectLinks, ConfirmCollected, ForgetCollected,
};
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::{COLLECTED_AT_ONCE_MAX, HOLDERS_MAX, RELINKED_AFTER_MS};
use crate::overlay::Overlay;
use crate::read;
use crate::records::collection::{
    CollectedRecord, CollectionRecord, ToDeleteRecord, UnlinkedRecord, Why,
};
use crate::records::{BlobRecord, LinkRecord};
use crate::response::{Collected, Done, Outcome, Refused};
use crate::store::{KeyValue, StorageError};

/// Where a blob is linked.
#[derive(Clone, Copy)]
pub(super) struct Home<'a> {
    pub(super) account: &'a RegistryId,
    pub(super) repository: &'a RepositoryName,
}

/// A collection under way.
struct Grave<'a> {
    index: u64,
    size: u64,
    why: Why,
    at_ms: i64,
    nodes: &'a BTreeSet<u64>,
}

/// Where blobs go that no repository has.
struct Burial {
    index: u64,
    at_ms: i64,
    /// Who may have files of them, beside those who said so.
    nodes: BTreeSet<u64>,
}

// === candidates ===

/// None: collection has not begun.
fn state(view: &dyn KeyValue) -> Result<Option<CollectionRecord>, StorageError> {
    read::record(view, &keys::collection())
}

pub(super) fn has_begun(view: &dyn KeyValue) -> Result<bool, StorageError> {
    Ok(state(view)?.is_some())
}

impl Home<'_> {
    /// A link has come to be, which nothing names yet.
    pub(super) fn linked(
        &self,
        overlay: &mut Overlay<'_>,
        digest: &Digest,
        at_ms: i64,
    ) -> Result<(), StorageError> {
        if state(overlay)?.is_some() {
            overlay.mark(keys::unused(at_ms, self.account, self.repository, digest));
        }
        Ok(())
    }

    /// A link was asked for that is there: if nothing names it, it stays for as long
    /// as a new one.
    pub(super) fn relinked(
        &self,
        overlay: &mut Overlay<'_>,
        digest: &Digest,
        link: LinkRecord,
        at_ms: i64,
    ) -> Result<(), StorageError> {
        let is_due = link.since_ms().saturating_add(RELINKED_AFTER_MS) <= at_ms;
        if !is_due || state(overlay)?.is_none() || self.is_used(overlay, digest)? {
            return Ok(());
        }
        let link = LinkRecord {
            linked_at_ms: at_ms,
            ..link
        };
        overlay.put(keys::link(self.account, self.repository, digest), &link);
        overlay.mark(keys::unused(at_ms, self.account, self.repository, digest));
        Ok(())
    }

    /// A manifest is gone that named a blob.
    pub(super) fn released(
        &self,
        overlay: &mut Overlay<'_>,
        digest: &Digest,
        at_ms: i64,
    ) -> Result<(), StorageError> {
        if state(overlay)?.is_none() || self.is_used(overlay, digest)? {
            return Ok(());
        }
        let key = keys::link(self.account, self.repository, digest);
        let Some(link): Option<LinkRecord> = read::record(overlay, &key)? else {
            return Ok(());
        };
        let link = LinkRecord {
            unused_at_ms: Some(at_ms),
            ..link
        };
        overlay.put(key, &link);
        let since_ms = link.since_ms();
        overlay.mark(keys::unused(
            since_ms,
            self.account,
            self.repository,
            digest,
        ));
        Ok(())
    }

    fn is_used(&self, view: &dyn KeyValue, digest: &Digest) -> Result<bool, StorageError> {
        let uses = keys::of_digest(Namespace::BlobUse, self.account, self.repository, digest);
        Ok(read::first(view, &uses)?.is_some())
    }
}

/// A link is gone.
pub(super) fn unlinked(
    overlay: &mut Overlay<'_>,
    digest: &Digest,
    why: Why,
) -> Result<(), StorageError> {
    if state(overlay)?.is_some() && !is_linked(overlay, digest)? {
        let record = UnlinkedRecord { why: why.into() };
        overlay.put(keys::unlinked(digest), &record);
    }
    Ok(())
}

fn is_linked(view: &dyn KeyValue, digest: &Digest) -> Result<bool, StorageError> {
    let links = Key::new(Namespace::LinkOf).digest(digest);
    Ok(read::first(view, &links)?.is_some())
}

/// That copies still count whose nodes looked for collections when they had applied
/// the log up to `seen`.
pub(super) fn require_seen(
    view: &dyn KeyValue,
    digest: &Digest,
    seen: Option<u64>,
) -> Result<(), Stop> {
    let Some(state) = state(view)? else {
        return Ok(());
    };
    // Who does not say so may have looked at any time.
    let seen = seen.unwrap_or(0);
    let last: Option<CollectedRecord> = read::record(view, &keys::collected(digest))?;
    if seen < state.floor || last.is_some_and(|last| last.index > seen) {
        return Err(Refused::CollectedMeanwhile(digest.to_string()).into());
    }
    Ok(())
}

// === commands ===

pub(super) fn begin(overlay: &mut Overlay<'_>, _: BeginCollection) -> Result<Outcome, Stop> {
    let mut state = state(overlay)?.unwrap_or_default();
    if !state.walked {
        walk(overlay, &mut state)?;
        overlay.put(keys::collection(), &state);
    }
    Ok(Outcome::Collected(Collected {
        more: !state.walked,
        ..Collected::default()
    }))
}

/// Notes what is not in use of the next records that were there before: first of the
/// blobs, then of the links, as their namespaces sort.
fn walk(overlay: &mut Overlay<'_>, state: &mut CollectionRecord) -> Result<(), StorageError> {
    const _: () = assert!((Namespace::Blob as u8) < Namespace::Link as u8);
    let start = match state.walked_to.as_ref() {
        [] => Key::new(Namespace::Blob),
        last => Key::of(last.to_vec()).successor(),
    };
    let end = Key::new(Namespace::Link).prefix_end();
    let page = overlay.scan(start.as_bytes(), &end, COLLECTED_AT_ONCE_MAX)?;
    state.walked = page.len() < COLLECTED_AT_ONCE_MAX;
    if let Some((last, _)) = page.last() {
        state.walked_to = last.clone();
    }
    for (key, value) in page {
        let mut parts = Parts::of(&key);
        if key.first() == Some(&(Namespace::Blob as u8)) {
            let digest = parts.digest()?;
            if !is_linked(overlay, &digest)? {
                let why = Why::Unknown.into();
                overlay.put(keys::unlinked(&digest), &UnlinkedRecord { why });
            }
            continue;
        }
        let (account, repository) = (parts.registry()?, parts.name("repository")?);
        let digest = parts.digest()?;
        let home = Home {
            account: &account,
            repository: &repository,
        };
        if !home.is_used(overlay, &digest)? {
            let link: LinkRecord = read::decode(&key, value)?;
            let since_ms = link.since_ms();
            overlay.mark(keys::unused(since_ms, &account, &repository, &digest));
        }
    }
    Ok(())
}

pub(super) fn links(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &CollectLinks,
) -> Result<Outcome, Stop> {
    require_begun(overlay)?;
    check_number("links", command.links.len())?;
    let burial = Burial::new(index, command.at_ms, &command.nodes)?;
    let mut collected = Collected::default();
    for link in &command.links {
        let account = parse("account", &link.account)?;
        let repository = parse("repository", &link.repository)?;
        let digest = parse("digest", &link.digest)?;
        let home = Home {
            account: &account,
            repository: &repository,
        };
        let candidate = keys::unused(link.since_ms, &account, &repository, &digest);
        let key = keys::link(&account, &repository, &digest);
        let is_used = home.is_used(overlay, &digest)?;
        let found: Option<LinkRecord> = read::record(overlay, &key)?;
        let Some(found) = found.filter(|_| !is_used) else {
            overlay.delete(candidate);
            continue;
        };
        if found.since_ms() > command.cutoff_ms {
            // It has a candidate of its own time.
            if found.since_ms() != link.since_ms {
                overlay.delete(candidate);
            }
            continue;
        }
        overlay.delete(candidate);
        held::unlinked(overlay, &account, &repository, &key, &digest)?;
        overlay.delete(key);
        overlay.delete(keys::link_of(&digest, &account, &repository));
        collected.links += 1;
        let why = match found.unused_at_ms {
            Some(_) => Why::ImageDeleted,
            None => Why::Unreferenced,
        };
        if burial.nodes.is_empty() {
            unlinked(overlay, &digest, why)?;
        } else if !is_linked(overlay, &digest)? {
            burial.take(overlay, &digest, why, &mut collected)?;
        }
    }
    Ok(Outcome::Collected(collected))
}

pub(super) fn blobs(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &CollectBlobs,
) -> Result<Outcome, Stop> {
    require_begun(overlay)?;
    check_number("blobs", command.digests.len())?;
    let burial = Burial::new(index, command.at_ms, &command.nodes)?;
    let mut collected = Collected::default();
    for digest in &command.digests {
        let digest = parse("digest", digest)?;
        let candidate: Option<UnlinkedRecord> = read::record(overlay, &keys::unlinked(&digest))?;
        overlay.delete(keys::unlinked(&digest));
        if !is_linked(overlay, &digest)? {
            let why = candidate.map_or(Why::Unknown, |it| it.why());
            burial.take(overlay, &digest, why, &mut collected)?;
        }
    }
    Ok(Outcome::Collected(collected))
}

pub(super) fn files(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &CollectFiles,
) -> Result<Outcome, Stop> {
    require_begun(overlay)?;
    check_number("files", command.files.len())?;
    let mut collected = Collected::default();
    for file in &command.files {
        let digest = parse("digest", &file.digest)?;
        let is_known = read::exists(overlay, &keys::blob(&digest))?;
        if is_known || read::exists(overlay, &keys::to_delete(command.node, &digest))? {
            continue;
        }
        let grave = Grave {
            index,
            size: file.size,
            why: Why::Orphan,
            at_ms: command.at_ms,
            nodes: &BTreeSet::from([command.node]),
        };
        grave.dig(overlay, &digest)?;
        collected.blobs += 1;
        collected.bytes += file.size;
    }
    Ok(Outcome::Collected(collected))
}

pub(super) fn confirm(
    overlay: &mut Overlay<'_>,
    command: &ConfirmCollected,
) -> Result<Outcome, Stop> {
    check_number("blobs", command.collected.len())?;
    for confirmed in &command.collected {
        let digest = parse("digest", &confirmed.digest)?;
        let key = keys::collected(&digest);
        let found: Option<CollectedRecord> = read::record(overlay, &key)?;
        // Of an older collection nothing is to be known any more.
        let Some(mut found) = found.filter(|found| found.index == confirmed.index) else {
            continue;
        };
        found.pending.retain(|node| *node != command.node);
        overlay.put(key, &found);
        overlay.delete(keys::to_delete(command.node, &digest));
    }
    Ok(Outcome::Done(Done {}))
}

pub(super) fn forget(
    overlay: &mut Overlay<'_>,
    index: u64,
    command: &ForgetCollected,
) -> Result<Outcome, Stop> {
    let mut state = require_begun(overlay)?;
    check_number("blobs", command.digests.len())?;
    let floor = command.floor.min(index).max(state.floor);
    if floor > state.floor {
        state.floor = floor;
        overlay.put(keys::collection(), &state);
    }
    for digest in &command.digests {
        let digest = parse("digest", digest)?;
        let key = keys::collected(&digest);
        let found: Option<CollectedRecord> = read::record(overlay, &key)?;
        if let Some(found) = found
            && found.index <= floor
            && found.pending.is_empty()
        {
            overlay.delete(keys::collected_at(found.index).digest(&digest));
            overlay.delete(key);
        }
    }
    Ok(Outcome::Done(Done {}))
}

fn require_begun(view: &dyn KeyValue) -> Result<CollectionRecord, Stop> {
    let begun = state(view)?;
    begun.ok_or_else(|| invalid("collection", "has not begun").into())
}

fn check_number(what: &str, number: usize) -> Result<(), Refused> {
    if number > COLLECTED_AT_ONCE_MAX {
        return Err(invalid(what, "must be at most 1000"));
    }
    Ok(())
}

// === impl Burial ===

impl Burial {
    fn new(index: u64, at_ms: i64, nodes: &[u64]) -> Result<Self, Refused> {
        if nodes.len() > HOLDERS_MAX {
            return Err(invalid("nodes", "must be at most 64"));
        }
        Ok(Self {
            index,
            at_ms,
            nodes: nodes.iter().copied().collect(),
        })
    }

    /// Takes a blob without links, if it is there.
    fn take(
        &self,
        overlay: &mut Overlay<'_>,
        digest: &Digest,
        why: Why,
        collected: &mut Collected,
    ) -> Result<(), StorageError> {
        let key = keys::blob(digest);
        let Some(blob): Option<BlobRecord> = read::record(overlay, &key)? else {
            return Ok(());
        };
        overlay.delete(key);
        collected.blobs += 1;
        collected.bytes += blob.size;
        if blob.content.is_some() && blob.holders.is_empty() {
            // No node has a file of it.
            return Ok(());
        }
        let mut nodes = self.nodes.clone();
        nodes.extend(&blob.holders);
        let grave = Grave {
            index: self.index,
            size: blob.size,
            why,
            at_ms: self.at_ms,
            nodes: &nodes,
        };
        grave.dig(overlay, digest)
    }
}

// === impl Grave ===

impl Grave<'_> {
    fn dig(&self, overlay: &mut Overlay<'_>, digest: &Digest) -> Result<(), StorageError> {
        let key = keys::collected(digest);
        let before: Option<CollectedRecord> = read::record(overlay, &key)?;
        let mut pending = self.nodes.clone();
        if let Some(before) = before {
            overlay.delete(keys::collected_at(before.index).digest(digest));
            // Who has not come to the last one does both at once.
            pending.extend(before.pending);
        }
        for node in &pending {
            let record = ToDeleteRecord { index: self.index };
            overlay.put(keys::to_delete(*node, digest), &record);
        }
        let record = CollectedRecord {
            index: self.index,
            size: self.size,
            why: self.why.into(),
            at_ms: self.at_ms,
            pending: pending.into_iter().collect(),
        };
        overlay.put(key, &record);
        overlay.mark(keys::collected_at(self.index).digest(digest));
        Ok(())
    }
}
