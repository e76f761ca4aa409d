//! Why a signature is refused, in AWS's words.
//!
//! No message holds the signature, the token or what it should have been; the
//! scope and the time, which the caller sent, are shown in full.

use super::{CLOCK_SKEW_MS, basic_time};

/// A part of a credential that is shown is at most so long, in characters.
const EXCERPT_CHARS_MAX: usize = 64;

/// How a front end writes errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// JSON 1.1, as ECR.
    Json,
    /// Query with XML answers, as IAM and STS.
    Query,
}

/// A request that is not properly signed. `Display` is AWS's message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigV4Error {
    #[error("Request is missing Authentication Token")]
    Missing,
    /// What `Authorization`, or the query, lacks or has wrong.
    #[error("{0}")]
    Incomplete(&'static str),
    #[error("Unsupported AWS 'algorithm'.")]
    Algorithm,
    #[error("Credential should be scoped to a valid Region, not '{0}'.")]
    Region(String),
    #[error("Credential should be scoped to correct service: '{0}'.")]
    Service(String),
    #[error("Credential should be scoped with a valid terminator: 'aws4_request', not '{0}'.")]
    Terminator(String),
    #[error(
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
         HTTP: '{scope}' != '{time}'."
    )]
    Date { scope: String, time: String },
    #[error("{}", expired(*.signed_ms, *.now_ms))]
    Expired { signed_ms: i64, now_ms: i64 },
    #[error("{}", early(*.signed_ms, *.now_ms))]
    NotYet { signed_ms: i64, now_ms: i64 },
    /// Of a presigned request.
    #[error("Request has expired")]
    Over,
    #[error(
        "The provided 'x-amz-content-sha256' header does not match what was computed from the \
         body."
    )]
    Payload,
    #[error(
        "The request signature we calculated does not match the signature you provided. Check \
         your AWS Secret Access Key and signing method. Consult the service documentation for \
         details."
    )]
    Mismatch,
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    #[error("The security token included in the request is expired")]
    ExpiredToken,
}

// === impl SigV4Error ===

impl SigV4Error {
    pub fn code(&self, protocol: Protocol) -> &'static str {
        let (json, query) = match self {
            Self::Missing => (
                "MissingAuthenticationTokenException",
                "MissingAuthenticationToken",
            ),
            Self::Incomplete(_) | Self::Algorithm => {
                ("IncompleteSignatureException", "IncompleteSignature")
            }
            Self::UnknownKey => ("UnrecognizedClientException", "InvalidClientTokenId"),
            Self::ExpiredToken => ("ExpiredTokenException", "ExpiredToken"),
            _ => ("InvalidSignatureException", "SignatureDoesNotMatch"),
        };
        match protocol {
            Protocol::Json => json,
            Protocol::Query => query,
        }
    }

    /// The HTTP status that AWS answers with.
    pub fn status(&self, protocol: Protocol) -> u16 {
        match (protocol, self) {
            (Protocol::Json, _) | (_, Self::Incomplete(_) | Self::Algorithm) => 400,
            _ => 403,
        }
    }
}

fn expired(signed_ms: i64, now_ms: i64) -> String {
    let earliest = basic_time(now_ms.saturating_sub(CLOCK_SKEW_MS));
    let (signed, now) = (basic_time(signed_ms), basic_time(now_ms));
    format!("Signature expired: {signed} is now earlier than {earliest} ({now} - 5 min.)")
}

fn early(signed_ms: i64, now_ms: i64) -> String {
    let latest = basic_time(now_ms.saturating_add(CLOCK_SKEW_MS));
    let (signed, now) = (basic_time(signed_ms), basic_time(now_ms));
    format!("Signature not yet current: {signed} is still later than {latest} ({now} + 5 min.)")
}

pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_CHARS_MAX).collect()
}
