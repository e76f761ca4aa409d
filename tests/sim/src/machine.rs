//! A machine: what a node finds again when it starts the next time, and the
//! node while it runs.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};
use entrepot_blobs::{BlobStore, MemoryStore};
use entrepot_consensus::files::{Files, MemoryFiles};
use entrepot_consensus::{Compaction, Consensus, MemoryIndex};
use entrepot_metadata::command::PutRule;
use entrepot_metadata::{GroupId, Metadata as _};
use entrepot_node::{
    CareConfig, ClientLimits, Config, ListenConfig, Listeners, MemoryStorage, NoCourier, Node,
    Outside, Reach, RootConfig, Storage, Throttling,
};
use entrepot_oci::RegionName;
use entrepot_proto::environment::{Blocking, Clock};
use entrepot_proto::peers::{ClusterSecret, PeerInfo};
use tokio::sync::watch;

use crate::flaw::{DroppingFiles, Flaw, LosingBlobs, LyingFiles};
use crate::net::{CLIENT_PORT, PEER_PORT, SimDial, SimListen};

pub(crate) const ACCOUNT: &str = "000000000001";
pub(crate) const USER: &str = "root";
pub(crate) const PASSWORD: &str = "a password of the simulation";
/// The node that makes the rule.
const FIRST: u64 = 1;
const REPLICATED_PREFIX: &str = "team/";
const RULE_RETRY: Duration = Duration::from_millis(500);
const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// Nobody has a certificate here.
const CERTIFICATE_LIFE: Duration = Duration::from_hours(24);
const CONNECTIONS_MAX: usize = 256;
const UPLOAD_EXPIRY: Duration = Duration::from_mins(1);
/// Says a node that ends because of it.
const REMOVED: &str = "was removed from its cluster";
/// Wall clocks begin here.
const EPOCH_MS: i64 = 1_790_000_000_000;

/// One machine.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) id: u64,
    pub(crate) region: RegionName,
    pub(crate) blobs: MemoryStore,
    pub(crate) files: MemoryFiles,
    pub(crate) index: MemoryIndex,
    /// What its wall clock is off by, ms.
    pub(crate) skew_ms: Arc<AtomicI64>,
    data: PathBuf,
    compaction: Compaction,
    copies: usize,
    flaw: Flaw,
    /// Where its region's repositories are replicated to; it makes the rule.
    replicates_to: Option<RegionName>,
    peers: Vec<PeerInfo>,
    /// Says that the node is to stop as an operator stops it.
    stop: watch::Sender<bool>,
    /// The node's groups, while it runs.
    running: Rc<RefCell<Option<Arc<Consensus>>>>,
    standing: Rc<Cell<Standing>>,
    wish: Rc<Cell<Option<Wish>>>,
}

/// How far a machine has got in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has not been started yet.
    Spare,
    /// Its node is in the cluster, or on its way into it.
    In,
    /// Its node is being removed.
    Leaving,
    /// Its node was removed, or the machine was lost.
    Gone,
}

/// What is to be done about a process, from outside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Start,
    End,
}

/// How a machine differs from others.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    /// Above the data folders of all machines.
    pub(crate) folder: PathBuf,
    pub(crate) compaction: Compaction,
    pub(crate) copies: usize,
    pub(crate) flaw: Flaw,
    /// To the second region, if there is one.
    pub(crate) rule: Option<RegionName>,
}

/// A wall clock that is wrong.
#[derive(Debug)]
struct SkewedClock(Arc<AtomicI64>);

// === impl Machine ===

impl Machine {
    pub(crate) fn new(info: &PeerInfo, peers: &[PeerInfo], shape: &Shape) -> Self {
        Self {
            id: info.id,
            region: info.region.clone(),
            blobs: MemoryStore::new(),
            files: MemoryFiles::new(),
            index: MemoryIndex::new(),
            skew_ms: Arc::default(),
            data: shape.folder.join(name(info.id)),
            compaction: shape.compaction,
            copies: shape.copies,
            flaw: shape.flaw,
            replicates_to: shape.rule.clone().filter(|_| info.id == FIRST),
            peers: peers.to_vec(),
            stop: watch::Sender::new(false),
            running: Rc::default(),
            standing: Rc::new(Cell::new(Standing::In)),
            wish: Rc::default(),
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing.get()
    }

    pub(crate) fn set_standing(&self, standing: Standing) {
        self.standing.set(standing);
    }

    pub(crate) fn is_in(&self) -> bool {
        self.standing() == Standing::In
    }

    pub(crate) fn wish(&self, wish: Wish) {
        self.wish.set(Some(wish));
    }

    pub(crate) fn take_wish(&self) -> Option<Wish> {
        self.wish.take()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.borrow().is_some()
    }

    pub(crate) fn name(&self) -> String {
        name(self.id)
    }

    /// The groups of the node, if it runs and is not about to stop: then they
    /// close one after the other.
    pub(crate) fn consensus(&self) -> Option<Arc<Consensus>> {
        let running = self.running.borrow().clone();
        running.filter(|_| !self.is_stopping())
    }

    /// The power goes: what was not synced is lost, and what is not to be
    /// believed afterwards. Before the process ends, so that it saves nothing.
    pub(crate) fn cut_power(&self, keep: Option<u64>) {
        match keep {
            Some(seed) => self.files.crash_keeping_some(seed),
            None => self.files.crash(),
        }
        self.index.lose();
    }

    /// After the process has ended, however it did.
    pub(crate) fn ended(&self) {
        self.running.borrow_mut().take();
        self.stop.send_replace(false);
    }

    pub(crate) fn ask_to_stop(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// The process. Its end by itself is an error, with all that led to it.
    pub(crate) async fn run(self) -> turmoil::Result {
        let Err(error) = self.clone().node().await else {
            return Ok(());
        };
        let error = format!("node {} cannot go on: {error:#}", self.id);
        let is_removed = matches!(self.standing(), Standing::Leaving | Standing::Gone);
        if is_removed && error.contains(REMOVED) {
            tracing::info!(error, "a node has ended");
            // With all of its connections, which would stay as they are.
            self.wish(Wish::End);
            return Ok(());
        }
        Err(error.into())
    }

    /// A whole node, until it is asked to stop.
    async fn node(self) -> anyhow::Result<()> {
        let mut stop = self.stop.subscribe();
        let node = Node::start(self.config()?, self.outside().await?).await?;
        let consensus = Arc::clone(node.consensus());
        self.running.borrow_mut().replace(Arc::clone(&consensus));
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            failure = node.failed() => return Err(failure),
            () = self.keep_rule(&consensus) => {}
        }
        drop(consensus);
        let stopped = node.stop().await;
        self.ended();
        stopped
    }

    /// Makes the rule, and then does nothing for ever.
    async fn keep_rule(&self, consensus: &Consensus) {
        let (Some(destination), Ok(account)) = (&self.replicates_to, ACCOUNT.parse()) else {
            return std::future::pending().await;
        };
        let group = GroupId::region(self.region.clone());
        let prefixes = [REPLICATED_PREFIX.to_owned()];
        let rule = PutRule::new(&account, "all", &prefixes, destination, 0);
        while consensus
            .propose(&group, rule.clone().into())
            .await
            .is_err()
        {
            tokio::time::sleep(RULE_RETRY).await;
        }
        std::future::pending::<()>().await;
    }

    fn config(&self) -> anyhow::Result<Config> {
        let port = |port| ([0, 0, 0, 0], port).into();
        Ok(Config {
            node: self.id,
            region: self.region.clone(),
            data: self.data.clone(),
            secret: ClusterSecret::new(SECRET)?,
            listen: ListenConfig {
                client: port(CLIENT_PORT),
                peer: port(PEER_PORT),
                ops: None,
                tls: None,
                domain: None,
                limits: ClientLimits::of(CONNECTIONS_MAX),
            },
            root: RootConfig {
                account: ACCOUNT.parse()?,
                user: USER.to_owned(),
                password: Some(PASSWORD.to_owned()),
            },
            copies: self.copies - usize::from(self.flaw == Flaw::FewCopies),
            upload_expiry: UPLOAD_EXPIRY,
            care: CareConfig::default(),
            index_cache_bytes: None,
            trust: None,
            certificate_life: CERTIFICATE_LIFE,
            peers: self.peers.clone(),
            rebuild_index: false,
            webhooks: Reach { local: false },
            throttling: Throttling::default(),
            issuer_keys: BTreeMap::new(),
        })
    }

    async fn outside(&self) -> anyhow::Result<Outside> {
        let files: Arc<dyn Files> = match self.flaw {
            Flaw::LyingSync => Arc::new(LyingFiles(self.files.clone())),
            Flaw::DroppingSnapshots => Arc::new(DroppingFiles(self.files.clone())),
            _ => Arc::new(self.files.clone()),
        };
        let blobs: Arc<dyn BlobStore> = match self.flaw {
            Flaw::LosingBlobs => Arc::new(LosingBlobs(self.blobs.clone())),
            _ => Arc::new(self.blobs.clone()),
        };
        Ok(Outside {
            clock: Arc::new(SkewedClock(Arc::clone(&self.skew_ms))),
            dial: Arc::new(SimDial),
            listeners: Listeners {
                client: SimListen::bind(CLIENT_PORT).await?,
                peer: SimListen::bind(PEER_PORT).await?,
                ops: None,
            },
            blocking: Blocking::Inline,
            storage: Storage::Memory(MemoryStorage {
                blobs,
                files,
                index: self.index.clone(),
                compaction: self.compaction,
                root_hash: Some(cheap_hash()?),
            }),
            courier: Arc::new(NoCourier),
        })
    }
}

/// Of the password, with the least work that argon2 can be given.
fn cheap_hash() -> anyhow::Result<String> {
    let params = Params::new(Params::MIN_M_COST, 1, 1, None)?;
    let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password(PASSWORD.as_bytes())?;
    Ok(hash.to_string())
}

/// The host name of a node.
pub(crate) fn name(id: u64) -> String {
    format!("node-{id}")
}

/// Where peers find it.
pub(crate) fn peer_address(id: u64) -> String {
    format!("{}:{PEER_PORT}", name(id))
}

impl Clock for SkewedClock {
    fn now_ms(&self) -> i64 {
        let elapsed = turmoil::sim_elapsed().unwrap_or_default();
        let elapsed = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        EPOCH_MS + elapsed + self.0.load(Ordering::Relaxed)
    }
}
