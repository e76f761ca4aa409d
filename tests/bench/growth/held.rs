//! What a node takes of the disk and of memory.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context, Result};
use entrepot_harness::Cluster;

/// What `st_blocks` counts in. (stat(2))
const DISK_BLOCK_BYTES: u64 = 512;

/// Of node 1, at one moment, bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    /// The applied state.
    pub(crate) index: u64,
    /// The Raft log: bounded, since a snapshot cuts it.
    pub(crate) log: u64,
    pub(crate) snapshots: u64,
    /// Files of blobs.
    pub(crate) blobs: u64,
    /// Memory that the kernel cannot take back.
    pub(crate) anonymous: u64,
}

// === impl Held ===

impl Held {
    pub(crate) fn of(cluster: &Cluster) -> Result<Self> {
        let node = cluster.node(1)?;
        let data = node.data();
        let consensus = data.join("consensus");
        Ok(Self {
            index: disk_bytes(&consensus.join("index"))?,
            log: disk_bytes(&consensus.join("log"))?,
            snapshots: disk_bytes(&consensus.join("snapshots"))?,
            blobs: disk_bytes(&data.join("blobs"))?,
            anonymous: node.usage()?.anonymous_bytes,
        })
    }

    pub(crate) fn disk(&self) -> u64 {
        self.index + self.log + self.snapshots + self.blobs
    }
}

/// The most memory that node 1 ever held, mapped files too.
pub(crate) fn peak_bytes(cluster: &Cluster) -> Result<u64> {
    Ok(cluster.node(1)?.usage()?.peak_rss_bytes)
}

/// What the files below `folder` take, as `du` counts.
fn disk_bytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Removed between the listing and the look, as snapshots are.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error).with_context(|| format!("list {}", folder.display())),
    };
    for entry in entries {
        let entry = entry.context("list a folder")?;
        sum += match entry.metadata() {
            Ok(found) if found.is_dir() => disk_bytes(&entry.path())?,
            Ok(found) => found.blocks() * DISK_BLOCK_BYTES,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error).context("look at a file"),
        };
    }
    Ok(sum)
}
