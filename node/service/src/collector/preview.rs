//! What collection would take, without taking it.
//!
//! Looks at the candidates in the order in which they go, a page at a time, of which
//! each is a request of its own. Every blob is counted once without remembering any:
//! at the last of its links that goes. The invariant: nothing is changed, and what is
//! pushed or deleted meanwhile may be in it or not.

use std::fmt;
use std::str::FromStr;

use entrepot_metadata::KeyValue;
use entrepot_metadata::command::UnusedLink;
use entrepot_metadata::query::{self, LinkEntry, PlaceOf};
use entrepot_oci::Digest;

use super::millis;
use crate::{Caller, Registry, ServiceError};

/// Candidates of one page.
const PAGE: usize = 1_000;
/// Of a blob's links, those that are read at a time.
const HOMES_PAGE: usize = 100;

/// What may be collected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collectable {
    pub links: u64,
    /// That no repository has then, each once.
    pub blobs: u64,
    pub bytes: u64,
    /// In files, as often as there are to be copies.
    pub file_bytes: u64,
}

/// A page of a look at what may be collected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectionPreview {
    /// Now.
    pub now: Collectable,
    /// When its time is up, if nobody names it before.
    pub later: Collectable,
    /// Candidates.
    pub looked_at: u64,
    /// None: that was the last page.
    pub next: Option<PreviewCursor>,
    /// The cluster's clock at the first page.
    pub as_of_ms: i64,
    pub unreferenced_after_ms: i64,
    pub copies: u64,
}

/// Where a page of it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreviewCursor {
    /// Behind this candidate.
    Link(UnusedLink),
    /// Behind this blob that no repository has; none: at the first.
    Blob(Option<Digest>),
}

/// A page under way.
struct Look<'a> {
    view: &'a dyn KeyValue,
    cutoff_ms: i64,
    copies: u64,
    page: CollectionPreview,
}

// === impl PreviewCursor ===

impl fmt::Display for PreviewCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(link) => write!(
                f,
                "link {} {} {} {}",
                link.since_ms, link.account, link.repository, link.digest
            ),
            Self::Blob(None) => f.write_str("blob"),
            Self::Blob(Some(digest)) => write!(f, "blob {digest}"),
        }
    }
}

impl FromStr for PreviewCursor {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ServiceError::Invalid("that is not a page's `next`".to_owned());
        let words: Vec<&str> = text.split(' ').collect();
        match words.as_slice() {
            ["link", since_ms, account, repository, digest] => Ok(Self::Link(UnusedLink::new(
                since_ms.parse().map_err(|_| wrong())?,
                &account.parse().map_err(|_| wrong())?,
                &repository.parse().map_err(|_| wrong())?,
                &digest.parse().map_err(|_| wrong())?,
            ))),
            ["blob"] => Ok(Self::Blob(None)),
            ["blob", digest] => Ok(Self::Blob(Some(digest.parse().map_err(|_| wrong())?))),
            _ => Err(wrong()),
        }
    }
}

// === impl Collectable ===

impl Collectable {
    fn add(&mut self, blob: &query::Blob, copies: u64) {
        self.blobs += 1;
        self.bytes = self.bytes.saturating_add(blob.size);
        if blob.content.is_none() {
            let files = blob.size.saturating_mul(copies);
            self.file_bytes = self.file_bytes.saturating_add(files);
        }
    }
}

// === impl Look ===

impl Look<'_> {
    fn take(mut self, after: Option<&PreviewCursor>) -> Result<CollectionPreview, ServiceError> {
        self.page.next = match after {
            None => self.links(None)?,
            Some(PreviewCursor::Link(after)) => self.links(Some(after))?,
            Some(PreviewCursor::Blob(after)) => self.unlinked(after.as_ref())?,
        };
        Ok(self.page)
    }

    /// Links that nothing may name, those first that go first.
    fn links(&mut self, after: Option<&UnusedLink>) -> Result<Option<PreviewCursor>, ServiceError> {
        let found = query::unused_links(self.view, i64::MAX, after, PAGE)?;
        for candidate in &found {
            self.link(candidate)?;
        }
        self.page.looked_at += found.len() as u64;
        let is_full = found.len() >= PAGE;
        let last = found.into_iter().next_back().filter(|_| is_full);
        Ok(Some(
            last.map_or(PreviewCursor::Blob(None), PreviewCursor::Link),
        ))
    }

    fn link(&mut self, candidate: &UnusedLink) -> Result<(), ServiceError> {
        let parsed = |what| ServiceError::Invalid(format!("a candidate has no {what}"));
        let place = PlaceOf {
            account: candidate.account.parse().map_err(|_| parsed("account"))?,
            repository: candidate
                .repository
                .parse()
                .map_err(|_| parsed("repository"))?,
            digest: candidate.digest.parse().map_err(|_| parsed("digest"))?,
        };
        // It is only a hint: it may be named again, or have another time.
        let Some(link) = self.unused(&place)? else {
            return Ok(());
        };
        if link.since_ms != candidate.since_ms {
            return Ok(());
        }
        self.bucket(link.since_ms).links += 1;
        if !self.is_last(&link)? {
            return Ok(());
        }
        if let Some(blob) = query::blob(self.view, &place.digest)? {
            let copies = self.copies;
            self.bucket(link.since_ms).add(&blob, copies);
        }
        Ok(())
    }

    /// A link that nothing names.
    fn unused(&self, place: &PlaceOf) -> Result<Option<LinkEntry>, ServiceError> {
        if !query::users_of(self.view, place, 1)?.is_empty() {
            return Ok(None);
        }
        Ok(query::link(self.view, place)?)
    }

    /// Whether a blob goes with this link: nothing names any of its others, and they
    /// go before it.
    fn is_last(&self, link: &LinkEntry) -> Result<bool, ServiceError> {
        let mut after = None;
        loop {
            let homes = query::homes_of(self.view, &link.place.digest, after.as_ref(), HOMES_PAGE)?;
            for home in &homes {
                let Some(other) = self.unused(home)? else {
                    return Ok(false);
                };
                if (other.since_ms, &other.place) > (link.since_ms, &link.place) {
                    return Ok(false);
                }
            }
            if homes.len() < HOMES_PAGE {
                return Ok(true);
            }
            after = homes.into_iter().next_back();
        }
    }

    /// Blobs that no repository may have.
    fn unlinked(&mut self, after: Option<&Digest>) -> Result<Option<PreviewCursor>, ServiceError> {
        let found = query::unlinked_blobs_after(self.view, after, PAGE)?;
        for digest in &found {
            let is_linked = query::link_any(self.view, digest)?.is_some();
            let blob = query::blob(self.view, digest)?;
            if let Some(blob) = blob.filter(|_| !is_linked) {
                let copies = self.copies;
                self.page.now.add(&blob, copies);
            }
        }
        self.page.looked_at += found.len() as u64;
        let last = found.last().filter(|_| found.len() >= PAGE);
        Ok(last.map(|last| PreviewCursor::Blob(Some(*last))))
    }

    fn bucket(&mut self, since_ms: i64) -> &mut Collectable {
        if since_ms <= self.cutoff_ms {
            &mut self.page.now
        } else {
            &mut self.page.later
        }
    }
}

impl Registry {
    /// A page of what collection would take in this region. `as_of_ms`: what the first
    /// page said, so that all of them mean the same moment.
    pub async fn preview_collection(
        &self,
        who: &Caller,
        after: Option<PreviewCursor>,
        unreferenced_after_ms: Option<u64>,
        as_of_ms: Option<i64>,
    ) -> Result<CollectionPreview, ServiceError> {
        self.observes(who)?;
        let settings = self.collecting().settings;
        let after_ms = match unreferenced_after_ms {
            Some(ms) => i64::try_from(ms).unwrap_or(i64::MAX),
            None => millis(settings.unreferenced_after),
        };
        let as_of_ms = as_of_ms.unwrap_or_else(|| self.cluster_clock.now_ms());
        let copies = self.blobs.copies() as u64;
        let view = self.current().await?;
        let looked = self.blocking.run(move || {
            let look = Look {
                view: view.as_ref(),
                cutoff_ms: as_of_ms.saturating_sub(after_ms),
                copies,
                page: CollectionPreview {
                    now: Collectable::default(),
                    later: Collectable::default(),
                    looked_at: 0,
                    next: None,
                    as_of_ms,
                    unreferenced_after_ms: after_ms,
                    copies,
                },
            };
            look.take(after.as_ref())
        });
        looked
            .await
            .map_err(|error| ServiceError::internal(&error))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_found_again() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        for text in [
            format!("link 1767225600000 123456789012 team/app {digest}"),
            "blob".to_owned(),
            format!("blob {digest}"),
        ] {
            assert_eq!(text.parse::<PreviewCursor>().unwrap().to_string(), text);
        }
        for text in ["", "link", "blob x", "link 1 2 3 4", "blob  "] {
            text.parse::<PreviewCursor>().unwrap_err();
        }
    }
}
