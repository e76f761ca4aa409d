//! What this region keeps of replicas that are gone, and when it forgets them.
//!
//! One node of the region looks through what is kept, and asks the sources up to
//! where they have no task open any more. Two nodes that disagree on which one it is
//! ask twice, which is harmless.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_metadata::command::SettleReplicas;
use entrepot_metadata::limits::SETTLED_AT_ONCE_MAX;
use entrepot_metadata::query::{self, DeadReplica, Destination};
use entrepot_oci::{AccountId, RegionName, RegistryId};
use entrepot_proto::peer::SettledRequest;
use entrepot_proto::peer::replication_client::ReplicationClient;
use tonic::Request;
use tracing::{debug, warn};

use crate::error::{ReplicationError, chain};
use crate::outbox::Outbox;
use crate::placement;

/// Between two pages, and after the last one.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_LAST: Duration = Duration::from_mins(1);
/// Records looked at at a time.
const LOOKED_AT_MAX: usize = 1_000;
const _: () = assert!(LOOKED_AT_MAX <= SETTLED_AT_ONCE_MAX);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Names the node that asks.
const ROLE: &[u8] = b"settled replicas";

/// From where, and to whose registry here.
type Way = (RegionName, RegistryId, RegistryId);

impl Outbox {
    /// Forgets on until it is dropped.
    pub async fn forget_the_settled(self: Arc<Self>) {
        let mut after = None;
        loop {
            let pause = if after.is_some() { PAUSE } else { PAUSE_LAST };
            tokio::time::sleep(pause).await;
            if let Err(error) = self.forget_some(&mut after).await {
                warn!(
                    error = chain(&error),
                    "what is kept of replicas cannot be looked at"
                );
                after = None;
            }
        }
    }

    /// Looks at one page of what is kept, after `after`; how many records have gone.
    ///
    /// # Errors
    /// When the metadata cannot be read or changed. A source that cannot be asked is
    /// none.
    pub async fn forget_some(
        &self,
        after: &mut Option<Vec<u8>>,
    ) -> Result<usize, ReplicationError> {
        let alive = self.blobs.health().alive_in(self.blobs.region());
        if placement::first(ROLE, alive) != Some(self.blobs.own()) {
            *after = None;
            return Ok(0);
        }
        let view = self.metadata.view(&self.group)?;
        let (dead, next) = query::dead_replicas(view.as_ref(), after.as_deref(), LOOKED_AT_MAX)?;
        drop(view);
        *after = next;
        let mut ways: BTreeMap<Way, Vec<DeadReplica>> = BTreeMap::new();
        for dead in dead {
            let way = (
                dead.source.region.clone(),
                dead.source.account.clone(),
                dead.account.clone(),
            );
            ways.entry(way).or_default().push(dead);
        }
        let mut gone = 0;
        for (way, dead) in ways {
            match self.ask_settled(&way).await {
                Ok(sequence) => gone += self.forget(&way, sequence, &dead).await?,
                Err(error) => {
                    let region = &way.0;
                    debug!(%region, error = chain(&error), "cannot ask what is settled");
                }
            }
        }
        Ok(gone)
    }

    async fn ask_settled(&self, (region, source, account): &Way) -> Result<u64, ReplicationError> {
        let down = || ReplicationError::RegionDown(region.to_string());
        let node = placement::first(ROLE, self.blobs.health().alive_in(region)).ok_or_else(down)?;
        let channel = self.blobs.peers().channel(node).ok_or_else(down)?;
        let mut request = Request::new(SettledRequest {
            source_account: source.to_string(),
            region: self.blobs.region().to_string(),
            account: account.to_string(),
        });
        request.set_timeout(CALL_TIMEOUT);
        let reply = ReplicationClient::new(channel).settled(request).await;
        let reply = reply.map_err(|status| ReplicationError::peer(node, status))?;
        Ok(reply.into_inner().sequence)
    }

    async fn forget(
        &self,
        (region, source, account): &Way,
        sequence: u64,
        dead: &[DeadReplica],
    ) -> Result<usize, ReplicationError> {
        let old = dead.iter().filter(|dead| dead.sequence <= sequence);
        let records: Vec<Bytes> = old.map(|dead| dead.key.clone()).collect();
        let count = records.len();
        if count == 0 {
            return Ok(0);
        }
        let command = SettleReplicas {
            account: account.to_string(),
            region: region.to_string(),
            source_account: source.to_string(),
            sequence,
            records,
        };
        let response = self.metadata.propose(&self.group, command.into()).await?;
        let response = response.into_result();
        response.map_err(|refused| ReplicationError::Refused(refused.to_string()))?;
        debug!(%region, %source, count, "what was kept of replicas is forgotten");
        Ok(count)
    }

    /// Up to where an account of this region has no task open for a destination; 0:
    /// nothing can be said now.
    pub(crate) fn settled_here(
        metadata: &dyn entrepot_metadata::Metadata,
        group: &entrepot_metadata::GroupId,
        source: &AccountId,
        destination: &Destination,
    ) -> Result<u64, ReplicationError> {
        let applied = metadata.applied(group)?;
        let view = metadata.view(group)?;
        let found = query::settled_up_to(view.as_ref(), source, destination, applied)?;
        // What moved from one list to the other meanwhile may be in neither.
        let is_still = metadata.applied(group)? == applied;
        Ok(found.filter(|_| is_still).unwrap_or_default())
    }
}
