//! The grammar of `entrepot node` and `entrepot region`.

use std::time::Duration;

use clap::{Args, Subcommand};
use entrepot_oci::RegionName;

/// A drain of a large node takes days.
const WAIT_MAX: Duration = Duration::from_hours(24 * 30);
/// The node refuses longer ones.
const TTL_MAX: Duration = Duration::from_hours(24 * 7);

#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// List the nodes of the cluster
    #[command(after_help = "\
A node is joining until it has its copies, then active, then draining when it is about to leave. \
Whether it is alive, and what is free on its disk, is what the node that is asked last heard of \
it. One that is full takes no new copies.

Example:
  entrepot node list

JSON (sizes in bytes, 0 while not known; \"client_address\" is null while not known; \"state\" is \
joining, active, draining or unknown):
  {\"nodes\": [{\"id\": 1, \"region\": \"us-east-1\", \"peer_address\": \"10.0.0.1:5001\",
              \"client_address\": null, \"state\": \"active\", \"alive\": true, \
\"capacity_bytes\": 1000000000000,
              \"free_bytes\": 600000000000, \"full\": false, \"joined_at_ms\": 1767225600000}]}")]
    List,

    /// Move a node's votes and copies to others, wait, and say when it is safe to stop
    #[command(after_help = "\
The node goes on serving. It takes no new copies, its votes in Raft groups move to other nodes, \
and the others fetch what they need to have as many copies as configured without it. The command \
shows how far that is and ends when nothing would be missing: then stop the node, and remove it \
with `entrepot node remove`. It can be interrupted and started again; the drain goes on. A node \
that was only to be emptied for a while takes part again after --cancel.

Examples:
  entrepot node drain 3
  entrepot node drain 3 --cancel

JSON (\"safe_to_stop\" is false with --no-wait and --cancel, unless it is already; \"votes_in\" \
names Raft groups):
  {\"node\": 3, \"state\": \"draining\", \"safe_to_stop\": true, \"votes_in\": [], \"blobs\": 1042,
   \"blobs_short\": 0, \"blobs_last\": 0, \"silent\": []}")]
    Drain(Drain),

    /// Remove a node from the cluster for ever
    #[command(after_help = "\
The node has to be drained. With --force it need not be: then it is removed although it is active \
or dead, and although it has the last copy of blobs, which are lost with it; their number is \
shown. Without force that is refused with the number. A removal that would leave a Raft group \
without a majority is refused in any case.

A node that was removed cannot come back as itself: its number is never used again. Let it join \
as a new node, with an empty data folder.

Examples:
  entrepot node remove 3 --yes
  entrepot node remove 3 --force --yes

JSON:
  {\"removed\": 3, \"blobs_lost\": 0, \"blobs_short\": 0}")]
    Remove(Remove),

    /// Remove a node that is lost, now that a new one has joined in its place
    #[command(after_help = "\
For a node whose disk is lost. It must not come back under its number, because it has forgotten \
how it voted. Let a new node join the same region first, wait until `entrepot node list` shows it \
as active, and name both here: the old one is removed, and the new one takes over its votes and \
copies. Refused while the old node answers (drain it instead), and if the cluster does not have \
another copy of everything (--force removes it all the same, and shows what is lost).

Example:
  entrepot node replace 3 --with 6 --yes

JSON:
  {\"removed\": 3, \"blobs_lost\": 0, \"blobs_short\": 120}")]
    Replace(Replace),

    /// Make a token by which one machine may join the cluster, once
    #[command(after_help = "\
The token is shown once and kept nowhere. Whoever has it can join one machine until it expires, so \
give it to that machine alone: `entrepot-node join --token ...` there. It also tells the machine \
which cluster is the right one.

The first node of a region makes the region.

Examples:
  entrepot node token --region eu-west-1
  entrepot node token --ttl 10m

JSON (\"region\" is null for any):
  {\"token\": \"entrepot_join_AQ...\", \"region\": \"eu-west-1\", \"expires_at_ms\": 1767225600000}")]
    Token(Token),

    /// Shut a node out of the cluster: its certificates are good no more
    #[command(after_help = "\
For a machine that was stolen, or that somebody else has got into. The other nodes end its \
connections within seconds and take no new ones. It cannot be taken back; the machine can join \
again as a new node, with an empty data folder. Its votes and copies are counted as before, until \
it is removed: `entrepot node remove --force`, or `entrepot node replace`.

A node knows the cluster's key. Whoever has read the folder `trust` of its data folder still has \
that.

Example:
  entrepot node revoke 3 --yes

JSON (how many certificates of it were good):
  {\"revoked\": 3, \"certificates\": 1}")]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(crate) struct Token {
    /// Only a node of this region may join by it [default: of any]
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<RegionName>,

    /// How long it is good for, at most 7d
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = ttl)]
    pub(crate) ttl: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The node's number, as `entrepot node list` shows it
    #[arg(value_name = "NODE")]
    pub(crate) node: u64,

    /// Confirm that the node shall be shut out
    #[arg(long, required = true)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// The node's number, as `entrepot node list` shows it
    #[arg(value_name = "NODE")]
    pub(crate) node: u64,

    /// Take it back: the node takes part again
    #[arg(long, conflicts_with_all = ["no_wait", "wait_at_most"])]
    pub(crate) cancel: bool,

    /// Begin the drain, and do not wait for its end
    #[arg(long, conflicts_with = "wait_at_most")]
    pub(crate) no_wait: bool,

    /// Give up waiting after this long; the drain goes on
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = wait)]
    pub(crate) wait_at_most: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The node's number, as `entrepot node list` shows it
    #[arg(value_name = "NODE")]
    pub(crate) node: u64,

    /// Even if it is not drained, or has the last copy of something
    #[arg(long)]
    pub(crate) force: bool,

    /// Confirm that the node shall be removed for ever
    #[arg(long, required = true)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Replace {
    /// The number of the node that is lost
    #[arg(value_name = "NODE")]
    pub(crate) node: u64,

    /// The number of the node that has joined in its place
    #[arg(long = "with", value_name = "NEW")]
    pub(crate) successor: u64,

    /// Even if the lost node had the last copy of something
    #[arg(long)]
    pub(crate) force: bool,

    /// Confirm that the lost node shall be removed for ever
    #[arg(long, required = true)]
    pub(crate) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Region {
    /// Add a region for nodes to come
    #[command(after_help = "\
A region also comes with its first node. One that exists stays as it is.

Example:
  entrepot region add eu-west-1

JSON:
  {\"region\": \"eu-west-1\"}")]
    Add {
        /// The region's name
        #[arg(value_name = "REGION")]
        region: RegionName,
    },

    /// List the regions of the cluster
    #[command(after_help = "\
Example:
  entrepot region list

JSON:
  {\"regions\": [{\"name\": \"us-east-1\", \"nodes\": 3, \"created_at_ms\": 1767225600000}]}")]
    List,

    /// Remove a region that has no nodes
    #[command(after_help = "\
A region with nodes is refused: remove them first. Replication rules of other regions that name \
it stay as they are; nothing is copied there.

Example:
  entrepot region remove eu-west-1 --yes

JSON:
  {\"removed\": \"eu-west-1\"}")]
    Remove {
        /// The region's name
        #[arg(value_name = "REGION")]
        region: RegionName,

        /// Confirm that the region shall be removed
        #[arg(long, required = true)]
        yes: bool,
    },
}

fn wait(text: &str) -> Result<Duration, String> {
    let wait = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if wait > WAIT_MAX {
        return Err("must be at most 30d".to_owned());
    }
    Ok(wait)
}

fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if ttl < Duration::from_secs(1) || ttl > TTL_MAX {
        return Err("must be at least 1s and at most 7d".to_owned());
    }
    Ok(ttl)
}
