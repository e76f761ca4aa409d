//! The cluster's key, and what is sealed under it.
//!
//! A sealed text is a version byte, a random nonce of 12 bytes, and the
//! AES-256-GCM ciphertext with its tag. What it is for is authenticated with it,
//! so that nothing can be opened as something else.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::TrustError;
use super::name::{drawn, hex, write_hex};

const VERSION: u8 = 1;
const KEY_BYTES: usize = 32;
const SECRET_CONTEXT: &str = "entrepot 2026 key from the cluster's secret";
const SEAL_CONTEXT: &str = "entrepot 2026 sealing under the cluster key";

/// 32 random bytes that every node of a cluster knows and nobody else.
#[derive(Clone)]
pub struct ClusterKey([u8; KEY_BYTES]);

// === impl ClusterKey ===

impl ClusterKey {
    /// # Errors
    /// [`TrustError::Random`]
    pub fn generate() -> Result<Self, TrustError> {
        Ok(Self(drawn()?))
    }

    /// # Errors
    /// [`TrustError::ClusterKey`] unless there are 32 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TrustError> {
        let bytes = bytes.try_into().map_err(|_| TrustError::ClusterKey)?;
        Ok(Self(bytes))
    }

    /// The one that follows from what all nodes of a cluster know, however long
    /// that is.
    pub fn from_secret(secret: &[u8]) -> Self {
        Self(blake3::derive_key(SECRET_CONTEXT, secret))
    }

    /// Takes it as [`ClusterKey::expose_hex`] wrote it.
    ///
    /// # Errors
    /// [`TrustError::ClusterKey`]
    pub fn from_hex(text: &str) -> Result<Self, TrustError> {
        hex(text.trim()).map(Self).ok_or(TrustError::ClusterKey)
    }

    /// The key itself, for a new node and for the file that only its owner reads.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The same as 64 hexadecimal digits.
    pub fn expose_hex(&self) -> String {
        let mut text = String::with_capacity(2 * KEY_BYTES);
        // Writing to a String cannot fail.
        let _ = write_hex(&mut text, &self.0);
        text
    }

    /// A key for one purpose that tells nothing of this one.
    pub fn derive(&self, context: &'static str) -> [u8; 32] {
        blake3::derive_key(context, &self.0)
    }

    /// Seals `plain`, which is for `purpose`.
    ///
    /// # Errors
    /// [`TrustError::Random`], [`TrustError::Crypto`]
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Result<Vec<u8>, TrustError> {
        let nonce: [u8; NONCE_LEN] = drawn()?;
        let mut text = plain.to_vec();
        self.key()?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose.as_bytes()),
                &mut text,
            )
            .map_err(|_| TrustError::Crypto("seal a secret"))?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + text.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// # Errors
    /// [`TrustError::Sealed`] when it was sealed under another key, for another
    /// purpose, or was changed.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, TrustError> {
        let (&version, rest) = sealed.split_first().ok_or(TrustError::Sealed)?;
        let (nonce, text) = rest
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(TrustError::Sealed)?;
        if version != VERSION {
            return Err(TrustError::Sealed);
        }
        let mut text = text.to_vec();
        let plain = self
            .key()?
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(purpose.as_bytes()),
                &mut text,
            )
            .map_err(|_| TrustError::Sealed)?;
        Ok(plain.to_vec())
    }

    fn key(&self) -> Result<LessSafeKey, TrustError> {
        let key = UnboundKey::new(&AES_256_GCM, &self.derive(SEAL_CONTEXT))
            .map_err(|_| TrustError::Crypto("use the cluster's key"))?;
        Ok(LessSafeKey::new(key))
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}
