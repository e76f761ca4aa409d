//! What a node says of itself to its cluster: that there is one, at the first
//! start; its address, its data folder and what it can hold; and that it is
//! ready.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_metadata::command::{FormCluster, MemberSpec, SetMemberState, UpdateMember};
use entrepot_metadata::query::{self, Member, MemberState};
use entrepot_metadata::{Command, GroupId, LEVEL, Metadata, Refused};
use entrepot_proto::environment::Clock;
use entrepot_proto::peer::PingRequest;
use entrepot_proto::peer::node_client::NodeClient;
use entrepot_proto::peers::{PeerInfo, Peers};
use tracing::{debug, info, warn};

use crate::disk::Disk;
use crate::entry::check;

const INTERVAL: Duration = Duration::from_secs(1);
/// A peer is asked after as many rounds whether this node is still of the
/// cluster.
const ROUNDS_BETWEEN_QUESTIONS: usize = 10;
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// A file system changes its size a little all the time, as some do; no more
/// than this is not worth telling.
const CAPACITY_CHANGE_MIN: f64 = 0.02;

/// Tells the cluster about this node, for as long as it runs.
pub(crate) struct Report {
    pub(crate) metadata: Arc<dyn Metadata>,
    pub(crate) peers: Arc<Peers>,
    /// Whether this node leads the global group, as far as it knows.
    pub(crate) leads: Box<dyn Fn() -> bool + Send + Sync>,
    /// Id of this node's data folder.
    pub(crate) folder: [u8; 16],
    /// Whom the cluster is made of, if it is not formed yet.
    pub(crate) founders: Vec<PeerInfo>,
    pub(crate) disk: Disk,
    pub(crate) clock: Arc<dyn Clock>,
}

// === impl Report ===

impl Report {
    /// Reports until it is dropped.
    ///
    /// # Errors
    /// A peer knows that this node is not of the cluster any more: nobody tells
    /// it by its groups, which it has left.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let mut round = 0_usize;
        let mut refused = String::new();
        loop {
            if round.is_multiple_of(ROUNDS_BETWEEN_QUESTIONS) {
                self.is_still_of_it(round / ROUNDS_BETWEEN_QUESTIONS)
                    .await?;
            }
            round = round.wrapping_add(1);
            if let Err(error) = self.attempt().await {
                let reason = format!("{error:#}");
                if error.is::<Refused>() && reason != refused {
                    warn!(
                        reason,
                        "the cluster does not take what this node says of itself"
                    );
                    refused = reason;
                } else {
                    // Nothing that anybody waits for, and it is tried again.
                    debug!(reason, "the cluster was not told");
                }
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Asks one of the peers, another one each time.
    async fn is_still_of_it(&self, turn: usize) -> anyhow::Result<()> {
        let own = self.peers.own().id;
        let list = self.peers.all();
        let others: Vec<u64> = list
            .iter()
            .map(|peer| peer.id)
            .filter(|id| *id != own)
            .collect();
        let chosen = others.get(turn % others.len().max(1));
        let Some(channel) = chosen.and_then(|id| self.peers.channel(*id)) else {
            return Ok(());
        };
        let request = PingRequest {
            node: own,
            folder: Bytes::copy_from_slice(&self.folder),
        };
        let mut client = NodeClient::new(channel);
        let Ok(Ok(reply)) = tokio::time::timeout(ASK_TIMEOUT, client.ping(request)).await else {
            return Ok(());
        };
        check(own, reply.get_ref().asker())
    }

    async fn attempt(&self) -> anyhow::Result<()> {
        let own = self.peers.own();
        let view = self.metadata.view(&GroupId::global())?;
        if !query::is_formed(view.as_ref())? {
            return self.form().await;
        }
        let Some(member) = query::member(view.as_ref(), own.id)? else {
            return Ok(());
        };
        if member.is_removed() {
            return Ok(());
        }
        if let Some(update) = self.update(&member) {
            self.propose(update).await?;
        }
        if member.state == MemberState::Joining {
            self.metadata
                .linearize(&GroupId::region(own.region.clone()))
                .await?;
            let active = SetMemberState::new(own.id, MemberState::Active);
            self.propose(active.only_from(MemberState::Joining)).await?;
            info!(node = own.id, "this node has joined");
        }
        Ok(())
    }

    /// The leader's to do: it knows by whom it was elected.
    async fn form(&self) -> anyhow::Result<()> {
        if self.founders.is_empty() || !(self.leads)() {
            return Ok(());
        }
        // A leader that has just been elected may not have applied it yet.
        self.metadata.linearize(&GroupId::global()).await?;
        let spec = |peer: &PeerInfo| MemberSpec::new(peer.id, &peer.region, &peer.address);
        let form = FormCluster {
            members: self.founders.iter().map(spec).collect(),
            at_ms: self.clock.now_ms(),
        };
        self.propose(form).await
    }

    /// What the record does not say, or says wrongly.
    fn update(&self, member: &Member) -> Option<UpdateMember> {
        let own = self.peers.own();
        let nothing = UpdateMember::new(own.id);
        let mut update = nothing.clone();
        if member.peer_address != own.address {
            update.peer_address = Some(own.address.clone());
        }
        if member.folder.is_none() {
            update.folder = Some(Bytes::copy_from_slice(&self.folder));
        }
        update.level = (member.level != LEVEL).then_some(LEVEL);
        let capacity = self.disk.measure().map(|(capacity, _)| capacity);
        update.capacity_bytes = capacity.filter(|now| {
            #[allow(clippy::cast_precision_loss, reason = "a rough comparison")]
            let (now, known) = (*now as f64, member.capacity_bytes as f64);
            (now - known).abs() > known * CAPACITY_CHANGE_MIN
        });
        (update != nothing).then_some(update)
    }

    async fn propose(&self, command: impl Into<Command>) -> anyhow::Result<()> {
        let response = self
            .metadata
            .propose(&GroupId::global(), command.into())
            .await?;
        match response.into_result() {
            Ok(_) => Ok(()),
            Err(refused) => Err(refused.into()),
        }
    }
}
