//! The parts of a node, as the use cases see them.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use entrepot_access::Verifier;
use entrepot_access::trust::ClusterKey;
use entrepot_metadata::GroupId;
use entrepot_metadata::seam::Metadata;
use entrepot_oci::RegionName;
use entrepot_proto::environment::{Blocking, Clock};
use entrepot_proto::peers::Peers;
use entrepot_replication::ClusterBlobs;
use entrepot_replication::cut::CutThrough;
use tokio::sync::Semaphore;

use crate::authenticate::Tokens;
use crate::authorize::Policies;
use crate::backfills::COUNTS_MAX;
use crate::budget::Budgets;
use crate::cluster::ClusterView;
use crate::collector::Collecting;
use crate::departure::Counts;
use crate::feed::Feed;
use crate::iam::SIMULATIONS_MAX;
use crate::issuers::Issuers;
use crate::lifecycle::Previews;
use crate::logins::Logins;
use crate::proven::Proven;
use crate::pulls::Pulls;
use crate::read_through::Through;
use crate::request_id::RequestIds;
use crate::session::SessionNames;
use crate::sessions::Sessions;
use crate::synchronous::Waiters;
use crate::throttling::{Throttle, Throttling};
use crate::trust::Trust;
use crate::webhooks::Courier;

/// A node's registry: every use case is a method of it.
#[derive(Debug)]
pub struct Registry {
    /// Raft in a node, memory in tests.
    pub(crate) metadata: Arc<dyn Metadata>,
    /// The blobs of the region, wherever they are.
    pub(crate) blobs: Arc<ClusterBlobs>,
    /// Sends uploads on to other regions while they arrive.
    pub(crate) cut_through: CutThrough,
    pub(crate) through: Through,
    /// The nodes of the cluster.
    pub(crate) peers: Arc<Peers>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The time as most nodes have it: images go by it.
    pub(crate) cluster_clock: Arc<dyn Clock>,
    /// What the groups of this node are up to.
    pub(crate) view: Arc<dyn ClusterView>,
    /// The region's group.
    pub(crate) group: GroupId,
    /// The group of accounts and identities.
    pub(crate) global: GroupId,
    pub(crate) settings: Settings,
    /// Checks passwords, remembers the ones that were right.
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) logins: Logins,
    /// How often operations are asked for.
    pub(crate) throttle: Throttle,
    /// What is remembered of tokens that were good.
    pub(crate) tokens: Tokens,
    /// What is remembered of policies and of what they decide.
    pub(crate) policies: Policies,
    /// Who has proved who they are a moment ago.
    pub(crate) proven: Proven,
    pub(crate) request_ids: RequestIds,
    pub(crate) names: SessionNames,
    /// What secrets of access keys are sealed under.
    pub(crate) sealing: ClusterKey,
    /// The uploads that this node owns.
    pub(crate) sessions: Sessions,
    /// Where passwords are checked, and large manifests read.
    pub(crate) blocking: Blocking,
    /// Turns of simulations of policies.
    pub(crate) simulations: Arc<Semaphore>,
    /// Turns of counts of what backfills would copy, and of looks through all tasks.
    pub(crate) backfill_counts: Arc<Semaphore>,
    /// Memory for what clients send.
    pub(crate) budgets: Budgets,
    /// Those who watch a repository at this node.
    pub(crate) feed: Arc<Feed>,
    /// Those who wait for other regions at this node.
    pub(crate) waiters: Arc<Waiters>,
    /// None: the nodes have no certificates.
    pub(crate) trust: Option<Arc<Trust>>,
    /// What would be missing without a node, while it is found out.
    pub(crate) counts: Counts,
    /// Takes messages to webhooks, and asks issuers for their keys.
    pub(crate) courier: Arc<dyn Courier>,
    /// Previews of lifecycle policies.
    pub(crate) previews: Previews,
    /// Who has pulled what lately.
    pub(crate) pulls: Pulls,
    /// What is known of the keys of identity providers.
    pub(crate) issuers: Issuers,
    /// Not known before this node has a collector.
    pub(crate) collecting: OnceLock<Collecting>,
}

/// What a registry is built from.
#[derive(Debug)]
pub struct RegistryParts {
    pub metadata: Arc<dyn Metadata>,
    pub blobs: Arc<ClusterBlobs>,
    pub peers: Arc<Peers>,
    pub clock: Arc<dyn Clock>,
    /// The time as most nodes have it.
    pub cluster_clock: Arc<dyn Clock>,
    pub view: Arc<dyn ClusterView>,
    pub verifier: Verifier,
    pub settings: Settings,
    pub blocking: Blocking,
    /// None: the nodes have no certificates.
    pub trust: Option<Arc<Trust>>,
    pub courier: Arc<dyn Courier>,
}

/// What an operator may set.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// An upload that gets no byte for this long is removed.
    pub upload_expiry: Duration,
    pub throttling: Throttling,
}

// === impl Registry ===

impl Registry {
    pub fn new(parts: RegistryParts) -> Arc<Self> {
        let region = parts.peers.own().region.clone();
        parts.blobs.attach(&parts.metadata);
        Arc::new(Self {
            names: SessionNames::new(parts.peers.secret()),
            sealing: ClusterKey::from_secret(parts.peers.secret().as_bytes()),
            through: Through::default(),
            cut_through: CutThrough::new(
                Arc::clone(&parts.blobs),
                Arc::clone(&parts.metadata),
                Arc::clone(&parts.clock),
            ),
            metadata: parts.metadata,
            blobs: parts.blobs,
            peers: parts.peers,
            clock: parts.clock,
            cluster_clock: parts.cluster_clock,
            view: parts.view,
            group: GroupId::region(region),
            global: GroupId::global(),
            settings: parts.settings,
            verifier: Arc::new(parts.verifier),
            logins: Logins::default(),
            throttle: Throttle::new(parts.settings.throttling),
            tokens: Tokens::default(),
            policies: Policies::default(),
            proven: Proven::default(),
            request_ids: RequestIds::default(),
            blocking: parts.blocking,
            sessions: Sessions::default(),
            simulations: Arc::new(Semaphore::new(SIMULATIONS_MAX)),
            backfill_counts: Arc::new(Semaphore::new(COUNTS_MAX)),
            budgets: Budgets::default(),
            feed: Arc::default(),
            waiters: Arc::default(),
            trust: parts.trust,
            counts: Counts::default(),
            courier: parts.courier,
            previews: Previews::default(),
            pulls: Pulls::default(),
            issuers: Issuers::default(),
            collecting: OnceLock::new(),
        })
    }

    /// The region whose registries this node serves.
    pub fn region(&self) -> &RegionName {
        &self.peers.own().region
    }

    /// The blobs that it keeps, and their copies.
    pub fn copies(&self) -> &Arc<ClusterBlobs> {
        &self.blobs
    }

    /// The time as most nodes have it.
    pub fn cluster_clock(&self) -> &Arc<dyn Clock> {
        &self.cluster_clock
    }
}
