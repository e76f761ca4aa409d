//! The backlog by examples, and its lanes against a model that is as simple as
//! can be.

use std::collections::BTreeMap;

use entrepot_metadata::query::{Destination, TaskKey, TaskKind, TaskState};
use entrepot_oci::{AccountId, Algorithm, Digest};
use proptest::prelude::*;

use super::lane::OF_ACCOUNT_MAX;
use super::*;

pub(super) fn west() -> RegionName {
    "eu-west-1".parse().unwrap()
}

pub(super) fn task_of(account: u64, sequence: u64) -> Task {
    let account: AccountId = format!("{account:012}").parse().unwrap();
    Task {
        key: TaskKey {
            destination: Destination::new(&west(), &account),
            account,
            repository: "app".parse().unwrap(),
            digest: Digest::of(Algorithm::Sha256, b"app"),
            tag: None,
        },
        sequence,
        created_at_ms: 0,
        state: TaskState::InProgress,
        ended_at_ms: None,
        reason: None,
        denied: false,
        names: Vec::new(),
        deleted_before: None,
        kind: TaskKind::Copy,
    }
}

fn with(sequences: impl IntoIterator<Item = u64>) -> Arc<Backlog> {
    let backlog = Arc::new(Backlog::default());
    for sequence in sequences {
        backlog.offer(task_of(1, sequence), 0);
    }
    backlog
}

fn begin(backlog: &Arc<Backlog>) -> Option<Running> {
    backlog.begin(&west(), Class::Call, 1).pop()
}

#[test]
fn backoff_grows_to_its_limit_and_is_spread() {
    for failures in 0..40 {
        let delay = backoff(failures, u64::from(failures) * 31);
        assert!(delay >= BACKOFF_FIRST * 3 / 4);
        assert!(delay <= BACKOFF_MAX * 5 / 4);
    }
    assert!(backoff(10, 1) > backoff(1, 1));
    assert_ne!(backoff(5, 1), backoff(5, 2));
}

#[tokio::test(start_paused = true)]
async fn the_oldest_runs_first_and_no_task_runs_twice() {
    let backlog = with([3, 1, 2, 1]);
    let running = backlog.begin(&west(), Class::Call, 10);
    let order: Vec<u64> = running.iter().map(|one| one.task.sequence).collect();
    assert_eq!(order, [1, 2, 3]);
    backlog.offer(task_of(1, 2), 0);
    assert!(begin(&backlog).is_none());
    for one in running {
        one.done();
    }
    assert_eq!(backlog.next_due(&west(), Class::Call), None);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_waits_longer_each_time() {
    let backlog = with([1]);
    let delay = begin(&backlog).unwrap().failed(Failure::Task);
    assert!(begin(&backlog).is_none());
    tokio::time::advance(delay).await;
    // Dropped, as when it panics: that has failed too.
    assert_eq!(begin(&backlog).unwrap().failures, 1);
    assert!(begin(&backlog).is_none());
    backlog.retry_now();
    let last = begin(&backlog).unwrap();
    assert_eq!(last.failures, 2);
    assert!(last.failed(Failure::Task) > delay);
}

#[tokio::test(start_paused = true)]
async fn what_was_brought_is_known_until_the_task_fails() {
    let backlog = with([1]);
    let light = |backlog: &Arc<Backlog>| backlog.begin(&west(), Class::Light, 1).pop();
    begin(&backlog).unwrap().becomes(Class::Light, Vec::new());
    let first = light(&backlog).unwrap();
    assert!(!first.brought);
    first.becomes(Class::Call, Vec::new());
    begin(&backlog).unwrap().becomes(Class::Light, Vec::new());
    let again = light(&backlog).unwrap();
    assert!(again.brought);
    let delay = again.failed(Failure::Task);
    assert!(begin(&backlog).is_none());
    tokio::time::advance(delay).await;
    let last = begin(&backlog).unwrap();
    assert_eq!((last.brought, last.failures), (false, 1));
}

#[tokio::test(start_paused = true)]
async fn what_fails_leaves_room_for_what_was_not_tried() {
    let many = OF_ACCOUNT_MAX as u64;
    let backlog = with(1..=many + 1);
    let running = backlog.begin(&west(), Class::Call, usize::MAX);
    assert_eq!(running.len(), OF_ACCOUNT_MAX);
    // What runs stays in hand.
    backlog.offer(task_of(1, many + 1), 0);
    assert!(begin(&backlog).is_none());
    for one in running {
        one.failed(Failure::Task);
    }
    backlog.offer(task_of(1, many + 1), 0);
    assert_eq!(begin(&backlog).unwrap().task.sequence, many + 1);
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_one_account_delays_no_other() {
    let backlog = with(1..=2_000);
    for account in 2..=3 {
        backlog.offer(task_of(account, 5_000), 0);
    }
    let batch = backlog.begin(&west(), Class::Call, 5);
    let order: Vec<u64> = batch.iter().map(|one| one.task.sequence).collect();
    assert_eq!(order, [1, 5_000, 5_000, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_destination_is_asked_by_one_task_at_a_time() {
    let backlog = with(1..=100);
    for one in backlog.begin(&west(), Class::Call, 50) {
        one.failed(Failure::Destination);
    }
    assert_eq!(backlog.unanswered(&west()), 1);
    for times in 1..5 {
        assert!(begin(&backlog).is_none());
        let due = backlog.next_due(&west(), Class::Call).unwrap();
        tokio::time::advance(due - Instant::now()).await;
        let mut probes = backlog.begin(&west(), Class::Call, 50);
        assert_eq!(probes.len(), 1);
        assert_eq!(backlog.unanswered(&west()), times);
        probes.pop().unwrap().failed(Failure::Destination);
    }
    let due = backlog.next_due(&west(), Class::Call).unwrap();
    tokio::time::advance(due - Instant::now()).await;
    let probe = begin(&backlog).unwrap();
    backlog.answered(&west());
    probe.done();
    assert_eq!(backlog.begin(&west(), Class::Call, 200).len(), 99);
}

/// What may happen to a lane.
#[derive(Debug, Clone)]
enum Step {
    Offer(u64, u32),
    Begin(Class),
    Done(usize),
    Failed(usize),
    Becomes(usize, Class),
    Pass(u64),
}

/// Account, priority and sequence of a task.
type Key = (u64, Reverse<u32>, u64);

/// A task as the model has it: class, failures, and until when it waits.
type Modelled = (Class, u32, Option<Instant>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let class = prop_oneof![Just(Class::Call), Just(Class::Light), Just(Class::Heavy)];
    let step = prop_oneof![
        3 => (1..4_u64, 0..3_u32).prop_map(|(account, priority)| Step::Offer(account, priority)),
        4 => class.clone().prop_map(Step::Begin),
        2 => any::<usize>().prop_map(Step::Done),
        1 => any::<usize>().prop_map(Step::Failed),
        2 => (any::<usize>(), class).prop_map(|(nth, class)| Step::Becomes(nth, class)),
        1 => (0..3_000_u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..120)
}

/// Of the accounts that have something due, the next one after the last; of its
/// tasks that of the highest priority, then the oldest.
fn expected(
    model: &BTreeMap<Key, Modelled>,
    class: Class,
    last: Option<u64>,
    now: Instant,
) -> Option<Key> {
    let due = model
        .iter()
        .filter(|(_, (of, _, due))| *of == class && due.is_some_and(|due| due <= now));
    let keys = due.map(|(key, _)| *key);
    keys.min_by_key(|(account, priority, sequence)| {
        let round = last.is_some_and(|last| *account <= last);
        (round, *account, *priority, *sequence)
    })
}

proptest! {
    #[test]
    fn a_lane_does_what_the_model_says(steps in steps()) {
        let mut now = Instant::now();
        let mut lane = Lane::default();
        let mut model: BTreeMap<Key, Modelled> = BTreeMap::new();
        let mut last: BTreeMap<Class, u64> = BTreeMap::new();
        let mut running: Vec<Key> = Vec::new();
        let mut sequence = 0;
        for step in steps {
            match step {
                Step::Offer(account, priority) => {
                    sequence += 1;
                    lane.offer(task_of(account, sequence), priority, now);
                    lane.offer(task_of(account, sequence), priority, now);
                    let key = (account, Reverse(priority), sequence);
                    model.insert(key, (Class::Call, 0, Some(now)));
                }
                Step::Begin(class) => {
                    let next = expected(&model, class, last.get(&class).copied(), now);
                    let begun = lane.begin(class, now);
                    let found = begun.as_ref().map(|begun| {
                        let task = &begun.task;
                        let account = task.key.account.as_str().parse().unwrap();
                        (account, Reverse(begun.priority), task.sequence)
                    });
                    prop_assert_eq!(found, next);
                    if let (Some(key), Some(begun)) = (next, begun) {
                        let entry = model.get_mut(&key).unwrap();
                        prop_assert_eq!(begun.failures, entry.1);
                        entry.2 = None;
                        last.insert(class, key.0);
                        running.push(key);
                    }
                }
                Step::Pass(ms) => now += Duration::from_millis(ms),
                Step::Done(nth) | Step::Failed(nth) | Step::Becomes(nth, _) => {
                    if running.is_empty() {
                        continue;
                    }
                    let key = running.swap_remove(nth % running.len());
                    let id = (key.1, key.2, task_of(key.0, key.2).key);
                    match step {
                        Step::Failed(_) => {
                            lane.failed(&id, Failure::Task, now, BACKOFF_FIRST);
                            let entry = model.get_mut(&key).unwrap();
                            *entry = (Class::Call, entry.1 + 1, Some(now + BACKOFF_FIRST));
                        }
                        Step::Becomes(_, class) => {
                            lane.becomes(&id, class, Vec::new(), now);
                            let entry = model.get_mut(&key).unwrap();
                            *entry = (class, entry.1, Some(now));
                        }
                        _ => {
                            lane.remove(&id, now);
                            model.remove(&key);
                        }
                    }
                }
            }
            for class in Class::ALL {
                let waiting = model.values().filter(|(of, _, _)| *of == class);
                let first = waiting.filter_map(|(_, _, due)| *due).min();
                prop_assert_eq!(lane.next_due(class), first);
            }
        }
    }
}
