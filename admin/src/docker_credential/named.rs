//! The registries that the user has named: in `ENTREPOT_REGISTRIES`, or for this
//! program in the `credHelpers` of docker or podman.
//!
//! As docker's one store of credentials this program is asked about every
//! registry in the world. A signed request must reach none but those named here:
//! it would let its receiver ask a node for the user's token.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::environment;
use crate::failure::{Failure, Hint};
use crate::server::Server;

const REGISTRIES: &str = "ENTREPOT_REGISTRIES";

/// This program in a `credHelpers`: docker puts `docker-credential-` before it.
const HELPER: &str = "entrepot";

/// `config.json` of docker, `auth.json` of podman: what concerns helpers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientConfig {
    /// Docker writes `null` where there is none.
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
}

/// One entry.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    One(Server),
    /// `*.example.com`: every host below; `.example.com` here.
    Below(Server, String),
}

#[derive(Debug, Default)]
pub(crate) struct Named {
    entries: Vec<Entry>,
}

// === impl Entry ===

impl Entry {
    fn parse(text: &str) -> Result<Self, Failure> {
        let malformed = || Failure::RegistriesMalformed {
            entry: text.to_owned(),
        };
        let (scheme, name) = match text.split_once("://") {
            Some((scheme, name)) => (format!("{scheme}://"), name),
            None => (String::new(), text),
        };
        let server = |name: &str| format!("{scheme}{name}").parse::<Server>();
        match name.strip_prefix("*.") {
            Some(domain) => {
                let server = server(domain).map_err(|_| malformed())?;
                let end = format!(".{}", server.host());
                Ok(Self::Below(server, end))
            }
            None if name.contains('*') => Err(malformed()),
            None => server(name).map(Self::One).map_err(|_| malformed()),
        }
    }

    /// What the user wrote for `server`, if it is meant.
    fn names(&self, server: &Server) -> Option<&Server> {
        let (written, is_meant) = match self {
            Self::One(one) => (one, one.is_same_place(server)),
            Self::Below(domain, end) => (domain, server.is_below(domain, end)),
        };
        is_meant.then_some(written)
    }
}

// === impl Named ===

impl Named {
    /// All that is named, wherever.
    pub(crate) fn read() -> Result<Self, Failure> {
        let mut named = Self::default();
        if let Some(list) = environment::variable(REGISTRIES)? {
            named.add_list(&list)?;
        }
        for path in client_configs() {
            if let Some(text) = environment::text(&path)? {
                named
                    .add_config(&text)
                    .map_err(|()| Failure::ConfigMalformed {
                        place: path.display().to_string(),
                    })?;
            }
        }
        Ok(named)
    }

    fn add_list(&mut self, list: &str) -> Result<(), Failure> {
        for entry in list.split(',').map(str::trim).filter(|e| !e.is_empty()) {
            self.entries.push(Entry::parse(entry)?);
        }
        Ok(())
    }

    /// Docker takes keys as they are: no `*`.
    fn add_config(&mut self, text: &str) -> Result<(), ()> {
        let config: ClientConfig = serde_json::from_str(text).map_err(|_| ())?;
        let helpers = config.cred_helpers.unwrap_or_default();
        let own = helpers.into_iter().filter(|(_, helper)| helper == HELPER);
        let servers = own.filter_map(|(server, _)| server.parse().ok());
        self.entries.extend(servers.map(Entry::One));
        Ok(())
    }

    /// `server` if it is named, with the scheme that the user wrote for it where
    /// docker says none.
    pub(crate) fn admit(&self, server: Server) -> Result<Server, Failure> {
        let mut written = self.entries.iter().filter_map(|entry| entry.names(&server));
        let Some(first) = written.next() else {
            return Err(Failure::NotFound {
                hint: self.hint(&server),
            });
        };
        let scheme = first
            .scheme
            .or_else(|| written.find_map(|other| other.scheme));
        Ok(server.or_scheme(scheme))
    }

    /// That another store's registry is not named is how it should be; that none
    /// is, or one whose name is a region's registry, looks like an oversight.
    fn hint(&self, server: &Server) -> Option<Hint> {
        let is_likely = self.entries.is_empty() || server.region().is_some();
        is_likely.then(|| Hint(server.clone()))
    }

    /// Those that are named one by one, as docker names them.
    pub(crate) fn servers(&self) -> impl Iterator<Item = String> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::One(server) => Some(server.to_string()),
            Entry::Below(..) => None,
        })
    }
}

/// Where docker and podman, skopeo and buildah look for helpers.
fn client_configs() -> Vec<PathBuf> {
    let docker = environment::path("DOCKER_CONFIG").or_else(|| environment::at_home(".docker"));
    let runtime = environment::path("XDG_RUNTIME_DIR");
    let podman = match environment::path("REGISTRY_AUTH_FILE") {
        Some(file) => vec![file],
        None => [
            runtime.map(|folder| folder.join("containers/auth.json")),
            environment::at_home(".config/containers/auth.json"),
        ]
        .into_iter()
        .flatten()
        .collect(),
    };
    let docker = docker.map(|folder| folder.join("config.json"));
    docker.into_iter().chain(podman).collect()
}

#[cfg(test)]
mod tests {
    use super::Named;
    use crate::failure::Failure;
    use crate::server::{Scheme, Server};

    fn named(list: &str) -> Named {
        let mut named = Named::default();
        named.add_list(list).unwrap();
        named
    }

    /// Whether a server is named, and if not, whether there is a hint.
    fn admit(named: &Named, server: &str) -> Result<Server, bool> {
        match named.admit(server.parse().unwrap()) {
            Ok(server) => Ok(server),
            Err(Failure::NotFound { hint }) => Err(hint.is_some()),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn only_what_is_named_is_admitted() {
        let named = named("r.example, *.b.example:5000 ,127.0.0.1:5000");
        for server in [
            "r.example",
            "https://r.example/v2/",
            "x.b.example:5000",
            "127.0.0.1:5000",
        ] {
            assert!(admit(&named, server).is_ok(), "{server}");
        }
        for server in [
            "r.example:5000",
            "x.r.example",
            "b.example:5000",
            "x.b.example",
            "xb.example:5000",
            "r.example.evil.example",
            "index.docker.io",
        ] {
            assert_eq!(admit(&named, server), Err(false), "{server}");
        }
    }

    #[test]
    fn an_oversight_is_hinted_at() {
        assert_eq!(admit(&named(""), "index.docker.io"), Err(true));
        let region = "111122223333.dkr.ecr.eu-west-1.r.example";
        assert_eq!(admit(&named("r.example"), region), Err(true));
        assert!(admit(&named("*.r.example"), region).is_ok());
    }

    #[test]
    fn the_scheme_is_the_one_that_is_written() {
        let named = named("http://r.example:5000,https://localhost:5000");
        let scheme = |server| admit(&named, server).unwrap().scheme;
        assert_eq!(scheme("r.example:5000"), Some(Scheme::Http));
        assert_eq!(scheme("https://r.example:5000"), Some(Scheme::Https));
        assert_eq!(scheme("localhost:5000"), Some(Scheme::Https));
    }

    #[test]
    fn helpers_of_docker_are_read_and_others_passed_over() {
        let mut named = Named::default();
        named
            .add_config(
                r#"{"auths": {"a.example": {}}, "credsStore": "entrepot",
                    "credHelpers": {"r.example": "entrepot", "gcr.io": "gcloud"}}"#,
            )
            .unwrap();
        named.add_config(r#"{"credHelpers": null}"#).unwrap();
        named.add_config("{}").unwrap();
        assert_eq!(named.servers().collect::<Vec<_>>(), ["r.example"]);
        assert!(named.add_config("{").is_err());
    }

    #[test]
    fn nonsense_in_the_list_is_refused() {
        for list in ["a b", "r.*.example", "*", "ftp://a", "a:b"] {
            assert!(Named::default().add_list(list).is_err(), "{list}");
        }
    }
}
