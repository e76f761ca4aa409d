//! Settings that a repository of the same account has in another region.

use entrepot_metadata::command::PutReplicaSettings;
use entrepot_metadata::records::settings::MutabilityRecord;
use entrepot_oci::{AccountId, RepositoryName};
use entrepot_proto::peer::ReplicaSettings;
use tonic::Status;

use super::ReplicaServer;
use crate::error::ReplicationError;
use crate::wire;

/// Texts and tags of one repository: more than the state machine takes.
const BYTES_MAX: usize = 128 * 1024;

impl ReplicaServer {
    pub(super) async fn take_settings(
        &self,
        settings: ReplicaSettings,
    ) -> Result<(), ReplicationError> {
        let bad = |status: Status| ReplicationError::Refused(status.message().to_owned());
        let account: AccountId = wire::name(&settings.account).map_err(bad)?;
        let repository: RepositoryName = wire::name(&settings.repository).map_err(bad)?;
        let tags = settings.tags.iter();
        let tags: usize = tags.map(|(key, value)| key.len() + value.len()).sum();
        if settings.policy.len() + settings.lifecycle.len() + tags > BYTES_MAX {
            return Err(ReplicationError::Refused(
                "the settings are too large".to_owned(),
            ));
        }
        self.prepare(&account, &repository).await?;
        let command = PutReplicaSettings {
            account: settings.account,
            repository: settings.repository,
            source_region: settings.source_region,
            source_repository: settings.source_repository,
            sequence: settings.source_sequence,
            mutability: Some(MutabilityRecord {
                mode: settings.mutability,
                filters: settings.mutability_filters,
            }),
            policy: settings.policy,
            lifecycle: settings.lifecycle,
            tags: settings.tags.into_iter().collect(),
            at_ms: self.clock.now_ms(),
        };
        self.propose(command.into()).await
    }
}
