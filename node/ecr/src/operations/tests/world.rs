//! Registries of one node that keeps everything in memory, called as the front end
//! calls them: input checked against the model, output and errors too.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_access::{Principal, Verifier};
use entrepot_blobs::MemoryStore;
use entrepot_metadata::{GroupId, LocalMetadata};
use entrepot_oci::{AccountId, Algorithm, Digest, RegionName, RegistryId};
use entrepot_proto::environment::{Blocking, Clock, SystemClock};
use entrepot_proto::peers::{ClusterSecret, Dial, PeerInfo, Peers, TcpDial};
use entrepot_replication::ClusterBlobs;
use entrepot_replication::health::Health;
use entrepot_service::cluster::{ClusterView, GroupInfo};
use entrepot_service::{Caller, Registry, RegistryParts, Settings};
use serde_json::{Value, json};

use crate::api::Api;
use crate::call::Call;
use crate::error::ApiError;
use crate::model::Models;
use crate::operations::{Handler, handler};

pub(super) const ACCOUNT: &str = "123456789012";
pub(super) const HOST: &str = "localhost:5000";

const REGION: &str = "us-east-1";
const OTHER_REGION: &str = "eu-west-1";
const NODE: u64 = 1;

/// Errors that any operation may answer, and no model lists.
const COMMON: [&str; 1] = ["AccessDeniedException"];

/// Consensus has nothing to tell here.
#[derive(Debug)]
struct NoGroups;

impl ClusterView for NoGroups {
    fn groups(&self) -> Vec<GroupInfo> {
        Vec::new()
    }
}

/// A node, and on whose behalf it is called.
pub(super) struct World {
    pub(super) registry: Arc<Registry>,
    models: Models,
    account: AccountId,
    /// Whose registry is meant; none: the caller's own.
    meant: Option<AccountId>,
}

impl World {
    pub(super) fn new() -> Self {
        let peers = peers();
        let groups = [GroupId::global(), GroupId::region(region(REGION))];
        let blobs = {
            let (store, health) = (
                Arc::new(MemoryStore::new()),
                Health::new(Arc::clone(&peers)),
            );
            ClusterBlobs::new(store, Arc::clone(&peers), health, 1)
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let registry = Registry::new(RegistryParts {
            metadata: Arc::new(LocalMetadata::new(groups)),
            blobs,
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
        Self {
            registry,
            models: Models::load().unwrap(),
            account: ACCOUNT.parse().unwrap(),
            meant: None,
        }
    }

    /// The same node, called by another account's root user.
    pub(super) fn of(&self, account: &str) -> Self {
        Self {
            registry: Arc::clone(&self.registry),
            models: Models::load().unwrap(),
            account: account.parse().unwrap(),
            meant: None,
        }
    }

    /// The same caller, who means another account's registry.
    pub(super) fn meaning(mut self, account: &str) -> Self {
        self.meant = Some(account.parse().unwrap());
        self
    }

    pub(super) fn caller(&self) -> Caller {
        let own = Caller::of(Principal::root(self.account.clone()));
        match &self.meant {
            Some(account) => own.meaning(account.clone()),
            None => own,
        }
    }

    /// What `operation` of ECR answers.
    ///
    /// # Panics
    /// If it answers what its model does not have, be it an error.
    pub(super) async fn ecr(&self, operation: &str, input: Value) -> Result<Value, ApiError> {
        self.call(Api::Ecr, operation, input).await
    }

    pub(super) async fn call(
        &self,
        api: Api,
        operation: &str,
        input: Value,
    ) -> Result<Value, ApiError> {
        let service = self.models.service(api);
        let model = service.operation(operation).unwrap();
        let answer = match model.input.map(|shape| service.violations(shape, &input)) {
            Some(violations) if !violations.is_empty() => Err(ApiError::invalid(api, &violations)),
            _ => self.handled(api, operation, input).await,
        };
        match &answer {
            Ok(output) => {
                let shape = model.output.unwrap();
                let violations = service.violations_of_answer(shape, output);
                assert_eq!(violations, [], "{operation}: {output}");
            }
            Err(error) => {
                let code = error.code.as_ref();
                let listed = model.errors.iter().any(|listed| listed == code);
                assert!(listed || COMMON.contains(&code), "{operation}: {error:?}");
            }
        }
        answer
    }

    async fn handled(&self, api: Api, operation: &str, input: Value) -> Result<Value, ApiError> {
        let mut caller = self.caller();
        if api == Api::EcrPublic {
            let public = RegistryId::public(&caller.account.account());
            caller = caller.meaning(public);
        }
        let call = Call {
            registry: Arc::clone(&self.registry),
            caller,
            api,
            host: HOST.to_owned(),
            domain: None,
        };
        match handler(api, operation) {
            Some(Handler::Works(handler)) => handler(call, input).await,
            Some(Handler::Refused(reason)) => Err(ApiError::not_here(api, reason)),
            None => panic!("{operation} is not in the table"),
        }
    }

    /// What it answers, which has to be no error.
    pub(super) async fn done(&self, operation: &str, input: Value) -> Value {
        self.ecr(operation, input).await.unwrap()
    }

    /// That it is refused with this code and this message.
    pub(super) async fn refused(&self, operation: &str, input: Value, expected: (&str, &str)) {
        let error = self.ecr(operation, input).await.unwrap_err();
        assert_eq!((error.code.as_ref(), error.message.as_str()), expected);
    }

    /// The code of what it is refused with.
    pub(super) async fn code(&self, operation: &str, input: Value) -> String {
        let error = self.ecr(operation, input).await.unwrap_err();
        error.code.into_owned()
    }

    pub(super) async fn create(&self, repository: &str) {
        self.done("CreateRepository", json!({"repositoryName": repository}))
            .await;
    }

    /// Pushes a layer, which makes the repository if there is none.
    pub(super) async fn push_layer(&self, repository: &str, layer: &str) -> Digest {
        let content = Bytes::from(layer.to_owned());
        let digest = Digest::of(Algorithm::Sha256, &content);
        let name = repository.parse().unwrap();
        let size = content.len() as u64;
        let body = Box::pin(futures::stream::iter([Ok(content)]));
        let pushed = self
            .registry
            .push_blob(&self.caller(), &name, digest, Some(size), body)
            .await;
        pushed.unwrap().digest
    }

    /// Puts an image of one layer; its digest, and the layer's.
    pub(super) async fn push(&self, repository: &str, tag: &str, layer: &str) -> (String, String) {
        let digest = self.push_layer(repository, layer).await;
        let size = layer.len();
        let blob = |media_type: &str| json!({"mediaType": media_type, "digest": digest.to_string(), "size": size});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob("application/vnd.oci.image.config.v1+json"),
            "layers": [blob("application/vnd.oci.image.layer.v1.tar+gzip")],
        });
        let put = json!({
            "repositoryName": repository,
            "imageManifest": manifest.to_string(),
            "imageTag": tag,
        });
        let put = self.done("PutImage", put).await;
        let image = put["image"]["imageId"]["imageDigest"].as_str().unwrap();
        (image.to_owned(), digest.to_string())
    }
}

/// What ECR says of a repository that is not there.
pub(super) fn no_repository(name: &str) -> String {
    format!("The repository with name '{name}' does not exist in the registry with id '{ACCOUNT}'")
}

fn region(name: &str) -> RegionName {
    name.parse().unwrap()
}

/// This node, and one of another region that nobody ever calls.
fn peers() -> Arc<Peers> {
    let peer = |id, name, address: &str| PeerInfo {
        id,
        region: region(name),
        address: address.to_owned(),
    };
    let peers = vec![
        peer(NODE, REGION, "127.0.0.1:1"),
        peer(NODE + 1, OTHER_REGION, "127.0.0.1:2"),
    ];
    let secret = ClusterSecret::new(&"5".repeat(64)).unwrap();
    let dial: Arc<dyn Dial> = Arc::new(TcpDial);
    Arc::new(Peers::new(NODE, peers, secret, &dial).unwrap())
}
