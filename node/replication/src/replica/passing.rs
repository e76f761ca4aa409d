//! Blobs that a source has brought here, and has this region bring on to another one
//! near it.
//!
//! The invariant: what the source has not brought here goes nowhere for it.

mod places;

use std::time::Duration;

use entrepot_metadata::query::{self, Blob, Destination, Source};
use entrepot_oci::{AccountId, Digest, RepositoryName};
use entrepot_proto::peer::PassOnRequest;
use tokio::time::Instant;
use tonic::Status;

pub(super) use self::places::Places;
use self::places::Sharer;
use super::{ReplicaServer, status};
use crate::error::ReplicationError;
use crate::{ship, wire};

/// Between two looks at whether a blob is here.
const LOOK: Duration = Duration::from_millis(50);
/// For a blob that nobody is bringing here.
const ABSENT_MAX: Duration = Duration::from_millis(500);
/// For one that somebody is.
const ARRIVING_MAX: Duration = Duration::from_mins(5);
/// Images that name a blob and are looked at.
const USES_MAX: usize = 64;

/// What is asked for, as precise types.
struct Asked {
    source: Source,
    account: AccountId,
    repository: RepositoryName,
    digest: Digest,
    to: Destination,
    name: RepositoryName,
}

// === impl ReplicaServer ===

impl ReplicaServer {
    pub(super) async fn bring_on(&self, request: &PassOnRequest) -> Result<(), Status> {
        let asked = Asked::read(request)?;
        let sharer = Sharer {
            region: asked.source.region.clone(),
            account: asked.source.account.clone(),
            rule: request.rule.clone(),
            to: asked.to.clone(),
        };
        let busy = || Status::resource_exhausted("too many are passed on already");
        let _place = self.passing.take(sharer).ok_or_else(busy)?;
        let fail = |error: ReplicationError| status(&error);
        let from = asked.source.account.to_string();
        self.admit(&from, &asked.account, &asked.repository)
            .map_err(fail)?;
        let Some(blob) = self.awaited(&asked).await.map_err(fail)? else {
            return Err(Status::not_found("it was not brought here by now"));
        };
        let account = &asked.source.account;
        let pace = self.blobs.pace_of_relay(
            &asked.source,
            &request.rule,
            &asked.to,
            request.bytes_per_second,
        );
        let there = (&asked.to, &asked.name);
        let passed = ship::pass_on(&self.blobs, account, there, blob, pace).await;
        passed.map_err(fail)
    }

    /// The blob, once it is here; none: it is not on its way.
    async fn awaited(&self, asked: &Asked) -> Result<Option<Blob>, ReplicationError> {
        let asked_at = Instant::now();
        // When it was last arriving: its image may be here only a moment later.
        let mut arriving_at = asked_at;
        loop {
            if let Some(blob) = self.brought(asked)? {
                return Ok(Some(blob));
            }
            let arriving = self.deposits.of(&asked.digest);
            if arriving.is_some_and(|deposit| deposit.is_arriving()) {
                arriving_at = Instant::now();
            }
            if arriving_at.elapsed() >= ABSENT_MAX || asked_at.elapsed() >= ARRIVING_MAX {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A blob of an image that the source has brought here.
    fn brought(&self, asked: &Asked) -> Result<Option<Blob>, ReplicationError> {
        let view = self.metadata.view(&self.group)?;
        let view = view.as_ref();
        let (account, repository) = (&asked.account, &asked.repository);
        if !query::linked(view, account, repository, &asked.digest)? {
            return Ok(None);
        }
        let images = query::images_naming(view, account, repository, &asked.digest, USES_MAX)?;
        for image in images {
            if query::is_brought_by(view, account, repository, &image, &asked.source)? {
                return Ok(query::blob(view, &asked.digest)?);
            }
        }
        Ok(None)
    }
}

// === impl Asked ===

impl Asked {
    #[allow(clippy::result_large_err, reason = "tonic's error type")]
    fn read(request: &PassOnRequest) -> Result<Self, Status> {
        Ok(Self {
            source: Source {
                region: wire::name(&request.source_region)?,
                account: wire::name(&request.source_account)?,
                repository: wire::name(&request.source_repository)?,
            },
            account: wire::name(&request.account)?,
            repository: wire::name(&request.repository)?,
            digest: wire::digest(&request.digest)?,
            to: Destination {
                region: wire::name(&request.to_region)?,
                account: wire::name(&request.to_account)?,
            },
            name: wire::name(&request.to_repository)?,
        })
    }
}
