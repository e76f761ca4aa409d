//! `entrepot webhook`.

use entrepot_proto::admin;

use super::print;
use crate::arguments::{Event, Webhook, WebhookPut};
use crate::client::Client;
use crate::failure::Failure;
use crate::report::{DeletedWebhook, PutWebhook, ToldWebhook, WebhooksReport};

pub(super) async fn webhook(client: &Client, command: Webhook, json: bool) -> Result<(), Failure> {
    match command {
        Webhook::Put(options) => put(client, options, json).await,
        Webhook::List => print(&WebhooksReport::from(client.webhooks().await?), json),
        Webhook::Delete { name } => match client.delete_webhook(&name).await {
            Ok(()) => print(&DeletedWebhook { deleted: name }, json),
            Err(failure) => Err(failure.or_missing(|| Failure::WebhookUnknown(name))),
        },
        Webhook::Test { name } => match client.test_webhook(&name).await {
            Ok(()) => print(&ToldWebhook { told: name }, json),
            Err(failure) => Err(failure.or_missing(|| Failure::WebhookUnknown(name))),
        },
    }
}

async fn put(client: &Client, options: WebhookPut, json: bool) -> Result<(), Failure> {
    let event = |event: &Event| match event {
        Event::Push => admin::WebhookEvent::Push.into(),
        Event::Delete => admin::WebhookEvent::Delete.into(),
        Event::Replicate => admin::WebhookEvent::Replicate.into(),
        Event::StorageClass => admin::WebhookEvent::StorageClass.into(),
    };
    let webhook = admin::Webhook {
        name: options.name.clone(),
        url: options.url,
        repositories: options.repositories,
        events: options.events.iter().map(event).collect(),
        paused: options.paused,
    };
    let secret = client.put_webhook(webhook).await?;
    let report = PutWebhook {
        webhook: options.name,
        secret,
    };
    print(&report, json)
}
