//! `entrepot.admin.v1.Trust`: which machines are nodes of the cluster.

use std::sync::Arc;
use std::time::Duration;

use entrepot_oci::RegionName;
use entrepot_proto::admin;
use entrepot_proto::admin::trust_server::Trust;
use entrepot_service::Registry;
use tonic::{Request, Response, Status};

use crate::caller;
use crate::status::status;

/// Serves operators.
#[derive(Debug, Clone)]
pub(crate) struct TrustServer {
    registry: Arc<Registry>,
}

// === impl TrustServer ===

impl TrustServer {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[tonic::async_trait]
impl Trust for TrustServer {
    async fn create_join_token(
        &self,
        request: Request<admin::CreateJoinTokenRequest>,
    ) -> Result<Response<admin::CreateJoinTokenReply>, Status> {
        let who = caller::of(&request)?;
        let asked = request.into_inner();
        let region: Option<RegionName> = match asked.region.as_str() {
            "" => None,
            region => {
                let parsed = region.parse();
                Some(parsed.map_err(|error| Status::invalid_argument(format!("{error}")))?)
            }
        };
        let ttl = (asked.ttl_s > 0).then(|| Duration::from_secs(asked.ttl_s));
        let made = self.registry.create_join_token(&who, region, ttl);
        let made = made.await.map_err(|error| status(&error))?;
        Ok(Response::new(admin::CreateJoinTokenReply {
            token: made.token,
            expires_at_ms: made.expires_at_ms,
        }))
    }

    async fn revoke_node(
        &self,
        request: Request<admin::RevokeNodeRequest>,
    ) -> Result<Response<admin::RevokeNodeReply>, Status> {
        let who = caller::of(&request)?;
        let node = request.into_inner().node;
        let revoked = self.registry.revoke_node(&who, node).await;
        let revoked = revoked.map_err(|error| status(&error))?;
        Ok(Response::new(admin::RevokeNodeReply { revoked }))
    }
}
