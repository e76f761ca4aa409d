//! The grammar of `entrepot rule`, of `entrepot backfill` and of `entrepot
//! replication`.

mod rule;
mod slo;
mod units;

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use entrepot_oci::{AccountId, Digest, Reference, RegionName, RepositoryName, Tag};

pub(crate) use self::rule::{Rule, RulePut};
pub(crate) use self::slo::Slo;
pub(crate) use self::units::{Bandwidth, Near, Window};
use crate::arguments::Named;

/// The shortest time between two looks of `--watch` is one that no node notices.
const WATCH_DEFAULT: &str = "1s";

/// Where a rule copies to.
#[derive(Debug, Clone)]
pub(crate) struct To {
    pub(crate) region: RegionName,
    /// None: the account that the rule is of.
    pub(crate) account: Option<AccountId>,
}

/// A repository, and what of it.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) repository: RepositoryName,
    pub(crate) which: Which,
}

#[derive(Debug, Clone)]
pub(crate) enum Which {
    All,
    Tag(Tag),
    Digest(Digest),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Replication {
    /// Show how far copies are: by rule and destination, and task by task
    #[command(after_help = "\
A task is one image and tag that goes to one destination. One in progress is retried until it \
succeeds. A failed one was refused by its destination, for the reason shown, and is not retried \
until the destination allows it or the image is pushed again.

LAG is from the push to the image being there, of what arrived in the last hour; TO GO counts the \
images that wait, IN FLIGHT those of them that a node works on now. BYTES are what those images \
have: what the destination has of it already is not sent.

With --rule or --watch, the tasks are left out.

Examples:
  entrepot replication status
  entrepot replication status team/app
  entrepot replication status --rule nightly --watch

JSON (\"state\" is in_progress, complete, failed or unknown; \"tag\" is null for a push without a \
tag, \"destination_account\" and \"account\" for the own one, \"ended_at_ms\" and \"reason\" are \
null until there is one; \"rule\" is null where no rule asks for it any more, \"slo\" where that \
promises nothing; \"partial\" is true where there are more tasks than were looked at):
  {\"tasks\": [{\"repository\": \"team/app\", \"digest\": \"sha256:9f86d0...\", \"tag\": \"1.4\",
              \"destination_region\": \"eu-west-1\", \"destination_account\": null,
              \"state\": \"complete\",
              \"created_at_ms\": 1767225600000, \"ended_at_ms\": 1767225601250, \
\"reason\": null}],
   \"rules\": [{\"rule\": \"nightly\", \"region\": \"eu-west-1\", \"account\": null,
              \"complete\": 40, \"in_flight\": 2, \"pending\": 7, \"pending_bytes\": 7340032,
              \"oldest_pending_at_ms\": 1767225600000, \"failed\": 1,
              \"failures\": [{\"reason\": \"...\", \"tasks\": 1}],
              \"lag_p50_ms\": 120, \"lag_p99_ms\": 480, \"completed_last_minute\": 12,
              \"slo\": {\"objective\": \"99% within 30s\", \"counted\": 50, \"in_time\": 49,
                      \"burn\": 2.0}}],
   \"partial\": false}")]
    Status(Status),

    /// Wait until something has been copied
    #[command(after_help = "\
Without a name, waits until nothing waits to be copied. With a repository, until nothing of it \
does. With an image, until every destination that a rule asks for has it: push, wait, deploy.

Leaves with 0 once it is there. Leaves with 1 when it was refused, when no rule copies the image, \
and when it takes longer than --timeout, which is 30s unless it is given.

Examples:
  docker push registry.example.com/team/app:1.4 && entrepot replication wait team/app:1.4
  entrepot replication wait team/app@sha256:9f86d0... --region eu-west-1 --timeout 30s
  entrepot replication wait --timeout 1h

JSON (\"digest\" is null unless an image was named; \"took_ms\" is how long was waited):
  {\"waited_for\": \"team/app:1.4\", \"digest\": \"sha256:9f86d0...\", \"complete\": 2,
   \"took_ms\": 310}")]
    Wait(Wait),
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Only this repository's
    #[arg(value_name = "REPOSITORY")]
    pub(crate) repository: Option<RepositoryName>,

    /// Only what this rule asks for
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) rule: Option<String>,

    /// Only what goes to this region
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<RegionName>,

    /// Look again and again, until interrupted
    #[arg(long)]
    pub(crate) watch: bool,

    /// How often to look
    #[arg(
        long,
        value_name = "DURATION",
        default_value = WATCH_DEFAULT,
        value_parser = interval,
        requires = "watch"
    )]
    pub(crate) interval: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// What to wait for; nothing: everything
    #[arg(value_name = "REPOSITORY[:TAG|@DIGEST]")]
    pub(crate) image: Option<Image>,

    /// Only until this region has it
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<RegionName>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Backfill {
    /// Copy what was there before a rule was made, or what a destination has lost
    #[command(after_help = "\
A rule takes what is pushed after it was made. A backfill goes through what is there already, and \
copies all that the registry's rules take to a destination, or what one of them takes. What a \
destination has already is not sent again. Pushes go on meanwhile, and no tag goes back to an \
older push. One runs at a time to a region, and it goes on if the node that drives it dies.

`entrepot rule put --backfill` starts one by itself.

Examples:
  entrepot backfill start --to eu-west-1 --dry-run
  entrepot backfill start --to eu-west-1
  entrepot backfill start --to eu-west-1/210987654321 --rule partners

JSON (\"backfill\" is null with --dry-run, \"would_copy\" without it; what is null in a backfill \
is not known yet):
  {\"backfill\": {\"id\": \"0b0e4a2e-7ad2-4a1f-9d6c-2d7f1f0f9a11\", \"region\": \"eu-west-1\",
               \"account\": null, \"rule\": null, \"state\": \"preparing\",
               \"started_at_ms\": 1767225600000, \"ended_at_ms\": null, \"failure\": null,
               \"total\": null, \"total_bytes\": null, \"waiting\": 0, \"completed\": 0,
               \"failed\": 0},
   \"would_copy\": null}")]
    Start {
        /// The region to copy to, and the account whose registry there it is, if that is another
        /// one
        #[arg(long, value_name = "REGION[/ACCOUNT]")]
        to: To,

        /// Only what this rule takes
        #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
        rule: Option<String>,

        /// Count images and bytes, and copy nothing
        #[arg(long)]
        dry_run: bool,
    },

    /// List the backfills of the last 90 days, the newest first
    #[command(after_help = "\
Example:
  entrepot backfill list

JSON (\"state\" is preparing, in_progress, stopping, complete, failed, stopped or unknown):
  {\"backfills\": [{\"id\": \"0b0e4a2e-7ad2-4a1f-9d6c-2d7f1f0f9a11\", \"region\": \"eu-west-1\",
                 \"account\": null, \"rule\": null, \"state\": \"in_progress\",
                 \"started_at_ms\": 1767225600000, \"ended_at_ms\": null, \"failure\": null,
                 \"total\": 1042, \"total_bytes\": 7340032, \"waiting\": 200,
                 \"completed\": 314, \"failed\": 0}]}")]
    List,

    /// Show one backfill, and which of its images failed
    #[command(after_help = "\
With --all, the images that were copied too.

Example:
  entrepot backfill show 0b0e4a2e-7ad2-4a1f-9d6c-2d7f1f0f9a11

JSON (an image's \"state\" is complete or failed; \"tag\" is null for one without a tag):
  {\"backfill\": {\"id\": \"0b0e4a2e-7ad2-4a1f-9d6c-2d7f1f0f9a11\", \"region\": \"eu-west-1\",
               \"account\": null, \"rule\": null, \"state\": \"failed\",
               \"started_at_ms\": 1767225600000, \"ended_at_ms\": 1767225660000,
               \"failure\": \"TooManyReplicationFailures\", \"total\": 2,
               \"total_bytes\": 7340032, \"waiting\": 0, \"completed\": 1, \"failed\": 1},
   \"images\": [{\"repository\": \"team/app\", \"digest\": \"sha256:9f86d0...\", \"tag\": \"1.4\",
               \"state\": \"failed\", \"reason\": \"...\"}]}")]
    Show {
        /// Its ID, as `entrepot backfill list` shows it
        #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
        id: String,

        /// The images that were copied too
        #[arg(long)]
        all: bool,
    },

    /// Begin nothing more of a backfill; what is under way goes on, what was copied stays
    #[command(after_help = "\
Example:
  entrepot backfill stop 0b0e4a2e-7ad2-4a1f-9d6c-2d7f1f0f9a11

JSON:
  {\"backfill\": {\"id\": \"0b0e4a2e-7ad2-4a1f-9d6c-2d7f1f0f9a11\", \"region\": \"eu-west-1\",
               \"account\": null, \"rule\": null, \"state\": \"stopping\",
               \"started_at_ms\": 1767225600000, \"ended_at_ms\": null, \"failure\": null,
               \"total\": 1042, \"total_bytes\": 7340032, \"waiting\": 200,
               \"completed\": 314, \"failed\": 0}}")]
    Stop {
        /// Its ID, as `entrepot backfill list` shows it
        #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
        id: String,
    },
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < Duration::from_millis(100) {
        return Err("must be at least 100ms".to_owned());
    }
    Ok(interval)
}

fn part<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

// === impl To ===

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (region, account) = match text.split_once('/') {
            Some((region, account)) => (region, Some(part(account)?)),
            None => (text, None),
        };
        Ok(Self {
            region: part(region)?,
            account,
        })
    }
}

// === impl Image ===

impl FromStr for Image {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.contains(['@', ':']) {
            return Ok(Self {
                repository: part(text)?,
                which: Which::All,
            });
        }
        let named: Named = text.parse()?;
        Ok(Self {
            repository: named.repository,
            which: match named.reference {
                Reference::Digest(digest) => Which::Digest(digest),
                Reference::Tag(tag) => Which::Tag(tag),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_a_repository_and_a_tag_or_a_digest() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let image: Image = "team/app".parse().unwrap();
        assert!(matches!(image.which, Which::All));
        let image: Image = "team/app:1.4".parse().unwrap();
        assert!(matches!(image.which, Which::Tag(tag) if tag.as_str() == "1.4"));
        let image: Image = format!("team/app@{digest}").parse().unwrap();
        assert!(matches!(image.which, Which::Digest(it) if it.to_string() == digest));
        assert_eq!(image.repository.as_str(), "team/app");
        for wrong in ["", "Team", "app:", "app@sha256:0", ":1.4", "app:a b"] {
            assert!(wrong.parse::<Image>().is_err(), "{wrong}");
        }
    }
}
