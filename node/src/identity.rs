//! Which node a data folder belongs to. A Raft log under another node's number
//! would vote twice in one term, and blobs and metadata of another region or
//! cluster would be served as if they were this one's.
//!
//! The first start writes the file `identity`, before there is a log; every
//! later start compares it with the configuration before it opens a port. The
//! file also gives the folder an id of its own, which the cluster remembers: a
//! node whose folder was lost is not taken back under its number, since it has
//! forgotten how it voted. What this cannot tell is a folder that was copied and
//! is used under the number that it had: both copies are right.

use std::path::Path;

use anyhow::{Context, ensure};
use entrepot_metadata::limits::FOLDER_ID_BYTES;
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::config::Config;
use crate::files;

/// In the data folder.
const FILE: &str = "identity";
const VERSION: u32 = 2;
/// Without an id of the folder, and with all nodes and their regions.
const VERSION_BEFORE: u32 = 1;
const HEADER: &str =
    "# What this folder belongs to. Written by the first start, compared by every other.\n";
const FINGERPRINT_CONTEXT: &str = "entrepot 2026 fingerprint of the cluster secret";
const FINGERPRINT_CHARS: usize = 32;

/// What stays the same for as long as a data folder is used.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    version: u32,
    node: u64,
    region: String,
    /// Stands for the cluster's secret and does not tell it.
    cluster: String,
    /// Id of the folder, in hexadecimal digits; none in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    /// Of version 1: they change now, and are not compared any more.
    #[serde(default, skip_serializing)]
    nodes: Vec<String>,
}

/// What a start knows of its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// Its id.
    pub(crate) folder: [u8; FOLDER_ID_BYTES],
}

/// What every version of the file has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

// === impl Identity ===

impl Identity {
    pub(crate) fn of(config: &Config) -> Self {
        let key = blake3::derive_key(FINGERPRINT_CONTEXT, config.secret.as_bytes());
        let mut cluster = blake3::Hash::from_bytes(key).to_hex().to_string();
        cluster.truncate(FINGERPRINT_CHARS);
        Self {
            version: VERSION,
            node: config.node,
            region: config.region.to_string(),
            cluster,
            // Who has the folder has its key, so the key says which it is.
            folder: config.trust.as_ref().map(|trust| hex(trust.id())),
            nodes: Vec::new(),
        }
    }

    /// Refuses a folder that belongs to another node. One that belongs to
    /// nobody yet is left as it is.
    pub(crate) fn check(&self, data: &Path) -> anyhow::Result<()> {
        self.kept(data).map(drop)
    }

    /// The same, and makes a folder that belongs to nobody this node's. One
    /// from before there was such a file is taken as it is.
    pub(crate) fn claim(&self, data: &Path) -> anyhow::Result<Claimed> {
        let kept = self.kept(data)?;
        if let Some(folder) = kept.as_ref().and_then(|kept| kept.folder.as_deref()) {
            let folder = u128::from_str_radix(folder, 16)
                .with_context(|| format!("{} is damaged", data.join(FILE).display()))?;
            return Ok(Claimed {
                folder: folder.to_be_bytes(),
            });
        }
        if kept.is_none() && data.join("consensus").try_exists()? {
            info!(node = self.node, data = %data.display(), "the data folder is taken for this node's");
        }
        let folder = if let Some(folder) = &self.folder {
            u128::from_str_radix(folder, 16)?.to_be_bytes()
        } else {
            let mut folder = [0; FOLDER_ID_BYTES];
            getrandom::fill(&mut folder).context("no random id for the data folder")?;
            folder
        };
        let identity = Self {
            folder: Some(hex(folder)),
            region: self.region.clone(),
            cluster: self.cluster.clone(),
            nodes: Vec::new(),
            ..*self
        };
        let text = toml::to_string(&identity).context("cannot write down the node's identity")?;
        files::write(&data.join(FILE), &format!("{HEADER}{text}"))?;
        Ok(Claimed { folder })
    }

    /// What the file says, if the folder is this node's; none if it is nobody's.
    fn kept(&self, data: &Path) -> anyhow::Result<Option<Self>> {
        let path = data.join(FILE);
        let Some(text) = files::read(&path)? else {
            return Ok(None);
        };
        let damaged = || format!("{} is damaged", path.display());
        let Versioned { version } = toml::from_str(&text).with_context(damaged)?;
        ensure!(
            (VERSION_BEFORE..=VERSION).contains(&version),
            "{} has format {version}, and this version of entrepot-node knows {VERSION}",
            path.display()
        );
        let kept: Self = toml::from_str(&text).with_context(damaged)?;
        kept.expect(self, data)?;
        Ok(Some(kept))
    }

    /// One line for what differs: both values, and what to do.
    fn expect(&self, configured: &Self, data: &Path) -> anyhow::Result<()> {
        let data = data.display();
        ensure!(
            self.cluster == configured.cluster,
            "the data folder {data} belongs to a cluster whose secret has the fingerprint {}, and \
             the secret of this configuration, or of the certificates in its folder `trust`, has \
             {}: give it what it was made with, or another data folder",
            self.cluster,
            configured.cluster
        );
        ensure!(
            self.node == configured.node,
            "the data folder {data} belongs to node {}, and the configuration is of node {}: give \
             each node its own folder",
            self.node,
            configured.node
        );
        ensure!(
            self.region == configured.region,
            "the data folder {data} belongs to a node of region {}, and the configuration says \
             region {}: a node cannot change its region, give it the folder that is its own",
            self.region,
            configured.region
        );
        Ok(())
    }
}

fn hex(folder: [u8; FOLDER_ID_BYTES]) -> String {
    format!("{:032x}", u128::from_be_bytes(folder))
}

#[cfg(test)]
mod tests {
    use entrepot_proto::peers::ClusterSecret;

    use super::*;
    use crate::node::tests::alone;

    /// A configuration and its folder, which was claimed by a first start.
    fn started() -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().unwrap();
        let config = alone(folder.path());
        std::fs::create_dir(&config.data).unwrap();
        Identity::of(&config).claim(&config.data).unwrap();
        (folder, config)
    }

    fn refusal(config: &Config) -> String {
        let identity = Identity::of(config);
        let refused = identity.check(&config.data).unwrap_err();
        let said = format!("{refused:#}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(&config.data.display().to_string()), "{said}");
        assert_eq!(
            format!("{:#}", identity.claim(&config.data).unwrap_err()),
            said
        );
        said
    }

    #[test]
    fn a_folder_is_its_nodes_again() {
        let (_folder, mut config) = started();
        // Addresses may change.
        config.peers[0].address = "10.0.0.1:6000".to_owned();
        let identity = Identity::of(&config);
        identity.check(&config.data).unwrap();
        let again = identity.claim(&config.data).unwrap();
        assert_eq!(identity.claim(&config.data).unwrap(), again);
    }

    #[test]
    fn a_folder_of_the_format_before_gets_an_id() {
        let (folder, mut config) = started();
        let kept = files::read(&config.data.join(FILE)).unwrap().unwrap();
        let before = kept.replacen("version = 2", "version = 1", 1);
        let without = before.lines().filter(|line| !line.starts_with("folder"));
        let before = without.collect::<Vec<_>>().join("\n") + "\nnodes = [\"1 in us-east-1\"]\n";
        config.data = folder.path().join("before");
        std::fs::create_dir(&config.data).unwrap();
        std::fs::write(config.data.join(FILE), before).unwrap();
        let identity = Identity::of(&config);
        let claimed = identity.claim(&config.data).unwrap();
        assert_ne!(claimed.folder, [0; 16]);
        assert_eq!(identity.claim(&config.data).unwrap(), claimed);
        let text = files::read(&config.data.join(FILE)).unwrap().unwrap();
        assert!(text.contains("version = 2"), "{text}");
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        let (_folder, config) = started();

        let mut other = config.clone();
        other.node = 2;
        other.peers[0].id = 2;
        let said = refusal(&other);
        assert!(said.contains("node 1") && said.contains("node 2"), "{said}");

        let mut other = config.clone();
        other.region = "eu-west-1".parse().unwrap();
        let said = refusal(&other);
        assert!(
            said.contains("us-east-1") && said.contains("eu-west-1"),
            "{said}"
        );

        let mut other = config.clone();
        other.secret = ClusterSecret::new("another-secret-of-thirty-two-chars").unwrap();
        let said = refusal(&other);
        let (one, two) = (Identity::of(&config), Identity::of(&other));
        assert!(
            said.contains(&one.cluster) && said.contains(&two.cluster),
            "{said}"
        );
    }

    #[test]
    fn the_secret_is_not_in_the_file() {
        let (_folder, config) = started();
        let text = files::read(&config.data.join(FILE)).unwrap().unwrap();
        let secret = std::str::from_utf8(config.secret.as_bytes()).unwrap();
        assert!(
            !text.contains(secret) && !text.contains(&secret[..8]),
            "{text}"
        );
    }

    #[test]
    fn a_file_that_is_not_understood_is_refused() {
        let (_folder, config) = started();
        let path = config.data.join(FILE);
        let identity = Identity::of(&config);
        for (text, says) in [
            ("", "damaged"),
            ("version = 1\nnode = 1\n", "damaged"),
            ("version = 3\nshape = \"round\"\n", "format 3"),
        ] {
            std::fs::write(&path, text).unwrap();
            let said = format!("{:#}", identity.claim(&config.data).unwrap_err());
            assert!(said.contains(says), "{said}");
        }
    }

    #[test]
    fn a_check_claims_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let config = alone(folder.path());
        Identity::of(&config).check(&config.data).unwrap();
        assert!(!config.data.exists());
    }
}
