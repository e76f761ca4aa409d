//! How much registries hold and may hold, and what they keep of deleted images, in
//! numbers for monitoring.
//!
//! Each node looks at its own copy of the region's state, so all of them tell the
//! same. The invariant: however many registries there are, no more than
//! [`REGISTRIES_TOLD_MAX`] are told of by name, those that are nearest to a quota
//! first; what all of them hold is told in one number.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use entrepot_metadata::limits::{SCAN_PAGE, UNBOUNDED};
use entrepot_metadata::query::{self, Held, Kept};
use entrepot_metadata::{KeyValue, StorageError};
use entrepot_oci::{RegionName, RegistryId};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tracing::warn;

use crate::{Registry, ServiceError};

/// From one look to the next.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// Registries that are told of by name.
const REGISTRIES_TOLD_MAX: usize = 100;
/// Parts of a quota, for comparing how much of one is used.
const PARTS: u128 = 1_000_000;

/// A registry, as labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct Place {
    region: String,
    account: String,
    registry: &'static str,
}

/// All registries of a region.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Whole {
    region: String,
}

/// What is known of one registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Holding {
    /// None: nobody counts it.
    held: Option<Held>,
    bytes_max: Option<u64>,
    images_max: Option<u64>,
    kept: Kept,
}

/// Of the registries of a region.
#[derive(Debug, Default)]
struct Holdings {
    /// The fullest first.
    told: Vec<(RegistryId, Holding)>,
    left_out: usize,
    kept: Kept,
}

/// Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct HoldingMetrics {
    held_bytes: Family<Place, Gauge>,
    held_images: Family<Place, Gauge>,
    quota_bytes: Family<Place, Gauge>,
    quota_images: Family<Place, Gauge>,
    kept_images: Family<Place, Gauge>,
    kept_bytes: Family<Place, Gauge>,
    all_kept_images: Family<Whole, Gauge>,
    all_kept_bytes: Family<Whole, Gauge>,
    left_out: Family<Whole, Gauge>,
    /// Those that were told of at the last look.
    told_before: Arc<Mutex<Vec<Place>>>,
}

/// Looks at what the registries of this node's region hold.
#[derive(Debug)]
pub struct HoldingWatch {
    registry: Arc<Registry>,
    metrics: HoldingMetrics,
}

// === impl Place ===

impl Place {
    fn of(region: &RegionName, registry: &RegistryId) -> Self {
        let kind = if registry.is_public() {
            "public"
        } else {
            "private"
        };
        Self {
            region: region.to_string(),
            account: registry.account().to_string(),
            registry: kind,
        }
    }
}

// === impl Holding ===

impl Holding {
    /// How much is used of the quota that is nearest to being reached, in millionths.
    fn used(&self) -> u128 {
        let of = |held: u64, max: Option<u64>| match max {
            None => 0,
            // Nothing fits into a quota of nothing.
            Some(max) => u128::from(held) * PARTS / u128::from(max.max(1)),
        };
        let held = self.held.unwrap_or_default();
        of(held.bytes, self.bytes_max).max(of(held.images, self.images_max))
    }

    /// Which of two is to be told of.
    fn rank(&self) -> (u128, u64, u64) {
        let held = self.held.unwrap_or_default();
        (self.used(), held.bytes, self.kept.bytes)
    }
}

// === impl Holdings ===

impl Holdings {
    /// Every registry that is counted or keeps anything is looked at: there are at most
    /// two of each account.
    fn of(view: &dyn KeyValue) -> Result<Self, StorageError> {
        let mut all: BTreeMap<RegistryId, Holding> = BTreeMap::new();
        let mut sum = Kept::default();
        pages(
            |after| query::registries_held(view, after, SCAN_PAGE),
            |registry, held| {
                let settings = query::registry_settings(view, &registry)?;
                // It is counted no longer by who does not know of quotas.
                let quotas = settings.quotas.unwrap_or(settings.granted);
                let set = |max: u64| Some(max).filter(|max| *max != UNBOUNDED);
                let holding = all.entry(registry).or_default();
                holding.held = Some(held);
                holding.bytes_max = set(quotas.bytes);
                holding.images_max = set(quotas.images);
                Ok(())
            },
        )?;
        pages(
            |after| query::registries_kept(view, after, SCAN_PAGE),
            |registry, kept| {
                sum.images = sum.images.saturating_add(kept.images);
                sum.bytes = sum.bytes.saturating_add(kept.bytes);
                all.entry(registry).or_default().kept = kept;
                Ok(())
            },
        )?;
        let mut told: Vec<_> = all.into_iter().collect();
        told.sort_by_key(|(_, holding)| Reverse(holding.rank()));
        let left_out = told.len().saturating_sub(REGISTRIES_TOLD_MAX);
        told.truncate(REGISTRIES_TOLD_MAX);
        Ok(Self {
            told,
            left_out,
            kept: sum,
        })
    }
}

/// What a query gives in pages, one after the other.
fn pages<T: Copy>(
    page: impl Fn(Option<&RegistryId>) -> Result<Vec<(RegistryId, T)>, StorageError>,
    mut each: impl FnMut(RegistryId, T) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let mut after = None;
    loop {
        let found = page(after.as_ref())?;
        let is_last = found.len() < SCAN_PAGE;
        after = found.last().map(|(registry, _)| registry.clone());
        for (registry, value) in found {
            each(registry, value)?;
        }
        if is_last {
            return Ok(());
        }
    }
}

// === impl HoldingMetrics ===

impl HoldingMetrics {
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        registry.register(
            "registry_held_bytes",
            "What a registry holds, as quotas of bytes count it",
            self.held_bytes.clone(),
        );
        registry.register(
            "registry_held_images",
            "Images of a registry, as quotas count them",
            self.held_images.clone(),
        );
        registry.register(
            "registry_quota_bytes",
            "The most that a registry may hold; none: any number",
            self.quota_bytes.clone(),
        );
        registry.register(
            "registry_quota_images",
            "The most images that a registry may have; none: any number",
            self.quota_images.clone(),
        );
        registry.register(
            "registry_deleted_images",
            "Deleted images of a registry that can be restored",
            self.kept_images.clone(),
        );
        registry.register(
            "registry_deleted_manifest_bytes",
            "Bytes of the manifests of a registry's deleted images",
            self.kept_bytes.clone(),
        );
        registry.register(
            "deleted_images",
            "Deleted images of all registries of the region that can be restored",
            self.all_kept_images.clone(),
        );
        registry.register(
            "deleted_manifest_bytes",
            "Bytes of the manifests of all deleted images of the region",
            self.all_kept_bytes.clone(),
        );
        registry.register(
            "registries_not_told",
            "Registries that the numbers by registry leave out, since others are fuller",
            self.left_out.clone(),
        );
    }

    fn tell(&self, region: &RegionName, holdings: &Holdings) {
        let whole = Whole {
            region: region.to_string(),
        };
        for (family, value) in [
            (&self.all_kept_images, holdings.kept.images),
            (&self.all_kept_bytes, holdings.kept.bytes),
            (&self.left_out, holdings.left_out as u64),
        ] {
            family.get_or_create(&whole).set(gauge(value));
        }
        let told: BTreeMap<Place, &Holding> = holdings
            .told
            .iter()
            .map(|(registry, holding)| (Place::of(region, registry), holding))
            .collect();
        // Whole between any two statements that hold it.
        let before = self.told_before.lock();
        let mut before = before.unwrap_or_else(PoisonError::into_inner);
        for gone in before.iter().filter(|place| !told.contains_key(place)) {
            self.set(gone, &Holding::default());
        }
        for (place, holding) in &told {
            self.set(place, holding);
        }
        *before = told.into_keys().collect();
    }

    fn set(&self, place: &Place, holding: &Holding) {
        let kept = Some(holding.kept).filter(|kept| kept.images > 0);
        // What is not all counted yet is not told as if it were.
        let held = holding.held.filter(|held| held.is_whole);
        for (family, value) in [
            (&self.held_bytes, held.map(|held| held.bytes)),
            (&self.held_images, held.map(|held| held.images)),
            (&self.quota_bytes, holding.bytes_max),
            (&self.quota_images, holding.images_max),
            (&self.kept_images, kept.map(|kept| kept.images)),
            (&self.kept_bytes, kept.map(|kept| kept.bytes)),
        ] {
            match value {
                Some(value) => {
                    family.get_or_create(place).set(gauge(value));
                }
                None => {
                    family.remove(place);
                }
            }
        }
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

// === impl HoldingWatch ===

impl HoldingWatch {
    pub fn new(registry: Arc<Registry>, metrics: HoldingMetrics) -> Self {
        Self { registry, metrics }
    }

    /// Works until it is dropped.
    pub async fn run(self) {
        loop {
            if let Err(error) = self.look().await {
                warn!(%error, "what registries hold cannot be read");
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn look(&self) -> Result<(), ServiceError> {
        let view = self.registry.local()?;
        let reading = self
            .registry
            .blocking
            .run(move || Holdings::of(view.as_ref()));
        let holdings = reading.await;
        let holdings = holdings.map_err(|error| ServiceError::internal(&error))??;
        self.metrics.tell(self.registry.region(), &holdings);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
