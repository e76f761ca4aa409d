//! What operators ask about the care for copies: scrub and repair.

use entrepot_replication::upkeep::NodeUpkeep;

use crate::{Caller, Registry, ServiceError};

impl Registry {
    /// How scrub and repair stand on every node of this region.
    ///
    /// # Errors
    /// As [`Registry::observes`].
    pub async fn upkeep(&self, who: &Caller) -> Result<Vec<NodeUpkeep>, ServiceError> {
        self.observes(who)?;
        Ok(self.blobs.upkeep_of_all().await)
    }

    /// Begins a scrub on `node`, or on every node of this region.
    pub async fn start_scrub(
        &self,
        who: &Caller,
        node: Option<u64>,
    ) -> Result<Vec<NodeUpkeep>, ServiceError> {
        self.operates(who)?;
        let nodes = self.blobs.start_scrub(node).await;
        match node {
            Some(node) if nodes.is_empty() => Err(ServiceError::NotFound(format!(
                "region {} has no node {node}",
                self.region()
            ))),
            _ => Ok(nodes),
        }
    }
}
