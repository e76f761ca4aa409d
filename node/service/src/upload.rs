//! Upload sessions. A session belongs to the node that opened it; requests that
//! reach another node are passed on to the owner as they arrive.
//!
//! Bytes that were received stay received when a client goes away in
//! mid-request; it may ask how many and go on from there. A session ends when
//! its blob is linked or refused for good, with a cancel, or with the first sweep
//! after it has been idle for too long.

mod owned;
mod sink;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest, RepositoryName};
use futures::Stream;
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::peer::upload_ref;
use crate::session::SessionId;
use crate::sessions::{Session, Sessions};
use crate::{BlobInfo, Caller, Registry, ServiceError, Target};

/// The least that whoever begins an upload is to bring: where there is no room for
/// that, none is begun.
const LEAST_BYTES: u64 = 1;

/// The body of a request. An error means that the client went away or broke its
/// framing.
pub type BodyStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// Where an upload stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadState {
    /// Names the session in further requests.
    pub session: String,
    /// Bytes received so far.
    pub size: u64,
}

/// One request's bytes for an upload.
pub struct UploadChunk {
    /// Where the client says they start; none: where the last ones ended.
    pub offset: Option<u64>,
    /// How many it says they are.
    pub length: Option<u64>,
    pub body: BodyStream,
}

// === impl UploadChunk ===

impl UploadChunk {
    /// How many bytes of the blob there are to be with these, as far as the request
    /// tells before they come.
    fn told_bytes(&self) -> u64 {
        let before = self.offset.unwrap_or(0);
        before.saturating_add(self.length.unwrap_or(0))
    }
}

impl fmt::Debug for UploadChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadChunk")
            .field("offset", &self.offset)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

// === impl Registry ===

impl Registry {
    /// Opens a session on this node.
    pub async fn open_upload(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        algorithm: Option<Algorithm>,
    ) -> Result<UploadState, ServiceError> {
        self.authorize(
            who,
            "ecr:InitiateLayerUpload",
            Target::Repository(repository),
        )?;
        self.creates_for(who, repository).await?;
        self.fits((&who.account, repository), LEAST_BYTES, None)
            .await?;
        let owner = self.peers.own().id;
        let session = self.sessions.open(owner, who, repository, algorithm)?;
        Ok(self.upload_name(&session))
    }

    /// Opens a session in a repository that exists, for a client that names its
    /// uploads by UUIDs.
    pub async fn open_part_upload(
        &self,
        who: &Caller,
        repository: &RepositoryName,
    ) -> Result<String, ServiceError> {
        self.authorize(
            who,
            "ecr:InitiateLayerUpload",
            Target::Repository(repository),
        )?;
        self.existing(who, repository).await?;
        self.fits((&who.account, repository), LEAST_BYTES, None)
            .await?;
        let owner = self.peers.own().id;
        let session = self.sessions.open(owner, who, repository, None)?;
        session.count_parts();
        let random = session.random;
        Ok(SessionId { owner, random }.uuid())
    }

    /// The name, as all other calls take it, of the session that such a client
    /// calls `uuid`.
    pub fn part_upload(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        uuid: &str,
    ) -> Option<String> {
        let id = SessionId::of_uuid(uuid)?;
        Some(self.names.name(&id, &who.account, repository))
    }

    /// Adds a request's bytes to a session.
    pub async fn append_upload(
        self: &Arc<Self>,
        who: &Caller,
        repository: &RepositoryName,
        session: &str,
        chunk: UploadChunk,
    ) -> Result<UploadState, ServiceError> {
        self.authorize(who, "ecr:UploadLayerPart", Target::Repository(repository))?;
        let id = self.session_id(who, repository, session)?;
        let size = if id.owner == self.peers.own().id {
            let owned = self.sessions.get(&id, &who.account, repository)?;
            self.append_owned(owned, chunk).await?
        } else {
            // Before the body is asked for; the owner looks at all of the blob.
            let told = chunk.told_bytes();
            self.fits((&who.account, repository), told, None).await?;
            let upload = upload_ref(who, repository, session);
            Box::pin(self.relay_append(&id, upload, chunk)).await?
        };
        Ok(UploadState {
            session: session.to_owned(),
            size,
        })
    }

    /// Adds the last bytes, checks the digest, makes the blob durable and links
    /// it to the repository.
    pub async fn finish_upload(
        self: &Arc<Self>,
        who: &Caller,
        repository: &RepositoryName,
        session: &str,
        chunk: UploadChunk,
        digest: Digest,
    ) -> Result<BlobInfo, ServiceError> {
        self.authorize(
            who,
            "ecr:CompleteLayerUpload",
            Target::Repository(repository),
        )?;
        // It may have gone since the upload was opened.
        self.creates_for(who, repository).await?;
        let id = self.session_id(who, repository, session)?;
        if id.owner == self.peers.own().id {
            let owned = self.sessions.get(&id, &who.account, repository)?;
            self.finish_owned(owned, chunk, digest).await
        } else {
            let told = chunk.told_bytes();
            self.fits((&who.account, repository), told, Some(&digest))
                .await?;
            let upload = upload_ref(who, repository, session);
            Box::pin(self.relay_finish(&id, upload, chunk, &digest)).await?;
            self.blob_info(who, repository, &digest).await
        }
    }

    /// A whole blob in one request.
    pub async fn push_blob(
        self: &Arc<Self>,
        who: &Caller,
        repository: &RepositoryName,
        digest: Digest,
        length: Option<u64>,
        body: BodyStream,
    ) -> Result<BlobInfo, ServiceError> {
        for action in [
            "ecr:InitiateLayerUpload",
            "ecr:UploadLayerPart",
            "ecr:CompleteLayerUpload",
        ] {
            self.authorize(who, action, Target::Repository(repository))?;
        }
        self.creates_for(who, repository).await?;
        // Nobody knows its name, and nobody could go on with it.
        let session = Sessions::unnamed(self.peers.own().id, who, repository, digest.algorithm())?;
        let chunk = UploadChunk {
            offset: None,
            length,
            body,
        };
        let registry = Arc::clone(self);
        let pushed = spawn(async move { registry.finish_here(&session, chunk, digest).await });
        pushed
            .await
            .unwrap_or_else(|error| Err(ServiceError::internal(&error)))
    }

    /// Bytes received so far.
    pub async fn upload_state(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        session: &str,
    ) -> Result<UploadState, ServiceError> {
        self.authorize(who, "ecr:UploadLayerPart", Target::Repository(repository))?;
        let id = self.session_id(who, repository, session)?;
        let size = if id.owner == self.peers.own().id {
            self.sessions.get(&id, &who.account, repository)?.size()
        } else {
            let upload = upload_ref(who, repository, session);
            Box::pin(self.relay_status(&id, upload)).await?
        };
        Ok(UploadState {
            session: session.to_owned(),
            size,
        })
    }

    /// Ends a session and removes its bytes.
    pub async fn cancel_upload(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        session: &str,
    ) -> Result<(), ServiceError> {
        self.authorize(who, "ecr:UploadLayerPart", Target::Repository(repository))?;
        let id = self.session_id(who, repository, session)?;
        if id.owner == self.peers.own().id {
            let owned = self.sessions.get(&id, &who.account, repository)?;
            self.cancel_owned(&owned).await
        } else {
            let upload = upload_ref(who, repository, session);
            Box::pin(self.relay_cancel(&id, upload)).await
        }
    }

    fn session_id(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        session: &str,
    ) -> Result<SessionId, ServiceError> {
        self.names
            .parse(session, &who.account, repository)
            .ok_or(ServiceError::UploadUnknown)
    }

    fn upload_name(&self, session: &Session) -> UploadState {
        let id = SessionId {
            owner: self.peers.own().id,
            random: session.random,
        };
        UploadState {
            session: self.names.name(&id, &session.account, &session.repository),
            size: session.size(),
        }
    }
}

/// Work that goes on without its request, and whose log lines stay the request's.
fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(work.in_current_span())
}
