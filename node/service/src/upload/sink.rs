//! A request's body on its way into an upload: kept in memory while it may be
//! small enough for the metadata, staged from there on.
//!
//! It takes no byte beyond what was declared or allowed.

use bytes::Bytes;
use entrepot_metadata::limits::INLINE_BYTES_MAX;
use entrepot_oci::Digest;
use entrepot_replication::ReplicationError;
use futures::StreamExt;
use tracing::debug;

use super::BodyStream;
use crate::sessions::{Session, Work};
use crate::{Registry, ServiceError};

/// Why a body was not taken to its end.
pub(super) enum Stop {
    /// What was received before stays received.
    Body(ServiceError),
    /// The staged bytes can no longer be trusted.
    Staging(ReplicationError),
}

/// Where the bytes of a session go.
pub(super) struct Sink<'a> {
    pub(super) registry: &'a Registry,
    pub(super) session: &'a Session,
    /// The digest that finishes the upload with these bytes.
    pub(super) expected: Option<&'a Digest>,
    pub(super) work: &'a mut Work,
    /// Of the whole blob.
    pub(super) bytes_max: u64,
    /// What is known to fit into the repository; beyond, it is looked again.
    pub(super) fits_up_to: u64,
}

// === impl Sink ===

impl Sink<'_> {
    /// Adds a body to an upload of `size` bytes: how many it brought, and how
    /// many there are now.
    pub(super) async fn take_body(
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
            check_size(size + received, self.bytes_max).map_err(Stop::Body)?;
            self.check_fit(size + received).await.map_err(Stop::Body)?;
            self.append(chunk).await?;
            kept = received;
        }
    }

    /// That what others have pushed meanwhile leaves room for as much as that.
    async fn check_fit(&mut self, bytes: u64) -> Result<(), ServiceError> {
        if bytes > self.fits_up_to {
            let home = (&self.session.account, &self.session.repository);
            let fits = self.registry.fits_up_to(home, bytes, self.expected);
            self.fits_up_to = fits.await?;
        }
        Ok(())
    }

    async fn append(&mut self, chunk: Bytes) -> Result<(), Stop> {
        if let Work::Small(content) = self.work {
            let inline_bytes_max = || {
                let max = self.registry.metadata.inline_bytes_max();
                max.map_err(|error| Stop::Body(error.into()))
            };
            let size = content.len() + chunk.len();
            if size <= INLINE_BYTES_MAX && size <= inline_bytes_max()? {
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

pub(super) fn check_size(bytes: u64, max: u64) -> Result<(), ServiceError> {
    if bytes > max {
        return Err(ServiceError::BlobTooLarge { max });
    }
    Ok(())
}
