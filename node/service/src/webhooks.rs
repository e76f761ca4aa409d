//! Webhooks: who is told what happens to the images of a registry.
//!
//! A webhook is told every change since it was made, in the order of each
//! repository, at least once. How far each has been told is kept in the metadata,
//! so any node of the region can go on. The invariant: its secret is told once,
//! when it is made, and kept sealed.

mod delivery;
mod event;
mod tail;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use entrepot_access::WebhookSecret;
use entrepot_metadata::command::PutRegistryItem;
use entrepot_metadata::limits::WEBHOOK_NAME_BYTES_MAX;
use entrepot_metadata::query::{self, ItemKind, RegistryItem};
use entrepot_oci::RegistryId;
use serde::{Deserialize, Serialize};

pub use self::delivery::{WebhookMetrics, Webhooks};
pub use self::event::EventKind;
use crate::metadata::refused;
use crate::registry_items::{Before, from_json, missing, to_json};
use crate::repositories::invalid;
use crate::{Caller, Registry, ServiceError, Target};

/// Tries of a change whose webhook others change, too.
const PUTS_MAX: usize = 4;
/// Bytes of a webhook's address.
const URL_BYTES_MAX: usize = 2_048;
/// Wildcards of one webhook.
const REPOSITORIES_MAX: usize = 100;
const WILDCARD_BYTES_MAX: usize = 256;

/// What a webhook is to be like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookSpec {
    /// `http://` or `https://`.
    pub url: String,
    /// Wildcards (`*`); none: every repository.
    pub repositories: Vec<String>,
    /// None: everything.
    pub events: Vec<EventKind>,
    /// It is told nothing for now. What happens meanwhile it is told later, as far
    /// as it is remembered.
    pub paused: bool,
}

/// A webhook, and how far it has been told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookInfo {
    pub name: String,
    pub spec: WebhookSpec,
    pub created_at_ms: i64,
    /// None: nothing yet.
    pub delivered_at_ms: Option<i64>,
    /// Since when nothing gets through, and why.
    pub failing: Option<Failing>,
    /// Entries of the region's log that it has not been told of.
    pub entries_behind: u64,
}

/// Why nothing gets through to a webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    pub since_ms: i64,
    pub reason: String,
}

/// A message on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

/// Why a message did not get through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undelivered {
    /// HTTP's status.
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("{0}")]
    Unreachable(String),
}

/// Takes messages to where they go, and fetches keys from where they are, over HTTP.
#[async_trait]
pub trait Courier: std::fmt::Debug + Send + Sync {
    /// Answers once the receiver has said that it has the message.
    async fn deliver(&self, message: Message) -> Result<(), Undelivered>;

    /// The keys of whoever issues tokens as `https://<name>` (RFC 7517), of at most
    /// `bytes_max` bytes.
    async fn issuer_keys(&self, name: &str, bytes_max: usize) -> Result<Bytes, Undelivered> {
        let (_, _) = (name, bytes_max);
        Err(Undelivered::Unreachable("there is no network".to_owned()))
    }
}

/// Reaches nobody: where there is no network.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCourier;

#[async_trait]
impl Courier for NoCourier {
    async fn deliver(&self, _message: Message) -> Result<(), Undelivered> {
        Err(Undelivered::Unreachable("there is no network".to_owned()))
    }
}

/// A webhook as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    url: String,
    #[serde(default)]
    repositories: Vec<String>,
    #[serde(default)]
    events: Vec<EventKind>,
    #[serde(default)]
    paused: bool,
    /// Base64.
    sealed_secret: String,
    /// What happened up to this log index it is not told.
    from_index: u64,
    /// Another one after each change: whoever still tells what it was before does
    /// not say how far it has been told since.
    revision: u64,
}

/// How far it has been told, as that is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// That of the webhook which was told.
    revision: u64,
    /// Log index.
    index: u64,
    delivered_at_ms: Option<i64>,
    failing: Option<Failing>,
    /// What comes after `index` is not remembered up to here, of which it is being
    /// told. Kept before that, so that it is told the same again by whoever goes on.
    #[serde(default)]
    gap_to: Option<u64>,
}

// === impl Registry ===

impl Registry {
    /// Makes a webhook, or changes it. A new one's secret, which is told never
    /// again; a change keeps the secret and what is still to be told.
    ///
    /// # Errors
    /// `Invalid` for a name, an address or filters that make no sense,
    /// `LimitExceeded`.
    pub async fn put_webhook(
        &self,
        who: &Caller,
        name: &str,
        spec: WebhookSpec,
    ) -> Result<(WebhookInfo, Option<WebhookSecret>), ServiceError> {
        self.authorize(who, "entrepot:PutWebhook", Target::Any)?;
        check_name(name)?;
        check(&spec)?;
        let mut tries = 1;
        loop {
            match self.try_put_webhook(who, name, &spec).await {
                // Somebody has made, changed or deleted it since it was read.
                Err(ServiceError::Conflict(_) | ServiceError::NotFound(_)) if tries < PUTS_MAX => {
                    tries += 1;
                }
                put => return put,
            }
        }
    }

    async fn try_put_webhook(
        &self,
        who: &Caller,
        name: &str,
        spec: &WebhookSpec,
    ) -> Result<(WebhookInfo, Option<WebhookSecret>), ServiceError> {
        let before = self.item(who, ItemKind::Webhook, name).await?;
        let (secret, sealed_secret, from_index) = if let Some(before) = &before {
            let before: Kept = from_json(before)?;
            let told = self.webhook_progress(&who.account, name, &before)?.index;
            (None, before.sealed_secret, before.from_index.max(told))
        } else {
            let secret = WebhookSecret::generate().map_err(|e| ServiceError::internal(&e))?;
            let sealed = secret
                .seal(&owner(&who.account, name), &self.sealing)
                .map_err(|error| ServiceError::internal(&error))?;
            // What was acknowledged before this call is no news.
            let index = self.metadata.applied(&self.group)?;
            (Some(secret), STANDARD.encode(sealed), index)
        };
        let kept = Kept {
            url: spec.url.clone(),
            repositories: spec.repositories.clone(),
            events: spec.events.clone(),
            paused: spec.paused,
            sealed_secret,
            from_index,
            revision: revision()?,
        };
        let (kind, body) = (ItemKind::Webhook, to_json(&kept)?);
        // Of two at once, only one has told a secret that holds; and the secret of one
        // that was deleted meanwhile does not come back.
        let must = match before {
            Some(before) => Before::This(before.body),
            None => Before::Nothing,
        };
        let item = self.put_item(who, kind, name, body, must).await?;
        Ok((self.webhook_info(&who.account, &item)?, secret))
    }

    /// All of the caller's registry, by their names.
    pub async fn webhooks(&self, who: &Caller) -> Result<Vec<WebhookInfo>, ServiceError> {
        self.authorize(who, "entrepot:ListWebhooks", Target::Any)?;
        let (items, _) = self.items(who, ItemKind::Webhook, None, None).await?;
        let infos = items
            .iter()
            .map(|item| self.webhook_info(&who.account, item));
        infos.collect()
    }

    /// # Errors
    /// `NotFound` when there is none.
    pub async fn delete_webhook(&self, who: &Caller, name: &str) -> Result<(), ServiceError> {
        self.authorize(who, "entrepot:DeleteWebhook", Target::Any)?;
        let deleted = self.delete_item(who, ItemKind::Webhook, name).await;
        deleted.map(drop)
    }

    /// Sends a message that says nothing, now and from this node.
    ///
    /// # Errors
    /// `NotFound` when there is no such webhook; `Unavailable` with the reason when
    /// the message does not get through.
    pub async fn test_webhook(&self, who: &Caller, name: &str) -> Result<(), ServiceError> {
        self.authorize(who, "entrepot:TestWebhook", Target::Any)?;
        let item = self.item(who, ItemKind::Webhook, name).await?;
        let item = item.ok_or_else(|| missing(ItemKind::Webhook, name))?;
        let kept: Kept = from_json(&item)?;
        let secret = self.webhook_secret(&who.account, name, &kept)?;
        let at_ms = self.clock.now_ms();
        let event = event::test(self.region(), &who.account, name, at_ms);
        let message = delivery::message(&kept.url, &secret, &event, at_ms);
        let delivered = self.courier.deliver(message).await;
        delivered.map_err(|error| {
            ServiceError::unavailable(format!("the webhook {name} was not told: {error}"))
        })
    }

    fn webhook_info(
        &self,
        account: &RegistryId,
        item: &RegistryItem,
    ) -> Result<WebhookInfo, ServiceError> {
        let kept: Kept = from_json(item)?;
        let progress = self.webhook_progress(account, &item.name, &kept)?;
        let told = progress.index.max(kept.from_index);
        Ok(WebhookInfo {
            name: item.name.clone(),
            spec: WebhookSpec {
                url: kept.url,
                repositories: kept.repositories,
                events: kept.events,
                paused: kept.paused,
            },
            created_at_ms: item.created_at_ms,
            delivered_at_ms: progress.delivered_at_ms,
            failing: progress.failing,
            entries_behind: self.metadata.applied(&self.group)?.saturating_sub(told),
        })
    }

    fn webhook_progress(
        &self,
        account: &RegistryId,
        name: &str,
        kept: &Kept,
    ) -> Result<Progress, ServiceError> {
        let view = self.local()?;
        let kind = ItemKind::WebhookProgress;
        let none = Progress {
            revision: kept.revision,
            ..Progress::default()
        };
        let Some(item) = query::registry_item(view.as_ref(), account, kind, name)? else {
            return Ok(none);
        };
        let found: Progress = from_json(&item)?;
        Ok(if found.revision == kept.revision {
            found
        } else {
            none
        })
    }

    /// Notes how far a webhook has been told. False: there is no such webhook any
    /// more.
    async fn note_progress(
        &self,
        account: &RegistryId,
        name: &str,
        progress: &Progress,
    ) -> Result<bool, ServiceError> {
        let (kind, now) = (ItemKind::WebhookProgress, self.clock.now_ms());
        let command = PutRegistryItem::new(account, kind, name, to_json(progress)?, now);
        let response = self.propose(command.into()).await?;
        match response.into_result().map_err(refused) {
            Ok(_) => Ok(true),
            Err(ServiceError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn webhook_secret(
        &self,
        account: &RegistryId,
        name: &str,
        kept: &Kept,
    ) -> Result<WebhookSecret, ServiceError> {
        let sealed = STANDARD.decode(&kept.sealed_secret);
        let sealed = sealed.map_err(|error| ServiceError::internal(&error))?;
        WebhookSecret::open(&owner(account, name), &sealed, &self.sealing)
            .map_err(|error| ServiceError::internal(&error))
    }
}

fn revision() -> Result<u64, ServiceError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| ServiceError::internal(&error))?;
    Ok(u64::from_be_bytes(bytes))
}

/// Whose secret it is.
fn owner(account: &RegistryId, name: &str) -> String {
    format!("{account}/{name}")
}

fn check_name(name: &str) -> Result<(), ServiceError> {
    let sign = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=WEBHOOK_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(sign) {
        return Ok(());
    }
    Err(invalid(
        "name",
        "must be 1 to 64 of a-z, A-Z, 0-9, '.', '_' and '-'",
    ))
}

fn check(spec: &WebhookSpec) -> Result<(), ServiceError> {
    let rest = ["https://", "http://"]
        .iter()
        .find_map(|scheme| spec.url.strip_prefix(scheme));
    let is_address = |rest: &str| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // Credentials in an address would be shown to whoever may list webhooks.
        !authority.is_empty() && !authority.contains('@')
    };
    let printable = spec.url.bytes().all(|byte| byte.is_ascii_graphic());
    if spec.url.len() > URL_BYTES_MAX || !printable || !rest.is_some_and(is_address) {
        return Err(invalid(
            "url",
            "must be an address that begins with https:// or http://, without credentials, of at \
             most 2048 characters",
        ));
    }
    let sign =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/*".contains(&byte);
    let fits = |wildcard: &String| {
        (1..=WILDCARD_BYTES_MAX).contains(&wildcard.len()) && wildcard.bytes().all(sign)
    };
    if spec.repositories.len() > REPOSITORIES_MAX || !spec.repositories.iter().all(fits) {
        return Err(invalid(
            "repositories",
            "must be at most 100 names of repositories, which may contain '*'",
        ));
    }
    Ok(())
}

// === impl Kept ===

impl Kept {
    fn wants(&self, kind: EventKind, repository: &str) -> bool {
        let is_wanted = self.events.is_empty() || self.events.contains(&kind);
        let mut wildcards = self.repositories.iter();
        is_wanted
            && (self.repositories.is_empty()
                || wildcards.any(|wildcard| query::matches_wildcard(wildcard, repository)))
    }
}
