//! One task: a deletion goes to one destination.
//!
//! It carries the log index at which it was made, by which the destination puts it
//! in its place among the pushes of this region, whichever arrives first.

use entrepot_metadata::query::{Rule, Task};
use entrepot_proto::peer::ReplicaDeletion;
use tonic::Request;

use super::{CALL_TIMEOUT, name_at_destination};
use crate::error::ReplicationError;
use crate::outbox::Outbox;

impl Outbox {
    /// Safe to repeat.
    pub(super) async fn ship_deletion(
        &self,
        task: &Task,
        rule: &Rule,
        failures: u32,
    ) -> Result<(), ReplicationError> {
        let destination = self.destination(task, failures)?;
        let mut request = Request::new(ReplicaDeletion {
            account: task.key.destination.account.to_string(),
            source_account: task.key.account.to_string(),
            repository: name_at_destination(rule, task)?.to_string(),
            digest: task.key.digest.to_string(),
            tag: task
                .key
                .tag
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            source_region: self.blobs.region().to_string(),
            source_sequence: task.sequence,
            source_repository: task.key.repository.to_string(),
        });
        request.set_timeout(CALL_TIMEOUT);
        let mut client = destination.client.clone();
        let reply = client.delete_image(request).await;
        destination.done(reply)
    }
}
