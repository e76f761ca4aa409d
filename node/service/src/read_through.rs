//! Pulls of what is still on its way from another region.
//!
//! Asked for only where this region has said, after a linearizable look, that it
//! has nothing; so it costs those nothing who pull what is here. The invariant:
//! whoever may pull it here gets it, and nobody else: the caller was asked before.
//!
//! What waits for another region is boxed: its state is kilobytes, which every pull
//! would carry around otherwise.

use std::ops::Range;
use std::sync::{Arc, OnceLock, Weak};

use entrepot_blobs::BlobStream;
use entrepot_metadata::query::ServedManifest;
use entrepot_oci::{AccountId, Digest, Reference, RepositoryName};
use entrepot_replication::chain;
use entrepot_replication::replica::through::ReadThrough;
use tracing::info;

use crate::{BlobInfo, Caller, Registry, ServiceError};

/// Set once the node has put its parts together. It holds the registry, which must
/// not hold it.
#[derive(Debug, Default)]
pub(crate) struct Through(OnceLock<Weak<ReadThrough>>);

// === impl Registry ===

impl Registry {
    /// Lets pulls of what is not here be served from other regions.
    pub fn read_through(&self, through: &Arc<ReadThrough>) {
        // Only the first counts, and there is one.
        let _ = self.through.0.set(Arc::downgrade(through));
    }

    /// Whom to ask; none: nobody, as for public registries, which are nowhere else.
    fn through(&self, who: &Caller) -> Option<(Arc<ReadThrough>, AccountId)> {
        let through = self.through.0.get().and_then(Weak::upgrade)?;
        (!who.account.is_public()).then(|| (through, who.account.account()))
    }

    pub(crate) async fn manifest_elsewhere(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        reference: &Reference,
    ) -> Result<Option<ServedManifest>, ServiceError> {
        let Some((through, account)) = self.through(who) else {
            return Ok(None);
        };
        Ok(Box::pin(through.manifest(&account, repository, reference)).await?)
    }

    pub(crate) async fn blob_elsewhere(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<BlobInfo>, ServiceError> {
        let Some((through, account)) = self.through(who) else {
            return Ok(None);
        };
        let size = Box::pin(through.size(&account, repository, digest)).await?;
        let digest = *digest;
        Ok(size.map(|size| BlobInfo { digest, size }))
    }

    pub(crate) async fn open_elsewhere(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<(BlobInfo, BlobStream)>, ServiceError> {
        let Some((through, account)) = self.through(who) else {
            return Ok(None);
        };
        let opened = Box::pin(through.open(&account, repository, digest, range)).await?;
        let digest = *digest;
        Ok(opened.map(|(size, content)| (BlobInfo { digest, size }, content)))
    }

    /// Makes those of these blobs that another region has this region's own: whoever
    /// was told that they are here may name them. What cannot be brought is not
    /// here. Whether anybody was asked.
    pub(crate) async fn bring(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digests: &[Digest],
    ) -> bool {
        let Some((through, account)) = self.through(who) else {
            return false;
        };
        if let Err(error) = Box::pin(through.bring(&account, repository, digests)).await {
            let error = chain(&error);
            info!(%repository, error, "blobs that a push names cannot be read through");
        }
        true
    }
}
