//! How much registries and repositories hold, and whether more fits.
//!
//! The one place that decides it: the state machine asks when something comes, the
//! rest of a node before it lets a client send it.

use entrepot_oci::{RegistryId, RepositoryName};

use super::registry::{RegistrySettings, RepositoryQuotas, registry_settings};
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::UNBOUNDED;
use crate::read;
use crate::records::RepositoryRecord;
use crate::records::held::{HeldRecord, RepositoryHeldRecord};
use crate::response::{QuotaKind, QuotaReached};
use crate::store::{KeyValue, StorageError};

/// How much something holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Of the blobs that a repository links and of its manifests; of a registry, the
    /// sum of those of its repositories.
    pub bytes: u64,
    /// Manifests.
    pub images: u64,
    /// Not: there is more, that was there before anybody counted.
    pub is_whole: bool,
}

/// What a registry and one of its repositories hold, and what they may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    account: RegistryId,
    repository: RepositoryName,
    registry: Held,
    here: Held,
    bytes_max: u64,
    images_max: u64,
    here_max: RepositoryQuotas,
}

/// What a registry holds; none: nobody counts it.
pub fn held(view: &dyn KeyValue, account: &RegistryId) -> Result<Option<Held>, StorageError> {
    if !registry_settings(view, account)?.counts_bytes {
        return Ok(None);
    }
    let record: Option<HeldRecord> = read::record(view, &keys::held(account))?;
    Ok(Some(record.unwrap_or_else(HeldRecord::begun).held()))
}

/// What a repository holds; none: nobody counts it.
pub fn repository_held(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Result<Option<Held>, StorageError> {
    let Some(registry) = held(view, account)? else {
        return Ok(None);
    };
    let key = keys::repository_held(account, repository);
    let record: Option<RepositoryHeldRecord> = read::record(view, &key)?;
    Ok(Some(record.unwrap_or_default().held(registry.is_whole)))
}

/// At most `limit` of the registries that are counted and sort after `after`.
pub fn registries_held(
    view: &dyn KeyValue,
    after: Option<&RegistryId>,
    limit: usize,
) -> Result<Vec<(RegistryId, Held)>, StorageError> {
    let prefix = Key::new(Namespace::Held);
    let start = after.map(|after| keys::held(after).successor());
    let found = read::page(view, &prefix, start.as_ref(), limit)?;
    let found = found.into_iter().map(|(key, value)| {
        let mut parts = Parts::of(&key);
        let account = parts.registry()?;
        parts.end()?;
        let record: HeldRecord = read::decode(&key, value)?;
        Ok((account, record.held()))
    });
    found.collect()
}

/// What a repository may still take, and its registry; none: nobody counts it. A
/// repository that is not there yet holds nothing.
pub fn allowance(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
) -> Result<Option<Allowance>, StorageError> {
    let settings = registry_settings(view, account)?;
    if !settings.counts_bytes {
        return Ok(None);
    }
    let record: Option<HeldRecord> = read::record(view, &keys::held(account))?;
    let registry = record.unwrap_or_else(HeldRecord::begun);
    let here = read::record(view, &keys::repository_held(account, repository))?;
    let of = read::record(view, &keys::repository(account, repository))?;
    Ok(Some(Allowance::new(
        (account, repository),
        &settings,
        &of.unwrap_or_default(),
        &registry,
        &here.unwrap_or_default(),
    )))
}

// === impl Allowance ===

impl Allowance {
    pub(crate) fn new(
        (account, repository): (&RegistryId, &RepositoryName),
        settings: &RegistrySettings,
        record: &RepositoryRecord,
        registry: &HeldRecord,
        here: &RepositoryHeldRecord,
    ) -> Self {
        let quotas = settings.quotas.unwrap_or(settings.granted);
        let registry = registry.held();
        Self {
            account: account.clone(),
            repository: repository.clone(),
            registry,
            here: here.held(registry.is_whole),
            bytes_max: quotas.bytes,
            images_max: quotas.images,
            here_max: settings.of_repository(record),
        }
    }

    /// How many bytes more there may be; [`UNBOUNDED`]: any number.
    pub fn room_bytes(&self) -> u64 {
        let room = |held: &Held, max: u64| match max {
            UNBOUNDED => UNBOUNDED,
            max => max.saturating_sub(held.bytes),
        };
        let registry = room(&self.registry, self.bytes_max);
        registry.min(room(&self.here, self.here_max.bytes))
    }

    /// That so many bytes more may come. What brings none always may.
    ///
    /// # Errors
    /// Which quota they would exceed: the repository's first.
    pub fn check_bytes(&self, more: u64) -> Result<(), QuotaReached> {
        let fits = |held: &Held, max: u64| more == 0 || held.bytes.saturating_add(more) <= max;
        if !fits(&self.here, self.here_max.bytes) {
            let (kind, max) = (QuotaKind::RepositoryBytes, self.here_max.bytes);
            return Err(self.reached(kind, max, self.here.bytes, more));
        }
        if !fits(&self.registry, self.bytes_max) {
            let (kind, max) = (QuotaKind::RegistryBytes, self.bytes_max);
            return Err(self.reached(kind, max, self.registry.bytes, more));
        }
        Ok(())
    }

    /// That one image more may come to the registry. Those of a repository have a
    /// count of their own.
    ///
    /// # Errors
    /// The quota that it would exceed.
    pub fn check_image(&self) -> Result<(), QuotaReached> {
        if self.registry.images < self.images_max {
            return Ok(());
        }
        let (kind, max) = (QuotaKind::RegistryImages, self.images_max);
        Err(self.reached(kind, max, self.registry.images, 1))
    }

    fn reached(&self, kind: QuotaKind, max: u64, held: u64, more: u64) -> QuotaReached {
        QuotaReached {
            account: self.account.to_string(),
            repository: match kind {
                QuotaKind::RepositoryBytes => self.repository.to_string(),
                _ => String::new(),
            },
            digest: String::new(),
            max,
            kind: kind.into(),
            held,
            more,
        }
    }
}

// === impl HeldRecord, RepositoryHeldRecord ===

impl HeldRecord {
    fn held(&self) -> Held {
        Held {
            bytes: self.bytes,
            images: self.images,
            is_whole: self.counted_to.is_none(),
        }
    }
}

impl RepositoryHeldRecord {
    fn held(self, is_whole: bool) -> Held {
        Held {
            bytes: self.bytes,
            images: self.images,
            is_whole,
        }
    }
}
