//! Tasks are enqueued, end and are dropped.
//!
//! The invariant: the outbox has an entry for each task in progress, and no
//! other. A task belongs to the newest push that asked for it.

use std::collections::BTreeSet;

use entrepot_oci::{AccountId, Digest, RepositoryName, Tag};

use super::{Stop, invalid, parse};
use crate::command::EndTask;
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::{REASON_BYTES_MAX, SCAN_PAGE, SWEEP_TASKS_MAX};
use crate::overlay::Overlay;
use crate::query::{self, Destination, TaskKey};
use crate::records::{TaskRecord, TaskState};
use crate::response::{Outcome, TaskEnded};
use crate::store::{KeyValue as _, StorageError};

/// Enqueues the tasks of one push, tag by tag.
pub(super) struct Enqueue<'a> {
    account: &'a AccountId,
    repository: &'a RepositoryName,
    digest: &'a Digest,
    destinations: BTreeSet<Destination>,
    index: u64,
    at_ms: i64,
    count: u32,
}

/// What a change of the rules did to the open tasks.
#[derive(Default)]
pub(super) struct Swept {
    pub(super) dropped: u64,
    /// Not all were looked at.
    pub(super) more: bool,
}

pub(super) fn end(overlay: &mut Overlay<'_>, command: EndTask) -> Result<Outcome, Stop> {
    let account = parse("account", &command.account)?;
    let destination = Destination::named(&command.destination, &account)
        .map_err(|error| invalid("destination", error))?;
    let key = TaskKey {
        account,
        repository: parse("repository", &command.repository)?,
        digest: parse("digest", &command.digest)?,
        tag: match command.tag.as_str() {
            "" => None,
            tag => Some(parse("tag", tag)?),
        },
        destination,
    };
    let task = query::task(overlay, &key)?
        .filter(|task| task.sequence == command.sequence && task.state == TaskState::InProgress);
    let Some(task) = task else {
        return Ok(Outcome::TaskEnded(TaskEnded { ended: false }));
    };
    let state = match command.failed_reason {
        Some(_) => TaskState::Failed,
        None => TaskState::Complete,
    };
    let record = TaskRecord {
        sequence: task.sequence,
        created_at_ms: task.created_at_ms,
        state: state.into(),
        ended_at_ms: Some(command.at_ms),
        reason: command.failed_reason.map(cut),
    };
    overlay.put(keys::task(&key), &record);
    overlay.delete(keys::outbox(task.sequence, &key));
    Ok(Outcome::TaskEnded(TaskEnded { ended: true }))
}

/// Deletes every task of a manifest, open or ended.
pub(super) fn delete_all(
    overlay: &mut Overlay<'_>,
    account: &AccountId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<(), StorageError> {
    loop {
        // What is deleted is gone from the next page.
        let tasks = query::tasks_of(overlay, account, repository, digest, SCAN_PAGE)?;
        if tasks.is_empty() {
            return Ok(());
        }
        for task in tasks {
            overlay.delete(keys::task(&task.key));
            overlay.delete(keys::outbox(task.sequence, &task.key));
        }
    }
}

/// Deletes the account's open tasks that no rule asks for any more.
pub(super) fn sweep(overlay: &mut Overlay<'_>, account: &AccountId) -> Result<Swept, StorageError> {
    let rules = query::rules(overlay, account)?;
    let all = Key::new(Namespace::Outbox);
    let end = all.prefix_end();
    let mut start = all.into_bytes();
    let mut dropped = 0;
    for _ in 0..SWEEP_TASKS_MAX / SCAN_PAGE {
        let page = overlay.scan(&start, &end, SCAN_PAGE)?;
        for (key, _) in &page {
            let mut parts = Parts::of(key);
            parts.number()?;
            let task = parts.task()?;
            let wanted = rules
                .iter()
                .any(|rule| rule.asks_for(&task.destination, &task.repository));
            if task.account == *account && !wanted {
                overlay.delete(keys::task(&task));
                overlay.delete(Key::of(key.to_vec()));
                dropped += 1;
            }
        }
        match page.last() {
            Some((last, _)) if page.len() == SCAN_PAGE => {
                start = Key::of(last.to_vec()).successor().into_bytes();
            }
            _ => {
                return Ok(Swept {
                    dropped,
                    more: false,
                });
            }
        }
    }
    let more = !overlay.scan(&start, &end, 1)?.is_empty();
    Ok(Swept { dropped, more })
}

/// At most [`REASON_BYTES_MAX`] bytes of it, whole characters.
fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    reason
}

// === impl Enqueue ===

impl<'a> Enqueue<'a> {
    /// `here`: the push was made in this region. A replica goes no further.
    pub(super) fn new(
        overlay: &Overlay<'_>,
        account: &'a AccountId,
        repository: &'a RepositoryName,
        digest: &'a Digest,
        here: bool,
        index: u64,
        at_ms: i64,
    ) -> Result<Self, StorageError> {
        let destinations = if here {
            query::destinations(overlay, account, repository)?
                .into_keys()
                .collect()
        } else {
            BTreeSet::new()
        };
        Ok(Self {
            account,
            repository,
            digest,
            destinations,
            index,
            at_ms,
            count: 0,
        })
    }

    /// One task for each destination. `was_there`: the push changed nothing,
    /// so that a task which is done or under way need not be done again.
    pub(super) fn run(
        &mut self,
        overlay: &mut Overlay<'_>,
        tag: Option<&Tag>,
        was_there: bool,
    ) -> Result<(), StorageError> {
        for destination in &self.destinations {
            let key = TaskKey {
                account: self.account.clone(),
                repository: self.repository.clone(),
                digest: *self.digest,
                tag: tag.cloned(),
                destination: destination.clone(),
            };
            if let Some(before) = query::task(overlay, &key)? {
                if was_there && before.state != TaskState::Failed {
                    continue;
                }
                // The older push's task, if open, becomes this one's.
                overlay.delete(keys::outbox(before.sequence, &key));
            }
            let record = TaskRecord {
                sequence: self.index,
                created_at_ms: self.at_ms,
                state: TaskState::InProgress.into(),
                ended_at_ms: None,
                reason: None,
            };
            overlay.put(keys::task(&key), &record);
            overlay.mark(keys::outbox(self.index, &key));
            self.count += 1;
        }
        Ok(())
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }
}
