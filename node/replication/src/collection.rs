//! This node's part in collecting what nothing refers to: when its files may be
//! written, and when they go.
//!
//! Owns the turns of this node's files: whoever writes one, and whoever deletes one,
//! has it for itself. The invariants, of which `docs/deletion.md` says why they are
//! enough, and `metadata/tests/model/collection.rs` that each is needed:
//!
//! - A copy is acknowledged with the log index that was applied when this node looked
//!   for a collection of the blob, which it does before it puts the copy in place.
//! - What is to be deleted here is confirmed before it is written anew, so that no
//!   restart takes the new file for the old one.
//! - A file goes only because of a collection that this node has not confirmed, and
//!   only if the newest state that anybody was told of does not know the blob.

mod orphans;
mod removal;
mod standing;
mod turns;

use std::sync::Arc;

use entrepot_blobs::{BlobError, BlobStat};
use entrepot_metadata::command::{CollectFiles, CollectedBlob, ConfirmCollected, OrphanFile};
use entrepot_metadata::query::{self, ToDelete};
use entrepot_metadata::response::Outcome;
use entrepot_metadata::seam::{Metadata, MetadataError};
use entrepot_metadata::{GroupId, KeyValue, StorageError};
use entrepot_oci::Digest;
use tracing::info;

pub(crate) use self::orphans::STAGING_IDLE;
pub use self::orphans::{ORPHAN_PATIENCE, Orphans};
pub use self::removal::{RemovalMetrics, Removals};
pub use self::standing::Standing;
pub(crate) use self::turns::{Pin, Turn, Turns};
use crate::ClusterBlobs;
use crate::error::ReplicationError;

/// What a state machine has to understand for anything to be collected.
pub const COLLECTION_LEVEL: u32 = 9;
/// Collections of one blob that come in between, one after the other, before a write
/// gives up.
const LOOKS_MAX: usize = 8;

/// The right to put a copy in place, as long as it is held.
#[derive(Debug)]
pub(crate) struct Writing {
    /// Log index that was applied when it was looked for collections of the blob.
    pub(crate) seen: u64,
    _turn: Turn,
}

/// The metadata, once it is known to the blobs.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    pub(crate) metadata: Arc<dyn Metadata>,
    pub(crate) group: GroupId,
}

// === impl ClusterBlobs ===

impl ClusterBlobs {
    /// Lets copies be held against what is collected. Before that none counts where
    /// anything was.
    pub fn attach(&self, metadata: &Arc<dyn Metadata>) {
        let records = Records {
            metadata: Arc::clone(metadata),
            group: GroupId::region(self.region().clone()),
        };
        // The same metadata, if it was set before.
        let _ = self.records.set(records);
    }

    /// For a copy of a blob that is to be acknowledged.
    pub(crate) async fn begin_write(&self, digest: &Digest) -> Result<Writing, ReplicationError> {
        let turn = self.turns.take(digest).await;
        self.turns.written(digest);
        for _ in 0..LOOKS_MAX {
            let Some(records) = self.records.get() else {
                return Ok(Writing {
                    seen: 0,
                    _turn: turn,
                });
            };
            // First: what is read after it is at least as new.
            let seen = records.metadata.applied(&records.group)?;
            let view = records.metadata.view(&records.group)?;
            let Some(found) = query::to_delete(view.as_ref(), self.own(), digest)? else {
                return Ok(Writing { seen, _turn: turn });
            };
            drop(view);
            records.confirm(self.own(), &[found]).await?;
        }
        Err(ReplicationError::Metadata(MetadataError::Unavailable {
            group: GroupId::region(self.region().clone()),
            reason: format!("{digest} is collected over and over"),
        }))
    }

    /// Whether a copy counts whose node had applied the log up to `seen` when it looked
    /// for collections of the blob, as far as this node knows: one that is far behind
    /// must not have a link refused over and over.
    pub(crate) fn counts(&self, digest: &Digest, seen: u64) -> bool {
        let Some(records) = self.records.get() else {
            return true;
        };
        let counts = records.metadata.view(&records.group).map(|view| {
            let floor = query::collection(view.as_ref())?.map_or(0, |known| known.floor);
            let last = query::collected(view.as_ref(), digest)?.map_or(0, |last| last.index);
            Ok::<_, StorageError>(floor.max(last) <= seen)
        });
        // What cannot be told here is decided where the link is applied.
        !matches!(counts, Ok(Ok(false)))
    }

    /// For a copy of a blob that the region knows, which nobody is told of.
    ///
    /// # Errors
    /// `NotFound` when it was collected meanwhile.
    pub(crate) async fn begin_keep(&self, digest: &Digest) -> Result<Turn, ReplicationError> {
        let turn = self.turns.take(digest).await;
        self.turns.written(digest);
        if let Some(records) = self.records.get() {
            let view = records.metadata.view(&records.group)?;
            if is_collected(view.as_ref(), digest)? {
                return Err(ReplicationError::NotFound(*digest));
            }
        }
        Ok(turn)
    }

    /// How collection stands on this node.
    pub fn collection(&self) -> &Standing {
        &self.standing
    }

    /// Whether nobody knows a file here, and nobody is about to.
    pub(crate) fn is_nobodys(
        &self,
        view: &dyn KeyValue,
        digest: &Digest,
    ) -> Result<bool, ReplicationError> {
        Ok(query::blob(view, digest)?.is_none()
            && query::to_delete(view, self.own(), digest)?.is_none()
            && !self.turns.is_pinned(digest))
    }

    /// Deletes the file whose turn that is; whether there was one. Whoever does not
    /// wait for the end takes nothing back: the turn is over when the file is gone,
    /// so that nobody puts one in place that this then deletes.
    pub(crate) async fn delete_in_turn(&self, turn: Turn) -> Result<(bool, Turn), BlobError> {
        let store = Arc::clone(&self.store);
        let deleted = tokio::spawn(async move {
            let existed = store.delete(turn.digest()).await?;
            Ok((existed, turn))
        });
        deleted.await.unwrap_or_else(|error| {
            Err(BlobError::Io {
                action: "delete a blob of",
                path: "this node".into(),
                source: std::io::Error::other(error),
            })
        })
    }
}

/// Whether a blob is not known any more: if it was not known at first, nobody would
/// have come to fetch it.
fn is_collected(view: &dyn KeyValue, digest: &Digest) -> Result<bool, ReplicationError> {
    let has_begun = query::collection(view)?.is_some();
    Ok(has_begun && query::blob(view, digest)?.is_none())
}

// === impl Records ===

impl Records {
    /// Has files of `node` go that nobody knows, if that is still so; how many of them
    /// do.
    pub(crate) async fn collect_files(
        &self,
        node: u64,
        due: &[BlobStat],
        at_ms: i64,
    ) -> Result<u64, ReplicationError> {
        let files = due.iter().map(|stat| OrphanFile {
            digest: stat.digest.to_string(),
            size: stat.size,
        });
        let command = CollectFiles {
            node,
            files: files.collect(),
            at_ms,
        };
        let response = self.metadata.propose(&self.group, command.into()).await?;
        let index = response.index;
        match response.into_result() {
            Ok(Outcome::Collected(collected)) => {
                let view = self.metadata.view(&self.group)?;
                for digest in due.iter().map(|stat| stat.digest) {
                    let found = query::to_delete(view.as_ref(), node, &digest)?;
                    if found.is_some_and(|found| found.index == index) {
                        info!(%digest, index, why = "orphan", "a file that nobody knows goes");
                    }
                }
                Ok(collected.blobs)
            }
            Ok(_) => Ok(0),
            Err(reason) => Err(ReplicationError::Refused(reason.to_string())),
        }
    }

    /// Nothing is deleted here any more because of these.
    async fn confirm(&self, node: u64, collected: &[ToDelete]) -> Result<(), ReplicationError> {
        let collected = collected.iter().map(|it| CollectedBlob {
            digest: it.digest.to_string(),
            index: it.index,
        });
        let command = ConfirmCollected {
            node,
            collected: collected.collect(),
        };
        let response = self.metadata.propose(&self.group, command.into()).await?;
        match response.into_result() {
            Ok(_) => Ok(()),
            Err(reason) => Err(ReplicationError::Refused(reason.to_string())),
        }
    }
}
