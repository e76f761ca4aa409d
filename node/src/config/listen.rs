//! `[listen]`: where a node listens, its certificate, and what one client may
//! take of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};
use entrepot_service::Domain;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::arguments::RunArguments;

/// No time limit is longer; one that is, limits nothing.
const TIMEOUT_MAX_S: u64 = 24 * 3600;
const CONNECTIONS_MAX: usize = 1_000_000;
const HANDSHAKES_MAX: usize = 65_536;
const STREAMS_MAX: u32 = 10_000;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    pub client: SocketAddr,
    pub peer: SocketAddr,
    pub ops: Option<SocketAddr>,
    /// None: the client port speaks plain HTTP.
    pub tls: Option<TlsConfig>,
    /// `<account>.dkr.ecr.<region>.<domain>` is a registry's host; none: no host
    /// names a registry.
    #[serde(default, deserialize_with = "domain")]
    pub domain: Option<Domain>,
    #[serde(default)]
    pub limits: ClientLimits,
}

/// The certificate of the client port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM: the node's own certificate first, then those between it and the
    /// authority that clients know.
    pub certificate_file: PathBuf,
    /// PEM: PKCS #8, PKCS #1 or SEC1, not encrypted.
    pub key_file: PathBuf,
    /// How often the files are looked at.
    #[serde(default = "reload_default")]
    pub reload_s: u64,
}

/// What the client port gives at most, and how long it waits for whom.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientLimits {
    /// None: as many as the limit of open files allows.
    pub connections_max: Option<usize>,
    /// TLS handshakes whose keys are agreed on at the same time.
    pub handshakes_max: usize,
    /// From the connection to the end of the TLS handshake.
    handshake_timeout_s: u64,
    /// From the first byte of a request to the end of its headers.
    headers_timeout_s: u64,
    /// Between two requests of a connection.
    idle_timeout_s: u64,
    /// A request body that brings nothing.
    body_timeout_s: u64,
    /// A response of which the client takes nothing.
    write_timeout_s: u64,
    /// Requests of one HTTP/2 connection at the same time.
    pub http2_streams_max: u32,
    /// How often an HTTP/2 client is asked whether it is there.
    http2_ping_s: u64,
    /// For it to answer that.
    http2_ping_timeout_s: u64,
}

fn domain<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Domain>, D::Error> {
    let text = String::deserialize(value)?;
    text.parse().map(Some).map_err(D::Error::custom)
}

fn reload_default() -> u64 {
    10
}

// === impl ListenConfig ===

impl ListenConfig {
    /// Lets flags and the environment override the file.
    pub(super) fn override_by(&mut self, arguments: &RunArguments) -> anyhow::Result<()> {
        if let Some(client) = arguments.listen_client {
            self.client = client;
        }
        if let Some(peer) = arguments.listen_peer {
            self.peer = peer;
        }
        if arguments.listen_ops.is_some() {
            self.ops = arguments.listen_ops;
        }
        let certificate = arguments.tls_certificate.clone();
        let key = arguments.tls_key.clone();
        match (&mut self.tls, certificate, key) {
            (_, None, None) => {}
            (Some(tls), certificate, key) => {
                tls.certificate_file = certificate.unwrap_or(tls.certificate_file.clone());
                tls.key_file = key.unwrap_or(tls.key_file.clone());
            }
            (none, Some(certificate_file), Some(key_file)) => {
                *none = Some(TlsConfig {
                    certificate_file,
                    key_file,
                    reload_s: reload_default(),
                });
            }
            (None, _, _) => bail!("--tls-certificate and --tls-key: give both or neither"),
        }
        Ok(())
    }

    pub(super) fn check(&self) -> anyhow::Result<()> {
        if let Some(tls) = &self.tls {
            in_time("tls.reload_s", tls.reload_s)?;
        }
        self.limits.check()
    }
}

// === impl TlsConfig ===

impl TlsConfig {
    pub(crate) fn reload(&self) -> Duration {
        Duration::from_secs(self.reload_s)
    }
}

// === impl ClientLimits ===

impl ClientLimits {
    /// The defaults, for so many connections.
    pub fn of(connections_max: usize) -> Self {
        Self {
            connections_max: Some(connections_max),
            ..Self::default()
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        for (key, seconds) in [
            ("handshake_timeout_s", self.handshake_timeout_s),
            ("headers_timeout_s", self.headers_timeout_s),
            ("idle_timeout_s", self.idle_timeout_s),
            ("body_timeout_s", self.body_timeout_s),
            ("write_timeout_s", self.write_timeout_s),
            ("http2_ping_s", self.http2_ping_s),
            ("http2_ping_timeout_s", self.http2_ping_timeout_s),
        ] {
            in_time(&format!("limits.{key}"), seconds)?;
        }
        ensure!(
            self.connections_max
                .is_none_or(|max| (1..=CONNECTIONS_MAX).contains(&max)),
            "listen.limits.connections_max: must be 1 to {CONNECTIONS_MAX}"
        );
        ensure!(
            (1..=HANDSHAKES_MAX).contains(&self.handshakes_max),
            "listen.limits.handshakes_max: must be 1 to {HANDSHAKES_MAX}"
        );
        ensure!(
            (1..=STREAMS_MAX).contains(&self.http2_streams_max),
            "listen.limits.http2_streams_max: must be 1 to {STREAMS_MAX}"
        );
        Ok(())
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        Duration::from_secs(self.handshake_timeout_s)
    }

    pub(crate) fn headers_timeout(&self) -> Duration {
        Duration::from_secs(self.headers_timeout_s)
    }

    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_timeout_s)
    }

    pub(crate) fn body_timeout(&self) -> Duration {
        Duration::from_secs(self.body_timeout_s)
    }

    pub(crate) fn write_timeout(&self) -> Duration {
        Duration::from_secs(self.write_timeout_s)
    }

    pub(crate) fn http2_ping(&self) -> Duration {
        Duration::from_secs(self.http2_ping_s)
    }

    pub(crate) fn http2_ping_timeout(&self) -> Duration {
        Duration::from_secs(self.http2_ping_timeout_s)
    }
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connections_max: None,
            handshakes_max: 256,
            handshake_timeout_s: 10,
            headers_timeout_s: 30,
            idle_timeout_s: 120,
            body_timeout_s: 120,
            write_timeout_s: 120,
            http2_streams_max: 128,
            http2_ping_s: 20,
            http2_ping_timeout_s: 20,
        }
    }
}

fn in_time(key: &str, seconds: u64) -> anyhow::Result<()> {
    ensure!(
        (1..=TIMEOUT_MAX_S).contains(&seconds),
        "listen.{key}: must be 1 to {TIMEOUT_MAX_S} seconds"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    const ADDRESSES: &str = "client = \"127.0.0.1:5000\"\npeer = \"127.0.0.1:6000\"\n";
    const TLS: &str = "[tls]\ncertificate_file = \"a.pem\"\nkey_file = \"a.key\"\n";

    /// What becomes of `text` under the flags of `run`.
    fn listen(text: &str, flags: &[&str]) -> anyhow::Result<ListenConfig> {
        let mut listen: ListenConfig = toml::from_str(&format!("{ADDRESSES}{text}"))?;
        let given = ["entrepot-node", "run", "--config", "node.toml"];
        let parsed = Arguments::try_parse_from(given.iter().chain(flags))?;
        let Command::Run(run) = parsed.command else {
            bail!("not run");
        };
        listen.check()?;
        listen.override_by(&run)?;
        Ok(listen)
    }

    #[test]
    fn without_a_certificate_there_is_no_tls() {
        let listen = listen("", &[]).unwrap();
        assert_eq!(listen.tls, None);
        assert_eq!(listen.limits, ClientLimits::default());
    }

    #[test]
    fn flags_override_the_certificate_and_its_key_one_by_one() {
        let flags = ["--tls-certificate", "b.pem", "--tls-key", "b.key"];
        let cases = [
            (TLS, &flags[..0], "a.pem", "a.key"),
            (TLS, &flags[..2], "b.pem", "a.key"),
            (TLS, &flags[2..], "a.pem", "b.key"),
            ("", &flags[..], "b.pem", "b.key"),
        ];
        for (text, flags, certificate, key) in cases {
            let tls = listen(text, flags).unwrap().tls.unwrap();
            let files = (tls.certificate_file, tls.key_file);
            assert_eq!(files, (certificate.into(), key.into()), "{flags:?}");
        }
    }

    #[test]
    fn a_certificate_without_its_key_is_refused() {
        let error = listen("", &["--tls-certificate", "b.pem"]).unwrap_err();
        assert!(error.to_string().contains("--tls-key"), "{error}");
        let error = listen("[tls]\ncertificate_file = \"a.pem\"", &[]).unwrap_err();
        assert!(format!("{error:#}").contains("key_file"), "{error:#}");
    }

    #[test]
    fn a_limit_that_cannot_be_is_refused_by_name() {
        for (key, value) in [
            ("headers_timeout_s", "0"),
            ("idle_timeout_s", "86401"),
            ("connections_max", "0"),
            ("handshakes_max", "0"),
            ("http2_streams_max", "0"),
            ("http2_streams", "1"),
        ] {
            let error = listen(&format!("[limits]\n{key} = {value}"), &[]).unwrap_err();
            assert!(format!("{error:#}").contains(key), "{error:#}");
        }
    }
}
