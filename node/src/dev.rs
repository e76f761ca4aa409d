//! `entrepot-node dev`: a whole cluster in one process. The nodes are what they
//! are anywhere else: each has its own folder and ports, and they speak to each
//! other over TCP only.

mod demo;
mod image;
mod intro;
mod kept;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use entrepot_access::trust::CERTIFICATE_LIFE;
use entrepot_oci::RegionName;
use entrepot_proto::environment::{Clock as _, SystemClock};
use entrepot_proto::peers::PeerInfo;
use entrepot_service::Throttling;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use self::kept::Given;
use crate::arguments::DevArguments;
use crate::config::{CareConfig, ClientLimits, Config, ListenConfig};
use crate::courier::Reach;
use crate::files;
use crate::identity::Identity;
use crate::listen::Listeners;
use crate::node::{Node, Outside};
use crate::stop::{self, Stop};
use crate::trust;

const PEER_PORTS_FROM: u16 = 1_000;
const OPS_PORTS_FROM: u16 = 2_000;
const NODES_MAX: usize = 100;
const START_TIMEOUT: Duration = Duration::from_mins(1);
/// Keeps uploads of clients that were interrupted for a coffee.
const UPLOAD_EXPIRY: Duration = Duration::from_hours(1);
const COPIES: usize = 3;
/// Of one node's client port: all nodes share the process's limit of open files.
const CONNECTIONS_MAX: usize = 512;

/// What is needed to use the cluster.
#[derive(Debug)]
struct Cluster {
    account: String,
    user: String,
    password: String,
    nodes: Vec<DevNode>,
    /// None: removed at exit.
    kept_in: Option<PathBuf>,
}

/// One node of it.
#[derive(Debug)]
struct DevNode {
    id: u64,
    region: RegionName,
    client: SocketAddr,
}

/// `entrepot-node dev`.
pub(crate) async fn run(arguments: &DevArguments) -> anyhow::Result<()> {
    // Before there is a folder that has to be removed at the end.
    let stop = stop::on_signals()?;
    let temporary;
    let data: &Path = if let Some(data) = &arguments.data {
        data
    } else {
        temporary = tempfile::Builder::new()
            .prefix("entrepot-dev-")
            .tempdir()
            .context("cannot make a folder for the cluster's data")?;
        temporary.path()
    };
    check_shape(arguments)?;
    kept::check_shape(data, arguments)?;
    files::create_folder(data)?;
    let (cluster, mut configs) = plan(arguments, data)?;
    for config in &configs {
        Identity::of(config).check(&config.data)?;
    }
    trust::issue_all(&mut configs, SystemClock.now_ms())?;

    // Every port before any node: a port in use must not leave half a cluster.
    let mut bound = Vec::new();
    for config in configs {
        let listeners = Listeners::bind(&config).await.with_context(|| {
            format!(
                "is another cluster running? choose other ports by --base-port, such as --base-port {}",
                arguments.base_port + 100
            )
        })?;
        bound.push((config, listeners));
    }
    kept::keep_shape(data, arguments)?;
    let starts = bound.into_iter().map(async |(config, listeners)| {
        let outside = Outside::real(listeners, &config)?;
        Node::start(config, outside).await
    });
    let mut nodes = Vec::new();
    let mut failure = None;
    for started in futures::future::join_all(starts).await {
        match started {
            Ok(node) => nodes.push(node),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    let result = match failure {
        Some(error) => Err(error),
        None => used(arguments, &cluster, &nodes, &stop).await,
    };
    let stops = nodes.into_iter().map(Node::stop);
    let stopped = futures::future::join_all(stops).await;
    result?;
    stopped.into_iter().collect::<anyhow::Result<Vec<()>>>()?;
    Ok(())
}

/// Returns when the cluster is to stop.
async fn used(
    arguments: &DevArguments,
    cluster: &Cluster,
    nodes: &[Node],
    stop: &Stop,
) -> anyhow::Result<()> {
    tokio::select! {
        biased;
        () = stop.wait() => {
            ensure!(!arguments.demo, "stopped before the demonstration had ended");
            println!("\nStopping.");
            Ok(())
        }
        failure = failed(cluster, nodes) => Err(failure),
        shown = shown(arguments, cluster, nodes) => shown,
    }
}

/// Says how to use the cluster once it can be used; returns after a
/// demonstration only.
async fn shown(arguments: &DevArguments, cluster: &Cluster, nodes: &[Node]) -> anyhow::Result<()> {
    futures::future::try_join_all(nodes.iter().map(|node| node.ready(START_TIMEOUT))).await?;
    intro::print(cluster, arguments.demo);
    if arguments.demo {
        let demo = demo::run(cluster).await;
        return demo.context("the demonstration failed");
    }
    std::future::pending().await
}

/// Waits until one of the nodes cannot go on, and returns why.
async fn failed(cluster: &Cluster, nodes: &[Node]) -> anyhow::Error {
    let each = cluster.nodes.iter().zip(nodes);
    let mut failures: FuturesUnordered<_> = each
        .map(|(about, node)| async move {
            let failure = node.failed().await;
            failure.context(format!("node {} cannot go on", about.id))
        })
        .collect();
    match failures.next().await {
        Some(failure) => failure,
        None => std::future::pending().await,
    }
}

fn check_shape(arguments: &DevArguments) -> anyhow::Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for region in &arguments.regions {
        ensure!(seen.insert(region), "--regions: {region} is there twice");
    }
    let nodes = arguments.regions.len() * usize::from(arguments.nodes_per_region);
    ensure!(
        nodes <= NODES_MAX,
        "{nodes} nodes are too many for one machine; at most {NODES_MAX}"
    );
    ensure!(
        !arguments.demo || arguments.regions.len() > 1,
        "--demo replicates from the first region to the second: give it two"
    );
    Ok(())
}

/// The nodes that `arguments` ask for.
fn plan(arguments: &DevArguments, data: &Path) -> anyhow::Result<(Cluster, Vec<Config>)> {
    let secret = kept::secret(data)?;
    let root = kept::root(data, Given::by_environment()?)?;
    let mut nodes = Vec::new();
    let mut peers = Vec::new();
    let mut listens = Vec::new();
    for region in &arguments.regions {
        for _ in 0..arguments.nodes_per_region {
            let index = u16::try_from(nodes.len())?;
            let port = |from: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, from + index));
            let client = port(arguments.base_port);
            let peer = port(arguments.base_port + PEER_PORTS_FROM);
            let ops = port(arguments.base_port + OPS_PORTS_FROM);
            let id = u64::from(index) + 1;
            nodes.push(DevNode {
                id,
                region: region.clone(),
                client,
            });
            peers.push(PeerInfo {
                id,
                region: region.clone(),
                address: peer.to_string(),
            });
            listens.push(ListenConfig {
                client,
                peer,
                ops: Some(ops),
                tls: None,
                domain: None,
                limits: ClientLimits::of(CONNECTIONS_MAX),
            });
        }
    }
    let configs = nodes
        .iter()
        .zip(listens)
        .map(|(node, listen)| Config {
            node: node.id,
            region: node.region.clone(),
            data: data.join(format!("node-{}", node.id)),
            secret: secret.clone(),
            listen,
            root: root.clone(),
            copies: COPIES,
            upload_expiry: UPLOAD_EXPIRY,
            care: CareConfig::default(),
            index_cache_bytes: None,
            // Whoever tries it has nothing else to send them to.
            webhooks: Reach { local: true },
            throttling: Throttling::default(),
            issuer_keys: BTreeMap::new(),
            peers: peers.clone(),
            trust: None,
            certificate_life: CERTIFICATE_LIFE,
            rebuild_index: false,
        })
        .collect();
    let cluster = Cluster {
        account: root.account.to_string(),
        user: root.user,
        password: root.password.unwrap_or_default(),
        nodes,
        kept_in: arguments.data.clone(),
    };
    Ok((cluster, configs))
}

// === impl Cluster ===

impl Cluster {
    /// A node of the `index`th region.
    fn first_node_of(&self, index: usize) -> Option<&DevNode> {
        let mut regions: Vec<&RegionName> = Vec::new();
        for node in &self.nodes {
            if !regions.contains(&&node.region) {
                regions.push(&node.region);
            }
        }
        let region = *regions.get(index)?;
        self.nodes.iter().find(|node| node.region == *region)
    }
}

#[cfg(test)]
mod tests;
