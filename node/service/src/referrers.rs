//! The manifests that refer to another one: signatures, bills of materials and
//! whatever else was pushed with it as their subject.
//!
//! Every manifest has been in its subject's list since it was pushed, whether
//! that was there or not, so the list is the whole truth and needs no fallback
//! tag. The invariant: following `next` shows every referrer that was there all
//! the time exactly once, whatever comes and goes meanwhile.

use std::collections::HashSet;

use entrepot_metadata::query::{self, ManifestEntry};
use entrepot_metadata::{KeyValue, StorageError};
use entrepot_oci::{Descriptor, Digest, MANIFEST_BYTES_MAX, Manifest, RepositoryName};

use crate::{Caller, ClassFilter, Registry, ServiceError, Target};

/// The most referrers in one page.
const PAGE_MAX: usize = 1_000;
/// Bytes of the manifests of one page, which are read for their annotations. A
/// descriptor is no longer than its manifest, so that the page is itself about
/// as large as a manifest may be, which clients count on. The first is taken
/// whatever its size.
const PAGE_BYTES_MAX: u64 = MANIFEST_BYTES_MAX as u64;
/// Referrers looked at for one page; a filter may take few of them.
const LOOKED_AT_MAX: usize = 10_000;
/// Referrers read from the metadata at a time.
const SCAN_PAGE: usize = 256;

/// A page of the manifests that refer to one, in order of digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferrerPage {
    pub referrers: Vec<Descriptor>,
    /// Those of them that are in the archive.
    pub archived: HashSet<Digest>,
    /// Where the next page starts: after this digest. None: that was the last.
    pub next: Option<Digest>,
}

impl Registry {
    /// The same as [`referrers_in`](Self::referrers_in), of those that can be pulled.
    pub async fn list_referrers(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        subject: &Digest,
        types: &[String],
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<ReferrerPage, ServiceError> {
        let wanted = Wanted {
            types,
            class: ClassFilter::Standard,
        };
        self.referrers_in(who, repository, subject, wanted, after, limit)
            .await
    }

    /// At most `limit` manifests with `subject` as their subject, after the
    /// digest `after`. A subject, or a repository, that does not exist has no
    /// referrers (OCI distribution, "Listing Referrers": never a 404).
    pub async fn referrers_in(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        subject: &Digest,
        wanted: Wanted<'_>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<ReferrerPage, ServiceError> {
        self.authorize(who, "ecr:BatchGetImage", Target::Repository(repository))?;
        let view = self.current().await?;
        let list = List {
            view: view.as_ref(),
            who,
            repository,
            subject,
        };
        let (entries, next) = list.page(wanted, after, limit.min(PAGE_MAX))?;
        let mut referrers = Vec::with_capacity(entries.len());
        let mut archived = HashSet::new();
        for entry in entries {
            if entry.archived_at_ms.is_some() {
                archived.insert(entry.digest);
            }
            referrers.extend(list.descriptor(entry)?);
        }
        Ok(ReferrerPage {
            referrers,
            archived,
            next,
        })
    }
}

/// Which of the referrers.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// With one of these artifact types; none: all.
    pub types: &'a [String],
    pub class: ClassFilter,
}

/// The referrers of one manifest.
#[derive(Clone, Copy)]
struct List<'a> {
    view: &'a dyn KeyValue,
    who: &'a Caller,
    repository: &'a RepositoryName,
    subject: &'a Digest,
}

// === impl List ===

impl List<'_> {
    /// What belongs on the page, and where the next one starts.
    fn page(
        self,
        wanted: Wanted<'_>,
        after: Option<&Digest>,
        limit: usize,
    ) -> Result<(Vec<ManifestEntry>, Option<Digest>), StorageError> {
        let (mut page, mut bytes, mut looked_at) = (Vec::new(), 0_u64, 0);
        let mut last = after.copied();
        if limit == 0 {
            return Ok((page, None));
        }
        loop {
            let found = self.scan(last.as_ref())?;
            let exhausted = found.len() < SCAN_PAGE;
            for entry in found {
                let wanted = wanted.takes(&entry);
                let full = page.len() == limit
                    || wanted && !page.is_empty() && bytes + entry.content_len > PAGE_BYTES_MAX;
                if full || looked_at == LOOKED_AT_MAX {
                    return Ok((page, last));
                }
                last = Some(entry.digest);
                looked_at += 1;
                if wanted {
                    bytes += entry.content_len;
                    page.push(entry);
                }
            }
            if exhausted {
                return Ok((page, None));
            }
        }
    }

    fn scan(self, after: Option<&Digest>) -> Result<Vec<ManifestEntry>, StorageError> {
        query::referrers(
            self.view,
            &self.who.account,
            self.repository,
            self.subject,
            after,
            SCAN_PAGE,
        )
    }

    /// None: it was deleted in between.
    fn descriptor(self, entry: ManifestEntry) -> Result<Option<Descriptor>, ServiceError> {
        let account = &self.who.account;
        let found = query::manifest(self.view, account, self.repository, &entry.digest)?;
        let Some(manifest) = found else {
            return Ok(None);
        };
        let annotations = Manifest::annotations_of(&manifest.content)
            .map_err(|error| ServiceError::internal(&error))?;
        Ok(Some(Descriptor {
            media_type: entry.media_type,
            digest: entry.digest,
            size: entry.content_len,
            artifact_type: entry.artifact_type,
            annotations,
        }))
    }
}

// === impl Wanted ===

impl Wanted<'_> {
    fn takes(self, entry: &ManifestEntry) -> bool {
        let has = |artifact_type: &str| self.types.iter().any(|wanted| wanted == artifact_type);
        let is_typed = || {
            entry
                .artifact_type
                .as_ref()
                .is_some_and(|t| has(t.as_str()))
        };
        self.class.shows(entry.archived_at_ms.is_some()) && (self.types.is_empty() || is_typed())
    }
}
