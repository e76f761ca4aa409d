//! How much there is of what is bounded, and that there is no more than may be.
//!
//! What was there before anybody counted is counted in bounded steps, with whatever
//! comes to it. The invariant: a count is the number of the keys up to where it has
//! got, after every command, whichever made or removed them; so whether there may
//! be one more is decided exactly, once all is counted, and too late by some steps
//! until then.

use std::collections::BTreeSet;

use entrepot_oci::{Digest, RegistryId, RepositoryName, Tag};

use super::Stop;
use crate::keys::{self, Key, Namespace};
use crate::limits::{COUNT_STEP, TAGS_UNCOUNTED_MAX};
use crate::overlay::Overlay;
use crate::query::{self, Quotas};
use crate::read;
use crate::records::CountRecord;
use crate::response::{QuotaReached, Refused};
use crate::store::StorageError;

/// What is counted.
#[derive(Clone, Copy)]
pub(super) enum Counted<'a> {
    Repositories(&'a RegistryId),
    Images(&'a RegistryId, &'a RepositoryName),
    /// Of an image, once it has had many: the others have no count.
    Tags(&'a RegistryId, &'a RepositoryName, &'a Digest),
}

/// Whose tags are counted.
pub(super) struct Image<'a> {
    pub(super) account: &'a RegistryId,
    pub(super) repository: &'a RepositoryName,
    pub(super) digest: &'a Digest,
}

/// What a registry may have; none: nothing is counted in it.
pub(super) fn quotas(
    overlay: &Overlay<'_>,
    account: &RegistryId,
) -> Result<Option<Quotas>, StorageError> {
    Ok(query::registry_settings(overlay, account)?.quotas)
}

// === impl Counted ===

impl Counted<'_> {
    fn key(&self) -> Key {
        match self {
            Self::Repositories(account) => keys::repository_count(account),
            Self::Images(account, repository) => keys::image_count(account, repository),
            Self::Tags(account, repository, digest) => keys::tag_count(account, repository, digest),
        }
    }

    /// Of the keys that are counted.
    fn prefix(&self) -> Key {
        match self {
            Self::Repositories(account) => Key::new(Namespace::Repository).account(account),
            Self::Images(account, repository) => {
                Key::new(Namespace::Manifest).home(account, repository)
            }
            Self::Tags(account, repository, digest) => {
                keys::of_digest(Namespace::TagOf, account, repository, digest)
            }
        }
    }

    /// One more comes, which has yet to be written under `key`; that may be one of
    /// `max`. None: whatever comes is taken, and counted.
    ///
    /// # Errors
    /// [`Refused::QuotaReached`].
    pub(super) fn add(
        &self,
        overlay: &mut Overlay<'_>,
        key: &Key,
        max: Option<u64>,
    ) -> Result<(), Stop> {
        self.advance(overlay)?;
        self.add_one(overlay, key, max)
    }

    /// The same, of one of several that come: what was there before is counted no
    /// further, and has to be begun with [`Counted::advance`].
    ///
    /// # Errors
    /// [`Refused::QuotaReached`].
    pub(super) fn add_one(
        &self,
        overlay: &mut Overlay<'_>,
        key: &Key,
        max: Option<u64>,
    ) -> Result<(), Stop> {
        let own = self.key();
        let Some(mut record) = read::record::<CountRecord>(overlay, &own)? else {
            return Ok(());
        };
        if let Some(max) = max.filter(|max| record.number >= *max) {
            return Err(Refused::QuotaReached(self.reached(max)).into());
        }
        if is_counted(&record, key) {
            record.number += 1;
            overlay.put(own, &record);
        }
        Ok(())
    }

    /// A step further in counting what was there before.
    pub(super) fn advance(&self, overlay: &mut Overlay<'_>) -> Result<(), StorageError> {
        let record = self.counted(overlay)?;
        overlay.put(self.key(), &record);
        Ok(())
    }

    /// One more comes under `key`, of which there may be any number: it is counted
    /// if the others are.
    pub(super) fn note(&self, overlay: &mut Overlay<'_>, key: &Key) -> Result<(), StorageError> {
        self.change(overlay, key, |number| number + 1)
    }

    /// What was under `key` goes.
    pub(super) fn remove(&self, overlay: &mut Overlay<'_>, key: &Key) -> Result<(), StorageError> {
        self.change(overlay, key, |number| number.saturating_sub(1))
    }

    fn change(
        &self,
        overlay: &mut Overlay<'_>,
        key: &Key,
        change: impl FnOnce(u64) -> u64,
    ) -> Result<(), StorageError> {
        let own = self.key();
        let Some(mut record) = read::record::<CountRecord>(overlay, &own)? else {
            return Ok(());
        };
        if is_counted(&record, key) {
            record.number = change(record.number);
            overlay.put(own, &record);
        }
        Ok(())
    }

    /// There is nothing to count any more.
    pub(super) fn forget(&self, overlay: &mut Overlay<'_>) -> Result<(), StorageError> {
        let key = self.key();
        if read::exists(overlay, &key)? {
            overlay.delete(key);
        }
        Ok(())
    }

    /// What is counted, one step further.
    fn counted(&self, overlay: &Overlay<'_>) -> Result<CountRecord, StorageError> {
        let record: Option<CountRecord> = read::record(overlay, &self.key())?;
        let prefix = self.prefix();
        let (number, start) = match record {
            Some(CountRecord {
                number,
                counted_to: Some(last),
            }) => (number, Key::of(last.to_vec()).successor()),
            Some(whole) => return Ok(whole),
            None => (0, prefix.clone()),
        };
        let page = read::page(overlay, &prefix, Some(&start), COUNT_STEP)?;
        let is_last = page.len() < COUNT_STEP;
        let last = page.last().map(|(key, _)| key.clone());
        Ok(CountRecord {
            number: number + page.len() as u64,
            counted_to: last.filter(|_| !is_last),
        })
    }

    fn reached(&self, max: u64) -> QuotaReached {
        let (account, repository, digest) = match self {
            Self::Repositories(account) => (account, None, None),
            Self::Images(account, repository) => (account, Some(repository), None),
            Self::Tags(account, repository, digest) => (account, Some(repository), Some(digest)),
        };
        QuotaReached {
            account: account.to_string(),
            repository: repository.map(ToString::to_string).unwrap_or_default(),
            digest: digest.map(ToString::to_string).unwrap_or_default(),
            max,
            ..QuotaReached::default()
        }
    }
}

/// Whether a count has got as far as that key.
fn is_counted(record: &CountRecord, key: &Key) -> bool {
    let counted_to = record.counted_to.as_ref();
    counted_to.is_none_or(|last| key.as_bytes() <= &last[..])
}

// === impl Image ===

impl Image<'_> {
    /// That it may have these tags, with those that it has already. `is_new`: it
    /// has none yet.
    ///
    /// # Errors
    /// [`Refused::QuotaReached`].
    pub(super) fn check_tags(
        &self,
        overlay: &mut Overlay<'_>,
        tags: &BTreeSet<Tag>,
        is_new: bool,
        max: u64,
    ) -> Result<(), Stop> {
        let (account, repository, digest) = (self.account, self.repository, self.digest);
        let mut number = 0;
        for tag in tags {
            let tag_of = keys::tag_of(account, repository, digest, tag);
            number += u64::from(is_new || !read::exists(overlay, &tag_of)?);
        }
        if number > 0 && !is_new {
            number += self.tags(overlay)?;
        }
        if number <= max {
            return Ok(());
        }
        Err(Refused::QuotaReached(self.counted().reached(max)).into())
    }

    /// How many tags it has; they are counted from now on if they are many.
    fn tags(&self, overlay: &mut Overlay<'_>) -> Result<u64, StorageError> {
        let counted = self.counted();
        let key = counted.key();
        let record: Option<CountRecord> = read::record(overlay, &key)?;
        if record.is_none() {
            let few = read::page(overlay, &counted.prefix(), None, TAGS_UNCOUNTED_MAX + 1)?;
            if few.len() <= TAGS_UNCOUNTED_MAX {
                return Ok(few.len() as u64);
            }
        }
        let further = counted.counted(overlay)?;
        let number = further.number;
        if record.as_ref() != Some(&further) {
            overlay.put(key, &further);
        }
        Ok(number)
    }

    fn counted(&self) -> Counted<'_> {
        Counted::Tags(self.account, self.repository, self.digest)
    }
}
