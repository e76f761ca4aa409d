//! The outbox and the tasks in progress are the same, and every task is about
//! a manifest that is there, unless it copies a deletion.

use super::{Check, Pair};
use crate::keys;
use crate::query::{self, TaskKind, TaskState};
use crate::store::StorageError;

pub(super) fn task(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.summary.tasks += 1;
    let mut parts = pair.parts();
    let key = parts.task()?;
    parts.end()?;
    let Some(task) = query::task(check.view, &key)? else {
        check.violated("a task can be found by its key", pair);
        return Ok(());
    };
    if task.kind == TaskKind::Copy {
        check.require_key(
            &keys::manifest(&key.account, &key.repository, &key.digest),
            "a task's manifest exists",
            pair,
        )?;
    }
    check.require(
        task.kind == TaskKind::Copy || task.state != TaskState::Complete,
        "of a deletion that is done no task is left",
        &pair.key,
    );
    check.require(
        !task.denied || task.state == TaskState::Failed,
        "what was denied has failed",
        &pair.key,
    );
    if task.denied {
        check.require_key(&keys::denied(&key), "what was denied can be found", pair)?;
    }
    let open = task.state == TaskState::InProgress;
    check.require(
        task.ended_at_ms.is_none() == open,
        "a task has an end unless it is in progress",
        &pair.key,
    );
    check.require(
        task.reason.is_some() == (task.state == TaskState::Failed),
        "a task has a reason if it failed",
        &pair.key,
    );
    if open {
        check.summary.open_tasks += 1;
        let entry = keys::outbox(task.sequence, &key);
        check.require_key(&entry, "a task in progress is in the outbox", pair)?;
    }
    Ok(())
}

pub(super) fn outbox(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let mut parts = pair.parts();
    let sequence = parts.number()?;
    let key = parts.task()?;
    parts.end()?;
    let task = query::task(check.view, &key)?;
    check.require(
        task.is_some_and(|task| task.sequence == sequence && task.state == TaskState::InProgress),
        "what is in the outbox is a task in progress",
        &pair.key,
    );
    Ok(())
}

pub(super) fn denied(check: &mut Check<'_>, pair: &Pair) -> Result<(), StorageError> {
    check.require_mark(pair);
    let mut parts = pair.parts();
    let key = parts.task()?;
    parts.end()?;
    let task = query::task(check.view, &key)?;
    check.require(
        task.is_some_and(|task| task.denied),
        "what is noted as denied is a task that was",
        &pair.key,
    );
    Ok(())
}
