//! The file `members` of a data folder: the cluster's nodes as they were known
//! last. It is a hint that the records replace as soon as they can be read; a
//! node that is not in it was removed.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use entrepot_proto::peers::{KnownPeer, PeerInfo, Standing};
use serde::{Deserialize, Serialize};

use crate::files;

/// In the data folder.
const FILE: &str = "members";
const VERSION: u32 = 1;

/// Where the list is kept.
#[derive(Debug, Clone)]
pub(crate) struct MembersFile {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    /// BLAKE3 of the nodes as they are written here.
    checksum: String,
    nodes: Vec<Listed>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    node: u64,
    region: String,
    address: String,
    takes_copies: bool,
    capacity_bytes: u64,
}

// === impl MembersFile ===

impl MembersFile {
    pub(crate) fn new(data: impl AsRef<Path>) -> Self {
        Self {
            path: data.as_ref().join(FILE),
        }
    }

    /// None: there is none yet.
    pub(crate) fn read(&self) -> anyhow::Result<Option<Vec<KnownPeer>>> {
        let Some(text) = files::read(&self.path)? else {
            return Ok(None);
        };
        let path = self.path.display();
        let Versioned { version } =
            serde_json::from_str(&text).with_context(|| format!("{path} is damaged"))?;
        ensure!(
            version == VERSION,
            "{path} has format {version}, and this version of entrepot-node knows {VERSION}"
        );
        let kept: Kept =
            serde_json::from_str(&text).with_context(|| format!("{path} is damaged"))?;
        ensure!(
            kept.checksum == checksum(&kept.nodes)?,
            "{path} is damaged: its checksum does not match"
        );
        let known = kept.nodes.into_iter().map(Listed::into_known);
        let known = known.collect::<anyhow::Result<_>>();
        known
            .map(Some)
            .with_context(|| format!("{path} is damaged"))
    }

    /// It is durable when this returns.
    pub(crate) fn write(&self, known: &[KnownPeer]) -> anyhow::Result<()> {
        let nodes: Vec<Listed> = known.iter().map(Listed::of).collect();
        let kept = Kept {
            version: VERSION,
            checksum: checksum(&nodes)?,
            nodes,
        };
        let text = serde_json::to_string_pretty(&kept).context("the list cannot be written")?;
        files::write(&self.path, &(text + "\n"))
    }
}

fn checksum(nodes: &[Listed]) -> anyhow::Result<String> {
    let text = serde_json::to_string(nodes).context("the list cannot be written")?;
    Ok(blake3::hash(text.as_bytes()).to_hex().to_string())
}

// === impl Listed ===

impl Listed {
    fn of(known: &KnownPeer) -> Self {
        let KnownPeer { info, standing } = known;
        Self {
            node: info.id,
            region: info.region.to_string(),
            address: info.address.clone(),
            takes_copies: standing.takes_copies,
            capacity_bytes: standing.capacity_bytes,
        }
    }

    fn into_known(self) -> anyhow::Result<KnownPeer> {
        Ok(KnownPeer {
            info: PeerInfo {
                id: self.node,
                region: self.region.parse()?,
                address: self.address,
            },
            standing: Standing {
                takes_copies: self.takes_copies,
                capacity_bytes: self.capacity_bytes,
            },
        })
    }
}
