//! `[storage]`: how many copies there are, and how they are looked after.

use std::time::Duration;

use anyhow::ensure;
use entrepot_replication::collection::ORPHAN_PATIENCE;
use entrepot_service::CollectorSettings;
use serde::Deserialize;

const MIB: u64 = 1024 * 1024;
const DAY_S: u64 = 24 * 3600;
const SCRUB_DAYS_DEFAULT: u64 = 14;
const SCRUB_DAYS_MAX: u64 = 365;
const SCRUB_MIB_PER_S_DEFAULT: u64 = 32;
const MIB_PER_S_MAX: u64 = 10_000;
const REPAIR_MIB_PER_S_DEFAULT: u64 = 64;
const REPAIR_AFTER_DEFAULT_S: u64 = 15 * 60;
const REPAIR_AFTER_MAX_S: u64 = 30 * DAY_S;
const UNREFERENCED_AFTER_MAX_S: u64 = 365 * DAY_S;
const COLLECT_PER_S_MAX: u64 = 1_000_000;
const ORPHAN_AFTER_MAX_S: u64 = 30 * DAY_S;
const INDEX_CACHE_MIB_MAX: u64 = 64 * 1024;
const CACHE_MIB_DEFAULT: u64 = 10 * 1024;
/// A PiB.
const CACHE_MIB_MAX: u64 = 1 << 30;
const RESERVE_MIB_DEFAULT: u64 = 1024;
/// A TiB.
const RESERVE_MIB_MAX: u64 = 1 << 20;

/// How a node looks after its copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CareConfig {
    pub scrub_every: Duration,
    pub scrub_bytes_per_s: u64,
    pub repair_after: Duration,
    pub repair_bytes_per_s: u64,
    pub cache_bytes: u64,
    /// What blobs must leave free for the metadata.
    pub reserve_bytes: u64,
    pub collector: CollectorSettings,
    /// A file that the region knows nothing of goes after so long.
    pub orphan_after: Duration,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StorageFile {
    pub(super) copies: Option<usize>,
    pub(super) upload_expiry_s: Option<u64>,
    scrub_days: Option<u64>,
    scrub_mib_per_s: Option<u64>,
    repair_after_s: Option<u64>,
    repair_mib_per_s: Option<u64>,
    cache_mib: Option<u64>,
    reserve_mib: Option<u64>,
    index_cache_mib: Option<u64>,
    unreferenced_after_s: Option<u64>,
    collect_per_s: Option<u64>,
    orphan_after_s: Option<u64>,
}

// === impl CareConfig ===

impl Default for CareConfig {
    fn default() -> Self {
        Self {
            scrub_every: Duration::from_secs(SCRUB_DAYS_DEFAULT * DAY_S),
            scrub_bytes_per_s: SCRUB_MIB_PER_S_DEFAULT * MIB,
            repair_after: Duration::from_secs(REPAIR_AFTER_DEFAULT_S),
            repair_bytes_per_s: REPAIR_MIB_PER_S_DEFAULT * MIB,
            cache_bytes: CACHE_MIB_DEFAULT * MIB,
            reserve_bytes: RESERVE_MIB_DEFAULT * MIB,
            collector: CollectorSettings::default(),
            orphan_after: ORPHAN_PATIENCE,
        }
    }
}

// === impl StorageFile ===

impl StorageFile {
    pub(super) fn index_cache_bytes(&self) -> anyhow::Result<Option<u64>> {
        let Some(mib) = self.index_cache_mib else {
            return Ok(None);
        };
        ensure!(
            (1..=INDEX_CACHE_MIB_MAX).contains(&mib),
            "storage.index_cache_mib: must be from 1 to {INDEX_CACHE_MIB_MAX}"
        );
        Ok(Some(mib * MIB))
    }

    pub(super) fn care(&self) -> anyhow::Result<CareConfig> {
        let days = within(
            "scrub_days",
            self.scrub_days,
            SCRUB_DAYS_DEFAULT,
            SCRUB_DAYS_MAX,
        )?;
        let scrub = within(
            "scrub_mib_per_s",
            self.scrub_mib_per_s,
            SCRUB_MIB_PER_S_DEFAULT,
            MIB_PER_S_MAX,
        )?;
        let repair = within(
            "repair_mib_per_s",
            self.repair_mib_per_s,
            REPAIR_MIB_PER_S_DEFAULT,
            MIB_PER_S_MAX,
        )?;
        let after = within(
            "repair_after_s",
            self.repair_after_s,
            REPAIR_AFTER_DEFAULT_S,
            REPAIR_AFTER_MAX_S,
        )?;
        let defaults = CollectorSettings::default();
        let unreferenced = within(
            "unreferenced_after_s",
            self.unreferenced_after_s,
            defaults.unreferenced_after.as_secs(),
            UNREFERENCED_AFTER_MAX_S,
        )?;
        let collected = within(
            "collect_per_s",
            self.collect_per_s,
            u64::from(defaults.per_second),
            COLLECT_PER_S_MAX,
        )?;
        let orphan = within(
            "orphan_after_s",
            self.orphan_after_s,
            ORPHAN_PATIENCE.as_secs(),
            ORPHAN_AFTER_MAX_S,
        )?;
        let cache = self.cache_mib.unwrap_or(CACHE_MIB_DEFAULT);
        ensure!(
            cache <= CACHE_MIB_MAX,
            "storage.cache_mib: must be at most {CACHE_MIB_MAX}"
        );
        let reserve = self.reserve_mib.unwrap_or(RESERVE_MIB_DEFAULT);
        ensure!(
            reserve <= RESERVE_MIB_MAX,
            "storage.reserve_mib: must be at most {RESERVE_MIB_MAX}"
        );
        Ok(CareConfig {
            scrub_every: Duration::from_secs(days * DAY_S),
            scrub_bytes_per_s: scrub * MIB,
            repair_after: Duration::from_secs(after),
            repair_bytes_per_s: repair * MIB,
            cache_bytes: cache * MIB,
            reserve_bytes: reserve * MIB,
            collector: CollectorSettings {
                unreferenced_after: Duration::from_secs(unreferenced),
                per_second: u32::try_from(collected)?,
            },
            orphan_after: Duration::from_secs(orphan),
        })
    }
}

/// The value of a key, which is 1 to `most`.
fn within(key: &str, value: Option<u64>, default: u64, most: u64) -> anyhow::Result<u64> {
    let value = value.unwrap_or(default);
    ensure!(
        (1..=most).contains(&value),
        "storage.{key}: must be 1 to {most}"
    );
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn care(text: &str) -> anyhow::Result<CareConfig> {
        toml::from_str::<StorageFile>(text)?.care()
    }

    fn index_cache(text: &str) -> anyhow::Result<Option<u64>> {
        toml::from_str::<StorageFile>(text)?.index_cache_bytes()
    }

    #[test]
    fn the_example_shows_the_defaults() {
        let example: toml::Table =
            toml::from_str(include_str!("../../../deploy/node.toml")).unwrap();
        let shown = toml::to_string(&example["storage"]).unwrap();
        assert_eq!(care(&shown).unwrap(), CareConfig::default());
        assert_eq!(index_cache(&shown).unwrap(), None);
        assert_eq!(index_cache("").unwrap(), None);
        assert_eq!(care("").unwrap(), CareConfig::default());
    }

    #[test]
    fn numbers_that_make_no_sense_are_refused() {
        for text in [
            "scrub_days = 0",
            "scrub_days = 366",
            "scrub_mib_per_s = 0",
            "repair_mib_per_s = 10001",
            "repair_after_s = 0",
            "cache_mib = 1073741825",
            "reserve_mib = 1048577",
            "orphan_after_s = 0",
        ] {
            let error = care(text).unwrap_err().to_string();
            assert!(error.contains(text.split(' ').next().unwrap()), "{error}");
        }
        for text in ["index_cache_mib = 0", "index_cache_mib = 65537"] {
            assert!(index_cache(text).is_err(), "{text}");
        }
        assert_eq!(index_cache("index_cache_mib = 7").unwrap(), Some(7 * MIB));
    }
}
