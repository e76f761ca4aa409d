//! Blobs that were sent along with their uploads, and become blobs of this region
//! when an image names them.
//!
//! The invariant: what no image that is committed at its source names is no blob
//! here, makes no repository, and goes.

use std::sync::Arc;

use entrepot_metadata::command::{LinkBlob, QUOTAS_LEVEL};
use entrepot_oci::{AccountId, Digest, RepositoryName};
use tracing::warn;

use super::ReplicaServer;
use super::deposits::{Deposit, State};
use crate::collection::COLLECTION_LEVEL;
use crate::error::{ReplicationError, chain};

/// The repository that a blob becomes one of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) account: &'a AccountId,
    pub(super) repository: &'a RepositoryName,
}

// === impl ReplicaServer ===

impl ReplicaServer {
    /// Links a blob all of which was deposited here. False: there is none, or its
    /// bytes have proved wrong.
    pub(super) async fn claim(
        &self,
        place: &Place<'_>,
        digest: &Digest,
    ) -> Result<bool, ReplicationError> {
        let Some(deposit) = self.deposits.of(digest).filter(|it| it.is_whole()) else {
            return Ok(false);
        };
        // Whoever has it links it, and is done soon.
        let mut state = deposit.state.lock().await;
        match &*state {
            State::Whole(_, of) if of == digest => {}
            // Whoever had it has linked it, perhaps elsewhere.
            _ => return Ok(false),
        }
        match self.keep(&deposit, &mut state, place).await {
            Ok(()) => Ok(true),
            Err(error @ ReplicationError::Mismatch { .. }) => {
                warn!(%digest, error = chain(&error), "a deposit is not the blob that it was to be");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a deposit all of which is here durable, and links it. After an error
    /// it is gone.
    pub(super) async fn keep(
        &self,
        deposit: &Arc<Deposit>,
        state: &mut State,
        place: &Place<'_>,
    ) -> Result<(), ReplicationError> {
        let kept = match std::mem::replace(state, State::Gone) {
            State::Whole(upload, digest) => {
                let stored = upload.commit(digest).await;
                match stored {
                    Ok(stored) => {
                        let (account, repository) = (place.account, place.repository);
                        let link = stored.link(account, repository, self.clock.now_ms());
                        self.link(place, link).await
                    }
                    Err(error) => Err(error),
                }
            }
            _ => Err(ReplicationError::Refused(
                "a deposit that is not whole".to_owned(),
            )),
        };
        if kept.is_ok() {
            deposit.end(state);
        }
        self.deposits.leave(deposit);
        kept
    }

    /// Makes a blob that an image of the source names one of a repository, which
    /// comes to be by that.
    pub(super) async fn link(
        &self,
        place: &Place<'_>,
        link: LinkBlob,
    ) -> Result<(), ReplicationError> {
        self.prepare(place.account, place.repository).await?;
        let understands = self.metadata.understands(COLLECTION_LEVEL)?;
        let seen = link.seen;
        let command = LinkBlob {
            create_repository: true,
            // Before all nodes know of it nothing is collected.
            seen: seen.filter(|_| understands),
            // Its source has had its answer, whatever this registry may hold.
            is_replica: self.metadata.understands(QUOTAS_LEVEL)?,
            ..link
        };
        self.propose(command.into()).await
    }
}
