//! Snapshots between nodes: over connections that break, and to a node that was
//! away for long.

use std::time::{Duration, Instant};

use bytes::Bytes;
use entrepot_consensus::Compaction;

use crate::EAGER;
use crate::harness::{Cluster, Shape};

const MANIFESTS: usize = 6;
const MANIFEST_BYTES: usize = 4 * 1024 * 1024;

/// Fewer than a snapshot has, more than an HTTP/2 window.
const CONNECTION_BYTES: u64 = 10 * 1024 * 1024;

fn content(number: usize) -> Bytes {
    // Not to be packed into less by anything on the way.
    let words = (0..MANIFEST_BYTES / 8).map(|at| (at * 31 + number).wrapping_mul(0x9e37_79b9));
    words.flat_map(usize::to_le_bytes).collect()
}

fn repository(number: usize) -> String {
    format!("large/{number}")
}

#[test]
fn a_snapshot_gets_through_connections_that_break() {
    let mut cluster = Cluster::start(&Shape {
        compaction: EAGER,
        ..Shape::voters(3)
    });
    let lagging = cluster.follower();
    cluster.kill(lagging);
    let writer = cluster.leader();
    for number in 0..MANIFESTS {
        let put = cluster.put_manifest_into(writer, &repository(number), &content(number));
        put.unwrap();
    }
    cluster.create_many(writer, "more", 40);
    cluster.wait_until("nobody has the entries any more", || {
        let alive = cluster.alive().into_iter();
        alive.map(|id| cluster.status(id).purged).min() >= Some(40)
    });

    // No connection lasts for all of it.
    cluster.brittle().set(CONNECTION_BYTES);
    cluster.restart(lagging);
    cluster.wait_until("the node has caught up", || {
        cluster.applied(lagging) >= cluster.status(writer).purged
    });
    assert!(
        cluster.brittle().broken() >= 2,
        "{}",
        cluster.brittle().broken()
    );
    cluster.brittle().set(0);
    cluster.wait_until("a read", || cluster.linearize(lagging).is_ok());
    for number in 0..MANIFESTS {
        let found = cluster.manifest_of(lagging, &repository(number));
        assert!(found == content(number), "manifest {number}");
    }
}

/// How many entries a node is behind; the figure of the documentation is that
/// of 100,000: `ENTREPOT_ENTRIES=100000 cargo test -p entrepot-consensus
/// --release --test cluster -- a_node_that_was_away --nocapture`.
fn entries() -> usize {
    let said = std::env::var("ENTREPOT_ENTRIES").ok();
    said.map_or(4_000, |said| said.parse().unwrap())
}

#[test]
fn a_node_that_was_away_catches_up_while_the_others_go_on() {
    let entries = entries();
    let every = entries as u64 / 4;
    let mut cluster = Cluster::start(&Shape {
        compaction: Compaction {
            snapshot_every: every,
            keep_entries: every / 4,
            log_bytes_max: 1 << 30,
        },
        ..Shape::voters(3)
    });
    let away = cluster.follower();
    cluster.kill(away);
    let writer = cluster.leader();
    cluster.create_many(writer, "missed", entries);
    let last = cluster.applied(writer);

    let returned = Instant::now();
    cluster.restart(away);
    let mut slowest = Duration::ZERO;
    let mut written = 0;
    while cluster.applied(away) < last {
        let started = Instant::now();
        cluster
            .create(writer, &format!("meanwhile/{written}"))
            .unwrap();
        slowest = slowest.max(started.elapsed());
        written += 1;
        assert!(returned.elapsed() < Duration::from_mins(2), "never");
    }
    let took = returned.elapsed();
    println!(
        "{entries} entries behind: caught up in {took:?}; \
         {written} writes meanwhile, the slowest {slowest:?}"
    );
    assert!(
        cluster.snapshot_index(away) > 0,
        "a part came as a snapshot"
    );
    // An election would have taken longer than this.
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    cluster.linearize(away).unwrap();
    assert!(cluster.has(away, "missed/0"));
    assert!(cluster.has(away, &format!("missed/{}", entries - 1)));
}
