//! The command line's grammar and its help. The help is the manual: golden files
//! hold it in place.

use clap::{Parser, Subcommand};

const HELP_COLUMNS_MAX: usize = 100;

/// Logs docker in to Entrepot with an access key, whenever docker needs it
///
/// Docker starts this program by itself. Put it into a folder of PATH, and name your registries in
/// ~/.docker/config.json:
///
///   {"credHelpers": {"registry.example.com": "entrepot"}}
///
/// From then on `docker pull registry.example.com/app:v1` needs no `docker login`. It works for
/// podman, skopeo, buildah and buildx too.
#[derive(Debug, Parser)]
#[command(
    name = "docker-credential-entrepot",
    version,
    max_term_width = HELP_COLUMNS_MAX,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    verbatim_doc_comment,
    after_long_help = AFTER_HELP,
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const AFTER_HELP: &str = "\
The access key, from the first of these that has one:
  1. ENTREPOT_ACCESS_KEY_ID and ENTREPOT_SECRET_ACCESS_KEY (and ENTREPOT_SESSION_TOKEN)
  2. AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN)
  3. the profile AWS_PROFILE, else \"default\", of ~/.aws/credentials
     (or of the file that AWS_SHARED_CREDENTIALS_FILE names):
       [default]
       aws_access_key_id = AKIA...
       aws_secret_access_key = ...

The region, from the first of these that has one:
  1. the registry's name, if it is <account>.dkr.ecr.<region>.<domain>
  2. ENTREPOT_REGION, AWS_REGION, AWS_DEFAULT_REGION
  3. `region = ...` of the profile, in ~/.aws/config (or AWS_CONFIG_FILE)

More settings, all of them environment variables:
  ENTREPOT_CA_FILE     The certificate authorities to trust (PEM) [default: those that this machine
                       trusts]
  ENTREPOT_REGISTRIES  Registries to log in to besides those in \"credHelpers\", parted by commas;
                       *.example.com is every registry below example.com. Needed where this program
                       is asked for every registry there is (\"credsStore\": \"entrepot\"): a signed
                       request goes to registries that you have named, and to no other
  ENTREPOT_TIMEOUT     How long asking the registry may take [default: 30s]

Nothing is kept: each time, the registry is asked for a token, which is good for twelve hours.
The registry is asked over HTTPS. Over HTTP only if it is this machine itself, or if
ENTREPOT_REGISTRIES names it as http://registry.example.com.

To see whether it works:
  echo registry.example.com | docker-credential-entrepot get

Exit codes: 0 done, 1 failed (standard output and standard error say why and what to do) or no
credentials, 2 wrong usage.";

/// Docker's verbs. What each reads comes on standard input.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Print the login for the registry on standard input, as JSON: mind who looks on
    Get,

    /// Take a login from `docker login` and forget it: the next one is asked for
    Store,

    /// Do nothing: nothing is kept that could be erased
    Erase,

    /// Print the registries that are named, as JSON
    List,

    /// Print the version
    Version,
}
