//! The tasks for one destination: whose turn it is.
//!
//! Decides and does nothing else; time is given to it. The invariant: of the
//! tasks of one class that are due, the next is the first, by priority and
//! then by age, of the account that follows the one that was served last.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use entrepot_metadata::query::Task;
use entrepot_oci::AccountId;
use tokio::time::Instant;

use super::{Class, Failure, TaskId, backoff};

/// Tasks in hand for one destination, and of one account among them.
const IN_HAND_MAX: usize = 8_192;
pub(super) const OF_ACCOUNT_MAX: usize = 2_048;

#[derive(Debug, Default)]
pub(super) struct Lane {
    accounts: BTreeMap<AccountId, BTreeMap<TaskId, Entry>>,
    /// The account that was served last, by class.
    served: BTreeMap<Class, AccountId>,
    in_hand: usize,
    silence: Option<Silence>,
}

#[derive(Debug)]
struct Entry {
    task: Task,
    class: Class,
    failures: u32,
    missing: Vec<String>,
    /// Whether what was missing has been brought since it failed last.
    brought: bool,
    /// None while it runs.
    due: Option<Instant>,
}

/// A task that was started.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) task: Task,
    pub(super) priority: u32,
    pub(super) failures: u32,
    pub(super) missing: Vec<String>,
    pub(super) brought: bool,
}

/// A destination that did not answer.
#[derive(Debug)]
struct Silence {
    times: u32,
    /// When it is to be asked again; none while it is.
    due: Option<Instant>,
}

// === impl Lane ===

impl Lane {
    /// Tasks that have failed make room for one that has not been tried, and
    /// those of an account that has more for one of an account that has less.
    pub(super) fn offer(&mut self, task: Task, priority: u32, now: Instant) {
        let account = task.key.account.clone();
        let id = (Reverse(priority), task.sequence, task.key.clone());
        let own = self.accounts.get(&account);
        if own.is_some_and(|tasks| tasks.contains_key(&id)) {
            return;
        }
        let own = own.map_or(0, BTreeMap::len);
        let has_room = if own >= OF_ACCOUNT_MAX {
            self.give_way(&account, |entry| entry.failures > 0)
        } else if self.in_hand >= IN_HAND_MAX {
            let largest = self.accounts.iter().max_by_key(|(_, tasks)| tasks.len());
            match largest.map(|(account, tasks)| (account.clone(), tasks.len())) {
                Some((largest, count)) if count > own + 1 => self.give_way(&largest, |_| true),
                _ => false,
            }
        } else {
            true
        };
        if !has_room {
            return;
        }
        let entry = Entry {
            task,
            class: Class::Call,
            failures: 0,
            missing: Vec::new(),
            brought: false,
            due: Some(now),
        };
        self.accounts.entry(account).or_default().insert(id, entry);
        self.in_hand += 1;
    }

    /// Lets go of the task of `account` that would wait for longest, of those that
    /// wait and `may` go; false: there is none.
    fn give_way(&mut self, account: &AccountId, may: impl Fn(&Entry) -> bool) -> bool {
        let Some(tasks) = self.accounts.get_mut(account) else {
            return false;
        };
        let waiting = tasks
            .iter()
            .filter(|(_, entry)| entry.due.is_some() && may(entry));
        let last = waiting.max_by_key(|(_, entry)| entry.due);
        let Some(last) = last.map(|(id, _)| id.clone()) else {
            return false;
        };
        tasks.remove(&last);
        self.in_hand -= 1;
        true
    }

    /// Starts the task whose turn it is.
    pub(super) fn begin(&mut self, class: Class, now: Instant) -> Option<Begun> {
        if let Some(silence) = &self.silence
            && silence.due.is_none_or(|due| due > now)
        {
            return None;
        }
        let account = self.whose_turn(class, now)?;
        let tasks = self.accounts.get_mut(&account)?;
        let mut waiting = tasks.iter_mut();
        let (id, entry) = waiting.find(|(_, entry)| entry.is_due(class, now))?;
        entry.due = None;
        let begun = Begun {
            task: entry.task.clone(),
            priority: id.0.0,
            failures: entry.failures,
            missing: std::mem::take(&mut entry.missing),
            brought: entry.brought,
        };
        self.served.insert(class, account);
        if let Some(silence) = &mut self.silence {
            silence.due = None;
        }
        Some(begun)
    }

    /// The first account after the one that was served last, all the way round,
    /// that has something due.
    fn whose_turn(&self, class: Class, now: Instant) -> Option<AccountId> {
        let has = |(_, tasks): &(&AccountId, &BTreeMap<TaskId, Entry>)| {
            tasks.values().any(|entry| entry.is_due(class, now))
        };
        let found = match self.served.get(&class) {
            None => self.accounts.iter().find(has),
            Some(last) => {
                let behind = (Bound::Excluded(last), Bound::Unbounded);
                let mut after = self.accounts.range(behind);
                after
                    .find(has)
                    .or_else(|| self.accounts.range(..=last).find(has))
            }
        };
        found.map(|(account, _)| account.clone())
    }

    pub(super) fn next_due(&self, class: Class) -> Option<Instant> {
        let tasks = self.accounts.values().flat_map(BTreeMap::values);
        let waiting = tasks.filter(|entry| entry.class == class);
        let first = waiting.filter_map(|entry| entry.due).min()?;
        match &self.silence {
            None => Some(first),
            Some(silence) => silence.due.map(|due| due.max(first)),
        }
    }

    pub(super) fn remove(&mut self, id: &TaskId, now: Instant) {
        self.probed(id, now);
        let account = &id.2.account;
        if let Some(tasks) = self.accounts.get_mut(account) {
            if tasks.remove(id).is_some() {
                self.in_hand -= 1;
            }
            if tasks.is_empty() {
                self.accounts.remove(account);
            }
        }
    }

    pub(super) fn becomes(
        &mut self,
        id: &TaskId,
        class: Class,
        missing: Vec<String>,
        now: Instant,
    ) {
        self.probed(id, now);
        if let Some(entry) = self.entry(id) {
            // It needs no more than a call only once all else is there.
            entry.brought |= class == Class::Call;
            entry.class = class;
            entry.missing = missing;
            entry.due = Some(now);
        }
    }

    pub(super) fn later(&mut self, id: &TaskId, now: Instant, pause: Duration) {
        self.probed(id, now);
        if let Some(entry) = self.entry(id) {
            entry.due = Some(now + pause);
        }
    }

    /// After a failure a task starts again from the beginning, when `delay` is
    /// over. If it was the destination's, the task itself need not wait: it is
    /// the destination that is asked less often.
    pub(super) fn failed(&mut self, id: &TaskId, why: Failure, now: Instant, delay: Duration) {
        if why == Failure::Destination {
            let times = self.silence.as_ref().map_or(0, |silence| silence.times);
            let is_probe = self.silence.as_ref().is_none_or(|it| it.due.is_none());
            // Those that were under way with it fail with it, once.
            if is_probe {
                self.silence = Some(Silence {
                    times: times.saturating_add(1),
                    due: Some(now + backoff(times, id.1)),
                });
            }
        } else {
            self.probed(id, now);
        }
        if let Some(entry) = self.entry(id) {
            entry.failures = entry.failures.saturating_add(1);
            entry.class = Class::Call;
            entry.brought = false;
            entry.due = Some(match why {
                Failure::Task => now + delay,
                Failure::Destination => now,
            });
        }
    }

    /// A task that may have been the probe has come back without an answer about
    /// the destination: another one is asked to find out.
    fn probed(&mut self, id: &TaskId, now: Instant) {
        if let Some(silence) = &mut self.silence
            && silence.due.is_none()
        {
            let delay = backoff(silence.times, id.1);
            silence.due = Some(now + delay);
        }
    }

    pub(super) fn unanswered(&self) -> u32 {
        self.silence.as_ref().map_or(0, |silence| silence.times)
    }

    pub(super) fn answered(&mut self) {
        self.silence = None;
    }

    pub(super) fn retry(&mut self, now: Instant) {
        if let Some(silence) = &mut self.silence {
            silence.due = silence.due.map(|_| now);
        }
        let tasks = self.accounts.values_mut().flat_map(BTreeMap::values_mut);
        for entry in tasks {
            entry.due = entry.due.map(|_| now);
        }
    }

    fn entry(&mut self, id: &TaskId) -> Option<&mut Entry> {
        let tasks = self.accounts.get_mut(&id.2.account)?;
        tasks.get_mut(id)
    }
}

// === impl Entry ===

impl Entry {
    fn is_due(&self, class: Class, now: Instant) -> bool {
        self.class == class && self.due.is_some_and(|due| due <= now)
    }
}
