//! The fake node's service `Webhooks`: a list, and one secret for all that are new.

use entrepot_proto::admin::webhooks_server::Webhooks;
use entrepot_proto::admin::{
    DeleteWebhookReply, DeleteWebhookRequest, ListWebhooksReply, ListWebhooksRequest,
    PutWebhookReply, PutWebhookRequest, TestWebhookReply, TestWebhookRequest, Webhook,
    WebhookEvent, WebhookStatus,
};
use tonic::{Request, Response, Status};

use crate::fake::{Answer, Service, hours_ago_ms};

pub(crate) const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) fn sample_webhooks() -> Vec<WebhookStatus> {
    vec![WebhookStatus {
        webhook: Some(Webhook {
            name: "deploy".to_owned(),
            url: "https://deploy.example.com/".to_owned(),
            repositories: vec!["team/*".to_owned()],
            events: vec![WebhookEvent::Push.into()],
            paused: false,
        }),
        created_at_ms: hours_ago_ms(50),
        delivered_at_ms: Some(hours_ago_ms(3)),
        failing_since_ms: Some(hours_ago_ms(2)),
        failing_reason: "it answered with status 503".to_owned(),
        entries_behind: 17,
    }]
}

#[tonic::async_trait]
impl Webhooks for Service {
    async fn put_webhook(&self, request: Request<PutWebhookRequest>) -> Answer<PutWebhookReply> {
        let asked = self.enter(request).await?.webhook.unwrap_or_default();
        let mut state = self.0.lock().unwrap();
        let name = asked.name.clone();
        let is_known = state.webhooks.iter().any(|known| is(known, &name));
        state.webhooks.retain(|known| !is(known, &name));
        state.webhooks.push(WebhookStatus {
            webhook: Some(asked),
            ..WebhookStatus::default()
        });
        let secret = if is_known { "" } else { WEBHOOK_SECRET };
        Ok(Response::new(PutWebhookReply {
            secret: secret.to_owned(),
        }))
    }

    async fn list_webhooks(
        &self,
        request: Request<ListWebhooksRequest>,
    ) -> Answer<ListWebhooksReply> {
        self.enter(request).await?;
        let webhooks = self.0.lock().unwrap().webhooks.clone();
        Ok(Response::new(ListWebhooksReply { webhooks }))
    }

    async fn delete_webhook(
        &self,
        request: Request<DeleteWebhookRequest>,
    ) -> Answer<DeleteWebhookReply> {
        let asked = self.enter(request).await?;
        let mut state = self.0.lock().unwrap();
        let before = state.webhooks.len();
        state.webhooks.retain(|known| !is(known, &asked.name));
        if state.webhooks.len() == before {
            return Err(Status::not_found("there is no such webhook"));
        }
        Ok(Response::new(DeleteWebhookReply {}))
    }

    async fn test_webhook(&self, request: Request<TestWebhookRequest>) -> Answer<TestWebhookReply> {
        let asked = self.enter(request).await?;
        let state = self.0.lock().unwrap();
        if !state.webhooks.iter().any(|known| is(known, &asked.name)) {
            return Err(Status::not_found("there is no such webhook"));
        }
        Ok(Response::new(TestWebhookReply {}))
    }
}

fn is(status: &WebhookStatus, name: &str) -> bool {
    status
        .webhook
        .as_ref()
        .is_some_and(|webhook| webhook.name == name)
}
