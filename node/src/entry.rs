//! How a node gets into its cluster: as one of those who found it, or as one
//! that joins, or as one that is in it.
//!
//! A data folder that has never run could be a new cluster's, a new node's, or
//! a node's that has lost its disk. The peers know which, so such a node takes
//! part in no group ([`Consensus::admit`]) before it has asked them. The
//! invariant: a node that forgot how it voted does not vote under its old
//! number, if any peer that answers can tell; and while too few answer, it waits.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use entrepot_consensus::{Consensus, GroupConfig};
use entrepot_metadata::command::{AddMember, MemberSpec};
use entrepot_metadata::response::Outcome;
use entrepot_metadata::{Envelope, GroupId, Response};
use entrepot_proto::environment::Clock;
use entrepot_proto::peer::metadata_client::MetadataClient;
use entrepot_proto::peer::node_client::NodeClient;
use entrepot_proto::peer::propose_reply::Result as Proposed;
use entrepot_proto::peer::{Known, PingReply, PingRequest, ProposeRequest};
use entrepot_proto::peers::{PeerInfo, Peers};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tracing::info;

use crate::config::Config;
use crate::members::{MembersFile, known_at_start};
use crate::node::Outside;

const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// For more answers, once there are enough to go by.
const MORE_ANSWERS: Duration = Duration::from_millis(200);
const ASK_AGAIN: Duration = Duration::from_millis(200);
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
const JOIN_RETRY: Duration = Duration::from_millis(200);

/// What a node starts with.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) peers: Arc<Peers>,
    /// Whom the cluster is made of, if it is not there; none, if it is.
    pub(crate) founders: Vec<PeerInfo>,
    /// This node has not been in the cluster yet, as far as it knows.
    pub(crate) is_new: bool,
}

/// A node that has not been in the cluster yet, on its way into it.
pub(crate) struct Arrival {
    consensus: Arc<Consensus>,
    peers: Arc<Peers>,
    clock: Arc<dyn Clock>,
    folder: [u8; 16],
    /// The groups that this node is in, and who votes in them first.
    groups: Vec<GroupConfig>,
}

/// What the peers that answer say of this node.
#[derive(Debug, Default)]
struct Said {
    /// The cluster was formed.
    is_formed: bool,
    known: Vec<Known>,
    /// How many are to found it with the same nodes as this one is.
    founders: usize,
}

// === impl Entry ===

impl Entry {
    /// # Errors
    /// The node was removed, or has lost how it voted.
    pub(crate) fn of(config: &Config, outside: &Outside) -> anyhow::Result<Self> {
        let file = MembersFile::new(&config.data);
        let is_known = file.read()?.is_some();
        let told = if is_known {
            config.told()
        } else {
            config.peers.clone()
        };
        let known = known_at_start(config.node, &told, &file)?;
        let infos = known.iter().map(|peer| peer.info.clone()).collect();
        let secret = config.secret.clone();
        let peers = Arc::new(Peers::new(config.node, infos, secret, &outside.dial)?);
        let has_log = outside.storage.has_log(config)?;
        if !is_known {
            // Who joined by a token founds nothing, whatever it hears.
            let has_joined = config.trust.as_ref().is_some_and(|it| it.peers.is_some());
            return Ok(Self {
                peers,
                founders: if has_joined {
                    Vec::new()
                } else {
                    config.peers.clone()
                },
                is_new: true,
            });
        }
        ensure!(
            has_log,
            "the Raft log of node {} in {} is lost, and with it how the node voted: configure it \
             with a new number and an empty data folder, and remove node {} once it has joined",
            config.node,
            config.data.display(),
            config.node
        );
        peers.update(known);
        Ok(Self {
            peers,
            founders: Vec::new(),
            is_new: false,
        })
    }
}

// === impl Arrival ===

impl Arrival {
    pub(crate) fn new(
        consensus: &Arc<Consensus>,
        peers: &Arc<Peers>,
        clock: Arc<dyn Clock>,
        folder: [u8; 16],
        groups: Vec<GroupConfig>,
    ) -> Self {
        Self {
            consensus: Arc::clone(consensus),
            peers: Arc::clone(peers),
            clock,
            folder,
            groups,
        }
    }

    /// Founds the cluster, or joins it.
    ///
    /// # Errors
    /// The cluster does not take this node, or not under this number.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let node = self.peers.own().id;
        let said = self.found_out().await?;
        if !said.is_formed {
            self.consensus.admit();
            for group in &self.groups {
                if group.voters.contains(&node) {
                    let voters = group.voters.iter().copied().collect();
                    self.consensus.found(&group.id, voters).await?;
                }
            }
            return Ok(());
        }
        if !said.known.contains(&Known::Member) {
            self.join().await?;
        }
        self.consensus.admit();
        Ok(())
    }

    /// Asks until the cluster is there, or more than half of the nodes found it.
    async fn found_out(&self) -> anyhow::Result<Said> {
        let mut waits = false;
        loop {
            let said = ask(&self.peers, self.folder).await;
            said.check(self.peers.own().id)?;
            if said.is_enough(self.peers.all().len()) {
                return Ok(said);
            }
            if !waits {
                info!("waits for other nodes, to found the cluster or to join it");
                waits = true;
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Asks whoever leads to add this node, under the number that it is
    /// configured with.
    async fn join(&self) -> anyhow::Result<()> {
        let own = self.peers.own();
        let mut spec = MemberSpec::new(own.id, &own.region, &own.address);
        spec.folder = Bytes::copy_from_slice(&self.folder);
        let command = AddMember::new(spec, true, self.clock.now_ms());
        let mut id = [0; 16];
        getrandom::fill(&mut id).context("no random id for the request")?;
        let envelope = Envelope::new(id, command.into()).to_bytes();
        let joining = async {
            loop {
                if let Some(response) = self.propose(&envelope).await {
                    return response;
                }
                tokio::time::sleep(JOIN_RETRY).await;
            }
        };
        let response = tokio::time::timeout(JOIN_TIMEOUT, joining).await;
        let response = response.context("no node of the cluster could add this one in time")?;
        match response.into_result() {
            Ok(Outcome::MemberAdded(added)) => {
                info!(node = added.node, "the cluster has added this node");
                Ok(())
            }
            Ok(other) => bail!("the cluster does not answer as it should: {other:?}"),
            Err(refused) => bail!("the cluster does not take this node: {refused}"),
        }
    }

    /// Tries one peer after the other.
    async fn propose(&self, envelope: &Bytes) -> Option<Response> {
        let list = self.peers.all();
        for peer in list.iter().filter(|peer| peer.id != self.peers.own().id) {
            let Some(channel) = self.peers.channel(peer.id) else {
                continue;
            };
            let mut client = MetadataClient::new(channel);
            let request = ProposeRequest {
                group: GroupId::global().to_string(),
                envelope: envelope.clone(),
            };
            let reply = tokio::time::timeout(ASK_TIMEOUT, client.propose(request)).await;
            let reply = reply.ok().and_then(Result::ok);
            if let Some(Proposed::Response(answer)) = reply.and_then(|it| it.into_inner().result) {
                return Response::from_bytes(&answer).ok();
            }
        }
        None
    }
}

async fn ask(peers: &Peers, folder: [u8; 16]) -> Said {
    let own = peers.own().id;
    let list = peers.all();
    let nodes: Vec<u64> = list.iter().map(|peer| peer.id).collect();
    let others = list.iter().filter(|peer| peer.id != own);
    let asked = others.filter_map(|peer| peers.channel(peer.id));
    let answers = asked.map(|channel| async move {
        let request = PingRequest {
            node: own,
            folder: Bytes::copy_from_slice(&folder),
        };
        let answer = NodeClient::new(channel).ping(request).await;
        answer.ok().map(tonic::Response::into_inner)
    });
    let mut answers: FuturesUnordered<_> = answers.collect();
    let mut said = Said::default();
    let mut patience = ASK_TIMEOUT;
    while let Ok(Some(answer)) = tokio::time::timeout(patience, answers.next()).await {
        if let Some(answer) = answer {
            said.hear(&answer, &nodes);
        }
        if said.is_enough(list.len()) {
            patience = MORE_ANSWERS;
        }
    }
    said
}

// === impl Said ===

impl Said {
    /// `nodes`: those that this node was told of.
    fn hear(&mut self, reply: &PingReply, nodes: &[u64]) {
        self.is_formed |= reply.is_formed;
        self.known.push(reply.asker());
        self.founders += usize::from(!reply.is_formed && reply.founders == nodes);
    }

    /// Whether the cluster is there, or more than half of `nodes`, of which this
    /// is one, are about to found it. Those that found one without this node are
    /// not counted: it will join theirs.
    fn is_enough(&self, nodes: usize) -> bool {
        self.is_formed || self.founders + 1 > nodes / 2
    }

    fn check(&self, node: u64) -> anyhow::Result<()> {
        self.known.iter().try_for_each(|known| check(node, *known))
    }
}

/// Whether `node`, of which the cluster knows this, may take part.
///
/// # Errors
/// One line that says why it may not, and what to do.
pub(crate) fn check(node: u64, known: Known) -> anyhow::Result<()> {
    match known {
        Known::Member | Known::Unspecified => Ok(()),
        Known::OtherFolder => bail!(
            "the cluster has a node {node} with another data folder, and what it voted is not in \
             this one: let it join under a new number, with an empty data folder, and remove node \
             {node} once it has joined"
        ),
        Known::Removed => bail!(
            "node {node} was removed from its cluster, and its number is not used again: let it \
             join under a new one, with an empty data folder"
        ),
    }
}
