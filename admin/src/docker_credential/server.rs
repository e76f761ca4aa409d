//! The registry that docker asks about: a host, maybe a port, maybe more of a
//! URL than that.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use entrepot_oci::{AccountId, RegionName};
use ureq::http::uri::Authority;

use crate::failure::Failure;

/// Between account and region in the name of a registry.
const MIDDLE: &str = ".dkr.ecr.";

const HTTPS_PORT: u16 = 443;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Https,
    Http,
}

/// `[http[s]://]host[:port]`, in lower case, without HTTPS's own port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// As it is written, none: docker names registries by host alone.
    pub(crate) scheme: Option<Scheme>,
    host: Box<str>,
    port: Option<u16>,
}

// === impl Scheme ===

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Https => "https",
            Self::Http => "http",
        })
    }
}

// === impl Server ===

impl Server {
    /// Without a port that goes without saying; `[::1]` keeps its brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Host and port, as a request's `Host` header has them.
    pub(crate) fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.to_string(),
        }
    }

    pub(crate) fn url(&self, scheme: Scheme) -> String {
        format!("{scheme}://{}/", self.authority())
    }

    /// As it is, with `scheme` where none is written.
    pub(crate) fn or_scheme(self, scheme: Option<Scheme>) -> Self {
        Self {
            scheme: self.scheme.or(scheme),
            ..self
        }
    }

    /// How to ask, the best first. This machine is asked without encryption when
    /// it has none, as docker does; every other only if the user wrote so.
    pub(crate) fn schemes(&self) -> &'static [Scheme] {
        match self.scheme {
            Some(Scheme::Http) => &[Scheme::Http],
            None if self.is_loopback() => &[Scheme::Https, Scheme::Http],
            Some(Scheme::Https) | None => &[Scheme::Https],
        }
    }

    pub(crate) fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        &*self.host == "localhost" || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    /// The region that the name says: `<account>.dkr.ecr.<region>.<domain>`.
    pub(crate) fn region(&self) -> Option<RegionName> {
        let (account, rest) = self.host.split_once(MIDDLE)?;
        let (region, domain) = rest.split_once('.')?;
        if domain.is_empty() || account.parse::<AccountId>().is_err() {
            return None;
        }
        region.parse().ok()
    }

    /// The same host and port, whatever the scheme.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        (&self.host, self.port) == (&other.host, other.port)
    }

    /// A host below `domain`, on the same port; `end` is the domain with its dot.
    pub(crate) fn is_below(&self, domain: &Self, end: &str) -> bool {
        self.port == domain.port && self.host.len() > end.len() && self.host.ends_with(end)
    }
}

impl FromStr for Server {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let text = text.trim().to_ascii_lowercase();
        let (scheme, rest) = match text.split_once("://") {
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(_) => return Err(Failure::ServerUrlMalformed),
            None => (None, text.as_str()),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // A user or password in it must not be repeated by anything below.
        if authority.contains('@') {
            return Err(Failure::ServerUrlMalformed);
        }
        let authority: Authority = authority.parse().map_err(|_| Failure::ServerUrlMalformed)?;
        let after = &authority.as_str()[authority.host().len()..];
        let port = match after.strip_prefix(':') {
            Some(port) => Some(port.parse().map_err(|_| Failure::ServerUrlMalformed)?),
            None => None,
        };
        if authority.host().is_empty() {
            return Err(Failure::ServerUrlMalformed);
        }
        let is_implied = |port| scheme != Some(Scheme::Http) && port == HTTPS_PORT;
        Ok(Self {
            scheme,
            host: authority.host().into(),
            port: port.filter(|port| !is_implied(*port)),
        })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::{Scheme, Server};

    fn server(text: &str) -> Server {
        text.parse().unwrap()
    }

    #[test]
    fn what_docker_says_is_a_host_and_maybe_a_port() {
        for (text, authority, scheme) in [
            ("registry.example.com", "registry.example.com", None),
            (
                "Registry.Example.COM:5000",
                "registry.example.com:5000",
                None,
            ),
            ("registry.example.com:443", "registry.example.com", None),
            ("[::1]:5000", "[::1]:5000", None),
            ("https://r.example/v1/", "r.example", Some(Scheme::Https)),
            ("http://r.example:80", "r.example:80", Some(Scheme::Http)),
            ("http://r.example:443", "r.example:443", Some(Scheme::Http)),
        ] {
            let server = server(text);
            assert_eq!(
                (server.authority().as_str(), server.scheme),
                (authority, scheme)
            );
        }
        for text in [
            "", "https://", ":5000", "a b", "ftp://a", "u:p@a", "a:b", "a:70000", "ä",
        ] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
    }

    #[test]
    fn this_machine_alone_may_go_without_encryption() {
        for text in [
            "localhost:5000",
            "127.0.0.1:5000",
            "127.8.0.1",
            "[::1]:5000",
        ] {
            assert_eq!(
                server(text).schemes(),
                [Scheme::Https, Scheme::Http],
                "{text}"
            );
        }
        for text in [
            "r.example",
            "10.0.0.1:5000",
            "https://localhost",
            "localhost.r.example",
        ] {
            assert_eq!(server(text).schemes(), [Scheme::Https], "{text}");
        }
        assert_eq!(server("http://r.example").schemes(), [Scheme::Http]);
    }

    #[test]
    fn a_registry_s_name_says_its_region() {
        let region = |text| server(text).region().map(|region| region.to_string());
        assert_eq!(
            region("111122223333.dkr.ecr.eu-west-1.r.example:5000").as_deref(),
            Some("eu-west-1")
        );
        for text in [
            "r.example",
            "11112222333.dkr.ecr.eu-west-1.r.example",
            "111122223333.dkr.ecr.eu-west-1",
            "111122223333.dkr.ecr..r.example",
            "x.111122223333.dkr.ecr.eu-west-1.r.example",
        ] {
            assert_eq!(region(text), None, "{text}");
        }
    }
}
