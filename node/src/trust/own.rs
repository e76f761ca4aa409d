//! This node's own certificate: what handshakes show, and a new one before it
//! expires. Connections that are open keep the one that they began with.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use entrepot_access::trust::{NodeCertificate, NodeKey, SigningRequest};
use entrepot_proto::environment::Clock;
use entrepot_service::trust::Trust;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tracing::{debug, info, warn};

use super::folder::TrustFolder;

/// How often it is asked whether something is to be done.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After an attempt that failed.
const RETRY: Duration = Duration::from_secs(2);

/// The certificate in use.
pub(crate) struct OwnCertificate {
    /// DER of the cluster's authority; follows the node's own, so that a new
    /// node, which knows its fingerprint, finds it.
    root: CertificateDer<'static>,
    in_use: RwLock<InUse>,
}

#[derive(Clone)]
struct InUse {
    certified: Arc<CertifiedKey>,
    says: NodeCertificate,
}

/// Looks after it, and tells the cluster what this node knows first.
pub(crate) struct Upkeep {
    pub(crate) own: Arc<OwnCertificate>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where key and certificate are kept.
    pub(crate) folder: Arc<TrustFolder>,
    /// Of the authority that this node has made, until the cluster keeps it.
    pub(crate) sealed_key: Option<Vec<u8>>,
}

// === impl OwnCertificate ===

impl OwnCertificate {
    /// # Errors
    /// When the certificate is of another key.
    pub(crate) fn new(folder: &TrustFolder) -> anyhow::Result<Arc<Self>> {
        let root = folder.root.der().clone();
        let in_use = InUse::new(&folder.key, &folder.certificate, &root)?;
        Ok(Arc::new(Self {
            root,
            in_use: RwLock::new(in_use),
        }))
    }

    pub(crate) fn says(&self) -> NodeCertificate {
        self.in_use().says
    }

    fn replace(&self, key: &NodeKey, certificate: &[u8]) -> anyhow::Result<()> {
        let in_use = InUse::new(key, &CertificateDer::from(certificate), &self.root)?;
        *self.in_use.write().unwrap_or_else(PoisonError::into_inner) = in_use;
        Ok(())
    }

    fn in_use(&self) -> InUse {
        let in_use = self.in_use.read().unwrap_or_else(PoisonError::into_inner);
        in_use.clone()
    }
}

impl fmt::Debug for OwnCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCertificate")
            .field("says", &self.says())
            .finish_non_exhaustive()
    }
}

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.in_use().certified)
    }
}

impl ResolvesClientCert for OwnCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.in_use().certified)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

// === impl InUse ===

impl InUse {
    fn new(
        key: &NodeKey,
        certificate: &CertificateDer<'_>,
        root: &CertificateDer<'static>,
    ) -> anyhow::Result<Self> {
        let says = NodeCertificate::parse(certificate)?;
        let chain = vec![certificate.clone().into_owned(), root.clone()];
        let signing = any_supported_type(&key.expose_der())?;
        let certified = CertifiedKey::new(chain, signing);
        certified
            .keys_match()
            .context("the node's certificate is of another key")?;
        Ok(Self {
            certified: Arc::new(certified),
            says,
        })
    }
}

// === impl Upkeep ===

impl Upkeep {
    /// Until it is dropped.
    pub(crate) async fn run(mut self) {
        loop {
            let pause = match self.attempt().await {
                Ok(()) => LOOK_EVERY,
                Err(error) => {
                    let error = format!("{error:#}");
                    if self.is_due() {
                        warn!(error, "this node's certificate cannot be renewed yet");
                    } else {
                        // At a start, there is no leader for a moment.
                        debug!(error, "this node's certificate is not on record yet");
                    }
                    RETRY
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Also when it is one of the future: a wrong clock has dated it, and nobody
    /// takes it.
    fn is_due(&self) -> bool {
        let (says, now_ms) = (self.own.says(), self.clock.now_ms());
        now_ms >= says.renew_at_ms() || now_ms < says.not_before_ms
    }

    pub(super) async fn attempt(&mut self) -> anyhow::Result<()> {
        if let Some(sealed) = &self.sealed_key {
            self.trust.keep_authority(sealed).await?;
            self.folder.forget_sealed_key()?;
            self.sealed_key = None;
        }
        let says = self.own.says();
        let recorded = self.trust.ensure_recorded(&says.serial, says.not_after_ms);
        if !recorded.await? || !self.is_due() {
            return Ok(());
        }
        let request = SigningRequest::parse(&self.folder.key.request()?)?;
        let renewed = self.trust.renew(&request).await?;
        // First where the next start finds it.
        self.folder.replace_certificate(&renewed)?;
        self.own.replace(&self.folder.key, &renewed)?;
        let serial = self.own.says().serial;
        info!(%serial, "this node's certificate was renewed");
        Ok(())
    }
}
