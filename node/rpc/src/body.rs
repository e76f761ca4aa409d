//! Bytes on their way in: the messages of a stream as the body that the service
//! takes.
//!
//! Never holds more than the message that it passes on, and gives up on a
//! client that has gone silent.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use entrepot_proto::registry::append_upload_request::Part as AppendPart;
use entrepot_proto::registry::push_blob_request::Part as PushPart;
use entrepot_proto::registry::{
    AppendUploadHeader, AppendUploadRequest, PushBlobHeader, PushBlobRequest,
};
use entrepot_service::{BodyStream, ServiceError};
use futures::{StreamExt, stream};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::request::RequestError;
use crate::status::status;

/// One message's share of a blob, bytes.
pub(crate) const PIECE_BYTES_MAX: usize = 1024 * 1024;

/// A message of a stream that begins with a header and goes on with data.
pub(crate) trait Part: Send + 'static {
    type Header;

    fn into_header(self) -> Option<Self::Header>;

    fn into_data(self) -> Option<Bytes>;
}

/// The messages after the header, and what was wrong with them.
pub(crate) struct Body {
    stream: BodyStream,
    violation: Violation,
}

/// Why a body ended early, where that is known. The service only sees that it
/// did.
pub(crate) struct Violation(Arc<OnceLock<Status>>);

/// The header, and what follows it. `at_most`: how long to wait for a message.
pub(crate) async fn open<M: Part>(
    mut messages: Streaming<M>,
    at_most: Duration,
) -> Result<(M::Header, Body), Status> {
    let first = timeout(at_most, messages.message()).await;
    let first = first.map_err(|_| RequestError::Silent { at_most })??;
    let header = first
        .and_then(Part::into_header)
        .ok_or(RequestError::HeaderMissing)?;
    Ok((header, Body::new(messages, at_most)))
}

// === impl Part ===

impl Part for AppendUploadRequest {
    type Header = AppendUploadHeader;

    fn into_header(self) -> Option<AppendUploadHeader> {
        match self.part {
            Some(AppendPart::Header(header)) => Some(header),
            Some(AppendPart::Data(_)) | None => None,
        }
    }

    fn into_data(self) -> Option<Bytes> {
        match self.part {
            Some(AppendPart::Data(data)) => Some(data),
            Some(AppendPart::Header(_)) | None => None,
        }
    }
}

impl Part for PushBlobRequest {
    type Header = PushBlobHeader;

    fn into_header(self) -> Option<PushBlobHeader> {
        match self.part {
            Some(PushPart::Header(header)) => Some(header),
            Some(PushPart::Data(_)) | None => None,
        }
    }

    fn into_data(self) -> Option<Bytes> {
        match self.part {
            Some(PushPart::Data(data)) => Some(data),
            Some(PushPart::Header(_)) | None => None,
        }
    }
}

// === impl Body, Violation ===

impl Body {
    fn new<M: Part>(messages: Streaming<M>, at_most: Duration) -> Self {
        let violation = Arc::new(OnceLock::new());
        let noted = Arc::clone(&violation);
        let stream = stream::unfold(Some((messages, noted)), move |state| async move {
            let (mut messages, noted) = state?;
            match next(&mut messages, at_most).await {
                Ok(data) => data.map(|data| (Ok(data), Some((messages, noted)))),
                Err(Stop::Client(error)) => {
                    let told = io::Error::new(error.kind(), error.to_string());
                    let _ = noted.set(error.into());
                    Some((Err(told), None))
                }
                Err(Stop::Transport(error)) => {
                    // The others are what becomes of a client that goes away.
                    if !matches!(error.code(), Code::Unknown | Code::Cancelled) {
                        let _ = noted.set(error.clone());
                    }
                    Some((Err(io::Error::other(error)), None))
                }
            }
        });
        Self {
            stream: stream.boxed(),
            violation: Violation(violation),
        }
    }

    pub(crate) fn split(self) -> (BodyStream, Violation) {
        (self.stream, self.violation)
    }
}

impl Violation {
    /// What to answer to a call whose body the service refused.
    pub(crate) fn status(&self, error: &ServiceError) -> Status {
        match self.0.get() {
            Some(violation) => violation.clone(),
            None => status(error),
        }
    }
}

/// Why there is no next piece.
enum Stop {
    Client(RequestError),
    Transport(Status),
}

/// The next piece; none: that was all.
async fn next<M: Part>(
    messages: &mut Streaming<M>,
    at_most: Duration,
) -> Result<Option<Bytes>, Stop> {
    let message = timeout(at_most, messages.message())
        .await
        .map_err(|_| Stop::Client(RequestError::Silent { at_most }))?
        .map_err(Stop::Transport)?;
    let Some(message) = message else {
        return Ok(None);
    };
    let data = message
        .into_data()
        .ok_or(Stop::Client(RequestError::DataMissing))?;
    if data.len() > PIECE_BYTES_MAX {
        return Err(Stop::Client(RequestError::PieceTooLarge {
            size: data.len(),
            max: PIECE_BYTES_MAX,
        }));
    }
    Ok(Some(data))
}
