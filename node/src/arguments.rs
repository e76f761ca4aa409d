//! The command line. Flags override the environment, which overrides the
//! configuration file.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use entrepot_oci::RegionName;

/// A node of an Entrepot container registry.
#[derive(Debug, Parser)]
#[command(name = "entrepot-node", version, max_term_width = 100)]
#[command(after_help = "\
Examples:
  entrepot-node dev                        a two-region cluster on this machine
  entrepot-node dev --data ./cluster       the same, kept between runs
  entrepot-node dev --demo                 push, replicate and pull an image, then exit
  entrepot-node init --config node.toml --region us-east-1
                                           make a cluster; this is its first node
  entrepot-node join --config node.toml --token ...
                                           make this machine another node of it
  entrepot-node run --config node.toml     run the node

deploy/node.toml explains every configuration key.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) logging: LogArguments,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Args)]
pub(crate) struct LogArguments {
    /// What to log, such as `info` or `warn,entrepot_consensus=debug`
    #[arg(long, global = true, env = "ENTREPOT_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// How to log, to standard error
    #[arg(
        long,
        global = true,
        env = "ENTREPOT_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub(crate) log_format: LogFormat,
    /// Append the audit log to this file as well, a JSON object a line
    #[arg(long, global = true, env = "ENTREPOT_AUDIT_LOG", value_name = "FILE")]
    pub(crate) audit_log: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line, for programs
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one node of a cluster
    Run(RunArguments),
    /// Make a cluster: its certificate authority, and its first node
    Init(InitArguments),
    /// Make this machine a node of a cluster, by a token from `entrepot node token`
    Join(JoinArguments),
    /// Run a whole cluster on this machine, to try it or to develop against
    Dev(DevArguments),
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// The configuration file (TOML)
    #[arg(long, env = "ENTREPOT_CONFIG", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The folder for everything that the node stores [overrides `data`]
    #[arg(long, env = "ENTREPOT_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Where clients connect [overrides `listen.client`]
    #[arg(long, env = "ENTREPOT_LISTEN_CLIENT", value_name = "ADDRESS")]
    pub(crate) listen_client: Option<SocketAddr>,
    /// Where the other nodes connect [overrides `listen.peer`]
    #[arg(long, env = "ENTREPOT_LISTEN_PEER", value_name = "ADDRESS")]
    pub(crate) listen_peer: Option<SocketAddr>,
    /// Where health is asked for [overrides `listen.ops`]
    #[arg(long, env = "ENTREPOT_LISTEN_OPS", value_name = "ADDRESS")]
    pub(crate) listen_ops: Option<SocketAddr>,
    /// The client port's certificate (PEM) [overrides `listen.tls.certificate_file`]
    #[arg(long, env = "ENTREPOT_TLS_CERTIFICATE", value_name = "FILE")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// The certificate's private key (PEM) [overrides `listen.tls.key_file`]
    #[arg(long, env = "ENTREPOT_TLS_KEY", value_name = "FILE")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Set the index aside and rebuild it from the Raft log and snapshots
    #[arg(long)]
    pub(crate) rebuild_index: bool,
}

/// Where a node is to be.
#[derive(Debug, Args)]
pub(crate) struct PlaceArguments {
    /// The configuration file (TOML)
    #[arg(long, env = "ENTREPOT_CONFIG", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The folder for everything that the node stores [overrides `data`]
    #[arg(long, env = "ENTREPOT_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Writes the cluster's certificate authority and this node's certificate into the data folder, and
ends. Then `entrepot-node run` starts the node, and `entrepot node token` lets others in. A folder
that is a node's already is refused and left as it is.

The folder `trust` of the data folder holds the cluster's key: whoever can read it can pass for any
node of the cluster. It is readable for its owner alone.

Example:
  entrepot-node init --config /etc/entrepot/node.toml --region us-east-1")]
pub(crate) struct InitArguments {
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    /// The region of the first node
    #[arg(long, value_name = "NAME")]
    pub(crate) region: RegionName,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Asks the nodes that the token names for a certificate, writes it into the data folder, and ends.
Then `entrepot-node run` starts the node, which becomes part of the cluster by itself. The token
tells this machine by which certificate it knows the cluster, and tells the cluster that this
machine was let in: it is good for one node, and for an hour unless it was made for longer. If the
answer was lost, the same command may be repeated.

The first node of a region makes the region.

Examples:
  entrepot node token                      on a machine that reaches the cluster
  entrepot-node join --config /etc/entrepot/node.toml --region eu-west-1 --token entrepot_join_...")]
pub(crate) struct JoinArguments {
    #[command(flatten)]
    pub(crate) place: PlaceArguments,
    /// The token
    #[arg(
        long,
        env = "ENTREPOT_JOIN_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        required_unless_present = "token_file"
    )]
    token: Option<String>,
    /// Read the token from this file
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// The region of this node [default: the one that the token is for]
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<RegionName>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The nodes' client ports are BASE, BASE+1, ... in the order of regions and nodes;
their peer ports are 1000 higher and their health ports 2000 higher. Everything
listens on 127.0.0.1 only. Stop it with Ctrl-C.")]
pub(crate) struct DevArguments {
    /// Keep the cluster's state here between runs [default: a folder removed at exit]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// The regions, separated by commas
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "us-east-1,eu-west-1"
    )]
    pub(crate) regions: Vec<RegionName>,
    /// Nodes in each region
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(crate) nodes_per_region: u16,
    /// The first client port
    #[arg(long, value_name = "PORT", default_value_t = 5000, value_parser = clap::value_parser!(u16).range(1024..=60000))]
    pub(crate) base_port: u16,
    /// Push a generated image into the first region, wait for it in the second, pull it there, and exit
    #[arg(long)]
    pub(crate) demo: bool,
}

// === impl Command ===

impl Command {
    /// What is logged when nobody says. Nothing of openraft: it reports as an
    /// error what is none, such as a message that comes in while a group stops,
    /// and what is one ends the process, which says why.
    pub(crate) fn default_log(&self) -> &'static str {
        match self {
            Self::Run(_) => "info,openraft=off",
            Self::Dev(_) | Self::Init(_) | Self::Join(_) => "error,openraft=off",
        }
    }
}

// === impl JoinArguments ===

impl JoinArguments {
    /// The token, from wherever it is given.
    pub(crate) fn token(&self) -> anyhow::Result<String> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => Ok(token.clone()),
            (None, Some(file)) => std::fs::read_to_string(file)
                .with_context(|| format!("--token-file: cannot read {}", file.display())),
            (None, None) => bail!("--token: give the token"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_unknown_flag_is_refused() {
        let error = Arguments::try_parse_from(["entrepot-node", "dev", "--colour"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("--colour"));
    }
}
