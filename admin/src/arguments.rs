//! The command line's grammar and its help.
//!
//! Names that a node would refuse are refused here, before anything is sent.
//! The help is the manual: every command shows an example and the shape of its
//! JSON, and golden files hold both in place.

mod accounts;
mod collection;
mod images;
mod lifecycle;
mod nodes;
mod replication;
mod size;
mod tags;
mod webhooks;

use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use entrepot_oci::{AccountId, RepositoryName};

pub(crate) use self::accounts::{Account, AccountCreate};
pub(crate) use self::collection::{Check, Gc, GcRun, ImageDelete};
pub(crate) use self::images::{Image, Named, Purge, Restore};
pub(crate) use self::lifecycle::{Lifecycle, LifecyclePut};
pub(crate) use self::nodes::{Drain, Node, Region, Remove, Replace, Revoke, Token};
pub(crate) use self::replication::{
    Backfill, Bandwidth, Near, Replication, Rule, RulePut, Slo, Status, To, Wait, Which, Window,
};
pub(crate) use self::tags::{Tag, TagRestore, Tagged};
pub(crate) use self::webhooks::{Event, Webhook, WebhookPut};
use crate::endpoint::{EndpointParser, EndpointUrl};

const HELP_COLUMNS_MAX: usize = 100;

/// Longer waits only hide that a node is stuck.
const TIMEOUT_MAX: Duration = Duration::from_hours(1);

/// Asks and steers an Entrepot cluster, by way of any of its nodes.
#[derive(Debug, Parser)]
#[command(
    name = "entrepot",
    version,
    max_term_width = HELP_COLUMNS_MAX,
    arg_required_else_help = true,
    after_help = "\
The password comes from --password-file, from --password-stdin or from the environment variable \
ENTREPOT_PASSWORD; it is never an argument, where every user of the machine could read it.

Examples:
  export ENTREPOT_ENDPOINT=https://node-1:5000 ENTREPOT_CA_FILE=ca.pem ENTREPOT_USER=root
  entrepot --password-file ~/.entrepot-password cluster status
  entrepot rule put nightly --to eu-west-1 --prefix team/
  entrepot replication status team/app --json | jq '.tasks[] | select(.state == \"failed\")'
  entrepot replication wait team/app:1.4 --timeout 5m

Exit codes: 0 done, 1 failed (one line on standard error says why and what to do), 2 wrong usage."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) connection: Connection,

    /// Print JSON instead of tables: whole digests, bytes, milliseconds since the Unix epoch
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which node is asked, and by whom.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Connection {
    /// The client port of any node
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "ENTREPOT_ENDPOINT",
        hide_env_values = true,
        default_value = "http://127.0.0.1:5000",
        value_parser = EndpointParser
    )]
    pub(crate) endpoint: EndpointUrl,

    /// The certificate authorities to trust (PEM) [default: those that this machine trusts]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "ENTREPOT_CA_FILE",
        hide_env_values = true
    )]
    pub(crate) ca_file: Option<PathBuf>,

    /// The user to log in as
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "ENTREPOT_USER",
        hide_env_values = true
    )]
    pub(crate) user: Option<String>,

    /// Read the password from this file: one line, the password alone
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,

    /// Read the password from standard input
    #[arg(long, global = true)]
    pub(crate) password_stdin: bool,

    /// How long each call may take
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        default_value = "30s",
        value_parser = timeout
    )]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of it")]
pub(crate) enum Command {
    /// The cluster's nodes and Raft groups
    #[command(subcommand)]
    Cluster(Cluster),

    /// The nodes of the cluster: who takes part, who leaves
    #[command(subcommand)]
    Node(Node),

    /// The regions of the cluster
    #[command(subcommand)]
    Region(Region),

    /// The accounts of the cluster, each with registries of its own
    #[command(subcommand)]
    Account(Account),

    /// The registry's settings
    #[command(subcommand)]
    Registry(Registry),

    /// The registry's repositories
    #[command(subcommand)]
    Repository(Repository),

    /// The rules that copy repositories to other regions
    #[command(subcommand)]
    Rule(Rule),

    /// The copying of what was there before a rule
    #[command(subcommand)]
    Backfill(Backfill),

    /// Who is told what happens to the registry's images
    #[command(subcommand)]
    Webhook(Webhook),

    /// The images of a repository
    #[command(subcommand)]
    Image(Image),

    /// What tags pointed to before
    #[command(subcommand)]
    Tag(Tag),

    /// The policies by which images of a repository go
    #[command(subcommand)]
    Lifecycle(Lifecycle),

    /// Show how much the registry in the region of the node that is asked holds
    #[command(after_help = "\
LOGICAL are the manifests, configs and layers of all images, each as often as an image names it; \
UNIQUE the same with every blob once, which is what each of a blob's copies takes on the disks. What \
repositories share counts in each of them, and once in the total; what images of both storage classes \
share counts as standard. It is counted when you ask: give a large registry time by --timeout. Deleted \
images that can be restored are not in it, but told of below: their UNIQUE bytes are those that \
nothing else of the registry needs.

Example:
  entrepot usage

JSON (\"usage\" and \"total\" have one entry for each storage class, ARCHIVE only where there is one; \
the repositories that keep most come first; \"quota_bytes\" is what quotas count, a blob as often as \
repositories have it, named by an image or not, and null while nobody counts it; \"max_bytes\" is null \
where there is no such quota):
  {\"account\": \"123456789012\", \"region\": \"us-east-1\",
   \"total\": [{\"storage_class\": \"STANDARD\", \"images\": 12, \"logical_bytes\": 104857600,
              \"unique_bytes\": 41943040}],
   \"repositories\": [{\"repository\": \"team/app\",
                     \"usage\": [{\"storage_class\": \"STANDARD\", \"images\": 12,
                                \"logical_bytes\": 104857600, \"unique_bytes\": 41943040}]}],
   \"repositories_left_out\": 0,
   \"restorable\": {\"images\": 2, \"logical_bytes\": 20971520, \"unique_bytes\": 8388608},
   \"quota_bytes\": 62914560, \"max_bytes\": 536870912000}")]
    Usage(Usage),

    /// The copies under way to other regions
    #[command(subcommand)]
    Replication(Replication),

    /// The restoring of copies that nodes lack
    #[command(subcommand)]
    Repair(Repair),

    /// The verifying of all copies on the disks
    #[command(subcommand)]
    Scrub(Scrub),

    /// The collection of what nothing refers to any more
    #[command(subcommand)]
    Gc(Gc),

    /// Compare the disks of the region's nodes with its records, and the records with each other
    #[command(after_help = "\
A finding counts only if it is still there at a second look, against the newest state: everything \
else may go on meanwhile, and several checks at a time do no harm. It goes through the files of one \
node after the other, some hundreds at a time; when it is interrupted, nothing is left half done.

  orphan                 a file that no record knows
  missing                a node has no file of what it should hold
  wrong size             a file of another size than its blob
  staging                what uploads have left behind, older than an hour
  manifest without link  an image names a blob that its repository does not have
  link without blob      a repository has a blob that has no record
  blob without link      a record that no repository needs, and that is not on its way out
  link forgotten         a blob in a repository that no image names, and that is not on its way out

COPIES are the whole ones on the nodes that should have one, of as many as there should be. With \
--repair, orphans go as collection lets files go, which looks once more, and copies that are missing \
or of a wrong size are fetched from the others. What is wrong with records is not mended: it is a \
defect, please report it; pushing the image again makes it whole. Whether the bytes of a file are the \
right ones, `entrepot scrub` finds out. A large copy \
that is not there after some seconds is still being fetched: check again. Exits with 1 if anything is \
wrong that was not mended, or if a node does not answer: it is not asked again, and of how many nodes \
it is not known whether they have a copy, COPIES says. If it fails, it shows what was found and mended \
before, and exits with 1.

Examples:
  entrepot check
  entrepot check --repair
  entrepot check --node 3 --files-per-second 500

JSON (\"node\" is null for what is about records, \"copies\" for what is no copy; \"failure\" says why \
something could not be mended, and \"complete\" is false after a failure):
  {\"repair\": false, \"manifests\": 214, \"links\": 1042, \"blobs\": 900, \"mended\": 0,
   \"nodes\": [{\"node\": 1, \"answered\": true, \"files\": 900, \"records\": 900}],
   \"findings\": [{\"kind\": \"missing\", \"node\": 1, \"digest\": \"sha256:9f86d0...\", \"bytes\": 512,
                 \"copies\": 2, \"copies_wanted\": 3, \"copies_unknown\": 0, \"detail\": null,
                 \"mended\": false, \"failure\": null}],
   \"findings_left_out\": 0, \"silent\": [], \"complete\": true}")]
    Check(Check),
}

#[derive(Debug, Args)]
pub(crate) struct Usage {
    /// Of this account's registry in the place of one's own: for operators of the cluster
    #[arg(long, value_name = "ACCOUNT")]
    pub(crate) account: Option<AccountId>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cluster {
    /// Show every node, and the Raft groups of the node that is asked
    #[command(after_help = "\
Whether a node is alive is what the node that is asked last saw of it. A group without a leader \
takes no writes until one is elected.

Example:
  entrepot cluster status

JSON (a group's \"leader\" is null while none is known):
  {\"node\": 1, \"region\": \"us-east-1\", \"account\": \"123456789012\", \"version\": \"0.1.0\",
   \"nodes\": [{\"id\": 1, \"region\": \"us-east-1\", \"peer_address\": \"10.0.0.1:5001\", \
\"alive\": true}],
   \"groups\": [{\"group\": \"region/us-east-1/0\", \"leader\": 1, \"term\": 3, \"applied\": 1042,
               \"voters\": [1, 2, 3], \"learners\": []}]}")]
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Registry {
    /// Show the settings of the registry in the region of the node that is asked
    #[command(after_help = "\
Each region's registry has settings of its own.

Example:
  entrepot registry show

JSON (\"max_bytes\", \"max_repository_bytes\" and \"max_registry_images\" are null where there is no \
such quota, \"bytes\" and \"images\" while nobody has counted them, as is done from the first of these \
quotas on):
  {\"account\": \"123456789012\", \"region\": \"us-east-1\", \"create_on_push\": true,
   \"repositories\": 214, \"max_repositories\": 100000, \"max_images\": 20000, \"max_tags\": 1000,
   \"max_layer_parts\": 4200, \"max_layer_bytes\": 54525952000, \"bytes\": 107374182400,
   \"max_bytes\": 536870912000, \"max_repository_bytes\": null, \"images\": 1200,
   \"max_registry_images\": null, \"undelete_window_s\": 604800}")]
    Show {
        /// Of this account's registry in the place of one's own: for operators of the cluster
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<AccountId>,
    },

    /// Change settings of the registry in the region of the node that is asked
    #[command(after_help = "\
A setting that is not given stays as it is. A change counts for every push that begins after it.

With --create-on-push off, a push to a repository that does not exist is refused, and `entrepot \
repository create` makes repositories. Those that rules of other regions copy to are made all the \
same.

A quota of 0 is its default, which is ECR's, or what operators of the cluster have given. What \
there is already stays, also when it is more than there may be; only what would be new is refused.

There is no quota of bytes, or of all images of the registry, until one is set. The bytes of a \
repository are those of the blobs that it has, each once, and of its manifests; those of the \
registry are the sum over its repositories. `entrepot repository set` gives one repository quotas \
of its own.

An account sets its quotas to at most these. Operators of the cluster (`entrepot:OperateCluster` in \
the first account) set them to more, or for good to less, of their own registry and, with --account, \
of every other.

Deleted images keep their place on the disks until their time is over: `entrepot usage` shows how \
much that is. A new --undelete-window counts for what is deleted from then on.

Examples:
  entrepot registry set --create-on-push off
  entrepot registry set --max-images 20000 --max-tags 0
  entrepot registry set --max-bytes 500GiB --max-repository-bytes 50GiB
  entrepot registry set --account 111122223333 --max-images 200000
  entrepot registry set --undelete-window 30

JSON (the settings after the change):
  {\"account\": \"123456789012\", \"region\": \"us-east-1\", \"create_on_push\": false,
   \"repositories\": 214, \"max_repositories\": 100000, \"max_images\": 20000, \"max_tags\": 1000,
   \"max_layer_parts\": 4200, \"max_layer_bytes\": 54525952000, \"bytes\": 107374182400,
   \"max_bytes\": 536870912000, \"max_repository_bytes\": null, \"images\": 1200,
   \"max_registry_images\": null, \"undelete_window_s\": 604800}")]
    Set {
        #[command(flatten)]
        set: RegistrySet,

        /// Quotas of this account's registry in the place of one's own: for operators of the
        /// cluster
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<AccountId>,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct RegistrySet {
    /// Whether a push makes its repository if there is none
    #[arg(long, value_name = "SWITCH")]
    pub(crate) create_on_push: Option<Switch>,

    /// How many repositories the registry may have
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_repositories: Option<u64>,

    /// How many images a repository may have
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_images: Option<u64>,

    /// How many tags an image may have
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_tags: Option<u64>,

    /// How many parts a layer may come in over ECR's API
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_layer_parts: Option<u64>,

    /// How many MiB a layer may have
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_layer_mib: Option<u64>,

    /// For how many days images can be restored that are deleted from now on, at most 366; or a
    /// time such as 12h; 0: not at all
    #[arg(long, value_name = "DAYS", value_parser = images::window)]
    pub(crate) undelete_window: Option<Duration>,
    /// How many bytes the registry may have, such as 500GiB
    #[arg(long, value_name = "SIZE", value_parser = size::size)]
    pub(crate) max_bytes: Option<u64>,

    /// How many bytes a repository may have, such as 50GiB
    #[arg(long, value_name = "SIZE", value_parser = size::size)]
    pub(crate) max_repository_bytes: Option<u64>,

    /// How many images the registry may have
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_registry_images: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Repository {
    /// Create a repository in the registry in the region of the node that is asked
    #[command(after_help = "\
Needed where pushes do not create repositories: `entrepot registry show` tells. A repository that \
exists stays as it is.

Example:
  entrepot repository create team/app

JSON (\"created\" is false if it existed):
  {\"repository\": \"team/app\", \"created\": true}")]
    Create {
        /// The repository's name
        #[arg(value_name = "REPOSITORY")]
        repository: RepositoryName,
    },

    /// Delete a repository
    #[command(after_help = "\
Refused if it has images, unless --force is given: then they are deleted with it. Nothing of it \
can be restored, also not what was deleted from it before. Its replicas in other regions stay. Blobs \
that no other repository has go from the disks.

From then on it takes no pushes, until it is gone and can be made anew. A large one takes a while; \
what is not deleted yet may still be pulled. If the command is interrupted, the repository stays as \
being deleted: the same command once more goes on with it.

Examples:
  entrepot repository delete team/app --yes
  entrepot repository delete team/app --force --yes

JSON (how many images and tags were deleted with it):
  {\"deleted\": \"team/app\", \"images\": 12, \"tags\": 3}")]
    Delete(RepositoryDelete),

    /// Show a repository and its settings
    #[command(after_help = "\
Example:
  entrepot repository show team/app

JSON (\"sparse_indexes\" is allow or refuse; \"max_bytes\" and \"max_images\" are null where it has what \
any repository of the registry may have, \"bytes\" and \"images\" where nobody counts them):
  {\"name\": \"team/app\", \"created_at_ms\": 1767225600000, \"deleting\": false,
   \"sparse_indexes\": \"refuse\", \"bytes\": 1073741824, \"max_bytes\": 53687091200, \"images\": 12,
   \"max_images\": null}")]
    Show {
        /// The repository's name
        #[arg(value_name = "REPOSITORY")]
        repository: RepositoryName,
    },

    /// Change settings of a repository
    #[command(after_help = "\
A setting that is not given stays as it is. A repository of the same name in another region has \
settings of its own.

An image index names a manifest for each of its platforms. It is sparse if some of them are not \
in the repository: it can be pulled for the others. What was taken stays when no more is to be \
taken. A rule copies a sparse index with what there is of it, whatever the settings at the \
destination are.

A quota of its own takes the place of the one that any repository of the registry has; 0 takes it \
away. Whoever sets one needs `ecr:PutAccountSetting`, as for those of the registry, and sets no more \
than operators of the cluster have given.

Examples:
  entrepot repository set team/app --sparse-indexes allow
  entrepot repository set team/app --max-bytes 50GiB --max-images 500

JSON (the settings after the change):
  {\"name\": \"team/app\", \"created_at_ms\": 1767225600000, \"deleting\": false,
   \"sparse_indexes\": \"allow\", \"bytes\": 1073741824, \"max_bytes\": 53687091200, \"images\": 12,
   \"max_images\": 500}")]
    Set(RepositorySet),

    /// List the repositories of the registry in the region of the node that is asked
    #[command(after_help = "\
Example:
  entrepot repository list

A repository that is being deleted is shown until it is gone.

JSON:
  {\"repositories\": [{\"name\": \"team/app\", \"created_at_ms\": 1767225600000, \
\"deleting\": false}]}")]
    List,
}

#[derive(Debug, Args)]
pub(crate) struct RepositoryDelete {
    /// The repository's name
    #[arg(value_name = "REPOSITORY")]
    pub(crate) repository: RepositoryName,

    /// With all its images
    #[arg(long)]
    pub(crate) force: bool,

    /// Confirm that the repository shall be deleted
    #[arg(long, required = true)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RepositorySet {
    /// The repository's name
    #[arg(value_name = "REPOSITORY")]
    pub(crate) repository: RepositoryName,

    #[command(flatten)]
    pub(crate) settings: RepositorySettings,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct RepositorySettings {
    /// Whether an image index may name manifests that are not in the repository
    #[arg(long, value_name = "ANSWER")]
    pub(crate) sparse_indexes: Option<Answer>,

    /// How many bytes it may have, such as 50GiB
    #[arg(long, value_name = "SIZE", value_parser = size::size)]
    pub(crate) max_bytes: Option<u64>,

    /// How many images it may have
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_images: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Answer {
    Allow,
    Refuse,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Repair {
    /// Show what each node of the region lacks, and how long it will take to restore
    #[command(after_help = "\
A node lacks a copy that it should have because it was away, or because another node was lost. \
The time left is an estimate. FAILING are those that no node could give at the last try.

Example:
  entrepot repair status

JSON (of a node that did not answer, all but \"node\" and \"answered\" is null; \"whole_at_ms\" \
is null until the node has lacked nothing, \"remaining_ms\" while nobody can tell):
  {\"nodes\": [{\"node\": 1, \"answered\": true, \"whole_at_ms\": 1767225600000,
              \"missing_blobs\": 0, \"missing_bytes\": 0, \"failing_blobs\": 0,
              \"fetched_blobs\": 12, \"fetched_bytes\": 7340032, \"remaining_ms\": null,
              \"surplus_dropped\": 3, \"cached_bytes\": 0, \"cache_limit_bytes\": 0,
              \"lost_nodes\": []}]}")]
    Status,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Scrub {
    /// Begin to verify all copies now, on every node of the region
    #[command(after_help = "\
A node verifies all its copies every `storage.scrub_days` by itself. A scrub that is under way \
goes on.

Examples:
  entrepot scrub start
  entrepot scrub start --node 3

JSON (\"started\" is false where one was under way, null where the node did not answer):
  {\"nodes\": [{\"node\": 1, \"answered\": true, \"started\": true}]}")]
    Start {
        /// Only on this node
        #[arg(long, value_name = "NODE", value_parser = clap::value_parser!(u64).range(1..))]
        node: Option<u64>,
    },

    /// Show how far the scrub of each node of the region is, and what it has found
    #[command(after_help = "\
DAMAGED are copies that proved wrong or could not be read, REPLACED those of them that were \
fetched anew from other nodes; both of the scrub under way. A damaged copy is never served.

Example:
  entrepot scrub status

JSON (of a node that did not answer, all but \"node\" and \"answered\" is null; so is \"started_at_ms\" while none is under way, \"remaining_ms\" while nobody can tell, and what was last while none has ended):
  {\"nodes\": [{\"node\": 1, \"answered\": true, \"running\": true,
              \"started_at_ms\": 1767225600000, \"verified_blobs\": 1042,
              \"verified_bytes\": 7340032, \"permille\": 250, \"remaining_ms\": 60000,
              \"damaged\": 1, \"repaired\": 1, \"last_ended_at_ms\": null,
              \"last_damaged\": null}]}")]
    Status,
}

impl Cli {
    /// The arguments of this process. Leaves with code 2 and a usage message
    /// when they are wrong, with 0 after `--help` and `--version`.
    pub(crate) fn read() -> Self {
        let cli = Self::parse();
        // Said here because clap does not look for conflicts between options
        // before and after the subcommand.
        if cli.connection.password_stdin && cli.connection.password_file.is_some() {
            Self::command()
                .error(
                    ErrorKind::ArgumentConflict,
                    "--password-file and --password-stdin cannot be used together",
                )
                .exit();
        }
        // Who names an authority expects the password to travel encrypted.
        if cli.connection.ca_file.is_some() && !cli.connection.endpoint.is_tls() {
            Self::command()
                .error(
                    ErrorKind::ArgumentConflict,
                    "--ca-file and ENTREPOT_CA_FILE need an endpoint that begins with https://",
                )
                .exit();
        }
        cli
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if timeout.is_zero() || timeout > TIMEOUT_MAX {
        return Err("must be more than nothing and at most 1h".to_owned());
    }
    Ok(timeout)
}
