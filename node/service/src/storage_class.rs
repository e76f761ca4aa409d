//! The two storage classes: what is in the archive is listed, and not given.
//!
//! The bytes stay where they are: a class says who may have an image, not what it
//! costs. The invariant: that an image is not given is only told after a linearizable
//! look, as that it is not there.

use entrepot_metadata::command::SetStorageClass;
use entrepot_metadata::query;
use entrepot_metadata::response::{Outcome, StorageClassSet};
use entrepot_metadata::{KeyValue, StorageError};
use entrepot_oci::{Digest, Reference, RegistryId, RepositoryName};

use crate::metadata::refused;
use crate::{Caller, ImageInfo, Registry, ServiceError, Target};

/// What a state machine has to understand for images to go into the archive.
pub(crate) const LEVEL: u32 = 9;
/// Images that name a layer and are looked at, whether they are in the archive.
const USES_MAX: usize = 1_000;

/// Which images a listing has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClassFilter {
    /// Those that can be pulled.
    #[default]
    Standard,
    Archive,
    Any,
}

/// What became of an image.
#[derive(Debug, Clone)]
pub struct MovedImage {
    pub image: ImageInfo,
    /// It, and those that went along; 0: it was there.
    pub moved: u64,
    /// What refers to it was so much that some may have stayed where it was.
    pub left: bool,
}

// === impl ClassFilter ===

impl ClassFilter {
    pub fn shows(self, is_archived: bool) -> bool {
        match self {
            Self::Standard => !is_archived,
            Self::Archive => is_archived,
            Self::Any => true,
        }
    }
}

impl Registry {
    /// Puts an image into the archive, or brings it back.
    ///
    /// # Errors
    /// `Referenced` when it is to go and an index names it that can be pulled.
    pub async fn set_storage_class(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        reference: &Reference,
        archive: bool,
    ) -> Result<MovedImage, ServiceError> {
        let action = "ecr:UpdateImageStorageClass";
        let image = self.image_for(who, action, repository, reference).await?;
        if who.account.is_public() {
            return Err(ServiceError::Unsupported(
                "public registries have no archive".to_owned(),
            ));
        }
        self.knows_archive()?;
        let (account, at_ms) = (&who.account, self.cluster_clock.now_ms());
        let command = SetStorageClass::new(account, repository, &image.digest, archive, at_ms);
        let response = self.propose(command.into()).await?;
        let set = match response.into_result().map_err(refused)? {
            Outcome::StorageClassSet(set) => set,
            _ => StorageClassSet::default(),
        };
        let reference = Reference::Digest(image.digest);
        let image = self.image_for(who, action, repository, &reference).await?;
        Ok(MovedImage {
            image,
            moved: set.images,
            left: set.left,
        })
    }

    fn knows_archive(&self) -> Result<(), ServiceError> {
        if self.metadata.understands(LEVEL)? {
            return Ok(());
        }
        Err(ServiceError::Unsupported(
            "not every node of the region is new enough to have an archive".to_owned(),
        ))
    }

    /// That what was not found is not in the archive. The look that has not found it
    /// has brought this node's copy up to date.
    ///
    /// # Errors
    /// `ImageArchived`
    pub(crate) fn not_archived(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<(), ServiceError> {
        let (view, account) = (self.local()?, &who.account);
        let view = view.as_ref();
        let digest = match reference {
            Reference::Digest(digest) => Some(*digest),
            Reference::Tag(tag) => {
                let found = query::tag(view, account, repository, tag)?;
                found.map(|found| found.digest)
            }
        };
        match digest {
            Some(digest) if query::is_archived(view, account, repository, &digest)? => {
                Err(ServiceError::ImageArchived(reference.to_string()))
            }
            _ => Ok(()),
        }
    }

    /// Whether all images of a repository that name a layer are in the archive. Of a
    /// layer that more of them name than are looked at it is not said.
    pub async fn is_layer_archived(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        layer: &Digest,
    ) -> Result<bool, ServiceError> {
        let target = Target::Repository(repository);
        self.authorize(who, "ecr:BatchCheckLayerAvailability", target)?;
        self.layer_archived(who, repository, layer).await
    }

    /// The same for whoever was asked already.
    pub(crate) async fn layer_archived(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        layer: &Digest,
    ) -> Result<bool, ServiceError> {
        let account = &who.account;
        // Most are not, and this node's copy is enough to say so.
        let is_archived = is_archived_at(self.local()?.as_ref(), account, repository, layer)?;
        if !is_archived {
            return Ok(false);
        }
        let view = self.current().await?;
        Ok(is_archived_at(view.as_ref(), account, repository, layer)?)
    }
}

/// Deleted images name their layers until they can no longer be restored: they do not
/// count.
fn is_archived_at(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    layer: &Digest,
) -> Result<bool, StorageError> {
    let images = query::images_naming(view, account, repository, layer, USES_MAX)?;
    if images.len() == USES_MAX {
        return Ok(false);
    }
    let mut is_archived = false;
    for image in images {
        match query::manifest_entry(view, account, repository, &image)? {
            Some(entry) if entry.archived_at_ms.is_none() => return Ok(false),
            Some(_) => is_archived = true,
            None => {}
        }
    }
    Ok(is_archived)
}
