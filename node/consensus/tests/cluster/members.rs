//! A group whose members follow the cluster's records.

use entrepot_metadata::command::{AddMember, FormCluster, RemoveMember, SetMemberState};
use entrepot_metadata::query::MemberState;

use tonic::Code;

use crate::EAGER;
use crate::harness::{Cluster, Shape};

/// Three that vote, and two that wait until they are added.
fn three_of_five() -> Cluster {
    let cluster = Cluster::start(&Shape {
        waiting: 2,
        compaction: EAGER,
        ..Shape::voters(3)
    });
    let members = (1..=3).map(|id| cluster.member_spec(id)).collect();
    cluster.propose(1, FormCluster { members, at_ms: 1 });
    cluster
}

fn join(cluster: &Cluster, id: u64) {
    cluster.propose(1, AddMember::new(cluster.member_spec(id), true, 2));
}

fn set(cluster: &Cluster, at: u64, id: u64, state: MemberState) {
    cluster.propose(at, SetMemberState::new(id, state));
}

/// On every node of these, as far as it knows.
fn wait_for(cluster: &Cluster, at: &[u64], voters: &[u64], learners: &[u64]) {
    cluster.wait_until(
        &format!("voters {voters:?} and learners {learners:?}"),
        || {
            at.iter().all(|id| {
                let status = cluster.status(*id);
                status.voters == voters && status.learners == learners
            })
        },
    );
}

#[test]
fn nodes_learn_vote_drain_and_leave() {
    let cluster = three_of_five();
    for number in 0..30 {
        cluster.create(1, &format!("before/{number}")).unwrap();
    }
    join(&cluster, 4);
    join(&cluster, 5);
    let all = [1, 2, 3, 4, 5];
    wait_for(&cluster, &all, &[1, 2, 3], &[4, 5]);
    set(&cluster, 4, 4, MemberState::Active);
    set(&cluster, 5, 5, MemberState::Active);
    wait_for(&cluster, &all, &all, &[]);
    for id in all {
        cluster.linearize(id).unwrap();
        assert_eq!(cluster.count(id), 30, "node {id}");
    }

    // The leader drains: another one leads, and it does not vote any more.
    let leader = cluster.leader();
    set(&cluster, leader, leader, MemberState::Draining);
    let others: Vec<u64> = all.into_iter().filter(|id| *id != leader).collect();
    cluster.wait_until("the leader does not vote any more", || {
        let status = cluster.status(others[0]);
        status.voters.len() == 3
            && !status.voters.contains(&leader)
            && status.leader.is_some_and(|next| next != leader)
    });
    let remove = RemoveMember {
        node: leader,
        at_ms: 3,
        force: false,
    };
    cluster.propose(others[0], remove);
    cluster.wait_until("it is gone", || {
        others.iter().all(|id| {
            let status = cluster.status(*id);
            !status.voters.contains(&leader) && !status.learners.contains(&leader)
        })
    });
    cluster.create(others[1], "after").unwrap();
    assert!(cluster.has(others[1], "after"));
}

#[test]
fn a_change_that_its_leader_did_not_end_is_finished_by_the_next() {
    let mut cluster = three_of_five();
    join(&cluster, 4);
    join(&cluster, 5);
    let all = [1, 2, 3, 4, 5];
    wait_for(&cluster, &all, &[1, 2, 3], &[4, 5]);
    let mut killed = cluster.leader();
    set(&cluster, killed, 4, MemberState::Active);
    set(&cluster, killed, 5, MemberState::Active);
    for _ in 0..3 {
        // At whatever point of the change it is.
        cluster.kill(killed);
        let dead = killed;
        cluster.wait_until("another one leads", || {
            let alive = cluster.alive();
            let leads = |id: &u64| cluster.status(*id).leader.filter(|it| *it != dead);
            alive.iter().all(|id| leads(id).is_some())
        });
        cluster.restart(dead);
        killed = cluster.leader();
    }
    wait_for(&cluster, &all, &all, &[]);
    cluster.create(1, "after").unwrap();
    for id in all {
        cluster.linearize(id).unwrap();
        assert!(cluster.has(id, "after"), "node {id}");
    }
}

#[test]
fn a_node_without_votes_takes_part_in_nothing_before_it_is_admitted() {
    let mut cluster = Cluster::start(&Shape::voters(3));
    cluster.create(1, "before").unwrap();
    let forgetful = cluster.follower();
    cluster.kill(forgetful);
    cluster.restart_empty(forgetful);
    let answer = |id| cluster.append_nothing(id, "region/us-east-1/0", id);
    assert_eq!(answer(forgetful), Code::Unavailable);
    // One that has its votes is let in at once.
    let other = if forgetful == 1 { 2 } else { 1 };
    assert_eq!(answer(other), Code::InvalidArgument);
    cluster.create(other, "meanwhile").unwrap();
    assert_eq!(cluster.status(forgetful).term, 0);
}
