//! One task: a deletion goes to one destination.
//!
//! It carries the log index at which it was made, by which the destination puts it
//! in its place among the pushes of this source, whichever arrives first.

use entrepot_metadata::query::{Task, TaskKind};
use entrepot_oci::Tag;
use entrepot_proto::peer::ReplicaDeletion;
use tonic::Request;

use super::{CALL_TIMEOUT, names_there};
use crate::error::ReplicationError;
use crate::outbox::Outbox;

impl Outbox {
    /// The deletion that the task is, or the image's that it came after: to wherever
    /// its copies went. Safe to repeat.
    pub(super) async fn ship_deletion(
        &self,
        task: &Task,
        sequence: u64,
        failures: u32,
    ) -> Result<(), ReplicationError> {
        let destination = self.destination(task, failures)?;
        let is_of_tag = task.kind == TaskKind::Delete;
        let tag = task.key.tag.as_ref().filter(|_| is_of_tag);
        for name in names_there(task)? {
            let mut request = Request::new(ReplicaDeletion {
                account: task.key.destination.account.to_string(),
                source_account: task.key.account.to_string(),
                source_repository: task.key.repository.to_string(),
                repository: name.to_string(),
                digest: task.key.digest.to_string(),
                tag: tag.map(Tag::to_string).unwrap_or_default(),
                source_region: self.blobs.region().to_string(),
                source_sequence: sequence,
            });
            request.set_timeout(CALL_TIMEOUT);
            let mut client = destination.client.clone();
            let reply = client.delete_image(request).await;
            destination.done(reply)?;
        }
        Ok(())
    }
}
