//! The nodes of the cluster, as they are known at one moment.

use entrepot_oci::RegionName;

use super::PeerInfo;

/// What a node is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// New copies may be placed on it: it is neither joining nor draining.
    pub takes_copies: bool,
    /// What it has for blobs, bytes; 0: not known.
    pub capacity_bytes: u64,
}

/// A node and what it is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPeer {
    pub info: PeerInfo,
    pub standing: Standing,
}

/// The nodes by their ids. It never changes: there is a new one instead.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PeerList {
    known: Vec<KnownPeer>,
}

// === impl Standing ===

impl Default for Standing {
    fn default() -> Self {
        Self {
            takes_copies: true,
            capacity_bytes: 0,
        }
    }
}

// === impl KnownPeer ===

impl From<PeerInfo> for KnownPeer {
    fn from(info: PeerInfo) -> Self {
        Self {
            info,
            standing: Standing::default(),
        }
    }
}

// === impl PeerList ===

impl PeerList {
    /// Of two with one id, the first stays.
    pub(super) fn new(mut known: Vec<KnownPeer>) -> Self {
        known.sort_by_key(|peer| peer.info.id);
        known.dedup_by_key(|peer| peer.info.id);
        Self { known }
    }

    /// In order of id.
    pub fn iter(&self) -> impl Iterator<Item = &PeerInfo> {
        self.known.iter().map(|peer| &peer.info)
    }

    /// With what they are good for, in order of id.
    pub fn known(&self) -> &[KnownPeer] {
        &self.known
    }

    pub fn find(&self, id: u64) -> Option<&KnownPeer> {
        let place = self.known.binary_search_by_key(&id, |peer| peer.info.id);
        self.known.get(place.ok()?)
    }

    pub fn get(&self, id: u64) -> Option<&PeerInfo> {
        self.find(id).map(|peer| &peer.info)
    }

    /// The nodes of a region.
    pub fn in_region<'a>(&'a self, region: &'a RegionName) -> impl Iterator<Item = &'a KnownPeer> {
        self.known
            .iter()
            .filter(move |peer| peer.info.region == *region)
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}
