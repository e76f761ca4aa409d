//! `entrepot.admin.v1.Usage`: how much registries hold.

use std::sync::Arc;

use entrepot_proto::admin;
use entrepot_proto::admin::usage_server::Usage;
use entrepot_service::{Amount, ClassAmounts, Registry};
use tonic::{Request, Response, Status};

use crate::admin::{bounded, meaning};
use crate::caller;
use crate::status::status;

/// Serves operators.
#[derive(Debug, Clone)]
pub(crate) struct UsageServer {
    registry: Arc<Registry>,
}

// === impl UsageServer ===

impl UsageServer {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[tonic::async_trait]
impl Usage for UsageServer {
    async fn get_usage(
        &self,
        request: Request<admin::GetUsageRequest>,
    ) -> Result<Response<admin::GetUsageReply>, Status> {
        let who = caller::of(&request)?;
        let who = meaning(who, &request.into_inner().account)?;
        let usage = self.registry.usage(&who).await;
        let usage = usage.map_err(|error| status(&error))?;
        let repositories = usage.repositories.into_iter();
        Ok(Response::new(admin::GetUsageReply {
            account: who.account.account().to_string(),
            region: self.registry.region().to_string(),
            amounts: shown(usage.total),
            repositories: repositories
                .map(|(repository, amounts)| admin::RepositoryUsage {
                    repository: repository.to_string(),
                    amounts: shown(amounts),
                })
                .collect(),
            repositories_left_out: usage.repositories_left_out,
            restorable: Some(of_class("STANDARD", usage.restorable)),
            quota_bytes: usage.held.map(|held| held.bytes),
            bytes_max: bounded(usage.bytes_max),
        }))
    }
}

/// Of the archive only where there is one.
fn shown(amounts: ClassAmounts) -> Vec<admin::UsageAmount> {
    let archive = Some(("ARCHIVE", amounts.archive)).filter(|(_, amount)| amount.images > 0);
    let all = [("STANDARD", amounts.standard)].into_iter().chain(archive);
    all.map(|(class, amount)| of_class(class, amount)).collect()
}

fn of_class(class: &str, amount: Amount) -> admin::UsageAmount {
    admin::UsageAmount {
        storage_class: class.to_owned(),
        images: amount.images,
        logical_bytes: amount.logical_bytes,
        unique_bytes: amount.unique_bytes,
    }
}
