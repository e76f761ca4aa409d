//! What may befall a cluster besides the end of its processes: links between
//! nodes that do not carry, disks whose power goes.

use anyhow::{Context, Result};

use super::Cluster;
use crate::disk::{self, Disk};
use crate::links::Links;
use crate::network::Network;

impl Cluster {
    /// Starts some nodes as after a reboot, with their index built anew, and
    /// waits until they serve.
    pub async fn start_rebuilt(&mut self, ids: &[u64]) -> Result<()> {
        for id in ids {
            self.node_mut(*id)?.rebuild_index_once();
        }
        self.start(ids).await
    }

    /// Cuts the power of some nodes' disks at once, ends the nodes, and gives
    /// them their disks back with what was on them.
    ///
    /// The nodes stand still before: a machine without power does nothing either,
    /// while a process that outlived its disk could still acknowledge. A sync that
    /// waits while ext4 is shut down may well be told that all is written.
    pub async fn cut_power(&mut self, ids: &[u64]) -> Result<()> {
        for id in ids {
            self.node(*id)?.freeze().await?;
        }
        let chosen = self.disks.iter().filter(|(id, _)| ids.contains(id));
        let chosen: Vec<&Disk> = chosen.map(|(_, disk)| disk).collect();
        disk::cut_power(&chosen).await?;
        for id in ids {
            self.kill9(*id)?;
        }
        for id in ids {
            let disk = self.disks.get_mut(id).context("a node without a disk")?;
            disk.unmount().await?;
            disk.mount().await?;
        }
        Ok(())
    }

    /// # Errors
    /// When the cluster was made without them.
    pub fn links(&self) -> Result<&Links> {
        self.links.as_ref().context("a cluster without links")
    }

    /// # Errors
    /// When the cluster was made without one.
    pub fn network(&self) -> Result<&Network> {
        self.network.as_ref().context("a cluster without a network")
    }

    pub(super) async fn add_disks(&mut self, bytes: u64) -> Result<()> {
        let folder = self.folder.as_ref().context("the folder is gone")?;
        for node in &self.nodes {
            let image = folder.path().join(format!("disk-{}", node.id()));
            let disk = Disk::create(image, node.data().to_owned(), bytes).await?;
            self.disks.insert(node.id(), disk);
        }
        Ok(())
    }
}
