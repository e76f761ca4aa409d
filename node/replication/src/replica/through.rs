//! Pulls of what is still on its way here: read through from the region that has
//! it, and kept.
//!
//! One node of the region asks for all that is in a repository, the one that its
//! replicas come to; the others ask it. So a blob crosses the line once, whoever
//! wants it, and what was sent along with its upload is not sent again. What is
//! read is proved by its digest before its end is shown to anybody, and becomes a
//! blob of the repository as one that a task brings does. A manifest is shown as
//! its source has it and not kept: its tags are the tasks' to move. The invariant:
//! that something is nowhere is only said when every region that may have it has
//! said so.

pub(super) mod ask;
pub(super) mod flight;
pub(super) mod floors;
pub(super) mod offers;
mod reading;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use entrepot_blobs::BlobStream;
use entrepot_metadata::query::{self, ServedManifest};
use entrepot_oci::{
    AccountId, Digest, MANIFEST_BYTES_MAX, Manifest, MediaType, Reference, RepositoryName, Tag,
};
use entrepot_proto::peer::offered_image_reply::Result as Reply;
use entrepot_proto::peer::replication_client::ReplicationClient;
use entrepot_proto::peer::{OfferedImage, OfferedImageRequest, OfferedPlace};
use entrepot_proto::peers::{MESSAGE_BYTES_MAX, PeerChannel};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::{Code, Status};
use tracing::{debug, warn};

use self::flight::Flights;
use self::floors::Floors;
use self::offers::{Offers, Source};
use super::ReplicaServer;
use crate::error::ReplicationError;
use crate::{placement, wire};

/// From one question about what regions offer to the next.
const OFFERS_EVERY: Duration = Duration::from_secs(5);
/// For a node to say what it has.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Nodes of a region that are asked, one after the other.
const NODES_MAX: usize = 2;
/// Those who read, and those who ask for a manifest, at the same time.
const READERS_MAX: usize = 1_024;
/// Blobs that a manifest's push waits for at the same time.
const BROUGHT_AT_ONCE: usize = 4;

/// What a node knows of reading through.
#[derive(Debug)]
pub(super) struct Through {
    offers: Offers,
    flights: Flights,
    pub(super) floors: Floors,
    readers: Arc<Semaphore>,
}

/// Serves what is not here yet from the regions that have it.
#[derive(Debug, Clone)]
pub struct ReadThrough(ReplicaServer);

/// A repository of this region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    pub(super) account: AccountId,
    pub(super) repository: RepositoryName,
}

/// Where what is asked for would be.
enum Whom {
    /// No region offers anything there.
    Nobody,
    /// This node asks them.
    Sources(Vec<Source>),
    /// Another node of this region does.
    Node(u64),
}

impl Default for Through {
    fn default() -> Self {
        Self {
            offers: Offers::default(),
            flights: Flights::default(),
            floors: Floors::default(),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
        }
    }
}

// === impl ReadThrough ===

impl ReadThrough {
    pub fn new(server: &ReplicaServer) -> Arc<Self> {
        Arc::new(Self(server.clone()))
    }

    /// Learns what other regions offer, until it is dropped.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.0.ask_for_offers().await;
            tokio::time::sleep(OFFERS_EVERY).await;
        }
    }

    /// The same, once.
    pub async fn refresh(&self) {
        self.0.ask_for_offers().await;
    }

    /// A manifest that another region has and this one does not; none: no region
    /// that is to bring it has it.
    ///
    /// # Errors
    /// `Away` when one of those that may have it cannot be asked.
    pub async fn manifest(
        &self,
        account: &AccountId,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ServedManifest>, ReplicationError> {
        let target = Target::new(account, repository);
        let _reader = self.0.through.readers.try_acquire().map_err(|_| busy())?;
        let found = match self.0.whom(&target)? {
            Whom::Nobody => return Ok(None),
            Whom::Sources(sources) => {
                let found = self.0.find(&target, &sources, reference).await?;
                found.map(|found| served(found, reference)).transpose()?
            }
            Whom::Node(node) => {
                let asked = self.0.ask(node, target.place(None), reference).await;
                match asked.map_err(|status| away(&status))? {
                    Some(found) => Some(served(found, reference)?),
                    None => None,
                }
            }
        };
        Ok(found)
    }

    /// How many bytes a blob has that another region has and this one does not.
    ///
    /// # Errors
    /// See [`manifest`](Self::manifest).
    pub async fn size(
        &self,
        account: &AccountId,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<u64>, ReplicationError> {
        let target = Target::new(account, repository);
        let _reader = self.0.through.readers.try_acquire().map_err(|_| busy())?;
        match self.0.whom(&target)? {
            Whom::Nobody => Ok(None),
            Whom::Sources(sources) => {
                let found = self.0.find_blob(&target, &sources, digest).await?;
                Ok(found.map(|found| found.size))
            }
            Whom::Node(node) => self.0.size_at(node, target.place(None), digest).await,
        }
    }

    /// The bytes of such a blob, as they arrive (`range`: those only), and how
    /// many the whole has.
    ///
    /// # Errors
    /// See [`manifest`](Self::manifest).
    pub async fn open(
        &self,
        account: &AccountId,
        repository: &RepositoryName,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<(u64, BlobStream)>, ReplicationError> {
        let target = Target::new(account, repository);
        let reader = Arc::clone(&self.0.through.readers);
        let reader = reader.try_acquire_owned().map_err(|_| busy())?;
        let opened = match self.0.whom(&target)? {
            Whom::Nobody => None,
            Whom::Sources(_) => self.0.open_through(&target, digest, range).await?,
            Whom::Node(node) => {
                let place = target.place(None);
                self.0.open_at(node, place, digest, range).await?
            }
        };
        Ok(opened.map(|(size, content)| {
            let content = content.inspect(move |_| {
                // Held as long as somebody reads.
                let _ = &reader;
            });
            (size, content.boxed())
        }))
    }

    /// Makes blobs of the repository those of them that another region has.
    ///
    /// # Errors
    /// See [`manifest`](Self::manifest).
    pub async fn bring(
        &self,
        account: &AccountId,
        repository: &RepositoryName,
        digests: &[Digest],
    ) -> Result<(), ReplicationError> {
        let target = Target::new(account, repository);
        let mut brought: Vec<BoxFuture<'static, Result<(), ReplicationError>>> = Vec::new();
        for digest in digests {
            let (through, target, digest) = (self.clone(), target.clone(), *digest);
            brought.push(async move { through.bring_one(&target, &digest).await }.boxed());
        }
        stream::iter(brought)
            .buffer_unordered(BROUGHT_AT_ONCE)
            .try_collect()
            .await
    }

    async fn bring_one(&self, target: &Target, digest: &Digest) -> Result<(), ReplicationError> {
        let (account, repository) = (&target.account, &target.repository);
        let opened = self.open(account, repository, digest, None).await?;
        let Some((_, mut content)) = opened else {
            return Ok(());
        };
        // It is linked before its last byte is shown.
        while let Some(piece) = content.next().await {
            piece.map_err(|error| ReplicationError::Away(error.to_string()))?;
        }
        Ok(())
    }
}

/// What a region has said, if it is what was asked for.
fn served(found: OfferedImage, reference: &Reference) -> Result<ServedManifest, ReplicationError> {
    let bad = |status: Status| ReplicationError::Refused(status.message().to_owned());
    let digest = wire::digest(&found.digest).map_err(bad)?;
    if let Reference::Digest(expected) = reference
        && *expected != digest
    {
        return Err(wrong(expected));
    }
    let is_right = found.content.len() <= MANIFEST_BYTES_MAX
        && Digest::of(digest.algorithm(), &found.content) == digest;
    let media_type: MediaType = wire::name(&found.media_type).map_err(bad)?;
    if !is_right || Manifest::parse(&found.content, Some(&media_type)).is_err() {
        return Err(wrong(&digest));
    }
    Ok(ServedManifest {
        digest,
        media_type: found.media_type,
        content: found.content,
    })
}

fn wrong(digest: &Digest) -> ReplicationError {
    warn!(%digest, "a region has sent a manifest that is not the one of its digest");
    ReplicationError::Away("what was sent is not what was asked for".to_owned())
}

pub(super) fn busy() -> ReplicationError {
    ReplicationError::Away("too many read through already".to_owned())
}

pub(super) fn away(status: &Status) -> ReplicationError {
    ReplicationError::Away(format!("{} ({})", status.message(), status.code()))
}

// === impl ReplicaServer ===

impl ReplicaServer {
    /// Whom to ask for what is in a repository: those that its account lets in.
    fn whom(&self, target: &Target) -> Result<Whom, ReplicationError> {
        let sources = self.sources(target)?;
        if sources.is_empty() {
            return Ok(Whom::Nobody);
        }
        let key = placement::repository_key(&target.account, &target.repository);
        let alive = self.blobs.health().alive_in(self.blobs.region());
        Ok(match placement::first(&key, alive) {
            Some(node) if node != self.blobs.own() => Whom::Node(node),
            _ => Whom::Sources(sources),
        })
    }

    /// Those that may have what is in a repository, and that its account lets in.
    pub(super) fn sources(&self, target: &Target) -> Result<Vec<Source>, ReplicationError> {
        let offers = &self.through.offers;
        let mut sources = Vec::new();
        for source in offers.sources(&target.account, &target.repository) {
            match self.admit_source(target, &source) {
                Ok(()) => sources.push(source),
                Err(ReplicationError::Denied(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sources)
    }

    pub(super) fn admit_source(
        &self,
        target: &Target,
        source: &Source,
    ) -> Result<(), ReplicationError> {
        let from = source.account.to_string();
        self.admit(&from, &target.account, &target.repository)
    }

    /// Asks the sources for a manifest.
    pub(super) async fn find(
        &self,
        target: &Target,
        sources: &[Source],
        reference: &Reference,
    ) -> Result<Option<OfferedImage>, ReplicationError> {
        let mut failed = None;
        for source in sources {
            let mut nodes = self.nodes_of(target, source);
            let found = loop {
                let Some(node) = nodes.next() else {
                    break None;
                };
                let asked = self.ask(node, target.place(Some(source)), reference).await;
                match asked {
                    Ok(None) => break Some(None),
                    // Whatever comes of it: it proves itself first.
                    Ok(Some(found)) if served(found.clone(), reference).is_ok() => {
                        break Some(Some(found));
                    }
                    Ok(Some(_)) => {}
                    Err(status) => debug!(node, %status, "a node does not say what it offers"),
                }
            };
            match found {
                Some(Some(found)) => {
                    if let Reference::Tag(tag) = reference {
                        self.remember(target, source, tag, &found)?;
                    }
                    return Ok(Some(found));
                }
                Some(None) => {}
                None => failed = Some(source.region.to_string()),
            }
        }
        failed.map_or(Ok(None), |region| Err(ReplicationError::RegionDown(region)))
    }

    /// At which push a tag was shown.
    fn remember(
        &self,
        target: &Target,
        source: &Source,
        tag: &Tag,
        found: &OfferedImage,
    ) -> Result<(), ReplicationError> {
        let bad = |status: Status| ReplicationError::Refused(status.message().to_owned());
        let home: RepositoryName = wire::name(&found.source_repository).map_err(bad)?;
        let of = query::Source::new(&source.region, &source.account, &home);
        let (account, repository) = (target.account.clone(), target.repository.clone());
        let key = (account, repository, tag.clone(), of);
        self.through.floors.raise(key, found.source_sequence);
        Ok(())
    }

    /// The nodes of a source that are asked.
    pub(super) fn nodes_of(
        &self,
        target: &Target,
        source: &Source,
    ) -> impl Iterator<Item = u64> + use<> {
        let key = placement::repository_key(&target.account, &target.repository);
        let alive = self.blobs.health().alive_in(&source.region);
        placement::ranked(&key, alive).into_iter().take(NODES_MAX)
    }

    async fn ask(
        &self,
        node: u64,
        place: OfferedPlace,
        reference: &Reference,
    ) -> Result<Option<OfferedImage>, Status> {
        let mut client = self.client(node, false)?;
        let request = OfferedImageRequest {
            place: Some(self.named(place)),
            reference: reference.to_string(),
        };
        let silent = |_| Status::deadline_exceeded("no answer");
        let reply = timeout(ANSWER_TIMEOUT, client.find_offered(request)).await;
        match reply.map_err(silent)? {
            Ok(reply) => match reply.into_inner().result {
                Some(Reply::Found(found)) => Ok(Some(found)),
                Some(Reply::Absent(_)) => Ok(None),
                None => Err(Status::unknown("an empty answer")),
            },
            // Of an older release: it lets nobody read through.
            Err(status) if status.code() == Code::Unimplemented => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// A place as this region's.
    pub(super) fn named(&self, place: OfferedPlace) -> OfferedPlace {
        OfferedPlace {
            region: self.blobs.region().to_string(),
            ..place
        }
    }

    #[allow(clippy::result_large_err, reason = "tonic's error type")]
    pub(super) fn client(
        &self,
        node: u64,
        bulk: bool,
    ) -> Result<ReplicationClient<PeerChannel>, Status> {
        let peers = self.blobs.peers();
        let channel = if bulk {
            peers.bulk_channel(node)
        } else {
            peers.channel(node)
        };
        let channel = channel.ok_or_else(|| Status::unavailable("no such node"))?;
        Ok(ReplicationClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
    }
}

// === impl Target ===

impl Target {
    pub(super) fn new(account: &AccountId, repository: &RepositoryName) -> Self {
        Self {
            account: account.clone(),
            repository: repository.clone(),
        }
    }

    #[allow(clippy::result_large_err, reason = "tonic's error type")]
    pub(super) fn read(place: &OfferedPlace) -> Result<Self, Status> {
        Ok(Self {
            account: wire::name(&place.account)?,
            repository: wire::name(&place.repository)?,
        })
    }

    /// As a source is asked about it; none: as a node of this region is.
    pub(super) fn place(&self, source: Option<&Source>) -> OfferedPlace {
        OfferedPlace {
            region: String::new(),
            account: self.account.to_string(),
            repository: self.repository.to_string(),
            source_account: source.map(|it| it.account.to_string()).unwrap_or_default(),
        }
    }
}
