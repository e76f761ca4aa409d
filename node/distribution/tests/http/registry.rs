//! A registry of one node that keeps everything in memory.

use std::sync::Arc;
use std::time::Duration;

use entrepot_access::{Verifier, hash_password};
use entrepot_blobs::MemoryStore;
use entrepot_metadata::command::CreateAccount;
use entrepot_metadata::{GroupId, LocalMetadata, Metadata};
use entrepot_oci::RegionName;
use entrepot_proto::environment::{Blocking, Clock, SystemClock};
use entrepot_proto::peers::{ClusterSecret, Dial, PeerInfo, Peers, TcpDial};
use entrepot_replication::ClusterBlobs;
use entrepot_replication::health::Health;
use entrepot_service::cluster::{ClusterView, GroupInfo};
use entrepot_service::{Registry, RegistryParts, Settings};

pub(crate) const USER: &str = "root";
pub(crate) const PASSWORD: &str = "secret";

/// The cluster's.
pub(crate) const SECRET: &str = "5555555555555555555555555555555555555555555555555555555555555555";

const NODE: u64 = 1;

/// Consensus has nothing to tell here.
#[derive(Debug)]
struct NoGroups;

impl ClusterView for NoGroups {
    fn groups(&self) -> Vec<GroupInfo> {
        Vec::new()
    }
}

pub(crate) async fn registry() -> Arc<Registry> {
    registry_over(MemoryStore::new()).await.0
}

/// One whose blobs are in `store`, and its records.
pub(crate) async fn registry_over(store: MemoryStore) -> (Arc<Registry>, Arc<dyn Metadata>) {
    let region: RegionName = "us-east-1".parse().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let peers = peers(&region);
    let health = Health::new(Arc::clone(&peers));
    let metadata = metadata(region, clock.now_ms()).await;
    let registry = Registry::new(RegistryParts {
        metadata: Arc::clone(&metadata),
        blobs: ClusterBlobs::new(Arc::new(store), Arc::clone(&peers), health, 1),
        peers,
        cluster_clock: Arc::clone(&clock),
        clock,
        view: Arc::new(NoGroups),
        verifier: Verifier::new().unwrap(),
        settings: Settings {
            upload_expiry: Duration::from_mins(1),
            throttling: entrepot_service::Throttling::default(),
        },
        blocking: Blocking::Threads,
        trust: None,
        courier: Arc::new(entrepot_service::NoCourier),
    });
    (registry, metadata)
}

fn peers(region: &RegionName) -> Arc<Peers> {
    let own = PeerInfo {
        id: NODE,
        region: region.clone(),
        // Nobody is ever called.
        address: "127.0.0.1:1".to_owned(),
    };
    let secret = ClusterSecret::new(SECRET).unwrap();
    let dial: Arc<dyn Dial> = Arc::new(TcpDial);
    Arc::new(Peers::new(NODE, vec![own], secret, &dial).unwrap())
}

/// The groups of a region, with the account.
async fn metadata(region: RegionName, now_ms: i64) -> Arc<dyn Metadata> {
    let global = GroupId::global();
    let metadata = LocalMetadata::new([global.clone(), GroupId::region(region)]);
    let account = "123456789012".parse().unwrap();
    let password_hash = hash_password(PASSWORD).unwrap();
    let create = CreateAccount::new(&account, USER, &password_hash, now_ms);
    let response = metadata.propose(&global, create.into()).await.unwrap();
    response.into_result().unwrap();
    Arc::new(metadata)
}
