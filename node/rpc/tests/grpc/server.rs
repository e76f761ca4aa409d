//! A registry of one node in memory, served on loopback, and its client.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use entrepot_access::{Verifier, hash_password};
use entrepot_blobs::MemoryStore;
use entrepot_metadata::command::CreateAccount;
use entrepot_metadata::{GroupId, LocalMetadata, Metadata};
use entrepot_oci::{Algorithm, Digest, RegionName, media_type};
use entrepot_proto::admin::history_client::HistoryClient;
use entrepot_proto::environment::{Blocking, Clock, SystemClock};
use entrepot_proto::peers::{ClusterSecret, Dial, PeerInfo, Peers, TcpDial};
use entrepot_proto::registry::append_upload_request::Part;
use entrepot_proto::registry::registry_client::RegistryClient;
use entrepot_proto::registry::{
    AppendUploadHeader, AppendUploadRequest, PushBlobHeader, PushBlobRequest, PutManifestRequest,
    push_blob_request,
};
use entrepot_replication::ClusterBlobs;
use entrepot_replication::health::Health;
use entrepot_service::cluster::{ClusterView, GroupInfo};
use entrepot_service::{Registry, RegistryParts, Settings};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server as TonicServer};
use tonic::{Code, Request, Status};

pub(crate) const REPOSITORY: &str = "team/app";
pub(crate) const LOG: &str = "region/us-east-1/0";

const USER: &str = "root";
const PASSWORD: &str = "secret";
const NODE: u64 = 1;
/// What a reply may need; clients take 4 MiB unless they are told.
const REPLY_BYTES_MAX: usize = 5 * 1024 * 1024;
/// A piece of an upload.
const PIECE_BYTES: usize = 256 * 1024;

/// A node that serves; dropped, it is gone.
pub(crate) struct Server {
    pub(crate) client: RegistryClient<Channel>,
    pub(crate) history: HistoryClient<Channel>,
    _served: JoinSet<()>,
}

/// Consensus has nothing to tell here.
#[derive(Debug)]
struct NoGroups;

impl ClusterView for NoGroups {
    fn groups(&self) -> Vec<GroupInfo> {
        Vec::new()
    }
}

// === impl Server ===

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(Duration::from_mins(1)).await
    }

    pub(crate) async fn start_with(body_timeout: Duration) -> Self {
        let router = entrepot_rpc::router(registry().await, body_timeout);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut served = JoinSet::new();
        served.spawn(async move {
            TonicServer::builder()
                .add_routes(router.into())
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        Self {
            history: HistoryClient::new(channel.clone()),
            client: RegistryClient::new(channel).max_decoding_message_size(REPLY_BYTES_MAX),
            _served: served,
        }
    }

    /// Pushes a blob in one call.
    pub(crate) async fn push(&mut self, repository: &str, content: &Bytes) -> String {
        let digest = sha256(content);
        let header = PushBlobHeader {
            repository: repository.to_owned(),
            digest: digest.clone(),
            length: Some(content.len() as u64),
        };
        let parts = std::iter::once(push_blob_request::Part::Header(header)).chain(
            pieces(content)
                .into_iter()
                .map(push_blob_request::Part::Data),
        );
        let messages: Vec<_> = parts
            .map(|part| PushBlobRequest { part: Some(part) })
            .collect();
        let call = authorized(tokio_stream::iter(messages));
        let blob = self.client.push_blob(call).await.unwrap();
        let blob = blob.into_inner().blob.unwrap();
        assert_eq!((&blob.digest, blob.size), (&digest, content.len() as u64));
        digest
    }

    /// Stores a manifest whose content is to be told from others by `number`.
    pub(crate) async fn put(&mut self, number: u32, reference: &str) -> String {
        self.put_manifest(manifest_of(number), reference).await
    }

    pub(crate) async fn put_manifest(&mut self, content: Bytes, reference: &str) -> String {
        let put = self
            .client
            .put_manifest(authorized(PutManifestRequest {
                repository: REPOSITORY.to_owned(),
                reference: reference.to_owned(),
                content,
                ..PutManifestRequest::default()
            }))
            .await;
        put.unwrap().into_inner().digest
    }
}

async fn registry() -> Arc<Registry> {
    let region: RegionName = "us-east-1".parse().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let peers = peers(&region);
    let health = Health::new(Arc::clone(&peers));
    Registry::new(RegistryParts {
        metadata: metadata(region, clock.now_ms()).await,
        blobs: ClusterBlobs::new(Arc::new(MemoryStore::new()), Arc::clone(&peers), health, 1),
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
    })
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

// === calls ===

/// A call by root.
pub(crate) fn authorized<T>(message: T) -> Request<T> {
    called_by(message, USER, PASSWORD)
}

pub(crate) fn called_by<T>(message: T, user: &str, password: &str) -> Request<T> {
    let mut request = Request::new(message);
    let credentials = STANDARD.encode(format!("{user}:{password}"));
    let value = format!("Basic {credentials}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

/// The messages of an append.
pub(crate) fn append(session: &str, offset: u64, content: &[u8]) -> Vec<AppendUploadRequest> {
    let header = Part::Header(AppendUploadHeader {
        repository: REPOSITORY.to_owned(),
        session: session.to_owned(),
        offset,
        length: None,
    });
    let data = pieces(content).into_iter().map(Part::Data);
    std::iter::once(header)
        .chain(data)
        .map(|part| AppendUploadRequest { part: Some(part) })
        .collect()
}

fn pieces(content: &[u8]) -> Vec<Bytes> {
    content
        .chunks(PIECE_BYTES)
        .map(Bytes::copy_from_slice)
        .collect()
}

/// That a call was refused with this status and this `entrepot-code`.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(
    result: Result<T, Status>,
    code: Code,
    name: &str,
) -> Status {
    let status = result.unwrap_err();
    let found = trailer(&status, "entrepot-code");
    assert_eq!((status.code(), &found[..]), (code, name), "{status:?}");
    status
}

pub(crate) fn trailer(status: &Status, name: &str) -> String {
    let value = status.metadata().get(name);
    value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

// === content ===

pub(crate) fn sha256(content: &[u8]) -> String {
    Digest::of(Algorithm::Sha256, content).to_string()
}

/// Bytes that look random and are the same in every run.
pub(crate) fn content(seed: u64, size: usize) -> Bytes {
    let mut state = seed;
    let next = |_| {
        // Knuth's MMIX.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..size).map(next).collect()
}

/// An index of nothing, which needs no blobs.
pub(crate) fn manifest_of(number: u32) -> Bytes {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[],"annotations":{{"n":"{number}"}}}}"#,
        media_type::OCI_INDEX
    )
    .into()
}
