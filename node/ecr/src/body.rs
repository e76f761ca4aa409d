//! Bodies of requests, which are whole before anything is done with them: their
//! signature is over all of them.
//!
//! The invariant: what all requests together hold is counted, as it arrives.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use bytes::Bytes;
use entrepot_service::{Gathering, UNCOUNTED_BYTES};
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

use crate::api::Api;
use crate::error::ApiError;

/// Of a layer's part: 20 MiB in base64, and what stands around it.
const PART_BYTES_MAX: usize = 28 * 1024 * 1024;
/// Of other JSON: a manifest of 4 MiB, every character of it escaped.
const JSON_BYTES_MAX: usize = 9 * 1024 * 1024;
pub(crate) const FORM_BYTES_MAX: usize = 1024 * 1024;
/// Of a form that nobody signed: a token, and the policies of a session.
pub(crate) const UNSIGNED_BYTES_MAX: usize = 64 * 1024;
/// For a whole body: at 2 Mbit/s the largest takes as long.
const TIME_MAX: Duration = Duration::from_mins(2);
/// Hashed on the threads that serve; longer ones are not.
const HERE_BYTES_MAX: usize = 64 * 1024;

/// A body, and what its signature is over.
pub(crate) struct Content {
    pub(crate) bytes: Bytes,
    pub(crate) sha256: [u8; 32],
}

// === impl Content ===

impl Content {
    /// # Errors
    /// The thread that hashed it is gone.
    pub(crate) async fn of(bytes: Bytes) -> Result<Self, tokio::task::JoinError> {
        if bytes.len() <= HERE_BYTES_MAX {
            let sha256 = Sha256::digest(&bytes).into();
            return Ok(Self { bytes, sha256 });
        }
        let hashing = tokio::task::spawn_blocking(move || {
            let sha256 = Sha256::digest(&bytes).into();
            Self { bytes, sha256 }
        });
        hashing.await
    }
}

/// The most bytes that an operation's input may have.
pub(crate) fn json_limit(operation: &str) -> usize {
    match operation {
        "UploadLayerPart" => PART_BYTES_MAX,
        _ => JSON_BYTES_MAX,
    }
}

/// The whole body, of at most `limit` bytes.
///
/// # Errors
/// It is longer, does not arrive, or there is no memory for it now.
pub(crate) async fn whole(
    api: Api,
    parts: &Parts,
    body: Body,
    limit: usize,
    memory: &mut Gathering,
) -> Result<Bytes, ApiError> {
    let declared = parts.headers.get(CONTENT_LENGTH);
    let declared = declared.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|declared| declared > limit as u64) {
        return Err(too_large(limit));
    }
    let gathered = gather(api, body, limit, memory);
    let gathered = tokio::time::timeout(TIME_MAX, gathered).await;
    gathered.unwrap_or_else(|_| Err(incomplete()))
}

async fn gather(
    api: Api,
    body: Body,
    limit: usize,
    memory: &mut Gathering,
) -> Result<Bytes, ApiError> {
    let mut frames = body.into_data_stream();
    let mut content = Vec::new();
    while let Some(frame) = frames.next().await {
        let frame = frame.map_err(|_| incomplete())?;
        let length = content.len() + frame.len();
        if length > limit {
            return Err(too_large(limit));
        }
        memory
            .grow(frame.len())
            .map_err(|_| ApiError::throttled(api))?;
        if length > content.capacity() {
            let doubled = (2 * content.len())
                .clamp(UNCOUNTED_BYTES, limit)
                .max(length);
            content.reserve_exact(doubled - content.len());
        }
        content.extend_from_slice(&frame);
    }
    Ok(content.into())
}

fn too_large(limit: usize) -> ApiError {
    ApiError::with_status(
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestEntityTooLargeException",
        format!("The request has more than {limit} bytes"),
    )
}

fn incomplete() -> ApiError {
    ApiError::with_status(
        StatusCode::REQUEST_TIMEOUT,
        "RequestTimeoutException",
        "The request's body did not arrive as a whole",
    )
}
