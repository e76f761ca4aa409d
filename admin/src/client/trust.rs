//! The service `Trust`: who may join, and who may not stay.

use std::time::Duration;

use entrepot_proto::admin::{CreateJoinTokenReply, CreateJoinTokenRequest, RevokeNodeRequest};

use super::Client;
use crate::failure::{Effect, Failure};

impl Client {
    pub(crate) async fn create_join_token(
        &self,
        region: &str,
        ttl: Duration,
    ) -> Result<CreateJoinTokenReply, Failure> {
        let request = CreateJoinTokenRequest {
            region: region.to_owned(),
            ttl_s: ttl.as_secs(),
        };
        let mut trust = self.trust.clone();
        self.timed(Effect::MakesToken, request, async |request| {
            trust.create_join_token(request).await
        })
        .await
    }

    /// How many certificates were good.
    pub(crate) async fn revoke_node(&self, node: u64) -> Result<u32, Failure> {
        let mut trust = self.trust.clone();
        let request = RevokeNodeRequest { node };
        let reply = self
            .timed(Effect::ChangesNodes, request, async |request| {
                trust.revoke_node(request).await
            })
            .await;
        let reply = reply.map_err(|failure| failure.or_missing(|| Failure::NodeUnknown(node)))?;
        Ok(reply.revoked)
    }
}
