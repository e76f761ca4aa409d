//! Everything that can go wrong, one sentence each: what happened, then what to
//! do next.
//!
//! A sentence fits on one line and never holds a password. Where a change was
//! sent and no answer came, it says that the outcome is not known; it never
//! claims that nothing happened.

use std::error::Error;
use std::io;
use std::time::Duration;

use entrepot_oci::{AccountId, RepositoryName};
use tonic::{Code, Status};

use crate::endpoint::EndpointUrl;
use crate::human;

/// A node's own words are cut after so many characters.
const NODE_TEXT_CHARS_MAX: usize = 300;

/// In the reason of a certificate that is refused because an authority's may
/// sign others, and do nothing else.
const AUTHORITY_AS_NODE: &str = "CaUsedAsEndEntity";

/// What a call does at the node: decides what to advise when no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Reads,
    ChangesRegistry,
    ChangesRepository,
    ChangesRepositories,
    ChangesRules,
    StartsScrub,
    ChangesNodes,
    ChangesRegions,
    MakesToken,
    ChangesAccounts,
    ChangesWebhooks,
    ChangesBackfills,
    ChangesLifecycle,
    ChangesImages,
    Collects,
    DeletesImage,
    Mends,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("no user is given: use --user or set ENTREPOT_USER")]
    UserMissing,
    #[error("the user name holds a colon or a control character: no user can be called so")]
    UserInvalid,
    #[error(
        "no password is given: set ENTREPOT_PASSWORD, or use --password-file FILE or \
         --password-stdin"
    )]
    PasswordMissing,
    #[error("cannot read the password from {place}: {cause}")]
    PasswordUnreadable { place: String, cause: io::Error },
    #[error("{place} does not hold a password: one line is expected, the password alone")]
    PasswordMalformed { place: String },
    #[error("cannot read the secret access key from {place}: {cause}")]
    SecretUnreadable { place: String, cause: io::Error },
    #[error("{place} does not hold a secret access key: one line is expected, the secret alone")]
    SecretMalformed { place: String },

    #[error("cannot read the certificate authorities from {place}: {cause}")]
    AuthoritiesUnreadable { place: String, cause: io::Error },
    #[error("{place} does not hold certificate authorities: PEM is expected")]
    AuthoritiesMalformed { place: String },

    #[error(
        "what answers at {endpoint} does not prove to be the node ({reason}): check that \
         --ca-file or ENTREPOT_CA_FILE names the authority that signed the node's certificate, \
         and that the certificate names the host of --endpoint"
    )]
    Untrusted {
        endpoint: EndpointUrl,
        reason: String,
    },
    /// What `openssl req -x509` makes, unless it is told otherwise.
    #[error(
        "the certificate at {endpoint} is one of an authority (CA:TRUE), which cannot stand for \
         a node: make one for the node, with basicConstraints=CA:FALSE"
    )]
    AuthorityAsNode { endpoint: EndpointUrl },
    #[error(
        "what answers at {endpoint} does not speak TLS: check that --endpoint or \
         ENTREPOT_ENDPOINT names a node's client port, with http:// if that has no certificate"
    )]
    NotTls { endpoint: EndpointUrl },
    #[error(
        "no node answers at {endpoint} ({reason}): check that the node is running and that \
         --endpoint or ENTREPOT_ENDPOINT names its client port"
    )]
    Unreachable {
        endpoint: EndpointUrl,
        reason: String,
    },
    #[error(
        "the connection to {endpoint} broke ({reason}): {}; if it keeps breaking, check that \
         --endpoint names a node's client port, with https:// if that has a certificate",
        again(*effect)
    )]
    Broken {
        endpoint: EndpointUrl,
        reason: String,
        effect: Effect,
    },
    #[error(
        "{endpoint} did not answer within {}: {}",
        humantime::format_duration(*timeout),
        again(*effect)
    )]
    Timeout {
        endpoint: EndpointUrl,
        timeout: Duration,
        effect: Effect,
    },
    #[error(
        "what listens at {endpoint} does not know this request ({text}): check that --endpoint \
         names a node's client port and that the node is as new as this client"
    )]
    NotOffered { endpoint: EndpointUrl, text: String },

    #[error(
        "the node does not accept the user {user:?} with this password: check --user or \
         ENTREPOT_USER, and where the password comes from"
    )]
    Unauthenticated { user: String },
    #[error(
        "the user {user:?} may not do this ({text}): ask an administrator of the registry for \
         the permission"
    )]
    Denied { user: String, text: String },
    #[error("there is no repository {0}: `entrepot repository list` shows those there are")]
    RepositoryUnknown(RepositoryName),
    #[error("there is no node {0}: `entrepot node list` shows those there are")]
    NodeUnknown(u64),
    #[error(
        "node {0} is not drained yet: the drain goes on, and `entrepot node drain {0}` waits for it"
    )]
    NotDrained(u64),
    #[error(
        "node {0} answers, so it is not lost: run `entrepot node drain {0}` and remove it then"
    )]
    NotLost(u64),
    #[error(
        "node {successor} cannot take the place of node {node}: it has to be an active node of the \
         same region, and to answer"
    )]
    NoSuccessor { node: u64, successor: u64 },
    #[error("there is no account {0}: `entrepot account list` shows those there are")]
    AccountUnknown(AccountId),
    #[error("there is no rule {0:?}: `entrepot rule list` shows those there are")]
    RuleUnknown(String),
    #[error("there is no webhook {0:?}: `entrepot webhook list` shows those there are")]
    WebhookUnknown(String),
    #[error("there is no backfill {0:?}: `entrepot backfill list` shows those there are")]
    BackfillUnknown(String),
    #[error("{0} has no lifecycle policy, or there is no such repository")]
    PolicyUnknown(RepositoryName),
    #[error("cannot read the policy from {place}: {cause}")]
    PolicyUnreadable { place: String, cause: io::Error },
    #[error(
        "no rule copies that to {0}: `entrepot rule list` shows the rules, `entrepot rule put` makes \
         one"
    )]
    DestinationUnknown(String),
    #[error(
        "no rule copies {0}: it was pushed before the rule was made (`entrepot backfill start` \
         copies such images), or its name or tag does not match"
    )]
    NotCopied(String),
    #[error("{what} was refused by its destination: {reason}")]
    NotReplicated { what: String, reason: String },
    #[error(
        "{what} is not there after {}: {left} of its copies are under way, `entrepot replication \
         status` shows them",
        humantime::format_duration(*timeout)
    )]
    NotThereYet {
        what: String,
        timeout: Duration,
        left: u64,
    },
    #[error(
        "not all is as it should be, or known: `entrepot check --repair` mends what can be mended ({0} left)"
    )]
    Found(u64),
    #[error("the run ended before its time ({0}): run it again for what is left")]
    RunEnded(String),
    #[error("not all of it is gone: the answer names what may be left ({0} manifests)")]
    DeletedInPart(usize),
    #[error("the node knows no such thing ({text}): check the names in the command")]
    NotFound { text: String },
    #[error("{endpoint} cannot serve this now ({text}): {}", again(*effect))]
    Unavailable {
        endpoint: EndpointUrl,
        text: String,
        effect: Effect,
    },
    #[error("the node refuses this: {text}")]
    Refused { text: String },
    #[error("the node failed ({text}): its log says more; {}", again(*effect))]
    Failed { text: String, effect: Effect },

    #[error(
        "the node's answer makes no sense ({0}): check that the node and this client are of the \
         same version"
    )]
    Nonsense(&'static str),
    #[error("cannot write the answer: {0}")]
    Output(io::Error),
}

fn again(effect: Effect) -> String {
    let again = "try again, or ask another node by --endpoint";
    let shown_by = match effect {
        // A token that nobody has seen lets nobody in.
        Effect::Reads | Effect::MakesToken => return again.to_owned(),
        Effect::ChangesRegistry => "entrepot registry show",
        Effect::ChangesRepository => "entrepot repository show",
        Effect::ChangesRepositories => "entrepot repository list",
        Effect::ChangesRules => "entrepot rule list",
        Effect::StartsScrub => "entrepot scrub status",
        Effect::ChangesNodes => "entrepot node list",
        Effect::ChangesRegions => "entrepot region list",
        Effect::ChangesAccounts => "entrepot account list",
        Effect::ChangesWebhooks => "entrepot webhook list",
        Effect::ChangesBackfills => "entrepot backfill list",
        Effect::ChangesLifecycle => "entrepot lifecycle get",
        Effect::ChangesImages | Effect::DeletesImage => "entrepot image list",
        Effect::Collects => "entrepot gc status",
        Effect::Mends => "entrepot check",
    };
    format!("the change may have been made all the same, `{shown_by}` tells; if not, {again}")
}

// === impl Failure ===

impl Failure {
    /// What it means that there is no connection to `endpoint`.
    pub(crate) fn from_connect(error: &(dyn Error + 'static), endpoint: &EndpointUrl) -> Self {
        let endpoint = endpoint.clone();
        let reason = reason(error);
        match tls_error(error) {
            // The library that looks at certificates has no word of its own for it.
            Some(rustls::Error::InvalidCertificate(_)) if reason.contains(AUTHORITY_AS_NODE) => {
                Self::AuthorityAsNode { endpoint }
            }
            Some(rustls::Error::InvalidCertificate(_)) => Self::Untrusted { endpoint, reason },
            Some(rustls::Error::InvalidMessage(_)) => Self::NotTls { endpoint },
            _ => Self::Unreachable { endpoint, reason },
        }
    }

    /// What `status`, the answer of the node at `endpoint` to `user`, means.
    pub(crate) fn from_status(
        status: &Status,
        endpoint: &EndpointUrl,
        user: &str,
        effect: Effect,
    ) -> Self {
        let endpoint = endpoint.clone();
        // Only a status made on this side, of an error underneath, has a source.
        if status.source().is_some() {
            let reason = reason(status);
            return Self::Broken {
                endpoint,
                reason,
                effect,
            };
        }
        let text = node_text(status);
        let user = user.to_owned();
        match status.code() {
            Code::Unauthenticated => Self::Unauthenticated { user },
            Code::PermissionDenied => Self::Denied { user, text },
            Code::NotFound => Self::NotFound { text },
            Code::Unimplemented => Self::NotOffered { endpoint, text },
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Self::Unavailable {
                endpoint,
                text,
                effect,
            },
            // Aborted: as things are, the node will not.
            Code::Aborted
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::AlreadyExists
            | Code::ResourceExhausted => Self::Refused { text },
            Code::Ok | Code::Internal | Code::DataLoss | Code::Unknown => {
                Self::Failed { text, effect }
            }
        }
    }

    /// `self`, but the more precise `missing` when the node found nothing.
    pub(crate) fn or_missing(self, missing: impl FnOnce() -> Self) -> Self {
        match self {
            Self::NotFound { .. } => missing(),
            other => other,
        }
    }
}

/// The error of TLS that lies beneath `error`.
fn tls_error<'a>(mut error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    loop {
        let io = error.downcast_ref::<io::Error>();
        if let Some(tls) = io.and_then(|io| io.get_ref()?.downcast_ref()) {
            return Some(tls);
        }
        error = error.source()?;
    }
}

/// The node's words on one line, or the code's where it has none.
fn node_text(status: &Status) -> String {
    let mut text = human::plain(status.message());
    if text.is_empty() {
        text = status.code().description().to_lowercase();
    }
    if let Some((end, _)) = text.char_indices().nth(NODE_TEXT_CHARS_MAX) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// The innermost cause of a transport's error: its outer layers say no more
/// than that there was one.
pub(crate) fn reason(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    match innermost.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(io::ErrorKind::TimedOut) => "timed out".to_owned(),
        _ => human::plain(&innermost.to_string()),
    }
}
