//! The state machine against a naive model of it, and the conformance body
//! over the map in memory.
//!
//! Random histories over a small world, so that commands meet: after every
//! step the two have to answer alike and hold the same, and every invariant
//! has to hold. Proptest prints the shortest history that fails.
// The model is meant to be naive, and all of this is test code.
#![allow(clippy::disallowed_types, clippy::unwrap_used)]

mod archive;
mod collection;
mod compare;
mod history;
mod identity;
mod mirror;
mod oracle;
mod quotas;
mod steps;
mod undelete;

use bytes::Bytes;
use entrepot_metadata::{Envelope, KeyValue, MemoryState, apply, conformance, invariants, keys};
use proptest::prelude::{ProptestConfig, proptest};

use crate::mirror::Mirror;
use crate::oracle::Oracle;
use crate::steps::{Step, history};

/// The machine, the model, one who follows the changes, and what was proposed
/// so far.
#[derive(Debug, Default)]
struct World {
    state: MemoryState,
    oracle: Oracle,
    mirror: Mirror,
    index: u64,
    envelopes: Vec<Envelope>,
}

// === impl World ===

impl World {
    fn step(&mut self, step: &Step) {
        let envelope = self.envelope(step);
        self.index += step.skipped() + 1;
        let bytes = envelope.to_bytes();
        let (writes, response) = apply(&self.state, self.index, &bytes).unwrap();
        let expected = self.oracle.apply(self.index, &envelope);
        assert_eq!(response, expected, "{envelope:?}");
        assert!(writes.entries.is_sorted_by(|a, b| a.0 < b.0));
        assert!(writes.iter().all(|(key, _)| key[0] >= keys::FIRST));
        self.state.apply_writes(&writes);
        let summary = invariants::check(&self.state).unwrap();
        compare::all(&self.state, &summary, &self.oracle);
        self.mirror.follow(&self.state, self.index);
        self.mirror.compare(&self.oracle);
        self.envelopes.push(envelope);
    }

    fn envelope(&self, step: &Step) -> Envelope {
        let id = (self.envelopes.len() as u128).to_be_bytes();
        match step {
            Step::Propose { command, .. } => Envelope::new(id, command.clone()),
            Step::EndTask {
                which,
                stale,
                command,
                ..
            } => {
                let command = self.oracle.end_task(*which, *stale, command);
                Envelope::new(id, command.into())
            }
            Step::DeleteRepository { stale, command } => {
                let command = self.oracle.delete_of(*stale, command);
                Envelope::new(id, command.into())
            }
            Step::Collect { cutoff_ms, nodes } => {
                Envelope::new(id, collection::candidates(&self.state, *cutoff_ms, nodes))
            }
            Step::Expire { cutoff_ms, now } => {
                Envelope::new(id, undelete::due(&self.state, *cutoff_ms, *now))
            }
            Step::Forget { cutoff_ms } => Envelope::new(id, history::due(&self.state, *cutoff_ms)),
            Step::Repeat { back } => {
                let again = self.envelopes.iter().rev().nth(*back);
                again
                    .or(self.envelopes.first())
                    .cloned()
                    .unwrap_or_default()
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_machine_does_what_the_model_does(history in history(80)) {
        let mut world = World::default();
        for step in &history {
            world.step(step);
        }
    }

    #[test]
    fn equal_histories_make_equal_bytes(history in history(40)) {
        let mut first = World::default();
        for step in &history {
            first.step(step);
        }
        // The second replica goes by the log alone, and restarts in between
        // from a copy of its state.
        let mut second = MemoryState::new();
        let mut index = 0;
        for (step, envelope) in history.iter().zip(&first.envelopes) {
            index += step.skipped() + 1;
            let (writes, _) = apply(&second, index, &envelope.to_bytes()).unwrap();
            second.apply_writes(&writes);
            second = restarted(&second);
        }
        assert_eq!(first.state, second);
    }

    #[test]
    fn whatever_bytes_are_committed_apply_goes_on(bytes in proptest::collection::vec(0_u8..=255, 0..200)) {
        let state = MemoryState::new();
        let (writes, response) = apply(&state, 1, &bytes).unwrap();
        assert!(writes.len() == 2 || writes.is_empty() && response.refused().is_some());
    }
}

fn restarted(state: &MemoryState) -> MemoryState {
    let pairs: Vec<(Bytes, Bytes)> = state.scan(&[0], &[0xff], usize::MAX).unwrap();
    let mut restarted = MemoryState::new();
    restarted.apply_writes(&entrepot_metadata::Writes {
        entries: pairs
            .into_iter()
            .map(|(key, value)| (key.to_vec(), Some(value)))
            .collect(),
    });
    restarted
}

#[test]
fn the_map_in_memory_conforms() {
    conformance::run(MemoryState::new);
}
