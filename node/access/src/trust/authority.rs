//! The cluster's certificate authority: made once, signs every node's
//! certificate. Its key exists sealed under the cluster's key and, while it
//! signs, in memory.

use std::fmt;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PublicKeyData,
    SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use super::certificate::COMMON_NAME_PREFIX;
use super::{ClusterId, ClusterKey, NodeKey, NodeName, Root, Serial, SigningRequest, TrustError};

/// A node's certificate is valid for so long, unless the configuration says
/// otherwise.
pub const CERTIFICATE_LIFE: Duration = Duration::from_hours(90 * 24);
pub const CERTIFICATE_LIFE_MIN: Duration = Duration::from_secs(6);
pub const CERTIFICATE_LIFE_MAX: Duration = Duration::from_hours(825 * 24);

/// Everything is valid from a day before it is made on, because clocks may be
/// wrong.
pub(super) const BACKDATED: Duration = Duration::from_hours(24);
/// The cluster's life; there is no other authority after it.
const ROOT_LIFE: Duration = Duration::from_hours(50 * 365 * 24);
const PURPOSE: &str = "key of the certificate authority";

/// Signs certificates.
pub struct Authority {
    root: Root,
    issuer: Issuer<'static, KeyPair>,
}

// === impl Authority ===

impl Authority {
    /// A new cluster's.
    ///
    /// # Errors
    /// [`TrustError::Random`], [`TrustError::Crypto`]
    pub fn create(now_ms: i64) -> Result<Self, TrustError> {
        let failed = |_| TrustError::Crypto("make a certificate authority");
        let cluster = ClusterId::generate()?;
        let key = NodeKey::generate()?.into_pair();
        let mut params = validity(now_ms, ROOT_LIFE)?;
        params.serial_number = Some(serial_number(&Serial::generate()?));
        params.distinguished_name = DistinguishedName::new();
        let name = format!("{COMMON_NAME_PREFIX}{cluster}");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // Whoever trusts it for something else trusts it for these names alone.
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName(cluster.domain())],
            excluded_subtrees: Vec::new(),
        });
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(Self {
            root: Root::parse(certificate.der())?,
            issuer: Issuer::new(params, key),
        })
    }

    /// The one whose certificate and sealed key are `certificate` and `sealed`.
    ///
    /// # Errors
    /// [`TrustError::Root`], [`TrustError::Sealed`], [`TrustError::Key`]
    pub fn open(certificate: &[u8], sealed: &[u8], key: &ClusterKey) -> Result<Self, TrustError> {
        let root = Root::parse(certificate)?;
        let opened = key.open(PURPOSE, sealed)?;
        let key = NodeKey::from_der(&opened)?;
        if key.pair().subject_public_key_info() != root.public_key_info() {
            return Err(TrustError::Root("its key is another one"));
        }
        let der = CertificateDer::from(certificate);
        let issuer = Issuer::from_ca_cert_der(&der, key.into_pair())
            .map_err(|_| TrustError::Root("it cannot sign"))?;
        Ok(Self { root, issuer })
    }

    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Its key, for the cluster's state.
    ///
    /// # Errors
    /// [`TrustError::Random`], [`TrustError::Crypto`]
    pub fn sealed_key(&self, key: &ClusterKey) -> Result<Vec<u8>, TrustError> {
        key.seal(PURPOSE, &self.issuer.key().serialize_der())
    }

    /// A certificate for node `node`, DER, valid for `life` from `now_ms` on.
    ///
    /// # Errors
    /// [`TrustError::Crypto`]
    pub fn issue(
        &self,
        request: &SigningRequest,
        node: u64,
        serial: &Serial,
        now_ms: i64,
        life: Duration,
    ) -> Result<Vec<u8>, TrustError> {
        let failed = |_| TrustError::Crypto("sign a certificate");
        let name = NodeName {
            node,
            cluster: self.root.cluster(),
        };
        let mut params = validity(now_ms, life)?;
        let subject = name.to_string();
        let alternative = subject.clone().try_into().map_err(failed)?;
        params.subject_alt_names = vec![rcgen::SanType::DnsName(alternative)];
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(serial_number(serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let signed = params.signed_by(&request.key, &self.issuer);
        Ok(signed.map_err(failed)?.der().to_vec())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

fn serial_number(serial: &Serial) -> SerialNumber {
    SerialNumber::from_slice(serial.as_bytes())
}

fn validity(now_ms: i64, life: Duration) -> Result<CertificateParams, TrustError> {
    let failed = || TrustError::Crypto("tell how long a certificate is valid");
    let now = OffsetDateTime::from_unix_timestamp(now_ms.div_euclid(1_000));
    let now = now.map_err(|_| failed())?;
    let mut params = CertificateParams::default();
    params.not_before = now.checked_sub(signed(BACKDATED)?).ok_or_else(failed)?;
    params.not_after = now.checked_add(signed(life)?).ok_or_else(failed)?;
    Ok(params)
}

fn signed(duration: Duration) -> Result<time::Duration, TrustError> {
    duration
        .try_into()
        .map_err(|_| TrustError::Crypto("tell how long a certificate is valid"))
}
