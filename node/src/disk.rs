//! How much room the disk of the data folder has.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use entrepot_proto::environment::Blocking;
use entrepot_replication::health::Health;
use entrepot_replication::space::Space;
use tracing::{info, warn};

const INTERVAL: Duration = Duration::from_secs(2);

/// The disk of one folder.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    folder: PathBuf,
    /// What it is said to have, without asking.
    said: Option<(u64, u64)>,
}

// === impl Disk ===

impl Disk {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, said: None }
    }

    /// A simulated one, which has that many bytes and that many left.
    pub(crate) fn of_size(said: (u64, u64)) -> Self {
        Self {
            folder: PathBuf::new(),
            said: Some(said),
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
                Some((capacity, free)) => space.then(capacity, free),
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
