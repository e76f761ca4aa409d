//! What clients did to one tag and what they were told, with the times of call
//! and return: the input of the [`linearizable`](crate::linearizable) check.
//!
//! Times are of one monotonic clock. An operation without an answer is
//! *unknown*: it may take effect at any time after its call, also long after
//! its client gave up, or never. Values are numbers that are written once.

use std::fmt;

use serde_json::{Value, json};

/// What a tag points to; `None`: there is no such tag.
pub type State = Option<u64>;

/// One request of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    pub client: usize,
    /// The node that was asked.
    pub node: u64,
    pub call_ns: u64,
    /// When the answer was there; of no meaning without one.
    pub return_ns: u64,
    pub action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The tag pointed there. A read without an answer says nothing and is not
    /// recorded.
    Read(State),
    /// Push or, with `None`, delete.
    Write {
        value: State,
        condition: Condition,
        outcome: Outcome,
    },
}

/// What has to hold for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    None,
    /// `If-Match: <digest>`
    Is(u64),
    /// `If-Match: *`; of every delete.
    Present,
    /// `If-None-Match: *`
    Absent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Applied,
    /// The condition did not hold: the tag was this instead.
    Refused(State),
    Unknown,
}

// === impl Condition ===

impl Condition {
    pub fn holds(self, state: State) -> bool {
        match self {
            Self::None => true,
            Self::Is(value) => state == Some(value),
            Self::Present => state.is_some(),
            Self::Absent => state.is_none(),
        }
    }
}

// === impl Operation ===

impl Operation {
    pub fn is_unknown(&self) -> bool {
        matches!(
            self.action,
            Action::Write {
                outcome: Outcome::Unknown,
                ..
            }
        )
    }

    /// Whether it may have changed the tag.
    pub fn is_write(&self) -> bool {
        match self.action {
            Action::Read(_) => false,
            Action::Write { outcome, .. } => !matches!(outcome, Outcome::Refused(_)),
        }
    }

    /// One line of a file.
    pub fn to_json(&self) -> Value {
        json!({
            "client": self.client,
            "node": self.node,
            "call_ns": self.call_ns,
            "return_ns": (!self.is_unknown()).then_some(self.return_ns),
            "action": self.action.to_string(),
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "client {:<2} node {}  {:>9.3} – ",
            self.client,
            self.node,
            seconds(self.call_ns)
        )?;
        if self.is_unknown() {
            write!(f, "{:>9} s", "?")?;
        } else {
            write!(f, "{:>9.3} s", seconds(self.return_ns))?;
        }
        write!(f, "  {}", self.action)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(state) => write!(f, "read: {}", Shown(*state)),
            Self::Write {
                value,
                condition,
                outcome,
            } => {
                match value {
                    Some(value) => write!(f, "put v{value}")?,
                    None => write!(f, "delete")?,
                }
                match condition {
                    Condition::None => {}
                    Condition::Is(expected) => write!(f, " if it is v{expected}")?,
                    Condition::Present => write!(f, " if it is there")?,
                    Condition::Absent => write!(f, " if it is not there")?,
                }
                match outcome {
                    Outcome::Applied => write!(f, ": done"),
                    Outcome::Refused(state) => write!(f, ": refused, it is {}", Shown(*state)),
                    Outcome::Unknown => write!(f, ": no answer"),
                }
            }
        }
    }
}

struct Shown(State);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "v{value}"),
            None => f.write_str("not there"),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
