//! Messages to webhooks, and the keys of those who issue web identities, over HTTP.
//!
//! The invariant: nothing goes to this machine or to its link, whatever name
//! leads there, unless the configuration lets it: whoever may make a webhook must
//! not reach what only listens to programs beside the node.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use entrepot_service::{Courier, Message, Undelivered};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use rustls::ClientConfig;
use rustls::RootCertStore;
use tracing::warn;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the beginning to the head of the answer, whose body is of no interest.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that rest, to one receiver.
const IDLE_MAX: usize = 8;

/// Where clouds tell machines their secrets, beside the link's addresses.
const METADATA: [Ipv4Addr; 2] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
];
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Where messages may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// To this machine and its link too.
    pub local: bool,
}

/// Sends by HTTP/1.1, with TLS where the address says so.
#[derive(Debug)]
pub(crate) struct HttpCourier {
    client: Client,
    reach: Reach,
    /// By the names of issuers: files with their keys, which are not fetched then.
    key_files: BTreeMap<String, PathBuf>,
}

/// Finds the addresses of names, without those that may not be reached.
#[derive(Debug)]
struct Resolver(Reach);

// === impl Reach ===

impl Reach {
    fn allows(self, address: IpAddr) -> bool {
        if self.local {
            return true;
        }
        if is_own(address) {
            return false;
        }
        match unwrapped(address) {
            IpAddr::V4(address) => {
                !(METADATA.contains(&address)
                    || address.is_loopback()
                    || address.is_link_local()
                    || address.is_unspecified()
                    || address.is_broadcast()
                    || address.is_multicast())
            }
            IpAddr::V6(address) => {
                !(address == METADATA_V6
                    || address.is_loopback()
                    || address.is_unicast_link_local()
                    || address.is_unspecified()
                    || address.is_multicast())
            }
        }
    }
}

// === impl HttpCourier ===

impl HttpCourier {
    /// # Errors
    /// When the TLS library cannot be set up.
    pub(crate) fn new(reach: Reach) -> anyhow::Result<Self> {
        let client = Client::builder()
            .tls_backend_preconfigured(tls()?)
            .https_only(false)
            .redirect(Policy::none())
            // Through a proxy, nobody here would see where a name leads.
            .no_proxy()
            .dns_resolver(Arc::new(Resolver(reach)))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .user_agent(concat!("entrepot/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot make the client for webhooks")?;
        let key_files = BTreeMap::new();
        Ok(Self {
            client,
            reach,
            key_files,
        })
    }

    /// The same with files of the keys of issuers.
    #[must_use]
    pub(crate) fn with_keys(mut self, key_files: BTreeMap<String, PathBuf>) -> Self {
        self.key_files = key_files;
        self
    }

    /// That a literal address may be reached; names are looked at when they are
    /// resolved.
    fn allow(&self, url: &Url) -> Result<(), Undelivered> {
        let literal = url.host_str().and_then(|host| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse::<IpAddr>().ok()
        });
        if literal.is_some_and(|address| !self.reach.allows(address)) {
            return Err(Undelivered::Unreachable(not_allowed()));
        }
        Ok(())
    }

    async fn get(&self, url: &str, bytes_max: usize) -> Result<Bytes, Undelivered> {
        let unreachable = |reason: String| Undelivered::Unreachable(reason);
        let url: Url = url
            .parse()
            .map_err(|error| unreachable(format!("its address is none: {error}")))?;
        self.allow(&url)?;
        let failed = |error: reqwest::Error| unreachable(reason(&error.without_url()));
        let mut answer = self.client.get(url).send().await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(Undelivered::Status(answer.status().as_u16()));
        }
        let mut content = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if content.len() + chunk.len() > bytes_max {
                return Err(unreachable(format!(
                    "it answers more than {bytes_max} bytes"
                )));
            }
            content.extend_from_slice(&chunk);
        }
        Ok(content.freeze())
    }
}

#[async_trait]
impl Courier for HttpCourier {
    async fn deliver(&self, message: Message) -> Result<(), Undelivered> {
        let unreachable = |reason: String| Undelivered::Unreachable(reason);
        let url: Url = message
            .url
            .parse()
            .map_err(|error| unreachable(format!("its address is none: {error}")))?;
        self.allow(&url)?;
        let mut request = self.client.post(url).body(message.body);
        for (name, value) in message.headers {
            request = request.header(name, value);
        }
        let answer = request.send().await;
        let answer = answer.map_err(|error| unreachable(reason(&error.without_url())))?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(Undelivered::Status(answer.status().as_u16()))
    }

    /// As `OpenID` Connect Discovery 1.0 has it.
    async fn issuer_keys(&self, name: &str, bytes_max: usize) -> Result<Bytes, Undelivered> {
        if let Some(file) = self.key_files.get(name) {
            let read = tokio::fs::read(file).await;
            return read.map(Bytes::from).map_err(|error| {
                Undelivered::Unreachable(format!("cannot read {}: {error}", file.display()))
            });
        }
        let issuer = format!("https://{name}");
        let known = format!("{issuer}/.well-known/openid-configuration");
        let said = self.get(&known, bytes_max).await?;
        self.get(&keys_address(&said, &issuer)?, bytes_max).await
    }
}

/// Where the keys are, as the issuer says of itself.
fn keys_address(said: &[u8], issuer: &str) -> Result<String, Undelivered> {
    let refused = |why: &str| Undelivered::Unreachable(why.to_owned());
    let said: serde_json::Value =
        serde_json::from_slice(said).map_err(|_| refused("its configuration is no JSON"))?;
    let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    if text("issuer").trim_end_matches('/') != issuer {
        return Err(refused("its configuration is that of another issuer"));
    }
    let address = text("jwks_uri");
    if !address.starts_with("https://") {
        return Err(refused(
            "its configuration names no https:// address of keys",
        ));
    }
    Ok(address)
}

// === impl Resolver ===

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.filter(|it| reach.allows(it.ip())).collect();
            if found.is_empty() {
                return Err(not_allowed().into());
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

fn not_allowed() -> String {
    "its address is on the node's own machine or link; `webhooks.local = true` in the node's \
     configuration allows that"
        .to_owned()
}

/// The IPv4 address that is written as IPv6, in whichever way.
fn unwrapped(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let inner = match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] if (high, low) > (0, 1) => (high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => (high, low),
        _ => return address,
    };
    let bits = (u32::from(inner.0) << 16) | u32::from(inner.1);
    IpAddr::V4(Ipv4Addr::from_bits(bits))
}

/// Whether an interface of this machine has it: what is sent there is sent from
/// there. Nothing is sent.
fn is_own(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let route = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect((address, 9))?;
        socket.local_addr()
    });
    route.is_ok_and(|from| from.ip() == address)
}

/// All that the error and what is behind it say.
fn reason(error: &reqwest::Error) -> String {
    let mut reason = error.to_string();
    let mut behind = std::error::Error::source(error);
    while let Some(cause) = behind {
        reason = format!("{reason}: {cause}");
        behind = cause.source();
    }
    reason
}

/// The authorities that this machine trusts.
fn tls() -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() || ignored > 0 {
        warn!(
            trusted = roots.len(),
            ignored, "webhooks by https:// need the certificate authorities of this machine"
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("cannot set up TLS for webhooks")?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_elsewhere_is_reached() {
        let (near, far) = (Reach { local: true }, Reach { local: false });
        for address in [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "169.254.169.254",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::127.0.0.1",
            "2002:7f00:1::",
            "::127.0.0.1",
            "fd00:ec2::254",
            "100.100.100.200",
        ] {
            let address = address.parse().unwrap();
            assert!(!far.allows(address) && near.allows(address), "{address}");
        }
        for address in [
            "10.1.2.3",
            "192.168.1.1",
            "203.0.113.7",
            "2001:db8::1",
            "fd00::1",
        ] {
            assert!(far.allows(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn an_issuer_says_where_its_keys_are() {
        let of = |said: &str| keys_address(said.as_bytes(), "https://ci.example/a");
        let right = r#"{"issuer": "https://ci.example/a", "jwks_uri": "https://keys.example/k"}"#;
        assert_eq!(of(right).unwrap(), "https://keys.example/k");
        for wrong in [
            "",
            "[]",
            &right.replace("example/a", "example/b"),
            &right.replace("https://keys", "http://keys"),
            &right.replace("https://keys.example/k", "file:///etc/passwd"),
            &right.replace("jwks_uri", "jwks"),
        ] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn keys_come_from_a_file_or_from_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        std::fs::write(&file, "keys").unwrap();
        let files = BTreeMap::from([("ci.example".to_owned(), file)]);
        let courier = HttpCourier::new(Reach { local: false }).unwrap();
        let courier = courier.with_keys(files);
        let found = courier.issuer_keys("ci.example", 10).await;
        assert_eq!(found.unwrap(), "keys");
        for near in ["127.0.0.1:9", "localhost:9", "169.254.169.254"] {
            let refused = courier.issuer_keys(near, 10).await.unwrap_err().to_string();
            assert!(refused.contains("webhooks.local"), "{near}: {refused}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_here_is_refused() {
        let courier = HttpCourier::new(Reach { local: false }).unwrap();
        for url in [
            "http://localhost:9/",
            "http://127.0.0.1:9/",
            "http://[::1]:9/",
            "http://2130706433:9/",
            "http://0x7f.1:9/",
            "http://[::ffff:127.0.0.1]:9/",
        ] {
            let message = Message {
                url: url.to_owned(),
                headers: Vec::new(),
                body: bytes::Bytes::new(),
            };
            let refused = courier.deliver(message).await.unwrap_err().to_string();
            assert!(refused.contains("webhooks.local"), "{url}: {refused}");
        }
    }
}
