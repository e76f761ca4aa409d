//! Blobs of a repository: look, read, link, mount, unlink.

use std::ops::Range;

use entrepot_blobs::BlobStream;
use entrepot_metadata::KeyValue;
use entrepot_metadata::command::{LinkBlob, MountBlob, UnlinkBlob};
use entrepot_metadata::query::{self, Blob};
use entrepot_metadata::response::Refused;
use entrepot_oci::{Digest, RegistryId, RepositoryName};
use entrepot_replication::collection::COLLECTION_LEVEL;
use entrepot_replication::upload::Stored;
use tracing::debug;

use crate::metadata::refused;
use crate::{Caller, Registry, ServiceError, Target};

/// Repositories with a blob that are looked at for one that a caller may read.
const LINKS_MAX: usize = 64;

/// A blob of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
}

impl Registry {
    /// The blob, if the repository has it.
    pub async fn stat_blob(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<BlobInfo, ServiceError> {
        let target = Target::Repository(repository);
        self.authorize(who, "ecr:BatchCheckLayerAvailability", target)?;
        let unknown = match self.blob_info(who, repository, digest).await {
            Ok(found) => {
                self.keep_for_push(who, repository, digest).await?;
                return Ok(found);
            }
            Err(error) if is_unknown(&error) => error,
            Err(error) => return Err(error),
        };
        match self.blob_elsewhere(who, repository, digest).await {
            Ok(Some(found)) => Ok(found),
            // It may have come meanwhile.
            Ok(None) => self.blob_info(who, repository, digest).await,
            // Whoever pushes asks this. A region that is away keeps nobody from it:
            // here it is not.
            Err(_) => Err(unknown),
        }
    }

    /// A client that pushes and learns that a blob is here names it instead of
    /// sending it. So its time to stay begins anew, as if it had been sent: it shall
    /// not be collected before the manifest comes.
    ///
    /// # Errors
    /// [`ServiceError::BlobUnknown`] if that has just happened.
    async fn keep_for_push(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), ServiceError> {
        let now_ms = self.cluster_clock.now_ms();
        let view = self.local()?;
        if !query::is_idle_link(view.as_ref(), &who.account, repository, digest, now_ms)?
            || !self.may(
                who,
                "ecr:InitiateLayerUpload",
                Target::Repository(repository),
            )?
        {
            return Ok(());
        }
        let again = MountBlob::new(&who.account, repository, repository, digest, now_ms);
        match self.propose(again.into()).await {
            Ok(response) => match response.into_result() {
                Ok(_) => Ok(()),
                Err(Refused::BlobsUnknown(_) | Refused::RepositoryUnknown(_)) => {
                    Err(ServiceError::BlobUnknown(*digest))
                }
                Err(other) => Err(refused(other)),
            },
            // What is here can be told without a leader; a push cannot go on then.
            Err(error) => {
                debug!(%error, %digest, "an unnamed blob was asked for and not kept longer");
                Ok(())
            }
        }
    }

    /// The same for whoever is to read it: what they may read they may know the
    /// size of.
    pub async fn stat_for_download(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<BlobInfo, ServiceError> {
        let target = Target::Repository(repository);
        self.authorize(who, "ecr:GetDownloadUrlForLayer", target)?;
        match self.blob_info(who, repository, digest).await {
            Err(error) if is_unknown(&error) => {
                match self.blob_elsewhere(who, repository, digest).await? {
                    Some(found) => Ok(found),
                    None => self.blob_info(who, repository, digest).await,
                }
            }
            other => other,
        }
    }

    pub(crate) async fn blob_info(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<BlobInfo, ServiceError> {
        let known = self.known_blob(who, repository, digest).await?;
        Ok(BlobInfo {
            digest: known.digest,
            size: known.size,
        })
    }

    /// The blob's bytes (`range`: those only), from wherever they are.
    pub async fn open_blob(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<(BlobInfo, BlobStream), ServiceError> {
        let target = Target::Repository(repository);
        self.authorize(who, "ecr:GetDownloadUrlForLayer", target)?;
        self.opened(who, repository, digest, range).await
    }

    async fn opened(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<(BlobInfo, BlobStream), ServiceError> {
        let known = match self.known_blob(who, repository, digest).await {
            Err(error) if is_unknown(&error) => {
                let opened = self
                    .open_elsewhere(who, repository, digest, range.clone())
                    .await?;
                match opened {
                    Some(opened) => return Ok(opened),
                    // It may have come meanwhile.
                    None => self.known_blob(who, repository, digest).await?,
                }
            }
            other => other?,
        };
        let info = BlobInfo {
            digest: known.digest,
            size: known.size,
        };
        let content = self.blobs.open(known, range).await?;
        Ok((info, content))
    }

    /// The blob's bytes from `offset` on, at most `length` of them.
    ///
    /// # Errors
    /// [`ServiceError::BeyondEnd`] when `offset` lies behind the blob's end.
    pub async fn open_blob_from(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
        offset: u64,
        length: Option<u64>,
    ) -> Result<(BlobInfo, BlobStream), ServiceError> {
        let target = Target::Repository(repository);
        self.authorize(who, "ecr:GetDownloadUrlForLayer", target)?;
        let known = self.stat_for_download(who, repository, digest).await?;
        let size = known.size;
        if offset > size {
            return Err(ServiceError::BeyondEnd { size });
        }
        let end = length.map_or(size, |length| offset.saturating_add(length).min(size));
        self.opened(who, repository, digest, Some(offset..end))
            .await
    }

    /// Links a blob of `from`, or of any repository of the registry if none is
    /// named, to `repository`. None: it cannot be mounted, an upload has to
    /// follow (OCI distribution 1.1, "Mounting a blob from another repository").
    /// So it is with one that the caller may not read, whether it is there or not.
    pub async fn mount_blob(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        from: Option<&RepositoryName>,
        digest: &Digest,
    ) -> Result<Option<BlobInfo>, ServiceError> {
        self.authorize(
            who,
            "ecr:InitiateLayerUpload",
            Target::Repository(repository),
        )?;
        let creates = self.creates_for(who, repository).await?;
        // An upload has to follow, which makes the repository.
        if !self.mounts(who)? {
            return Ok(None);
        }
        let create_repository = creates && self.creates_plain(&who.account, repository).await?;
        let from = match from {
            Some(from) => {
                let source = Target::Repository(from);
                match self.authorize(who, "ecr:GetDownloadUrlForLayer", source) {
                    Ok(()) => from.clone(),
                    Err(ServiceError::Denied(_) | ServiceError::Unauthorized) => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
            None => match self.any_with_blob(who, digest).await? {
                Some(from) => from,
                None => return Ok(None),
            },
        };
        let command = MountBlob {
            create_repository,
            ..MountBlob::new(
                &who.account,
                &from,
                repository,
                digest,
                self.cluster_clock.now_ms(),
            )
        };
        match self.propose(command.into()).await?.into_result() {
            Ok(_) => self.blob_info(who, repository, digest).await.map(Some),
            Err(Refused::BlobsUnknown(_)) => Ok(None),
            Err(other) => Err(refused(other)),
        }
    }

    /// Takes a blob out of a repository.
    pub async fn delete_blob(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), ServiceError> {
        self.authorize(who, "ecr:BatchDeleteImage", Target::Repository(repository))?;
        self.existing(who, repository).await?;
        let command = UnlinkBlob::new(&who.account, repository, digest);
        match self.propose(command.into()).await?.into_result() {
            Ok(_) => Ok(()),
            Err(Refused::BlobsUnknown(_)) => Err(ServiceError::BlobUnknown(*digest)),
            Err(Refused::BlobReferenced(referenced)) => {
                let here: Option<Digest> = referenced.by.parse().ok();
                let view = self.local()?;
                let deleted = here.map(|image| {
                    query::deleted_image(view.as_ref(), &who.account, repository, &image)
                });
                match deleted.transpose()?.flatten() {
                    Some(_) => Err(ServiceError::Held {
                        blob: *digest,
                        image: referenced.by,
                    }),
                    None => Err(refused(Refused::BlobReferenced(referenced))),
                }
            }
            Err(other) => Err(refused(other)),
        }
    }

    /// Makes a durable blob part of a repository, or a small one durable by that.
    /// False: it was collected after its copies were looked at.
    pub(crate) async fn link_blob(
        &self,
        account: &RegistryId,
        repository: &RepositoryName,
        stored: Stored,
    ) -> Result<bool, ServiceError> {
        let mut command = LinkBlob {
            create_repository: self.creates_plain(account, repository).await?,
            ..stored.link(account, repository, self.cluster_clock.now_ms())
        };
        if !self.metadata.understands(COLLECTION_LEVEL)? {
            // Before all nodes know of it nothing is collected.
            command.seen = None;
        }
        let response = self.propose(command.into()).await?;
        match response.into_result() {
            Ok(_) => Ok(true),
            Err(Refused::CollectedMeanwhile(_)) => Ok(false),
            Err(reason) => Err(refused(reason)),
        }
    }

    /// One of the repositories that have the blob and that `who` may read.
    async fn any_with_blob(
        &self,
        who: &Caller,
        digest: &Digest,
    ) -> Result<Option<RepositoryName>, ServiceError> {
        let links = |view: &dyn KeyValue| {
            let links = query::links(view, &who.account, digest, LINKS_MAX)?;
            Ok(Some(links).filter(|links| !links.is_empty()))
        };
        for from in self.find(links).await?.unwrap_or_default() {
            if self.may(who, "ecr:GetDownloadUrlForLayer", Target::Repository(&from))? {
                return Ok(Some(from));
            }
        }
        Ok(None)
    }

    pub(crate) async fn known_blob(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Blob, ServiceError> {
        let blob = self
            .find(|view| {
                if query::linked(view, &who.account, repository, digest)? {
                    query::blob(view, digest)
                } else {
                    Ok(None)
                }
            })
            .await?;
        if let Some(blob) = blob {
            return Ok(blob);
        }
        self.existing(who, repository).await?;
        Err(ServiceError::BlobUnknown(*digest))
    }
}

/// Whether there is no such blob here, as far as this region knows.
fn is_unknown(error: &ServiceError) -> bool {
    matches!(
        error,
        ServiceError::BlobUnknown(_) | ServiceError::NameUnknown(_)
    )
}
