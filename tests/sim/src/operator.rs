//! The operator: lets a node join, and another one leave, with what the CLI asks
//! the nodes for.
//!
//! As operators do, it asks whatever node answers, and again until it has an
//! answer: every step may be repeated.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot_proto::admin::cluster_client::ClusterClient;
use entrepot_proto::admin::{
    DrainNodeRequest, ListNodesRequest, NodeDepartureRequest, NodeState, RemoveNodeRequest,
};
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::draw::Draw;
use crate::machine::{self, Machine, PASSWORD, Standing, USER, Wish};
use crate::net::{self, CLIENT_PORT};
use crate::plan::{Change, Leave, Leaving, Plan};
use crate::world::Shared;

/// For one step, with all that goes wrong meanwhile.
const STEP_WITHIN: Duration = Duration::from_mins(2);
const STEP_RETRY: Duration = Duration::from_millis(300);
/// For a count of what would be missing.
const WAIT_MS: u64 = 3_000;
/// For an answer of a node.
const DEADLINE: Duration = Duration::from_secs(30);
/// For a node to stop, or to notice that it was removed.
const END_RETRY: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Operator {
    change: Change,
    machines: Vec<Machine>,
    shared: Rc<Shared>,
    draw: Draw,
}

// === impl Operator ===

impl Operator {
    /// None, where no node comes or goes.
    pub(crate) fn of(plan: &Plan, machines: &[Machine], shared: &Rc<Shared>) -> Option<Self> {
        Some(Self {
            change: plan.change.clone()?,
            machines: machines.to_vec(),
            shared: Rc::clone(shared),
            draw: Draw::new(plan.seed, "operator"),
        })
    }

    pub(crate) async fn run(mut self) {
        tokio::time::sleep_until(self.shared.began() + self.change.at).await;
        if let Err(error) = self.carry_out().await {
            let at = self.shared.began().elapsed().as_millis();
            let what = format!("the operator at {at} ms: {error:#}");
            self.shared.oracle_mut().violation(what);
        }
    }

    async fn carry_out(&mut self) -> anyhow::Result<()> {
        let Change { joins, leaves, .. } = self.change;
        let lost = leaves.filter(|leave| leave.how == Leaving::Lost);
        if let Some(Leave { node, .. }) = lost {
            tracing::info!(node, "the operator loses a machine");
            self.machine(node)?.set_standing(Standing::Gone);
            self.machine(node)?.wish(Wish::End);
        }
        if let Some(node) = joins {
            self.join(node).await?;
        }
        match leaves {
            None => Ok(()),
            Some(Leave { node, how }) => {
                if how != Leaving::Lost {
                    self.drain(node).await?;
                }
                self.remove(node, how).await
            }
        }
    }

    async fn join(&mut self, node: u64) -> anyhow::Result<()> {
        tracing::info!(node, "the operator starts a new node");
        self.machine(node)?.set_standing(Standing::In);
        self.machine(node)?.wish(Wish::Start);
        self.until(&format!("node {node} is active"), async |mut cluster| {
            let reply = cluster.list_nodes(asked(ListNodesRequest {})?).await?;
            let nodes = reply.into_inner().nodes;
            let found = nodes.iter().find(|found| found.id == node);
            Ok(found.is_some_and(|found| found.state() == NodeState::Active))
        })
        .await
    }

    async fn drain(&mut self, node: u64) -> anyhow::Result<()> {
        tracing::info!(node, "the operator drains a node");
        self.until(&format!("node {node} drains"), async |mut cluster| {
            let request = DrainNodeRequest {
                node,
                cancel: false,
            };
            cluster.drain_node(asked(request)?).await?;
            Ok(true)
        })
        .await?;
        self.until(&format!("node {node} is drained"), async |mut cluster| {
            let request = NodeDepartureRequest {
                node,
                wait_ms: WAIT_MS,
            };
            let reply = cluster.node_departure(asked(request)?).await?.into_inner();
            tracing::debug!(?reply, "left to do");
            let Some(left) = reply.departure else {
                return Ok(false);
            };
            Ok(left.votes_in.is_empty() && left.blobs_short == 0)
        })
        .await
    }

    async fn remove(&mut self, node: u64, how: Leaving) -> anyhow::Result<()> {
        tracing::info!(node, ?how, "the operator removes a node");
        let is_lost = how == Leaving::Lost;
        let successor = self.change.joins.filter(|_| is_lost).unwrap_or_default();
        let force = is_lost && successor == 0;
        if !is_lost {
            self.machine(node)?.set_standing(Standing::Leaving);
        }
        if how == Leaving::Stopped {
            self.machine(node)?.ask_to_stop();
            self.ended(node).await?;
        }
        let mut attempts = 0;
        self.until(&format!("node {node} is removed"), async |mut cluster| {
            let request = RemoveNodeRequest {
                node,
                force,
                successor,
                wait_ms: WAIT_MS,
            };
            attempts += 1;
            match cluster.remove_node(asked(request)?).await {
                Ok(reply) => Ok(reply.get_ref().departure.is_some()),
                // The answer of an earlier attempt got lost.
                Err(status) if status.code() == Code::NotFound && attempts > 1 => Ok(true),
                Err(status) => Err(status),
            }
        })
        .await?;
        self.machine(node)?.set_standing(Standing::Gone);
        if how == Leaving::Running {
            self.ended(node).await?;
        }
        Ok(())
    }

    /// Waits for the end of a node's process.
    async fn ended(&self, node: u64) -> anyhow::Result<()> {
        let until = Instant::now() + STEP_WITHIN;
        while self.machine(node)?.is_running() {
            if Instant::now() > until {
                bail!("the process of node {node} does not end");
            }
            tokio::time::sleep(END_RETRY).await;
        }
        Ok(())
    }

    /// Asks one node after the other, until one says that it is so.
    async fn until(
        &mut self,
        what: &str,
        mut ask: impl AsyncFnMut(ClusterClient<Channel>) -> Result<bool, Status>,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + STEP_WITHIN;
        let mut last = "nobody answered".to_owned();
        while Instant::now() < until {
            let nodes = self.machines.iter().filter(|machine| machine.is_in());
            let nodes: Vec<u64> = nodes.map(|machine| machine.id).collect();
            let node = self.draw.pick(&nodes).copied();
            let cluster = ClusterClient::new(channel(node.context("no nodes")?)?);
            match tokio::time::timeout(DEADLINE, ask(cluster)).await {
                Ok(Ok(true)) => return Ok(()),
                Ok(Ok(false)) => "not yet".clone_into(&mut last),
                Ok(Err(status)) if is_wrong(status.code()) => bail!("{what}: {status}"),
                Ok(Err(status)) => last = status.to_string(),
                Err(_) => "no answer in time".clone_into(&mut last),
            }
            tracing::debug!(what, last, "the operator asks again");
            tokio::time::sleep(STEP_RETRY).await;
        }
        bail!("not in time: {what}: {last}")
    }

    fn machine(&self, node: u64) -> anyhow::Result<&Machine> {
        let found = self.machines.iter().find(|machine| machine.id == node);
        found.context("no such machine")
    }
}

/// What no node says of a right request, whatever is broken.
fn is_wrong(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidArgument
            | Code::NotFound
            | Code::Internal
            | Code::PermissionDenied
            | Code::Unimplemented
    )
}

fn asked<T>(message: T) -> Result<Request<T>, Status> {
    let credentials = STANDARD.encode(format!("{USER}:{PASSWORD}"));
    let basic: AsciiMetadataValue = format!("Basic {credentials}")
        .parse()
        .map_err(|_| Status::internal("credentials are ASCII"))?;
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", basic);
    Ok(request)
}

fn channel(node: u64) -> anyhow::Result<Channel> {
    let host = format!("http://{}:{CLIENT_PORT}", machine::name(node));
    let connector = tower::service_fn(|uri: Uri| async move {
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        net::connect(&host).await.map(TokioIo::new)
    });
    Ok(Endpoint::from_shared(host)?.connect_with_connector_lazy(connector))
}
