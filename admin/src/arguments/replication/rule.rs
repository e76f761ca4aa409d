//! The grammar of `entrepot rule`.

use std::str::FromStr;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::{Bandwidth, Near, Slo, To, Window};

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub(crate) enum Rule {
    /// Create a rule, or replace the one of the same ID
    #[command(after_help = "\
A rule copies what is pushed from now on to the registry in the region of the node that is asked. \
What it brings to another registry is not copied further by rules there. Another account takes \
only what the policy of its registry there allows.

Examples:
  entrepot rule put everything --to eu-west-1
  entrepot rule put nightly --to eu-west-1 --prefix team/ --prefix base/
  entrepot rule put partners --to eu-west-1 --to us-east-1/210987654321
  entrepot rule put releases --to eu-west-1 --tag 'v*' --exclude-tag '*-rc*' --deletions
  entrepot rule put mirror --to eu-west-1 --map team/=mirror/team/
  entrepot rule put nights --to ap-south-1 --window mon-fri/20:00-06:00 --bandwidth 200Mbit
  entrepot rule put all --to eu-west-1 --to eu-west-2 --near eu-west-1,eu-west-2 --backfill
  entrepot rule put deploys --to eu-west-1 --prefix prod/ --slo '99% within 30s'

Outside of its windows nothing new is begun; without any, copies are sent at once. With --backfill what is there already is copied as well, when the rule is made and whenever it is changed: `entrepot backfill list` shows how far that is. `entrepot backfill start --dry-run` tells beforehand how much it is.

What refers to an image, such as a signature, goes wherever the image goes.

JSON (\"options\" is null where a rule says no more than where and which prefixes):
  {\"rule\": {\"id\": \"nightly\", \"prefixes\": [\"team/\", \"base/\"],
            \"destinations\": [{\"region\": \"eu-west-1\", \"account\": null}], \"options\": null},
   \"replaced\": false}")]
    Put(RulePut),

    /// List the rules of the registry in the region of the node that is asked
    #[command(after_help = "\
Example:
  entrepot rule list

JSON (no prefixes: every repository; no account: the own one):
  {\"rules\": [{\"id\": \"nightly\", \"prefixes\": [\"team/\"],
              \"destinations\": [{\"region\": \"eu-west-1\", \"account\": null}], \
\"options\": null}]}")]
    List,

    /// Delete a rule, and with it the open tasks that no other rule's destination asks for
    #[command(after_help = "\
What was copied already stays in the other region.

Example:
  entrepot rule delete nightly

JSON:
  {\"deleted\": \"nightly\"}")]
    Delete {
        /// The rule's ID, as `entrepot rule list` shows it
        #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
}

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is said by itself")]
pub(crate) struct RulePut {
    /// A name of your choice, unique in the registry
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) id: String,

    /// The region to copy to, and the account whose registry there it is, if that is another one;
    /// may be given several times
    #[arg(long, value_name = "REGION[/ACCOUNT]", required = true)]
    pub(crate) to: Vec<To>,

    /// Copy only repositories whose name begins with this; may be given several times
    #[arg(
        long = "prefix",
        value_name = "PREFIX",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub(crate) prefixes: Vec<String>,

    /// Copy also repositories whose name fits this, with * for any characters; may be given several
    /// times
    #[arg(long = "match", value_name = "WILDCARD")]
    pub(crate) matches: Vec<String>,

    /// Do not copy repositories whose name fits this; may be given several times
    #[arg(long = "exclude", value_name = "WILDCARD")]
    pub(crate) excludes: Vec<String>,

    /// Copy only tags that fit this; may be given several times
    #[arg(long = "tag", value_name = "WILDCARD")]
    pub(crate) tags: Vec<String>,

    /// Do not copy tags that fit this; may be given several times
    #[arg(long = "exclude-tag", value_name = "WILDCARD")]
    pub(crate) tags_excluded: Vec<String>,

    /// Copy only what has an artifact type that fits this; may be given several times
    #[arg(long = "artifact-type", value_name = "WILDCARD")]
    pub(crate) artifact_types: Vec<String>,

    /// Copy deletions of images and tags too
    #[arg(long)]
    pub(crate) deletions: bool,

    /// Copy repositories whose name begins with FROM under a name that begins with TO
    #[arg(long = "map", value_name = "FROM=TO")]
    pub(crate) map: Option<Mapping>,

    /// Of rules with the same destination, the one with the highest priority decides
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) priority: u32,

    /// Acknowledge a push only once every destination has it
    #[arg(long)]
    pub(crate) synchronous: bool,

    /// How long a push waits for that, such as 10s [default: 30s]
    #[arg(
        long = "synchronous-timeout",
        value_name = "TIME",
        value_parser = humantime::parse_duration,
        requires = "synchronous"
    )]
    pub(crate) synchronous_timeout: Option<Duration>,

    /// Send no more than this each second to each destination, such as 50MiB or 200Mbit: that of
    /// the whole region
    #[arg(long, value_name = "RATE")]
    pub(crate) bandwidth: Option<Bandwidth>,

    /// Send only in these hours (UTC), such as 22:00-06:00 or sat,sun/00:00-24:00; may be given
    /// several times
    #[arg(long = "window", value_name = "[DAYS/]FROM-TO")]
    pub(crate) windows: Vec<Window>,

    /// Regions near each other: layers go to one of them, which passes them on to the others; may
    /// be given several times
    #[arg(long = "near", value_name = "REGION,REGION")]
    pub(crate) near: Vec<Near>,

    /// Serve a pull at the destination of what is not there yet from here
    #[arg(long)]
    pub(crate) read_through: bool,

    /// Let the policy, lifecycle policy, tag mutability and resource tags of a repository follow to
    /// the own account's destinations
    #[arg(long)]
    pub(crate) settings: bool,

    /// Copy also what is there when the rule is made or changed
    #[arg(long)]
    pub(crate) backfill: bool,

    /// What the rule promises, such as "99% within 30s": so many copies are there in time.
    /// `entrepot replication status` and the nodes' metrics hold it against what happens
    #[arg(long, value_name = "PART within TIME")]
    pub(crate) slo: Option<Slo>,
}

/// The beginnings of a repository's name here and there.
#[derive(Debug, Clone)]
pub(crate) struct Mapping {
    pub(crate) from: String,
    pub(crate) to: String,
}

impl FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (from, to) = text
            .split_once('=')
            .ok_or_else(|| "expected two prefixes with '=' between them".to_owned())?;
        Ok(Self {
            from: from.to_owned(),
            to: to.to_owned(),
        })
    }
}
