//! Who is to vote in a group and who is to learn, and the next step towards it.
//!
//! Pure: it looks at the records of the nodes and at the group as its leader
//! sees it, and names one step at most. The invariants: a step towards other
//! voters is only taken when a majority of them is alive and every new one has
//! caught up; a change that was interrupted half-way is finished before
//! anything else; what is as it should be is left alone.

use std::collections::{BTreeMap, BTreeSet};

/// Voters of one group; more make every commit slower and no safer in practice.
const VOTERS_MAX: usize = 5;

/// A node that is to have a copy of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) region: String,
    /// It is neither joining nor draining.
    pub(crate) may_vote: bool,
}

/// A group as its leader sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Situation {
    /// The leader.
    pub(crate) own: u64,
    /// The voters; two sets while a change is under way.
    pub(crate) voters: Vec<BTreeSet<u64>>,
    pub(crate) learners: BTreeSet<u64>,
    /// The last change of the members is committed.
    pub(crate) is_settled: bool,
    /// Followers that have answered lately.
    pub(crate) alive: BTreeSet<u64>,
    /// Followers whose log is nearly the leader's.
    pub(crate) caught_up: BTreeSet<u64>,
}

/// What the leader is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Leave the state between two sets of voters, for the newer one.
    Finish,
    AddLearner(u64),
    /// These shall vote, and those that did will learn.
    Vote(BTreeSet<u64>),
    /// Give the lead to this voter.
    HandOver(u64),
    /// They are no longer of the group.
    Remove(BTreeSet<u64>),
}

/// The first few of `nodes` vote, the others learn. An even number of voters
/// tolerates no more failures than one less; two are kept for their two copies.
pub fn voters_of(nodes: usize) -> usize {
    match nodes.min(VOTERS_MAX) {
        few @ 0..=2 => few,
        even if even % 2 == 0 => even - 1,
        odd => odd,
    }
}

/// The next step from `now` to what `wanted` asks for; none, when there is
/// nothing to do or nothing can be done yet.
pub(crate) fn next(now: &Situation, wanted: &BTreeMap<u64, Candidate>) -> Option<Step> {
    if !now.is_settled {
        return None;
    }
    let [voters] = now.voters.as_slice() else {
        return (now.voters.len() > 1).then_some(Step::Finish);
    };
    let missing = wanted
        .keys()
        .find(|node| !voters.contains(node) && !now.learners.contains(node));
    if let Some(node) = missing {
        return Some(Step::AddLearner(*node));
    }
    if let Some(step) = towards(now, voters, &target(now, voters, wanted)) {
        return Some(step);
    }
    let gone: BTreeSet<u64> = now
        .learners
        .iter()
        .filter(|node| !wanted.contains_key(node))
        .copied()
        .collect();
    (!gone.is_empty()).then_some(Step::Remove(gone))
}

/// Who should vote, of those who can by now.
fn target(
    now: &Situation,
    voters: &BTreeSet<u64>,
    wanted: &BTreeMap<u64, Candidate>,
) -> BTreeSet<u64> {
    let may_vote = wanted.iter().filter(|(_, it)| it.may_vote);
    let (ready, late): (Vec<_>, Vec<_>) =
        may_vote.partition(|(node, _)| voters.contains(node) || now.is_ready(**node));
    let on_its_way = late.iter().any(|(node, _)| now.alive.contains(node));
    // By the turn in which a region gives a voter: those who vote already first.
    let mut turns: BTreeMap<&String, usize> = BTreeMap::new();
    let mut ready: Vec<_> = ready
        .into_iter()
        .map(|(node, it)| (!voters.contains(node), *node, &it.region))
        .collect();
    ready.sort();
    let mut order: Vec<(usize, &String, u64)> = ready
        .into_iter()
        .map(|(_, node, region)| {
            let turn = turns.entry(region).or_default();
            *turn += 1;
            (*turn, region, node)
        })
        .collect();
    order.sort();
    let count = voters_of(order.len());
    if count == 0 || (on_its_way && count < voters.len()) {
        // A group needs somebody; and who leaves waits for who comes.
        return voters.clone();
    }
    order.truncate(count);
    order.into_iter().map(|(_, _, node)| node).collect()
}

/// The step from `voters` to `target`, if it can be taken.
fn towards(now: &Situation, voters: &BTreeSet<u64>, target: &BTreeSet<u64>) -> Option<Step> {
    if target == voters {
        return None;
    }
    if !target.contains(&now.own) {
        // A leader gives the lead away before it stops voting.
        let mut heirs = target.intersection(voters);
        if let Some(heir) = heirs.find(|node| now.is_ready(**node)) {
            return Some(Step::HandOver(*heir));
        }
        let mut with_own = target.clone();
        with_own.insert(now.own);
        return (with_own != *voters && now.has_majority(&with_own))
            .then_some(Step::Vote(with_own));
    }
    let can = now.has_majority(target) && now.has_majority(voters);
    can.then(|| Step::Vote(target.clone()))
}

// === impl Situation ===

impl Situation {
    /// Alive, and nearly where the leader is.
    fn is_ready(&self, node: u64) -> bool {
        node == self.own || (self.alive.contains(&node) && self.caught_up.contains(&node))
    }

    fn has_majority(&self, voters: &BTreeSet<u64>) -> bool {
        let ready = voters.iter().filter(|node| self.is_ready(**node)).count();
        ready > voters.len() / 2
    }
}

#[cfg(test)]
mod tests;
