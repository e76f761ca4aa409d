//! Clients that do not go on: with their headers, their body, the next request,
//! or with reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Blob, Cluster, Random, media, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::raw::{ANSWERED, Raw};
use super::{grew_little, head, no_staging, pushed_blob, serves};
use crate::support::step;

const DRIBBLERS: usize = 400;
/// A byte of a header now and then, as Slowloris does.
const DRIBBLE: Duration = Duration::from_millis(200);
/// Far more than the sockets of both sides buffer.
const LARGE_BYTES: usize = 32 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_dribble_their_headers_are_cut_off_and_harm_nobody() -> Result<()> {
    let cluster = Cluster::builder()
        .nodes(1)
        .limit("headers_timeout_s", 2)
        .start()
        .await?;
    let registry = cluster.registry(1)?;
    let node = cluster.node(1)?;
    let sockets = node.sockets()?;
    let cut = Arc::new(AtomicUsize::new(0));
    let mut dribblers = JoinSet::new();
    for _ in 0..DRIBBLERS {
        let (address, cut) = (node.client_address(), Arc::clone(&cut));
        dribblers.spawn(async move {
            loop {
                dribble(address).await;
                cut.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    wait_until("the dribblers to be connected", ANSWERED, async || {
        let open = node.sockets()?;
        ensure!(open >= sockets + DRIBBLERS / 2, "{open} sockets");
        Ok(Some(()))
    })
    .await?;
    let mut rounds = 0;
    while cut.load(Ordering::Relaxed) < DRIBBLERS || rounds < 3 {
        rounds += 1;
        serves(&registry, rounds).await?;
    }
    println!(
        "{rounds} images went in and out; {} dribblers were cut off",
        cut.load(Ordering::Relaxed)
    );
    dribblers.shutdown().await;
    cluster.finish().await
}

/// Sends headers a byte at a time until the node has enough.
async fn dribble(address: std::net::SocketAddr) {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return;
    };
    let mut ticks = tokio::time::interval(DRIBBLE);
    let mut next: &[u8] = b"GET /v2/ HTTP/1.1\r\nhost: x\r\nx-slow: ";
    let mut answer = [0; 64];
    loop {
        tokio::select! {
            // Closed, or an answer that nobody asked for: over, either way.
            _ = stream.read(&mut answer) => return,
            _ = ticks.tick() => {
                if stream.write_all(next).await.is_err() {
                    return;
                }
                next = b"x";
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_stops_coming_is_answered_408_and_leaves_nothing() -> Result<()> {
    let cluster = Cluster::builder()
        .nodes(1)
        .upload_expiry_s(2)
        .limit("body_timeout_s", 1)
        .start()
        .await?;
    let registry = cluster.registry(1)?;
    let node = cluster.node(1)?;
    let blob = Blob::new(media::LAYER, Random::new(1).bytes(1_000_000));
    let length = format!("content-length: {}\r\n", blob.content.len());
    let stopped = async |method: &str, target: &str, code: &str| {
        let mut client = Raw::connect(node.client_address()).await?;
        client.send(head(&cluster, method, target, &length)).await?;
        client.send(&blob.content[..100_000]).await?;
        let answer = client.answer().await?.expect_error(408, code)?;
        ensure!(answer.closes(), "it stays open: {}", answer.head);
        client.closed().await
    };

    step("a blob in one request", async {
        let target = format!("/v2/edge/slow/blobs/uploads/?digest={}", blob.digest);
        stopped("POST", &target, "BLOB_UPLOAD_INVALID").await?;
        no_staging(&cluster).await
    })
    .await?;
    step("a manifest", async {
        let target = "/v2/edge/slow/manifests/latest";
        stopped("PUT", target, "MANIFEST_INVALID").await
    })
    .await?;
    step(
        "a chunk, of which the rest may follow until the upload expires",
        async {
            let upload = registry.open_upload("edge/slow").await?;
            stopped("PATCH", &upload.path, "BLOB_UPLOAD_INVALID").await?;
            let state = registry.get(&upload.path).send().await?.expect(204)?;
            state.expect_header("range", "0-99999")?;
            // Asking again would keep it.
            wait_until("the upload to expire", ANSWERED, async || {
                let removed = node.log_contains("an idle upload was removed");
                Ok(removed.then_some(()))
            })
            .await?;
            no_staging(&cluster).await?;
            let state = registry.get(&upload.path).send().await?;
            state.expect_error(404, "BLOB_UPLOAD_UNKNOWN")?;
            Ok(())
        },
    )
    .await?;
    step(
        "the same blob, sent whole",
        registry.push_blob("edge/slow", &blob),
    )
    .await?;
    cluster.finish().await
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() -> Result<()> {
    let cluster = Cluster::builder()
        .nodes(1)
        .limit("write_timeout_s", 1)
        .start()
        .await?;
    let registry = cluster.registry(1)?;
    let blob = pushed_blob(&registry, 1, LARGE_BYTES).await?;
    let node = cluster.node(1)?;
    let before = node.usage()?.peak_rss_bytes;
    let sockets = node.sockets()?;
    let target = format!("/v2/edge/blobs/blobs/{}", blob.digest);
    let mut stuck = Vec::new();
    for _ in 0..8 {
        let mut client = Raw::connect(node.client_address()).await?;
        client.send(head(&cluster, "GET", &target, "")).await?;
        stuck.push(client);
    }
    wait_until("the node to take their requests", ANSWERED, async || {
        let open = node.sockets()?;
        ensure!(open > sockets, "{open} sockets");
        Ok(Some(()))
    })
    .await?;
    registry.verify_blob("edge/blobs", &blob).await?;
    wait_until("the node to give them up", ANSWERED, async || {
        let open = node.sockets()?;
        ensure!(open <= sockets, "{open} sockets, {sockets} before");
        Ok(Some(()))
    })
    .await?;
    for mut client in stuck {
        let mut got = 0;
        let mut buffer = vec![0; 1 << 16];
        while let Ok(bytes @ 1..) = client.stream.read(&mut buffer).await {
            got += bytes;
        }
        ensure!(got < LARGE_BYTES, "it got all of it: {got}");
    }
    grew_little(&cluster, before)?;
    registry.verify_blob("edge/blobs", &blob).await?;
    cluster.finish().await
}

#[tokio::test]
async fn a_connection_that_rests_is_closed_and_one_that_asks_is_kept() -> Result<()> {
    let cluster = Cluster::builder()
        .nodes(1)
        .limit("idle_timeout_s", 5)
        .limit("headers_timeout_s", 1)
        .start()
        .await?;
    let address = cluster.node(1)?.client_address();
    let ask = head(&cluster, "GET", "/v2/", "");
    let resting = async {
        let mut client = Raw::connect(address).await?;
        client.send(&ask).await?;
        client.answer().await?.expect(200)?;
        client.closed().await
    };
    // It may rest for longer than headers may take, between two requests.
    let asking = async {
        let mut client = Raw::connect(address).await?;
        let mut ticks = tokio::time::interval(Duration::from_millis(1_500));
        for _ in 0..4 {
            ticks.tick().await;
            client.send(&ask).await.context("it was closed")?;
            client.answer().await?.expect(200)?;
        }
        Ok(())
    };
    let silent = async { Raw::connect(address).await?.closed().await };
    tokio::try_join!(resting, asking, silent)?;
    cluster.finish().await
}
