//! Upload sessions of this node: every request for one ends up here, whichever
//! node it came to.
//!
//! Work on a session runs to its end even when its request is dropped.

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::query::Quotas;
use entrepot_oci::{Algorithm, Digest};
use entrepot_replication::ReplicationError;
use entrepot_replication::cut::TapHeader;
use entrepot_replication::upload::Upload;
use tracing::info;

use super::sink::{Sink, Stop, check_size};
use super::{UploadChunk, spawn};
use crate::sessions::{Session, Work};
use crate::{BlobInfo, Registry, ServiceError};

/// The shortest body for whose sake the disk is asked how much room it has;
/// shorter ones are simply taken, or not.
const MEASURED_BYTES_MIN: u64 = 16 * 1024 * 1024;

const SWEEP_INTERVAL_MAX: Duration = Duration::from_secs(30);

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
        let quotas = self.quotas(&session.account)?;
        let is_part = chunk.length != Some(0);
        if is_part {
            check_parts(session, &quotas)?;
        }
        if let Some(length) = chunk.length {
            check_size(size.saturating_add(length), quotas.layer_bytes)?;
            if self.is_kept(session, work, expected) {
                self.check_room(length).await?;
            }
        }
        if matches!(work, Work::Settling(_) | Work::Ended) {
            return Err(ServiceError::UploadUnknown);
        }
        let home = (&session.account, &session.repository);
        let told = size.saturating_add(chunk.length.unwrap_or(0));
        let fits_up_to = self.fits_up_to(home, told, expected).await?;
        let sink = Sink {
            registry: self,
            session,
            expected,
            work,
            bytes_max: quotas.layer_bytes,
            fits_up_to,
        };
        let (received, total) = sink.take_body(size, chunk.body, chunk.length).await;
        session.grown_to(total);
        if is_part && total > size {
            session.add_part();
        }
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
    async fn check_room(&self, length: u64) -> Result<(), ServiceError> {
        if length < MEASURED_BYTES_MIN {
            return Ok(());
        }
        match self.blobs.store().room_bytes().await? {
            Some(room) if room < length => Err(ServiceError::Full),
            _ => Ok(()),
        }
    }

    /// Whether bytes that come now are staged on this node.
    fn is_kept(&self, session: &Session, work: &Work, expected: Option<&Digest>) -> bool {
        match work {
            Work::Receiving(upload) => upload.is_kept(),
            _ => !self.blobs.only_passes(&copies_key(session, expected)),
        }
    }

    pub(super) async fn begin(
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
        let key = copies_key(session, expected);
        let mut upload = self.blobs.begin(algorithm, &key).await?;
        // Rules copy nothing of public registries.
        if session.account.is_public() {
            return Ok(upload);
        }
        let header = TapHeader {
            account: session.account.account(),
            repository: session.repository.clone(),
            upload: session.random,
            digest: expected.copied(),
        };
        if let Some(tap) = self.cut_through.begin(&header) {
            upload.tap(tap);
        }
        Ok(upload)
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

/// That an upload may have one more part.
fn check_parts(session: &Session, quotas: &Quotas) -> Result<(), ServiceError> {
    let max = quotas.layer_parts;
    if session.parts().is_some_and(|parts| parts >= max) {
        return Err(ServiceError::LimitExceeded(format!(
            "The operation did not succeed because it would have exceeded a quota: a layer may \
             have at most {max} parts"
        )));
    }
    Ok(())
}

/// What chooses the nodes that get copies: a digest that is known sends them to
/// where they belong.
fn copies_key(session: &Session, expected: Option<&Digest>) -> Vec<u8> {
    match expected {
        Some(digest) => digest.to_string().into_bytes(),
        None => session.random.to_vec(),
    }
}
