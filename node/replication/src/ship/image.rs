//! What an image is made of: found in the source's metadata, and put into the
//! order in which a destination may take it.
//!
//! Invariant: each manifest stands behind all that it names.

use std::collections::{BTreeMap, BTreeSet};

use entrepot_metadata::KeyValue;
use entrepot_metadata::limits::IMAGE_MANIFESTS_MAX;
use entrepot_metadata::query::{self, ManifestEntry, Task};
use entrepot_oci::Digest;

use crate::error::ReplicationError;

/// An image as its task found it at the source.
#[derive(Debug)]
pub(super) struct Image {
    /// Leaves first, the task's own manifest last.
    pub(super) manifests: Vec<Digest>,
    /// The same.
    found: BTreeSet<Digest>,
    pub(super) blobs: Vec<Digest>,
}

// === impl Image ===

impl Image {
    /// What `manifest`, which is one of these, was taken without here and was
    /// not found since.
    pub(super) fn absent(&self, manifest: &ManifestEntry) -> Vec<String> {
        let absent = manifest.absent.iter();
        let absent = absent.filter(|child| !self.found.contains(child));
        absent.map(ToString::to_string).collect()
    }
}

/// The task's manifest and all it names; none if it is gone.
pub(super) fn collect(view: &dyn KeyValue, task: &Task) -> Result<Option<Image>, ReplicationError> {
    let (account, repository) = (&task.key.account, &task.key.repository);
    let mut manifests = Vec::new();
    let mut found = BTreeSet::from([task.key.digest]);
    let mut queue = vec![task.key.digest];
    let mut blobs = BTreeSet::new();
    while let Some(digest) = queue.pop() {
        let Some(manifest) = query::manifest_entry(view, account, repository, &digest)? else {
            return Ok(None);
        };
        let mut children = Vec::with_capacity(manifest.children.len());
        for child in manifest.children {
            // One that may be missing is no sign of a deletion.
            let may_be_absent = manifest.absent.contains(&child);
            if may_be_absent && query::manifest_entry(view, account, repository, &child)?.is_none()
            {
                continue;
            }
            if found.insert(child) {
                queue.push(child);
            }
            children.push(child);
        }
        blobs.extend(manifest.blobs);
        manifests.push((digest, children));
        // A push is held to it too, but not what was pushed before that was so.
        if manifests.len() > IMAGE_MANIFESTS_MAX {
            return Err(ReplicationError::Refused(format!(
                "the image has more than {IMAGE_MANIFESTS_MAX} manifests"
            )));
        }
    }
    Ok(Some(Image {
        manifests: leaves_first(manifests)?,
        found,
        blobs: blobs.into_iter().collect(),
    }))
}

/// Orders manifests, each with its children, which are among them, so that each
/// stands behind all that it names.
fn leaves_first(manifests: Vec<(Digest, Vec<Digest>)>) -> Result<Vec<Digest>, ReplicationError> {
    let count = manifests.len();
    let mut parents: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
    let mut waits_for = BTreeMap::new();
    let mut ordered = Vec::with_capacity(count);
    for (digest, children) in manifests {
        if children.is_empty() {
            ordered.push(digest);
        }
        waits_for.insert(digest, children.len());
        for child in children {
            parents.entry(child).or_default().push(digest);
        }
    }
    let mut next = 0;
    while let Some(digest) = ordered.get(next) {
        next += 1;
        for parent in parents.remove(digest).unwrap_or_default() {
            if let Some(left) = waits_for.get_mut(&parent) {
                *left -= 1;
                if *left == 0 {
                    ordered.push(parent);
                }
            }
        }
    }
    if ordered.len() < count {
        // No digest can name itself through others: the state is damaged.
        return Err(ReplicationError::Refused(
            "the image's manifests name each other in a circle".to_owned(),
        ));
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use entrepot_oci::Algorithm;

    use super::*;

    fn digest(number: usize) -> Digest {
        Digest::of(Algorithm::Sha256, &number.to_be_bytes())
    }

    /// Each of `names[n]` before `n`.
    fn order(names: &[&[usize]]) -> Result<Vec<Digest>, ReplicationError> {
        let manifests = names.iter().enumerate().map(|(number, children)| {
            let children = children.iter().copied().map(digest).collect();
            (digest(number), children)
        });
        leaves_first(manifests.collect())
    }

    #[test]
    fn a_manifest_comes_after_all_that_it_names() {
        let names: [&[usize]; 5] = [&[1, 2, 4], &[3, 4], &[1], &[], &[3]];
        let ordered = order(&names).unwrap();
        let place = |number| ordered.iter().position(|it| *it == digest(number));
        assert_eq!(ordered.len(), names.len());
        for (parent, children) in names.iter().enumerate() {
            assert!(children.iter().all(|child| place(*child) < place(parent)));
        }
        assert_eq!(ordered.last(), Some(&digest(0)));
    }

    #[test]
    fn a_circle_is_refused_and_the_longest_chain_is_not_slow() {
        assert!(order(&[&[1], &[2], &[1]]).is_err());
        let chain: Vec<Vec<usize>> = (1..=IMAGE_MANIFESTS_MAX)
            .map(|next| {
                if next < IMAGE_MANIFESTS_MAX {
                    vec![next]
                } else {
                    Vec::new()
                }
            })
            .collect();
        let chain: Vec<&[usize]> = chain.iter().map(Vec::as_slice).collect();
        assert_eq!(order(&chain).unwrap().len(), IMAGE_MANIFESTS_MAX);
    }
}
