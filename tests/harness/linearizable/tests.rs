//! Histories that are known to be right or wrong; histories of real executions,
//! right and spoilt; and the search beside one that tries every order.

use proptest::prelude::{Just, Strategy, any, prop};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::{Verdict, check, minimal, search};
use crate::history::{Action, Condition, Operation, Outcome, State};

const NEVER: u64 = u64::MAX;

fn operation(times: (u64, u64), action: Action) -> Operation {
    Operation {
        client: 0,
        node: 1,
        call_ns: times.0,
        return_ns: times.1,
        action,
    }
}

fn write(times: (u64, u64), value: State, condition: Condition, outcome: Outcome) -> Operation {
    let action = Action::Write {
        value,
        condition,
        outcome,
    };
    operation(times, action)
}

fn put(call: u64, returned: u64, value: u64) -> Operation {
    write(
        (call, returned),
        Some(value),
        Condition::None,
        Outcome::Applied,
    )
}

/// A put without an answer.
fn lost(call: u64, value: u64) -> Operation {
    write(
        (call, NEVER),
        Some(value),
        Condition::None,
        Outcome::Unknown,
    )
}

fn swap(call: u64, returned: u64, from: u64, to: u64) -> Operation {
    write(
        (call, returned),
        Some(to),
        Condition::Is(from),
        Outcome::Applied,
    )
}

fn delete(call: u64, returned: u64) -> Operation {
    write((call, returned), None, Condition::Present, Outcome::Applied)
}

fn read(call: u64, returned: u64, state: State) -> Operation {
    operation((call, returned), Action::Read(state))
}

fn is_right(history: &[Operation]) -> bool {
    match check(history) {
        Verdict::Linearizable { .. } => true,
        Verdict::Violation => false,
        Verdict::Undecided => panic!("undecided: {history:?}"),
    }
}

#[test]
fn nothing_happened_is_right() {
    assert!(is_right(&[]));
    assert!(is_right(&[lost(0, 1)]));
    assert!(is_right(&[read(0, 1, None)]));
}

#[test]
fn a_read_after_a_write_sees_it() {
    assert!(is_right(&[put(0, 10, 1), read(20, 30, Some(1))]));
    assert!(!is_right(&[put(0, 10, 1), read(20, 30, None)]));
    assert!(!is_right(&[read(0, 10, Some(1)), put(20, 30, 1)]));
    assert!(!is_right(&[
        put(0, 10, 1),
        put(20, 30, 2),
        read(40, 50, Some(1))
    ]));
}

#[test]
fn a_read_during_a_write_sees_either() {
    for state in [None, Some(1)] {
        assert!(is_right(&[put(0, 30, 1), read(10, 20, state)]));
    }
}

#[test]
fn reads_never_go_back() {
    let history = [
        put(0, 10, 1),
        put(20, 90, 2),
        read(30, 40, Some(2)),
        read(50, 60, Some(1)),
    ];
    assert!(!is_right(&history));
    // At the same time, they may.
    let history = [
        put(0, 10, 1),
        put(20, 90, 2),
        read(30, 60, Some(2)),
        read(50, 60, Some(1)),
    ];
    assert!(is_right(&history));
}

#[test]
fn what_got_no_answer_may_happen_late_or_never_and_only_once() {
    let before = [put(0, 10, 1), lost(5, 2), put(20, 30, 3)];
    for state in [Some(2), Some(3)] {
        let mut history = before.to_vec();
        history.push(read(900, 910, state));
        assert!(is_right(&history), "{state:?}");
    }
    let mut history = before.to_vec();
    history.extend([read(40, 50, Some(2)), put(60, 70, 4), read(80, 90, Some(2))]);
    assert!(!is_right(&history), "it happened twice");
    assert!(
        !is_right(&[read(0, 10, Some(2)), lost(20, 2)]),
        "before its call"
    );
}

#[test]
fn writes_of_unknown_outcome_may_build_on_each_other() {
    let swap = |from, to| {
        let condition = Condition::Is(from);
        write((5, NEVER), Some(to), condition, Outcome::Unknown)
    };
    let history = [lost(0, 1), swap(2, 3), swap(1, 2), read(10, 20, Some(3))];
    assert!(is_right(&history));
    let history = [lost(0, 1), swap(2, 3), read(10, 20, Some(3))];
    assert!(!is_right(&history));
}

#[test]
fn of_two_swaps_one_wins() {
    assert!(is_right(&[
        put(0, 1, 1),
        swap(2, 9, 1, 2),
        swap(3, 8, 2, 3)
    ]));
    assert!(!is_right(&[
        put(0, 1, 1),
        swap(2, 9, 1, 2),
        swap(3, 8, 1, 3)
    ]));
}

#[test]
fn a_refusal_says_what_was_there() {
    let refused = |state| {
        let outcome = Outcome::Refused(state);
        write((20, 30), Some(9), Condition::Is(5), outcome)
    };
    assert!(is_right(&[put(0, 10, 1), refused(Some(1))]));
    assert!(!is_right(&[put(0, 10, 1), refused(None)]), "stale");
    assert!(!is_right(&[put(0, 10, 5), refused(Some(5))]), "it held");
}

#[test]
fn a_delete_needs_something_to_delete() {
    assert!(is_right(&[
        put(0, 10, 1),
        delete(20, 30),
        read(40, 50, None)
    ]));
    assert!(!is_right(&[put(0, 10, 1), delete(20, 30), delete(40, 50)]));
    assert!(is_right(&[
        put(0, 10, 1),
        lost(5, 2),
        delete(20, 30),
        delete(40, 50)
    ]));
    assert!(!is_right(&[delete(0, 10)]));
}

#[test]
fn what_remains_of_a_violation_is_small() {
    let mut history: Vec<Operation> = (0..40)
        .flat_map(|nth| {
            let at = nth * 100;
            [
                put(at, at + 10, nth),
                lost(at + 20, 1000 + nth),
                read(at + 30, at + 40, Some(nth)),
            ]
        })
        .collect();
    history.push(read(3_950, 3_960, Some(7)));
    let smallest = [
        put(700, 710, 7),
        put(800, 810, 8),
        read(3_950, 3_960, Some(7)),
    ];
    let left = minimal(&history);
    assert_eq!(left, smallest);
    assert!(!is_right(&left));
    let one_less = minimal(&left);
    assert_eq!(one_less, left);
}

#[test]
fn work_is_bounded_and_its_end_is_no_proof() {
    let puts = (0..60).map(|value| put(0, 1_000, value));
    let stale = [read(2_000, 2_001, Some(1)), read(2_002, 2_003, Some(2))];
    let history: Vec<Operation> = puts.chain(stale).collect();
    assert_eq!(search::search(&history, 10_000), Verdict::Undecided);
}

/// Tries every order, with nothing clever about it.
fn try_every_order(history: &[Operation]) -> bool {
    fn go(left: &[Operation], state: State) -> bool {
        if left.iter().all(Operation::is_unknown) {
            return true;
        }
        (0..left.len()).any(|index| {
            let mut rest = left.to_vec();
            let next = rest.remove(index);
            let waits = |other: &Operation| !other.is_unknown() && other.return_ns < next.call_ns;
            if rest.iter().any(waits) {
                return false;
            }
            match next.action {
                Action::Read(seen) => seen == state && go(&rest, state),
                Action::Write {
                    condition,
                    outcome: Outcome::Refused(seen),
                    ..
                } => seen == state && !condition.holds(state) && go(&rest, state),
                Action::Write {
                    value, condition, ..
                } => condition.holds(state) && go(&rest, value),
            }
        })
    }
    go(history, None)
}

/// What one client does next in an execution.
#[derive(Debug, Clone)]
struct Step {
    client: usize,
    kind: u8,
    /// Until the call, from there until it takes effect, and until the answer.
    delays: (u64, u64, u64),
    fate: Fate,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered,
    /// No answer; it takes effect this much later.
    Late(u64),
    /// No answer, and no effect.
    Lost,
}

fn steps(clients: usize, count: usize) -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![
        8 => Just(Fate::Answered),
        1 => (0..200_u64).prop_map(Fate::Late),
        1 => Just(Fate::Lost),
    ];
    let delays = (0..40_u64, 0..40_u64, 0..40_u64);
    let step = (0..clients, any::<u8>(), delays, fate);
    let step = step.prop_map(|(client, kind, delays, fate)| Step {
        client,
        kind,
        delays,
        fate,
    });
    prop::collection::vec(step, 1..count)
}

/// A request that is on its way: when it takes effect, and when it returns.
struct Sent {
    client: usize,
    call: u64,
    effect: Option<u64>,
    returns: Option<u64>,
    value: u64,
    kind: u8,
}

/// Carries the steps out on a real register: every operation happens at one
/// moment between its call and its return.
fn execute(steps: &[Step]) -> Vec<Operation> {
    let mut clocks = std::collections::BTreeMap::<usize, u64>::new();
    let mut sent: Vec<Sent> = (1..)
        .zip(steps)
        .map(|(value, step)| {
            let clock = clocks.entry(step.client).or_default();
            let call = *clock + step.delays.0;
            let effect = call + step.delays.1;
            *clock = effect + step.delays.2 + 1;
            let (effect, returns) = match step.fate {
                Fate::Answered => (Some(effect), Some(effect + step.delays.2)),
                Fate::Late(late) => (Some(effect + late), None),
                Fate::Lost => (None, None),
            };
            Sent {
                client: step.client,
                call,
                effect,
                returns,
                value,
                kind: step.kind,
            }
        })
        .collect();
    sent.sort_by_key(|sent| sent.effect.unwrap_or(NEVER));
    let mut state = None;
    sent.iter()
        .filter_map(|sent| sent.happen(&mut state))
        .collect()
}

impl Sent {
    fn happen(&self, state: &mut State) -> Option<Operation> {
        let value = Some(self.value);
        // Half of the conditions hold.
        let guess = state
            .filter(|_| self.kind & 8 == 0)
            .unwrap_or(self.value / 2 + 1);
        let (value, condition) = match self.kind % 8 {
            0..3 => {
                let returns = self.returns?;
                return Some(self.operation(returns, Action::Read(*state)));
            }
            3 | 4 => (value, Condition::None),
            5 => (value, Condition::Is(guess)),
            6 => (value, Condition::Absent),
            _ => (
                None,
                if self.kind & 16 == 0 {
                    Condition::Present
                } else {
                    Condition::Is(guess)
                },
            ),
        };
        let before = *state;
        let happens = self.effect.is_some() && condition.holds(before);
        if happens {
            *state = value;
        }
        let outcome = match self.returns {
            None => Outcome::Unknown,
            Some(_) if happens => Outcome::Applied,
            Some(_) => Outcome::Refused(before),
        };
        let action = Action::Write {
            value,
            condition,
            outcome,
        };
        Some(self.operation(self.returns.unwrap_or(NEVER), action))
    }

    fn operation(&self, return_ns: u64, action: Action) -> Operation {
        Operation {
            client: self.client,
            node: 1,
            call_ns: self.call,
            return_ns,
            action,
        }
    }
}

/// The end of everything that got an answer.
fn end_of(history: &[Operation]) -> u64 {
    let known = history.iter().filter(|operation| !operation.is_unknown());
    known
        .map(|operation| operation.return_ns)
        .max()
        .unwrap_or(0)
}

proptest! {
    #[test]
    fn an_execution_is_right(steps in steps(8, 250)) {
        prop_assert!(is_right(&execute(&steps)));
    }

    #[test]
    fn a_lost_update_is_found(steps in steps(6, 150)) {
        let mut history = execute(&steps);
        let end = end_of(&history);
        history.extend([put(end + 1, end + 2, 9_001), put(end + 3, end + 4, 9_002)]);
        history.push(read(end + 5, end + 6, Some(9_001)));
        prop_assert!(!is_right(&history));
    }

    #[test]
    fn a_value_that_nobody_wrote_is_found(steps in steps(6, 150), at in any::<prop::sample::Index>()) {
        let mut history = execute(&steps);
        let time = at.index(usize::try_from(end_of(&history)).unwrap() + 1) as u64;
        history.push(read(time, time + 50, Some(9_001)));
        prop_assert!(!is_right(&history));
    }

    #[test]
    fn two_swaps_of_the_same_value_are_found(steps in steps(6, 150)) {
        let mut history = execute(&steps);
        let end = end_of(&history);
        history.push(put(end + 1, end + 2, 9_001));
        history.extend([swap(end + 3, end + 9, 9_001, 9_002), swap(end + 4, end + 8, 9_001, 9_003)]);
        prop_assert!(!is_right(&history));
    }

    /// Also where an answer is swapped for another one, which may or may not
    /// spoil the history.
    #[test]
    fn the_verdict_is_that_of_trying_every_order(
        steps in steps(4, 8),
        spoilt in any::<prop::sample::Index>(),
        answer in prop::option::of(1..8_u64),
    ) {
        let mut history = execute(&steps);
        prop_assert!(try_every_order(&history));
        if !history.is_empty() {
            let spoilt = spoilt.index(history.len());
            match &mut history[spoilt].action {
                Action::Read(state) => *state = answer,
                Action::Write { outcome, .. } => {
                    *outcome = answer.map_or(Outcome::Applied, |value| Outcome::Refused(Some(value)));
                }
            }
        }
        prop_assert_eq!(is_right(&history), try_every_order(&history));
    }

    #[test]
    fn a_minimal_violation_is_one(steps in steps(4, 30), answer in 1..30_u64) {
        let mut history = execute(&steps);
        let end = end_of(&history);
        history.push(read(end + 1, end + 2, Some(answer)));
        if !is_right(&history) {
            let left = minimal(&history);
            prop_assert!(!is_right(&left));
            prop_assert!(left.len() <= history.len());
        }
    }
}
