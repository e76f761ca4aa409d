//! How many bytes a registry may have: what fits is taken, at whichever node, and
//! nothing beyond; who sends too much hears it before the bytes are sent.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot_harness::{
    Admin, Blob, Cluster, Image, Layout, Random, Registry, Reply, media, wait_until,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::support::step;

const REPOSITORY: &str = "quota/bytes";
const BLOB_BYTES: usize = 1_000_000;
const FITTING: usize = 5;
const PUSHES: u64 = 18;
/// Room for so many blobs, and almost for one more.
const BYTES_MAX: usize = FITTING * BLOB_BYTES + BLOB_BYTES / 2;
/// Longer than the pushes take, all together.
const UNREFERENCED_S: u64 = 45;
const COLLECTED: Duration = Duration::from_mins(3);
const ANSWERED: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_holds_the_bytes_that_it_may_and_no_more() -> Result<()> {
    let cluster = Cluster::builder()
        .nodes(3)
        .storage("unreferenced_after_s", UNREFERENCED_S)
        .start()
        .await?;
    let admin = cluster.admin(2)?;
    step("a quota is set and shown", async {
        let max = BYTES_MAX.to_string();
        let shown = admin
            .json(&["registry", "set", "--max-bytes", &max])
            .await?;
        ensure!(shown["max_bytes"] == BYTES_MAX, "{shown}");
        ensure!(shown["bytes"] == 0, "{shown}");
        ensure!(shown["max_repository_bytes"] == Value::Null, "{shown}");
        Ok(())
    })
    .await?;
    step(
        "as many as fit are taken, of pushes at all nodes at once",
        async {
            let mut pushes = JoinSet::new();
            for nth in 0..PUSHES {
                let registry = cluster.registry(1 + nth % 3)?;
                pushes.spawn(async move { pushed(&registry, nth).await });
            }
            let mut taken = 0;
            while let Some(reply) = pushes.join_next().await {
                let reply = reply??;
                if reply.status == 201 {
                    taken += 1;
                } else {
                    is_refused(reply)?;
                }
            }
            ensure!(taken == FITTING, "{taken} were taken");
            holds(&admin, FITTING * BLOB_BYTES).await
        },
    )
    .await?;
    step("what does not fit is not asked for", unasked(&cluster)).await?;
    step("skopeo is told why", skopeo(&cluster)).await?;
    step("what is collected makes room", async {
        wait_until("the bytes to go", COLLECTED, async || {
            let shown = admin.json(&["registry", "show"]).await?;
            Ok((shown["bytes"] == 0).then_some(()))
        })
        .await?;
        pushed(&cluster.registry(3)?, 900).await?.expect(201)?;
        holds(&admin, BLOB_BYTES).await
    })
    .await?;
    cluster.finish().await
}

fn blob(seed: u64) -> Blob {
    Blob::new(media::LAYER, Random::new(seed).bytes(BLOB_BYTES))
}

/// What a node answers to a blob of its own in one request.
async fn pushed(registry: &Registry, seed: u64) -> Result<Reply> {
    let blob = blob(seed);
    let path = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={}", blob.digest);
    let post = registry.post(&path).body(blob.content.clone());
    post.send().await
}

fn is_refused(reply: Reply) -> Result<()> {
    let reply = reply.expect_error(403, "DENIED")?;
    let text = reply.first_error()?["message"].to_string();
    let says = format!("may have at most {BYTES_MAX} bytes");
    ensure!(text.contains(&says), "{text}");
    Ok(())
}

async fn holds(admin: &Admin, bytes: usize) -> Result<()> {
    let shown = admin.json(&["registry", "show"]).await?;
    ensure!(shown["bytes"] == bytes, "{shown}");
    Ok(())
}

/// Who waits for leave to send is refused in its place, by whichever node, also by one
/// that does not own the upload.
async fn unasked(cluster: &Cluster) -> Result<()> {
    let blob = blob(800);
    let upload = cluster.registry(1)?.open_upload(REPOSITORY).await?;
    let whole = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={}", blob.digest);
    let end = upload.end(&blob.digest);
    for id in cluster.ids() {
        let address = cluster.registry(id)?.address().to_owned();
        for (method, path) in [("POST", &whole), ("PATCH", &upload.path), ("PUT", &end)] {
            let answer = first_answer(cluster, &address, method, path).await?;
            let refused = answer.starts_with("HTTP/1.1 403 ");
            ensure!(refused, "node {id}, {method} {path}: {answer}");
        }
    }
    Ok(())
}

/// The first head that comes back for a request that waits for leave to send.
async fn first_answer(
    cluster: &Cluster,
    address: &str,
    method: &str,
    path: &str,
) -> Result<String> {
    let who = STANDARD.encode(format!("{}:{}", cluster.user(), cluster.password()));
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Basic {who}\r\n\
         content-length: {BLOB_BYTES}\r\nexpect: 100-continue\r\n\r\n"
    );
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
            let read = stream.read_buf(&mut answer).await?;
            ensure!(read > 0, "closed without an answer");
        }
        anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(ANSWERED, exchange)
        .await
        .context("no answer in time")?
}

async fn skopeo(cluster: &Cluster) -> Result<()> {
    let folder = cluster.scratch("quota-bytes")?;
    let mut layout = Layout::create(&folder)?;
    layout.add_image("image", &Image::random(700, 2, BLOB_BYTES))?;
    let address = cluster.registry(2)?.address().to_owned();
    let name = format!("{address}/{REPOSITORY}:v1");
    let skopeo = cluster.skopeo();
    let failed = skopeo.try_push(layout.folder(), "image", &name).await?;
    let failed = failed.failure()?;
    let says = format!("may have at most {BYTES_MAX} bytes");
    ensure!(failed.stderr.contains(&says), "{}", failed.stderr);
    Ok(())
}
