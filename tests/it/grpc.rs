//! `entrepot.v1.Registry` on a cluster of real processes: streams that are
//! killed, watches that move from node to node, and strangers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Blob, Cluster, Grpc, Image, Random, append_messages, media, wait_until};
use entrepot_proto::registry::change::Kind;
use entrepot_proto::registry::{
    ListRepositoriesRequest, WatchRepositoryReply, WatchRepositoryRequest,
};
use tokio::sync::mpsc;
use tonic::{Code, Status};

use crate::support::{US_GROUP, step};

const REPOSITORY: &str = "grpc/app";
const DEADLINE: Duration = Duration::from_secs(30);
/// Half of it is more than flow control lets be on its way: when all of that has
/// left, some of it has arrived.
const WHOLE: usize = 64 * 1024 * 1024;

async fn connect(cluster: &Cluster, id: u64) -> Result<Grpc> {
    let credentials = Some((cluster.user(), cluster.password()));
    Grpc::connect(&cluster.node(id)?.endpoint(), credentials).await
}

fn refused<T>(result: Result<T, Status>, code: Code, name: &str) -> Result<Status> {
    let Err(status) = result else {
        anyhow::bail!("a call was not refused");
    };
    let found = status.metadata().get("entrepot-code");
    let found = found.and_then(|value| value.to_str().ok());
    ensure!(
        status.code() == code && found == Some(name),
        "expected {code:?} {name}: {status:?}"
    );
    Ok(status)
}

#[tokio::test]
async fn a_stream_that_is_killed_is_resumed_at_its_offset() -> Result<()> {
    let cluster = Cluster::builder().nodes(3).start().await?;
    let blob = Blob::new(media::LAYER, Random::new(1).bytes(WHOLE));
    let half = blob.content.slice(..WHOLE / 2);
    // The owner's own stream, and one that is passed on to it.
    for through in [1, 2] {
        step(&format!("a stream to node {through} is killed"), async {
            let session = connect(&cluster, 1).await?.open_upload(REPOSITORY).await?;
            let messages = append_messages(REPOSITORY, &session, 0, &half);
            killed(connect(&cluster, through).await?, messages).await?;

            let mut other = connect(&cluster, 3).await?;
            let received = wait_until("bytes to arrive", DEADLINE, async || {
                let received = other.received(REPOSITORY, &session).await?;
                Ok((received > 0).then_some(received))
            });
            let mut received = received.await?;
            ensure!(received <= WHOLE as u64 / 2, "{received} bytes of half");
            // The broken stream may still have had some on their way.
            wait_until("the rest to be taken", DEADLINE, async || {
                received = other.received(REPOSITORY, &session).await?;
                let rest = blob.content.slice(usize::try_from(received)?..);
                let appended = other.append(REPOSITORY, &session, received, &rest).await?;
                ensure!(appended == WHOLE as u64, "{appended} bytes");
                Ok(Some(()))
            })
            .await?;
            println!("  resumed at {received}");
            let mut owner = connect(&cluster, 1).await?;
            owner
                .finish(REPOSITORY, &session, &blob.digest, WHOLE as u64)
                .await?;
            read_everywhere(&cluster, &blob).await
        })
        .await?;
    }
    cluster.finish().await
}

/// Sends messages, never ends the stream, and drops the connection once all of
/// them have left.
async fn killed(
    mut client: Grpc,
    messages: Vec<entrepot_proto::registry::AppendUploadRequest>,
) -> Result<()> {
    let (sender, receiver) = mpsc::channel(1);
    let stream = futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|message| (message, receiver))
    });
    let call = tokio::spawn(async move { client.append_stream(stream).await });
    for message in messages {
        sender.send(message).await.context("the stream is gone")?;
    }
    // Taken from the channel: what is under way may get lost or not.
    sender.reserve().await.context("the stream is gone")?;
    call.abort();
    ensure!(call.await.is_err_and(|error| error.is_cancelled()));
    Ok(())
}

async fn read_everywhere(cluster: &Cluster, blob: &Blob) -> Result<()> {
    for id in cluster.ids() {
        let mut node = connect(cluster, id).await?;
        for (offset, length, expected) in [
            (0, 0, 0..WHOLE),
            (1_999_999, 2_000_001, 1_999_999..4_000_000),
            (WHOLE as u64 - 1, 9, WHOLE - 1..WHOLE),
        ] {
            let read = node.read(REPOSITORY, &blob.digest, offset, length).await?;
            ensure!(
                read == blob.content.slice(expected),
                "node {id} gave other bytes at {offset}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_watch_goes_on_at_another_node_and_after_a_restart() -> Result<()> {
    let mut cluster = Cluster::builder().nodes(3).start().await?;
    let pushed = cluster.registry(3)?;
    let (first, second) = (Image::random(1, 1, 1_000), Image::random(2, 1, 1_000));
    pushed.push_image(REPOSITORY, "v1", &first).await?;
    let (mut here, start) = connect(&cluster, 1).await?.watch(REPOSITORY, None).await?;
    let (mut there, _) = connect(&cluster, 2).await?.watch(REPOSITORY, None).await?;
    ensure!(start.log == US_GROUP, "{start:?}");

    pushed.push_image(REPOSITORY, "v1", &second).await?;
    let moved = here.change().await?;
    step("two nodes tell the same, at the same index", async {
        ensure!(there.change().await? == moved);
        ensure!(moved.index > start.index, "{moved:?}");
        expect(&moved, &[put(&second), tag("v1", &second, Some(&first))])
    })
    .await?;

    step("a node that stops ends its watches", async {
        cluster.stop(&[1]).await?;
        let ended = here.end().await?.context("an end without a word")?;
        ensure!(ended.code() == Code::Unavailable, "{ended:?}");
        Ok(())
    })
    .await?;
    // Nobody watches at node 1 when this happens.
    let deleted = pushed
        .delete(&format!("/v2/{REPOSITORY}/manifests/v1"))
        .send();
    deleted.await?.expect(202)?;
    let gone = there.change().await?;
    step("what was missed is told at another node", async {
        let (mut again, _) = connect(&cluster, 3)
            .await?
            .watch(REPOSITORY, Some(moved.index))
            .await?;
        ensure!(again.change().await? == gone);
        Ok(())
    })
    .await?;
    cluster.start(&[1]).await?;
    step("and at one that was restarted, from the start", async {
        let mut node = connect(&cluster, 1).await?;
        let (mut again, _) = node.watch(REPOSITORY, Some(start.index)).await?;
        for expected in [&moved, &gone] {
            ensure!(again.change().await? == *expected);
        }
        Ok(())
    })
    .await?;
    step("a killed node tells it as well", async {
        cluster.kill9(2)?;
        cluster.start(&[2]).await?;
        let mut node = connect(&cluster, 2).await?;
        let (mut again, _) = node.watch(REPOSITORY, Some(moved.index)).await?;
        ensure!(again.change().await? == gone);
        Ok(())
    })
    .await?;
    step("an index that is yet to come is out of range", async {
        let mut node = connect(&cluster, 2).await?;
        let request = node.call(WatchRepositoryRequest {
            repository: REPOSITORY.to_owned(),
            after: Some(gone.index + 1_000_000),
            log: String::new(),
        })?;
        let result = node.client.watch_repository(request).await;
        refused(result, Code::OutOfRange, "WATCH_OUT_OF_RANGE")?;
        Ok(())
    })
    .await?;
    cluster.finish().await
}

fn put(image: &Image) -> String {
    format!("put {}", image.digest())
}

fn tag(name: &str, image: &Image, previous: Option<&Image>) -> String {
    let previous = previous.map_or("", Image::digest);
    format!("tag {name} {} {previous}", image.digest())
}

/// That a message tells these changes.
fn expect(message: &WatchRepositoryReply, expected: &[String]) -> Result<()> {
    let told = message.changes.iter().map(|change| match &change.kind {
        Some(Kind::ManifestPut(put)) => format!("put {}", put.digest),
        Some(Kind::ManifestDeleted(gone)) => format!("deleted {}", gone.digest),
        Some(Kind::TagMoved(tag)) => {
            format!("tag {} {} {}", tag.tag, tag.digest, tag.previous_digest)
        }
        Some(Kind::TagDeleted(tag)) => format!("untag {} {}", tag.tag, tag.previous_digest),
        Some(Kind::StorageClassSet(set)) => format!("class {} {}", set.digest, set.archived),
        None => "nothing".to_owned(),
    });
    let told: Vec<String> = told.collect();
    ensure!(told == expected, "told {told:?}, expected {expected:?}");
    Ok(())
}

#[tokio::test]
async fn no_node_serves_a_stranger() -> Result<()> {
    let cluster = Cluster::builder().nodes(1).start().await?;
    let endpoint = cluster.node(1)?.endpoint();
    let (user, password) = (cluster.user(), cluster.password());
    let list = ListRepositoriesRequest::default;
    for credentials in [None, Some((user, "wrong")), Some(("someone", password))] {
        let mut stranger = Grpc::connect(&endpoint, credentials).await?;
        let request = stranger.call(list())?;
        let result = stranger.client.list_repositories(request).await;
        refused(result, Code::Unauthenticated, "UNAUTHORIZED")?;
        let request = stranger.call(WatchRepositoryRequest::default())?;
        let result = stranger.client.watch_repository(request).await;
        refused(result, Code::Unauthenticated, "UNAUTHORIZED")?;
        let messages = append_messages(REPOSITORY, "x", 0, &Random::new(1).bytes(1_000_000));
        let request = stranger.call(futures::stream::iter(messages))?;
        let result = stranger.client.append_upload(request).await;
        refused(result, Code::Unauthenticated, "UNAUTHORIZED")?;
    }
    let mut root = connect(&cluster, 1).await?;
    let request = root.call(list())?;
    root.client.list_repositories(request).await?;
    cluster.finish().await
}
