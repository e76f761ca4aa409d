//! A node's own key, and the request for a certificate that it signs.

use std::fmt;

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKey,
    PublicKeyData as _,
};
use rustls_pki_types::{CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};

use super::TrustError;

/// Of a request in DER; one of ours has some 250.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024;

/// An ECDSA P-256 key that never leaves its node.
pub struct NodeKey(KeyPair);

/// A request for a certificate, whose signature proves that the sender has the
/// key. What it asks for besides is not looked at.
#[derive(Debug)]
pub struct SigningRequest {
    pub(super) key: PublicKey,
}

// === impl NodeKey ===

impl NodeKey {
    /// # Errors
    /// [`TrustError::Crypto`]
    pub fn generate() -> Result<Self, TrustError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
        key.map(Self).map_err(|_| TrustError::Crypto("make a key"))
    }

    /// # Errors
    /// [`TrustError::Key`]
    pub fn from_pem(pem: &str) -> Result<Self, TrustError> {
        let key = KeyPair::from_pem(pem).map_err(|_| TrustError::Key)?;
        if key.is_compatible(&PKCS_ECDSA_P256_SHA256) {
            Ok(Self(key))
        } else {
            Err(TrustError::Key)
        }
    }

    /// PKCS #8, for the file that only its owner reads.
    pub fn expose_pem(&self) -> String {
        self.0.serialize_pem()
    }

    /// The same, for a handshake.
    pub fn expose_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.0.serialize_der()))
    }

    /// A request for a certificate, DER.
    ///
    /// # Errors
    /// [`TrustError::Crypto`]
    pub fn request(&self) -> Result<Vec<u8>, TrustError> {
        let failed = |_| TrustError::Crypto("request a certificate");
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params.serialize_request(&self.0).map_err(failed)?;
        Ok(request.der().to_vec())
    }

    pub(super) fn pair(&self) -> &KeyPair {
        &self.0
    }

    pub(super) fn from_der(der: &[u8]) -> Result<Self, TrustError> {
        let der = PrivatePkcs8KeyDer::from(der);
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256);
        key.map(Self).map_err(|_| TrustError::Key)
    }

    pub(super) fn into_pair(self) -> KeyPair {
        self.0
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(..)")
    }
}

// === impl SigningRequest ===

impl SigningRequest {
    /// # Errors
    /// [`TrustError::Request`]
    pub fn parse(der: &[u8]) -> Result<Self, TrustError> {
        if der.len() > REQUEST_BYTES_MAX {
            return Err(TrustError::Request("it is too long"));
        }
        let der = CertificateSigningRequestDer::from(der);
        let request = CertificateSigningRequestParams::from_der(&der)
            .map_err(|_| TrustError::Request("it cannot be read, or its signature is not right"))?;
        if request.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(TrustError::Request("its key is not of ECDSA P-256"));
        }
        Ok(Self {
            key: request.public_key,
        })
    }

    /// SHA-256 of the public key: who comes back with the same key is the same.
    pub fn key_hash(&self) -> [u8; 32] {
        Sha256::digest(self.key.der_bytes()).into()
    }
}
