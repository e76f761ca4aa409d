//! How much a backfill has to copy: images, and the bytes of all their blobs and
//! manifests, each once.
//!
//! The invariant: bounded memory, however large the registry; where that is not
//! enough to tell bytes apart, the count says that there are more.

use std::collections::HashSet;
use std::sync::Arc;

use entrepot_metadata::query::{self, BackfillCount, Cursor, Destination};
use entrepot_metadata::{KeyValue, StorageError};
use entrepot_oci::{AccountId, Digest, RepositoryName};

use crate::{Registry, ServiceError};

/// Images found before others may use the thread.
const PAGE: usize = 200;
/// Blobs and manifests that are told apart: some 100 MB of memory.
const DISTINCT_MAX: usize = 2_000_000;
/// Manifests of one image.
const MANIFESTS_MAX: usize = entrepot_metadata::limits::IMAGE_MANIFESTS_MAX;

/// A count under way.
struct Counting {
    account: AccountId,
    destination: Destination,
    rule: Option<String>,
    cursor: Option<Cursor>,
    count: BackfillCount,
    seen: HashSet<[u8; 16]>,
}

impl Registry {
    pub(super) async fn backfill_count(
        &self,
        account: &AccountId,
        destination: &Destination,
        rule: Option<&str>,
    ) -> Result<BackfillCount, ServiceError> {
        let turn = Arc::clone(&self.backfill_counts).acquire_owned().await;
        let _turn = turn.map_err(|error| ServiceError::internal(&error))?;
        let mut counting = Counting {
            account: account.clone(),
            destination: destination.clone(),
            rule: rule.map(str::to_owned),
            cursor: None,
            count: BackfillCount::default(),
            seen: HashSet::new(),
        };
        loop {
            let view = self.local()?;
            let page = self.blocking.run(move || {
                let more = counting.page(view.as_ref());
                (counting, more)
            });
            let (counted, more) = page.await.map_err(|error| ServiceError::internal(&error))?;
            if !more? {
                return Ok(counted.count);
            }
            counting = counted;
        }
    }
}

// === impl Counting ===

impl Counting {
    /// Whether there is more.
    fn page(&mut self, view: &dyn KeyValue) -> Result<bool, StorageError> {
        let rule = self.rule.as_deref();
        let rules = query::backfill_rules(view, &self.account, &self.destination, rule)?;
        let after = self.cursor.as_ref();
        let page = query::backfill_page(view, &self.account, &rules, after, PAGE)?;
        let mut last = None;
        for place in &page.places {
            self.count.images += 1;
            // Under its other tags it is the same.
            let this = (&place.repository, &place.digest);
            if last != Some(this) {
                self.image(view, &place.repository, &place.digest)?;
            }
            last = Some(this);
        }
        self.cursor = page.next;
        Ok(self.cursor.is_some())
    }

    /// With all that it names.
    fn image(
        &mut self,
        view: &dyn KeyValue,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), StorageError> {
        let mut queue = vec![*digest];
        let mut left = MANIFESTS_MAX;
        while let Some(digest) = queue.pop() {
            if left == 0 {
                self.count.is_at_least = true;
                return Ok(());
            }
            left -= 1;
            let found = query::manifest_entry(view, &self.account, repository, &digest)?;
            let Some(manifest) = found else { continue };
            if !self.is_new(&digest) {
                continue;
            }
            self.count.bytes += manifest.content_len;
            queue.extend(&manifest.children);
            for blob in &manifest.blobs {
                if self.is_new(blob) {
                    let size = query::blob(view, blob)?.map_or(0, |blob| blob.size);
                    self.count.bytes += size;
                }
            }
        }
        Ok(())
    }

    fn is_new(&mut self, digest: &Digest) -> bool {
        let bytes = digest.bytes();
        let Some(first) = bytes.first_chunk::<16>() else {
            return false;
        };
        if self.seen.contains(first) {
            return false;
        }
        if self.seen.len() >= DISTINCT_MAX {
            self.count.is_at_least = true;
            return false;
        }
        self.seen.insert(*first)
    }
}
