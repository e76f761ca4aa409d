//! Uploads that go to other regions while they arrive, and bytes that stay there
//! while one sender goes and the next one comes.

use std::time::Duration;

use bytes::Bytes;
use entrepot_oci::{Digest, media_type};
use entrepot_proto::peer::deposit_part::Part;
use entrepot_proto::peer::deposit_reply::Result as Reply;
use entrepot_proto::peer::replica_image_reply::Result as Answer;
use entrepot_proto::peer::replication_client::ReplicationClient;
use entrepot_proto::peer::{
    DepositFinish, DepositHeader, DepositName, DepositPart, DepositReply, ReplicaImage,
    ReplicaImageManifest, ReplicaImages,
};
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

/// Sends the other region an image of one blob that `source` has (empty: the
/// region's own account), and none of the blob's bytes: what it says.
async fn send_image(cluster: &Cluster, source: &str, (digest, size): (Digest, usize)) -> Answer {
    let manifest = image(&[(digest, size)]);
    let sent = ReplicaImage {
        account: root().account.to_string(),
        source_account: source.to_owned(),
        source_repository: String::new(),
        repository: app().to_string(),
        tag: "sent".to_owned(),
        source_sequence: 1,
        manifests: vec![ReplicaImageManifest {
            digest: sha256(&manifest).to_string(),
            media_type: media_type::OCI_MANIFEST.to_owned(),
            content: manifest,
            absent: Vec::new(),
        }],
        blobs: vec![digest.to_string()],
        contents: Vec::new(),
    };
    let images = ReplicaImages {
        source_region: EAST.to_owned(),
        images: vec![sent],
    };
    let channel = cluster.node(1).peers.channel(THERE).unwrap();
    let mut client = ReplicationClient::new(channel);
    let mut replies = client.put_images(images).await.unwrap().into_inner();
    replies.message().await.unwrap().unwrap().result.unwrap()
}

/// The blob becomes one of the other region by its image alone: all its bytes went
/// along with the upload.
async fn is_there_for_its_image(cluster: &Cluster, digest: Digest, size: usize) {
    eventually("the image is taken", async || {
        let answer = send_image(cluster, "", (digest, size)).await;
        matches!(answer, Answer::Done(_))
    })
    .await;
}

/// Nothing shows at the other region that there was an upload.
async fn shows_nothing(cluster: &Cluster, digest: &Digest) {
    assert_eq!(cluster.node(THERE).known(digest), None);
    let registry = &cluster.node(THERE).registry;
    let tags = registry.list_tags(&root(), &app(), None, 10).await;
    assert!(
        matches!(tags, Err(ServiceError::NameUnknown(_))),
        "{tags:?}"
    );
}

/// Waits until the other region has answered that all of an upload is there.
async fn sent_on(cluster: &Cluster, digest: &Digest) {
    eventually("all of it is there", async || {
        let mut stream = Stream::open(cluster, header(&[9; 16], Some(digest))).await;
        matches!(stream.reply().await, Ok(Some(Reply::Held(_))))
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
    sent_on(&cluster, &digest).await;
    shows_nothing(&cluster, &digest).await;
    // No outbox runs: nothing but the upload itself has brought it.
    is_there_for_its_image(&cluster, digest, whole.len()).await;
    assert!(cluster.node(THERE).pull(&digest).await.unwrap() == whole);
    assert_eq!(cluster.node(THERE).memory.staged(), 0);
}

/// Making a connection takes several round trips, which the first image after a
/// break would have to wait for.
#[tokio::test]
async fn the_connection_for_bytes_is_there_before_they_are() {
    let mut cluster = two_regions().await;
    cluster.start_health();
    let made = |cluster: &Cluster| cluster.network.made(1, THERE);
    // One for what is short, one for bytes.
    eventually("both are made", async || made(&cluster) == 2).await;
    cluster.network.set(THERE, Link::Cut);
    eventually("they are missed", async || cluster.network.refused() > 0).await;
    cluster.network.set(THERE, Link::Up);
    eventually(
        "both are made again, and it is said to answer",
        async || made(&cluster) == 4 && cluster.node(1).health.is_alive(THERE),
    )
    .await;
    let whole = content(21, 5 * MIB);
    let digest = cluster.node(1).push(&whole).await;
    is_there_for_its_image(&cluster, digest, whole.len()).await;
    assert_eq!(made(&cluster), 4);
}

#[tokio::test]
async fn a_blob_in_one_request_is_there_when_it_ends() {
    let cluster = two_regions().await;
    let whole = content(3, 5 * MIB);
    let digest = cluster.node(1).push(&whole).await;
    is_there_for_its_image(&cluster, digest, whole.len()).await;
    assert!(cluster.node(THERE).pull(&digest).await.unwrap() == whole);
}

#[tokio::test]
async fn what_no_image_names_goes_and_was_never_to_be_seen() {
    let brief = Duration::from_millis(300);
    let plan = Plan::new(&[(EAST, 1), (WEST, 3)]).keeping_unnamed(brief);
    let cluster = plan.start().await;
    cluster.replicate(EAST, WEST).await;
    let whole = content(10, 5 * MIB);
    let digest = cluster.node(1).push(&whole).await;
    eventually("nothing of it is left", async || {
        let mut there = (THERE..=4).map(|id| cluster.node(id));
        there.all(|node| node.memory.staged() == 0)
    })
    .await;
    for id in THERE..=4 {
        let kept = cluster.node(id).store.list(None, 10).await.unwrap();
        assert_eq!(kept, [], "{id}");
    }
    shows_nothing(&cluster, &digest).await;
    // Its image still gets there: by its task.
    let mut cluster = cluster;
    let named = [(digest, whole.len())];
    cluster.node(1).put_manifest("v1", &image(&named)).await;
    cluster.start_outbox();
    eventually("the image is there", async || {
        cluster.node(THERE).tagged("v1").await.is_some()
    })
    .await;
    assert!(cluster.node(THERE).pull(&digest).await.unwrap() == whole);
}

#[tokio::test]
async fn many_images_may_name_what_arrived_once() {
    let cluster = two_regions().await;
    let whole = content(11, 3 * MIB);
    let digest = cluster.node(1).push(&whole).await;
    sent_on(&cluster, &digest).await;
    let images = (0..8).map(|_| send_image(&cluster, "", (digest, whole.len())));
    for answer in futures::future::join_all(images).await {
        assert!(matches!(answer, Answer::Done(_)), "{answer:?}");
    }
    assert!(cluster.node(THERE).pull(&digest).await.unwrap() == whole);
    cluster.check(WEST);
}

#[tokio::test]
async fn who_may_bring_nothing_names_nothing() {
    let cluster = two_regions().await;
    let whole = content(12, MIB);
    let digest = sha256(&whole);
    let channel = cluster.node(1).peers.channel(THERE).unwrap();
    let mut client = ReplicationClient::new(channel);
    let stranger = "999999999999";
    let name = DepositName {
        source_account: stranger.to_owned(),
        ..name(&[4; 16], &digest)
    };
    let refused = client.name_deposit(name).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    // Nor does such a name keep anybody waiting, as one of an upload would.
    let mut stream = Stream::open(&cluster, header(&[], Some(&digest))).await;
    assert_eq!(stream.reply().await.unwrap(), Some(Reply::Offset(0)));
    let refused = send_image(&cluster, stranger, (digest, whole.len())).await;
    assert!(matches!(refused, Answer::Refusal(_)), "{refused:?}");
}

#[tokio::test]
async fn a_name_without_bytes_leaves_nothing() {
    let cluster = two_regions().await;
    let whole = content(13, MIB);
    let digest = sha256(&whole);
    let channel = cluster.node(1).peers.channel(THERE).unwrap();
    let mut client = ReplicationClient::new(channel);
    client.name_deposit(name(&[5; 16], &digest)).await.unwrap();
    eventually("nobody is told that it is on its way", async || {
        let mut stream = Stream::open(&cluster, header(&[6; 16], Some(&digest))).await;
        stream.reply().await.unwrap() == Some(Reply::Offset(0))
    })
    .await;
}

#[tokio::test]
async fn a_blob_that_was_called_by_another_name_is_found_by_its_own() {
    let cluster = two_regions().await;
    let whole = content(14, 2 * MIB);
    let (digest, other) = (sha256(&whole), sha256(b"another"));
    let upload = [8; 16];
    let mut stream = Stream::open(&cluster, header(&upload, None)).await;
    assert_eq!(stream.reply().await.unwrap(), Some(Reply::Offset(0)));
    let channel = cluster.node(1).peers.channel(THERE).unwrap();
    let mut client = ReplicationClient::new(channel);
    client.name_deposit(name(&upload, &other)).await.unwrap();
    stream.data(&whole).await;
    stream.send(finished(&digest, whole.len())).await;
    let done = stream.reply().await.unwrap();
    assert!(matches!(done, Some(Reply::Done(_))), "{done:?}");
    let missing = send_image(&cluster, "", (other, 7)).await;
    assert!(matches!(missing, Answer::Missing(_)), "{missing:?}");
    is_there_for_its_image(&cluster, digest, whole.len()).await;
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

fn name(upload: &[u8], digest: &Digest) -> DepositName {
    DepositName {
        upload: Bytes::copy_from_slice(upload),
        digest: digest.to_string(),
        account: root().account.to_string(),
        source_account: root().account.to_string(),
        repository: app().to_string(),
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
    client.name_deposit(name(&upload, &digest)).await.unwrap();
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
