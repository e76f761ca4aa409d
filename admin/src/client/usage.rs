//! The service `Usage`: how much registries hold.

use entrepot_oci::AccountId;
use entrepot_proto::admin::{GetUsageReply, GetUsageRequest};

use super::Client;
use crate::failure::{Effect, Failure};

impl Client {
    /// None: of one's own registry.
    pub(crate) async fn usage(&self, account: Option<AccountId>) -> Result<GetUsageReply, Failure> {
        let request = GetUsageRequest {
            account: account.map(|it| it.to_string()).unwrap_or_default(),
        };
        let mut usage = self.usage.clone();
        self.timed(Effect::Reads, request, async |request| {
            usage.get_usage(request).await
        })
        .await
    }
}
