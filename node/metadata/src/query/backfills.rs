//! Backfills, and the walk through a registry that they are made of.
//!
//! The invariant of the walk: what stands in the registry all the time from its
//! first page to its last, and is taken by a rule all that time, is found exactly
//! once. What comes or moves meanwhile has tasks of its own, as every push has.

use bytes::Bytes;
use entrepot_oci::{AccountId, Digest, RegistryId, RepositoryName, Tag};

use super::{
    Destination, ManifestEntry, Rule, TaskKey, manifest_entry, manifests, parsed, repositories,
    repository, rules, tag,
};
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::{BACKFILL_LOOK_MAX, BACKFILLS_KEPT_MAX};
use crate::read;
use crate::records::backfills::{
    BackfillCount, BackfillItemRecord, BackfillPhase, BackfillRecord, CursorRecord, ItemState,
};
use crate::store::{KeyValue, StorageError};

/// What it takes to find out whether a referrer goes with its subject.
const SUBJECT_LOOKS: usize = 50;

/// Repositories, images or tags read at a time.
const READ_AT_ONCE: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backfill {
    /// Log index of its start, which orders those of a registry.
    pub sequence: u64,
    /// A UUID.
    pub id: String,
    pub destination: Destination,
    /// Only what this rule takes.
    pub rule: Option<String>,
    pub phase: BackfillPhase,
    pub started_at_ms: i64,
    pub ended_at_ms: Option<i64>,
    /// Why it failed, in one word.
    pub failure: Option<String>,
    /// None: nobody has counted.
    pub counted: Option<BackfillCount>,
    /// Everything was asked for.
    pub walked: bool,
    /// Images, each as often as it has tags: asked for and not ended, done, failed.
    pub waiting: u64,
    pub completed: u64,
    pub failed: u64,
    /// Some failed for the one reason, some for the other.
    pub any_denied: bool,
    pub any_refused: bool,
}

/// What a backfill copies: an image under one of its tags, or without any.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub repository: RepositoryName,
    pub digest: Digest,
    pub tag: Option<Tag>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackfillItem {
    pub place: Place,
    pub state: ItemState,
    /// Why it failed.
    pub reason: Option<String>,
    pub denied: bool,
}

/// How far a walk has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub repository: RepositoryName,
    /// The last image.
    pub digest: Option<Digest>,
    /// The last tag of that image, which may have more.
    pub tag: Option<Tag>,
    /// The repository is done with.
    pub finished: bool,
}

/// What one page of a walk has found, and where the next begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkPage {
    pub places: Vec<Place>,
    /// None: that was all.
    pub next: Option<Cursor>,
}

/// A rule asks for one that has not begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedBackfill {
    pub account: AccountId,
    pub destination: Destination,
    pub rule: String,
}

/// All of a registry that are remembered, oldest first.
pub fn backfills(view: &dyn KeyValue, account: &AccountId) -> Result<Vec<Backfill>, StorageError> {
    let found = read::page(view, &keys::backfills_of(account), None, BACKFILLS_KEPT_MAX)?;
    found
        .into_iter()
        .map(|(key, value)| backfill_of(&key, value).map(|(_, found)| found))
        .collect()
}

pub fn backfill(
    view: &dyn KeyValue,
    account: &AccountId,
    sequence: u64,
) -> Result<Option<Backfill>, StorageError> {
    let key = keys::backfill(account, sequence);
    view.get(key.as_bytes())?
        .map(|value| backfill_of(key.as_bytes(), value).map(|(_, found)| found))
        .transpose()
}

/// At most `limit` backfills of all registries, whether they are over or not, after
/// one of them.
pub fn backfills_of_all(
    view: &dyn KeyValue,
    after: Option<&(AccountId, u64)>,
    limit: usize,
) -> Result<Vec<(AccountId, Backfill)>, StorageError> {
    let prefix = Key::new(Namespace::Backfill);
    let start = after.map(|(account, sequence)| keys::backfill(account, *sequence).successor());
    read::page(view, &prefix, start.as_ref(), limit)?
        .into_iter()
        .map(|(key, value)| backfill_of(&key, value))
        .collect()
}

/// At most `limit` that are not over, of all registries.
pub fn running_backfills(
    view: &dyn KeyValue,
    limit: usize,
) -> Result<Vec<(AccountId, Backfill)>, StorageError> {
    let mut running = Vec::new();
    for (key, _) in read::page(view, &Key::new(Namespace::RunningBackfill), None, limit)? {
        let mut parts = Parts::of(&key);
        let account = parts.account()?;
        let found = backfill(view, &account, parts.number()?)?;
        running.extend(found.map(|found| (account, found)));
    }
    Ok(running)
}

/// At most `limit` that rules ask for, of all registries, after one of them.
pub fn wanted_backfills(
    view: &dyn KeyValue,
    after: Option<&WantedBackfill>,
    limit: usize,
) -> Result<Vec<WantedBackfill>, StorageError> {
    let prefix = Key::new(Namespace::WantedBackfill);
    let start = after.map(|it| {
        let name = it.destination.name(&it.account);
        keys::wanted_backfill(&it.account, &name, &it.rule).successor()
    });
    read::page(view, &prefix, start.as_ref(), limit)?
        .into_iter()
        .map(|(key, _)| wanted_of(&key))
        .collect()
}

/// At most `limit` images of a backfill that stand so, in the order of their
/// repositories, after one of them.
pub fn backfill_items(
    view: &dyn KeyValue,
    account: &AccountId,
    sequence: u64,
    state: ItemState,
    after: Option<&Place>,
    limit: usize,
) -> Result<Vec<BackfillItem>, StorageError> {
    let prefix = keys::backfill_items(account, sequence, state);
    let start = after.map(|after| keys::backfill_item(account, sequence, state, after).successor());
    read::page(view, &prefix, start.as_ref(), limit)?
        .into_iter()
        .map(|(key, value)| item_of(&key, value).map(|(_, _, item)| item))
        .collect()
}

/// The first of these rules that takes something.
pub(crate) fn rule_for<'a>(
    view: &dyn KeyValue,
    account: &AccountId,
    rules: &'a [Rule],
    place: &Place,
) -> Result<Option<&'a Rule>, StorageError> {
    let (repository, tag) = (&place.repository, place.tag.as_ref());
    let Some(image) = manifest_entry(view, account, repository, &place.digest)? else {
        return Ok(None);
    };
    for rule in rules.iter().filter(|rule| rule.matches(repository)) {
        if rule.takes(view, account, repository, &image, tag)? {
            return Ok(Some(rule));
        }
    }
    Ok(None)
}

/// The rules that a backfill to a destination goes by, the one that decides first.
pub fn backfill_rules(
    view: &dyn KeyValue,
    account: &AccountId,
    destination: &Destination,
    rule: Option<&str>,
) -> Result<Vec<Rule>, StorageError> {
    let mut found = rules(view, account)?;
    found.retain(|it| {
        it.destinations.contains(destination) && rule.is_none_or(|rule| it.id == rule)
    });
    found.sort_by_key(|rule| std::cmp::Reverse(rule.options.priority));
    Ok(found)
}

/// What of a registry these rules take, after `after`: at most `limit`. It may be
/// fewer, or nothing, with more to come. What came from elsewhere is left out.
pub fn backfill_page(
    view: &dyn KeyValue,
    account: &AccountId,
    rules: &[Rule],
    after: Option<&Cursor>,
    limit: usize,
) -> Result<WalkPage, StorageError> {
    let mut walk = Walk {
        view,
        account,
        rules,
        limit,
        looks_left: BACKFILL_LOOK_MAX,
        places: Vec::new(),
    };
    let next = walk.run(after)?;
    Ok(WalkPage {
        places: walk.places,
        next,
    })
}

struct Walk<'a> {
    view: &'a dyn KeyValue,
    account: &'a AccountId,
    rules: &'a [Rule],
    limit: usize,
    /// Things that may still be read for this page.
    looks_left: usize,
    places: Vec<Place>,
}

/// The pair of a key in namespace `Backfill`.
pub(crate) fn backfill_of(key: &[u8], value: Bytes) -> Result<(AccountId, Backfill), StorageError> {
    let mut parts = Parts::of(key);
    let account = parts.account()?;
    let sequence = parts.number()?;
    parts.end()?;
    let record: BackfillRecord = read::decode(key, value)?;
    let to = record.destination.unwrap_or_default();
    let phase = BackfillPhase::try_from(record.phase)
        .map_err(|_| StorageError::corrupt(key, format_args!("phase {}", record.phase)))?;
    let found = Backfill {
        sequence,
        id: record.id,
        destination: Destination {
            region: parsed(key, "region", &to.region)?,
            account: parsed(key, "account", &to.account)?,
        },
        rule: Some(record.rule).filter(|rule| !rule.is_empty()),
        phase,
        started_at_ms: record.started_at_ms,
        ended_at_ms: record.ended_at_ms,
        failure: record.failure,
        counted: record.counted,
        walked: record.walked,
        waiting: record.waiting,
        completed: record.completed,
        failed: record.failed,
        any_denied: record.any_denied,
        any_refused: record.any_refused,
    };
    Ok((account, found))
}

/// The pair of a key in namespace `BackfillItem`: whose it is too.
pub(crate) fn item_of(
    key: &[u8],
    value: Bytes,
) -> Result<(AccountId, u64, BackfillItem), StorageError> {
    let mut parts = Parts::of(key);
    let account = parts.account()?;
    let sequence = parts.number()?;
    let [state] = parts.array()?;
    let state = ItemState::of(state)
        .ok_or_else(|| StorageError::corrupt(key, format_args!("state {state}")))?;
    let repository = parts.name("repository")?;
    let digest = parts.digest()?;
    let tag = match parts.text("tag")? {
        "" => None,
        tag => Some(parsed(key, "tag", tag)?),
    };
    parts.end()?;
    let record: BackfillItemRecord = read::decode(key, value)?;
    let item = BackfillItem {
        place: Place {
            repository,
            digest,
            tag,
        },
        state,
        reason: record.reason,
        denied: record.denied,
    };
    Ok((account, sequence, item))
}

pub(crate) fn wanted_of(key: &[u8]) -> Result<WantedBackfill, StorageError> {
    let mut parts = Parts::of(key);
    let account = parts.account()?;
    let name = parts.text("destination")?;
    let destination =
        Destination::named(name, &account).map_err(|error| StorageError::corrupt(key, error))?;
    let rule = parts.text("rule")?.to_owned();
    parts.end()?;
    Ok(WantedBackfill {
        account,
        destination,
        rule,
    })
}

// === impl Walk ===

impl Walk<'_> {
    fn run(&mut self, after: Option<&Cursor>) -> Result<Option<Cursor>, StorageError> {
        let mut done = None;
        if let Some(after) = after {
            if !after.finished
                && self.has_rule(&after.repository)
                && self.is_there(&after.repository)?
                && let Some(next) = self.images(after.clone())?
            {
                return Ok(Some(next));
            }
            done = Some(after.repository.clone());
        }
        loop {
            let name = done.as_ref().map(RepositoryName::as_str);
            let page = repositories(self.view, self.account, name, READ_AT_ONCE)?;
            for found in &page {
                let cursor = Cursor {
                    repository: found.name.clone(),
                    digest: None,
                    tag: None,
                    finished: false,
                };
                if self.is_full() {
                    return Ok(done.map(Cursor::behind));
                }
                self.looks_left -= 1;
                if !found.deleting
                    && self.has_rule(&found.name)
                    && let Some(next) = self.images(cursor)?
                {
                    return Ok(Some(next));
                }
                done = Some(found.name.clone());
            }
            if page.len() < READ_AT_ONCE {
                return Ok(None);
            }
        }
    }

    /// And not on its way out.
    fn is_there(&self, name: &RepositoryName) -> Result<bool, StorageError> {
        let found = repository(self.view, self.account, name)?;
        Ok(found.is_some_and(|found| !found.deleting))
    }

    fn has_rule(&self, repository: &RepositoryName) -> bool {
        self.rules.iter().any(|rule| rule.matches(repository))
    }

    /// No more is to be found, or looked at.
    fn is_full(&self) -> bool {
        self.places.len() >= self.limit || self.looks_left == 0
    }

    /// Goes on in a repository; where, if that is not its end.
    fn images(&mut self, from: Cursor) -> Result<Option<Cursor>, StorageError> {
        let mut at = from;
        if let (Some(digest), Some(_)) = (at.digest, &at.tag) {
            if let Some(image) = self.image(&at.repository, &digest)?
                && let Some(tag) = self.tags(&at.repository, &image, at.tag.as_ref())?
            {
                at.tag = Some(tag);
                return Ok(Some(at));
            }
            at.tag = None;
        }
        loop {
            let (name, after) = (&at.repository, at.digest.as_ref());
            let page = manifests(self.view, self.account, name, after, READ_AT_ONCE)?;
            for image in &page {
                if self.is_full() {
                    return Ok(Some(at));
                }
                let more = self.tags(&at.repository, image, None)?;
                at.digest = Some(image.digest);
                if more.is_some() {
                    at.tag = more;
                    return Ok(Some(at));
                }
            }
            if page.len() < READ_AT_ONCE {
                return Ok(None);
            }
        }
    }

    fn image(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<ManifestEntry>, StorageError> {
        manifest_entry(self.view, self.account, repository, digest)
    }

    /// Takes an image under each tag that is to be copied, or without any; the last
    /// tag that was looked at, if there are more.
    fn tags(
        &mut self,
        repository: &RepositoryName,
        image: &ManifestEntry,
        after: Option<&Tag>,
    ) -> Result<Option<Tag>, StorageError> {
        // What is in the archive is copied when it comes back.
        if image.archived_at_ms.is_some() {
            return Ok(None);
        }
        let prefix = keys::of_digest(Namespace::TagOf, self.account, repository, &image.digest);
        let mut after = after.cloned();
        let mut any = after.is_some();
        self.looks_left = self.looks_left.saturating_sub(1);
        loop {
            let start = after
                .as_ref()
                .map(|tag| prefix.clone().name(tag.as_str()).successor());
            let page = read::page(self.view, &prefix, start.as_ref(), READ_AT_ONCE)?;
            for (key, _) in &page {
                if any && self.is_full() {
                    return Ok(after);
                }
                any = true;
                let tag = tag_in(key)?;
                self.looks_left = self.looks_left.saturating_sub(1);
                if self.is_of_here(repository, image, &tag)? {
                    self.take(repository, image, Some(&tag))?;
                }
                after = Some(tag);
            }
            if page.len() < READ_AT_ONCE {
                break;
            }
        }
        if !any && !super::is_replica(self.view, self.account, repository, &image.digest)? {
            self.take(repository, image, None)?;
        }
        Ok(None)
    }

    /// Replicas go no further.
    fn is_of_here(
        &self,
        repository: &RepositoryName,
        image: &ManifestEntry,
        name: &Tag,
    ) -> Result<bool, StorageError> {
        let found = tag(self.view, self.account, repository, name)?;
        Ok(found.is_some_and(|found| found.origin.is_none() && found.digest == image.digest))
    }

    fn take(
        &mut self,
        repository: &RepositoryName,
        image: &ManifestEntry,
        tag: Option<&Tag>,
    ) -> Result<(), StorageError> {
        for rule in self.rules.iter().filter(|rule| rule.matches(repository)) {
            if image.subject.is_some() && rule.options.filters_images() {
                // What it refers to is looked at too, with all its tags.
                self.looks_left = self.looks_left.saturating_sub(SUBJECT_LOOKS);
            }
            if rule.takes(self.view, self.account, repository, image, tag)? {
                self.places.push(Place {
                    repository: repository.clone(),
                    digest: image.digest,
                    tag: tag.cloned(),
                });
                break;
            }
        }
        Ok(())
    }
}

/// The tag of a key in namespace `TagOf`.
fn tag_in(key: &[u8]) -> Result<Tag, StorageError> {
    let mut parts = Parts::of(key);
    let _: RegistryId = parts.registry()?;
    parts.text("repository")?;
    parts.digest()?;
    parts.name("tag")
}

// === impl Cursor ===

impl Cursor {
    /// The repository is done with.
    fn behind(repository: RepositoryName) -> Self {
        Self {
            repository,
            digest: None,
            tag: None,
            finished: true,
        }
    }

    pub(crate) fn record(&self) -> CursorRecord {
        let text = |text: Option<String>| text.unwrap_or_default();
        CursorRecord {
            repository: self.repository.to_string(),
            digest: text(self.digest.as_ref().map(ToString::to_string)),
            tag: text(self.tag.as_ref().map(ToString::to_string)),
            finished: self.finished,
        }
    }

    pub(crate) fn of(key: &[u8], record: &CursorRecord) -> Result<Self, StorageError> {
        let given = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Self {
            repository: parsed(key, "repository", &record.repository)?,
            digest: given(&record.digest)
                .map(|digest| parsed(key, "digest", &digest))
                .transpose()?,
            tag: given(&record.tag)
                .map(|tag| parsed(key, "tag", &tag))
                .transpose()?,
            finished: record.finished,
        })
    }
}

// === impl Place ===

impl Place {
    /// The task that copies it.
    pub fn task(&self, account: &AccountId, destination: &Destination) -> TaskKey {
        TaskKey {
            account: account.clone(),
            repository: self.repository.clone(),
            digest: self.digest,
            tag: self.tag.clone(),
            destination: destination.clone(),
        }
    }
}

// === impl Backfill ===

impl Backfill {
    /// What there is to copy, as far as is known: what was counted, and no fewer
    /// than there were. None: nobody has counted.
    pub fn total(&self) -> Option<u64> {
        let found = self.completed + self.failed + self.waiting;
        if self.walked {
            return Some(found);
        }
        self.counted.map(|counted| counted.images.max(found))
    }
}
