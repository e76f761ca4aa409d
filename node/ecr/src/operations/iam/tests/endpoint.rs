//! A registry of one node that keeps everything in memory, and calls of its
//! operations whose answers are held against the models.

use std::sync::Arc;
use std::time::Duration;

use entrepot_access::{Principal, Verifier, hash_password};
use entrepot_blobs::MemoryStore;
use entrepot_metadata::command::{Command, CreateAccount, NewAccessKey};
use entrepot_metadata::{GroupId, LocalMetadata, Metadata};
use entrepot_oci::RegionName;
use entrepot_proto::environment::{Blocking, Clock, SystemClock};
use entrepot_proto::peers::{ClusterSecret, Dial, PeerInfo, Peers, TcpDial};
use entrepot_replication::ClusterBlobs;
use entrepot_replication::health::Health;
use entrepot_service::cluster::{ClusterView, GroupInfo};
use entrepot_service::{Caller, Courier, Registry, RegistryParts, Settings};
use serde_json::{Value, json};

use crate::api::Api;
use crate::call::Call;
use crate::error::ApiError;
use crate::model::Models;
use crate::operations::{Handler, handler};
use crate::wire::xml;

const NODE: u64 = 1;
pub(in crate::operations) const ACCOUNT: &str = "123456789012";
/// Another account of the cluster.
pub(in crate::operations) const OTHER: &str = "210987654321";

/// Consensus has nothing to tell here.
#[derive(Debug)]
struct NoGroups;

pub(in crate::operations) struct Endpoint {
    pub(in crate::operations) registry: Arc<Registry>,
    metadata: Arc<LocalMetadata>,
    models: Models,
}

impl ClusterView for NoGroups {
    fn groups(&self) -> Vec<GroupInfo> {
        Vec::new()
    }
}

// === impl Endpoint ===

impl Endpoint {
    /// With two accounts.
    pub(in crate::operations) async fn start() -> Self {
        Self::with(Arc::new(entrepot_service::NoCourier)).await
    }

    /// The same, which fetches keys by `courier`.
    pub(in crate::operations) async fn with(courier: Arc<dyn Courier>) -> Self {
        let region: RegionName = "us-east-1".parse().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let peers = peers(&region);
        let health = Health::new(Arc::clone(&peers));
        let metadata = LocalMetadata::new([GroupId::global(), GroupId::region(region)]);
        let metadata = Arc::new(metadata);
        let registry = Registry::new(RegistryParts {
            metadata: Arc::<LocalMetadata>::clone(&metadata),
            blobs: ClusterBlobs::new(Arc::new(MemoryStore::new()), Arc::clone(&peers), health, 1),
            peers,
            clock: Arc::clone(&clock),
            cluster_clock: Arc::clone(&clock),
            view: Arc::new(NoGroups),
            verifier: Verifier::new().unwrap(),
            settings: Settings {
                upload_expiry: Duration::from_mins(1),
                throttling: entrepot_service::Throttling::default(),
            },
            blocking: Blocking::Threads,
            trust: None,
            courier,
        });
        let endpoint = Self {
            registry,
            metadata,
            models: Models::load().unwrap(),
        };
        let first = ACCOUNT.parse().unwrap();
        let password_hash = hash_password("secret").unwrap();
        let create = CreateAccount::new(&first, "root", &password_hash, clock.now_ms());
        endpoint.propose(create).await;
        let key = NewAccessKey::new("AKIAOTHERROOT0000000", &b"sealed"[..]);
        let other = OTHER.parse().unwrap();
        let create = CreateAccount::additional(&other, "other", "root", key, clock.now_ms());
        endpoint.propose(create).await;
        endpoint
    }

    pub(in crate::operations) async fn propose(&self, command: impl Into<Command>) {
        let global = GroupId::global();
        let response = self.metadata.propose(&global, command.into()).await;
        response.unwrap().into_result().unwrap();
    }

    /// Whether a quorum of the group of identities can be asked.
    pub(in crate::operations) fn set_quorum(&self, is_there: bool) {
        self.metadata.set_available(&GroupId::global(), is_there);
    }

    /// What `principal` is answered. An input that the model does not allow, an
    /// answer that it does not have, and an error that it does not list fail the
    /// test.
    pub(in crate::operations) async fn call_as(
        &self,
        principal: Principal,
        api: Api,
        name: &str,
        input: Value,
    ) -> Result<Value, ApiError> {
        self.call_by(Caller::of(principal), api, name, input).await
    }

    pub(in crate::operations) async fn call_by(
        &self,
        caller: Caller,
        api: Api,
        name: &str,
        input: Value,
    ) -> Result<Value, ApiError> {
        let service = self.models.service(api);
        let operation = service.operation(name).unwrap();
        if let Some(shape) = operation.input {
            let violations = service.violations(shape, &input);
            assert!(violations.is_empty(), "{name} of {input}: {violations:?}");
        }
        let call = Call {
            registry: Arc::clone(&self.registry),
            caller,
            api,
            host: "localhost".to_owned(),
            domain: None,
        };
        let Some(Handler::Works(handle)) = handler(api, name) else {
            panic!("nothing carries out {name}");
        };
        let answer = handle(call, input).await;
        match &answer {
            Ok(output) => {
                let violations = operation
                    .output
                    .map(|shape| service.violations_of_answer(shape, output))
                    .unwrap_or_default();
                assert!(violations.is_empty(), "{name}: {output}: {violations:?}");
                if operation.output.is_none() {
                    assert_eq!(*output, json!({}), "{name}");
                }
                let text = xml::answer(service, operation, output, "id");
                assert!(text.contains(&format!("<{name}Response")), "{text}");
            }
            Err(error) => {
                let code = error.code.as_ref();
                let listed = operation.errors.iter().any(|it| it == code);
                assert!(
                    listed || error.is_common(),
                    "{name} does not answer {error:?}"
                );
            }
        }
        answer
    }

    /// As the first account's root user.
    pub(in crate::operations) async fn call(
        &self,
        api: Api,
        name: &str,
        input: Value,
    ) -> Result<Value, ApiError> {
        let root = Principal::root(ACCOUNT.parse().unwrap());
        self.call_as(root, api, name, input).await
    }
}

fn peers(region: &RegionName) -> Arc<Peers> {
    let own = PeerInfo {
        id: NODE,
        region: region.clone(),
        // Nobody is ever called.
        address: "127.0.0.1:1".to_owned(),
    };
    let secret = ClusterSecret::new(&"5".repeat(64)).unwrap();
    let dial: Arc<dyn Dial> = Arc::new(TcpDial);
    Arc::new(Peers::new(NODE, vec![own], secret, &dial).unwrap())
}
