//! Pushes that are acknowledged once other registries have them.
//!
//! The push is committed here before anything is waited for, and its tasks go on
//! whatever the client is told: a push that is not acknowledged in time is kept,
//! and arrives as any other.

use std::collections::BTreeMap;
use std::time::Duration;

use entrepot_metadata::query::{self, Destination, TaskKind, TaskState};
use entrepot_oci::{Digest, RepositoryName, Tag};
use tokio::time::Instant;

use crate::{Caller, Registry, ServiceError};

/// Tasks of one image that are looked at.
const TASKS_MAX: usize = 10_000;

/// How a push stands at the destinations that it waits for.
enum Standing {
    Durable,
    Waiting(Vec<Destination>),
}

impl Registry {
    /// Returns once every destination of a synchronous rule has the image, under
    /// these tags, or without one.
    ///
    /// # Errors
    /// `NotReplicated` when one refuses it, or when it takes longer than the rules
    /// allow.
    pub(crate) async fn replicated(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        digest: &Digest,
        tags: &[Tag],
    ) -> Result<(), ServiceError> {
        let waited_for = self.waited_for(who, repository)?;
        let Some(longest) = waited_for.values().max() else {
            return Ok(());
        };
        let deadline = Instant::now() + Duration::from_millis(*longest);
        loop {
            let applied = self.metadata.applied(&self.group)?;
            let waiting = match self.standing(who, repository, (digest, tags), &waited_for)? {
                Standing::Durable => return Ok(()),
                Standing::Waiting(waiting) => waiting,
            };
            let next = self.metadata.applied_after(&self.group, applied);
            match tokio::time::timeout_at(deadline, next).await {
                Ok(next) => next?,
                Err(_) => return Err(late(&waiting)),
            };
        }
    }

    /// The destinations of synchronous rules, and how long a push waits for each.
    fn waited_for(
        &self,
        who: &Caller,
        repository: &RepositoryName,
    ) -> Result<BTreeMap<Destination, u64>, ServiceError> {
        let view = self.local()?;
        let mut rules = query::rules(view.as_ref(), &who.account)?;
        rules.retain(|rule| rule.options.synchronous && rule.matches(repository));
        let mut found = BTreeMap::new();
        for rule in rules {
            let wait_ms = rule.options.synchronous_ms().unwrap_or_default();
            for destination in rule.destinations {
                let longest = found.entry(destination).or_insert(wait_ms);
                *longest = wait_ms.max(*longest);
            }
        }
        Ok(found)
    }

    fn standing(
        &self,
        who: &Caller,
        repository: &RepositoryName,
        (digest, tags): (&Digest, &[Tag]),
        waited_for: &BTreeMap<Destination, u64>,
    ) -> Result<Standing, ServiceError> {
        let view = self.local()?;
        let tasks = query::tasks_of(view.as_ref(), &who.account, repository, digest, TASKS_MAX)?;
        let mut waiting = Vec::new();
        for task in tasks {
            let is_of_push = match &task.key.tag {
                Some(tag) => tags.contains(tag),
                None => tags.is_empty(),
            };
            let is_waited_for = waited_for.contains_key(&task.key.destination);
            if !is_of_push || !is_waited_for || task.kind != TaskKind::Copy {
                continue;
            }
            match task.state {
                TaskState::Complete => {}
                TaskState::InProgress => waiting.push(task.key.destination),
                TaskState::Failed => {
                    return Err(ServiceError::NotReplicated(format!(
                        "the image is kept here, and {} refuses it: {}",
                        task.key.destination,
                        task.reason.unwrap_or_default()
                    )));
                }
            }
        }
        if waiting.is_empty() {
            return Ok(Standing::Durable);
        }
        Ok(Standing::Waiting(waiting))
    }
}

fn late(waiting: &[Destination]) -> ServiceError {
    let names: Vec<String> = waiting.iter().map(ToString::to_string).collect();
    ServiceError::NotReplicated(format!(
        "the image is kept here, and still on its way to {}: it was not there in the time that a \
         synchronous rule waits",
        names.join(", ")
    ))
}
