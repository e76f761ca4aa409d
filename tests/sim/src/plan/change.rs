//! Nodes that join, leave and replace each other.

use std::time::Duration;

use super::{Event, FAULT_MS, Plan, power_cut};
use crate::draw::Draw;

/// In so many seeds of a hundred a node comes or goes.
const CHANGES_PERCENT: usize = 20;
/// When the operator begins.
const BEGIN_MS: std::ops::Range<usize> = 0..2_500;
/// A node that joins fails so long after the operator began.
const JOINING_MS: std::ops::Range<usize> = 500..4_000;
/// Without one of its nodes a region of fewer has no majority for good.
const MAY_LOSE_MIN: usize = 3;

/// What an operator does with the nodes of one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// From the moment when clients begin.
    pub(crate) at: Duration,
    /// Which of the plan's.
    pub(crate) region: usize,
    /// First a new node joins,
    pub(crate) joins: Option<u64>,
    /// then one leaves.
    pub(crate) leaves: Option<Leave>,
}

/// A node that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leave {
    pub(crate) node: u64,
    pub(crate) how: Leaving,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// Drained, stopped, removed.
    Stopped,
    /// Drained, and removed while it runs.
    Running,
    /// Its machine is gone for ever before anything else happens. Replaced by the
    /// node that joins, else removed by force.
    Lost,
}

impl Plan {
    /// From numbers of its own, so that a plan is otherwise what it would be.
    pub(super) fn draw_change(&mut self, draw: &mut Draw) {
        if !draw.percent(CHANGES_PERCENT) {
            return;
        }
        let region = draw.below(self.regions.len());
        let ids = self.regions.get(region).map(|(_, ids)| ids.clone());
        let ids = ids.unwrap_or_default();
        let next = self.nodes().len() as u64 + 1;
        let joins = (ids.len() == 1 || draw.percent(70)).then_some(next);
        let how = match draw.below(3) {
            0 => Leaving::Stopped,
            1 if ids.len() >= MAY_LOSE_MIN => Leaving::Lost,
            _ => Leaving::Running,
        };
        let leaves = draw.percent(60) || joins.is_none();
        let leaves = leaves.then(|| draw.pick(&ids).copied()).flatten();
        let change = Change {
            at: draw.ms(BEGIN_MS),
            region,
            joins,
            leaves: leaves.map(|node| Leave { node, how }),
        };
        if let Some(joins) = change.joins
            && draw.percent(40)
        {
            let at = change.at + draw.ms(JOINING_MS);
            let until = at + draw.ms(FAULT_MS);
            let event = match draw.below(2) {
                0 => Event::Kill(joins),
                _ => power_cut(draw, joins),
            };
            self.events.push((at, event));
            self.events.push((until, Event::Start(joins)));
        }
        self.change = Some(change);
    }

    /// The fewest nodes that ever take copies in a region.
    pub(crate) fn fewest(&self, region: &str) -> usize {
        let mut regions = self.regions.iter().enumerate();
        let Some((index, (_, ids))) = regions.find(|(_, (name, _))| *name == region) else {
            return 0;
        };
        let change = self.change.as_ref().filter(|change| change.region == index);
        let leaves = change.is_some_and(|it| it.leaves.is_some() && it.joins.is_none());
        ids.len() - usize::from(leaves)
    }
}
