//! `entrepot node` and `entrepot region`.

use std::time::{Duration, Instant};

use entrepot_proto::admin;

use super::print;
use crate::arguments::{Drain, Node, Region, Remove, Replace, Revoke, Token};
use crate::client::{Client, Counted};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::report::{
    AddedRegion, DrainReport, NodesReport, RegionsReport, RemovedNode, RemovedRegion, RevokedNode,
    TokenReport,
};

/// Between two looks at a drain, and as many times what the end of a look takes:
/// it asks for every blob.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const LOOK_PAUSE_FACTOR: u32 = 5;

pub(super) async fn node(client: &Client, command: Node, json: bool) -> Result<(), Failure> {
    match command {
        Node::List => print(&NodesReport::from(client.nodes().await?), json),
        Node::Drain(options) => drain(client, options, json).await,
        Node::Remove(Remove { node, force, .. }) => remove(client, node, force, None, json).await,
        Node::Replace(options) => replace(client, options, json).await,
        Node::Token(Token { region, ttl }) => {
            let named = region.as_ref().map_or("", |region| region.as_str());
            let made = client.create_join_token(named, ttl).await?;
            let region = region.map(|region| region.to_string());
            print(&TokenReport::new(made, region), json)
        }
        Node::Revoke(Revoke { node, .. }) => {
            let certificates = client.revoke_node(node).await?;
            let report = RevokedNode {
                revoked: node,
                certificates,
            };
            print(&report, json)
        }
    }
}

pub(super) async fn region(client: &Client, command: Region, json: bool) -> Result<(), Failure> {
    match command {
        Region::Add { region } => {
            client.add_region(region.as_str()).await?;
            let region = region.to_string();
            print(&AddedRegion { region }, json)
        }
        Region::List => print(&RegionsReport::from(client.regions().await?), json),
        Region::Remove { region, .. } => {
            client.remove_region(region.as_str()).await?;
            let removed = region.to_string();
            print(&RemovedRegion { removed }, json)
        }
    }
}

async fn drain(client: &Client, options: Drain, json: bool) -> Result<(), Failure> {
    let started = Instant::now();
    client.drain_node(options.node, options.cancel).await?;
    let mut progress = Progress::new();
    loop {
        let looked = Instant::now();
        let (node, counted) = client.departure(options.node).await?;
        let departure = match counted {
            Counted::All(departure) => departure,
            Counted::Some(counting) => {
                progress.counting(options.node, &counting);
                if started.elapsed() > options.wait_at_most && !options.no_wait {
                    progress.clear();
                    return Err(Failure::NotDrained(options.node));
                }
                continue;
            }
        };
        let report = DrainReport::new(&node, departure);
        if options.cancel || options.no_wait || report.is_done() {
            progress.clear();
            return print(&report, json);
        }
        progress.show(&report.progress(), report.done_per_mille());
        if started.elapsed() > options.wait_at_most {
            progress.clear();
            print(&report, json)?;
            return Err(Failure::NotDrained(options.node));
        }
        tokio::time::sleep(LOOK_INTERVAL + looked.elapsed() * LOOK_PAUSE_FACTOR).await;
    }
}

async fn remove(
    client: &Client,
    node: u64,
    force: bool,
    successor: Option<u64>,
    json: bool,
) -> Result<(), Failure> {
    let mut progress = Progress::new();
    loop {
        match client.remove_node(node, force, successor).await {
            Ok(Counted::Some(counting)) => progress.counting(node, &counting),
            Ok(Counted::All(departure)) => {
                progress.clear();
                return print(&RemovedNode::new(node, &departure), json);
            }
            Err(failure) => {
                progress.clear();
                return Err(failure);
            }
        }
    }
}

async fn replace(client: &Client, options: Replace, json: bool) -> Result<(), Failure> {
    let Replace {
        node,
        successor,
        force,
        ..
    } = options;
    let nodes = client.nodes().await?;
    let find = |id: u64| nodes.iter().find(|node| node.id == id);
    let lost = find(node).ok_or(Failure::NodeUnknown(node))?;
    let new = find(successor).ok_or(Failure::NodeUnknown(successor))?;
    // The node that is asked decides; this says the same in words of the CLI.
    if lost.alive {
        return Err(Failure::NotLost(node));
    }
    let takes_part = new.state() == admin::NodeState::Active && new.alive;
    if !takes_part || new.region != lost.region || node == successor {
        return Err(Failure::NoSuccessor { node, successor });
    }
    remove(client, node, force, Some(successor), json).await
}
