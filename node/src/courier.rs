//! Messages to webhooks, over HTTP.
//!
//! The invariant: no message goes to this machine or to its link, whatever name
//! leads there, unless the configuration lets it: whoever may make a webhook must
//! not reach what only listens to programs beside the node.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
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
        match address.to_canonical() {
            IpAddr::V4(address) => {
                !(address.is_loopback()
                    || address.is_link_local()
                    || address.is_unspecified()
                    || address.is_broadcast()
                    || address.is_multicast())
            }
            IpAddr::V6(address) => {
                !(address.is_loopback()
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
            .dns_resolver(Arc::new(Resolver(reach)))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .user_agent(concat!("entrepot/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("cannot make the client for webhooks")?;
        Ok(Self { client, reach })
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
        // Names are looked at when they are resolved.
        let literal = url.host_str().and_then(|host| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.parse::<IpAddr>().ok()
        });
        if literal.is_some_and(|address| !self.reach.allows(address)) {
            return Err(unreachable(not_allowed()));
        }
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
