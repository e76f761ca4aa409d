//! What rustls asks about certificates, answered by `access` and the gate.

use std::sync::Arc;

use entrepot_access::trust::{Fingerprint, NodeCertificate, NodeName, Root, TrustError, Usage};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::gate::Gate;

/// For both ends of a connection between nodes.
#[derive(Debug)]
pub(super) struct Verifier(pub(super) Arc<Gate>);

/// For a machine that is no node yet: it knows the fingerprint of the cluster's
/// certificate by its token.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) root: Fingerprint,
}

// === impl Verifier ===

impl Verifier {
    fn verify(&self, der: &[u8], usage: Usage) -> Result<NodeCertificate, Error> {
        let verified = self.0.root().verify(der, usage, self.0.now_ms());
        let found = verified.map_err(|error| {
            match error {
                TrustError::Expired | TrustError::NotYetValid => self.0.log(&format_args!(
                    "{error}, by the clock of this machine: is it right?"
                )),
                _ => self.0.log(&error),
            }
            refused(error)
        })?;
        let checked = match usage {
            Usage::Client => self.0.check_caller(&found),
            Usage::Server => self.0.check(&found),
        };
        checked.map_err(|refusal| {
            self.0.log(&refusal);
            refused(refusal)
        })?;
        Ok(found)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = self.verify(end, Usage::Server)?;
        let wanted: Option<NodeName> = name.to_str().parse().ok();
        if wanted != Some(found.name) {
            return Err(refused(format!(
                "{} was called, and node {} answered",
                name.to_str(),
                found.name.node
            )));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        end: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, end, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    /// A machine that asks to join has none; it is served nothing else.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        end: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end, Usage::Client)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        end: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, end, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

// === impl Pinned ===

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut shown = others.iter().filter(|it| Fingerprint::of(it) == self.root);
        let Some(root) = shown.next() else {
            return Err(refused("the node is of another cluster than the token"));
        };
        let root = Root::parse(root).map_err(refused)?;
        let now_ms = i64::try_from(now.as_secs().saturating_mul(1_000)).unwrap_or(i64::MAX);
        root.verify(end, Usage::Server, now_ms).map_err(refused)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        end: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, end, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

// === what all have in common ===

fn algorithms() -> WebPkiSupportedAlgorithms {
    ring::default_provider().signature_verification_algorithms
}

/// Nodes have keys of one kind.
fn schemes() -> Vec<SignatureScheme> {
    vec![SignatureScheme::ECDSA_NISTP256_SHA256]
}

fn refused(reason: impl std::fmt::Display) -> Error {
    Error::General(reason.to_string())
}

fn only_tls13() -> Error {
    Error::General("nodes speak TLS 1.3 alone".to_owned())
}
