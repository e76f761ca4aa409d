//! The grammar of `entrepot lifecycle`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use entrepot_oci::RepositoryName;

#[derive(Debug, Subcommand)]
pub(crate) enum Lifecycle {
    /// Set a repository's policy: from then on images go as it says
    #[command(after_help = "\
The policy is JSON, in ECR's grammar. The region of the node that is asked carries it out within \
about five minutes, and again every five. Images that its rules let go can be restored for as \
long as the registry keeps deleted ones, or as the rule's action says, such as {\"type\": \
\"expire\", \"undeleteWindow\": \"12h\"}; \"3d\" are days, and with \"0\" they are gone for good at \
once. A policy with a shorter one than the registry's needs `ecr:BatchDeleteImage` as well as \
`ecr:PutLifecyclePolicy`. Look at `entrepot lifecycle preview` with the same file first.

Examples:
  entrepot lifecycle preview team/app --file policy.json
  entrepot lifecycle put team/app --file policy.json --yes

JSON (the policy as it is kept: its rules in order):
  {\"repository\": \"team/app\",
   \"policy\": {\"rules\": [{\"rulePriority\": 1,
     \"selection\": {\"tagStatus\": \"untagged\", \"countType\": \"sinceImagePushed\", \
\"countUnit\": \"days\",
                   \"countNumber\": 14},
     \"action\": {\"type\": \"expire\"}}]}}")]
    Put(LifecyclePut),

    /// Show a repository's policy, and what its last evaluation did
    #[command(after_help = "\
Example:
  entrepot lifecycle get team/app

JSON (\"last_evaluation\" is null before the first one, its \"failure\" unless it ended before its \
time):
  {\"repository\": \"team/app\",
   \"policy\": {\"rules\": [{\"rulePriority\": 1,
     \"selection\": {\"tagStatus\": \"untagged\", \"countType\": \"sinceImagePushed\", \
\"countUnit\": \"days\",
                   \"countNumber\": 14},
     \"action\": {\"type\": \"expire\"}}]},
   \"last_evaluation\": {\"evaluated_at_ms\": 1767225600000, \"images\": 214, \"expired\": 3,
                       \"archived\": 0, \"kept\": 0, \"more\": false, \"failure\": null}}")]
    Get {
        /// The repository's name
        #[arg(value_name = "REPOSITORY")]
        repository: RepositoryName,
    },

    /// Take a repository's policy away: nothing goes any more
    #[command(after_help = "\
Example:
  entrepot lifecycle delete team/app

JSON:
  {\"deleted\": \"team/app\"}")]
    Delete {
        /// The repository's name
        #[arg(value_name = "REPOSITORY")]
        repository: RepositoryName,
    },

    /// Show what a policy would do now, without doing it
    #[command(after_help = "\
Of the policy that the repository has, or of that in a file, which need not be the same.

Examples:
  entrepot lifecycle preview team/app
  entrepot lifecycle preview team/app --file policy.json

JSON (\"rule\" is the priority of the rule that decides, \"action\" is expire or archive):
  {\"repository\": \"team/app\",
   \"images\": [{\"digest\": \"sha256:9f86d0...\", \"tags\": [\"1.4\"], \"pushed_at_ms\": 1767225600000,
               \"rule\": 1, \"action\": \"expire\"}]}")]
    Preview {
        /// The repository's name
        #[arg(value_name = "REPOSITORY")]
        repository: RepositoryName,

        /// A policy to look at in the place of the repository's own; - is standard input
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },

    /// Do now what a repository's policy says
    #[command(after_help = "\
As the region does by itself every five minutes. It goes in parts of some 500 images, each of which \
looks at all images anew; a command that is interrupted has done the parts before, and one that \
fails shows what was done and leaves with 1. Whoever may set the policy (`ecr:PutLifecyclePolicy`) \
may do this.

Example:
  entrepot lifecycle run team/app --yes

JSON (\"kept\" are images that were due and that somebody tagged, or that an index named, meanwhile; \
\"failure\" is null unless it ended before its time):
  {\"repository\": \"team/app\", \"expired\": 1, \"archived\": 0, \"kept\": 0,
   \"images\": [{\"digest\": \"sha256:9f86d0...\", \"tags\": [\"1.4\"], \"pushed_at_ms\": 1767225600000,
               \"rule\": 1, \"action\": \"expire\"}],
   \"failure\": null}")]
    Run {
        /// The repository's name
        #[arg(value_name = "REPOSITORY")]
        repository: RepositoryName,

        /// Confirm that images shall go
        #[arg(long, required = true)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct LifecyclePut {
    /// The repository's name
    #[arg(value_name = "REPOSITORY")]
    pub(crate) repository: RepositoryName,

    /// The policy; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Confirm that images shall go as the policy says
    #[arg(long, required = true)]
    pub(crate) yes: bool,
}
