//! What the backlog promises, whatever happens in whatever order: held against a
//! list of tasks that is as simple as can be.
//!
//! - None is lost, and none runs twice at a time.
//! - An account that has something due waits for no more than one turn of each other
//!   account, whatever these have waiting.
//! - Of an account's tasks that are due, that of the highest priority is next, and
//!   the oldest of those.
//! - What has failed waits as long as was said, longer each time up to a limit; what
//!   may not be sent at this hour waits for its hour, and has not failed.
//! - A destination that does not answer is asked by one task at a time.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::tests::{task_of, west};
use super::{Arc, BACKOFF_FIRST, BACKOFF_MAX, Backlog, Class, Failure, Running, backoff};

const ACCOUNTS: u64 = 4;

/// How an attempt ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Done,
    Failed(Failure),
    /// Nobody has said how.
    Dropped,
    Becomes(Class),
    /// Its hour comes so much later.
    Later(u64),
}

#[derive(Debug, Clone)]
enum Step {
    /// Of an account, with a priority.
    Offer(u64, u32),
    /// The nth of all that is in hand.
    OfferAgain(usize),
    Begin(Class, usize),
    /// The nth of those that run.
    End(usize, End),
    Answered,
    RetryNow,
    Pass(u64),
}

/// Account, priority and sequence of a task.
type Key = (u64, Reverse<u32>, u64);

#[derive(Debug)]
struct Modelled {
    class: Class,
    failures: u32,
    /// None: it runs.
    due: Option<Instant>,
}

#[derive(Default)]
struct Model {
    backlog: Arc<Backlog>,
    tasks: BTreeMap<Key, Modelled>,
    running: Vec<(Key, Running)>,
    /// Turns of others since an account has had something due, by class.
    waited: BTreeMap<(Class, u64), u64>,
    sequence: u64,
    /// The destination has not answered, so often since it did.
    silent: u32,
    /// And is being asked whether it does now.
    probing: bool,
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![Just(Class::Call), Just(Class::Light), Just(Class::Heavy)]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        3 => Just(End::Done),
        2 => Just(End::Failed(Failure::Task)),
        1 => Just(End::Failed(Failure::Destination)),
        1 => Just(End::Dropped),
        2 => class().prop_map(End::Becomes),
        1 => (1..30_000_u64).prop_map(End::Later),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..=ACCOUNTS, 0..3_u32).prop_map(|(account, priority)| Step::Offer(account, priority)),
        1 => any::<usize>().prop_map(Step::OfferAgain),
        6 => (class(), 1..4_usize).prop_map(|(class, most)| Step::Begin(class, most)),
        6 => (any::<usize>(), end()).prop_map(|(nth, end)| Step::End(nth, end)),
        1 => Just(Step::Answered),
        1 => Just(Step::RetryNow),
        3 => (1..4_000_u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..200)
}

fn key_of(running: &Running) -> Key {
    let account = running.task.key.account.as_str().parse().unwrap();
    (account, Reverse(running.priority), running.task.sequence)
}

/// Between these a task that has failed `failures` times before waits.
fn bounds(failures: u32) -> (Duration, Duration) {
    let full = BACKOFF_FIRST.saturating_mul(1 << failures.min(16));
    let full = full.min(BACKOFF_MAX);
    (full * 3 / 4, full * 5 / 4)
}

// === impl Model ===

impl Model {
    async fn carry_out(&mut self, step: Step) {
        match step {
            Step::Offer(account, priority) => {
                self.sequence += 1;
                let key = (account, Reverse(priority), self.sequence);
                let waits = Modelled {
                    class: Class::Call,
                    failures: 0,
                    due: Some(Instant::now()),
                };
                self.tasks.insert(key, waits);
                self.offer(key);
            }
            Step::OfferAgain(nth) => {
                let count = self.tasks.len().max(1);
                if let Some(key) = self.tasks.keys().nth(nth % count).copied() {
                    self.offer(key);
                }
            }
            Step::Begin(class, most) => self.begin(class, most),
            Step::End(nth, end) => self.end(nth, end),
            Step::Answered => {
                self.backlog.answered(&west());
                self.silent = 0;
                self.probing = false;
            }
            Step::RetryNow => self.retry_now(),
            Step::Pass(ms) => tokio::time::advance(Duration::from_millis(ms)).await,
        }
        assert_eq!(self.backlog.unanswered(&west()), self.silent);
    }

    fn offer(&self, (account, Reverse(priority), sequence): Key) {
        self.backlog.offer(task_of(account, sequence), priority);
    }

    fn due(&self, class: Class) -> impl Iterator<Item = &Key> {
        let now = Instant::now();
        let due = self
            .tasks
            .iter()
            .filter(move |(_, it)| it.class == class && it.due.is_some_and(|due| due <= now));
        due.map(|(key, _)| key)
    }

    fn begin(&mut self, class: Class, most: usize) {
        let is_silent = self.silent > 0;
        let some_due = self.due(class).next().is_some();
        let begun = self.backlog.begin(&west(), class, most);
        assert!(begun.len() <= if is_silent { 1 } else { most });
        // Else what is due is begun.
        assert!(is_silent || begun.is_empty() != some_due || most == 0);
        assert!(
            begun.is_empty() || !self.probing,
            "two ask whether it is there"
        );
        self.probing |= is_silent && !begun.is_empty();
        for running in begun {
            let key = key_of(&running);
            let first = self.due(class).filter(|(account, ..)| *account == key.0);
            assert_eq!(first.min(), Some(&key), "the first of its account");
            for account in 1..=ACCOUNTS {
                let waits = self.due(class).any(|(other, ..)| *other == account);
                let waited = self.waited.entry((class, account)).or_default();
                *waited = if waits && account != key.0 {
                    *waited + 1
                } else {
                    0
                };
                assert!(*waited < ACCOUNTS, "{account} waits for {waited} turns");
            }
            let task = self.tasks.get_mut(&key).unwrap();
            assert_eq!(running.failures, task.failures);
            // It did not run: it was due.
            task.due = None;
            self.running.push((key, running));
        }
    }

    fn end(&mut self, nth: usize, end: End) {
        if self.running.is_empty() {
            return;
        }
        let (key, running) = self.running.swap_remove(nth % self.running.len());
        let now = Instant::now();
        if let End::Failed(Failure::Destination) = end {
            // Those that were under way with the first that was not answered do not
            // count.
            self.silent += u32::from(self.silent == 0 || self.probing);
        }
        self.probing = false;
        let task = self.tasks.get_mut(&key).unwrap();
        match end {
            End::Done => {
                running.done();
                self.tasks.remove(&key);
            }
            End::Failed(why) => {
                let delay = running.failed(why);
                let (least, most) = bounds(task.failures);
                assert!((least..=most).contains(&delay), "{delay:?}");
                task.failures += 1;
                task.class = Class::Call;
                task.due = Some(match why {
                    Failure::Task => now + delay,
                    Failure::Destination => now,
                });
            }
            End::Dropped => {
                drop(running);
                task.due = Some(now + backoff(task.failures, key.2));
                task.failures += 1;
                task.class = Class::Call;
            }
            End::Becomes(class) => {
                running.becomes(class, Vec::new());
                task.class = class;
                task.due = Some(now);
            }
            End::Later(ms) => {
                let pause = Duration::from_millis(ms);
                running.later(pause);
                task.due = Some(now + pause);
            }
        }
    }

    fn retry_now(&mut self) {
        self.backlog.retry_now();
        for task in self.tasks.values_mut() {
            task.due = task.due.map(|_| Instant::now());
        }
    }

    /// Everything runs to its end, once.
    fn drain(mut self) {
        for (key, running) in std::mem::take(&mut self.running) {
            running.done();
            self.tasks.remove(&key);
        }
        self.backlog.answered(&west());
        self.silent = 0;
        self.retry_now();
        for class in Class::ALL {
            for running in self.backlog.begin(&west(), class, usize::MAX) {
                let found = self.tasks.remove(&key_of(&running));
                assert_eq!(found.map(|it| it.class), Some(class));
                running.done();
            }
        }
        assert!(self.tasks.is_empty(), "lost: {:?}", self.tasks);
    }
}

proptest! {
    #[test]
    fn the_backlog_keeps_its_promises(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut model = Model::default();
            for step in steps {
                model.carry_out(step).await;
            }
            model.drain();
        });
    }
}
