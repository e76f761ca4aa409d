//! How much a registry may have: set, told, and begun to be counted. A registry sets
//! itself less than it was given; operators of the cluster give more.
//!
//! The metadata decides, when something is made, whether there may be one more. Here
//! it is seen to that it counts at all: from the first thing on that is made in a
//! registry once every node of the cluster knows how. And nobody shall send in vain
//! what never fits: that is looked at before the bytes come, and while they do.

use entrepot_metadata::command::{CountHeld, PutRegistrySettings, QUOTAS_LEVEL, QuotasChange};
use entrepot_metadata::query::{self, Allowance, Count, Held, Quotas};
use entrepot_metadata::{KeyValue, StorageError};
use entrepot_oci::{Digest, RegistryId, RepositoryName};

use crate::metadata::refused;
use crate::{Registry, ServiceError};

/// Bytes after which an upload that goes on looks again whether it still fits.
const LOOK_BYTES: u64 = 16 * 1024 * 1024;
/// Steps of a count in the request that begins it: a few seconds, and a million of
/// links and manifests. What is left is counted with the pushes that follow.
const COUNT_STEPS_MAX: usize = 1_000;

/// What a registry may have, and how many repositories it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaInfo {
    pub quotas: Quotas,
    /// None: nobody has counted.
    pub repositories: Option<Count>,
    /// None: nobody counts it, since no quota needs it.
    pub held: Option<Held>,
}

impl Registry {
    /// What the registry of an account may have, as far as this node knows.
    pub(crate) fn quotas(&self, account: &RegistryId) -> Result<Quotas, ServiceError> {
        let settings = query::registry_settings(self.local()?.as_ref(), account)?;
        Ok(settings.quotas.unwrap_or(settings.granted))
    }

    /// Lets what is made in the registry of an account be counted from now on, if
    /// every node of the cluster knows how.
    pub(crate) async fn counted(&self, registry: &RegistryId) -> Result<(), ServiceError> {
        let settings = query::registry_settings(self.local()?.as_ref(), registry)?;
        if settings.quotas.is_some() || !self.metadata.understands(QUOTAS_LEVEL)? {
            return Ok(());
        }
        let begin = PutRegistrySettings {
            quotas: Some(QuotasChange::default()),
            ..PutRegistrySettings::new(registry)
        };
        let response = self.propose(begin.into()).await?;
        response.into_result().map(drop).map_err(refused)
    }

    /// That `bytes` more may come to a repository, in one blob. One that it has, as
    /// far as `digest` tells, brings none.
    ///
    /// # Errors
    /// `LimitExceeded`, after a linearizable look: what went a moment ago has made
    /// room.
    pub(crate) async fn fits(
        &self,
        home: (&RegistryId, &RepositoryName),
        bytes: u64,
        digest: Option<&Digest>,
    ) -> Result<(), ServiceError> {
        self.allowance(home, bytes, digest).await.map(drop)
    }

    /// Up to which size a blob may go on that has got as far as `bytes`, before it is
    /// looked again.
    ///
    /// # Errors
    /// As [`Registry::fits`].
    pub(crate) async fn fits_up_to(
        &self,
        home: (&RegistryId, &RepositoryName),
        bytes: u64,
        digest: Option<&Digest>,
    ) -> Result<u64, ServiceError> {
        let allowed = self.allowance(home, bytes, digest).await?;
        Ok(allowed.map_or(u64::MAX, |allowance| {
            let next = bytes.saturating_add(LOOK_BYTES);
            allowance.room_bytes().clamp(bytes, next)
        }))
    }

    /// None: nothing is bounded.
    async fn allowance(
        &self,
        home: (&RegistryId, &RepositoryName),
        bytes: u64,
        digest: Option<&Digest>,
    ) -> Result<Option<Allowance>, ServiceError> {
        let looked = look(self.local()?.as_ref(), home, bytes, digest)?;
        let looked = match looked {
            Err(_) => look(self.current().await?.as_ref(), home, bytes, digest)?,
            fits @ Ok(_) => fits,
        };
        looked.map_err(ServiceError::LimitExceeded)
    }

    /// Counts what a registry holds, if that has begun, as far as one request goes.
    pub(crate) async fn count_held(&self, registry: &RegistryId) -> Result<(), ServiceError> {
        for _ in 0..COUNT_STEPS_MAX {
            let held = query::held(self.local()?.as_ref(), registry)?;
            if held.is_none_or(|held| held.is_whole) {
                return Ok(());
            }
            let response = self.propose(CountHeld::new(registry).into()).await?;
            response.into_result().map_err(refused)?;
        }
        Ok(())
    }
}

/// Why so many bytes do not fit; `Ok(None)`: nothing is bounded.
fn look(
    view: &dyn KeyValue,
    (account, repository): (&RegistryId, &RepositoryName),
    bytes: u64,
    digest: Option<&Digest>,
) -> Result<Result<Option<Allowance>, String>, StorageError> {
    let Some(allowance) = query::allowance(view, account, repository)? else {
        return Ok(Ok(None));
    };
    let Err(reached) = allowance.check_bytes(bytes) else {
        return Ok(Ok(Some(allowance)));
    };
    if let Some(digest) = digest
        && query::linked(view, account, repository, digest)?
    {
        return Ok(Ok(None));
    }
    Ok(Err(reached.to_string()))
}
