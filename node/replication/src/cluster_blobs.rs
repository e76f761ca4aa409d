//! The blobs of a region as one store: this node's own files, and everybody
//! else's over the network.

use std::sync::Arc;

use entrepot_blobs::BlobStore;
use entrepot_oci::{Digest, RegionName};
use entrepot_proto::peers::Peers;

use crate::health::Health;
use crate::placement;

/// What reading and writing copies needs to know.
#[derive(Debug)]
pub struct ClusterBlobs {
    /// This node's own files.
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) health: Arc<Health>,
    /// Copies of each blob to keep in the region.
    copies: usize,
}

// === impl ClusterBlobs ===

impl ClusterBlobs {
    /// `copies`: how many nodes of the region shall hold each blob.
    pub fn new(
        store: Arc<dyn BlobStore>,
        peers: Arc<Peers>,
        health: Arc<Health>,
        copies: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            peers,
            health,
            copies,
        })
    }

    pub fn store(&self) -> &Arc<dyn BlobStore> {
        &self.store
    }

    pub fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }

    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    pub(crate) fn own(&self) -> u64 {
        self.peers.own().id
    }

    pub(crate) fn region(&self) -> &RegionName {
        &self.peers.own().region
    }

    /// R: the copies to keep, or one on every node when there are fewer nodes.
    pub(crate) fn copies(&self) -> usize {
        self.copies
            .min(self.peers.in_region(self.region()).count())
            .max(1)
    }

    /// The durable copies that an acknowledgement needs.
    pub(crate) fn copies_needed(&self) -> usize {
        placement::majority(self.copies())
    }

    /// The nodes that are to hold `digest`, first choice first.
    pub(crate) fn placement(&self, digest: &Digest) -> Vec<u64> {
        let mut nodes = self.ranked(digest.to_string().as_bytes());
        nodes.truncate(self.copies());
        nodes
    }

    /// The region's nodes in the order of their rank for `key`.
    pub(crate) fn ranked(&self, key: &[u8]) -> Vec<u64> {
        placement::ranked(key, self.peers.in_region(self.region()).map(|peer| peer.id))
    }

    /// The other nodes of the region: those of `preferred` first, then in the
    /// order of rank; within that, those that answer before those that do not.
    pub(crate) fn others(&self, key: &[u8], preferred: &[u64]) -> Vec<u64> {
        let mut nodes: Vec<u64> = self
            .ranked(key)
            .into_iter()
            .filter(|node| *node != self.own())
            .collect();
        nodes.sort_by_key(|node| (!self.health.is_alive(*node), !preferred.contains(node)));
        nodes
    }
}
