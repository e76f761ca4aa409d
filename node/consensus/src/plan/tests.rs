//! Where the steps lead, and what they never do on the way.

use proptest::prelude::{Strategy, any};
use proptest::{collection, proptest};

use super::*;

fn set(nodes: &[u64]) -> BTreeSet<u64> {
    nodes.iter().copied().collect()
}

/// All alive and up to date.
fn group(own: u64, voters: &[u64], learners: &[u64]) -> Situation {
    let all: BTreeSet<u64> = voters.iter().chain(learners).copied().collect();
    Situation {
        own,
        voters: vec![set(voters)],
        learners: set(learners),
        is_settled: true,
        alive: all.clone(),
        caught_up: all,
    }
}

fn candidate(region: &str, may_vote: bool) -> Candidate {
    Candidate {
        region: region.to_owned(),
        may_vote,
    }
}

/// Nodes of one region that may vote.
fn active(nodes: &[u64]) -> BTreeMap<u64, Candidate> {
    let candidates = nodes.iter().map(|node| (*node, candidate("r", true)));
    candidates.collect()
}

/// What becomes of a group when a step was taken.
fn taken(mut now: Situation, step: Step) -> Situation {
    let newest = now.voters.pop().unwrap();
    match step {
        Step::Finish => {
            let older: BTreeSet<u64> = now.voters.iter().flatten().copied().collect();
            now.learners.extend(older.difference(&newest));
            now.voters = vec![newest];
        }
        Step::AddLearner(node) => {
            now.learners.insert(node);
            now.voters = vec![newest];
        }
        Step::Vote(voters) => {
            assert!(
                voters
                    .iter()
                    .all(|node| newest.contains(node) || now.learners.contains(node)),
                "who votes has learned"
            );
            now.learners.retain(|node| !voters.contains(node));
            now.voters = vec![newest, voters];
        }
        Step::HandOver(node) => {
            assert!(newest.contains(&node) && node != now.own);
            now.voters = vec![newest];
            now.own = node;
        }
        Step::Remove(nodes) => {
            now.learners.retain(|node| !nodes.contains(node));
            now.voters = vec![newest];
        }
    }
    now
}

/// Takes steps until there are none; nodes that were added catch up at once.
fn settle(mut now: Situation, wanted: &BTreeMap<u64, Candidate>) -> Situation {
    for _ in 0..100 {
        let Some(step) = next(&now, wanted) else {
            return now;
        };
        if let Step::AddLearner(node) = step {
            now.alive.insert(node);
            now.caught_up.insert(node);
        }
        now = taken(now, step);
    }
    panic!("no end of steps: {now:?}");
}

#[test]
fn a_group_as_it_should_be_is_left_alone() {
    assert_eq!(
        next(&group(1, &[1, 2, 3], &[4]), &active(&[1, 2, 3, 4])),
        None
    );
    assert_eq!(next(&group(2, &[2], &[]), &active(&[2])), None);
}

#[test]
fn three_grow_to_five() {
    let wanted = active(&[1, 2, 3, 4, 5]);
    let mut now = group(1, &[1, 2, 3], &[]);
    assert_eq!(next(&now, &wanted), Some(Step::AddLearner(4)));
    now.learners = set(&[4, 5]);
    // They are not promoted before they have caught up.
    assert_eq!(next(&now, &wanted), None);
    now.alive.extend([4, 5]);
    now.caught_up.insert(4);
    assert_eq!(next(&now, &wanted), None);
    now.caught_up.insert(5);
    assert_eq!(next(&now, &wanted), Some(Step::Vote(set(&[1, 2, 3, 4, 5]))));
}

#[test]
fn a_node_that_joins_learns_until_it_is_active() {
    let mut wanted = active(&[1, 2]);
    wanted.insert(3, candidate("r", false));
    let settled = settle(group(1, &[1, 2], &[]), &wanted);
    assert_eq!(settled.voters, [set(&[1, 2])]);
    assert_eq!(settled.learners, set(&[3]));
}

#[test]
fn who_drains_stops_voting_and_another_takes_its_place() {
    let mut wanted = active(&[1, 2, 3, 4]);
    wanted.insert(2, candidate("r", false));
    let now = group(1, &[1, 2, 3], &[4]);
    assert_eq!(next(&now, &wanted), Some(Step::Vote(set(&[1, 3, 4]))));
    // While the one that could take its place is on its way, nothing happens.
    let mut late = now.clone();
    late.caught_up.remove(&4);
    assert_eq!(next(&late, &wanted), None);
    // One that does not answer is not waited for.
    late.alive.remove(&4);
    assert_eq!(next(&late, &wanted), Some(Step::Vote(set(&[1, 3]))));
}

#[test]
fn a_leader_that_drains_gives_the_lead_away_first() {
    let mut wanted = active(&[1, 2, 3]);
    wanted.insert(1, candidate("r", false));
    assert_eq!(
        next(&group(1, &[1, 2, 3], &[]), &wanted),
        Some(Step::HandOver(2))
    );
    // There is nobody yet to whom it could.
    let mut wanted = active(&[1, 2]);
    wanted.insert(1, candidate("r", false));
    assert_eq!(
        next(&group(1, &[1], &[2]), &wanted),
        Some(Step::Vote(set(&[1, 2])))
    );
    let settled = settle(group(1, &[1], &[2]), &wanted);
    assert_eq!((settled.own, settled.voters), (2, vec![set(&[2])]));
}

#[test]
fn who_was_removed_leaves_the_group() {
    let settled = settle(group(1, &[1, 2, 3], &[4, 5]), &active(&[1, 2, 4, 5]));
    assert_eq!(settled.voters, [set(&[1, 2, 4])]);
    assert_eq!(settled.learners, set(&[5]));
}

#[test]
fn no_step_loses_the_quorum() {
    // 2 was removed while 3 does not answer: 1 alone cannot commit for 1 and 3.
    let mut now = group(1, &[1, 2, 3], &[]);
    now.alive.remove(&3);
    assert_eq!(next(&now, &active(&[1, 3])), None);
    now.alive = set(&[]);
    assert_eq!(next(&now, &active(&[1])), None);
}

#[test]
fn a_change_that_was_interrupted_is_finished_first() {
    let mut now = group(1, &[1, 2, 3], &[4]);
    now.voters.push(set(&[1, 2, 4]));
    assert_eq!(next(&now, &active(&[1, 2, 3, 4])), Some(Step::Finish));
    now.is_settled = false;
    assert_eq!(next(&now, &active(&[1, 2, 3, 4])), None);
}

#[test]
fn the_global_groups_voters_come_from_all_regions() {
    let mut wanted = active(&[1, 2, 3]);
    wanted.extend((4..=6).map(|node| (node, candidate("s", true))));
    wanted.insert(7, candidate("t", true));
    let settled = settle(group(1, &[1, 2, 3], &[]), &wanted);
    assert_eq!(settled.voters, [set(&[1, 2, 4, 5, 7])]);
    assert_eq!(settled.learners, set(&[3, 6]));
}

/// Up to eight nodes: wanted, of which region, may vote, and in the group.
fn nodes() -> impl Strategy<Value = Vec<(bool, bool, bool, u8)>> {
    collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), 0..3_u8), 1..9)
}

proptest! {
    #[test]
    fn all_that_are_wanted_arrive_when_everybody_is_alive(nodes in nodes()) {
        let mut now = group(1, &[1], &[]);
        let mut wanted = BTreeMap::new();
        for (node, (is_wanted, in_r, may_vote, role)) in (2..).zip(nodes) {
            if role > 0 {
                now.alive.insert(node);
                now.caught_up.insert(node);
            }
            match role {
                1 => drop(now.learners.insert(node)),
                2 => drop(now.voters[0].insert(node)),
                _ => {}
            }
            if is_wanted {
                wanted.insert(node, candidate(if in_r { "r" } else { "s" }, may_vote));
            }
        }
        let can = wanted.values().filter(|it| it.may_vote).count();
        let settled = settle(now.clone(), &wanted);
        if can > 0 {
            assert_eq!(settled.voters[0].len(), voters_of(can), "{now:?} {wanted:?}");
            assert!(settled.voters[0].iter().all(|node| wanted[node].may_vote));
            let members: BTreeSet<u64> =
                settled.voters[0].union(&settled.learners).copied().collect();
            assert_eq!(members, wanted.keys().copied().collect());
        }
    }

    #[test]
    fn every_step_leaves_a_quorum_that_is_alive(
        nodes in nodes(),
        alive in any::<u8>(),
        caught_up in any::<u8>(),
    ) {
        let mut now = group(1, &[1], &[]);
        let mut wanted = active(&[1]);
        for (node, (is_wanted, in_r, may_vote, role)) in (2..).zip(nodes) {
            match role {
                1 => drop(now.learners.insert(node)),
                2 => drop(now.voters[0].insert(node)),
                _ => {}
            }
            if is_wanted {
                wanted.insert(node, candidate(if in_r { "r" } else { "s" }, may_vote));
            }
            let bit = 1_u8 << (node % 8);
            for (set, mask) in [(&mut now.alive, alive), (&mut now.caught_up, caught_up)] {
                if mask & bit != 0 {
                    set.insert(node);
                }
            }
        }
        if let Some(Step::Vote(voters)) = next(&now, &wanted) {
            assert!(now.has_majority(&voters), "{now:?} {voters:?}");
            for node in voters.difference(&now.voters[0]) {
                assert!(now.is_ready(*node), "{node} {now:?}");
            }
        }
    }
}
