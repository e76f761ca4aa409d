//! How the groups of a node fail and stop.

use entrepot_metadata::command::{AddRegion, FormCluster, MemberSpec, UpdateMember};
use entrepot_metadata::{Envelope, LEVEL};
use entrepot_proto::peer::raft_server::Raft as _;
use entrepot_proto::peer::{RaftMembership, SnapshotHeader, TransferLeaderRequest, Vote};
use entrepot_proto::peers::{ClusterSecret, Dial, PeerInfo, TcpDial};
use tonic::{Code, Request};

use super::*;
use crate::config::GroupConfig;
use crate::propose::Attempt;

const PATIENCE: Duration = Duration::from_secs(20);

/// The only node of a group.
async fn alone(data: &std::path::Path) -> Arc<Consensus> {
    let region = "us-east-1".parse().unwrap();
    let group = GroupConfig {
        id: GroupId::global(),
        voters: vec![1],
        learners: Vec::new(),
    };
    let own = PeerInfo {
        id: 1,
        region,
        address: "127.0.0.1:6000".to_owned(),
    };
    let secret = ClusterSecret::new("a-secret-that-only-this-test-knows").unwrap();
    let dial: Arc<dyn Dial> = Arc::new(TcpDial);
    let peers = Peers::new(1, vec![own], secret, &dial).unwrap();
    let config = ConsensusConfig::new(data.to_owned(), vec![group]);
    let consensus = Consensus::start(config, Arc::new(peers)).await.unwrap();
    consensus.ready(PATIENCE).await.unwrap();
    consensus
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_panics_is_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let consensus = alone(dir.path()).await;
    let group = consensus.groups.get(&GroupId::global()).unwrap();
    let provoked = group.raft.external_request(|_| panic!("provoked"));
    provoked.await.unwrap();
    let failure = tokio::time::timeout(PATIENCE, consensus.failed()).await;
    let said = failure.unwrap().to_string();
    assert!(said.contains("global/0 panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_not_every_node_understands_is_not_proposed() {
    let dir = tempfile::tempdir().unwrap();
    let consensus = alone(dir.path()).await;
    let global = GroupId::global();
    assert!(consensus.check_level(&global, 0).is_ok());
    let refused = consensus.check_level(&global, 1).unwrap_err();
    assert!(refused.to_string().contains("upgrade all nodes first"));

    let form = FormCluster {
        members: vec![MemberSpec::new(1, &"us-east-1".parse().unwrap(), "h:6000")],
        at_ms: 1,
    };
    let level = UpdateMember {
        level: Some(LEVEL),
        ..UpdateMember::new(1)
    };
    for command in [form.into(), level.into()] {
        let response = consensus.propose(&global, command).await.unwrap();
        assert_eq!(response.refused(), None);
    }
    assert!(consensus.check_level(&global, LEVEL).is_ok());
    assert!(consensus.check_level(&global, LEVEL + 1).is_err());

    // Nor is it written by a leader that would have to stop for it.
    let mut newer = Envelope::new([1; 16], AddRegion::new(&"eu".parse().unwrap(), 1).into());
    newer.level = LEVEL + 1;
    let group = consensus.groups.get(&global).unwrap();
    let attempt = group.write(newer.to_bytes()).await;
    assert!(matches!(attempt, Attempt::Unsent(_)), "{attempt:?}");
    consensus.shutdown().await.unwrap();
}

/// What it made of that would differ from the others' state for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_sent_the_state_of_a_newer_version_stops() {
    let dir = tempfile::tempdir().unwrap();
    let consensus = alone(dir.path()).await;
    let service = RaftService(Arc::clone(&consensus.groups));
    let header = |level, term| SnapshotHeader {
        group: GroupId::global().to_string(),
        target: 1,
        vote: Some(Vote {
            term,
            node: 2,
            committed: true,
        }),
        membership: Some(RaftMembership::default()),
        level,
        ..SnapshotHeader::default()
    };
    let progress = |level, term| service.snapshot_progress(Request::new(header(level, term)));
    // Whoever is no leader any more is told so first.
    progress(LEVEL + 1, 0).await.unwrap();
    progress(LEVEL, 9).await.unwrap();
    let group = consensus.groups.get(&GroupId::global()).unwrap();
    let failed = tokio::time::timeout(FAILURE_INTERVAL, group.failed()).await;
    assert!(failed.is_err(), "{failed:?}");

    let refused = progress(LEVEL + 1, 9).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let failure = tokio::time::timeout(PATIENCE, consensus.failed()).await;
    let said = failure.unwrap().to_string();
    let level = LEVEL + 1;
    assert!(
        said.contains(&format!("the state of the group is of level {level}")),
        "{said}"
    );
    assert!(
        said.contains("start the version that the other nodes run"),
        "{said}"
    );
    consensus.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let consensus = alone(dir.path()).await;
    consensus.shutdown().await.unwrap();
    let group = consensus.groups.get(&GroupId::global()).unwrap();
    let failed = tokio::time::timeout(FAILURE_INTERVAL, group.failed()).await;
    assert!(failed.is_err(), "{failed:?}");
}

/// Else a proposal that is waiting when its node stops keeps a core busy until
/// its time is up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_group_that_has_stopped_waits() {
    let dir = tempfile::tempdir().unwrap();
    let consensus = alone(dir.path()).await;
    consensus.shutdown().await.unwrap();
    let group = consensus.groups.get(&GroupId::global()).unwrap();
    let pause = Duration::from_millis(200);
    let began = std::time::Instant::now();
    group.changed(pause).await;
    assert!(began.elapsed() >= pause);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_to_stop_does_not_take_the_lead() {
    let dir = tempfile::tempdir().unwrap();
    let consensus = alone(dir.path()).await;
    let service = RaftService(Arc::clone(&consensus.groups));
    let transfer = || {
        let request = TransferLeaderRequest {
            group: GroupId::global().to_string(),
            target: 1,
            from: Some(Vote {
                term: 1,
                node: 1,
                committed: true,
            }),
            to: 1,
            last_log: None,
        };
        service.transfer_leader(Request::new(request))
    };
    transfer().await.unwrap();
    consensus.groups.get(&GroupId::global()).unwrap().retire();
    let refused = transfer().await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    consensus.shutdown().await.unwrap();
}
