//! Hostile bytes: calls to the peer services, from the frames of gRPC on.
//!
//! Peers know the cluster's secret. One with a mistake, or of another version,
//! must not take a node down all the same.

use std::sync::Arc;

use bytes::Bytes;
use entrepot_fuzz::{Target, Verdict, target, uncounted};
use entrepot_oci::Digest;
use entrepot_proto::peer::blobs_server::BlobsServer as BlobsService;
use entrepot_proto::peer::replication_server::ReplicationServer as ReplicationService;
use entrepot_proto::peer::uploads_server::UploadsServer as UploadsService;
use entrepot_proto::peer::{
    Blank, MissingRequest, RangesRequest, ReadRequest, ReplicaBlob, ReplicaBlobHeader,
    ReplicaManifest, StatRequest, TreeRequest, UpkeepRequest, UploadHeader, UploadRef, UploadWrite,
    WriteFinish, WriteRequest, replica_blob, upload_write, write_request,
};
use entrepot_replication::replica::ReplicaServer;
use entrepot_replication::server::BlobsServer;
use entrepot_service::ServiceError;
use entrepot_service::peer::UploadsServer;
use http_body_util::{BodyExt, Full};
use prost::Message;
use tokio::runtime::{Builder, Runtime};
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;

use crate::cluster::{Cluster, EAST, Node, Plan, WEST, clock, root};
use crate::content::{content, image, sha256};

/// In place of the name of an open upload, which has as many characters.
const SESSION: &str = "SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSS";
const ACCOUNT: &str = "000000000001";
/// What a refusal tells a peer.
const MESSAGE_BYTES_MAX: usize = 4_096;
/// A frame's length is set aside before it is there, up to this: tonic's limit
/// of a message, where no other is set.
const MEMORY_BYTES: u64 = 5 * 1024 * 1024;

/// The name of a call, a line break, the frames of its messages.
struct Seeds(Target);

impl Seeds {
    fn call<M: Message>(self, name: &str, call: &str, messages: &[M]) -> Self {
        let mut input = format!("{call}\n").into_bytes();
        for message in messages {
            let length = u32::try_from(message.encoded_len()).unwrap();
            input.push(0);
            input.extend_from_slice(&length.to_be_bytes());
            input.extend_from_slice(&message.encode_to_vec());
        }
        Self(self.0.seed(name, input))
    }
}

fn write(part: write_request::Part) -> WriteRequest {
    WriteRequest { part: Some(part) }
}

fn upload(part: upload_write::Part) -> UploadWrite {
    UploadWrite { part: Some(part) }
}

fn replica(part: replica_blob::Part) -> ReplicaBlob {
    ReplicaBlob { part: Some(part) }
}

fn upload_ref() -> UploadRef {
    UploadRef {
        account: ACCOUNT.to_owned(),
        repository: "app".to_owned(),
        session: SESSION.to_owned(),
    }
}

fn blob_seeds(seeds: Seeds, blob: &Digest) -> Seeds {
    let digest = blob.to_string();
    let part = |offset, length| ReadRequest {
        digest: digest.clone(),
        offset,
        length,
    };
    let copy = content(7, 100);
    let finish = WriteFinish {
        digest: sha256(&copy).to_string(),
        size: 100,
        root: blake3::hash(&copy).as_bytes().to_vec().into(),
    };
    let wrong = WriteFinish {
        root: vec![1; 31].into(),
        ..finish.clone()
    };
    let data = || write(write_request::Part::Data(copy.clone()));
    let finish = |finish| write(write_request::Part::Finish(finish));
    let stat = StatRequest {
        digest: digest.clone(),
        verify: true,
    };
    let tree = TreeRequest {
        digest: digest.clone(),
    };
    seeds
        .call("good-stat", "Blobs/Stat", &[stat])
        .call("good-tree", "Blobs/Tree", &[tree])
        .call("good-ranges", "Blobs/Ranges", &[RangesRequest {}])
        .call("good-upkeep", "Blobs/Upkeep", &[UpkeepRequest::default()])
        .call("good-read", "Blobs/Read", &[part(0, 0)])
        .call("good-read-part", "Blobs/Read", &[part(3, 5)])
        .call("bad-read-beyond", "Blobs/Read", &[part(u64::MAX, u64::MAX)])
        .call(
            "good-write",
            "Blobs/Write",
            &[data(), finish(finish_of(&copy))],
        )
        .call("bad-write-root", "Blobs/Write", &[data(), finish(wrong)])
        .call("bad-write-no-end", "Blobs/Write", &[data()])
}

fn finish_of(copy: &[u8]) -> WriteFinish {
    WriteFinish {
        digest: sha256(copy).to_string(),
        size: copy.len() as u64,
        root: blake3::hash(copy).as_bytes().to_vec().into(),
    }
}

fn upload_seeds(seeds: Seeds) -> Seeds {
    let bytes = content(8, 50);
    let header = |digest: Option<Digest>| {
        upload(upload_write::Part::Header(UploadHeader {
            upload: Some(upload_ref()),
            offset: Some(0),
            digest: digest.map(|digest| digest.to_string()),
            length: Some(50),
        }))
    };
    let data = || upload(upload_write::Part::Data(bytes.clone()));
    let end = || upload(upload_write::Part::End(Blank {}));
    let unnamed = upload(upload_write::Part::Header(UploadHeader::default()));
    seeds
        .call(
            "good-upload",
            "Uploads/Write",
            &[header(None), data(), end()],
        )
        .call(
            "good-upload-all",
            "Uploads/Write",
            &[header(Some(sha256(&bytes))), data(), end()],
        )
        .call("bad-upload-unnamed", "Uploads/Write", &[unnamed, end()])
        .call("good-upload-status", "Uploads/Status", &[upload_ref()])
        .call("good-upload-cancel", "Uploads/Cancel", &[upload_ref()])
}

fn replica_seeds(seeds: Seeds, blob: &Digest) -> Seeds {
    let bytes = content(9, 60);
    let digest = sha256(&bytes);
    let header = replica(replica_blob::Part::Header(ReplicaBlobHeader {
        account: ACCOUNT.to_owned(),
        repository: "copied".to_owned(),
        digest: digest.to_string(),
        size: 60,
        source_account: String::new(),
    }));
    let data = replica(replica_blob::Part::Data(bytes));
    let manifest = image(&[(digest, 60)]);
    let manifest = ReplicaManifest {
        account: ACCOUNT.to_owned(),
        repository: "copied".to_owned(),
        digest: sha256(&manifest).to_string(),
        media_type: entrepot_oci::media_type::OCI_MANIFEST.to_owned(),
        content: manifest,
        tag: "v1".to_owned(),
        source_region: WEST.to_owned(),
        source_sequence: 7,
        absent: Vec::new(),
        source_account: String::new(),
        source_repository: String::new(),
    };
    let missing = MissingRequest {
        account: ACCOUNT.to_owned(),
        repository: "copied".to_owned(),
        blobs: vec![blob.to_string()],
        manifests: vec![blob.to_string()],
        source_account: String::new(),
    };
    seeds
        .call("good-1-missing", "Replication/Missing", &[missing])
        .call("good-2-copy", "Replication/PutBlob", &[header, data])
        .call("good-3-manifest", "Replication/PutManifest", &[manifest])
}

#[test]
fn peer_call() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let cluster = runtime.block_on(Plan::new(&[(EAST, 1)]).start());
    // Too large to be kept in the metadata.
    let blob = runtime.block_on(cluster.node(1).push(&content(1, 7_000)));
    let calls = [
        "Blobs/Stat\n",
        "Blobs/Read\n",
        "Blobs/Write\n",
        "Uploads/Write\n",
        "Uploads/Status\n",
        "Uploads/Cancel\n",
        "Replication/Missing\n",
        "Replication/PutBlob\n",
        "Replication/PutManifest\n",
    ];
    let seeds = blob_seeds(Seeds(target!("peer-call")), &blob);
    let seeds = replica_seeds(upload_seeds(seeds), &blob);
    seeds
        .0
        .words(calls)
        .words([
            &b"\x01\0\0\0\x05"[..],
            b"\0\0\0\0\0",
            b"\0\xff\xff\xff\xff",
            b"\0\0\x3f\xff\xff",
        ])
        .words([ACCOUNT, EAST, WEST, "app", "copied", "v1", SESSION])
        .memory(MEMORY_BYTES, 400)
        .check(|input| answer(&runtime, &cluster, input));
}

fn answer(runtime: &Runtime, cluster: &Cluster, input: &[u8]) -> Verdict {
    let node = cluster.node(1);
    let (who, app) = (root(), "app".parse().unwrap());
    let (session, input, services) = uncounted(|| {
        let opened = runtime.block_on(node.registry.open_upload(&who, &app, None));
        let session = opened.unwrap().session;
        assert_eq!(session.len(), SESSION.len());
        let input = replaced(input, SESSION.as_bytes(), session.as_bytes());
        (session, input, services(node))
    });
    let taken = request(&input).map(|request| runtime.block_on(call(services, request)));
    uncounted(|| {
        let cancelled = runtime.block_on(node.registry.cancel_upload(&who, &app, &session));
        // The case may have finished or cancelled it.
        assert!(matches!(
            cancelled,
            Ok(()) | Err(ServiceError::UploadUnknown)
        ));
    });
    Verdict::taken(taken == Some(true))
}

fn services(node: &Node) -> Routes {
    let blobs = BlobsServer::new(Arc::clone(&node.blobs));
    let uploads = UploadsServer::new(Arc::clone(&node.registry));
    let replica = ReplicaServer::new(
        Arc::clone(&node.blobs),
        Arc::clone(&node.metadata),
        clock(),
        Arc::<entrepot_service::Registry>::clone(&node.registry),
    );
    Routes::new(BlobsService::new(blobs))
        .add_service(UploadsService::new(uploads))
        .add_service(ReplicationService::new(replica))
}

fn request(input: &[u8]) -> Option<http::Request<Body>> {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (call, frames) = (&input[..end], &input[(end + 1).min(input.len())..]);
    let call = String::from_utf8_lossy(call);
    http::Request::post(format!("http://node/entrepot.peer.v1.{call}"))
        .header("content-type", "application/grpc")
        .body(Body::new(Full::new(Bytes::copy_from_slice(frames))))
        .ok()
}

/// Whether the call was answered, and not refused.
async fn call(services: Routes, request: http::Request<Body>) -> bool {
    let response = services.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let of = |name| trailers.get(name).or(parts.headers.get(name)).cloned();
    let message = of("grpc-message").map_or(0, |message| message.len());
    assert!(message <= MESSAGE_BYTES_MAX, "a message of {message} bytes");
    parts.status.is_success() && of("grpc-status").is_some_and(|code| code == "0")
}

/// Every `from` in `input` is `to`, which has as many bytes.
fn replaced(input: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut input = input.to_vec();
    while let Some(start) = input.windows(from.len()).position(|part| part == from) {
        input[start..start + from.len()].copy_from_slice(to);
    }
    input
}
