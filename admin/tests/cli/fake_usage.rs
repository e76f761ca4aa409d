//! The fake node's service `Usage`: two repositories that share a layer.

use entrepot_proto::admin::usage_server::Usage;
use entrepot_proto::admin::{GetUsageReply, GetUsageRequest, RepositoryUsage, UsageAmount};
use tonic::{Request, Response};

use crate::fake::{Answer, Service};

const MIB: u64 = 1024 * 1024;

fn amount(images: u64, logical_bytes: u64, unique_bytes: u64) -> Vec<UsageAmount> {
    vec![UsageAmount {
        storage_class: "STANDARD".to_owned(),
        images,
        logical_bytes,
        unique_bytes,
    }]
}

#[tonic::async_trait]
impl Usage for Service {
    async fn get_usage(&self, request: Request<GetUsageRequest>) -> Answer<GetUsageReply> {
        let account = self.enter(request).await?.account;
        let repository = |name: &str, amounts| RepositoryUsage {
            repository: name.to_owned(),
            amounts,
        };
        Ok(Response::new(GetUsageReply {
            account: if account.is_empty() {
                "123456789012".to_owned()
            } else {
                account
            },
            region: "us-east-1".to_owned(),
            amounts: amount(15, 150 * MIB, 60 * MIB),
            repositories: vec![
                repository("team/app", amount(12, 120 * MIB, 50 * MIB)),
                repository("base/alpine", amount(3, 30 * MIB, 30 * MIB)),
            ],
            repositories_left_out: 2,
            restorable: amount(2, 20 * MIB, 8 * MIB).pop(),
            quota_bytes: Some(80 * MIB),
            bytes_max: Some(500 << 30),
        }))
    }
}
