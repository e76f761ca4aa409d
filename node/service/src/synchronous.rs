//! Pushes that are acknowledged once other registries have them.
//!
//! The push is committed here before anything is waited for, and its tasks go on
//! whatever the client is told: a push that is not acknowledged in time is kept,
//! and arrives as any other. The invariant: a push is acknowledged only if each of
//! its tasks to such a registry was read as complete.

mod waiters;

use std::collections::BTreeMap;
use std::time::Duration;

use entrepot_metadata::KeyValue;
use entrepot_metadata::query::{self, Destination, Rule, TaskKey};
use entrepot_oci::{Digest, RegistryId, RepositoryName, Tag};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

pub(crate) use self::waiters::Waiters;
use self::waiters::{End, PUSHES_MAX};
use crate::{Caller, Registry, ServiceError};

/// A task under way that a push waits for.
type Waiting = (TaskKey, watch::Receiver<Option<End>>);

impl Registry {
    /// Returns once every destination of a synchronous rule has the image, under
    /// these tags, or without one. The push has to be applied here.
    ///
    /// # Errors
    /// `NotReplicated` when one refuses it, when it takes longer than the rules
    /// allow, when it was deleted meanwhile, or when too many pushes wait.
    pub(crate) async fn replicated(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
        tags: &[Tag],
    ) -> Result<(), ServiceError> {
        let rules = self.synchronous_rules(who, repository)?;
        let waited_for = waited_for(&rules);
        let Some(longest) = waited_for.values().max() else {
            return Ok(());
        };
        let deadline = Instant::now() + Duration::from_millis(*longest);
        let mut all: Vec<Option<&Tag>> = tags.iter().map(Some).collect();
        if all.is_empty() {
            all.push(None);
        }
        let mut keys = Vec::with_capacity(all.len() * waited_for.len());
        for destination in waited_for.into_keys() {
            keys.extend(all.iter().map(|tag| TaskKey {
                account: who.account.account(),
                repository: repository.clone(),
                digest: *digest,
                tag: tag.cloned(),
                destination: destination.clone(),
            }));
        }
        let keys = self.asked_for(keys, &rules)?;
        if keys.is_empty() {
            return Ok(());
        }
        let Some(_place) = self.waiters.place() else {
            return Err(crowded());
        };
        let mut waiting: Vec<Waiting> = Vec::with_capacity(keys.len());
        for key in keys {
            let ended = self.waiters.wait_for(&key, &self.metadata, &self.group);
            waiting.push((key, ended));
        }
        // Those that ended before they were waited for.
        self.still_waiting(&mut waiting)?;
        while let Some((key, ended)) = waiting.last_mut() {
            let end = timeout_at(deadline, ended.wait_for(Option::is_some)).await;
            let Ok(end) = end.map(|end| end.ok().and_then(|end| end.clone())) else {
                self.still_waiting(&mut waiting)?;
                return if waiting.is_empty() {
                    Ok(())
                } else {
                    Err(late(waiting))
                };
            };
            settled(key, end.as_ref())?;
            waiting.pop();
        }
        Ok(())
    }

    fn synchronous_rules(
        &self,
        who: &Caller,
        repository: &RepositoryName,
    ) -> Result<Vec<Rule>, ServiceError> {
        let view = self.local()?;
        let mut rules = query::rules(view.as_ref(), &who.account)?;
        rules.retain(|rule| rule.options.synchronous && rule.matches(repository));
        Ok(rules)
    }

    /// Those of the tasks that one of `rules` has asked for, and that are not complete.
    fn asked_for(&self, keys: Vec<TaskKey>, rules: &[Rule]) -> Result<Vec<TaskKey>, ServiceError> {
        let view = self.local()?;
        let mut open = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(task) = query::task(view.as_ref(), &key)? else {
                // Either none of the rules takes it, or it was dropped already.
                if is_taken(view.as_ref(), &key, rules)? {
                    settled(&key, Some(&End::Dropped))?;
                }
                continue;
            };
            match End::of(Some(&task)) {
                None => open.push(key),
                end => settled(&key, end.as_ref())?,
            }
        }
        Ok(open)
    }

    /// Leaves those that are under way.
    fn still_waiting(&self, waiting: &mut Vec<Waiting>) -> Result<(), ServiceError> {
        let view = self.local()?;
        let mut left = Vec::with_capacity(waiting.len());
        for (key, ended) in waiting.drain(..) {
            match End::of(query::task(view.as_ref(), &key)?.as_ref()) {
                None => left.push((key, ended)),
                end => settled(&key, end.as_ref())?,
            }
        }
        *waiting = left;
        Ok(())
    }
}

/// The destinations of rules, and how long a push waits for each.
fn waited_for(rules: &[Rule]) -> BTreeMap<Destination, u64> {
    let mut found = BTreeMap::new();
    for rule in rules {
        let wait_ms = rule.options.synchronous_ms().unwrap_or_default();
        for destination in &rule.destinations {
            let longest = found.entry(destination.clone()).or_insert(wait_ms);
            *longest = wait_ms.max(*longest);
        }
    }
    found
}

/// Whether one of the rules asks for such a task. What is not here any more may have
/// been asked for.
fn is_taken(view: &dyn KeyValue, key: &TaskKey, rules: &[Rule]) -> Result<bool, ServiceError> {
    let account = RegistryId::from(key.account.clone());
    let (repository, digest) = (&key.repository, &key.digest);
    let Some(image) = query::manifest_entry(view, &account, repository, digest)? else {
        return Ok(true);
    };
    let tag = key.tag.as_ref();
    for rule in rules
        .iter()
        .filter(|it| it.destinations.contains(&key.destination))
    {
        if rule.takes(view, &account, repository, &image, tag)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// That a task which is not under way any more is complete.
fn settled(key: &TaskKey, end: Option<&End>) -> Result<(), ServiceError> {
    let destination = &key.destination;
    let why = match end {
        Some(End::Durable) => return Ok(()),
        Some(End::Refused(reason)) => {
            format!("the image is kept here, and {destination} refuses it: {reason}")
        }
        Some(End::Dropped) => format!(
            "it was deleted here, or the rule that asks for it was changed, before it was at \
             {destination}"
        ),
        Some(End::Unknown) | None => format!(
            "the image is kept here, and whether it has got to {destination} cannot be told by \
             this node now"
        ),
    };
    Err(ServiceError::NotReplicated(why))
}

fn crowded() -> ServiceError {
    ServiceError::NotReplicated(format!(
        "the image is kept here and on its way, and {PUSHES_MAX} other pushes wait for synchronous \
         destinations at this node: push it again later"
    ))
}

fn late(waiting: Vec<Waiting>) -> ServiceError {
    let mut names: Vec<String> = waiting
        .into_iter()
        .map(|(key, _)| key.destination.to_string())
        .collect();
    names.sort();
    names.dedup();
    ServiceError::NotReplicated(format!(
        "the image is kept here, and still on its way to {}: it was not there in the time that a \
         synchronous rule waits",
        names.join(", ")
    ))
}
