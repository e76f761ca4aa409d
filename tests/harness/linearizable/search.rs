//! The search for an order of operations.

use std::collections::HashSet;

use super::Verdict;
use crate::history::{Action, Condition, Operation, Outcome, State};

/// An operation as the search sees it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    call_ns: u64,
    /// `None`: unknown, so it need not happen at all.
    return_ns: Option<u64>,
    needs: Needs,
    /// What the tag is afterwards; `None`: what it was.
    gives: Option<State>,
}

/// What the tag has to be for an operation to go as it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Anything,
    Present,
    Exactly(State),
}

/// Operations done, one bit each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Done(Box<[u64]>);

/// Operations to take next, in this order, and what the tag is then.
#[derive(Debug)]
struct Choice {
    entries: Vec<usize>,
    state: State,
}

/// A point of the search: how it was reached, and where it may go from there.
#[derive(Debug)]
struct Frame {
    taken: Vec<usize>,
    state_before: State,
    choices: std::vec::IntoIter<Choice>,
}

#[derive(Debug)]
struct Search {
    /// In order of call.
    entries: Vec<Entry>,
    /// Indices of the unknown ones.
    unknown: Vec<usize>,
    /// Known ones that are not done.
    open: usize,
    done: Done,
    state: State,
}

pub(super) fn search(history: &[Operation], steps_max: u64) -> Verdict {
    let entries: Option<Vec<Entry>> = history.iter().map(Entry::of).collect();
    let Some(entries) = entries else {
        return Verdict::Violation;
    };
    let mut search = Search::new(entries);
    let mut seen = HashSet::new();
    let mut frames = Vec::new();
    let mut steps = 0;
    if search.open == 0 {
        return Verdict::Linearizable { steps };
    }
    frames.push(Frame {
        taken: Vec::new(),
        state_before: search.state,
        choices: search.choices().into_iter(),
    });
    while let Some(frame) = frames.last_mut() {
        let Some(choice) = frame.choices.next() else {
            search.undo(&frame.taken, frame.state_before);
            frames.pop();
            continue;
        };
        let state_before = search.state;
        search.take(&choice);
        if search.open == 0 {
            return Verdict::Linearizable { steps };
        }
        steps += 1;
        if steps > steps_max {
            return Verdict::Undecided;
        }
        if seen.insert((search.done.clone(), search.state)) {
            frames.push(Frame {
                taken: choice.entries,
                state_before,
                choices: search.choices().into_iter(),
            });
        } else {
            search.undo(&choice.entries, state_before);
        }
    }
    Verdict::Violation
}

// === impl Entry ===

impl Entry {
    /// `None`: no state could have given this answer.
    fn of(operation: &Operation) -> Option<Self> {
        let (needs, gives) = match operation.action {
            Action::Read(state) => (Needs::Exactly(state), None),
            Action::Write {
                condition,
                outcome: Outcome::Refused(state),
                ..
            } => {
                if condition.holds(state) {
                    return None;
                }
                (Needs::Exactly(state), None)
            }
            Action::Write {
                value, condition, ..
            } => (Needs::of(condition), Some(value)),
        };
        Some(Self {
            call_ns: operation.call_ns,
            return_ns: (!operation.is_unknown()).then_some(operation.return_ns),
            needs,
            gives,
        })
    }
}

// === impl Needs ===

impl Needs {
    fn of(condition: Condition) -> Self {
        match condition {
            Condition::None => Self::Anything,
            Condition::Is(value) => Self::Exactly(Some(value)),
            Condition::Present => Self::Present,
            Condition::Absent => Self::Exactly(None),
        }
    }

    fn met(self, state: State) -> bool {
        match self {
            Self::Anything => true,
            Self::Present => state.is_some(),
            Self::Exactly(expected) => state == expected,
        }
    }
}

// === impl Done ===

impl Done {
    fn none_of(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)].into())
    }

    fn has(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 == 1
    }

    fn flip(&mut self, index: usize) {
        self.0[index / 64] ^= 1 << (index % 64);
    }
}

// === impl Search ===

impl Search {
    fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_by_key(|entry| entry.call_ns);
        let unknown: Vec<usize> = (0..entries.len())
            .filter(|index| entries[*index].return_ns.is_none())
            .collect();
        Self {
            open: entries.len() - unknown.len(),
            done: Done::none_of(entries.len()),
            state: None,
            entries,
            unknown,
        }
    }

    fn take(&mut self, choice: &Choice) {
        for index in &choice.entries {
            self.done.flip(*index);
            self.open -= usize::from(self.entries[*index].return_ns.is_some());
        }
        self.state = choice.state;
    }

    fn undo(&mut self, taken: &[usize], state_before: State) {
        for index in taken {
            self.done.flip(*index);
            self.open += usize::from(self.entries[*index].return_ns.is_some());
        }
        self.state = state_before;
    }

    /// Where the search may go from here.
    fn choices(&self) -> Vec<Choice> {
        let first_return = self.first_return();
        let mut choices = Vec::new();
        for (index, entry) in self.entries.iter().enumerate() {
            if entry.call_ns > first_return {
                break;
            }
            if entry.return_ns.is_none() || self.done.has(index) {
                continue;
            }
            if entry.needs.met(self.state) {
                let choice = Choice {
                    entries: vec![index],
                    state: entry.gives.unwrap_or(self.state),
                };
                if entry.gives.is_none() {
                    // A read that is right here: nothing else need be tried.
                    return vec![choice];
                }
                choices.push(choice);
                continue;
            }
            let mut chains = Vec::new();
            self.reach(entry.needs, first_return, &mut vec![index], &mut chains);
            choices.extend(chains);
        }
        choices
    }

    /// The earliest return of a known operation that is not done: what is called
    /// after it has to wait.
    fn first_return(&self) -> u64 {
        let mut first = u64::MAX;
        for (index, entry) in self.entries.iter().enumerate() {
            if entry.call_ns > first {
                break;
            }
            if !self.done.has(index) {
                first = first.min(entry.return_ns.unwrap_or(u64::MAX));
            }
        }
        first
    }

    /// Finds unknown writes that lead from here to what the last of `chain`
    /// needs. `chain` is in reverse order, and holds what they lead to.
    fn reach(
        &self,
        needs: Needs,
        called_by_ns: u64,
        chain: &mut Vec<usize>,
        found: &mut Vec<Choice>,
    ) {
        // Deletes without a digest are all alike: one of them is enough.
        let mut plain_delete = false;
        for index in &self.unknown {
            let entry = &self.entries[*index];
            if entry.call_ns > called_by_ns {
                break;
            }
            let leads_there = entry.gives.is_some_and(|state| needs.met(state));
            if !leads_there || self.done.has(*index) || chain.contains(index) {
                continue;
            }
            if entry.gives == Some(None) && entry.needs == Needs::Present {
                if plain_delete {
                    continue;
                }
                plain_delete = true;
            }
            chain.push(*index);
            if entry.needs.met(self.state) {
                found.push(self.chosen(chain));
            } else {
                self.reach(entry.needs, called_by_ns, chain, found);
            }
            chain.pop();
        }
    }

    /// A chain, and what the tag is after its end.
    fn chosen(&self, chain: &[usize]) -> Choice {
        let entries: Vec<usize> = chain.iter().rev().copied().collect();
        let state = entries.iter().fold(self.state, |state, index| {
            self.entries[*index].gives.unwrap_or(state)
        });
        Choice { entries, state }
    }
}
