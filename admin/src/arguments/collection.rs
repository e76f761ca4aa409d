//! The grammar of `entrepot gc`, `entrepot check` and `entrepot image delete`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::images::Named;

#[derive(Debug, Subcommand)]
pub(crate) enum Gc {
    /// Show how the collection of what nothing refers to stands in the region
    #[command(after_help = "\
One node of the region drives it. COLLECTED is what it has collected since it was started: blobs \
taken out of repositories, blobs that no repository had any more, and the bytes of these, each once. \
PENDING are files of collected blobs that a node has still to delete. Of what waits and is pending no \
more than \"counted_max\" of each is counted.

Example:
  entrepot gc status

JSON (of a node that did not answer, all but \"node\", \"answered\" and \"files_pending\" is null; \
\"driving_since_ms\" is null for a node that does not drive it, \"oldest_goes_at_ms\" while no link \
waits; \"floor\" is a log index: copies that were looked at before it do not count):
  {\"region\": \"us-east-1\", \"begun\": true, \"walked\": true, \"floor\": 1042,
   \"unreferenced_after_ms\": 86400000, \"links_waiting\": 12, \"blobs_waiting\": 0,
   \"oldest_goes_at_ms\": 1767225600000, \"counted_max\": 10000,
   \"nodes\": [{\"node\": 1, \"answered\": true, \"driving_since_ms\": 1767225600000, \"links\": 12,
              \"blobs\": 9, \"bytes\": 7340032, \"failures\": 0, \"last_failure\": null,
              \"files_deleted\": 9, \"file_failures\": 0, \"files_pending\": 0}]}")]
    Status,

    /// Collect what is due now, or show what that would free
    #[command(after_help = "\
The region does this by itself all the time. What is due is what no image has named for \
`storage.unreferenced_after_s`. With --older-than that time is another one for this run: a push \
under way whose blobs are older than it loses them, and has to be made again. Nothing that an image \
names ever goes.

BYTES are those of blobs that no repository has then, each once; ON DISKS as often as there are \
copies. LATER is what nothing names now, and goes when its time is up unless somebody names it. The \
command waits until the files are gone, as long as all nodes answer, for five minutes at most. If it \
is interrupted, the rest goes by itself. If it fails, it shows what has gone before, and leaves with 1.

Examples:
  entrepot gc run --dry-run
  entrepot gc run --yes
  entrepot gc run --older-than 1h --yes

JSON (\"files_pending\" are files that nodes which do not answer have still to delete, \
\"files_failure\" is null unless that is not known, and \"complete\" false after a failure):
  {\"links\": 12, \"blobs\": 9, \"bytes\": 7340032, \"files_pending\": 0, \"files_failure\": null,
   \"complete\": true}

JSON with --dry-run (\"unreferenced_after_ms\" is the time that counts):
  {\"as_of_ms\": 1767225600000, \"unreferenced_after_ms\": 86400000, \"copies\": 3,
   \"now\": {\"links\": 12, \"blobs\": 9, \"bytes\": 7340032, \"file_bytes\": 22020096},
   \"later\": {\"links\": 1, \"blobs\": 1, \"bytes\": 512, \"file_bytes\": 0}}")]
    Run(GcRun),
}

#[derive(Debug, Args)]
pub(crate) struct GcRun {
    /// What no image has named for so long, such as 1h, in the place of what is configured
    #[arg(long, value_name = "DURATION", value_parser = age)]
    pub(crate) older_than: Option<Duration>,

    /// Show what would be freed, and free nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Confirm that it shall go
    #[arg(long, required_unless_present = "dry_run")]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Mend what can be mended
    #[arg(long)]
    pub(crate) repair: bool,

    /// Only the files of this node, and no records
    #[arg(long, value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) node: Option<u64>,

    /// Look at this many files a second at most
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 5_000,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) files_per_second: u32,
}

#[derive(Debug, Args)]
pub(crate) struct ImageDelete {
    /// REPOSITORY:TAG or REPOSITORY@DIGEST
    #[arg(value_name = "IMAGE")]
    pub(crate) image: Named,

    /// With those manifests of an index that nothing else names
    #[arg(long)]
    pub(crate) children: bool,

    /// Show what would go and what that would free, and delete nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Confirm that it shall go
    #[arg(long, required_unless_present = "dry_run")]
    pub(crate) yes: bool,
}

fn age(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}
