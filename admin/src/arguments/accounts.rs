//! The grammar of `entrepot account`.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use entrepot_oci::AccountId;

#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Create an account, and show its root access key this once
    #[command(after_help = "\
An account has a registry of its own in every region: two accounts may have repositories of the \
same name and never see each other's. Only users of the cluster's first account may create, list, \
disable and enable accounts.

The secret is shown once and kept only in sealed form. With --access-key-id and \
--secret-access-key-file the account gets a key that you know already.

To log in to the account's registry, give the account's number as user (or the access key's ID) \
and the secret access key as password.

Examples:
  entrepot account create 210987654321 --name team-a
  docker login -u 210987654321 node-1:5000

JSON (\"secret_access_key\" is null if it was given):
  {\"account\": \"210987654321\", \"name\": \"team-a\", \"root_user\": \"root\",
   \"access_key_id\": \"AKIA5EXAMPLE7EXAMPLE\", \"secret_access_key\": \"wJalr...\"}")]
    Create(AccountCreate),

    /// List the accounts of the cluster
    #[command(after_help = "\
The first account is the one that the cluster was made with.

Example:
  entrepot account list

JSON (\"state\" is active, disabled or unknown):
  {\"accounts\": [{\"id\": \"123456789012\", \"name\": \"\", \"state\": \"active\", \
\"first\": true,
                \"root_user\": \"root\", \"created_at_ms\": 1767225600000}]}")]
    List,

    /// Let nobody of an account in any more
    #[command(after_help = "\
What the account has stays, and rules go on copying what was pushed before. Requests that were \
let in before are carried out. The cluster's first account cannot be disabled.

Example:
  entrepot account disable 210987654321

JSON:
  {\"account\": \"210987654321\", \"state\": \"disabled\"}")]
    Disable {
        /// The account's 12 digits
        #[arg(value_name = "ACCOUNT")]
        account: AccountId,
    },

    /// Let the users of a disabled account in again
    #[command(after_help = "\
Example:
  entrepot account enable 210987654321

JSON:
  {\"account\": \"210987654321\", \"state\": \"active\"}")]
    Enable {
        /// The account's 12 digits
        #[arg(value_name = "ACCOUNT")]
        account: AccountId,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AccountCreate {
    /// 12 digits of your choice
    #[arg(value_name = "ACCOUNT")]
    pub(crate) account: AccountId,

    /// A name for people
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) name: String,

    /// The root access key's ID, instead of one that is made up
    #[arg(
        long,
        value_name = "ID",
        requires = "secret_access_key_file",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub(crate) access_key_id: Option<String>,

    /// Read the root access key's secret from this file: one line, the secret alone
    #[arg(long, value_name = "FILE", requires = "access_key_id")]
    pub(crate) secret_access_key_file: Option<PathBuf>,
}
