//! The fake node's service `Trust`: one token for everybody, and nodes that can
//! be revoked once.

use entrepot_proto::admin::trust_server::Trust;
use entrepot_proto::admin::{
    CreateJoinTokenReply, CreateJoinTokenRequest, RevokeNodeReply, RevokeNodeRequest,
};
use tonic::{Request, Status};

use crate::fake::{Answer, Service};

pub(crate) const EXPIRES_AT_MS: i64 = 1_767_225_600_000;

#[tonic::async_trait]
impl Trust for Service {
    async fn create_join_token(
        &self,
        request: Request<CreateJoinTokenRequest>,
    ) -> Answer<CreateJoinTokenReply> {
        let asked = self.enter(request).await?;
        let reply = CreateJoinTokenReply {
            token: format!("entrepot_join_{}_{}", asked.region, asked.ttl_s),
            expires_at_ms: EXPIRES_AT_MS,
        };
        Ok(tonic::Response::new(reply))
    }

    async fn revoke_node(&self, request: Request<RevokeNodeRequest>) -> Answer<RevokeNodeReply> {
        let node = self.enter(request).await?.node;
        let state = self.0.lock().unwrap();
        if state.nodes.nodes.iter().any(|known| known.id == node) {
            Ok(tonic::Response::new(RevokeNodeReply { revoked: 1 }))
        } else {
            Err(Status::not_found("node is unknown"))
        }
    }
}
