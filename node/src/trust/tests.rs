//! Nodes that meet: who is let in, who is not, and for how long.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use entrepot_access::trust::{Authority, Fingerprint};
use entrepot_metadata::command::{
    Command, FormCluster, MemberSpec, RemoveMember, RevokeCertificates,
};
use entrepot_metadata::query;
use entrepot_metadata::{GroupId, LocalMetadata, Metadata};
use entrepot_proto::environment::{Clock, SystemClock};
use entrepot_proto::peers::{Caller, Dial, Io, PeerInfo};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::Request;
use tonic::transport::server::Connected as _;

use super::folder::{Admitted, TrustFolder};
use super::gate::PeerCertificate;
use super::guarded::Guarded;
use super::handshakes::HANDSHAKES_MAX;
use super::issue_all;
use super::own::Upkeep;
use super::parts::Trusted;
use super::tls::connect_pinned;
use crate::clock::ClusterClock;
use crate::config::Config;
use crate::listen::Listen;
use crate::node::tests::alone;
use crate::peer_port::shaken;

const NOW: i64 = 1_800_000_000_000;
const DAY_MS: i64 = 24 * 3600 * 1000;

#[derive(Debug)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Gives the one connection that it was made with.
#[derive(Debug)]
struct OneDial(Arc<Mutex<Option<DuplexStream>>>);

impl Dial for OneDial {
    fn dial(&self, _: String) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let connection = Arc::clone(&self.0);
        Box::pin(async move {
            let connection = connection.lock().await.take();
            let connection = connection.ok_or(io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(connection) as Box<dyn Io>)
        })
    }
}

/// Accepts these, and then nobody.
#[derive(Debug)]
struct Coming(Mutex<VecDeque<(DuplexStream, Option<IpAddr>)>>);

#[async_trait]
impl Listen for Coming {
    async fn accept(&self) -> io::Result<Box<dyn Io>> {
        Ok(self.accept_from().await?.0)
    }

    async fn accept_from(&self) -> io::Result<(Box<dyn Io>, Option<IpAddr>)> {
        let next = self.0.lock().await.pop_front();
        match next {
            Some((connection, from)) => Ok((Box::new(connection), from)),
            None => std::future::pending().await,
        }
    }
}

/// Nodes 1 and 2 of one cluster.
struct Cluster {
    _folder: tempfile::TempDir,
    configs: Vec<Config>,
    nodes: Vec<Trusted>,
    metadata: Arc<dyn Metadata>,
    clock: Arc<TestClock>,
}

impl Cluster {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configs = [1, 2].map(|node| {
            let mut config = alone(folder.path());
            config.node = node;
            config.data = folder.path().join(node.to_string());
            config
        });
        let mut configs = configs.to_vec();
        // A machine that joins has no other clock than its own.
        let now_ms = SystemClock.now_ms();
        issue_all(&mut configs, now_ms).unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(now_ms)));
        let shared: Arc<dyn Clock> = Arc::<TestClock>::clone(&clock);
        let nodes = configs.iter().map(|config| {
            let folder = config.trust.as_ref().unwrap();
            Trusted::open(folder, &shared).unwrap()
        });
        Self {
            nodes: nodes.collect(),
            configs,
            _folder: folder,
            metadata: Arc::new(LocalMetadata::new([GroupId::global()])),
            clock,
        }
    }

    /// The records of both nodes, which both read.
    async fn formed() -> Self {
        let cluster = Self::new();
        let region = "us-east-1".parse().unwrap();
        let member = |node, address| MemberSpec::new(node, &region, address);
        cluster
            .propose(FormCluster {
                members: vec![member(1, "a:1"), member(2, "b:1")],
                at_ms: NOW,
            })
            .await;
        for node in &cluster.nodes {
            node.gate().ask(Arc::clone(&cluster.metadata));
        }
        cluster
    }

    async fn propose(&self, command: impl Into<Command>) {
        let global = GroupId::global();
        let proposed = self.metadata.propose(&global, command.into());
        proposed.await.unwrap().into_result().unwrap();
    }

    async fn revoke(&self, node: u64) {
        let at_ms = NOW;
        self.propose(RevokeCertificates { node, at_ms }).await;
    }

    fn upkeep(&self) -> Upkeep {
        let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(&self.clock);
        self.upkeep_by(&clock)
    }

    fn upkeep_by(&self, clock: &Arc<dyn Clock>) -> Upkeep {
        let trust = self.nodes[0].for_cluster(&self.configs[0], &self.metadata, clock);
        self.nodes[0].upkeep(&trust, clock)
    }
}

/// What both ends make of a connection from `from` to `to`, which is taken for
/// node `called`.
async fn meet(
    from: &Trusted,
    to: &Trusted,
    called: u64,
) -> (io::Result<Box<dyn Io>>, io::Result<Guarded>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let dial: Arc<dyn Dial> = Arc::new(OneDial(Arc::new(Mutex::new(Some(near)))));
    let dial = from.over(&dial);
    let (near, far) = tokio::join!(
        async {
            let mut near = dial.dial_node(called, "a:1".to_owned()).await?;
            // In TLS 1.3 the client hears only now that it was refused.
            near.write_all(b"x").await?;
            near.flush().await?;
            Ok::<_, io::Error>(near)
        },
        async { to.tls().accept(Box::new(far)).await }
    );
    (near, far)
}

fn request(certificate: PeerCertificate) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(certificate);
    request
}

#[tokio::test]
async fn nodes_of_one_cluster_know_each_other() {
    let cluster = Cluster::formed().await;
    let (near, far) = meet(&cluster.nodes[0], &cluster.nodes[1], 2).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    let mut byte = [0];
    far.read_exact(&mut byte).await.unwrap();
    far.write_all(b"y").await.unwrap();
    far.flush().await.unwrap();
    near.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"y");
    let admitted = cluster.nodes[1].gate().admit(request(far.certificate()));
    let admitted = admitted.unwrap();
    let caller = admitted.extensions().get::<Caller>();
    assert_eq!(caller, Some(&Caller { node: 1 }));
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused_by_both_ends() {
    let (one, other) = (Cluster::new(), Cluster::new());
    let (near, far) = meet(&other.nodes[0], &one.nodes[1], 2).await;
    // The name that is called is of the caller's cluster.
    assert!(near.is_err());
    assert!(far.is_err());
}

#[tokio::test]
async fn another_node_than_the_one_called_is_refused() {
    let cluster = Cluster::formed().await;
    let (near, _) = meet(&cluster.nodes[0], &cluster.nodes[1], 3).await;
    let said = near.err().unwrap().to_string();
    assert!(said.contains("node 2 answered"), "{said}");
}

#[tokio::test]
async fn without_a_certificate_nothing_but_a_join_is_served() {
    let cluster = Cluster::formed().await;
    let root = cluster.configs[0]
        .trust
        .as_ref()
        .unwrap()
        .root
        .fingerprint();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let tls = cluster.nodes[0].tls();
    let (near, far) = tokio::join!(
        connect_pinned(root, Box::new(near)),
        tls.accept(Box::new(far))
    );
    near.unwrap();
    let shown = far.unwrap().certificate();
    assert!(shown.0.is_none());
    let refused = cluster.nodes[0].gate().admit(request(shown)).unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    let refused = cluster.nodes[0].gate().admit(Request::new(()));
    assert!(refused.is_err());
}

#[tokio::test]
async fn a_token_of_another_cluster_is_noticed_by_who_holds_it() {
    let cluster = Cluster::new();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let tls = cluster.nodes[0].tls();
    let (near, far) = tokio::join!(
        connect_pinned(Fingerprint::of(b"another"), Box::new(near)),
        tls.accept(Box::new(far))
    );
    let said = near.err().unwrap().to_string();
    assert!(said.contains("another cluster than the token"), "{said}");
    assert!(far.is_err());
}

#[tokio::test]
async fn what_speaks_no_tls_is_refused() {
    let cluster = Cluster::new();
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    near.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let refused = cluster.nodes[0].tls().accept(Box::new(far)).await;
    assert!(refused.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_revoked_node_loses_the_connections_that_it_has_and_gets_no_new_ones() {
    let cluster = Cluster::formed().await;
    let gate = cluster.nodes[1].gate();
    let watch = tokio::spawn(Arc::clone(&gate).watch());
    let (near, far) = meet(&cluster.nodes[0], &cluster.nodes[1], 2).await;
    let (_near, mut far) = (near.unwrap(), far.unwrap());
    let mut byte = [0];
    far.read_exact(&mut byte).await.unwrap();
    let shown = far.certificate();
    gate.admit(request(shown)).unwrap();

    cluster.revoke(1).await;
    let refused = gate.admit(request(shown)).unwrap_err();
    assert!(refused.message().contains("revoked"), "{refused}");
    let cut = tokio::time::timeout(Duration::from_secs(3), far.read_exact(&mut byte));
    let cut = cut.await.unwrap().unwrap_err();
    assert_eq!(cut.kind(), io::ErrorKind::ConnectionAborted);
    let (_, far) = meet(&cluster.nodes[0], &cluster.nodes[1], 2).await;
    assert!(far.is_err());
    // Nor is it called.
    let (near, _) = meet(&cluster.nodes[1], &cluster.nodes[0], 1).await;
    let said = near.err().unwrap().to_string();
    assert!(said.contains("revoked"), "{said}");
    watch.abort();
}

#[tokio::test]
async fn a_node_that_was_removed_hears_so_and_nothing_else() {
    let cluster = Cluster::formed().await;
    let remove = RemoveMember {
        node: 1,
        at_ms: NOW,
        force: true,
    };
    cluster.propose(remove).await;
    let (_near, far) = meet(&cluster.nodes[0], &cluster.nodes[1], 2).await;
    let shown = far.unwrap().certificate();
    let gate = cluster.nodes[1].gate();
    gate.admit_ping(request(shown)).unwrap();
    let refused = gate.admit(request(shown)).unwrap_err();
    assert!(refused.message().contains("node 1 is no node"), "{refused}");
    // Nobody else takes it for a node.
    let (near, _) = meet(&cluster.nodes[1], &cluster.nodes[0], 1).await;
    assert!(near.is_err());
}

#[tokio::test]
async fn a_certificate_is_renewed_before_it_expires() {
    let cluster = Cluster::formed().await;
    let mut upkeep = cluster.upkeep();
    upkeep.attempt().await.unwrap();
    let view = cluster.metadata.view(&GroupId::global()).unwrap();
    assert!(query::authority(view.as_ref()).unwrap().is_some());
    let first = upkeep.own.says();
    assert_eq!(query::certificates(view.as_ref(), 1).unwrap().len(), 1);
    upkeep.attempt().await.unwrap();
    assert_eq!(upkeep.own.says(), first, "it is not due yet");

    cluster.clock.0.fetch_add(61 * DAY_MS, Ordering::SeqCst);
    upkeep.attempt().await.unwrap();
    let second = upkeep.own.says();
    assert_ne!(second.serial, first.serial);
    assert_eq!(second.not_after_ms, first.not_after_ms + 61 * DAY_MS);
    let view = cluster.metadata.view(&GroupId::global()).unwrap();
    assert_eq!(query::certificates(view.as_ref(), 1).unwrap().len(), 2);
    let kept = TrustFolder::read(&cluster.configs[0].data)
        .unwrap()
        .unwrap();
    assert_eq!(kept.says, second, "the next start has it too");
    assert!(kept.sealed_key.is_none(), "the cluster keeps the authority");
    let (near, far) = meet(&cluster.nodes[0], &cluster.nodes[1], 2).await;
    near.unwrap();
    assert_eq!(far.unwrap().certificate().0, Some(second));
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_refused() {
    let cluster = Cluster::formed().await;
    cluster.clock.0.fetch_add(91 * DAY_MS, Ordering::SeqCst);
    let (near, far) = meet(&cluster.nodes[0], &cluster.nodes[1], 2).await;
    assert!(near.err().unwrap().to_string().contains("expired"));
    assert!(far.is_err());
}

#[test]
fn a_folder_whose_files_do_not_fit_is_refused_and_named() {
    let cluster = Cluster::new();
    let data = &cluster.configs[0].data;
    let trust = data.join("trust");
    let other = Authority::create(NOW).unwrap();
    let good = std::fs::read(trust.join("ca.crt")).unwrap();
    for (name, bad) in [
        ("ca.crt", "nothing".to_owned()),
        ("cluster.key", "0123".to_owned()),
        ("node.key", "nothing".to_owned()),
        ("region", "No Region".to_owned()),
        ("ca.crt", super::folder::pem(other.root().der())),
    ] {
        let kept = std::fs::read(trust.join(name)).unwrap();
        std::fs::write(trust.join(name), bad).unwrap();
        let refused = format!("{:#}", TrustFolder::read(data).unwrap_err());
        assert!(refused.contains(name), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
        std::fs::write(trust.join(name), kept).unwrap();
    }
    assert_eq!(std::fs::read(trust.join("ca.crt")).unwrap(), good);
    std::fs::remove_file(trust.join("cluster.key")).unwrap();
    let refused = format!("{:#}", TrustFolder::read(data).unwrap_err());
    assert!(refused.contains("cluster.key is missing"), "{refused}");
    std::fs::remove_file(trust.join("node.crt")).unwrap();
    assert!(TrustFolder::read(data).unwrap().is_none());
}

/// A machine that began to make a cluster joins another one instead, or the
/// other way round.
#[test]
fn nothing_is_left_of_an_attempt_before() {
    let cluster = Cluster::new();
    let [first, second] = [0, 1].map(|index| cluster.configs[index].trust.clone().unwrap());
    let data = &cluster.configs[0].data;
    let others = [PeerInfo {
        id: 2,
        region: second.region.clone(),
        address: "b:1".to_owned(),
    }];
    let admitted = |peers, sealed_key| Admitted {
        certificate: &first.certificate,
        region: &first.region,
        root: &first.root,
        cluster_key: &first.cluster_key,
        sealed_key,
        peers,
    };
    assert!(first.sealed_key.is_some());
    TrustFolder::write(data, &admitted(Some(&others), None)).unwrap();
    let joined = TrustFolder::read(data).unwrap().unwrap();
    assert_eq!(joined.peers.as_deref(), Some(&others[..]));
    assert_eq!(joined.sealed_key, None);
    TrustFolder::write(data, &admitted(None, Some(b"sealed"))).unwrap();
    let made = TrustFolder::read(data).unwrap().unwrap();
    assert_eq!(made.peers, None);
    assert_eq!(made.sealed_key.as_deref(), Some(&b"sealed"[..]));
}

/// A day of difference is nothing; two days are.
#[tokio::test]
async fn clocks_that_are_hours_apart_do_not_part_nodes() {
    let cluster = Cluster::formed().await;
    let mut upkeep = cluster.upkeep();
    upkeep.attempt().await.unwrap();
    let apart = |ms: i64| {
        let clock = TestClock(AtomicI64::new(cluster.clock.now_ms() + ms));
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let folder = cluster.configs[1].trust.as_ref().unwrap();
        Trusted::open(folder, &clock).unwrap()
    };
    for hours in [-23, 23] {
        let other = apart(hours * 3600 * 1000);
        let (near, far) = meet(&cluster.nodes[0], &other, 2).await;
        assert!(near.is_ok() && far.is_ok(), "{hours} hours");
        let (near, far) = meet(&other, &cluster.nodes[0], 1).await;
        assert!(near.is_ok() && far.is_ok(), "{hours} hours");
    }
    // The one whose clock is behind takes the other's certificate for one of the
    // future.
    let behind = apart(-2 * DAY_MS);
    let (near, _) = meet(&behind, &cluster.nodes[0], 1).await;
    let refused = near.err().unwrap().to_string();
    assert!(refused.contains("not valid yet"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_not_waited_for() {
    let cluster = Cluster::formed().await;
    let (_silent, far) = tokio::io::duplex(64);
    let ended = cluster.nodes[1].tls().accept(Box::new(far)).await;
    assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

/// However many they are, from one address or from many.
#[tokio::test(start_paused = true)]
async fn those_who_say_nothing_keep_no_peer_waiting() {
    let cluster = Cluster::formed().await;
    let address = |nth: u32| Some(IpAddr::from(Ipv4Addr::from_bits(nth)));
    let many = 3 * u32::try_from(HANDSHAKES_MAX).unwrap();
    for addresses in [1, many] {
        let (silent, mut coming): (Vec<_>, VecDeque<_>) = (0..many)
            .map(|nth| {
                let (near, far) = tokio::io::duplex(64);
                (near, (far, address(nth % addresses)))
            })
            .unzip();
        let (near, far) = tokio::io::duplex(64 * 1024);
        coming.push_back((far, address(0)));
        let listener = Box::new(Coming(Mutex::new(coming)));
        let mut incoming = shaken(listener, cluster.nodes[1].tls());

        let dial: Arc<dyn Dial> = Arc::new(OneDial(Arc::new(Mutex::new(Some(near)))));
        let dial = cluster.nodes[0].over(&dial);
        let started = Instant::now();
        let (near, far) = tokio::join!(dial.dial_node(2, "a:1".to_owned()), incoming.next());
        near.unwrap();
        let shown = far.unwrap().unwrap().connect_info();
        assert_eq!(shown.0.unwrap().name.node, 1);
        assert!(started.elapsed() < Duration::from_secs(1));
        drop(silent);
    }
}

/// Its own clock is two days ahead when a new certificate is due.
#[tokio::test]
async fn a_node_whose_clock_is_wrong_dates_its_certificate_by_the_others() {
    let cluster = Cluster::formed().await;
    cluster.clock.0.fetch_add(61 * DAY_MS, Ordering::SeqCst);
    let right = cluster.clock.now_ms();
    let wrong = Arc::new(TestClock(AtomicI64::new(right + 2 * DAY_MS)));
    let clock = ClusterClock::new(Arc::<TestClock>::clone(&wrong) as Arc<dyn Clock>);
    let by: Arc<dyn Clock> = Arc::<ClusterClock>::clone(&clock);
    let mut upkeep = cluster.upkeep_by(&by);
    clock.ask(move || vec![right, right]);
    upkeep.attempt().await.unwrap();
    let renewed = upkeep.own.says();
    assert_eq!(renewed.not_after_ms / 1_000, (right + 90 * DAY_MS) / 1_000);
    // The others take it, and nothing is to be done when the clock is set right.
    let (near, far) = meet(&cluster.nodes[0], &cluster.nodes[1], 2).await;
    near.unwrap();
    assert_eq!(far.unwrap().certificate().0, Some(renewed));
    wrong.0.store(right, Ordering::SeqCst);
    upkeep.attempt().await.unwrap();
    assert_eq!(upkeep.own.says(), renewed);
}

/// As when a node was alone with its wrong clock.
#[tokio::test]
async fn a_certificate_of_the_future_is_replaced_when_the_clock_is_right() {
    let cluster = Cluster::formed().await;
    let right = cluster.clock.now_ms();
    cluster.clock.0.fetch_add(70 * DAY_MS, Ordering::SeqCst);
    let mut upkeep = cluster.upkeep();
    upkeep.attempt().await.unwrap();
    let future = upkeep.own.says();
    assert!(future.not_before_ms > right);
    cluster.clock.0.store(right, Ordering::SeqCst);
    let (near, far) = meet(&cluster.nodes[0], &cluster.nodes[1], 2).await;
    assert!(near.is_ok_and(|_| far.is_err()), "nobody takes it");
    upkeep.attempt().await.unwrap();
    assert!(upkeep.own.says().not_before_ms <= right);
    let (near, far) = meet(&cluster.nodes[0], &cluster.nodes[1], 2).await;
    assert!(near.is_ok() && far.is_ok());
}
