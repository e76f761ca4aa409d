//! What has to be true at any time, or in the end; one file each.
//!
//! - [`majority`]: what is acknowledged is durable on a majority of its copies
//! - [`acknowledged`]: nothing acknowledged is lost
//! - [`tags`]: each tag is linearizable
//! - [`manifests`]: a manifest never names a missing blob
//! - [`leaders`]: no two leaders in one term, in the end
//! - [`copies`]: copies converge to where they belong
//! - [`members`]: nodes come and go as they should
//! - [`replicas`]: a replica never goes back
//! - [`state`]: copies of a group agree, and keep the state machine's own

mod acknowledged;
mod copies;
mod leaders;
mod majority;
mod manifests;
mod members;
mod replicas;
mod state;
mod tags;

use std::sync::Arc;
use std::time::Duration;

use entrepot_metadata::{GroupId, KeyValue, Metadata as _};

use self::majority::Majorities;
use self::replicas::Replicas;
use self::state::States;
use crate::machine::Machine;
use crate::oracle::Oracle;
use crate::plan::Plan;

/// Between two looks at replicas, and at everything.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const STATE_EVERY: Duration = Duration::from_secs(1);
/// Of each kind, the rest is left out.
const VIOLATIONS_MAX: usize = 20;

/// Looks at all machines from outside.
pub(crate) struct Observer {
    machines: Vec<Machine>,
    states: States,
    replicas: Replicas,
    majorities: Majorities,
    plan: Plan,
    look_at: Duration,
    state_at: Duration,
    converged_at: Duration,
    has_replicas: bool,
    violations: Vec<String>,
}

// === impl Observer ===

impl Observer {
    pub(crate) fn new(plan: &Plan, machines: &[Machine]) -> Self {
        Self {
            machines: machines.to_vec(),
            states: States::default(),
            replicas: Replicas::default(),
            majorities: Majorities::default(),
            plan: plan.clone(),
            look_at: Duration::ZERO,
            state_at: Duration::ZERO,
            converged_at: Duration::ZERO,
            has_replicas: plan.regions.len() > 1,
            violations: Vec::new(),
        }
    }

    /// After each tick.
    pub(crate) fn step(&mut self, now: Duration, oracle: &Oracle) {
        let seen = self.majorities.look(&self.machines, oracle, &self.plan);
        self.add(now, seen);
        if now >= self.look_at {
            self.look_at = now + LOOK_EVERY;
            if self.has_replicas {
                let seen = self.replicas.look(&self.machines);
                self.add(now, seen);
            }
        }
        if now >= self.state_at {
            self.state_at = now + STATE_EVERY;
            self.look_at_states(now);
        }
    }

    fn look_at_states(&mut self, now: Duration) {
        let seen = self.states.look(&self.machines);
        self.add(now, seen);
        let seen = manifests::look(&self.machines);
        self.add(now, seen);
    }

    /// Whether every copy is where it belongs and one leader is left.
    pub(crate) fn is_converged(&mut self, now: Duration) -> bool {
        if now < self.converged_at {
            return false;
        }
        self.converged_at = now + STATE_EVERY;
        copies::look(&self.machines, self.plan.copies).is_empty()
            && leaders::look(&self.machines).is_empty()
            && members::look(&self.machines).is_empty()
    }

    /// What was violated at any time, or is in the end.
    pub(crate) fn finish(&mut self, oracle: &Oracle) -> Vec<String> {
        let end = Duration::MAX;
        self.look_at_states(end);
        let seen = copies::look(&self.machines, self.plan.copies);
        self.add(end, seen);
        let seen = leaders::look(&self.machines);
        self.add(end, seen);
        let seen = members::look(&self.machines);
        self.add(end, seen);
        let seen = acknowledged::look(&self.machines, oracle);
        self.add(end, seen);
        let seen = tags::look(oracle);
        self.add(end, seen);
        std::mem::take(&mut self.violations)
    }

    fn add(&mut self, at: Duration, seen: Vec<String>) {
        let at = if at == Duration::MAX {
            "in the end".to_owned()
        } else {
            format!("at {} ms", at.as_millis())
        };
        let room = VIOLATIONS_MAX.saturating_sub(self.violations.len());
        let seen = seen.into_iter().take(room);
        self.violations
            .extend(seen.map(|what| format!("{at}: {what}")));
    }
}

/// The state of a machine's region, if its node runs.
fn region_view(machine: &Machine) -> Option<Arc<dyn KeyValue>> {
    let group = GroupId::region(machine.region.clone());
    machine.consensus()?.view(&group).ok()
}
