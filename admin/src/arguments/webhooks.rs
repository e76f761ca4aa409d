//! The grammar of `entrepot webhook`.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Webhook {
    /// Create a webhook, and show its secret this once; or change the one of the same name
    #[command(after_help = "\
A webhook is told what happens from then on in the registry of the region of the node that is \
asked: each push, deletion and arrival is a POST with a CloudEvent whose data is what ECR's events \
have in `detail`. What is told of one repository comes in order, and at least once: events that \
come again have the same `webhook-id`. Whatever is not answered with a status of 200 to 299 within \
10 s is sent again.

Each message is signed as Standard Webhooks 1.0 has it: `webhook-signature` is the HMAC-SHA256 of \
the id, the timestamp and the body under the secret, which is shown once. A change keeps the \
secret; delete the webhook and create it again for a new one.

Examples:
  entrepot webhook put ci --url https://ci.example.com/hooks/registry
  entrepot webhook put deploy --url https://deploy.example.com/ --repository 'team/*' --event push

JSON (\"secret\" is null if the webhook was there):
  {\"webhook\": \"ci\", \"secret\": \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"}")]
    Put(WebhookPut),

    /// List the webhooks of the registry, and how far each has been told
    #[command(after_help = "\
What is behind are entries of the region's log, whether or not they changed what the webhook is to \
hear. It is told of all that is remembered, some 65,000 entries; when it has missed more it is \
told so, by an event `entrepot.events.lost`.

Example:
  entrepot webhook list

JSON (\"delivered_at_ms\" is null before the first delivery, \"failing\" while all gets through):
  {\"webhooks\": [{\"name\": \"ci\", \"url\": \"https://ci.example.com/hooks/registry\",
                 \"repositories\": [], \"events\": [\"push\"], \"paused\": false,
                 \"created_at_ms\": 1767225600000, \"delivered_at_ms\": 1767225600200,
                 \"failing\": {\"since_ms\": 1767225601000, \"reason\": \"...\"},
                 \"entries_behind\": 0}]}")]
    List,

    /// Delete a webhook
    #[command(after_help = "\
Example:
  entrepot webhook delete ci

JSON:
  {\"deleted\": \"ci\"}")]
    Delete {
        /// The webhook's name
        #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },

    /// Send a webhook a message that says nothing, now
    #[command(after_help = "\
Fails with the reason when the message does not get through.

Example:
  entrepot webhook test ci

JSON:
  {\"told\": \"ci\"}")]
    Test {
        /// The webhook's name
        #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct WebhookPut {
    /// Its name: 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'
    #[arg(value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,

    /// Where the messages go: an address that begins with https:// or http://
    #[arg(long, value_name = "URL", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) url: String,

    /// Only of repositories of this name, which may contain '*'; may be given several times
    #[arg(long = "repository", value_name = "PATTERN")]
    pub(crate) repositories: Vec<String>,

    /// Only this; may be given several times
    #[arg(long = "event", value_name = "EVENT")]
    pub(crate) events: Vec<Event>,

    /// Tell it nothing until it is put again without this
    #[arg(long)]
    pub(crate) paused: bool,
}

/// What can happen to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Event {
    /// An image was pushed, or a tag moved
    Push,
    /// An image or a tag was deleted
    Delete,
    /// An image arrived from another region
    Replicate,
    /// An image went into the archive, or came back
    StorageClass,
}
