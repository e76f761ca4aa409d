//! Uploads that go to other regions while they arrive, and bytes that stay there
//! while one sender goes and the next one comes.

use bytes::Bytes;
use entrepot_oci::Digest;
use entrepot_proto::peer::deposit_part::Part;
use entrepot_proto::peer::deposit_reply::Result as Reply;
use entrepot_proto::peer::replication_client::ReplicationClient;
use entrepot_proto::peer::{DepositFinish, DepositHeader, DepositName, DepositPart, DepositReply};
use entrepot_service::ServiceError;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::cluster::{Cluster, EAST, Plan, WEST, app, root};
use crate::content::{MIB, body, chunk, content, empty, eventually, image, sha256};
use crate::network::Link;

/// Of the one node of the second region.
const THERE: u64 = 2;

async fn two_regions() -> Cluster {
    let cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    cluster.replicate(EAST, WEST).await;
    cluster
}

async fn open(cluster: &Cluster) -> String {
    let registry = &cluster.node(1).registry;
    let opened = registry.open_upload(&root(), &app(), None).await;
    opened.unwrap().session
}

async fn append(cluster: &Cluster, session: &str, offset: u64, part: &Bytes) {
    let length = Some(part.len() as u64);
    let chunk = chunk(Some(offset), length, body(part));
    let registry = &cluster.node(1).registry;
    let appended = registry
        .append_upload(&root(), &app(), session, chunk)
        .await;
    appended.unwrap();
}

async fn finish(cluster: &Cluster, session: &str, digest: Digest) -> Result<(), ServiceError> {
    let registry = &cluster.node(1).registry;
    let chunk = chunk(None, None, empty());
    let (who, repository) = (root(), app());
    let finished = registry.finish_upload(&who, &repository, session, chunk, digest);
    finished.await.map(drop)
}

async fn arrives(cluster: &Cluster, digest: &Digest) {
    eventually("the blob is linked there", async || {
        cluster.node(THERE).known(digest).is_some()
    })
    .await;
}

#[tokio::test]
async fn an_upload_in_chunks_is_there_when_it_ends_and_not_before() {
    let cluster = two_regions().await;
    let (first, second) = (content(1, 3 * MIB), content(2, 2 * MIB + 7));
    let whole = Bytes::from([&first[..], &second[..]].concat());
    let digest = sha256(&whole);
    let session = open(&cluster).await;
    append(&cluster, &session, 0, &first).await;
    eventually("bytes are staged there", async || {
        cluster.node(THERE).memory.staged() > 0
    })
    .await;
    append(&cluster, &session, first.len() as u64, &second).await;
    assert_eq!(cluster.node(THERE).known(&digest), None);
    finish(&cluster, &session, digest).await.unwrap();
    // No outbox runs: nothing but the upload itself has brought it.
    arrives(&cluster, &digest).await;
    assert!(cluster.node(THERE).pull(&digest).await.unwrap() == whole);
    assert_eq!(cluster.node(THERE).memory.staged(), 0);
}

#[tokio::test]
async fn a_blob_in_one_request_is_there_when_it_ends() {
    let cluster = two_regions().await;
    let whole = content(3, 5 * MIB);
    let digest = cluster.node(1).push(&whole).await;
    arrives(&cluster, &digest).await;
    assert!(cluster.node(THERE).pull(&digest).await.unwrap() == whole);
}

#[tokio::test]
async fn an_upload_that_fails_leaves_nothing_there() {
    let cluster = two_regions().await;
    let part = content(4, 3 * MIB);
    let staged = async || {
        eventually("bytes are staged there", async || {
            cluster.node(THERE).memory.staged() > 0
        })
        .await;
    };
    let session = open(&cluster).await;
    append(&cluster, &session, 0, &part).await;
    staged().await;
    let registry = &cluster.node(1).registry;
    let cancelled = registry.cancel_upload(&root(), &app(), &session).await;
    assert_eq!(cancelled, Ok(()));
    cluster.keeps_nothing().await;

    let session = open(&cluster).await;
    append(&cluster, &session, 0, &part).await;
    staged().await;
    let wrong = finish(&cluster, &session, sha256(b"another")).await;
    assert!(
        matches!(wrong, Err(ServiceError::DigestInvalid(_))),
        "{wrong:?}"
    );
    cluster.keeps_nothing().await;
}

#[tokio::test]
async fn what_a_client_sends_does_not_wait_for_a_region_that_is_not_there() {
    let mut cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
    cluster.replicate(EAST, WEST).await;
    cluster.network.set(THERE, Link::Frozen);
    let whole = content(5, 9 * MIB);
    let digest = cluster.node(1).push(&whole).await;
    let named = [(digest, whole.len())];
    cluster.node(1).put_manifest("v1", &image(&named)).await;
    cluster.network.set(THERE, Link::Up);
    cluster.start_outbox();
    eventually("the image is there", async || {
        cluster.node(THERE).tagged("v1").await.is_some()
    })
    .await;
    assert!(cluster.node(THERE).pull(&digest).await.unwrap() == whole);
}

/// One stream of a deposit.
struct Stream {
    parts: mpsc::Sender<DepositPart>,
    replies: Streaming<DepositReply>,
}

impl Stream {
    async fn open(cluster: &Cluster, header: DepositHeader) -> Self {
        let channel = cluster.node(1).peers.bulk_channel(THERE).unwrap();
        let (parts, receiver) = mpsc::channel(16);
        let header = DepositPart {
            part: Some(Part::Header(header)),
        };
        parts.send(header).await.unwrap();
        let mut client = ReplicationClient::new(channel);
        let replies = client.deposit(ReceiverStream::new(receiver)).await;
        Self {
            parts,
            replies: replies.unwrap().into_inner(),
        }
    }

    async fn send(&self, part: Part) {
        let part = DepositPart { part: Some(part) };
        self.parts.send(part).await.unwrap();
    }

    async fn data(&self, bytes: &Bytes) {
        for piece in bytes.chunks(256 * 1024) {
            self.send(Part::Data(Bytes::copy_from_slice(piece))).await;
        }
    }

    async fn reply(&mut self) -> Result<Option<Reply>, Status> {
        let reply = self.replies.message().await?;
        Ok(reply.and_then(|reply| reply.result))
    }
}

fn header(upload: &[u8], digest: Option<&Digest>) -> DepositHeader {
    DepositHeader {
        account: root().account.to_string(),
        repository: app().to_string(),
        upload: Bytes::copy_from_slice(upload),
        digest: digest.map(ToString::to_string).unwrap_or_default(),
        ..DepositHeader::default()
    }
}

fn finished(digest: &Digest, size: usize) -> Part {
    Part::Finish(DepositFinish {
        digest: digest.to_string(),
        size: size as u64,
    })
}

#[tokio::test]
async fn whoever_comes_next_goes_on_where_the_last_one_stopped() {
    let cluster = two_regions().await;
    let whole = content(6, 4 * MIB);
    let digest = sha256(&whole);
    let upload = [7; 16];
    let mut first = Stream::open(&cluster, header(&upload, None)).await;
    assert_eq!(first.reply().await.unwrap(), Some(Reply::Offset(0)));
    first.data(&whole.slice(..3 * MIB)).await;
    drop(first.parts);
    let torn = first.replies.message().await.unwrap_err();
    assert_eq!(torn.code(), Code::Aborted);
    // The upload goes on without it, and its end is told.
    let channel = cluster.node(1).peers.channel(THERE).unwrap();
    let mut client = ReplicationClient::new(channel);
    let name = DepositName {
        upload: Bytes::copy_from_slice(&upload),
        digest: digest.to_string(),
    };
    client.name_deposit(name).await.unwrap();
    let mut second = Stream::open(&cluster, header(&[], Some(&digest))).await;
    let reply = second.reply().await.unwrap();
    assert_eq!(reply, Some(Reply::Offset(3 * MIB as u64)));
    second.data(&whole.slice(3 * MIB..)).await;
    second.send(finished(&digest, whole.len())).await;
    assert!(matches!(
        second.reply().await.unwrap(),
        Some(Reply::Done(_))
    ));
    assert!(cluster.node(THERE).pull(&digest).await.unwrap() == whole);
    // Once more is nothing.
    let mut third = Stream::open(&cluster, header(&[], Some(&digest))).await;
    assert!(matches!(third.reply().await.unwrap(), Some(Reply::Done(_))));
}

#[tokio::test]
async fn bytes_that_are_not_the_blobs_are_thrown_away() {
    let cluster = two_regions().await;
    let whole = content(8, 2 * MIB);
    let digest = sha256(&whole);
    for (bytes, size) in [(content(9, 2 * MIB), 2 * MIB), (whole.clone(), 2 * MIB + 1)] {
        let mut stream = Stream::open(&cluster, header(&[], Some(&digest))).await;
        assert_eq!(stream.reply().await.unwrap(), Some(Reply::Offset(0)));
        stream.data(&bytes).await;
        stream.send(finished(&digest, size)).await;
        let refused = stream.reply().await.unwrap_err();
        assert_ne!(refused.code(), Code::Ok);
        cluster.keeps_nothing().await;
    }
}
