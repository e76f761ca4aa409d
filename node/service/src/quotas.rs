//! How much a registry may have: set, told, and begun to be counted. A registry sets
//! itself less than it was given; operators of the cluster give more.
//!
//! The metadata decides, when something is made, whether there may be one more. Here
//! it is seen to that it counts at all: from the first thing on that is made in a
//! registry once every node of the cluster knows how.

use entrepot_metadata::command::{PutRegistrySettings, QUOTAS_LEVEL, QuotasChange};
use entrepot_metadata::query::{self, Count, Quotas};
use entrepot_oci::RegistryId;

use crate::metadata::refused;
use crate::{Registry, ServiceError};

/// What a registry may have, and how many repositories it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaInfo {
    pub quotas: Quotas,
    /// None: nobody has counted.
    pub repositories: Option<Count>,
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
}
