//! `entrepot node` and `entrepot region`.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use entrepot_proto::admin;

use super::print;
use crate::arguments::{Drain, Node, Region, Remove, Replace, Revoke, Token};
use crate::client::Client;
use crate::failure::Failure;
use crate::report::{
    AddedRegion, DrainReport, NodesReport, RegionsReport, RemovedNode, RemovedRegion, RevokedNode,
    TokenReport,
};

/// Between two looks at a drain, and as many times what a look takes: it asks
/// for every blob.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const LOOK_PAUSE_FACTOR: u32 = 5;

pub(super) async fn node(client: &Client, command: Node, json: bool) -> Result<(), Failure> {
    match command {
        Node::List => print(&NodesReport::from(client.nodes().await?), json),
        Node::Drain(options) => drain(client, options, json).await,
        Node::Remove(Remove { node, force, .. }) => remove(client, node, force, json).await,
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
    let mut shown = String::new();
    loop {
        let looked = Instant::now();
        let (node, departure) = client.departure(options.node).await?;
        let report = DrainReport::new(&node, departure);
        if options.cancel || options.no_wait || report.is_done() {
            return print(&report, json);
        }
        let progress = report.progress();
        if progress != shown {
            // Standard output holds the answer alone.
            let _ = writeln!(io::stderr(), "{progress}");
            shown = progress;
        }
        if started.elapsed() > options.wait_at_most {
            print(&report, json)?;
            return Err(Failure::NotDrained(options.node));
        }
        tokio::time::sleep(LOOK_INTERVAL + looked.elapsed() * LOOK_PAUSE_FACTOR).await;
    }
}

async fn remove(client: &Client, node: u64, force: bool, json: bool) -> Result<(), Failure> {
    let departure = client.remove_node(node, force).await?;
    print(&RemovedNode::new(node, &departure), json)
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
    if lost.alive {
        return Err(Failure::NotLost(node));
    }
    let takes_part = new.state() == admin::NodeState::Active && new.alive;
    if !takes_part || new.region != lost.region || node == successor {
        return Err(Failure::NoSuccessor { node, successor });
    }
    // It is dead: nobody can drain it. What it has the last copy of is still
    // refused, unless it is given up.
    let (_, departure) = client.departure(node).await?;
    if departure.blobs_last > 0 && !force {
        return Err(Failure::LastCopies {
            node,
            blobs: departure.blobs_last,
        });
    }
    remove(client, node, true, json).await
}
