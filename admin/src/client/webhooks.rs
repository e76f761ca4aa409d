//! The service `Webhooks`: who is told what happens.

use entrepot_proto::admin::{
    DeleteWebhookRequest, ListWebhooksRequest, PutWebhookRequest, TestWebhookRequest, Webhook,
    WebhookStatus,
};

use super::Client;
use crate::failure::{Effect, Failure};

impl Client {
    /// The secret of a new one; none: it was there.
    pub(crate) async fn put_webhook(&self, webhook: Webhook) -> Result<Option<String>, Failure> {
        let request = PutWebhookRequest {
            webhook: Some(webhook),
        };
        let mut webhooks = self.webhooks.clone();
        let reply = self
            .timed(Effect::ChangesWebhooks, request, async |request| {
                webhooks.put_webhook(request).await
            })
            .await?;
        Ok(Some(reply.secret).filter(|secret| !secret.is_empty()))
    }

    pub(crate) async fn webhooks(&self) -> Result<Vec<WebhookStatus>, Failure> {
        let mut webhooks = self.webhooks.clone();
        let reply = self
            .timed(Effect::Reads, ListWebhooksRequest {}, async |request| {
                webhooks.list_webhooks(request).await
            })
            .await?;
        Ok(reply.webhooks)
    }

    pub(crate) async fn delete_webhook(&self, name: &str) -> Result<(), Failure> {
        let request = DeleteWebhookRequest {
            name: name.to_owned(),
        };
        let mut webhooks = self.webhooks.clone();
        self.timed(Effect::ChangesWebhooks, request, async |request| {
            webhooks.delete_webhook(request).await
        })
        .await
        .map(drop)
    }

    pub(crate) async fn test_webhook(&self, name: &str) -> Result<(), Failure> {
        let request = TestWebhookRequest {
            name: name.to_owned(),
        };
        let mut webhooks = self.webhooks.clone();
        self.timed(Effect::Reads, request, async |request| {
            webhooks.test_webhook(request).await
        })
        .await
        .map(drop)
    }
}
