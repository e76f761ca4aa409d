//! Reading certificates: the cluster's own, and those that nodes show.
//!
//! A node's certificate is believed only after its signature, its time and its
//! purpose were checked, by rustls-webpki. What it says is its name and its
//! serial number; whether it was revoked, the cluster's records say.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use sha2::{Digest as _, Sha256};
use webpki::{EndEntityCert, Error, KeyUsage};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::authority::BACKDATED;
use super::name::{hex, write_hex};
use super::{ClusterId, NodeName, Serial, TrustError};

/// Of a certificate in DER; one of ours has some 500.
pub const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;

/// The common name of a cluster's authority, before the cluster's id.
pub(super) const COMMON_NAME_PREFIX: &str = "Entrepot cluster ";

/// The certificate of a cluster's authority.
#[derive(Clone)]
pub struct Root {
    cluster: ClusterId,
    der: CertificateDer<'static>,
    anchor: TrustAnchor<'static>,
    public_key_info: Vec<u8>,
}

/// SHA-256 of a certificate in DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// What a connection's certificate is shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Client,
    Server,
}

/// What a node's certificate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeCertificate {
    pub name: NodeName,
    pub serial: Serial,
    pub not_before_ms: i64,
    pub not_after_ms: i64,
}

// === impl Root ===

impl Root {
    /// # Errors
    /// [`TrustError::Root`]
    pub fn parse(der: &[u8]) -> Result<Self, TrustError> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(TrustError::Root("it is too long"));
        }
        let unread = || TrustError::Root("it cannot be read");
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| unread())?;
        if !rest.is_empty() {
            return Err(unread());
        }
        if !parsed.is_ca() {
            return Err(TrustError::Root("it is of no authority"));
        }
        let mut names = parsed.subject().iter_common_name();
        let name = names.next().and_then(|name| name.as_str().ok());
        let cluster = name
            .and_then(|name| name.strip_prefix(COMMON_NAME_PREFIX)?.parse().ok())
            .ok_or(TrustError::Root("it names no cluster"))?;
        let public_key_info = parsed.public_key().raw.to_vec();
        let der = CertificateDer::from(der).into_owned();
        let anchor = webpki::anchor_from_trusted_cert(&der)
            .map_err(|_| unread())?
            .to_owned();
        Ok(Self {
            cluster,
            der,
            anchor,
            public_key_info,
        })
    }

    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    pub(super) fn public_key_info(&self) -> &[u8] {
        &self.public_key_info
    }

    /// Whose certificate that is, if it is one of this cluster, for `usage`,
    /// and valid at `now_ms`.
    ///
    /// # Errors
    /// [`TrustError::Certificate`], [`TrustError::OtherCluster`],
    /// [`TrustError::Expired`], [`TrustError::NotYetValid`]
    pub fn verify(
        &self,
        der: &[u8],
        usage: Usage,
        now_ms: i64,
    ) -> Result<NodeCertificate, TrustError> {
        let found = NodeCertificate::parse(der)?;
        let der = CertificateDer::from(der);
        let end = EndEntityCert::try_from(&der).map_err(|error| refusal(&error))?;
        let usage = match usage {
            Usage::Client => KeyUsage::client_auth(),
            Usage::Server => KeyUsage::server_auth(),
        };
        let now = Duration::from_millis(u64::try_from(now_ms).unwrap_or(0));
        end.verify_for_usage(
            &[webpki::ring::ECDSA_P256_SHA256],
            std::slice::from_ref(&self.anchor),
            &[],
            UnixTime::since_unix_epoch(now),
            usage,
            None,
            None,
        )
        .map_err(|error| refusal(&error))?;
        // The authority signs names of its own cluster only.
        if found.name.cluster != self.cluster {
            return Err(TrustError::OtherCluster);
        }
        Ok(found)
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root")
            .field("cluster", &self.cluster)
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

fn refusal(error: &Error) -> TrustError {
    match error {
        Error::CertExpired { .. } => TrustError::Expired,
        Error::CertNotValidYet { .. } => TrustError::NotYetValid,
        Error::UnknownIssuer
        | Error::InvalidSignatureForPublicKey
        | Error::NameConstraintViolation => TrustError::OtherCluster,
        Error::RequiredEkuNotFoundContext(_) => TrustError::Certificate("it is for something else"),
        _ => TrustError::Certificate("it cannot be verified"),
    }
}

// === impl Fingerprint ===

impl Fingerprint {
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    pub(super) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex(text).map(Self).ok_or(TrustError::Root(
            "its fingerprint has 64 hexadecimal digits",
        ))
    }
}

// === impl NodeCertificate ===

impl NodeCertificate {
    /// What it says, with nothing of it proved.
    ///
    /// # Errors
    /// [`TrustError::Certificate`]
    pub fn parse(der: &[u8]) -> Result<Self, TrustError> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(TrustError::Certificate("it is too long"));
        }
        let unread = || TrustError::Certificate("it cannot be read");
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| unread())?;
        if !rest.is_empty() {
            return Err(unread());
        }
        let certificate = CertificateDer::from(der);
        let end = EndEntityCert::try_from(&certificate).map_err(|_| unread())?;
        let mut names = end.valid_dns_names();
        let (Some(name), None) = (names.next(), names.next()) else {
            return Err(TrustError::Certificate("it does not name one node"));
        };
        let name = name
            .parse()
            .map_err(|_| TrustError::Certificate("it names no node"))?;
        let serial = Serial::from_bytes(parsed.raw_serial())
            .map_err(|_| TrustError::Certificate("its serial number is not one of ours"))?;
        let ms = |seconds: i64| seconds.checked_mul(1_000).ok_or_else(unread);
        Ok(Self {
            name,
            serial,
            not_before_ms: ms(parsed.validity().not_before.timestamp())?,
            not_after_ms: ms(parsed.validity().not_after.timestamp())?,
        })
    }

    /// When a new one should take its place: at two thirds of its life.
    pub fn renew_at_ms(&self) -> i64 {
        let backdated = i64::try_from(BACKDATED.as_millis()).unwrap_or(i64::MAX);
        let made_ms = self.not_before_ms.saturating_add(backdated);
        let life_ms = self.not_after_ms.saturating_sub(made_ms).max(0);
        self.not_after_ms.saturating_sub(life_ms / 3)
    }
}
