//! Who the nodes of the cluster are, and a channel to each.
//!
//! There are three to each: one for what is short and must not wait, one for blob
//! bytes, whose receiver may be as slow as a disk or a client, and one for requests
//! of clients that are passed on, which are as slow as they please. A channel
//! connects when it is first used and reconnects by itself; it never retries a
//! call. Every call carries the cluster's secret, and a node serves
//! no peer that does not know it.

mod list;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use entrepot_oci::RegionName;
use futures::future::BoxFuture;
use http::Uri;
use http::uri::Authority;
use hyper_util::rt::TokioIo;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

pub use self::list::{KnownPeer, PeerList, Standing};

/// The largest gRPC message that a node sends or takes, bytes. Raft batches
/// carry manifests of up to 4 MiB; blob pieces are far smaller.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The size of one piece of a blob on the wire, bytes.
pub const PIECE_BYTES: usize = 256 * 1024;

/// HTTP/2 flow-control window of a stream and of a connection, bytes. One
/// window per round trip is the most that a stream can carry.
pub const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
pub const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// The same of what a node receives on calls to it: one stream of a blob from
/// another region fills 1 Gbit/s at 150 ms, which is 19 MB on their way. HTTP/2's
/// receivers give a window back in halves, so it takes twice that not to hold the
/// sender up.
pub const RECEIVING_STREAM_WINDOW_BYTES: u32 = 40 * 1024 * 1024;
pub const RECEIVING_CONNECTION_WINDOW_BYTES: u32 = 64 * 1024 * 1024;

/// The same of clients' answers that come from another region. Each may be as slow
/// as its client: it takes many of them to fill a connection.
const RELAY_STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const RELAY_CONNECTION_WINDOW_BYTES: u32 = 64 * 1024 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

const SECRET_HEADER: &str = "x-entrepot-cluster";
const SECRET_CHARS_MIN: usize = 32;

/// A connection, whatever carries it.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Makes connections to peers.
pub trait Dial: Send + Sync + fmt::Debug + 'static {
    /// Connects to `address` (`host:port`).
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Io>>>;

    /// The same, to node `node`: who can tell makes sure that it is that one.
    fn dial_node(&self, node: u64, address: String) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let _ = node;
        self.dial(address)
    }
}

/// Which node makes a call: a peer service finds it among the request's
/// extensions, where the port can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub node: u64,
}

/// Connections over TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDial;

/// One node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerInfo {
    pub id: u64,
    pub region: RegionName,
    /// `host:port` of its peer port.
    pub address: String,
}

/// What every node of a cluster knows and nobody else does.
#[derive(Clone)]
pub struct ClusterSecret(MetadataValue<Ascii>);

/// A channel to a peer: cheap to clone, lazily connected.
pub type PeerChannel = InterceptedService<Channel, ClusterSecret>;

/// The nodes of the cluster and the channels to them. The list changes while
/// the node runs; who needs all of it to agree with itself takes one snapshot.
#[derive(Debug)]
pub struct Peers {
    own: PeerInfo,
    secret: ClusterSecret,
    dial: Arc<dyn Dial>,
    list: watch::Sender<Arc<PeerList>>,
    /// To the nodes of the list and to nobody else.
    channels: Mutex<BTreeMap<u64, Channels>>,
}

/// The channels to one node.
#[derive(Debug)]
struct Channels {
    address: String,
    short: PeerChannel,
    bulk: PeerChannel,
    relay: PeerChannel,
}

/// Why a set of peers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    #[error("node {0} is listed twice")]
    Twice(u64),
    #[error("node {0} is not in the list of peers")]
    OwnMissing(u64),
    #[error("the address {address} of node {node} is not host:port")]
    Address { node: u64, address: String },
    #[error(
        "the cluster secret must be at least {SECRET_CHARS_MIN} printable ASCII characters on one line"
    )]
    Secret,
}

// === impl PeerInfo ===

impl PeerInfo {
    /// # Errors
    /// [`PeersError::Address`] unless the address is a host and a port, and
    /// nothing else that may stand in a URL.
    pub fn check(&self) -> Result<(), PeersError> {
        let authority: Option<Authority> = self.address.parse().ok();
        let is_address = authority.is_some_and(|authority| {
            let has_host = !authority.host().is_empty();
            has_host && authority.port_u16().is_some() && !self.address.contains('@')
        });
        if is_address {
            Ok(())
        } else {
            Err(self.address_error())
        }
    }

    fn address_error(&self) -> PeersError {
        PeersError::Address {
            node: self.id,
            address: self.address.clone(),
        }
    }
}

// === impl TcpDial ===

impl Dial for TcpDial {
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    }
}

// === impl ClusterSecret ===

impl ClusterSecret {
    /// Takes the secret as an operator wrote it, without surrounding space.
    pub fn new(secret: &str) -> Result<Self, PeersError> {
        let secret = secret.trim();
        if secret.len() < SECRET_CHARS_MIN || !secret.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(PeersError::Secret);
        }
        let mut value: MetadataValue<Ascii> = secret.parse().map_err(|_| PeersError::Secret)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }

    /// The secret's bytes, to derive keys from.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_encoded_bytes()
    }

    /// The check that a server puts before every peer service.
    #[allow(clippy::result_large_err, reason = "the signature of an interceptor")]
    pub fn check(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let given = request.metadata().get(SECRET_HEADER);
        let matches =
            given.is_some_and(|given| given.as_encoded_bytes().ct_eq(self.as_bytes()).into());
        if matches {
            Ok(request)
        } else {
            Err(Status::unauthenticated(
                "this node does not share the cluster's secret",
            ))
        }
    }
}

impl Interceptor for ClusterSecret {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(SECRET_HEADER, self.0.clone());
        Ok(request)
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(..)")
    }
}

// === impl Peers ===

impl Peers {
    /// The cluster as node `own` sees it; `all` includes `own`.
    pub fn new(
        own: u64,
        all: Vec<PeerInfo>,
        secret: ClusterSecret,
        dial: &Arc<dyn Dial>,
    ) -> Result<Self, PeersError> {
        let mut ids = BTreeSet::new();
        if let Some(peer) = all.iter().find(|peer| !ids.insert(peer.id)) {
            return Err(PeersError::Twice(peer.id));
        }
        let info = all
            .iter()
            .find(|peer| peer.id == own)
            .cloned()
            .ok_or(PeersError::OwnMissing(own))?;
        let peers = Self {
            own: info,
            secret,
            dial: Arc::clone(dial),
            list: watch::Sender::default(),
            channels: Mutex::default(),
        };
        let refused = peers.update(all.into_iter().map(KnownPeer::from).collect());
        refused.into_iter().next().map_or(Ok(peers), Err)
    }

    /// From now on the cluster consists of these nodes. Channels to those that
    /// are not among them, or have moved, are dropped; calls under way on them
    /// still end as they would. Nodes whose address cannot be one are left out,
    /// and named by what is returned.
    pub fn update(&self, mut all: Vec<KnownPeer>) -> Vec<PeersError> {
        let mut refused = Vec::new();
        let mut channels = self.channels();
        let mut kept = BTreeMap::new();
        all.retain(|peer| {
            let info = &peer.info;
            let same = channels.remove(&info.id);
            let same = same.filter(|channels| channels.address == info.address);
            match same.map_or_else(|| self.connect(info), Ok) {
                Ok(channels) => {
                    kept.entry(info.id).or_insert(channels);
                    true
                }
                Err(error) => {
                    refused.push(error);
                    false
                }
            }
        });
        *channels = kept;
        drop(channels);
        let list = Arc::new(PeerList::new(all));
        self.list.send_if_modified(|current| {
            let differs = **current != *list;
            *current = list;
            differs
        });
        refused
    }

    /// Fires when the list has changed.
    pub fn changes(&self) -> watch::Receiver<Arc<PeerList>> {
        self.list.subscribe()
    }

    /// This node, as it was when it started.
    pub fn own(&self) -> &PeerInfo {
        &self.own
    }

    /// Every node, this one too unless it was removed.
    pub fn all(&self) -> Arc<PeerList> {
        Arc::clone(&self.list.borrow())
    }

    pub fn get(&self, id: u64) -> Option<PeerInfo> {
        self.list.borrow().get(id).cloned()
    }

    /// The ids of the nodes of a region, this one too if it is one of them.
    pub fn in_region(&self, region: &RegionName) -> Vec<u64> {
        let list = self.list.borrow();
        list.in_region(region).map(|peer| peer.info.id).collect()
    }

    /// The names of all regions that have nodes, in order, each once.
    pub fn regions(&self) -> Vec<RegionName> {
        let list = self.list.borrow();
        let regions: BTreeSet<_> = list.iter().map(|peer| &peer.region).collect();
        regions.into_iter().cloned().collect()
    }

    /// A channel to node `id`; none if it is not of this cluster. Not to be
    /// kept: the node may move.
    pub fn channel(&self, id: u64) -> Option<PeerChannel> {
        self.channels().get(&id).map(|to| to.short.clone())
    }

    /// The same for blob bytes: a connection of its own, so that those who are
    /// slow to take them hold up nothing but each other.
    pub fn bulk_channel(&self, id: u64) -> Option<PeerChannel> {
        self.channels().get(&id).map(|to| to.bulk.clone())
    }

    /// The same for requests of clients that are passed on: none of those waits for
    /// a blob, and no blob for them.
    pub fn relay_channel(&self, id: u64) -> Option<PeerChannel> {
        self.channels().get(&id).map(|to| to.relay.clone())
    }

    pub fn secret(&self) -> &ClusterSecret {
        &self.secret
    }

    fn channels(&self) -> MutexGuard<'_, BTreeMap<u64, Channels>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self, peer: &PeerInfo) -> Result<Channels, PeersError> {
        let connect = |windows| {
            let dial = Arc::clone(&self.dial);
            channel(peer, self.secret.clone(), dial, windows)
        };
        let blobs = (STREAM_WINDOW_BYTES, CONNECTION_WINDOW_BYTES);
        let relay = (RELAY_STREAM_WINDOW_BYTES, RELAY_CONNECTION_WINDOW_BYTES);
        Ok(Channels {
            address: peer.address.clone(),
            short: connect(blobs)?,
            bulk: connect(blobs)?,
            relay: connect(relay)?,
        })
    }
}

/// With the windows of a stream and of the connection, bytes.
fn channel(
    peer: &PeerInfo,
    secret: ClusterSecret,
    dial: Arc<dyn Dial>,
    (stream, connection): (u32, u32),
) -> Result<PeerChannel, PeersError> {
    peer.check()?;
    let endpoint = Endpoint::from_shared(format!("http://{}", peer.address))
        .map_err(|_| peer.address_error())?
        .connect_timeout(CONNECT_TIMEOUT)
        .initial_stream_window_size(stream)
        .initial_connection_window_size(connection)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    let node = peer.id;
    let connector = tower::service_fn(move |uri: Uri| {
        let address = uri.authority().map(ToString::to_string).unwrap_or_default();
        let dialled = dial.dial_node(node, address);
        async move { dialled.await.map(TokioIo::new) }
    });
    let channel = endpoint.connect_with_connector_lazy(connector);
    Ok(InterceptedService::new(channel, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn peer(id: u64, address: &str) -> PeerInfo {
        PeerInfo {
            id,
            region: "us-east-1".parse().unwrap(),
            address: address.to_owned(),
        }
    }

    fn peers(own: u64, all: Vec<PeerInfo>) -> Result<Peers, PeersError> {
        let dial: Arc<dyn Dial> = Arc::new(TcpDial);
        Peers::new(own, all, ClusterSecret::new(SECRET).unwrap(), &dial)
    }

    #[test]
    fn a_short_or_broken_secret_is_refused() {
        assert!(ClusterSecret::new("short").is_err());
        assert!(ClusterSecret::new(&format!("{SECRET}\n{SECRET}")).is_err());
        assert!(ClusterSecret::new(&format!("{SECRET}\n")).is_ok());
    }

    #[test]
    fn the_secret_is_never_printed() {
        let secret = ClusterSecret::new(SECRET).unwrap();
        assert!(!format!("{secret:?}").contains(SECRET));
    }

    #[test]
    fn a_request_without_the_secret_is_refused() {
        let mut secret = ClusterSecret::new(SECRET).unwrap();
        let other = ClusterSecret::new(&SECRET.replace('0', "1")).unwrap();
        let signed = secret.call(Request::new(())).unwrap();
        assert!(secret.check(Request::new(())).is_err());
        assert!(other.check(secret.call(Request::new(())).unwrap()).is_err());
        assert!(secret.check(signed).is_ok());
    }

    #[tokio::test]
    async fn a_list_of_peers_is_checked() {
        assert!(matches!(
            peers(1, vec![peer(1, "a:1"), peer(1, "b:1")]),
            Err(PeersError::Twice(1))
        ));
        assert!(matches!(
            peers(2, vec![peer(1, "a:1")]),
            Err(PeersError::OwnMissing(2))
        ));
        for address in [
            "no-port",
            "h:",
            ":1",
            "h:65536",
            "h/x:1",
            "me@h:1",
            "http://h:1",
        ] {
            assert!(
                matches!(
                    peers(1, vec![peer(1, address)]),
                    Err(PeersError::Address { node: 1, .. })
                ),
                "{address}"
            );
        }
        let good = peers(1, vec![peer(2, "b:1"), peer(1, "a:1")]).unwrap();
        assert_eq!(good.own().id, 1);
        assert!(good.channel(2).is_some());
        assert!(good.channel(3).is_none());
    }
    #[tokio::test]
    async fn the_list_changes_and_channels_go_with_it() {
        let list = |all: &[(u64, &str)]| -> Vec<KnownPeer> {
            let peers = all.iter().map(|(id, address)| peer(*id, address));
            peers.map(KnownPeer::from).collect()
        };
        let peers = peers(1, vec![peer(1, "a:1"), peer(2, "b:1")]).unwrap();
        let mut changes = peers.changes();
        let before = peers.all();
        assert!(peers.update(list(&[(2, "b:1"), (1, "a:1")])).is_empty());
        assert!(!changes.has_changed().unwrap());

        let refused = peers.update(list(&[(1, "a:1"), (3, "c:1"), (4, "nowhere")]));
        assert!(matches!(refused[..], [PeersError::Address { node: 4, .. }]));
        assert!(changes.has_changed().unwrap());
        let ids: Vec<u64> = changes.borrow_and_update().iter().map(|it| it.id).collect();
        assert_eq!(ids, [1, 3]);
        assert!(peers.channel(2).is_none() && peers.bulk_channel(4).is_none());
        assert!(peers.channel(3).is_some());
        // Who has taken a snapshot keeps it.
        assert_eq!(before.get(2).unwrap().address, "b:1");

        peers.update(list(&[(3, "moved:1")]));
        assert_eq!(peers.channels().get(&3).unwrap().address, "moved:1");
        // A node that was removed still knows who it was.
        assert_eq!((peers.own().id, peers.get(1)), (1, None));
    }
}
