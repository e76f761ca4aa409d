//! The smallest part of a history that is still wrong, for people to read.

use super::{Verdict, check};
use crate::history::{Action, Condition, Operation, Outcome, State};

/// Takes away what the violation does not need. Each step only ever allows
/// more: an answer is forgotten (a read goes, a write becomes unknown), and an
/// unknown write goes that nothing left could have seen. So what remains proves
/// as much as all of it did.
///
/// Gives `history` back, in order of call, unless it is a violation.
pub fn minimal(history: &[Operation]) -> Vec<Operation> {
    let mut left = history.to_vec();
    left.sort_by_key(|operation| operation.call_ns);
    if check(&left) != Verdict::Violation {
        return left;
    }
    // From the end: what went wrong is seen late, and often nothing after it
    // matters.
    for index in (0..left.len()).rev() {
        let mut fewer = left.clone();
        forget(&mut fewer, index);
        if check(&fewer) == Verdict::Violation {
            left = fewer;
        }
    }
    without_idle(&left)
}

fn forget(history: &mut Vec<Operation>, index: usize) {
    if !history[index].is_write() {
        history.remove(index);
    } else if let Action::Write { outcome, .. } = &mut history[index].action {
        *outcome = Outcome::Unknown;
    }
}

/// Leaves out the unknown writes whose effect nothing could have seen, neither
/// an operation with an answer nor another write that one of these could see.
fn without_idle(history: &[Operation]) -> Vec<Operation> {
    let (mut idle, mut left): (Vec<Operation>, Vec<Operation>) =
        history.iter().partition(|operation| operation.is_unknown());
    loop {
        let is_seen = |write: &Operation| {
            let value = value_of(&write.action);
            left.iter().any(|other| profits(&other.action, value))
        };
        let (seen, unseen): (Vec<Operation>, Vec<Operation>) =
            idle.iter().partition(|write| is_seen(write));
        if seen.is_empty() {
            break;
        }
        left.extend(seen);
        idle = unseen;
    }
    left.sort_by_key(|operation| operation.call_ns);
    left
}

/// What an unknown write makes of a tag.
fn value_of(action: &Action) -> State {
    match action {
        Action::Read(state) => *state,
        Action::Write { value, .. } => *value,
    }
}

/// Whether an operation can go as it went because a tag is `state`.
fn profits(action: &Action, state: State) -> bool {
    match action {
        Action::Read(read) => *read == state,
        Action::Write {
            outcome: Outcome::Refused(refused),
            ..
        } => *refused == state,
        Action::Write { condition, .. } => *condition != Condition::None && condition.holds(state),
    }
}
