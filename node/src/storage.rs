//! Where a node keeps what is large, or must not be lost: on its disk, or in the
//! memory of a simulation. A simulated node has a data folder all the same, for
//! its identity and the list of the cluster's nodes.

use std::io;
use std::sync::Arc;

use entrepot_blobs::{BlobStore, FileStore, Note};
use entrepot_consensus::files::Files;
use entrepot_consensus::{Compaction, ConsensusConfig, MemoryIndex};

use crate::config::Config;
use crate::disk::Disk;
use crate::metrics::Metrics;

/// What a simulated machine says that its disk has, and has left.
const SIMULATED_DISK_BYTES: (u64, u64) = (1 << 40, 1 << 39);

/// Blobs, and the log, the snapshots and the state of groups.
#[derive(Debug, Clone)]
pub enum Storage {
    /// In the data folder.
    Disk,
    /// In memory, for a simulation.
    Memory(MemoryStorage),
}

/// What a simulated machine keeps between two starts of its node.
#[derive(Debug, Clone)]
pub struct MemoryStorage {
    pub blobs: Arc<dyn BlobStore>,
    /// Of the log and the snapshots.
    pub files: Arc<dyn Files>,
    pub index: MemoryIndex,
    pub compaction: Compaction,
    /// Of the root password, and cheaper than a real one.
    pub root_hash: Option<String>,
}

// === impl Storage ===

impl Storage {
    /// Whether there is a Raft log.
    pub(crate) fn has_log(&self, config: &Config) -> io::Result<bool> {
        let log = config.data.join("consensus/log");
        match self {
            Self::Disk => log.try_exists(),
            Self::Memory(memory) => Ok(memory.files.is_dir(&log)),
        }
    }

    pub(crate) async fn blobs(
        &self,
        config: &Config,
        metrics: &mut Metrics,
    ) -> anyhow::Result<Arc<dyn BlobStore>> {
        match self {
            Self::Disk => {
                let reserve = self.disk(config).reserve_bytes();
                let folder = config.data.join("blobs");
                let files = FileStore::open_reserving(&folder, reserve).await?;
                files.metrics().register(metrics.registry());
                Ok(Arc::new(files))
            }
            Self::Memory(memory) => Ok(Arc::clone(&memory.blobs)),
        }
    }

    /// What groups are to be kept in.
    pub(crate) fn consensus(&self, config: ConsensusConfig) -> ConsensusConfig {
        match self {
            Self::Disk => config,
            Self::Memory(memory) => ConsensusConfig {
                files: Arc::clone(&memory.files),
                index: Some(memory.index.clone()),
                compaction: memory.compaction,
                ..config
            },
        }
    }

    /// Where scrubbing notes how far it is; nowhere: it begins again.
    pub(crate) fn note(&self, config: &Config) -> Option<Note> {
        match self {
            Self::Disk => Some(Note::new(&config.data.join("scrub"))),
            Self::Memory(_) => None,
        }
    }

    pub(crate) fn disk(&self, config: &Config) -> Disk {
        match self {
            Self::Disk => Disk::new(config.data.clone(), config.care.reserve_bytes),
            Self::Memory(_) => Disk::of_size(SIMULATED_DISK_BYTES),
        }
    }

    /// The hash of the root password, where it was made elsewhere.
    pub(crate) fn root_hash(&self) -> Option<String> {
        match self {
            Self::Disk => None,
            Self::Memory(memory) => memory.root_hash.clone(),
        }
    }
}
