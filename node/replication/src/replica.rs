//! The peer service `Replication`: the receiving end of a task.
//!
//! Everything is verified here, whatever the source says: bytes against their
//! digest, manifests against what this region has. A replica never starts a
//! task of its own.

mod answers;
mod claims;
mod deposit;
mod deposits;
mod following;
mod images;
mod passing;
mod source;
pub mod through;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use entrepot_metadata::GroupId;
use entrepot_metadata::command::{
    Author, Command, CreateRepository, DeleteReplica, LinkBlob, PutManifest, UNDELETE_LEVEL,
};
use entrepot_metadata::query::{self, Cause, CreatedFor, Destination, TagOrigin};
use entrepot_metadata::records::Origin;
use entrepot_metadata::response::Refused;
use entrepot_metadata::seam::{Metadata, MetadataError};
use entrepot_oci::{
    AccountId, Digest, MANIFEST_BYTES_MAX, Manifest, MediaType, RepositoryName, Tag,
};
use entrepot_proto::environment::Clock;
use entrepot_proto::peer::replica_blob::Part;
use entrepot_proto::peer::replication_server::Replication;
use entrepot_proto::peer::{
    AdmitReply, AdmitRequest, Blank, DepositName, DepositPart, DepositReply, MissingReply,
    MissingRequest, OfferedBlobReply, OfferedBlobRequest, OfferedImageReply, OfferedImageRequest,
    OffersReply, OffersRequest, PassOnRequest, ReplicaBlob, ReplicaBlobHeader, ReplicaDeletion,
    ReplicaImageReply, ReplicaImages, ReplicaManifest, ReplicaReply, ReplicaSettings, SettledReply,
    SettledRequest, offered_image_reply,
};
use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::admission::{Admission, Question, Wish};
use crate::collection::COLLECTION_LEVEL;
use crate::denied;
use crate::error::{ReplicationError, chain};
use crate::outbox::Outbox;
use crate::upload::{Stored, Upload};
use crate::{ClusterBlobs, wire};

use self::answers::{reply, status};
use self::claims::Place;
use self::deposits::Deposits;
pub(crate) use self::images::IMAGES_MAX;
use self::passing::Places;
use self::source::Offered;
use self::through::{Target, Through};

/// Digests answered for in one call.
pub(crate) const ASKED_MAX: usize = 10_000;
/// How a refusal says that the account does not allow it.
pub(crate) const DENIED: &str = "denied";
/// From which on all nodes know of the order of pushes and deletions.
const ORDERED_LEVEL: u32 = 9;
/// Pieces of a blob that wait for whoever reads it.
const OFFERED_PIECES_MAX: usize = 4;
/// Where to go on, and how it ended.
const DEPOSIT_REPLIES_MAX: usize = 4;
/// For the source to send the next piece of a blob.
const PIECE_TIMEOUT: Duration = Duration::from_mins(10);

/// Where the bytes of a blob gather.
enum Sink {
    /// Few enough for the metadata to keep them.
    Memory(BytesMut),
    Upload(Box<Upload>),
}

/// Takes what other regions send.
#[derive(Debug, Clone)]
pub struct ReplicaServer {
    blobs: Arc<ClusterBlobs>,
    metadata: Arc<dyn Metadata>,
    group: GroupId,
    clock: Arc<dyn Clock>,
    admission: Arc<dyn Admission>,
    deposits: Arc<Deposits>,
    through: Arc<Through>,
    passing: Arc<Places>,
}

// === impl ReplicaServer ===

impl ReplicaServer {
    pub fn new(
        blobs: Arc<ClusterBlobs>,
        metadata: Arc<dyn Metadata>,
        clock: Arc<dyn Clock>,
        admission: Arc<dyn Admission>,
    ) -> Self {
        let group = GroupId::region(blobs.region().clone());
        blobs.attach(&metadata);
        Self {
            blobs,
            metadata,
            group,
            clock,
            admission,
            deposits: Arc::default(),
            through: Arc::default(),
            passing: Arc::default(),
        }
    }

    /// Bytes that were sent along with an upload go if no image names them for so
    /// long.
    #[must_use]
    pub fn keeping_unnamed(mut self, time: Duration) -> Self {
        self.deposits = Arc::new(Deposits::keeping(time));
        self
    }

    /// # Errors
    /// `Denied` when `account` does not take what `source` (empty: itself) sends.
    fn admit(
        &self,
        source: &str,
        account: &AccountId,
        repository: &RepositoryName,
    ) -> Result<(), ReplicationError> {
        self.admit_to(Wish::Bring, source, account, repository)
    }

    fn admit_to(
        &self,
        wish: Wish,
        source: &str,
        account: &AccountId,
        repository: &RepositoryName,
    ) -> Result<(), ReplicationError> {
        if source.is_empty() {
            return Ok(());
        }
        let bad = |status: Status| ReplicationError::Refused(status.message().to_owned());
        let source: AccountId = wire::name(source).map_err(bad)?;
        let question = Question {
            source: &source,
            account,
            repository,
            wish,
        };
        Ok(self.admission.check(&question)?)
    }

    /// Whether `repository` has the blob, after linking it if only another
    /// repository of this region had it.
    async fn has_blob(
        &self,
        account: &AccountId,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, ReplicationError> {
        let view = self.metadata.view(&self.group)?;
        if query::linked(view.as_ref(), account, repository, digest)? {
            return Ok(true);
        }
        let mut found = query::blob(view.as_ref(), digest)?;
        drop(view);
        let place = Place {
            account,
            repository,
        };
        if found.is_none() {
            if self.claim(&place, digest).await? {
                return Ok(true);
            }
            // Somebody else may have claimed it meanwhile.
            found = query::blob(self.metadata.view(&self.group)?.as_ref(), digest)?;
        }
        let Some(blob) = found else {
            return Ok(false);
        };
        let link = LinkBlob {
            // What is said of its copies may not be so any more when this is applied.
            must_be_known: self.metadata.understands(COLLECTION_LEVEL)?,
            ..LinkBlob::new(account, repository, &blob, self.clock.now_ms())
        };
        self.link(&place, link).await?;
        Ok(true)
    }

    async fn store_blob(
        &self,
        header: ReplicaBlobHeader,
        mut parts: Streaming<ReplicaBlob>,
    ) -> Result<(), ReplicationError> {
        let bad = |status: Status| ReplicationError::Refused(status.message().to_owned());
        let digest = wire::digest(&header.digest).map_err(bad)?;
        let repository: RepositoryName = wire::name(&header.repository).map_err(bad)?;
        let account: AccountId = wire::name(&header.account).map_err(bad)?;
        self.admit(&header.source_account, &account, &repository)?;
        let mut sink = if header.size <= self.metadata.inline_bytes_max()? as u64 {
            Sink::Memory(BytesMut::new())
        } else {
            let key = digest.to_string();
            let upload = self.blobs.begin(digest.algorithm(), key.as_bytes()).await?;
            Sink::Upload(Box::new(upload))
        };
        let torn = |status| ReplicationError::peer(0, status);
        let silent = |_| torn(Status::deadline_exceeded("the source went silent"));
        let mut received = 0;
        loop {
            let next = tokio::time::timeout(PIECE_TIMEOUT, parts.message());
            let data = match next.await.map_err(silent)?.map_err(torn)? {
                None => break,
                Some(ReplicaBlob {
                    part: Some(Part::Data(data)),
                }) => data,
                Some(_) => return Err(ReplicationError::Refused("a second header".to_owned())),
            };
            received += data.len() as u64;
            if received > header.size {
                return Err(ReplicationError::Refused(format!(
                    "more than the {} bytes that were announced",
                    header.size
                )));
            }
            match &mut sink {
                Sink::Memory(content) => content.extend_from_slice(&data),
                Sink::Upload(upload) => upload.append(data).await?,
            }
        }
        if received < header.size {
            return Err(torn(Status::aborted("the stream ended early")));
        }
        let stored = match sink {
            Sink::Memory(content) => Stored::inline(digest, content.freeze())?,
            Sink::Upload(upload) => upload.commit(digest).await?,
        };
        let place = Place {
            account: &account,
            repository: &repository,
        };
        let link = stored.link(&account, &repository, self.clock.now_ms());
        self.link(&place, link).await
    }

    async fn store_manifest(&self, replica: ReplicaManifest) -> Result<(), ReplicationError> {
        let bad = |status: Status| ReplicationError::Refused(status.message().to_owned());
        let refused = |reason: String| ReplicationError::Refused(reason);
        let account: AccountId = wire::name(&replica.account).map_err(bad)?;
        let repository: RepositoryName = wire::name(&replica.repository).map_err(bad)?;
        self.admit(&replica.source_account, &account, &repository)?;
        let digest = wire::digest(&replica.digest).map_err(bad)?;
        let home = (&account, &repository);
        let origin = Origin {
            region: replica.source_region,
            account: replica.source_account,
            repository: replica.source_repository,
            sequence: replica.source_sequence,
        };
        let origin = origin_at(&origin, home)?;
        if replica.content.len() > MANIFEST_BYTES_MAX {
            return Err(refused(format!("{digest} is too large for a manifest")));
        }
        if Digest::of(digest.algorithm(), &replica.content) != digest {
            return Err(ReplicationError::Mismatch { expected: digest });
        }
        let media_type: MediaType = wire::name(&replica.media_type).map_err(bad)?;
        let manifest = Manifest::parse(&replica.content, Some(&media_type))
            .map_err(|error| refused(error.detail()))?;
        let mut tags = Vec::new();
        if !replica.tag.is_empty() {
            let tag: Tag = wire::name(&replica.tag).map_err(bad)?;
            let (account, repository) = (account.clone(), repository.clone());
            let seen = (account, repository, tag, origin.source.clone());
            // What was seen here at a newer push does not go back to this one.
            if self.through.floors.admits(&seen, replica.source_sequence) {
                tags.push(replica.tag);
            }
        }
        self.prepare(&account, &repository).await?;
        let command = PutManifest {
            tags,
            create_repository: true,
            origin: Some(origin.record(&account, &repository)),
            absent: replica.absent,
            ordered: self.metadata.understands(ORDERED_LEVEL)?,
            author: author(&origin, self.metadata.understands(UNDELETE_LEVEL)?),
            ..PutManifest::new(
                &account,
                &repository,
                &digest,
                &manifest,
                replica.content,
                self.clock.now_ms(),
            )
        };
        self.propose(command.into()).await
    }

    async fn delete_image(&self, deletion: ReplicaDeletion) -> Result<(), ReplicationError> {
        let bad = |status: Status| ReplicationError::Refused(status.message().to_owned());
        let account: AccountId = wire::name(&deletion.account).map_err(bad)?;
        let repository: RepositoryName = wire::name(&deletion.repository).map_err(bad)?;
        // Asked first: who may not, learns nothing of what there is.
        self.admit_to(
            Wish::Delete,
            &deletion.source_account,
            &account,
            &repository,
        )?;
        let digest = wire::digest(&deletion.digest).map_err(bad)?;
        let tag: Option<Tag> = match deletion.tag.as_str() {
            "" => None,
            tag => Some(wire::name(tag).map_err(bad)?),
        };
        let origin = Origin {
            region: deletion.source_region,
            account: deletion.source_account,
            repository: deletion.source_repository,
            sequence: deletion.source_sequence,
        };
        let origin = origin_at(&origin, (&account, &repository))?;
        // Where that is not known, the source asks again in a moment: nothing is lost
        // for good because a cluster is young.
        let Some(kept) = self.metadata.understands_or_unknown(UNDELETE_LEVEL)? else {
            let group = GroupId::global();
            return Err(MetadataError::NotYetKnown { group }.into());
        };
        let command = DeleteReplica {
            at_ms: self.clock.now_ms(),
            author: author(&origin, kept),
            ..DeleteReplica::new(&account, &repository, &digest, tag.as_ref(), &origin)
        };
        self.propose(command.into()).await
    }

    /// Makes a repository that is not there yet as the template for replicas says,
    /// if there is one; else what is stored in it makes it.
    async fn prepare(
        &self,
        account: &AccountId,
        repository: &RepositoryName,
    ) -> Result<(), ReplicationError> {
        let view = self.metadata.view(&self.group)?;
        if query::repository(view.as_ref(), account, repository)?.is_some() {
            return Ok(());
        }
        let way = CreatedFor::Replication;
        let spec = query::template_for(view.as_ref(), account, repository, way)?;
        drop(view);
        let Some(spec) = spec else { return Ok(()) };
        let command = CreateRepository {
            spec: Some(spec),
            ..CreateRepository::new(account, repository, self.clock.now_ms())
        };
        self.propose(command.into()).await
    }

    async fn propose(&self, command: Command) -> Result<(), ReplicationError> {
        let response = self.metadata.propose(&self.group, command).await?;
        match response.into_result() {
            Ok(_) => Ok(()),
            // Something it names and the source has went away since it was sent:
            // another attempt sends it again.
            Err(Refused::BlobsUnknown(_) | Refused::ManifestsUnknown(_)) => {
                Err(ReplicationError::Metadata(MetadataError::Unavailable {
                    group: self.group.clone(),
                    reason: "what the manifest names is not here yet".to_owned(),
                }))
            }
            // It is made anew once it is gone; an index that names what is deleted may
            // be deleted in a moment.
            // A quota may be raised.
            Err(
                later @ (Refused::RepositoryDeleting(_)
                | Refused::ManifestReferenced(_)
                | Refused::CollectedMeanwhile(_)
                | Refused::QuotaReached(_)),
            ) => Err(ReplicationError::Metadata(MetadataError::Unavailable {
                group: self.group.clone(),
                reason: later.to_string(),
            })),
            Err(other) => Err(ReplicationError::Refused(other.to_string())),
        }
    }
}

#[tonic::async_trait]
impl Replication for ReplicaServer {
    async fn missing(
        &self,
        request: Request<MissingRequest>,
    ) -> Result<Response<MissingReply>, Status> {
        let request = request.into_inner();
        let account: AccountId = wire::name(&request.account)?;
        let repository: RepositoryName = wire::name(&request.repository)?;
        if request.blobs.len() + request.manifests.len() > ASKED_MAX {
            return Err(Status::invalid_argument("too many digests at once"));
        }
        // What this node's copy does not show yet may be here all the same.
        self.metadata
            .linearize(&self.group)
            .await
            .map_err(|error| status(&error.into()))?;
        self.admit(&request.source_account, &account, &repository)
            .map_err(|error| status(&error))?;
        let mut missing = MissingReply::default();
        for text in request.blobs {
            let digest = wire::digest(&text)?;
            let has = self.has_blob(&account, &repository, &digest).await;
            if !has.map_err(|error| status(&error))? {
                missing.blobs.push(text);
            }
        }
        let view = self
            .metadata
            .view(&self.group)
            .map_err(|error| status(&error.into()))?;
        for text in request.manifests {
            let digest = wire::digest(&text)?;
            let found = query::manifest_entry(view.as_ref(), &account, &repository, &digest)
                .map_err(|error| status(&error.into()))?;
            if found.is_none() {
                missing.manifests.push(text);
            }
        }
        Ok(Response::new(missing))
    }

    async fn put_blob(
        &self,
        request: Request<Streaming<ReplicaBlob>>,
    ) -> Result<Response<ReplicaReply>, Status> {
        let mut parts = request.into_inner();
        let Some(Part::Header(header)) = parts.message().await?.and_then(|blob| blob.part) else {
            return Err(Status::invalid_argument("the first message is the header"));
        };
        reply(self.store_blob(header, parts).await)
    }

    async fn put_manifest(
        &self,
        request: Request<ReplicaManifest>,
    ) -> Result<Response<ReplicaReply>, Status> {
        reply(self.store_manifest(request.into_inner()).await)
    }

    type PutImagesStream = Pin<Box<dyn Stream<Item = Result<ReplicaImageReply, Status>> + Send>>;

    async fn put_images(
        &self,
        request: Request<ReplicaImages>,
    ) -> Result<Response<Self::PutImagesStream>, Status> {
        let request = request.into_inner();
        if request.images.len() > IMAGES_MAX {
            return Err(Status::invalid_argument("too many images at once"));
        }
        let (sender, replies) = mpsc::channel(IMAGES_MAX);
        tokio::spawn(self.clone().store_images(request, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }

    type DepositStream = Pin<Box<dyn Stream<Item = Result<DepositReply, Status>> + Send>>;

    async fn deposit(
        &self,
        request: Request<Streaming<DepositPart>>,
    ) -> Result<Response<Self::DepositStream>, Status> {
        let (sender, replies) = mpsc::channel(DEPOSIT_REPLIES_MAX);
        tokio::spawn(self.clone().receive(request.into_inner(), sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }

    async fn name_deposit(&self, request: Request<DepositName>) -> Result<Response<Blank>, Status> {
        self.name(request.get_ref())?;
        Ok(Response::new(Blank {}))
    }

    async fn pass_on(
        &self,
        request: Request<PassOnRequest>,
    ) -> Result<Response<ReplicaReply>, Status> {
        self.bring_on(request.get_ref()).await?;
        reply(Ok(()))
    }

    async fn offers(
        &self,
        request: Request<OffersRequest>,
    ) -> Result<Response<OffersReply>, Status> {
        let region = wire::name(&request.get_ref().region)?;
        let offers = self.offers_to(&region).map_err(|error| status(&error))?;
        Ok(Response::new(offers))
    }

    async fn find_offered(
        &self,
        request: Request<OfferedImageRequest>,
    ) -> Result<Response<OfferedImageReply>, Status> {
        let request = request.into_inner();
        let place = request.place.unwrap_or_default();
        let reference = wire::name(&request.reference)?;
        let found = if place.source_account.is_empty() {
            let target = Target::read(&place)?;
            let sources = self.sources(&target).map_err(|error| status(&error))?;
            self.find(&target, &sources, &reference).await
        } else {
            self.find_offered(&Offered::read(&place)?, &reference).await
        };
        let result = match found.map_err(|error| status(&error))? {
            Some(found) => offered_image_reply::Result::Found(found),
            None => offered_image_reply::Result::Absent(Blank {}),
        };
        Ok(Response::new(OfferedImageReply {
            result: Some(result),
        }))
    }

    type ReadOfferedStream = Pin<Box<dyn Stream<Item = Result<OfferedBlobReply, Status>> + Send>>;

    async fn read_offered(
        &self,
        request: Request<OfferedBlobRequest>,
    ) -> Result<Response<Self::ReadOfferedStream>, Status> {
        let (sender, replies) = mpsc::channel(OFFERED_PIECES_MAX);
        tokio::spawn(self.clone().serve_offered(request.into_inner(), sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(replies))))
    }

    async fn delete_image(
        &self,
        request: Request<ReplicaDeletion>,
    ) -> Result<Response<ReplicaReply>, Status> {
        // A repository that this node's copy does not show yet may be here.
        let linearized = self.metadata.linearize(&self.group).await;
        linearized.map_err(|error| status(&error.into()))?;
        reply(self.delete_image(request.into_inner()).await)
    }

    async fn settled(
        &self,
        request: Request<SettledRequest>,
    ) -> Result<Response<SettledReply>, Status> {
        let request = request.into_inner();
        let source: AccountId = wire::name(&request.source_account)?;
        let destination = Destination {
            region: wire::name(&request.region)?,
            account: wire::name(&request.account)?,
        };
        let metadata = self.metadata.as_ref();
        let sequence = Outbox::settled_here(metadata, &self.group, &source, &destination)
            .map_err(|error| status(&error))?;
        Ok(Response::new(SettledReply { sequence }))
    }

    async fn put_settings(
        &self,
        request: Request<ReplicaSettings>,
    ) -> Result<Response<ReplicaReply>, Status> {
        reply(self.take_settings(request.into_inner()).await)
    }

    async fn admit(&self, request: Request<AdmitRequest>) -> Result<Response<AdmitReply>, Status> {
        let request = request.into_inner();
        if request.repositories.len() > denied::ASKED_MAX {
            return Err(Status::invalid_argument("too many repositories at once"));
        }
        let account: AccountId = wire::name(&request.account)?;
        let wish = if request.deletions {
            Wish::Delete
        } else {
            Wish::Bring
        };
        let mut admitted = Vec::new();
        for text in request.repositories {
            let repository: RepositoryName = wire::name(&text)?;
            match self.admit_to(wish, &request.source_account, &account, &repository) {
                Ok(()) => admitted.push(text),
                Err(ReplicationError::Denied(_)) => {}
                Err(error) => return Err(status(&error)),
            }
        }
        Ok(Response::new(AdmitReply { admitted }))
    }
}

/// What says that a change came from another region; none where that is not to be said.
fn author(origin: &TagOrigin, is_said: bool) -> Option<Author> {
    let region = origin.source.region.as_str();
    is_said.then(|| Author::new(region, Cause::Replication))
}

/// Where something comes from that is for a repository here.
fn origin_at(
    told: &Origin,
    (account, repository): (&AccountId, &RepositoryName),
) -> Result<TagOrigin, ReplicationError> {
    TagOrigin::read(told, account, repository)
        .map_err(|error| ReplicationError::Refused(chain(&error)))
}
