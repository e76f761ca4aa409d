//! Tasks are enqueued, end and are dropped.
//!
//! The invariant: the outbox has an entry for each task in progress, and no
//! other. A task belongs to the newest push or deletion that asked for it.

mod enqueue;
mod removal;

use entrepot_oci::{AccountId, Digest, RegistryId, RepositoryName};

pub(super) use self::enqueue::{Enqueue, ask_again};
pub(super) use self::removal::{Deletion, Going};
use super::{Stop, invalid, parse};
use crate::command::{EndTask, RetryTasks};
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::{NAMES_MAX, REASON_BYTES_MAX, RETRIED_MAX, SCAN_PAGE, SWEEP_TASKS_MAX};
use crate::overlay::Overlay;
use crate::query::{self, Destination, Rule, Task, TaskKey};
use crate::read;
use crate::records::{TaskKind, TaskRecord, TaskState};
use crate::response::{Done, Outcome, TaskEnded};
use crate::store::{KeyValue as _, StorageError};

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
    remove(overlay, &task);
    let state = match command.failed_reason {
        Some(_) => TaskState::Failed,
        None => TaskState::Complete,
    };
    let denied = command.denied && state == TaskState::Failed;
    // Of a deletion that is done, there is nothing that anybody could ask about.
    if task.kind == TaskKind::Copy || state == TaskState::Failed {
        let record = TaskRecord {
            state: state.into(),
            ended_at_ms: Some(command.at_ms),
            reason: command.failed_reason.map(cut),
            denied,
            ..record(&task)
        };
        overlay.put(keys::task(&key), &record);
    }
    if denied {
        overlay.mark(keys::denied(&key));
    }
    Ok(Outcome::TaskEnded(TaskEnded { ended: true }))
}

/// Opens what was denied, if a rule still asks for it. Looks at no more than
/// [`RETRIED_MAX`] of a repository's tasks, whichever destination they are for: who
/// proposes it goes on behind them.
pub(super) fn retry(overlay: &mut Overlay<'_>, command: &RetryTasks) -> Result<Outcome, Stop> {
    let account: AccountId = parse("account", &command.account)?;
    let repository: RepositoryName = parse("repository", &command.repository)?;
    let destination = Destination::named(&command.destination, &account)
        .map_err(|error| invalid("destination", error))?;
    let rules = query::rules(overlay, &account)?;
    let prefix = Key::new(Namespace::Denied).home(&account, &repository);
    let after = command.after.as_ref();
    let after = after.map(|after| {
        Ok::<_, Stop>(TaskKey {
            account: account.clone(),
            repository: repository.clone(),
            digest: parse("digest", &after.digest)?,
            tag: match after.tag.as_str() {
                "" => None,
                tag => Some(parse("tag", tag)?),
            },
            destination: Destination::named(&after.destination, &account)
                .map_err(|error| invalid("destination", error))?,
        })
    });
    let start = after
        .transpose()?
        .map(|after| keys::denied(&after).successor());
    for (key, _) in read::page(overlay, &prefix, start.as_ref(), RETRIED_MAX)? {
        let key = Parts::of(&key).task()?;
        if key.destination != destination {
            continue;
        }
        let task = query::task(overlay, &key)?;
        let is_deletion = |task: &Task| task.kind == TaskKind::Delete;
        if task.as_ref().map(is_deletion) == Some(!command.deletions) {
            continue;
        }
        overlay.delete(keys::denied(&key));
        let Some(task) = task else { continue };
        if is_wanted(overlay, &rules, &task)? {
            open(overlay, &task);
        } else {
            // Nobody asks for it any more: it has failed, and that is all.
            let record = TaskRecord {
                denied: false,
                ..record(&task)
            };
            overlay.put(keys::task(&key), &record);
        }
    }
    Ok(Outcome::Done(Done {}))
}

/// A task as it is stored.
fn record(task: &Task) -> TaskRecord {
    TaskRecord {
        sequence: task.sequence,
        created_at_ms: task.created_at_ms,
        state: task.state.into(),
        ended_at_ms: task.ended_at_ms,
        reason: task.reason.clone(),
        denied: task.denied,
        kind: task.kind.into(),
        names: task.names.clone(),
        deleted_before: task.deleted_before.unwrap_or_default(),
    }
}

/// Names as a task has them: each once, and none where its own is the only one.
fn names(repository: &RepositoryName, names: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for name in names {
        if !all.contains(&name) && all.len() < NAMES_MAX {
            all.push(name);
        }
    }
    if all.iter().all(|name| name == repository.as_str()) {
        all.clear();
    }
    all
}

/// What [`names`] stands for.
fn names_of(task: &Task) -> Vec<String> {
    if task.names.is_empty() {
        vec![task.key.repository.to_string()]
    } else {
        task.names.clone()
    }
}

/// A failed task is in progress again, as what it was asked for.
fn open(overlay: &mut Overlay<'_>, task: &Task) {
    let record = TaskRecord {
        state: TaskState::InProgress.into(),
        ended_at_ms: None,
        reason: None,
        denied: false,
        ..record(task)
    };
    overlay.put(keys::task(&task.key), &record);
    overlay.mark(keys::outbox(task.sequence, &task.key));
}

/// Removes a task, open or ended, from wherever it is.
pub(super) fn remove(overlay: &mut Overlay<'_>, task: &Task) {
    overlay.delete(keys::task(&task.key));
    overlay.delete(keys::outbox(task.sequence, &task.key));
    if task.denied {
        overlay.delete(keys::denied(&task.key));
    }
}

/// Deletes the tasks of a manifest that goes, open or ended, but for the deletions
/// that are still to be copied.
pub(super) fn delete_all(
    overlay: &mut Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<(), StorageError> {
    for task in all_of(overlay, account, repository, digest)? {
        let is_open = task.state == TaskState::InProgress || task.denied;
        if task.kind == TaskKind::Copy || !is_open {
            remove(overlay, &task);
        }
    }
    Ok(())
}

/// Every task of a manifest, open or ended.
fn all_of(
    overlay: &Overlay<'_>,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Result<Vec<Task>, StorageError> {
    let mut limit = SCAN_PAGE;
    loop {
        let tasks = query::tasks_of(overlay, account, repository, digest, limit)?;
        if tasks.len() < limit {
            return Ok(tasks);
        }
        limit *= 2;
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
            if task.account == *account && !is_key_wanted(overlay, &rules, &task)? {
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

/// The same, with no more reads than it takes.
fn is_key_wanted(
    overlay: &Overlay<'_>,
    rules: &[Rule],
    key: &TaskKey,
) -> Result<bool, StorageError> {
    let asks = |rule: &&Rule| rule.asks_for(&key.destination, &key.repository);
    let mut asking = rules.iter().filter(asks).peekable();
    if asking.peek().is_none() {
        return Ok(false);
    }
    // Only what a rule says of these depends on more than its key.
    let is_plain = |rule: &Rule| !rule.options.filters_images() && rule.options.deletions;
    if asking.all(is_plain) {
        return Ok(true);
    }
    match query::task(overlay, key)? {
        Some(task) => is_wanted(overlay, rules, &task),
        None => Ok(false),
    }
}

fn is_wanted(overlay: &Overlay<'_>, rules: &[Rule], task: &Task) -> Result<bool, StorageError> {
    for rule in rules {
        if rule.wants(overlay, task)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// At most [`REASON_BYTES_MAX`] bytes of it, whole characters.
fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    reason
}
