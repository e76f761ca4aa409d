//! What registries and repositories may hold, counted anew each time.

use std::collections::HashMap;

use entrepot_metadata::command::{LinkBlob, PutManifest, PutRegistrySettings, QuotasChange};
use entrepot_metadata::response::{QuotaKind, QuotaReached, Refused};
use proptest::option;
use proptest::prelude::{Strategy, any};

use crate::oracle::{Home, Oracle};

/// By account: bytes, bytes of a repository and images; 0 of any: no quota.
pub(crate) type Quotas = HashMap<String, (u64, u64, u64)>;

/// A few blobs and manifests are too many, or there is no quota.
pub(crate) fn change() -> impl Strategy<Value = Option<QuotasChange>> {
    let max = || option::of((0..5_u64).prop_map(|blobs| blobs * 120));
    let images = option::of(0..4_u64);
    let change = (max(), max(), images, any::<bool>());
    change.prop_map(|(bytes, repository_bytes, registry_images, is_set)| {
        is_set.then_some(QuotasChange {
            bytes,
            repository_bytes,
            registry_images,
            ..QuotasChange::default()
        })
    })
}

impl Oracle {
    pub(crate) fn set_quotas(&mut self, it: &PutRegistrySettings) {
        if let Some(change) = &it.quotas {
            let set = self.quotas.entry(it.account.clone()).or_default();
            set.0 = change.bytes.unwrap_or(set.0);
            set.1 = change.repository_bytes.unwrap_or(set.1);
            set.2 = change.registry_images.unwrap_or(set.2);
        }
    }

    /// That a repository may have a blob, which it has perhaps.
    pub(crate) fn takes_blob(&self, home: &Home, digest: &str) -> Result<(), Refused> {
        if self.links.contains(&(home.clone(), digest.to_owned())) {
            return Ok(());
        }
        self.takes_bytes(home, self.blobs[digest].0)
    }

    /// The same of what is linked, unless another registry has sent it.
    pub(crate) fn takes_link(&self, home: &Home, it: &LinkBlob) -> Result<(), Refused> {
        if it.is_replica {
            return Ok(());
        }
        self.takes_blob(home, &it.digest)
    }

    /// That a repository may have an image that is new to it.
    pub(crate) fn takes_image(&self, home: &Home, it: &PutManifest) -> Result<(), Refused> {
        if it.origin.is_some() {
            return Ok(());
        }
        self.takes_number(home, 0)?;
        self.takes_bytes(home, it.content.len() as u64)
    }

    /// That a registry may have one image more than it has, and than `more`.
    pub(crate) fn takes_number(&self, home: &Home, more: u64) -> Result<(), Refused> {
        let images = self.manifests.keys().filter(|(at, _)| at.0 == home.0);
        let held = images.count() as u64 + more;
        let max = self.quotas_of(home).2;
        if max > 0 && held >= max {
            return Err(reached(home, QuotaKind::RegistryImages, (max, held, 1)));
        }
        Ok(())
    }

    fn quotas_of(&self, home: &Home) -> (u64, u64, u64) {
        self.quotas.get(&home.0).copied().unwrap_or_default()
    }

    fn takes_bytes(&self, home: &Home, more: u64) -> Result<(), Refused> {
        let (all, each, _) = self.quotas_of(home);
        let bounds = [
            (
                QuotaKind::RepositoryBytes,
                each,
                self.bytes_of(|at| at == home),
            ),
            (
                QuotaKind::RegistryBytes,
                all,
                self.bytes_of(|at| at.0 == home.0),
            ),
        ];
        for (kind, max, held) in bounds {
            if max > 0 && more > 0 && held + more > max {
                return Err(reached(home, kind, (max, held, more)));
            }
        }
        Ok(())
    }

    fn bytes_of(&self, is_meant: impl Fn(&Home) -> bool) -> u64 {
        let links = self.links.iter().filter(|(at, _)| is_meant(at));
        let blobs: u64 = links.map(|(_, digest)| self.blobs[digest].0).sum();
        let manifests = self.manifests.iter().filter(|((at, _), _)| is_meant(at));
        let manifests: u64 = manifests.map(|(_, it)| it.content.len() as u64).sum();
        // What is kept of deleted images counts until it goes.
        let deleted = self.deleted.iter().filter(|((at, _), _)| is_meant(at));
        let deleted: u64 = deleted
            .map(|(_, it)| it.manifest.content.len() as u64)
            .sum();
        blobs + manifests + deleted
    }
}

fn reached(home: &Home, kind: QuotaKind, (max, held, more): (u64, u64, u64)) -> Refused {
    let repository = match kind {
        QuotaKind::RepositoryBytes => home.1.clone(),
        _ => String::new(),
    };
    Refused::QuotaReached(QuotaReached {
        account: home.0.clone(),
        repository,
        max,
        kind: kind.into(),
        held,
        more,
        ..QuotaReached::default()
    })
}
