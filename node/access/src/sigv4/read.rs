//! From a request to what its signature claims. Nothing of it is believed yet.

use super::canonical::{decoded, parameters};
use super::error::excerpt;
use super::{ALGORITHM, EXPIRES_S_MAX, Message, Scope, SigV4Error, TERMINATOR, parse_basic_time};
use crate::AUTHORIZATION_BYTES_MAX;

/// The most headers that a signature may be over.
const SIGNED_HEADERS_MAX: usize = 64;
/// The longest session token, in bytes.
const SESSION_TOKEN_BYTES_MAX: usize = 8 * 1024;
const SIGNATURE_CHARS: usize = 64;

/// A signature as the caller sent it, well-formed and not yet verified.
#[derive(Clone, Debug)]
pub struct Signature {
    pub(super) key_id: String,
    pub(super) scope: Scope,
    pub(super) signed_headers: Vec<String>,
    /// Hexadecimal digits in lower case.
    pub(super) digits: String,
    pub(super) time: String,
    pub(super) time_ms: i64,
    /// Of a presigned request: for how many seconds it is good.
    pub(super) expires_s: Option<i64>,
    session_token: Option<String>,
}

/// What stands in the header or the query.
struct Claims<'a> {
    credential: Option<&'a str>,
    signed_headers: Option<&'a str>,
    signature: Option<&'a str>,
}

// === impl Signature ===

impl Signature {
    /// Reads `Authorization`, or the parameters of a presigned request.
    ///
    /// # Errors
    /// [`SigV4Error::Missing`] when there is neither, others when it is not
    /// well-formed.
    pub fn read(message: &Message<'_>) -> Result<Self, SigV4Error> {
        let is_presigned = parameters(message.query).any(|(name, _)| is_auth(name));
        match (only(message, "authorization")?, is_presigned) {
            (Some(header), false) if header.trim_start().starts_with("AWS") => {
                Self::of_header(message, header)
            }
            (None, true) => Self::of_query(message),
            (Some(_), true) => Err(SigV4Error::Incomplete(
                "The request is signed both in its headers and in its query string.",
            )),
            _ => Err(SigV4Error::Missing),
        }
    }

    /// Whose secret is needed. Whatever the caller sent.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// With temporary credentials.
    pub fn session_token(&self) -> Option<&str> {
        self.session_token.as_deref()
    }

    /// For which region it is. True once verified.
    pub fn region(&self) -> &str {
        &self.scope.region
    }

    /// For which service it is. True once verified.
    pub fn service(&self) -> &str {
        &self.scope.service
    }

    pub fn is_presigned(&self) -> bool {
        self.expires_s.is_some()
    }

    fn of_header(message: &Message<'_>, header: &str) -> Result<Self, SigV4Error> {
        if header.len() > AUTHORIZATION_BYTES_MAX {
            return Err(SigV4Error::Incomplete("Authorization header is too long."));
        }
        let (algorithm, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if algorithm != ALGORITHM {
            return Err(SigV4Error::Algorithm);
        }
        let claims = Claims::of_header(rest)?;
        let credential = claims.credential.ok_or(SigV4Error::Incomplete(
            "Authorization header requires 'Credential' parameter.",
        ))?;
        let signature = claims.signature.ok_or(SigV4Error::Incomplete(
            "Authorization header requires 'Signature' parameter.",
        ))?;
        let signed_headers = claims.signed_headers.ok_or(SigV4Error::Incomplete(
            "Authorization header requires 'SignedHeaders' parameter.",
        ))?;
        let date = match only(message, "x-amz-date")? {
            Some(date) => Some(("x-amz-date", date)),
            None => only(message, "date")?.map(|date| ("date", date)),
        };
        let (name, date) = date.ok_or(SigV4Error::Incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        ))?;
        let token = only(message, "x-amz-security-token")?;
        let read = Self::of_parts(credential, signed_headers, signature, date, token)?;
        read.check_signed(message)?;
        if !read.signed_headers.iter().any(|signed| signed == name) {
            return Err(SigV4Error::Incomplete(
                "The date of the request must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        Ok(read)
    }

    fn of_query(message: &Message<'_>) -> Result<Self, SigV4Error> {
        let incomplete = SigV4Error::Incomplete;
        let one = |name| parameter(message.query, name);
        if one("X-Amz-Algorithm")?.as_deref() != Some(ALGORITHM) {
            return Err(SigV4Error::Algorithm);
        }
        let credential = one("X-Amz-Credential")?.ok_or(incomplete(
            "AWS query-string parameters must include 'X-Amz-Credential'.",
        ))?;
        let signature = one("X-Amz-Signature")?.ok_or(incomplete(
            "AWS query-string parameters must include 'X-Amz-Signature'.",
        ))?;
        let signed_headers = one("X-Amz-SignedHeaders")?.ok_or(incomplete(
            "AWS query-string parameters must include 'X-Amz-SignedHeaders'.",
        ))?;
        let date = one("X-Amz-Date")?.ok_or(incomplete(
            "AWS query-string parameters must include 'X-Amz-Date'.",
        ))?;
        let expires = one("X-Amz-Expires")?.ok_or(incomplete(
            "AWS query-string parameters must include 'X-Amz-Expires'.",
        ))?;
        let is_number = expires.len() <= 6 && expires.bytes().all(|b| b.is_ascii_digit());
        let expires_s: Option<i64> = is_number.then(|| expires.parse().ok()).flatten();
        let expires_s = expires_s
            .filter(|seconds| (1..=EXPIRES_S_MAX).contains(seconds))
            .ok_or(incomplete(
                "X-Amz-Expires must be a number of seconds of less than a week.",
            ))?;
        let token = one("X-Amz-Security-Token")?;
        let mut read = Self::of_parts(
            &credential,
            &signed_headers,
            &signature,
            &date,
            token.as_deref(),
        )?;
        read.expires_s = Some(expires_s);
        read.check_signed(message)?;
        Ok(read)
    }

    fn of_parts(
        credential: &str,
        signed_headers: &str,
        signature: &str,
        time: &str,
        token: Option<&str>,
    ) -> Result<Self, SigV4Error> {
        let (key_id, scope) = credential_of(credential)?;
        let time_ms = parse_basic_time(time).ok_or(SigV4Error::Incomplete(
            "Date must be in ISO-8601 'basic format'. See http://en.wikipedia.org/wiki/ISO_8601",
        ))?;
        if scope.date != time[..8] {
            return Err(SigV4Error::Date {
                scope: excerpt(&scope.date),
                time: time[..8].to_owned(),
            });
        }
        let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if signature.len() != SIGNATURE_CHARS || !signature.bytes().all(is_hex) {
            // As long as one that is wrong, and as wrong.
            return Err(SigV4Error::Mismatch);
        }
        if token.is_some_and(|token| token.len() > SESSION_TOKEN_BYTES_MAX) {
            return Err(SigV4Error::UnknownKey);
        }
        Ok(Self {
            key_id,
            scope,
            signed_headers: names(signed_headers)?,
            digits: signature.to_owned(),
            time: time.to_owned(),
            time_ms,
            expires_s: None,
            session_token: token.map(str::to_owned),
        })
    }

    /// Without these, somebody on the way could turn the request into another.
    fn check_signed(&self, message: &Message<'_>) -> Result<(), SigV4Error> {
        let is_signed = |name: &str| {
            let same = |signed: &String| signed.eq_ignore_ascii_case(name);
            self.signed_headers.iter().any(same)
        };
        if !is_signed("host") || only(message, "host")?.is_none() {
            return Err(SigV4Error::Incomplete(
                "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        let is_amz = |name: &str| {
            name.get(..6)
                .is_some_and(|it| it.eq_ignore_ascii_case("x-amz-"))
        };
        let mut headers = message.headers.iter();
        if headers.any(|(name, _)| is_amz(name) && !is_signed(name)) {
            return Err(SigV4Error::Incomplete(
                "Every 'x-amz-' header must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        Ok(())
    }
}

// === impl Claims ===

impl<'a> Claims<'a> {
    /// `Credential=..., SignedHeaders=..., Signature=...`, in any order.
    fn of_header(text: &'a str) -> Result<Self, SigV4Error> {
        let mut claims = Self {
            credential: None,
            signed_headers: None,
            signature: None,
        };
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (name, value) = part.split_once('=').ok_or(SigV4Error::Incomplete(
                "Authorization header has a part that is not a valid key=value pair (missing \
                 equal-sign).",
            ))?;
            let claim = match name {
                "Credential" => &mut claims.credential,
                "SignedHeaders" => &mut claims.signed_headers,
                "Signature" => &mut claims.signature,
                _ => {
                    return Err(SigV4Error::Incomplete(
                        "Authorization header has an unknown parameter.",
                    ));
                }
            };
            if claim.replace(value).is_some() {
                return Err(SigV4Error::Incomplete(
                    "Authorization header has a parameter twice.",
                ));
            }
        }
        Ok(claims)
    }
}

/// The key's id, which may have slashes, and the scope.
fn credential_of(text: &str) -> Result<(String, Scope), SigV4Error> {
    let mut parts = text.rsplitn(5, '/');
    let (Some(terminator), Some(service), Some(region), Some(date), Some(key_id)) = (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) else {
        return Err(SigV4Error::Incomplete(
            "Credential must have exactly 5 slash-delimited elements, e.g. \
             keyid/date/region/service/term.",
        ));
    };
    if terminator != TERMINATOR {
        return Err(SigV4Error::Terminator(excerpt(terminator)));
    }
    if key_id.is_empty() {
        return Err(SigV4Error::UnknownKey);
    }
    let scope = Scope {
        date: date.to_owned(),
        region: region.to_owned(),
        service: service.to_owned(),
    };
    Ok((key_id.to_owned(), scope))
}

/// Names of headers: in lower case, sorted, each once.
fn names(text: &str) -> Result<Vec<String>, SigV4Error> {
    let is_name = |name: &&str| {
        let is_sign = |b: u8| b.is_ascii_graphic() && !b.is_ascii_uppercase();
        !name.is_empty() && name.bytes().all(is_sign)
    };
    let names: Vec<&str> = text.split(';').take(SIGNED_HEADERS_MAX + 1).collect();
    let is_sorted = names.is_sorted_by(|left, right| left < right);
    if names.len() > SIGNED_HEADERS_MAX || !is_sorted || !names.iter().all(is_name) {
        return Err(SigV4Error::Incomplete(
            "'SignedHeaders' must be names in lower case, sorted, each once, and not too many.",
        ));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// The one value of a header that must not come twice.
pub(super) fn only<'a>(message: &Message<'a>, name: &str) -> Result<Option<&'a str>, SigV4Error> {
    let own = |(own, _): &&(&str, &str)| own.eq_ignore_ascii_case(name);
    let mut values = message.headers.iter().filter(own);
    let value = values.next().map(|(_, value)| value.trim());
    if values.next().is_some() {
        return Err(SigV4Error::Incomplete(
            "A header that the signature depends on comes twice.",
        ));
    }
    Ok(value)
}

/// Whether a parameter says that a request is presigned.
fn is_auth(name: &str) -> bool {
    matches!(
        name,
        "X-Amz-Algorithm" | "X-Amz-Credential" | "X-Amz-Signature"
    )
}

/// The one value of a parameter, decoded.
fn parameter(query: &str, name: &str) -> Result<Option<String>, SigV4Error> {
    let mut values = parameters(query).filter(|(own, _)| *own == name);
    let value = values.next().map(|(_, value)| decoded(value));
    if values.next().is_some() {
        return Err(SigV4Error::Incomplete(
            "A query-string parameter that the signature depends on comes twice.",
        ));
    }
    let text = value.map(String::from_utf8).transpose();
    text.map_err(|_| SigV4Error::Incomplete("Re-examine the query-string parameters."))
}
