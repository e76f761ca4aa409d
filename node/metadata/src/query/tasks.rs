//! Replication tasks: the outbox in order, and every task by its key.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use entrepot_oci::{AccountId, Digest, NameError, RegistryId, RepositoryName, Tag};

use super::Destination;
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::TASKS_PER_ENTRY_MAX;
use crate::read;
use crate::records::{TaskKind, TaskRecord, TaskState};
use crate::store::{KeyValue, StorageError};

/// What is to be copied where. As text (for page tokens): its parts with
/// spaces between them, `-` for no tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey {
    pub account: AccountId,
    pub repository: RepositoryName,
    pub digest: Digest,
    /// `None`: pushed without a tag.
    pub tag: Option<Tag>,
    pub destination: Destination,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub key: TaskKey,
    /// Log index of the push that asked for it.
    pub sequence: u64,
    pub created_at_ms: i64,
    pub state: TaskState,
    pub ended_at_ms: Option<i64>,
    /// Why it failed.
    pub reason: Option<String>,
    /// It failed because the destination's account does not allow it.
    pub denied: bool,
    pub kind: TaskKind,
    /// Under which names its repository is known at the destination; none: its own.
    pub names: Vec<String>,
    /// Log index of a deletion of the image that is to be sent first.
    pub deleted_before: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid task key: expected account, repository, digest, tag or '-', and destination")]
pub struct TaskKeyError;

pub fn task(view: &dyn KeyValue, key: &TaskKey) -> Result<Option<Task>, StorageError> {
    let stored = keys::task(key);
    view.get(stored.as_bytes())?
        .map(|value| task_of(stored.as_bytes(), value))
        .transpose()
}

/// About `limit` open tasks with a sequence greater than `after_sequence`,
/// oldest first. Tasks of one push have one sequence and are never torn apart:
/// the last push's are all there, which may exceed `limit` by what one push
/// can ask for. So the last one's sequence is where the next page starts.
pub fn open_tasks(
    view: &dyn KeyValue,
    after_sequence: u64,
    limit: usize,
) -> Result<Vec<Task>, StorageError> {
    let all = Key::new(Namespace::Outbox);
    let Some(from) = after_sequence.checked_add(1) else {
        return Ok(Vec::new());
    };
    let start = all.clone().number(from);
    let mut found = read::page(view, &all, Some(&start), limit)?;
    if found.len() == limit
        && let Some((last, _)) = found.last()
    {
        let sequence = Parts::of(last).number()?;
        let start = Key::of(last.to_vec()).successor();
        let rest = all.number(sequence);
        found.extend(read::page(view, &rest, Some(&start), TASKS_PER_ENTRY_MAX)?);
    }
    let mut tasks = Vec::with_capacity(found.len());
    for (key, _) in found {
        let mut parts = Parts::of(&key);
        let sequence = parts.number()?;
        // Ended or asked for anew since the scan: no longer this open task.
        tasks.extend(
            task(view, &parts.task()?)?
                .filter(|task| task.sequence == sequence && task.state == TaskState::InProgress),
        );
    }
    Ok(tasks)
}

/// At most `limit` tasks of a registry, or of one repository of it, in the
/// order of their keys, after `after`.
pub fn tasks(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: Option<&RepositoryName>,
    after: Option<&TaskKey>,
    limit: usize,
) -> Result<Vec<Task>, StorageError> {
    let mut prefix = Key::new(Namespace::Task).account(account);
    if let Some(repository) = repository {
        prefix = prefix.name(repository.as_str());
    }
    // A token of another listing must not lead out of this one.
    let start = after
        .map(|after| keys::task(after).successor())
        .map(|start| {
            if start < prefix {
                prefix.clone()
            } else {
                start
            }
        });
    scan(view, &prefix, start.as_ref(), limit)
}

/// At most `limit` of the tasks that their destinations' accounts denied, in the
/// order of their keys, after `after`.
pub fn denied_tasks(
    view: &dyn KeyValue,
    after: Option<&TaskKey>,
    limit: usize,
) -> Result<Vec<TaskKey>, StorageError> {
    let all = Key::new(Namespace::Denied);
    let start = after.map(|after| keys::denied(after).successor());
    read::page(view, &all, start.as_ref(), limit)?
        .into_iter()
        .map(|(key, _)| Parts::of(&key).task())
        .collect()
}

/// The same of one repository.
pub fn denied_tasks_of(
    view: &dyn KeyValue,
    account: &AccountId,
    repository: &RepositoryName,
    after: Option<&TaskKey>,
    limit: usize,
) -> Result<Vec<TaskKey>, StorageError> {
    let all = Key::new(Namespace::Denied).home(account, repository);
    let start = after.map(|after| keys::denied(after).successor());
    read::page(view, &all, start.as_ref(), limit)?
        .into_iter()
        .map(|(key, _)| Parts::of(&key).task())
        .collect()
}

/// At most `limit` tasks of one manifest.
pub fn tasks_of(
    view: &dyn KeyValue,
    account: &RegistryId,
    repository: &RepositoryName,
    digest: &Digest,
    limit: usize,
) -> Result<Vec<Task>, StorageError> {
    let prefix = keys::of_digest(Namespace::Task, account, repository, digest);
    scan(view, &prefix, None, limit)
}

fn scan(
    view: &dyn KeyValue,
    prefix: &Key,
    start: Option<&Key>,
    limit: usize,
) -> Result<Vec<Task>, StorageError> {
    read::page(view, prefix, start, limit)?
        .into_iter()
        .map(|(key, value)| task_of(&key, value))
        .collect()
}

fn task_of(key: &[u8], value: Bytes) -> Result<Task, StorageError> {
    let record: TaskRecord = read::decode(key, value)?;
    Ok(Task {
        key: Parts::of(key).task()?,
        sequence: record.sequence,
        created_at_ms: record.created_at_ms,
        state: TaskState::try_from(record.state)
            .map_err(|_| StorageError::corrupt(key, format_args!("state {}", record.state)))?,
        ended_at_ms: record.ended_at_ms,
        reason: record.reason,
        denied: record.denied,
        kind: TaskKind::try_from(record.kind)
            .map_err(|_| StorageError::corrupt(key, format_args!("kind {}", record.kind)))?,
        names: record.names,
        deleted_before: Some(record.deleted_before).filter(|index| *index > 0),
    })
}

// === impl Task ===

impl Task {
    /// Under which names its repository is known at the destination, the one that a
    /// copy goes under first: at least one.
    ///
    /// # Errors
    /// When a rule maps it to what is no name.
    pub fn names_there(&self) -> Result<Vec<RepositoryName>, NameError> {
        if self.names.is_empty() {
            return Ok(vec![self.key.repository.clone()]);
        }
        self.names.iter().map(|name| name.parse()).collect()
    }
}

// === impl TaskKey ===

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A tag never starts with '-'.
        let tag = self.tag.as_ref().map_or("-", Tag::as_str);
        write!(
            f,
            "{} {} {} {tag} {}",
            self.account,
            self.repository,
            self.digest,
            self.destination.name(&self.account)
        )
    }
}

impl FromStr for TaskKey {
    type Err = TaskKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        fn part<T: FromStr>(text: &str) -> Result<T, TaskKeyError> {
            text.parse().map_err(|_| TaskKeyError)
        }
        let parts: Vec<&str> = text.splitn(6, ' ').collect();
        let [account, repository, digest, tag, destination] = parts[..] else {
            return Err(TaskKeyError);
        };
        let account = part(account)?;
        let destination = Destination::named(destination, &account).map_err(|_| TaskKeyError)?;
        Ok(Self {
            account,
            repository: part(repository)?,
            digest: part(digest)?,
            tag: match tag {
                "-" => None,
                tag => Some(part(tag)?),
            },
            destination,
        })
    }
}
