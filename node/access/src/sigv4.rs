//! AWS Signature Version 4: requests that are signed with a secret that both ends
//! know, in a header or in the query.
//!
//! Two steps, because a secret is looked up between them: [`Signature::read`]
//! says which key signed and for which region and service, and
//! [`Signature::verify`] whether it did. The invariants: what is verified is what
//! arrived (host, every `x-amz-` header, the whole query and, unless the caller
//! says otherwise, the body), an unknown key costs the same as a wrong secret, and
//! secrets are compared in constant time.

mod canonical;
mod error;
mod read;
mod sign;
mod verify;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod property;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod tests;

use std::fmt;

pub use error::{Protocol, SigV4Error};
pub use read::Signature;
pub use sign::Signer;

/// How far the clocks of two ends may be apart, in milliseconds.
pub const CLOCK_SKEW_MS: i64 = 5 * 60 * 1000;
/// The longest time that a presigned request may be good for, in seconds: a week.
pub const EXPIRES_S_MAX: i64 = 7 * 24 * 60 * 60;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// What of a request is signed, as it arrived: nothing is decoded.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub method: &'a str,
    /// Starts with a slash; without the query.
    pub path: &'a str,
    /// Without the question mark; empty where there is none.
    pub query: &'a str,
    /// All of them, in order, with names in any case. HTTP/2's `:authority` comes
    /// as `host`.
    pub headers: &'a [(&'a str, &'a str)],
}

/// Whether the body is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The SHA-256 of the body as it arrived: the signature must be over it.
    Sha256([u8; 32]),
    /// The body is of no account, as that of a download.
    Unsigned,
}

/// How a path is written in what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStyle {
    /// Dots and double slashes are resolved.
    pub normalize: bool,
    /// Escapes are escaped again.
    pub encode: bool,
}

/// Where and for what a signature is good.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    /// `YYYYMMDD`
    date: String,
    region: String,
    service: String,
}

// === impl PathStyle ===

impl PathStyle {
    /// Of all services but S3.
    pub const SERVICE: Self = Self {
        normalize: true,
        encode: true,
    };
    /// Of S3: the path is signed as it is sent.
    pub const AS_SENT: Self = Self {
        normalize: false,
        encode: false,
    };
}

// === impl Scope ===

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            date,
            region,
            service,
        } = self;
        write!(f, "{date}/{region}/{service}/{TERMINATOR}")
    }
}

// === time ===

/// `20150830T123600Z`
fn basic_time(ms: i64) -> String {
    crate::clock::iso_8601(ms).replace(['-', ':'], "")
}

/// Milliseconds since 1970 of `20150830T123600Z`.
fn parse_basic_time(text: &str) -> Option<i64> {
    let is_basic = text.is_ascii() && text.len() == 16 && text.as_bytes()[8] == b'T';
    if !is_basic {
        return None;
    }
    let (date, time) = (&text[..8], &text[9..]);
    let extended = format!(
        "{}-{}-{}T{}:{}:{}",
        &date[..4],
        &date[4..6],
        &date[6..],
        &time[..2],
        &time[2..4],
        &time[4..]
    );
    crate::clock::parse(&extended)
}
