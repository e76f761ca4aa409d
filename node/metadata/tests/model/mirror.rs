//! What somebody knows who follows the changes and never looks at the state.

use std::collections::{BTreeMap, BTreeSet};

use entrepot_metadata::MemoryState;
use entrepot_metadata::query::{self, Change};

use crate::oracle::{Home, Oracle};

/// Every repository's manifests and tags, as the changes tell them.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    manifests: BTreeSet<(Home, String)>,
    tags: BTreeMap<(Home, String), String>,
}

// === impl Mirror ===

impl Mirror {
    /// Learns what the entry that was applied last has changed.
    pub(crate) fn follow(&mut self, state: &MemoryState, index: u64) {
        let entry = query::changes(state, index).unwrap().unwrap();
        for repository in entry.repositories {
            assert!(!repository.truncated);
            let home: Home = (
                repository.account.to_string(),
                repository.repository.to_string(),
            );
            for change in repository.changes {
                self.change(&home, change);
            }
        }
    }

    /// Nothing may be told twice, and nothing wrongly.
    fn change(&mut self, home: &Home, change: Change) {
        let at = |name: &dyn ToString| (home.clone(), name.to_string());
        match change {
            Change::ManifestPut { digest, .. } => assert!(self.manifests.insert(at(&digest))),
            Change::ManifestDeleted { digest } => assert!(self.manifests.remove(&at(&digest))),
            Change::TagMoved {
                tag,
                digest,
                previous,
                ..
            } => {
                assert!(self.manifests.contains(&at(&digest)));
                let before = self.tags.insert(at(&tag), digest.to_string());
                assert_eq!(before, previous.map(|it| it.to_string()));
                assert_ne!(before, Some(digest.to_string()));
            }
            Change::StorageClass { digest, .. } => {
                assert!(self.manifests.contains(&at(&digest)));
            }
            Change::TagDeleted { tag, previous } => {
                let before = self.tags.remove(&at(&tag));
                assert!(before.is_some());
                assert_eq!(before, previous.map(|it| it.to_string()));
            }
        }
    }

    pub(crate) fn compare(&self, oracle: &Oracle) {
        assert!(
            self.manifests
                .iter()
                .eq(oracle.manifests.keys().collect::<BTreeSet<_>>())
        );
        let tags = oracle.tags.iter().map(|(tag, (digest, _))| (tag, digest));
        assert!(self.tags.iter().eq(tags.collect::<BTreeMap<_, _>>()));
    }
}
