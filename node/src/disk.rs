//! How much room the disk of the data folder has.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use entrepot_proto::environment::Blocking;
use entrepot_replication::health::Health;
use entrepot_replication::space::Space;
use tracing::{info, warn};

const INTERVAL: Duration = Duration::from_secs(2);
/// No more than this part of a disk is reserved.
const RESERVE_PART: u64 = 20;

/// The disk of one folder.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    folder: PathBuf,
    /// What it is said to have, without asking.
    said: Option<(u64, u64)>,
    /// What blobs must not take.
    reserve_bytes: u64,
}

// === impl Disk ===

impl Disk {
    /// `reserve_bytes` are not for blobs; of a small disk, a part of it.
    pub(crate) fn new(folder: PathBuf, reserve_bytes: u64) -> Self {
        let disk = Self {
            folder,
            said: None,
            reserve_bytes,
        };
        let capacity = disk.measure().map(|(capacity, _)| capacity);
        let most = capacity.map_or(u64::MAX, |capacity| capacity / RESERVE_PART);
        Self {
            reserve_bytes: reserve_bytes.min(most),
            ..disk
        }
    }

    /// What blobs must not take, so that there is room for the metadata.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }

    /// A simulated one, which has that many bytes and that many left.
    pub(crate) fn of_size(said: (u64, u64)) -> Self {
        Self {
            folder: PathBuf::new(),
            said: Some(said),
            reserve_bytes: 0,
        }
    }

    /// What it has, and what is left for this process; none when it cannot be
    /// told.
    pub(crate) fn measure(&self) -> Option<(u64, u64)> {
        if self.said.is_some() {
            return self.said;
        }
        let found = rustix::fs::statvfs(&self.folder).ok()?;
        Some((
            found.f_blocks.saturating_mul(found.f_frsize),
            found.f_bavail.saturating_mul(found.f_frsize),
        ))
    }

    /// Keeps `health` told of it until this is dropped.
    pub(crate) async fn watch(self, health: Arc<Health>, blocking: Blocking) {
        let own = health.own();
        let mut space = Space::default();
        loop {
            let disk = self.clone();
            let measured = blocking.run(move || disk.measure()).await;
            let now = match measured.ok().flatten() {
                Some((capacity, free)) => space.then(capacity, free, self.reserve_bytes),
                None => Space {
                    is_full: true,
                    ..space
                },
            };
            if now.is_full != space.is_full {
                let (free, capacity) = (now.free_bytes, now.capacity_bytes);
                if now.is_full {
                    warn!(
                        free,
                        capacity, "the disk is full: this node takes no new copies"
                    );
                } else {
                    info!(free, capacity, "the disk has room again");
                }
            }
            space = now;
            health.set_space(own, space);
            tokio::time::sleep(INTERVAL).await;
        }
    }
}
