//! `entrepot.admin.v1.Webhooks`: who is told what happens.

use std::sync::Arc;

use entrepot_proto::admin;
use entrepot_proto::admin::webhooks_server::Webhooks;
use entrepot_service::{EventKind, Registry, WebhookInfo, WebhookSpec};
use tonic::{Request, Response, Status};

use crate::caller;
use crate::status::status;

/// Serves operators.
#[derive(Debug, Clone)]
pub(crate) struct WebhooksServer {
    registry: Arc<Registry>,
}

// === impl WebhooksServer ===

impl WebhooksServer {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

#[tonic::async_trait]
impl Webhooks for WebhooksServer {
    async fn put_webhook(
        &self,
        request: Request<admin::PutWebhookRequest>,
    ) -> Result<Response<admin::PutWebhookReply>, Status> {
        let who = caller::of(&request)?;
        let webhook = request
            .into_inner()
            .webhook
            .ok_or_else(|| Status::invalid_argument("the request has no webhook"))?;
        let events = webhook.events().map(parsed).collect::<Result<_, _>>()?;
        let spec = WebhookSpec {
            url: webhook.url,
            repositories: webhook.repositories,
            events,
            paused: webhook.paused,
        };
        let put = self.registry.put_webhook(&who, &webhook.name, spec).await;
        let (_, secret) = put.map_err(|error| status(&error))?;
        Ok(Response::new(admin::PutWebhookReply {
            secret: secret.map_or_else(String::new, |secret| secret.expose().to_owned()),
        }))
    }

    async fn list_webhooks(
        &self,
        request: Request<admin::ListWebhooksRequest>,
    ) -> Result<Response<admin::ListWebhooksReply>, Status> {
        let who = caller::of(&request)?;
        let webhooks = self.registry.webhooks(&who).await;
        let webhooks = webhooks.map_err(|error| status(&error))?;
        Ok(Response::new(admin::ListWebhooksReply {
            webhooks: webhooks.into_iter().map(shown).collect(),
        }))
    }

    async fn delete_webhook(
        &self,
        request: Request<admin::DeleteWebhookRequest>,
    ) -> Result<Response<admin::DeleteWebhookReply>, Status> {
        let who = caller::of(&request)?;
        let deleted = self.registry.delete_webhook(&who, &request.get_ref().name);
        deleted.await.map_err(|error| status(&error))?;
        Ok(Response::new(admin::DeleteWebhookReply {}))
    }

    async fn test_webhook(
        &self,
        request: Request<admin::TestWebhookRequest>,
    ) -> Result<Response<admin::TestWebhookReply>, Status> {
        let who = caller::of(&request)?;
        let tested = self.registry.test_webhook(&who, &request.get_ref().name);
        tested.await.map_err(|error| status(&error))?;
        Ok(Response::new(admin::TestWebhookReply {}))
    }
}

#[allow(clippy::result_large_err, reason = "tonic's error type")]
fn parsed(event: admin::WebhookEvent) -> Result<EventKind, Status> {
    match event {
        admin::WebhookEvent::Push => Ok(EventKind::Push),
        admin::WebhookEvent::Delete => Ok(EventKind::Delete),
        admin::WebhookEvent::Replicate => Ok(EventKind::Replicate),
        admin::WebhookEvent::StorageClass => Ok(EventKind::StorageClass),
        admin::WebhookEvent::Unspecified => Err(Status::invalid_argument(
            "an event is of no kind that is known",
        )),
    }
}

fn shown(info: WebhookInfo) -> admin::WebhookStatus {
    let event = |kind: &EventKind| match kind {
        EventKind::Push => admin::WebhookEvent::Push.into(),
        EventKind::Delete => admin::WebhookEvent::Delete.into(),
        EventKind::Replicate => admin::WebhookEvent::Replicate.into(),
        EventKind::StorageClass => admin::WebhookEvent::StorageClass.into(),
    };
    let (failing_since_ms, failing_reason) = match info.failing {
        Some(failing) => (Some(failing.since_ms), failing.reason),
        None => (None, String::new()),
    };
    admin::WebhookStatus {
        webhook: Some(admin::Webhook {
            name: info.name,
            url: info.spec.url,
            repositories: info.spec.repositories,
            events: info.spec.events.iter().map(event).collect(),
            paused: info.spec.paused,
        }),
        created_at_ms: info.created_at_ms,
        delivered_at_ms: info.delivered_at_ms,
        failing_since_ms,
        failing_reason,
        entries_behind: info.entries_behind,
    }
}
