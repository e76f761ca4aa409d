//! Whole groups over real connections on this machine: nodes die, come back,
//! lag behind and lose their index, and nothing that was acknowledged is lost.

#![allow(clippy::unwrap_used, reason = "a test, helpers included")]

#[path = "cluster/cut.rs"]
mod cut;
#[path = "cluster/fixture.rs"]
mod fixture;
#[path = "cluster/harness.rs"]
mod harness;
#[path = "cluster/members.rs"]
mod members;
#[path = "cluster/snapshots.rs"]
mod snapshots;

use std::time::{Duration, Instant};

use entrepot_consensus::{Compaction, IndexState, Timing};
use entrepot_metadata::MetadataError;
use harness::{Cluster, Shape};
use tonic::Code;

/// Cut after a few entries, with nothing left for those who lag.
const EAGER: Compaction = Compaction {
    snapshot_every: 20,
    keep_entries: 0,
    log_bytes_max: 1 << 30,
};

#[test]
fn any_node_proposes_and_reads_its_writes() {
    let cluster = Cluster::start(&Shape::voters(3));
    for node in 1..=3 {
        let name = format!("made-by-{node}");
        cluster.create(node, &name).unwrap();
        // Its own copy shows it at once, the others' after a linearizable look.
        assert!(cluster.has(node, &name));
        for other in 1..=3 {
            cluster.linearize(other).unwrap();
            assert!(cluster.has(other, &name), "node {other}");
        }
    }
}

#[test]
fn a_dead_leader_is_replaced_and_catches_up_when_it_returns() {
    let mut cluster = Cluster::start(&Shape::voters(3));
    cluster.create(1, "before").unwrap();
    let leader = cluster.leader();
    cluster.kill(leader);
    let survivor = cluster.alive()[0];
    cluster.create(survivor, "after").unwrap();
    assert_ne!(cluster.leader(), leader);

    cluster.restart(leader);
    cluster.linearize(leader).unwrap();
    assert!(cluster.has(leader, "before") && cluster.has(leader, "after"));
}

#[test]
fn what_was_acknowledged_while_leaders_died_is_there() {
    let mut cluster = Cluster::start(&Shape::voters(3));
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        let leader = cluster.leader();
        let writers = cluster.writers_beside(leader, round, 40);
        cluster.kill(leader);
        acknowledged.extend(writers.join());
        cluster.restart(leader);
    }
    assert!(acknowledged.len() > 20, "{} writes", acknowledged.len());
    for node in 1..=3 {
        cluster.linearize(node).unwrap();
        for name in &acknowledged {
            assert!(cluster.has(node, name), "node {node} lost {name}");
        }
    }
}

#[test]
fn all_nodes_restarted_keep_everything() {
    let mut cluster = Cluster::start(&Shape {
        compaction: EAGER,
        ..Shape::voters(3)
    });
    for number in 0..50 {
        cluster.create(1, &format!("kept/{number}")).unwrap();
    }
    for clean in [true, false] {
        for node in 1..=3 {
            if clean {
                cluster.stop(node);
            } else {
                cluster.kill(node);
            }
        }
        for node in 1..=3 {
            cluster.restart(node);
            assert_eq!(cluster.index_state(node), IndexState::Kept);
        }
        for node in 1..=3 {
            cluster.linearize(node).unwrap();
            assert_eq!(cluster.count(node), 50);
        }
    }
}

#[test]
fn a_node_that_lags_behind_the_log_gets_a_snapshot() {
    let mut cluster = Cluster::start(&Shape {
        compaction: EAGER,
        ..Shape::voters(3)
    });
    cluster.create(1, "first").unwrap();
    let lagging = cluster.follower();
    cluster.kill(lagging);
    let writer = cluster.leader();
    for number in 0..100 {
        cluster.create(writer, &format!("missed/{number}")).unwrap();
    }
    cluster.wait_until("nobody has the entries any more", || {
        let alive = cluster.alive().into_iter();
        alive.map(|id| cluster.status(id).purged).min() >= Some(80)
    });
    cluster.restart(lagging);
    cluster.linearize(lagging).unwrap();
    assert_eq!(cluster.count(lagging), 101);
    assert!(
        cluster.snapshot_index(lagging) >= 80,
        "it came as a snapshot"
    );

    // It goes on from there, and after another start as well.
    cluster.create(lagging, "last").unwrap();
    cluster.kill(lagging);
    cluster.restart(lagging);
    cluster.linearize(lagging).unwrap();
    assert_eq!(cluster.count(lagging), 102);
}

#[test]
fn a_lost_index_is_built_again_from_snapshot_and_log() {
    let mut cluster = Cluster::start(&Shape {
        compaction: EAGER,
        ..Shape::voters(1)
    });
    for number in 0..50 {
        cluster.create(1, &format!("kept/{number}")).unwrap();
    }
    cluster.wait_for_snapshots(20);
    let applied = cluster.applied(1);

    cluster.stop(1);
    cluster.restart_rebuilding(1);
    let state = cluster.index_state(1);
    assert!(matches!(state, IndexState::Rebuilt(_)), "{state:?}");
    cluster.linearize(1).unwrap();
    assert_eq!(cluster.count(1), 50);
    assert!(cluster.applied(1) >= applied);

    // As after a power cut: killed, and another boot of the machine.
    cluster.kill(1);
    cluster.pretend_reboot(1);
    cluster.restart(1);
    let state = cluster.index_state(1);
    assert!(matches!(state, IndexState::Rebuilt(_)), "{state:?}");
    cluster.linearize(1).unwrap();
    assert_eq!(cluster.count(1), 50);
}

#[test]
fn learners_are_added_and_serve_like_the_others() {
    let cluster = Cluster::start(&Shape {
        learners: 2,
        ..Shape::voters(3)
    });
    cluster.create(1, "one").unwrap();
    for learner in [4, 5] {
        cluster.wait_until("the learner is added", || {
            cluster.status(learner).learners == [4, 5]
        });
        cluster.linearize(learner).unwrap();
        assert!(cluster.has(learner, "one"));
        cluster.create(learner, &format!("by-{learner}")).unwrap();
        assert!(cluster.has(learner, &format!("by-{learner}")));
    }
    assert_eq!(cluster.status(1).voters, [1, 2, 3]);
}

#[test]
fn without_a_majority_nothing_is_promised() {
    let mut cluster = Cluster::start(&Shape::voters(3));
    cluster.create(1, "before").unwrap();
    cluster.kill(2);
    cluster.kill(3);
    // A leader's lease may still run for a moment.
    cluster.wait_until("the end of the lease", || cluster.linearize(1).is_err());
    let read = cluster.linearize(1).unwrap_err();
    assert!(matches!(read, MetadataError::Unavailable { .. }), "{read}");
    let write = cluster.create(1, "after").unwrap_err();
    assert!(write.is_transient(), "{write}");
    // Its own copy can still be looked at.
    assert!(cluster.has(1, "before"));

    cluster.restart(2);
    cluster.linearize(1).unwrap();
    cluster.create(2, "after").unwrap();
}

#[test]
fn reads_at_the_same_time_share_their_rounds() {
    let cluster = Cluster::start(&Shape::voters(3));
    cluster.create(1, "one").unwrap();
    let follower = cluster.follower();
    let took = cluster.linearize_many(follower, 2_000);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_leader_that_is_cut_off_is_silent_before_another_one_speaks() {
    let cluster = Cluster::start(&Shape::voters(3));
    cluster.create(1, "before").unwrap();
    let leader = cluster.leader();
    cluster.linearize(leader).unwrap();
    let other = cluster.follower();
    cluster.isolate(leader);
    cluster.wait_until("another leader's write", || {
        cluster.create(other, "after").is_ok()
    });
    // Its copy does not know of it.
    assert!(!cluster.has(leader, "after"));
    let read = cluster.linearize(leader).unwrap_err();
    assert!(matches!(read, MetadataError::Unavailable { .. }), "{read}");
}

#[test]
fn a_voter_that_restarts_waits_until_no_lease_counts_on_it() {
    let mut cluster = Cluster::start(&Shape::voters(3));
    cluster.create(1, "one").unwrap();
    let voter = cluster.follower();
    cluster.kill(voter);
    let killed = Instant::now();
    cluster.restart(voter);
    assert!(killed.elapsed() >= Duration::from_millis(Timing::LAN.lease_ms));
}

#[test]
fn a_leader_that_stops_hands_over_first() {
    let mut cluster = Cluster::start(&Shape::voters(3));
    cluster.create(1, "before").unwrap();
    let leader = cluster.leader();
    cluster.stop(leader);
    // Nobody had to wait for its lease to run out.
    let known = cluster.alive().into_iter();
    let known: Vec<_> = known.map(|id| cluster.status(id).leader).collect();
    let handed_over = |known: &Option<u64>| known.is_some_and(|known| known != leader);
    assert!(known.iter().any(handed_over), "{known:?}");
    cluster.create(cluster.follower(), "after").unwrap();
}

#[test]
fn the_largest_manifest_reaches_every_copy() {
    let mut cluster = Cluster::start(&Shape {
        compaction: EAGER,
        ..Shape::voters(3)
    });
    let content = bytes::Bytes::from(vec![b'x'; 4 * 1024 * 1024]);
    let lagging = cluster.follower();
    cluster.put_manifest(lagging, &content).unwrap();
    for node in 1..=3 {
        cluster.linearize(node).unwrap();
        assert_eq!(cluster.manifest(node), content);
    }
    // In a snapshot as well.
    cluster.kill(lagging);
    let writer = cluster.leader();
    for number in 0..60 {
        cluster.create(writer, &format!("more/{number}")).unwrap();
    }
    cluster.wait_for_snapshots(40);
    cluster.restart_rebuilding(lagging);
    cluster.linearize(lagging).unwrap();
    assert_eq!(cluster.manifest(lagging), content);
}

#[test]
fn a_message_for_another_node_or_group_is_refused() {
    let cluster = Cluster::start(&Shape::voters(1));
    let refused = |group: &str, target| cluster.append_nothing(1, group, target);
    assert_eq!(refused("region/us-east-1/0", 2), Code::FailedPrecondition);
    assert_eq!(refused("region/eu-west-1/0", 1), Code::NotFound);
    // The right one is looked at, and has no vote in it.
    assert_eq!(refused("region/us-east-1/0", 1), Code::InvalidArgument);
}
