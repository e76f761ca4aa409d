//! Holds disks against records, and records against each other, for operators.
//!
//! Each request is one page, so that whoever asks sees how far it is, sets the pace
//! and stops when they like. What seems to be wrong among the records is looked at
//! again against the newest state, and only counts if it is still so. The invariant:
//! nothing about a record is changed here; one that is wrong is only told of.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::KeyValue;
use entrepot_metadata::query::{self, PlaceOf};
use entrepot_oci::Digest;
use entrepot_proto::peer::{CheckReply, CheckRequest};

use crate::{Caller, Registry, ServiceError};

/// Manifests of one page: each may name thousands of blobs.
const MANIFESTS_PAGE: usize = 100;
/// Links, and blobs, of one page.
const PAGE: usize = 1_000;
/// From the first look to the second.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(2);

/// What can be wrong with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordFault {
    /// A link to a blob that has no record.
    LinkWithoutBlob,
    /// A manifest that names a blob which its repository does not have.
    ManifestWithoutLink,
    /// A blob that no repository has and that is not on its way out.
    BlobWithoutLink,
    /// A link that nothing needs and that is not on its way out.
    LinkForgotten,
}

/// What is wrong with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordFinding {
    pub fault: RecordFault,
    /// The blob.
    pub digest: Digest,
    /// Of the blob; 0: it has no record.
    pub bytes: u64,
    /// None: it is about no repository.
    pub place: Option<PlaceOf>,
    /// That names the blob.
    pub manifest: Option<Digest>,
}

/// A page of a look at the region's records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordsPage {
    pub manifests: u64,
    pub links: u64,
    pub blobs: u64,
    pub findings: Vec<RecordFinding>,
    /// None: that was the last page.
    pub next: Option<RecordsCursor>,
}

/// Where a page begins: behind what is named, or at the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordsCursor {
    Manifests(Option<PlaceOf>),
    Links(Option<PlaceOf>),
    Blobs(Option<Digest>),
}

// === impl RecordsCursor ===

impl fmt::Display for RecordsCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, place) = match self {
            Self::Manifests(place) => ("manifests", place),
            Self::Links(place) => ("links", place),
            Self::Blobs(None) => return f.write_str("blobs"),
            Self::Blobs(Some(digest)) => return write!(f, "blobs {digest}"),
        };
        match place {
            None => f.write_str(kind),
            Some(it) => write!(f, "{kind} {} {} {}", it.account, it.repository, it.digest),
        }
    }
}

impl FromStr for RecordsCursor {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ServiceError::Invalid("that is not a page's `next`".to_owned());
        let words: Vec<&str> = text.split(' ').collect();
        let place = |account: &str, repository: &str, digest: &str| {
            Ok::<_, ServiceError>(Some(PlaceOf {
                account: account.parse().map_err(|_| wrong())?,
                repository: repository.parse().map_err(|_| wrong())?,
                digest: digest.parse().map_err(|_| wrong())?,
            }))
        };
        Ok(match words.as_slice() {
            ["manifests"] => Self::Manifests(None),
            ["manifests", account, repository, digest] => {
                Self::Manifests(place(account, repository, digest)?)
            }
            ["links"] => Self::Links(None),
            ["links", account, repository, digest] => {
                Self::Links(place(account, repository, digest)?)
            }
            ["blobs"] => Self::Blobs(None),
            ["blobs", digest] => Self::Blobs(Some(digest.parse().map_err(|_| wrong())?)),
            _ => return Err(wrong()),
        })
    }
}

// === impl RecordsPage ===

impl RecordsPage {
    fn read(view: &dyn KeyValue, after: RecordsCursor) -> Result<Self, ServiceError> {
        let mut page = Self::default();
        page.next = match after {
            RecordsCursor::Manifests(after) => Some(page.manifests(view, after.as_ref())?),
            RecordsCursor::Links(after) => Some(page.links(view, after.as_ref())?),
            RecordsCursor::Blobs(after) => page.blobs(view, after.as_ref())?,
        };
        Ok(page)
    }

    fn manifests(
        &mut self,
        view: &dyn KeyValue,
        after: Option<&PlaceOf>,
    ) -> Result<RecordsCursor, ServiceError> {
        let found = query::all_manifests(view, after, MANIFESTS_PAGE)?;
        for (place, entry) in &found {
            for blob in &entry.blobs {
                let finding = RecordFinding {
                    fault: RecordFault::ManifestWithoutLink,
                    digest: *blob,
                    bytes: 0,
                    place: Some(PlaceOf {
                        digest: *blob,
                        ..place.clone()
                    }),
                    manifest: Some(entry.digest),
                };
                self.findings.extend(finding.looked_at(view)?);
            }
        }
        self.manifests += found.len() as u64;
        let is_full = found.len() >= MANIFESTS_PAGE;
        let last = found.into_iter().next_back().filter(|_| is_full);
        Ok(match last {
            Some((place, _)) => RecordsCursor::Manifests(Some(place)),
            None => RecordsCursor::Links(None),
        })
    }

    fn links(
        &mut self,
        view: &dyn KeyValue,
        after: Option<&PlaceOf>,
    ) -> Result<RecordsCursor, ServiceError> {
        let found = query::all_links(view, after, PAGE)?;
        let has_begun = query::collection(view)?.is_some_and(|known| known.walked);
        for link in &found {
            let finding = |fault| RecordFinding {
                fault,
                digest: link.place.digest,
                bytes: 0,
                place: Some(link.place.clone()),
                manifest: None,
            };
            let without_blob = finding(RecordFault::LinkWithoutBlob).looked_at(view)?;
            if without_blob.is_none() && has_begun {
                let forgotten = finding(RecordFault::LinkForgotten).looked_at(view)?;
                self.findings.extend(forgotten);
            }
            self.findings.extend(without_blob);
        }
        self.links += found.len() as u64;
        let is_full = found.len() >= PAGE;
        let last = found.into_iter().next_back().filter(|_| is_full);
        Ok(match last {
            Some(link) => RecordsCursor::Links(Some(link.place)),
            None => RecordsCursor::Blobs(None),
        })
    }

    fn blobs(
        &mut self,
        view: &dyn KeyValue,
        after: Option<&Digest>,
    ) -> Result<Option<RecordsCursor>, ServiceError> {
        let found = query::blobs(view, after, PAGE)?;
        let has_begun = query::collection(view)?.is_some_and(|known| known.walked);
        for blob in found.iter().filter(|_| has_begun) {
            let finding = RecordFinding {
                fault: RecordFault::BlobWithoutLink,
                digest: blob.digest,
                bytes: blob.size,
                place: None,
                manifest: None,
            };
            self.findings.extend(finding.looked_at(view)?);
        }
        self.blobs += found.len() as u64;
        let last = found.last().filter(|_| found.len() >= PAGE);
        Ok(last.map(|last| RecordsCursor::Blobs(Some(last.digest))))
    }
}

// === impl RecordFinding ===

impl RecordFinding {
    /// The same, if it is so.
    fn looked_at(self, view: &dyn KeyValue) -> Result<Option<Self>, ServiceError> {
        let is_so = match (&self.fault, &self.place) {
            (RecordFault::LinkWithoutBlob, Some(place)) => {
                query::link(view, place)?.is_some()
                    && query::blob(view, &place.digest)?.is_none()
                    // What went between the two reads went together.
                    && query::link(view, place)?.is_some()
            }
            (RecordFault::ManifestWithoutLink, Some(place)) => {
                query::link(view, place)?.is_none() && self.is_named(view, place)?
            }
            (RecordFault::LinkForgotten, Some(place)) => match query::link(view, place)? {
                Some(link) if query::users_of(view, place, 1)?.is_empty() => {
                    !query::is_unused_candidate(view, &link)?
                        && query::link(view, place)?.is_some_and(|again| again == link)
                        && query::users_of(view, place, 1)?.is_empty()
                }
                _ => false,
            },
            (RecordFault::BlobWithoutLink, _) => {
                query::link_any(view, &self.digest)?.is_none()
                    && !query::is_unlinked_candidate(view, &self.digest)?
                    && query::blob(view, &self.digest)?.is_some()
                    && query::link_any(view, &self.digest)?.is_none()
            }
            (_, None) => false,
        };
        Ok(is_so.then_some(self))
    }

    /// Whether its manifest still names the blob.
    fn is_named(&self, view: &dyn KeyValue, place: &PlaceOf) -> Result<bool, ServiceError> {
        let Some(manifest) = &self.manifest else {
            return Ok(false);
        };
        let (account, repository) = (&place.account, &place.repository);
        let entry = query::manifest_entry(view, account, repository, manifest)?;
        Ok(entry.is_some_and(|entry| entry.blobs.contains(&place.digest)))
    }
}

impl Registry {
    /// Has a node of this region compare a page of its files with the records; none:
    /// it did not answer. `repair`: what can be mended is. `silent`: nodes that did not
    /// answer before, and are not asked for their copies.
    ///
    /// # Errors
    /// `NotFound`: the region has no such node.
    pub async fn check_files(
        &self,
        who: &Caller,
        node: u64,
        after: &str,
        repair: bool,
        silent: Vec<u64>,
    ) -> Result<Option<CheckReply>, ServiceError> {
        if repair {
            self.operates(who)?;
        } else {
            self.observes(who)?;
        }
        if !self.peers.in_region(self.region()).contains(&node) {
            let region = self.region();
            return Err(ServiceError::NotFound(format!(
                "region {region} has no node {node}"
            )));
        }
        if !after.is_empty() && after.parse::<Digest>().is_err() {
            let text = "that is not a page's `next`";
            return Err(ServiceError::Invalid(text.to_owned()));
        }
        let request = CheckRequest {
            after: after.to_owned(),
            repair,
            at_ms: self.cluster_clock.now_ms(),
            silent,
        };
        Ok(self.blobs.check_at(node, request).await?)
    }

    /// Looks at a page of this region's records; none: from the first.
    pub async fn check_records(
        &self,
        who: &Caller,
        after: Option<RecordsCursor>,
    ) -> Result<RecordsPage, ServiceError> {
        self.observes(who)?;
        let after = after.unwrap_or(RecordsCursor::Manifests(None));
        let view = self.current().await?;
        let read = self
            .blocking
            .run(move || RecordsPage::read(view.as_ref(), after));
        let mut page = read
            .await
            .map_err(|error| ServiceError::internal(&error))??;
        if page.findings.is_empty() {
            return Ok(page);
        }
        tokio::time::sleep(SECOND_LOOK_AFTER).await;
        let view = self.current().await?;
        let suspects = std::mem::take(&mut page.findings);
        let looked = self.blocking.run(move || still(&view, suspects));
        page.findings = looked
            .await
            .map_err(|error| ServiceError::internal(&error))??;
        Ok(page)
    }
}

/// Those that are so at the second look.
fn still(
    view: &Arc<dyn KeyValue>,
    suspects: Vec<RecordFinding>,
) -> Result<Vec<RecordFinding>, ServiceError> {
    let mut still = Vec::new();
    for suspect in suspects {
        still.extend(suspect.looked_at(view.as_ref())?);
    }
    Ok(still)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_found_again() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [
            "manifests".to_owned(),
            format!("manifests 123456789012 team/app {digest}"),
            "links".to_owned(),
            format!("links 123456789012 team/app {digest}"),
            "blobs".to_owned(),
            format!("blobs {digest}"),
        ] {
            assert_eq!(text.parse::<RecordsCursor>().unwrap().to_string(), text);
        }
        for text in ["", "links x", "blobs x", "manifests 1 2 3"] {
            text.parse::<RecordsCursor>().unwrap_err();
        }
    }
}
