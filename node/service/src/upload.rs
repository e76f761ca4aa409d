//! Upload sessions. A session belongs to the node that opened it; requests that
//! reach another node are passed on to the owner as they arrive.
//!
//! Bytes that were received stay received when a client goes away in
//! mid-request; it may ask how many and go on from there. A session ends when
//! its blob is linked or refused for good, with a cancel, or with the first sweep
//! after it has been idle for too long.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_access::Principal;
use entrepot_metadata::limits::INLINE_BYTES_MAX;
use entrepot_oci::{Algorithm, Digest, RepositoryName};
use entrepot_replication::ReplicationError;
use entrepot_replication::upload::Upload;
use futures::{Stream, StreamExt};
use tokio::task::JoinHandle;
use tracing::{Instrument, debug, info};

use crate::peer::upload_ref;
use crate::session::SessionId;
use crate::sessions::{Session, Sessions, Work};
use crate::{BlobInfo, Registry, ServiceError};

/// The body of a request. An error means that the client went away or broke its
/// framing.
pub type BodyStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// The largest blob, bytes: ECR's limit for a layer.
const BLOB_BYTES_MAX: u64 = 52_000 * 1024 * 1024;

/// The shortest body for whose sake the disk is asked how much room it has;
/// shorter ones are simply taken, or not.
const MEASURED_BYTES_MIN: u64 = 16 * 1024 * 1024;

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
pub struct UploadChunk {
    /// Where the client says they start; none: where the last ones ended.
    pub offset: Option<u64>,
    /// How many it says they are.
    pub length: Option<u64>,
    pub body: BodyStream,
}

/// Why a body was not taken to its end.
enum Stop {
    /// What was received before stays received.
    Body(ServiceError),
    /// The staged bytes can no longer be trusted.
    Staging(ReplicationError),
}

/// Where the bytes of a session go.
struct Sink<'a> {
    registry: &'a Registry,
    session: &'a Session,
    /// The digest that finishes the upload with these bytes.
    expected: Option<&'a Digest>,
    work: &'a mut Work,
}

// === impl UploadChunk ===

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
        who: &Principal,
        repository: &RepositoryName,
        algorithm: Option<Algorithm>,
    ) -> Result<UploadState, ServiceError> {
        self.pushable(&who.account, repository).await?;
        let session = self.sessions.open(who, repository, algorithm)?;
        Ok(self.upload_name(&session))
    }

    /// Adds a request's bytes to a session.
    pub async fn append_upload(
        self: &Arc<Self>,
        who: &Principal,
        repository: &RepositoryName,
        session: &str,
        chunk: UploadChunk,
    ) -> Result<UploadState, ServiceError> {
        let id = self.session_id(who, repository, session)?;
        let size = if id.owner == self.peers.own().id {
            let owned = self.sessions.get(&id, who, repository)?;
            self.append_owned(owned, chunk).await?
        } else {
            let upload = upload_ref(who, repository, session);
            self.relay_append(&id, upload, chunk).await?
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
        who: &Principal,
        repository: &RepositoryName,
        session: &str,
        chunk: UploadChunk,
        digest: Digest,
    ) -> Result<BlobInfo, ServiceError> {
        let id = self.session_id(who, repository, session)?;
        if id.owner == self.peers.own().id {
            let owned = self.sessions.get(&id, who, repository)?;
            self.finish_owned(owned, chunk, digest).await
        } else {
            let upload = upload_ref(who, repository, session);
            self.relay_finish(&id, upload, chunk, &digest).await?;
            self.stat_blob(who, repository, &digest).await
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
        self.pushable(&who.account, repository).await?;
        // Nobody knows its name, and nobody could go on with it.
        let session = Sessions::unnamed(who, repository, digest.algorithm())?;
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
        who: &Principal,
        repository: &RepositoryName,
        session: &str,
    ) -> Result<UploadState, ServiceError> {
        let id = self.session_id(who, repository, session)?;
        let size = if id.owner == self.peers.own().id {
            self.sessions.get(&id, who, repository)?.size()
        } else {
            let upload = upload_ref(who, repository, session);
            self.relay_status(&id, upload).await?
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
            let upload = upload_ref(who, repository, session);
            self.relay_cancel(&id, upload).await
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
        chunk: UploadChunk,
    ) -> Result<u64, ServiceError> {
        let registry = Arc::clone(self);
        let appended = spawn(async move {
            let mut work = session.lock().await?;
            registry.receive(&session, &mut work, chunk, None).await
        });
        appended
            .await
            .unwrap_or_else(|error| Err(ServiceError::internal(&error)))
    }

    pub(crate) async fn finish_owned(
        self: &Arc<Self>,
        session: Arc<Session>,
        chunk: UploadChunk,
        digest: Digest,
    ) -> Result<BlobInfo, ServiceError> {
        let registry = Arc::clone(self);
        let finished = spawn(async move { registry.finish_here(&session, chunk, digest).await });
        finished
            .await
            .unwrap_or_else(|error| Err(ServiceError::internal(&error)))
    }

    pub(crate) async fn cancel_owned(&self, session: &Session) -> Result<(), ServiceError> {
        session.cancel();
        let mut work = session.lock().await?;
        let ended = std::mem::replace(&mut *work, Work::Ended);
        self.sessions.remove(&session.random);
        if let Work::Receiving(upload) = ended {
            upload.discard().await;
        }
        Ok(())
    }

    /// `expected`: the digest that finishes the upload with these bytes.
    pub(crate) async fn receive(
        &self,
        session: &Session,
        work: &mut Work,
        chunk: UploadChunk,
        expected: Option<&Digest>,
    ) -> Result<u64, ServiceError> {
        let size = session.size();
        if chunk.offset.is_some_and(|offset| offset != size) {
            return Err(ServiceError::RangeInvalid { size });
        }
        if let Some(length) = chunk.length {
            self.check_room(size, length).await?;
        }
        if matches!(work, Work::Settling(_) | Work::Ended) {
            return Err(ServiceError::UploadUnknown);
        }
        let sink = Sink {
            registry: self,
            session,
            expected,
            work,
        };
        let (received, total) = sink.take_body(size, chunk.body, chunk.length).await;
        session.grown_to(total);
        match received {
            Ok(received) => match chunk.length {
                Some(declared) if declared != received => {
                    Err(ServiceError::SizeInvalid { declared, received })
                }
                _ => Ok(session.size()),
            },
            Err(Stop::Body(error)) => Err(error),
            Err(Stop::Staging(error)) => Err(self.abandon(session, work, error).await),
        }
    }

    /// That `length` more bytes can be taken, as far as that can be told before
    /// the first of them: nobody shall send in vain what never fits.
    async fn check_room(&self, size: u64, length: u64) -> Result<(), ServiceError> {
        check_size(size.saturating_add(length))?;
        if length < MEASURED_BYTES_MIN {
            return Ok(());
        }
        match self.blobs.store().room_bytes().await? {
            Some(room) if room < length => Err(ServiceError::Full),
            _ => Ok(()),
        }
    }

    async fn begin(
        &self,
        session: &Session,
        expected: Option<&Digest>,
    ) -> Result<Upload, ServiceError> {
        if let Some(Work::Receiving(ended)) = self.sessions.give_place(session)? {
            info!("an idle upload made room for another one");
            ended.discard().await;
        }
        let algorithm = session
            .algorithm
            .or(expected.map(Digest::algorithm))
            .unwrap_or(Algorithm::Sha256);
        // A digest that is known sends the copies to where they belong.
        let begun = match expected {
            Some(digest) => {
                self.blobs
                    .begin(algorithm, digest.to_string().as_bytes())
                    .await
            }
            None => self.blobs.begin(algorithm, &session.random).await,
        };
        Ok(begun?)
    }

    /// Ends a session whose staged bytes can no longer be trusted.
    async fn abandon(
        &self,
        session: &Session,
        work: &mut Work,
        error: ReplicationError,
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
            for session in self.sessions.expired(expiry) {
                // Busy means in use: it is left alone.
                if let Ok(mut work) = session.work.try_lock()
                    && session.is_expired(expiry)
                {
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

// === impl Sink ===

impl Sink<'_> {
    /// Adds a body to an upload of `size` bytes: how many it brought, and how
    /// many there are now.
    async fn take_body(
        mut self,
        size: u64,
        body: BodyStream,
        declared: Option<u64>,
    ) -> (Result<u64, Stop>, u64) {
        let mut received = self.take(size, body, declared).await;
        let upload = match self.work {
            Work::Small(content) => return (received, content.len() as u64),
            Work::Receiving(upload) => upload,
            Work::Settling(_) | Work::Ended => return (received, size),
        };
        if !matches!(received, Err(Stop::Staging(_)))
            && let Err(error) = upload.flush().await
        {
            received = Err(Stop::Staging(error));
        }
        (received, upload.size())
    }

    async fn take(
        &mut self,
        size: u64,
        mut body: BodyStream,
        declared: Option<u64>,
    ) -> Result<u64, Stop> {
        let invalid = |text: &str| Stop::Body(ServiceError::UploadInvalid(text.to_owned()));
        let expiry = self.registry.settings.upload_expiry;
        let session = self.session;
        let cancelled = session.cancelled();
        tokio::pin!(cancelled);
        let mut kept = 0;
        loop {
            let next = tokio::select! {
                biased;
                () = cancelled.as_mut() => return Err(Stop::Body(ServiceError::UploadUnknown)),
                next = tokio::time::timeout(expiry, body.next()) => next,
            };
            let chunk = match next {
                Ok(None) => return Ok(kept),
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(error))) if error.kind() == std::io::ErrorKind::TimedOut => {
                    return Err(Stop::Body(ServiceError::UploadStalled));
                }
                Ok(Some(Err(error))) => {
                    debug!(%error, "a client went away while it sent a body");
                    return Err(invalid("the request body ended early"));
                }
                Err(_) => return Err(Stop::Body(ServiceError::UploadStalled)),
            };
            let received = kept + chunk.len() as u64;
            if let Some(declared) = declared.filter(|declared| received > *declared) {
                return Err(Stop::Body(ServiceError::SizeInvalid { declared, received }));
            }
            check_size(size + received).map_err(Stop::Body)?;
            self.append(chunk).await?;
            kept = received;
        }
    }

    async fn append(&mut self, chunk: Bytes) -> Result<(), Stop> {
        if let Work::Small(content) = self.work {
            if content.len() + chunk.len() <= INLINE_BYTES_MAX {
                content.extend_from_slice(&chunk);
                return Ok(());
            }
            let begun = self.registry.begin(self.session, self.expected).await;
            let mut upload = begun.map_err(Stop::Body)?;
            let first = std::mem::take(content).freeze();
            upload.append(first).await.map_err(Stop::Staging)?;
            *self.work = Work::Receiving(Box::new(upload));
        }
        match self.work {
            Work::Receiving(upload) => upload.append(chunk).await.map_err(Stop::Staging),
            Work::Small(_) | Work::Settling(_) | Work::Ended => {
                Err(Stop::Body(ServiceError::UploadUnknown))
            }
        }
    }
}

fn check_size(bytes: u64) -> Result<(), ServiceError> {
    if bytes > BLOB_BYTES_MAX {
        return Err(ServiceError::BlobTooLarge {
            max: BLOB_BYTES_MAX,
        });
    }
    Ok(())
}

/// Work that goes on without its request, and whose log lines stay the request's.
fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(work.in_current_span())
}
