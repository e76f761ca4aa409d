//! Telling webhooks what happened.
//!
//! Each webhook is told by one node of its region: the one that its name ranks
//! first among those that answer. It reads the log's entries in order, sends the
//! events of each repository one after the other, those of different repositories
//! at the same time, and notes how far it got. What fails is let go of, read again
//! and sent again until it gets through, so that a receiver that is down costs no
//! memory. Two nodes that disagree on who answers tell it twice, which the events'
//! ids show.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use entrepot_access::WebhookSecret;
use entrepot_metadata::limits::ENVELOPES_KEPT;
use entrepot_metadata::query::{self, ItemKind, RegistryItem};
use entrepot_oci::{RegistryId, RepositoryName};
use entrepot_replication::placement;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::event::{self, Event};
use super::tail::Tail;
use super::{Failing, Kept, Message, Progress, Undelivered, owner};
use crate::registry_items::from_json;
use crate::{Registry, ServiceError};

/// From one look at which webhooks there are to the next.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Webhooks that are looked at in one go, of all accounts of a region.
const PAGE: usize = 500;
/// So that what many entries changed is read together.
const STEP_MIN: Duration = Duration::from_millis(10);
/// Entries of the log read before what they changed is sent.
const ENTRIES_AT_ONCE: u64 = 256;
/// Events, and their bytes, after which no further entry is read before they are
/// sent. One entry has a thousand at most.
const EVENTS_AT_ONCE: usize = 500;
const BYTES_AT_ONCE: usize = 64 * 1024;
/// From one note of how far a webhook was told to the next: what is told again
/// when another node goes on.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);
/// Repositories whose events are sent at the same time, for one webhook.
const REPOSITORIES_AT_ONCE: usize = 8;
/// What is skipped beyond what is forgotten, which grows while the gap is told.
const GAP_MARGIN: u64 = 1_024;
const BACKOFF_FIRST: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_mins(1);
/// Entries without anything to tell before it is noted that they are done with.
const NOTED_AFTER: u64 = 20_000;
/// Bytes of a reason that is kept.
const REASON_BYTES_MAX: usize = 300;

/// Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct WebhookMetrics {
    pub delivered: Counter,
    pub failures: Counter,
    /// Gaps, of which webhooks were told.
    pub lost: Counter,
    /// Webhooks that this node tells, and those of them that nothing gets
    /// through to.
    pub webhooks: Gauge,
    pub failing: Gauge,
}

/// Tells this node's share of its region's webhooks.
#[derive(Debug)]
pub struct Webhooks {
    registry: Arc<Registry>,
    metrics: WebhookMetrics,
    tail: Arc<Tail>,
}

/// Account and name.
type Key = (RegistryId, String);

/// A webhook that this node tells; dropped, it stops.
#[derive(Debug)]
struct Told {
    kept: Kept,
    is_failing: Arc<AtomicBool>,
    task: AbortHandle,
}

/// One webhook, while it is told.
struct Teller {
    registry: Arc<Registry>,
    metrics: WebhookMetrics,
    key: Key,
    kept: Kept,
    secret: WebhookSecret,
    progress: Progress,
    /// Up to which log index the metadata says that it was told.
    noted: u64,
    noted_at: Instant,
    /// More was told than is noted.
    unnoted: bool,
    is_failing: Arc<AtomicBool>,
    /// What the log's entries changed, as all webhooks of the node read it.
    tail: Arc<Tail>,
    /// Of what comes after `progress.index`, the last event of each repository that
    /// got through before another one failed: its id.
    told: BTreeMap<Option<RepositoryName>, String>,
    /// Times in a row that something failed.
    failures: u32,
}

/// The events of one repository that are still to be sent, in order.
type Queues = BTreeMap<Option<RepositoryName>, VecDeque<Event>>;

/// What comes after what a webhook has been told.
enum Next {
    /// These, and then it has been told of what happened up to that index.
    Events(u64, Queues),
    /// Nobody knows, up to that index.
    Gap(u64),
}

// === impl WebhookMetrics ===

impl WebhookMetrics {
    pub fn register(&self, registry: &mut prometheus_client::registry::Registry) {
        registry.register(
            "webhook_deliveries",
            "Messages that webhooks have taken",
            self.delivered.clone(),
        );
        registry.register(
            "webhook_failures",
            "Attempts to send a message to a webhook that failed",
            self.failures.clone(),
        );
        registry.register(
            "webhook_gaps",
            "Times that a webhook was so far behind that events were forgotten",
            self.lost.clone(),
        );
        registry.register(
            "webhooks",
            "Webhooks that this node tells",
            self.webhooks.clone(),
        );
        registry.register(
            "webhooks_failing",
            "Webhooks of this node that nothing gets through to",
            self.failing.clone(),
        );
    }
}

// === impl Webhooks ===

impl Webhooks {
    pub fn new(registry: Arc<Registry>, metrics: WebhookMetrics) -> Self {
        Self {
            registry,
            metrics,
            tail: Arc::default(),
        }
    }

    /// Works until it is dropped.
    pub async fn run(self) {
        let mut told: BTreeMap<Key, Told> = BTreeMap::new();
        loop {
            match self.own().await {
                Ok(own) => self.follow(&mut told, own),
                Err(error) => warn!(%error, "the webhooks cannot be read"),
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// The webhooks that are this node's to tell.
    async fn own(&self) -> Result<BTreeMap<Key, Kept>, ServiceError> {
        let (mut own, mut after) = (BTreeMap::new(), None::<Key>);
        loop {
            let page = self.page(after.as_ref())?;
            let is_last = page.len() < PAGE;
            after = page.last().map(|(key, _)| key.clone());
            for (key, item) in page {
                // One that a newer version has made must not keep the others waiting.
                let Ok(kept) = from_json::<Kept>(&item) else {
                    continue;
                };
                if !key.0.is_public()
                    && !kept.paused
                    && self.is_mine(&key)
                    && self.registry.serves_others(&key.0.account())?
                {
                    own.insert(key, kept);
                }
            }
            if is_last {
                return Ok(own);
            }
            tokio::task::yield_now().await;
        }
    }

    fn page(&self, after: Option<&Key>) -> Result<Vec<(Key, RegistryItem)>, ServiceError> {
        let view = self.registry.local()?;
        let after = after.map(|(registry, name)| (registry, name.as_str()));
        let kind = ItemKind::Webhook;
        let page = query::registry_items_of_all(view.as_ref(), kind, after, PAGE)?;
        let keyed = page
            .into_iter()
            .map(|(registry, item)| ((registry, item.name.clone()), item));
        Ok(keyed.collect())
    }

    fn is_mine(&self, key: &Key) -> bool {
        let health = self.registry.blobs.health();
        let alive = health.alive_in(self.registry.region());
        placement::first(owner(&key.0, &key.1).as_bytes(), alive) == Some(health.own())
    }

    /// Starts telling what is new or changed, and stops telling what is not this
    /// node's any more.
    fn follow(&self, told: &mut BTreeMap<Key, Told>, own: BTreeMap<Key, Kept>) {
        told.retain(|key, one| own.get(key) == Some(&one.kept) && !one.task.is_finished());
        for (key, kept) in own {
            if told.contains_key(&key) {
                continue;
            }
            match self.teller(&key, &kept) {
                Ok(teller) => {
                    let is_failing = Arc::clone(&teller.is_failing);
                    let task = tokio::spawn(teller.run()).abort_handle();
                    let one = Told {
                        kept,
                        is_failing,
                        task,
                    };
                    told.insert(key, one);
                }
                Err(error) => warn!(account = %key.0, webhook = key.1, %error,
                    "a webhook cannot be told"),
            }
        }
        let failing = told
            .values()
            .filter(|one| one.is_failing.load(Ordering::Relaxed));
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.failing.set(count(failing.count()));
        self.metrics.webhooks.set(count(told.len()));
    }

    fn teller(&self, key: &Key, kept: &Kept) -> Result<Teller, ServiceError> {
        let mut progress = self.registry.webhook_progress(&key.0, &key.1, kept)?;
        progress.index = progress.index.max(kept.from_index);
        let is_failing = Arc::new(AtomicBool::new(progress.failing.is_some()));
        Ok(Teller {
            registry: Arc::clone(&self.registry),
            metrics: self.metrics.clone(),
            key: key.clone(),
            kept: kept.clone(),
            secret: self.registry.webhook_secret(&key.0, &key.1, kept)?,
            noted: progress.index,
            noted_at: Instant::now(),
            unnoted: false,
            progress,
            is_failing,
            tail: Arc::clone(&self.tail),
            told: BTreeMap::new(),
            failures: 0,
        })
    }
}

// === impl Told ===

impl Drop for Told {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Teller ===

impl Teller {
    /// Until the webhook is gone or the log cannot be read.
    async fn run(mut self) {
        loop {
            match self.step().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    let (account, webhook) = (&self.key.0, &self.key.1);
                    warn!(%account, webhook, %error, "the events for a webhook cannot be read");
                    return;
                }
            }
        }
    }

    /// Tells what the next entries changed. False: the webhook is gone.
    async fn step(&mut self) -> Result<bool, ServiceError> {
        let registry = Arc::clone(&self.registry);
        if let Some(to) = self.progress.gap_to {
            let queues = self.gap(to);
            return Ok(self.send(queues, to).await);
        }
        let next = registry
            .metadata
            .applied_after(&registry.group, self.progress.index);
        // What was told and not noted yet is noted when nothing more comes.
        let applied = if self.unnoted {
            match tokio::time::timeout(NOTE_INTERVAL, next).await {
                Ok(applied) => applied?,
                Err(_) => return Ok(self.note().await),
            }
        } else {
            next.await?
        };
        let end = applied.min(self.progress.index + ENTRIES_AT_ONCE);
        let (reached, queues) = match self.read(end, applied)? {
            Next::Events(reached, queues) => (reached, queues),
            Next::Gap(to) => {
                self.metrics.lost.inc();
                self.told.clear();
                self.progress.gap_to = Some(to);
                return Ok(self.noted().await);
            }
        };
        if !queues.is_empty() {
            return Ok(self.send(queues, reached).await);
        }
        self.reach(reached);
        if self.is_time_to_note() {
            return Ok(self.note().await);
        }
        if reached == applied {
            tokio::time::sleep(STEP_MIN).await;
        } else {
            tokio::task::yield_now().await;
        }
        Ok(true)
    }

    /// All up to there was told.
    fn reach(&mut self, index: u64) {
        self.progress.index = index;
        self.progress.gap_to = None;
        self.told.clear();
    }

    fn is_time_to_note(&self) -> bool {
        let is_time = self.unnoted && self.noted_at.elapsed() >= NOTE_INTERVAL;
        is_time || self.progress.index.saturating_sub(self.noted) >= NOTED_AFTER
    }

    /// Notes how far it has got, however long that takes.
    async fn noted(&mut self) -> bool {
        self.unnoted = true;
        while self.unnoted {
            if !self.note().await {
                return false;
            }
        }
        true
    }

    /// Notes how far it has got; false: the webhook is gone. What cannot be noted
    /// now is noted later: nothing is told twice for that.
    async fn note(&mut self) -> bool {
        self.noted_at = Instant::now();
        let (account, name) = &self.key;
        let noted = self.registry.note_progress(account, name, &self.progress);
        match noted.await {
            Ok(is_there) => {
                self.unnoted = false;
                self.noted = self.progress.index;
                is_there
            }
            Err(error) => {
                debug!(%account, webhook = name, %error, "what a webhook was told is not noted");
                tokio::time::sleep(BACKOFF_FIRST).await;
                true
            }
        }
    }

    /// What the entries up to `end` changed that the webhook wants to hear and was not
    /// told yet.
    fn read(&self, end: u64, applied: u64) -> Result<Next, ServiceError> {
        let view = self.registry.local()?;
        let (region, account) = (self.registry.region(), &self.key.0);
        let now = self.registry.clock.now_ms();
        let mut queues = Queues::new();
        let (mut reached, mut count, mut bytes) = (self.progress.index, 0, 0);
        while reached < end && count < EVENTS_AT_ONCE && bytes < BYTES_AT_ONCE {
            let index = reached + 1;
            let Some(entry) = self.tail.entry(view.as_ref(), index)? else {
                let remembered = (applied + GAP_MARGIN)
                    .saturating_sub(ENVELOPES_KEPT)
                    .max(index);
                // What is known before the gap comes first.
                if queues.is_empty() {
                    return Ok(Next::Gap(remembered));
                }
                break;
            };
            let own = entry
                .repositories
                .iter()
                .filter(|it| it.account == *account);
            for changed in own {
                let repository = changed.repository.as_str();
                for event in event::of_changes(region, index, changed, now) {
                    let kind = event.kind;
                    if kind.is_none_or(|kind| self.kept.wants(kind, repository)) {
                        count += 1;
                        bytes += event.content.len();
                        let queue = queues.entry(event.repository.clone()).or_default();
                        queue.push_back(event);
                    }
                }
            }
            reached = index;
        }
        self.skip_told(&mut queues);
        Ok(Next::Events(reached, queues))
    }

    /// Takes out what got through already, when others failed.
    fn skip_told(&self, queues: &mut Queues) {
        for (repository, last) in &self.told {
            if let Some(queue) = queues.get_mut(repository)
                && let Some(at) = queue.iter().position(|event| event.id == *last)
            {
                queue.drain(..=at);
            }
        }
        queues.retain(|_, queue| !queue.is_empty());
    }

    /// The message that what comes next is not remembered up to `to`.
    fn gap(&self, to: u64) -> Queues {
        let (region, account) = (self.registry.region(), &self.key.0);
        let now = self.registry.clock.now_ms();
        let lost = event::lost(region, account, (self.progress.index + 1, to), now);
        Queues::from([(None, VecDeque::from([lost]))])
    }

    /// Sends what there is up to the index `reached`. What fails is let go of, after a
    /// while in which nothing is sent. False: the webhook is gone.
    async fn send(&mut self, mut queues: Queues, reached: u64) -> bool {
        let failed = self.send_once(&mut queues).await;
        self.unnoted = true;
        let Some(error) = failed else {
            self.reach(reached);
            self.failures = 0;
            self.progress.failing = None;
            self.is_failing.store(false, Ordering::Relaxed);
            self.progress.delivered_at_ms = Some(self.registry.clock.now_ms());
            return !self.is_time_to_note() || self.note().await;
        };
        drop(queues);
        let is_there = self.failed(&error).await;
        tokio::time::sleep(backoff(self.failures)).await;
        self.failures = self.failures.saturating_add(1);
        is_there
    }

    /// Notes why nothing gets through, once, so that people see it.
    /// False: the webhook is gone.
    async fn failed(&mut self, error: &Undelivered) -> bool {
        let (account, webhook, failures) = (&self.key.0, &self.key.1, self.failures);
        if failures == 0 || failures.is_power_of_two() {
            warn!(%account, webhook, %error, failures, "a webhook cannot be reached");
        } else {
            debug!(%account, webhook, %error, failures, "a webhook cannot be reached");
        }
        let mut reason = error.to_string();
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        if let Some(failing) = &self.progress.failing
            && failing.reason == reason
        {
            return true;
        }
        let since_ms = match &self.progress.failing {
            Some(failing) => failing.since_ms,
            None => self.registry.clock.now_ms(),
        };
        self.is_failing.store(true, Ordering::Relaxed);
        self.progress.failing = Some(Failing { since_ms, reason });
        self.note().await
    }

    /// Sends what there is, each repository's events up to the first that fails; why
    /// one failed. What got through is remembered.
    async fn send_once(&mut self, queues: &mut Queues) -> Option<Undelivered> {
        let teller = &*self;
        let sending: Vec<BoxFuture<'_, _>> = queues
            .iter_mut()
            .map(|(repository, queue)| {
                let sent = teller.send_in_order(queue);
                sent.map(|sent| (repository.clone(), sent)).boxed()
            })
            .collect();
        let all: Vec<_> = stream::iter(sending)
            .buffer_unordered(REPOSITORIES_AT_ONCE)
            .collect()
            .await;
        let mut failed = None;
        for (repository, (last, error)) in all {
            if let Some(last) = last {
                self.told.insert(repository, last);
            }
            failed = failed.or(error);
        }
        failed
    }

    /// The id of the last event that got through, and why one did not.
    async fn send_in_order(
        &self,
        queue: &mut VecDeque<Event>,
    ) -> (Option<String>, Option<Undelivered>) {
        let mut last = None;
        while let Some(event) = queue.pop_front() {
            let now = self.registry.clock.now_ms();
            let message = message(&self.kept.url, &self.secret, &event, now);
            if let Err(error) = self.registry.courier.deliver(message).await {
                self.metrics.failures.inc();
                return (last, Some(error));
            }
            self.metrics.delivered.inc();
            last = Some(event.id);
        }
        (last, None)
    }
}

/// An event, signed for the webhook that has the secret.
pub(super) fn message(url: &str, secret: &WebhookSecret, event: &Event, at_ms: i64) -> Message {
    let body = event.content.clone();
    let seconds = at_ms.div_euclid(1_000);
    let headers = vec![
        (
            "content-type",
            "application/cloudevents+json; charset=utf-8".to_owned(),
        ),
        ("webhook-id", event.id.clone()),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-signature", secret.sign(&event.id, seconds, &body)),
    ];
    Message {
        url: url.to_owned(),
        headers,
        body,
    }
}

fn backoff(failures: u32) -> Duration {
    let full = BACKOFF_FIRST
        .saturating_mul(1 << failures.min(16))
        .min(BACKOFF_MAX);
    // Spread, so that those that failed together do not come back together.
    let mut byte = [0];
    if getrandom::fill(&mut byte).is_err() {
        return full;
    }
    full * (75 + u32::from(byte[0]) % 50) / 100
}
