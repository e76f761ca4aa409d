//! Everything that can go wrong, one sentence each: what happened, then what to
//! do next.
//!
//! A sentence fits on one line and never holds a secret. Three are the protocol's
//! own, which docker knows by their text (docker/docker-credential-helpers,
//! `credentials/error.go`).

use std::fmt;
use std::io;
use std::time::Duration;

use entrepot_oci::NameError;

use crate::key::Origin;
use crate::plain::plain;
use crate::server::Server;

/// What to do about a registry that is not named and looks as if it should be.
#[derive(Debug)]
pub(crate) struct Hint(pub(crate) Server);

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Docker goes on without a login.
    #[error("credentials not found in native keychain")]
    NotFound { hint: Option<Hint> },
    #[error("no credentials server URL")]
    ServerUrlMissing,
    #[error("no credentials username")]
    UsernameMissing,

    #[error(
        "no login is kept, since the registry is asked for one with your access key when docker \
         needs it: no `docker login` is needed, see `docker-credential-entrepot --help`"
    )]
    KeepsNothing,
    #[error("standard input does not hold a login as docker writes it: JSON is expected")]
    LoginMalformed,
    #[error("standard input does not hold a registry: a host is expected, with its port if any")]
    ServerUrlMalformed,
    #[error("standard input is too long or not text")]
    InputMalformed,
    #[error("cannot read standard input: {0}")]
    Input(io::Error),
    #[error("cannot write the answer: {0}")]
    Output(io::Error),

    #[error("{name} is not text: set it anew")]
    VariableMalformed { name: &'static str },
    #[error("ENTREPOT_TIMEOUT must be a time between 1ms and 1h, such as 30s")]
    TimeoutMalformed,
    #[error(
        "ENTREPOT_REGISTRIES holds {entry:?}: hosts parted by commas are expected, such as \
         registry.example.com:5000,*.dkr.ecr.eu-west-1.example.com"
    )]
    RegistriesMalformed { entry: String },
    #[error("cannot read {place}: {cause}")]
    FileUnreadable { place: String, cause: io::Error },
    #[error("cannot read {place}: it is too long")]
    FileTooLong { place: String },
    #[error("{place} is no configuration of docker or podman: JSON is expected")]
    ConfigMalformed { place: String },
    #[error("{place}, line {line}: [profile] or key = value is expected")]
    ProfilesMalformed { place: String, line: usize },

    #[error(
        "no access key: set ENTREPOT_ACCESS_KEY_ID and ENTREPOT_SECRET_ACCESS_KEY, or write \
         aws_access_key_id and aws_secret_access_key below [default] in {place}"
    )]
    KeyMissing { place: String },
    #[error("{given} is set and {missing} is not: set both, or neither")]
    HalfAKey {
        missing: &'static str,
        given: &'static str,
    },
    #[error("there is no profile {name:?} in {place}: AWS_PROFILE names it")]
    ProfileUnknown { name: String, place: String },
    #[error(
        "the profile {name:?} of {place} has no access key: write aws_access_key_id and \
         aws_secret_access_key there, or set ENTREPOT_ACCESS_KEY_ID and \
         ENTREPOT_SECRET_ACCESS_KEY"
    )]
    ProfileWithoutKey { name: String, place: String },
    #[error("what {origin} holds is no access key ID: letters and digits are expected")]
    KeyIdMalformed { origin: Origin },
    #[error("the session token beside {origin} holds what no token holds, such as a blank")]
    SessionTokenMalformed { origin: Origin },
    #[error(
        "no region is known for {server}: set ENTREPOT_REGION (or AWS_REGION) to the region of \
         the registry, such as eu-west-1, or write `region = ...` into {place}"
    )]
    RegionMissing { server: Server, place: String },
    #[error("the region in {origin} cannot be: {cause}")]
    RegionMalformed { origin: String, cause: NameError },

    #[error("there is no file {place}, which ENTREPOT_CA_FILE names")]
    AuthoritiesMissing { place: String },
    #[error("{place} does not hold certificate authorities: PEM is expected")]
    AuthoritiesMalformed { place: String },
    #[error(
        "this machine trusts no certificate authority: install its ca-certificates, or set \
         ENTREPOT_CA_FILE to the authority of the registry's certificate"
    )]
    NoAuthorities,
    #[error("the request cannot be signed: check the name of the registry and the access key")]
    Unsigned,

    #[error(
        "what answers at {server} does not prove to be {server} ({reason}): set ENTREPOT_CA_FILE \
         to the authority that signed the registry's certificate"
    )]
    Untrusted { server: Server, reason: String },
    #[error(
        "what answers at {server} does not speak TLS: check the port, or name the registry as \
         http://{server} in ENTREPOT_REGISTRIES if your network may read what is sent"
    )]
    NotTls { server: Server },
    #[error(
        "{server} does not answer ({reason}): check the registry's name and port, and that it \
         is running"
    )]
    Unreachable { server: Server, reason: String },
    #[error(
        "the proxy that HTTPS_PROXY names leads to no {server} ({reason}): if it needs no proxy, \
         add it to NO_PROXY"
    )]
    ProxyRefuses { server: Server, reason: String },
    #[error("{server} did not answer within {}: try again", humantime::format_duration(*timeout))]
    Timeout { server: Server, timeout: Duration },
    #[error("the connection to {server} broke ({reason}): try again")]
    Broken { server: Server, reason: String },

    #[error(
        "{server} does not accept the access key {id} of {origin} ({text}): check the key, its \
         secret, the region and this machine's clock"
    )]
    KeyRefused {
        server: Server,
        id: Box<str>,
        origin: Origin,
        text: Box<str>,
    },
    #[error("the temporary access key {id} of {origin} has expired ({text}): get a new one")]
    KeyExpired {
        id: Box<str>,
        origin: Origin,
        text: Box<str>,
    },
    #[error(
        "{server} gives no token to the access key {id} ({text}): ask an administrator of the \
         registry for the permission ecr:GetAuthorizationToken"
    )]
    Denied {
        server: Server,
        id: Box<str>,
        text: Box<str>,
    },
    #[error("{server} cannot give a token now ({text}): try again")]
    Unavailable { server: Server, text: String },
    #[error("{server} gives no token: {text}")]
    Refused { server: Server, text: String },
    #[error(
        "what answers at {server} does not know ECR's API (HTTP {status}): check that it is an \
         Entrepot registry, and that a proxy before it passes `POST /` on"
    )]
    NotEcr { server: Server, status: u16 },
    #[error(
        "the answer of {server} holds no token: check that it is an Entrepot registry, as new as \
         this program"
    )]
    NoToken { server: Server },
}

// === impl Hint ===

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(server) = self;
        write!(
            f,
            "{server} is not named as a registry of yours: set ENTREPOT_REGISTRIES={server}, or \
             put {{\"credHelpers\": {{\"{server}\": \"entrepot\"}}}} into ~/.docker/config.json"
        )
    }
}

// === impl Failure ===

impl Failure {
    /// What it means that `server` gave no answer.
    pub(crate) fn from_request(error: &ureq::Error, server: &Server, timeout: Duration) -> Self {
        let server = server.clone();
        let reason = reason(error);
        match (error, tls_error(error)) {
            (_, Some(rustls::Error::InvalidCertificate(_))) => Self::Untrusted { server, reason },
            (_, Some(rustls::Error::InvalidMessage(_))) => Self::NotTls { server },
            (ureq::Error::Timeout(_), _) => Self::Timeout { server, timeout },
            (ureq::Error::ConnectProxyFailed(_), _) => Self::ProxyRefuses { server, reason },
            (ureq::Error::HostNotFound | ureq::Error::ConnectionFailed, _) => {
                Self::Unreachable { server, reason }
            }
            (ureq::Error::Io(cause), None) => match cause.kind() {
                io::ErrorKind::TimedOut => Self::Timeout { server, timeout },
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Self::Broken { server, reason },
                _ => Self::Unreachable { server, reason },
            },
            _ => Self::Broken { server, reason },
        }
    }

    /// Whether the same server might answer without TLS.
    pub(crate) fn may_speak_no_tls(&self) -> bool {
        matches!(self, Self::NotTls { .. } | Self::Broken { .. })
    }
}

/// The error of TLS that lies in `error`.
fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(tls) => Some(tls),
        ureq::Error::Io(io) => io.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// What went wrong underneath, in a few words.
fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
            "connection refused".to_owned()
        }
        ureq::Error::Io(cause) => plain(&cause.to_string()),
        other => plain(&other.to_string()),
    }
}
