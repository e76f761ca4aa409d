//! The one way to write a request down, so that both ends sign the same bytes.

use std::borrow::Cow;
use std::fmt::Write as _;

use ring::hmac;
use sha2::{Digest as _, Sha256};

use super::{ALGORITHM, Message, PathStyle, Payload, Scope, TERMINATOR, UNSIGNED};
use crate::Secret;

/// The parameter of the query that is not signed by itself.
const SIGNATURE: &str = "X-Amz-Signature";

/// Bytes that are written as they are (RFC 3986, unreserved).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The canonical request, of which the hash is signed. `signed` are the names of
/// the headers that are, in lower case and in order.
pub(super) fn request(
    message: &Message<'_>,
    signed: &[&str],
    payload: Payload,
    style: PathStyle,
) -> String {
    let mut text = String::new();
    let payload = match payload {
        Payload::Sha256(hash) => Cow::Owned(hex(&hash)),
        Payload::Unsigned => Cow::Borrowed(UNSIGNED),
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{}", message.method);
    let _ = writeln!(text, "{}", path(message.path, style));
    let _ = writeln!(text, "{}", query(message.query));
    for name in signed {
        let _ = writeln!(text, "{name}:{}", header(message, name));
    }
    let _ = write!(text, "\n{}\n{payload}", signed.join(";"));
    text
}

/// The signature over a canonical request, in hexadecimal digits.
pub(super) fn signature(request: &str, time: &str, scope: &Scope, secret: &Secret) -> String {
    let hash = hex(&Sha256::digest(request.as_bytes()));
    let text = format!("{ALGORITHM}\n{time}\n{scope}\n{hash}");
    let mut key = mac(format!("AWS4{}", secret.expose()).as_bytes(), &scope.date);
    for part in [&scope.region, &scope.service, TERMINATOR] {
        key = mac(key.as_ref(), part);
    }
    hex(mac(key.as_ref(), &text).as_ref())
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn path(path: &str, style: PathStyle) -> String {
    let path = if style.normalize {
        Cow::Owned(normalized(path))
    } else {
        Cow::Borrowed(path)
    };
    if !style.encode {
        return path.into_owned();
    }
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        encode(&mut text, byte, byte == b'/');
    }
    text
}

/// Without `.`, `..` and empty segments; a slash at the end stays.
fn normalized(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let is_folder = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    let mut text = format!("/{}", segments.join("/"));
    if is_folder && !segments.is_empty() {
        text.push('/');
    }
    text
}

/// Names and values encoded anew and sorted; without the signature.
fn query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = parameters(query)
        .filter(|(name, _)| *name != SIGNATURE)
        .map(|(name, value)| (recoded(name), recoded(value)))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// The parameters of a query, as they are encoded.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn recoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in decoded(text) {
        encode(&mut out, byte, false);
    }
    out
}

/// The bytes that escapes stand for; what is no escape stands for itself.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match (byte, after) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            bytes.push(high << 4 | low);
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    bytes
}

fn digit(byte: u8) -> Option<u8> {
    let value = char::from(byte).to_digit(16)?;
    u8::try_from(value).ok()
}

/// For a value of the query.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        encode(&mut out, byte, false);
    }
    out
}

fn encode(text: &mut String, byte: u8, as_it_is: bool) {
    if as_it_is || is_unreserved(byte) {
        text.push(char::from(byte));
    } else {
        text.push('%');
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
        }
    }
}

/// All values of a header, in order; blanks at their ends go, others become one.
fn header(message: &Message<'_>, name: &str) -> String {
    let own = |(own, _): &&(&str, &str)| own.eq_ignore_ascii_case(name);
    let values: Vec<String> = message
        .headers
        .iter()
        .filter(own)
        .map(|(_, value)| value.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    values.join(",")
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
