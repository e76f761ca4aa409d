//! Whole images that a source sends as if all they name were here.
//!
//! Links what is here already, takes what came along, and stores the manifests
//! from the leaves to the root; or says what is lacking and stores none of them.

use std::collections::BTreeSet;

use bytes::Bytes;
use entrepot_metadata::query;
use entrepot_metadata::records::Origin;
use entrepot_oci::{AccountId, Digest, RegionName, RepositoryName};
use entrepot_proto::peer::replica_image_reply::Result as Reply;
use entrepot_proto::peer::{
    Blank, MissingReply, Refusal, ReplicaImage, ReplicaImageReply, ReplicaImages, ReplicaManifest,
};
use futures::future::try_join_all;
use futures::{StreamExt as _, stream};
use tokio::sync::mpsc;
use tonic::Status;
use tracing::warn;

use super::claims::Place;
use super::{DENIED, ReplicaServer, origin_at};
use crate::error::{ReplicationError, chain};
use crate::upload::Stored;
use crate::wire;

/// Images of one call.
pub(crate) const IMAGES_MAX: usize = 256;
/// Images of one call that are stored at the same time.
const AT_ONCE: usize = 32;
/// Blobs that an image may name, and manifests that may come with it.
const NAMED_MAX: usize = 100_000;

/// What one image needs.
struct Wanted {
    account: AccountId,
    repository: RepositoryName,
    blobs: Vec<Digest>,
    /// The content of some of them.
    contents: Vec<(Digest, Bytes)>,
}

// === impl ReplicaServer ===

impl ReplicaServer {
    /// Stores what was sent, and answers for each image as soon as that is known.
    pub(super) async fn store_images(
        self,
        request: ReplicaImages,
        replies: mpsc::Sender<Result<ReplicaImageReply, Status>>,
    ) {
        let source = &request.source_region;
        let stored = request.images.into_iter().zip(0..).map(|(image, nth)| {
            let server = &self;
            async move {
                let result = server.store_image(source, image).await;
                ReplicaImageReply {
                    image: nth,
                    result: Some(result),
                }
            }
        });
        let mut stored = stream::iter(stored).buffer_unordered(AT_ONCE);
        while let Some(reply) = stored.next().await {
            if replies.send(Ok(reply)).await.is_err() {
                // Whoever asked will ask again.
                return;
            }
        }
    }

    async fn store_image(&self, source: &str, image: ReplicaImage) -> Reply {
        match self.try_image(source, image).await {
            Ok(missing) if missing.blobs.is_empty() => Reply::Done(Blank {}),
            Ok(missing) => Reply::Missing(missing),
            Err(error) if error.is_transient() => {
                let why = chain(&error);
                warn!(error = why, "a replica could not be taken");
                Reply::Retry(why)
            }
            Err(ReplicationError::Denied(message)) => Reply::Refusal(Refusal {
                code: DENIED.to_owned(),
                message,
                number: None,
            }),
            Err(error) => Reply::Refusal(Refusal {
                code: "refused".to_owned(),
                message: match error {
                    ReplicationError::Refused(message) => message,
                    other => chain(&other),
                },
                number: None,
            }),
        }
    }

    /// What is missing; nothing: it is stored.
    async fn try_image(
        &self,
        source: &str,
        image: ReplicaImage,
    ) -> Result<MissingReply, ReplicationError> {
        let bad = |status: Status| ReplicationError::Refused(status.message().to_owned());
        let _: RegionName = wire::name(source).map_err(bad)?;
        let wanted = Wanted::read(&image).map_err(bad)?;
        self.admit(&image.source_account, &wanted.account, &wanted.repository)?;
        if self.was_deleted(source, &image, &wanted)? {
            // It needs nothing to be forgotten, along with its tag.
            if let Some(own) = image.manifests.last() {
                let own = manifest(source, &image, own, &image.tag);
                self.store_manifest(own).await?;
            }
            return Ok(MissingReply::default());
        }
        let missing = self.gather(&wanted).await?;
        if !missing.is_empty() {
            return Ok(MissingReply {
                blobs: missing.iter().map(ToString::to_string).collect(),
                manifests: Vec::new(),
            });
        }
        let Some((own, children)) = image.manifests.split_last() else {
            return Err(ReplicationError::Refused("an image of nothing".to_owned()));
        };
        for child in children {
            let digest = wire::digest(&child.digest).map_err(bad)?;
            let view = self.metadata.view(&self.group)?;
            let (account, repository) = (&wanted.account, &wanted.repository);
            let found = query::manifest_entry(view.as_ref(), account, repository, &digest)?;
            drop(view);
            if found.is_none() {
                let child = manifest(source, &image, child, "");
                self.store_manifest(child).await?;
            }
        }
        let own = manifest(source, &image, own, &image.tag);
        self.store_manifest(own).await?;
        Ok(MissingReply::default())
    }

    /// Whether the source has deleted the image after this push of it: it may have
    /// been long on its way.
    fn was_deleted(
        &self,
        region: &str,
        image: &ReplicaImage,
        wanted: &Wanted,
    ) -> Result<bool, ReplicationError> {
        let Some(own) = image.manifests.last() else {
            return Ok(false);
        };
        let bad = |status: Status| ReplicationError::Refused(status.message().to_owned());
        let digest = wire::digest(&own.digest).map_err(bad)?;
        let (account, repository) = (&wanted.account, &wanted.repository);
        let origin = Origin {
            region: region.to_owned(),
            account: image.source_account.clone(),
            repository: image.source_repository.clone(),
            sequence: image.source_sequence,
        };
        let origin = origin_at(&origin, (account, repository))?;
        let view = self.metadata.view(&self.group)?;
        let deleted = query::was_deleted(view.as_ref(), account, repository, &digest, &origin);
        Ok(deleted?)
    }

    /// Makes sure that the repository has these blobs, as far as that needs no
    /// more bytes; those that it lacks.
    async fn gather(&self, wanted: &Wanted) -> Result<Vec<Digest>, ReplicationError> {
        let mut missing = self.take_here(wanted, &wanted.blobs).await?;
        if !missing.is_empty() {
            // What this node's copy does not show yet may be here all the same.
            self.metadata.linearize(&self.group).await?;
            missing = self.take_here(wanted, &missing).await?;
        }
        if !missing.is_empty() && self.await_arrivals(&missing).await {
            missing = self.take_here(wanted, &missing).await?;
        }
        Ok(missing)
    }

    async fn take_here(
        &self,
        wanted: &Wanted,
        blobs: &[Digest],
    ) -> Result<Vec<Digest>, ReplicationError> {
        let (account, repository) = (&wanted.account, &wanted.repository);
        let taken = blobs.iter().map(async |digest| {
            let content = wanted.contents.iter().find(|(of, _)| of == digest);
            let has = match content {
                None => self.has_blob(account, repository, digest).await?,
                Some((_, content)) => {
                    self.take_content(wanted, *digest, content.clone()).await?;
                    true
                }
            };
            Ok::<_, ReplicationError>((*digest, has))
        });
        let taken = try_join_all(taken).await?.into_iter();
        Ok(taken
            .filter(|(_, has)| !has)
            .map(|(digest, _)| digest)
            .collect())
    }

    async fn take_content(
        &self,
        wanted: &Wanted,
        digest: Digest,
        content: Bytes,
    ) -> Result<(), ReplicationError> {
        let (account, repository) = (&wanted.account, &wanted.repository);
        let view = self.metadata.view(&self.group)?;
        if query::linked(view.as_ref(), account, repository, &digest)? {
            return Ok(());
        }
        drop(view);
        let stored = Stored::inline(digest, content)?;
        let place = Place {
            account,
            repository,
        };
        let link = stored.link(account, repository, self.clock.now_ms());
        self.link(&place, link).await
    }
}

// === impl Wanted ===

impl Wanted {
    #[allow(clippy::result_large_err, reason = "tonic's error type")]
    fn read(image: &ReplicaImage) -> Result<Self, Status> {
        if image.blobs.len() > NAMED_MAX || image.manifests.len() > NAMED_MAX {
            return Err(Status::invalid_argument("an image of too many parts"));
        }
        let blobs: BTreeSet<Digest> = image
            .blobs
            .iter()
            .map(|digest| wire::digest(digest))
            .collect::<Result<_, _>>()?;
        let contents = image.contents.iter().map(|blob| {
            let digest = wire::digest(&blob.digest)?;
            Ok((digest, blob.content.clone()))
        });
        Ok(Self {
            account: wire::name(&image.account)?,
            repository: wire::name(&image.repository)?,
            blobs: blobs.into_iter().collect(),
            contents: contents.collect::<Result<_, Status>>()?,
        })
    }
}

fn manifest(
    source: &str,
    image: &ReplicaImage,
    manifest: &entrepot_proto::peer::ReplicaImageManifest,
    tag: &str,
) -> ReplicaManifest {
    ReplicaManifest {
        account: image.account.clone(),
        source_account: image.source_account.clone(),
        repository: image.repository.clone(),
        digest: manifest.digest.clone(),
        media_type: manifest.media_type.clone(),
        content: manifest.content.clone(),
        tag: tag.to_owned(),
        source_region: source.to_owned(),
        source_sequence: image.source_sequence,
        source_repository: image.source_repository.clone(),
        absent: manifest.absent.clone(),
    }
}
