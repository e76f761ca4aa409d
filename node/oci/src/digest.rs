//! Digests, and the hashers that make them.
//!
//! A digest has one spelling (lower-case algorithm, colon, lower-case hex of the
//! full length: OCI image specification, "Digests") and its order is that of its
//! spelling, so that files and keys sorted by text and values sorted by `Ord`
//! agree.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256, Sha512};

use crate::text::{self, excerpt};

const SHA256_BYTES: usize = 32;
const SHA512_BYTES: usize = 64;
/// Of a digest's text: the name of its algorithm, a colon, the digits.
const TEXT_BYTES_MAX: usize = 6 + 1 + 2 * SHA512_BYTES;

/// The algorithms clients may name content by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    Sha256,
    Sha512,
}

/// The name of some content, for example `sha256:e3b0...`. 65 bytes, `Copy`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Value);

// The order of the variants is that of the algorithms' names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Value {
    Sha256([u8; SHA256_BYTES]),
    Sha512([u8; SHA512_BYTES]),
}

/// Makes a [`Digest`] of content that comes in pieces. A clone goes on from the
/// same place.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

/// What is wrong with a digest. `value` is cut to its first characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    #[error("invalid digest {value:?}: must be <algorithm>:<hex>")]
    Form { value: String },
    #[error("unsupported digest algorithm {value:?}: must be sha256 or sha512")]
    Algorithm { value: String },
    #[error("invalid digest {value:?}: {algorithm} takes {expected} lower-case hex digits")]
    Hex {
        value: String,
        algorithm: Algorithm,
        expected: usize,
    },
    #[error("invalid digest of {actual} bytes: {algorithm} has {expected}")]
    Length {
        algorithm: Algorithm,
        expected: usize,
        actual: usize,
    },
}

// === impl Algorithm ===

impl Algorithm {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// The length of a digest, in bytes.
    pub fn digest_bytes(self) -> usize {
        match self {
            Self::Sha256 => SHA256_BYTES,
            Self::Sha512 => SHA512_BYTES,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(DigestError::Algorithm {
                value: excerpt(text),
            }),
        }
    }
}

// === impl Digest ===

impl Digest {
    /// The digest of `content`.
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(content);
        hasher.finish()
    }

    /// # Errors
    /// [`DigestError::Length`] unless `bytes` has the algorithm's length.
    pub fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, DigestError> {
        let value = match algorithm {
            Algorithm::Sha256 => bytes.try_into().map(Value::Sha256),
            Algorithm::Sha512 => bytes.try_into().map(Value::Sha512),
        };
        value.map(Self).map_err(|_| DigestError::Length {
            algorithm,
            expected: algorithm.digest_bytes(),
            actual: bytes.len(),
        })
    }

    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Value::Sha256(_) => Algorithm::Sha256,
            Value::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The 32 (sha256) or 64 (sha512) bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.0 {
            Value::Sha256(bytes) => bytes,
            Value::Sha512(bytes) => bytes,
        }
    }

    /// The part after the colon: lower-case hex.
    pub fn hex(&self) -> String {
        let mut hex = String::with_capacity(2 * self.bytes().len());
        let digits = self.bytes().iter().flat_map(|&byte| hex_of(byte));
        hex.extend(digits.map(char::from));
        hex
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or_else(|| DigestError::Form {
            value: excerpt(text),
        })?;
        let algorithm: Algorithm = algorithm.parse()?;
        let value = match algorithm {
            Algorithm::Sha256 => bytes_of(hex).map(Value::Sha256),
            Algorithm::Sha512 => bytes_of(hex).map(Value::Sha512),
        };
        value.map(Self).ok_or_else(|| DigestError::Hex {
            value: excerpt(text),
            algorithm,
            expected: 2 * algorithm.digest_bytes(),
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In one piece: answers are full of digests.
        let algorithm = self.algorithm().as_str();
        let mut text = [0; TEXT_BYTES_MAX];
        let digits = algorithm.len() + 1;
        let end = digits + 2 * self.bytes().len();
        text[..algorithm.len()].copy_from_slice(algorithm.as_bytes());
        text[algorithm.len()] = b':';
        for (pair, byte) in text[digits..end].chunks_exact_mut(2).zip(self.bytes()) {
            pair.copy_from_slice(&hex_of(*byte));
        }
        f.write_str(str::from_utf8(&text[..end]).unwrap_or_default())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

fn hex_of(byte: u8) -> [u8; 2] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    [byte >> 4, byte & 0x0f].map(|nibble| DIGITS[usize::from(nibble)])
}

/// Exactly `2 * N` lower-case hex digits. Upper case would be a second spelling
/// of the same digest.
fn bytes_of<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble_of(*high)? << 4 | nibble_of(*low)?;
    }
    Some(bytes)
}

fn nibble_of(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

// === impl Hasher ===

impl Hasher {
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    pub fn update(&mut self, content: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(content),
            State::Sha512(state) => state.update(content),
        }
    }

    pub fn finish(self) -> Digest {
        Digest(match self.0 {
            State::Sha256(state) => Value::Sha256(state.finalize().into()),
            State::Sha512(state) => Value::Sha512(state.finalize().into()),
        })
    }

    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            State::Sha256(_) => Algorithm::Sha256,
            State::Sha512(_) => Algorithm::Sha512,
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hasher").field(&self.algorithm()).finish()
    }
}

#[cfg(test)]
mod tests;
