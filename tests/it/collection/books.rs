//! What was acknowledged, and is not about to be deleted.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use entrepot_harness::{Image, Random};

use crate::support::{EU, US};

/// Below it is what another region's rule copies.
pub(super) const COPIED: &str = "copied/";

#[derive(Debug, Default)]
pub(super) struct Books {
    entries: Mutex<BTreeMap<Place, Entry>>,
}

/// Region, repository, digest.
type Place = (&'static str, String, String);

#[derive(Debug)]
struct Entry {
    image: Arc<Image>,
    tag: Option<String>,
    is_there: bool,
    /// How often it was about to be deleted.
    ends: u64,
}

/// An image that was there, at a moment.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) repository: String,
    pub(super) tag: Option<String>,
    pub(super) image: Arc<Image>,
    region: &'static str,
    ends: u64,
}

// === impl Books ===

impl Books {
    /// It was acknowledged.
    pub(super) fn there(
        &self,
        region: &'static str,
        repository: &str,
        image: &Image,
        tag: Option<String>,
    ) {
        let place = place(region, repository, image.digest());
        let mut entries = self.lock();
        let entry = entries.entry(place).or_insert_with(|| Entry {
            image: Arc::new(image.clone()),
            tag: None,
            is_there: true,
            ends: 0,
        });
        entry.is_there = true;
        entry.tag = tag;
    }

    /// It is about to be deleted, and may be gone from now on.
    pub(super) fn going(&self, region: &'static str, repository: &str, digest: &str) {
        let place = place(region, repository, digest);
        if let Some(entry) = self.lock().get_mut(&place) {
            entry.is_there = false;
            entry.ends += 1;
        }
    }

    /// An image that a client of `region` was told is there.
    pub(super) fn any(&self, region: &'static str, random: &mut Random) -> Option<Held> {
        let entries = self.lock();
        let there = entries
            .iter()
            .filter(|((of, ..), entry)| *of == region && entry.is_there);
        let there: Vec<_> = there.collect();
        let (place, entry) = there.get(random.below(there.len()))?;
        Some(held(place, entry))
    }

    /// Whether it has been there the whole time since.
    pub(super) fn has_stayed(&self, held: &Held) -> bool {
        let place = place(held.region, &held.repository, held.image.digest());
        let entries = self.lock();
        let entry = entries.get(&place);
        entry.is_some_and(|entry| entry.is_there && entry.ends == held.ends)
    }

    /// All that a region holds once everything has arrived.
    pub(super) fn all(&self, region: &str) -> Vec<Held> {
        let is_of = |place: &Place| {
            let arrives = region == US && place.0 == EU && place.1.starts_with(COPIED);
            place.0 == region || arrives
        };
        let entries = self.lock();
        let there = entries
            .iter()
            .filter(|(place, entry)| entry.is_there && is_of(place));
        there.map(|(place, entry)| held(place, entry)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(region: &'static str, repository: &str, digest: &str) -> Place {
    (region, repository.to_owned(), digest.to_owned())
}

fn held(place: &Place, entry: &Entry) -> Held {
    Held {
        region: place.0,
        repository: place.1.clone(),
        tag: entry.tag.clone(),
        image: Arc::clone(&entry.image),
        ends: entry.ends,
    }
}
