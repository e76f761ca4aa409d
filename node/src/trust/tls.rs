//! Mutual TLS 1.3 between nodes, over whatever carries their connections.
//!
//! No session is resumed: each handshake looks at the certificates anew.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use entrepot_access::trust::{Fingerprint, NodeCertificate, NodeName};
use entrepot_proto::peers::{Dial, Io};
use futures::future::BoxFuture;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::server::NoServerSessionStorage;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::gate::Gate;
use super::guarded::Guarded;
use super::own::OwnCertificate;
use super::verify::{Pinned, Verifier};

/// From a connection to the end of its handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// gRPC is HTTP/2.
const PROTOCOL: &[u8] = b"h2";
/// Encrypted at once and handed to the socket in one call.
const WRITE_BUFFER_BYTES: usize = 256 * 1024;

/// Both ends of connections between nodes.
#[derive(Debug)]
pub(crate) struct PeerTls {
    gate: Arc<Gate>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// Connects to peers and makes sure of who they are.
#[derive(Debug)]
struct SecureDial {
    tls: Arc<PeerTls>,
    dial: Arc<dyn Dial>,
}

// === impl PeerTls ===

impl PeerTls {
    pub(crate) fn new(gate: Arc<Gate>, own: &Arc<OwnCertificate>) -> anyhow::Result<Arc<Self>> {
        let provider = Arc::new(ring::default_provider());
        let verifier = Arc::new(Verifier(Arc::clone(&gate)));
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(Arc::<Verifier>::clone(&verifier))
            .with_cert_resolver(Arc::<OwnCertificate>::clone(own));
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::<OwnCertificate>::clone(own));
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Arc::new(Self {
            gate,
            server: Arc::new(server),
            client: Arc::new(client),
        }))
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// What dials through `dial` and then shakes hands.
    pub(crate) fn over(self: &Arc<Self>, dial: Arc<dyn Dial>) -> Arc<dyn Dial> {
        Arc::new(SecureDial {
            tls: Arc::clone(self),
            dial,
        })
    }

    /// The server's side of a handshake.
    ///
    /// # Errors
    /// When the peer breaks it off, speaks something else, is too slow, or has a
    /// certificate that is refused.
    pub(crate) async fn accept(&self, connection: Box<dyn Io>) -> io::Result<Guarded> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.server));
        let shaken = acceptor.accept_with(connection, |session| {
            session.set_buffer_limit(Some(WRITE_BUFFER_BYTES));
        });
        let stream = in_time(shaken).await?;
        let shown = certificate(stream.get_ref().1.peer_certificates())?;
        let open = self.gate.opened(shown).map_err(io::Error::other)?;
        Ok(Guarded::new(Box::new(stream), open))
    }

    async fn connect(&self, node: u64, connection: Box<dyn Io>) -> io::Result<Box<dyn Io>> {
        let cluster = self.gate.root().cluster();
        let name = NodeName { node, cluster }.to_string();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(&self.client));
        let shaken = connector.connect_with(name, connection, |session| {
            session.set_buffer_limit(Some(WRITE_BUFFER_BYTES));
        });
        let stream = in_time(shaken).await?;
        let shown = certificate(stream.get_ref().1.peer_certificates())?;
        let open = self.gate.opened(shown).map_err(io::Error::other)?;
        Ok(Box::new(Guarded::new(Box::new(stream), open)))
    }
}

// === impl SecureDial ===

impl Dial for SecureDial {
    /// Nobody in particular cannot be recognised.
    fn dial(&self, _: String) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn dial_node(&self, node: u64, address: String) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let tls = Arc::clone(&self.tls);
        let dialled = self.dial.dial_node(node, address);
        Box::pin(async move { tls.connect(node, dialled.await?).await })
    }
}

// === a machine that is no node yet ===

/// Connects to any node of the cluster whose certificate has the fingerprint
/// `root`.
pub(super) async fn connect_pinned(
    root: Fingerprint,
    connection: Box<dyn Io>,
) -> io::Result<Box<dyn Io>> {
    let mut client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { root }))
        .with_no_client_auth();
    client.alpn_protocols = vec![PROTOCOL.to_vec()];
    client.resumption = Resumption::disabled();
    // No node has that name; the fingerprint is what counts.
    let name = ServerName::try_from("any.entrepot.internal").map_err(io::Error::other)?;
    let stream = in_time(TlsConnector::from(Arc::new(client)).connect(name, connection)).await?;
    Ok(Box::new(stream))
}

async fn in_time<T>(shaken: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(HANDSHAKE_TIMEOUT, shaken)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// What the other end has shown, which was verified in the handshake.
fn certificate(
    shown: Option<&[rustls::pki_types::CertificateDer<'_>]>,
) -> io::Result<Option<NodeCertificate>> {
    let first = shown.and_then(<[_]>::first);
    let parsed = first.map(|der| NodeCertificate::parse(der)).transpose();
    parsed.map_err(io::Error::other)
}
