//! Upload sessions. A session belongs to the node that opened it; requests that
//! reach another node are passed on to the owner as they arrive.
//!
//! Bytes that were received stay received when a client goes away in
//! mid-request; it may ask how many and go on from there. A session ends with a
//! digest, a cancel, or the first sweep after it has been idle for too long.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use entrepot_access::Principal;
use entrepot_oci::{AccountId, Algorithm, Digest, RepositoryName};
use entrepot_replication::upload::{Stored, Upload};
use futures::{Stream, StreamExt};
use tokio::time::Instant;
use tracing::{debug, info};

use crate::session::SessionId;
use crate::{BlobInfo, Registry, ServiceError};

/// The body of a request. An error means that the client went away or broke its
/// framing.
pub type BodyStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// The largest blob, bytes: ECR's limit for a layer.
const BLOB_BYTES_MAX: u64 = 52_000 * 1024 * 1024;

/// Uploads that one node owns at the same time.
const SESSIONS_MAX: usize = 10_000;
/// For the request before this one on the same session to end.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
const SWEEP_INTERVAL_MAX: Duration = Duration::from_secs(30);

/// Where an upload stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadState {
    /// Names the session in further requests.
    pub session: String,
    /// Bytes received so far.
    pub size: u64,
}

/// One request's bytes for an upload.
pub(crate) struct Chunk {
    /// Where the client says they start.
    pub(crate) offset: Option<u64>,
    /// How many it says they are.
    pub(crate) length: Option<u64>,
    pub(crate) body: BodyStream,
}

/// The uploads that this node owns.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    open: Mutex<HashMap<[u8; 16], Arc<Session>>>,
}

/// One upload that this node owns.
#[derive(Debug)]
pub(crate) struct Session {
    account: AccountId,
    repository: RepositoryName,
    /// None: decided by the digest that finishes it, if that comes with the
    /// first byte, else sha256.
    algorithm: Option<Algorithm>,
    random: [u8; 16],
    size: AtomicU64,
    touched: Mutex<Instant>,
    work: tokio::sync::Mutex<Work>,
}

#[derive(Debug)]
enum Work {
    /// No byte yet.
    New,
    Receiving(Box<Upload>),
    Ended,
}

// === impl Registry ===

impl Registry {
    /// Opens a session on this node.
    pub async fn open_upload(
        &self,
        who: &Principal,
        repository: &RepositoryName,
        algorithm: Option<Algorithm>,
    ) -> Result<UploadState, ServiceError> {
        self.pushable(who, repository).await?;
        let session = self.sessions.open(who, repository, algorithm)?;
        Ok(self.upload_name(&session))
    }

    /// Adds a request's bytes to a session.
    pub async fn append_upload(
        self: &Arc<Self>,
        who: &Principal,
        repository: &RepositoryName,
        session: &str,
        offset: Option<u64>,
        length: Option<u64>,
        body: BodyStream,
    ) -> Result<UploadState, ServiceError> {
        let chunk = Chunk {
            offset,
            length,
            body,
        };
        let id = self.session_id(who, repository, session)?;
        let size = if id.owner == self.peers.own().id {
            let owned = self.sessions.get(&id, who, repository)?;
            self.append_owned(owned, chunk).await?
        } else {
            self.relay_append(&id, who, repository, session, chunk)
                .await?
        };
        Ok(UploadState {
            session: session.to_owned(),
            size,
        })
    }

    /// Adds the last bytes, checks the digest, makes the blob durable and links
    /// it to the repository.
    #[allow(clippy::too_many_arguments, reason = "one request, taken apart")]
    pub async fn finish_upload(
        self: &Arc<Self>,
        who: &Principal,
        repository: &RepositoryName,
        session: &str,
        offset: Option<u64>,
        length: Option<u64>,
        body: BodyStream,
        digest: Digest,
    ) -> Result<BlobInfo, ServiceError> {
        let chunk = Chunk {
            offset,
            length,
            body,
        };
        let id = self.session_id(who, repository, session)?;
        if id.owner == self.peers.own().id {
            let owned = self.sessions.get(&id, who, repository)?;
            self.finish_owned(owned, chunk, digest).await
        } else {
            self.relay_finish(&id, who, repository, session, chunk, digest)
                .await
        }
    }

    /// A whole blob in one request.
    pub async fn push_blob(
        self: &Arc<Self>,
        who: &Principal,
        repository: &RepositoryName,
        digest: Digest,
        length: Option<u64>,
        body: BodyStream,
    ) -> Result<BlobInfo, ServiceError> {
        self.pushable(who, repository).await?;
        let session = self
            .sessions
            .open(who, repository, Some(digest.algorithm()))?;
        let chunk = Chunk {
            offset: None,
            length,
            body,
        };
        let pushed = self.finish_owned(Arc::clone(&session), chunk, digest).await;
        // Nobody knows this session's name: nobody could go on with it.
        self.sessions.remove(&session.random);
        pushed
    }

    /// Bytes received so far.
    pub async fn upload_state(
        &self,
        who: &Principal,
        repository: &RepositoryName,
        session: &str,
    ) -> Result<UploadState, ServiceError> {
        let id = self.session_id(who, repository, session)?;
        let size = if id.owner == self.peers.own().id {
            self.sessions.get(&id, who, repository)?.size()
        } else {
            self.relay_status(&id, who, repository, session).await?
        };
        Ok(UploadState {
            session: session.to_owned(),
            size,
        })
    }

    /// Ends a session and removes its bytes.
    pub async fn cancel_upload(
        &self,
        who: &Principal,
        repository: &RepositoryName,
        session: &str,
    ) -> Result<(), ServiceError> {
        let id = self.session_id(who, repository, session)?;
        if id.owner == self.peers.own().id {
            let owned = self.sessions.get(&id, who, repository)?;
            self.cancel_owned(&owned).await
        } else {
            self.relay_cancel(&id, who, repository, session).await
        }
    }

    fn session_id(
        &self,
        who: &Principal,
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

// === impl Registry: sessions of this node ===

impl Registry {
    /// Runs to its end even when the client's request is dropped, so that the
    /// bytes received by then are not lost.
    pub(crate) async fn append_owned(
        self: &Arc<Self>,
        session: Arc<Session>,
        chunk: Chunk,
    ) -> Result<u64, ServiceError> {
        let registry = Arc::clone(self);
        let appended = tokio::spawn(async move {
            let mut work = session.lock().await?;
            registry
                .receive(&session, &mut work, chunk, session.algorithm)
                .await
        });
        appended
            .await
            .unwrap_or_else(|error| Err(ServiceError::internal(&error)))
    }

    pub(crate) async fn finish_owned(
        self: &Arc<Self>,
        session: Arc<Session>,
        chunk: Chunk,
        digest: Digest,
    ) -> Result<BlobInfo, ServiceError> {
        let registry = Arc::clone(self);
        let finished = tokio::spawn(async move {
            let mut work = session.lock().await?;
            let algorithm = session.algorithm.unwrap_or(digest.algorithm());
            registry
                .receive(&session, &mut work, chunk, Some(algorithm))
                .await?;
            registry.commit(&session, &mut work, digest).await
        });
        finished
            .await
            .unwrap_or_else(|error| Err(ServiceError::internal(&error)))
    }

    pub(crate) async fn cancel_owned(&self, session: &Session) -> Result<(), ServiceError> {
        let mut work = session.lock().await?;
        let ended = std::mem::replace(&mut *work, Work::Ended);
        self.sessions.remove(&session.random);
        if let Work::Receiving(upload) = ended {
            upload.discard().await;
        }
        Ok(())
    }

    async fn receive(
        &self,
        session: &Session,
        work: &mut Work,
        chunk: Chunk,
        algorithm: Option<Algorithm>,
    ) -> Result<u64, ServiceError> {
        let size = session.size();
        if chunk.offset.is_some_and(|offset| offset != size) {
            return Err(ServiceError::RangeInvalid { size });
        }
        if matches!(work, Work::New) {
            let algorithm = algorithm.unwrap_or(Algorithm::Sha256);
            let upload = self.blobs.begin(algorithm, &session.random).await?;
            *work = Work::Receiving(Box::new(upload));
        }
        let Work::Receiving(upload) = work else {
            return Err(ServiceError::UploadUnknown);
        };
        let received = self.take_body(session, upload, chunk.body).await;
        let flushed = upload.flush().await;
        session.size.store(upload.size(), Ordering::Relaxed);
        session.touch();
        if let Err(error) = flushed {
            return Err(self.abandon(session, work, error).await);
        }
        let received = received?;
        match chunk.length {
            Some(declared) if declared != received => {
                Err(ServiceError::SizeInvalid { declared, received })
            }
            _ => Ok(session.size()),
        }
    }

    /// The number of bytes that the body brought.
    async fn take_body(
        &self,
        session: &Session,
        upload: &mut Upload,
        mut body: BodyStream,
    ) -> Result<u64, ServiceError> {
        let mut received = 0;
        loop {
            let next = tokio::time::timeout(self.settings.upload_expiry, body.next()).await;
            let chunk = match next {
                Ok(None) => return Ok(received),
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(error))) => {
                    debug!(%error, "a client went away while it sent a body");
                    return Err(ServiceError::UploadInvalid(
                        "the request body ended early".to_owned(),
                    ));
                }
                Err(_) => {
                    return Err(ServiceError::UploadInvalid(
                        "the request body stalled".to_owned(),
                    ));
                }
            };
            received += chunk.len() as u64;
            if session.size() + received > BLOB_BYTES_MAX {
                return Err(ServiceError::UploadInvalid(format!(
                    "a blob has at most {BLOB_BYTES_MAX} bytes"
                )));
            }
            upload.append(chunk).await?;
        }
    }

    async fn commit(
        &self,
        session: &Session,
        work: &mut Work,
        digest: Digest,
    ) -> Result<BlobInfo, ServiceError> {
        let Work::Receiving(upload) = std::mem::replace(work, Work::Ended) else {
            return Err(ServiceError::UploadUnknown);
        };
        self.sessions.remove(&session.random);
        let stored: Stored = upload.commit(digest).await?;
        self.link_blob(&session.account, &session.repository, &stored)
            .await?;
        Ok(BlobInfo {
            digest: stored.digest,
            size: stored.size,
        })
    }

    /// Ends a session whose staged bytes can no longer be trusted.
    async fn abandon(
        &self,
        session: &Session,
        work: &mut Work,
        error: impl Into<ServiceError>,
    ) -> ServiceError {
        self.sessions.remove(&session.random);
        if let Work::Receiving(upload) = std::mem::replace(work, Work::Ended) {
            upload.discard().await;
        }
        error.into()
    }

    /// Removes sessions that nobody has used for too long, until it is dropped.
    pub async fn sweep_uploads(self: Arc<Self>) {
        let expiry = self.settings.upload_expiry;
        let mut ticks = tokio::time::interval(
            (expiry / 4).clamp(Duration::from_millis(100), SWEEP_INTERVAL_MAX),
        );
        loop {
            ticks.tick().await;
            for session in self.sessions.idle_for(expiry) {
                // Busy means in use: it is left alone.
                if let Ok(mut work) = session.work.try_lock() {
                    self.sessions.remove(&session.random);
                    if let Work::Receiving(upload) = std::mem::replace(&mut *work, Work::Ended) {
                        upload.discard().await;
                    }
                    info!(repository = %session.repository, "an idle upload was removed");
                }
            }
        }
    }
}

// === impl Sessions ===

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 16], Arc<Session>>> {
        // The map is whole between any two statements that hold it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(
        &self,
        who: &Principal,
        repository: &RepositoryName,
        algorithm: Option<Algorithm>,
    ) -> Result<Arc<Session>, ServiceError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| ServiceError::internal(&error))?;
        let session = Arc::new(Session {
            account: who.account.clone(),
            repository: repository.clone(),
            algorithm,
            random,
            size: AtomicU64::new(0),
            touched: Mutex::new(Instant::now()),
            work: tokio::sync::Mutex::new(Work::New),
        });
        let mut open = self.lock();
        if open.len() >= SESSIONS_MAX {
            return Err(ServiceError::unavailable(
                "this node has too many uploads in progress; try again",
            ));
        }
        open.insert(random, Arc::clone(&session));
        Ok(session)
    }

    pub(crate) fn get(
        &self,
        id: &SessionId,
        who: &Principal,
        repository: &RepositoryName,
    ) -> Result<Arc<Session>, ServiceError> {
        let session = self
            .lock()
            .get(&id.random)
            .cloned()
            .ok_or(ServiceError::UploadUnknown)?;
        if session.account != who.account || session.repository != *repository {
            return Err(ServiceError::UploadUnknown);
        }
        session.touch();
        Ok(session)
    }

    fn remove(&self, random: &[u8; 16]) {
        self.lock().remove(random);
    }

    fn idle_for(&self, expiry: Duration) -> Vec<Arc<Session>> {
        let now = Instant::now();
        self.lock()
            .values()
            .filter(|session| now.duration_since(session.touched()) >= expiry)
            .cloned()
            .collect()
    }
}

// === impl Session ===

impl Session {
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    fn touch(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn touched(&self) -> Instant {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn lock(&self) -> Result<tokio::sync::MutexGuard<'_, Work>, ServiceError> {
        tokio::time::timeout(LOCK_TIMEOUT, self.work.lock())
            .await
            .map_err(|_| {
                ServiceError::Conflict("another request is writing to this upload".to_owned())
            })
    }
}
