//! What was acknowledged to the clients, and so what both regions hold in the end.

use std::collections::{BTreeMap, BTreeSet};

use entrepot_harness::{Blob, Image};

use super::plan::{Act, takes};

/// Digests, and the tags of each.
pub(super) type Listing = BTreeMap<String, BTreeSet<String>>;

#[derive(Debug, Default, Clone)]
pub(super) struct Books {
    /// By repository: the source's.
    here: BTreeMap<String, Listing>,
    /// By repository: the destination's.
    there: BTreeMap<String, Listing>,
    /// Manifests with all that they name, by digest.
    images: BTreeMap<String, Image>,
    /// Everything that was to be copied, deleted or not, with its size.
    unique: BTreeMap<String, u64>,
    pushed: BTreeSet<String>,
}

// === impl Books ===

impl Books {
    /// `act` was acknowledged.
    pub(super) fn note(&mut self, repository: &str, act: &Act) {
        let here = self.here.entry(repository.to_owned()).or_default();
        change(here, act);
        let there = name_there(repository, act);
        if let Some(name) = &there {
            change(self.there.entry(name.clone()).or_default(), act);
        }
        if let Act::Push { image, .. } = act {
            self.pushed.insert(image.digest().to_owned());
            let known = (image.digest().to_owned(), image.clone());
            self.images.extend([known]);
            if there.is_some() {
                let all = image.blobs.iter().chain([&image.manifest]);
                let sizes = all.map(|it| (it.digest.clone(), it.content.len() as u64));
                self.unique.extend(sizes);
            }
        }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.here.extend(other.here);
        self.there.extend(other.there);
        self.images.extend(other.images);
        self.unique.extend(other.unique);
        self.pushed.extend(other.pushed);
    }

    pub(super) fn pushed(&self) -> usize {
        self.pushed.len()
    }

    /// Of everything that was to be copied.
    pub(super) fn unique_bytes(&self) -> u64 {
        self.unique.values().sum()
    }

    /// Each image that is there came by a task at least.
    pub(super) fn tasks_min(&self) -> usize {
        self.there.values().map(Listing::len).sum()
    }

    pub(super) fn here(&self) -> &BTreeMap<String, Listing> {
        &self.here
    }

    pub(super) fn there(&self) -> &BTreeMap<String, Listing> {
        &self.there
    }

    pub(super) fn manifest(&self, digest: &str) -> Option<&Blob> {
        self.images.get(digest).map(|image| &image.manifest)
    }

    pub(super) fn blobs(&self, digest: &str) -> &[Blob] {
        self.images.get(digest).map_or(&[], |image| &image.blobs)
    }
}

/// Where a rule brings what `act` does in `repository`.
fn name_there(repository: &str, act: &Act) -> Option<String> {
    if repository.starts_with("app/") {
        return Some(repository.to_owned());
    }
    let rest = repository.strip_prefix("pick/")?;
    let is_taken = match act {
        Act::Push { tag, .. } => tag.as_deref().is_some_and(takes),
        Act::Tag { tag, .. } => takes(tag),
        // That rule copies no deletions.
        Act::DeleteTag { .. } | Act::DeleteImage { .. } => false,
    };
    is_taken.then(|| format!("mirror/{rest}"))
}

fn change(listing: &mut Listing, act: &Act) {
    let (manifest, tag) = match act {
        Act::Push { image, tag } => (&image.manifest, tag.as_ref()),
        Act::Tag { manifest, tag } => (manifest, Some(tag)),
        Act::DeleteTag { tag } => return untag(listing, tag),
        Act::DeleteImage { digest } => {
            listing.remove(digest);
            return;
        }
    };
    if let Some(tag) = tag {
        untag(listing, tag);
    }
    let tags = listing.entry(manifest.digest.clone()).or_default();
    tags.extend(tag.cloned());
}

fn untag(listing: &mut Listing, tag: &str) {
    for tags in listing.values_mut() {
        tags.remove(tag);
    }
}
