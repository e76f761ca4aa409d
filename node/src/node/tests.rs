//! The parts of a node, and which nodes vote.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use async_trait::async_trait;
use entrepot_proto::peers::Io;

use super::*;
use crate::listen::Listen;

const PATIENCE: Duration = Duration::from_secs(30);

/// A port whose task does not survive its first connection.
#[derive(Debug)]
struct Panicking;

#[async_trait]
impl Listen for Panicking {
    async fn accept(&self) -> io::Result<Box<dyn Io>> {
        panic!("no connection today")
    }
}

fn peers(regions: &[(&str, std::ops::RangeInclusive<u64>)]) -> Vec<PeerInfo> {
    regions
        .iter()
        .flat_map(|(region, ids)| {
            ids.clone().map(|id| PeerInfo {
                id,
                region: region.parse().unwrap(),
                address: format!("127.0.0.1:{}", 6000 + id),
            })
        })
        .collect()
}

#[test]
fn the_global_group_votes_in_every_region() {
    let all = peers(&[("us-east-1", 1..=3), ("eu-west-1", 4..=6)]);
    let groups = groups(&all, &"us-east-1".parse().unwrap());
    assert_eq!(groups[0].voters, [4, 1, 5, 2, 6]);
    assert_eq!(groups[0].learners, [3]);
    assert_eq!(groups[1].voters, [1, 2, 3]);
    assert!(groups[1].learners.is_empty());
}

#[test]
fn the_number_of_voters_is_odd_from_three_on() {
    for (nodes, voters) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (9, 5)] {
        let id = GroupId::global();
        assert_eq!(
            group(id, &(1..=nodes).collect::<Vec<u64>>()).voters.len(),
            voters
        );
    }
}

/// The only node of a cluster in `folder`.
pub(crate) fn alone(folder: &Path) -> Config {
    std::fs::write(folder.join("secret"), "0123456789abcdef0123456789abcdef").unwrap();
    let folder = folder.display();
    let text = format!(
        r#"
node = 1
region = "us-east-1"
data = "{folder}/data"
cluster_secret_file = "{folder}/secret"
[listen]
client = "127.0.0.1:0"
peer = "127.0.0.1:0"
[[peers]]
node = 1
region = "us-east-1"
address = "127.0.0.1:6000"
"#
    );
    Config::parse(&text).unwrap()
}

/// A node whose client port ends with its first connection.
pub(crate) async fn failing(folder: &Path) -> Node {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listeners = Listeners {
        client: Box::new(Panicking),
        peer: listen::bind(any).await.unwrap(),
        ops: None,
    };
    let config = alone(folder);
    let outside = Outside::real(listeners, &config).unwrap();
    Node::start(config, outside).await.unwrap()
}

/// Nobody makes a cluster with it, however little it has read of its records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_run_founds_no_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let config = alone(folder.path());
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let outside = async || {
        let bound = async || listen::bind(any).await.unwrap();
        let listeners = Listeners {
            client: bound().await,
            peer: bound().await,
            ops: None,
        };
        Outside::real(listeners, &config).unwrap()
    };
    std::fs::create_dir(&config.data).unwrap();
    let entry = Entry::of(&config, &outside().await).unwrap();
    assert!(entry.is_new && entry.founders.len() == 1);
    let node = Node::start(config.clone(), outside().await).await.unwrap();
    node.ready(PATIENCE).await.unwrap();
    let list = config.data.join("members");
    let written = async {
        while !list.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.unwrap();
    node.stop().await.unwrap();
    let entry = Entry::of(&config, &outside().await).unwrap();
    assert!(!entry.is_new && entry.founders.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_panics_is_a_failure_of_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let node = failing(folder.path()).await;
    let failure = tokio::time::timeout(PATIENCE, node.failed()).await.unwrap();
    let said = failure.to_string();
    assert!(
        said.contains("client port") && said.contains("no connection today"),
        "{said}"
    );
    node.stop().await.unwrap();
}
