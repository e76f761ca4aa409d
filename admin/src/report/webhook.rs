//! `entrepot webhook put`, `list`, `delete` and `test`

use entrepot_proto::admin;
use serde::Serialize;

use crate::human;
use crate::report::Report;

/// The one place where a webhook's secret is seen.
#[derive(Serialize)]
pub(crate) struct PutWebhook {
    pub(crate) webhook: String,
    /// None: it was there, and keeps its own.
    pub(crate) secret: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct WebhooksReport {
    webhooks: Vec<Webhook>,
}

#[derive(Debug, Serialize)]
struct Webhook {
    name: String,
    url: String,
    /// None: every repository.
    repositories: Vec<String>,
    /// None: everything.
    events: Vec<&'static str>,
    paused: bool,
    created_at_ms: i64,
    delivered_at_ms: Option<i64>,
    failing: Option<Failing>,
    entries_behind: u64,
}

#[derive(Debug, Serialize)]
struct Failing {
    since_ms: i64,
    reason: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct DeletedWebhook {
    pub(crate) deleted: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct ToldWebhook {
    pub(crate) told: String,
}

// === impl PutWebhook ===

impl Report for PutWebhook {
    fn people(&self, _now_ms: i64) -> String {
        let name = human::plain(&self.webhook);
        match &self.secret {
            Some(secret) => format!(
                "Created webhook {name}.\n\nSecret:  {}\n\nThe secret is not shown again.",
                human::plain(secret)
            ),
            None => format!("Changed webhook {name}. Its secret is what it was."),
        }
    }
}

// === impl WebhooksReport ===

impl From<Vec<admin::WebhookStatus>> for WebhooksReport {
    fn from(webhooks: Vec<admin::WebhookStatus>) -> Self {
        let webhooks = webhooks.into_iter().map(Webhook::from).collect();
        Self { webhooks }
    }
}

impl From<admin::WebhookStatus> for Webhook {
    fn from(status: admin::WebhookStatus) -> Self {
        let webhook = status.webhook.unwrap_or_default();
        let reason = status.failing_reason;
        Self {
            events: webhook.events().map(name).collect(),
            name: webhook.name,
            url: webhook.url,
            repositories: webhook.repositories,
            paused: webhook.paused,
            created_at_ms: status.created_at_ms,
            delivered_at_ms: status.delivered_at_ms,
            failing: status
                .failing_since_ms
                .map(|since_ms| Failing { since_ms, reason }),
            entries_behind: status.entries_behind,
        }
    }
}

fn name(event: admin::WebhookEvent) -> &'static str {
    match event {
        admin::WebhookEvent::Push => "push",
        admin::WebhookEvent::Delete => "delete",
        admin::WebhookEvent::Replicate => "replicate",
        admin::WebhookEvent::StorageClass => "storage-class",
        admin::WebhookEvent::Unspecified => "unknown",
    }
}

impl Webhook {
    fn state(&self, now_ms: i64) -> String {
        match (&self.failing, self.paused) {
            (_, true) => "paused".to_owned(),
            (Some(failing), false) => format!(
                "failing for {}: {}",
                human::between(failing.since_ms, now_ms),
                failing.reason
            ),
            (None, false) => "ok".to_owned(),
        }
    }
}

impl Report for WebhooksReport {
    fn people(&self, now_ms: i64) -> String {
        if self.webhooks.is_empty() {
            return "There are no webhooks: nobody is told what happens.".to_owned();
        }
        let list = |items: &[String], none: &str| match items {
            [] => none.to_owned(),
            items => human::list(items),
        };
        human::table(
            [
                "WEBHOOK",
                "URL",
                "REPOSITORIES",
                "EVENTS",
                "DELIVERED",
                "BEHIND",
                "STATE",
            ],
            self.webhooks.iter().map(|webhook| {
                let events: Vec<String> = webhook.events.iter().map(ToString::to_string).collect();
                let delivered = webhook.delivered_at_ms;
                [
                    webhook.name.clone(),
                    webhook.url.clone(),
                    list(&webhook.repositories, "all"),
                    list(&events, "all"),
                    delivered.map_or_else(String::new, |at| human::between(at, now_ms)),
                    webhook.entries_behind.to_string(),
                    webhook.state(now_ms),
                ]
            }),
        )
    }
}

// === impl DeletedWebhook, ToldWebhook ===

impl Report for DeletedWebhook {
    fn people(&self, _now_ms: i64) -> String {
        format!("Deleted webhook {}.", human::plain(&self.deleted))
    }
}

impl Report for ToldWebhook {
    fn people(&self, _now_ms: i64) -> String {
        format!("Webhook {} has taken a message.", human::plain(&self.told))
    }
}
