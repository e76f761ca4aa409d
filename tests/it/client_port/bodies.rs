//! Bodies that are not what was said of them.

use anyhow::{Result, ensure};
use entrepot_harness::{Blob, Cluster, Image, Random, Registry, media};

use super::raw::Raw;
use super::{grew_little, head, no_staging, serves};
use crate::support::step;

const HUNDRED_GB: u64 = 100_000_000_000;
/// Less than the largest blob: has to be taken, for as long as it comes.
const FORTY_GB: u64 = 40_000_000_000;
const SENT_BYTES: usize = 8 << 20;

#[tokio::test]
async fn a_body_said_to_be_huge_costs_nothing() -> Result<()> {
    let cluster = Cluster::builder().nodes(1).start().await?;
    let registry = cluster.registry(1)?;
    serves(&registry, 1).await?;
    let node = cluster.node(1)?;
    let before = node.usage()?.peak_rss_bytes;
    let content = Random::new(1).bytes(SENT_BYTES);
    let digest = Blob::new(media::LAYER, content.clone()).digest;
    let push = format!("/v2/edge/huge/blobs/uploads/?digest={digest}");

    step("100 GB of a manifest: 413 at once", async {
        let mut client = Raw::connect(node.client_address()).await?;
        let length = format!("content-length: {HUNDRED_GB}\r\n");
        let target = "/v2/edge/huge/manifests/latest";
        client.send(head(&cluster, "PUT", target, &length)).await?;
        let answer = client.answer().await?;
        answer.expect_error(413, "MANIFEST_INVALID")?;
        Ok(())
    })
    .await?;
    step("100 GB of a blob: 413 at once", async {
        let upload = registry.open_upload("edge/huge").await?.end(&digest);
        for (method, target) in [("POST", &push), ("PUT", &upload)] {
            let mut client = Raw::connect(node.client_address()).await?;
            let length = format!("content-length: {HUNDRED_GB}\r\n");
            client.send(head(&cluster, method, target, &length)).await?;
            let answer = client.answer().await?;
            answer.expect_error(413, "BLOB_UPLOAD_INVALID")?;
            client.send_some(&content).await;
        }
        no_staging(&cluster).await
    })
    .await?;
    step("40 GB of a blob, of which little comes", async {
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = Raw::connect(node.client_address()).await?;
            let length = format!("content-length: {FORTY_GB}\r\n");
            client.send(head(&cluster, "POST", &push, &length)).await?;
            client.send(&content).await?;
            clients.push(client);
        }
        serves(&registry, 2).await?;
        drop(clients);
        no_staging(&cluster).await
    })
    .await?;
    grew_little(&cluster, before)?;
    cluster.finish().await
}

#[tokio::test]
async fn a_body_of_another_length_than_declared_is_refused() -> Result<()> {
    let cluster = Cluster::builder().nodes(1).start().await?;
    let registry = cluster.registry(1)?;
    let blob = Blob::new(media::LAYER, Random::new(2).bytes(100_000));
    let image = Image::random(3, 1, 10_000);
    registry.push_image("edge/lengths", "whole", &image).await?;

    step(
        "longer: the digest is not that of what was declared",
        async {
            let mut client = Raw::connect(cluster.node(1)?.client_address()).await?;
            client.send(post(&cluster, &blob, 60_000)).await?;
            client.send_some(&blob.content).await;
            client.answer().await?.expect_error(400, "DIGEST_INVALID")?;
            // What is left over makes no request.
            client.answer().await?.expect(400)?;
            client.closed().await?;
            absent(&registry, &blob).await
        },
    )
    .await?;
    step("longer, after a blob that is whole", async {
        let first = Blob::new(media::LAYER, blob.content.slice(..60_000));
        let mut client = Raw::connect(cluster.node(1)?.client_address()).await?;
        client.send(post(&cluster, &first, 60_000)).await?;
        client.send_some(&blob.content).await;
        client.answer().await?.expect(201)?;
        client.answer().await?.expect(400)?;
        client.closed().await?;
        registry.verify_blob("edge/lengths", &first).await
    })
    .await?;
    step("a shorter blob", async {
        let mut client = Raw::connect(cluster.node(1)?.client_address()).await?;
        client.send(post(&cluster, &blob, 200_000)).await?;
        client.send(&blob.content).await?;
        client.end().await?;
        let answer = client.answer().await?;
        answer.expect_error(400, "BLOB_UPLOAD_INVALID")?;
        client.closed().await?;
        no_staging(&cluster).await?;
        absent(&registry, &blob).await
    })
    .await?;
    step("a shorter manifest", async {
        let mut client = Raw::connect(cluster.node(1)?.client_address()).await?;
        let manifest = &image.manifest.content;
        let length = format!("content-length: {}\r\n", manifest.len() + 1);
        let target = "/v2/edge/lengths/manifests/shorter";
        client.send(head(&cluster, "PUT", target, &length)).await?;
        client.send(manifest).await?;
        client.end().await?;
        let answer = client.answer().await?;
        answer.expect_error(400, "MANIFEST_INVALID")?;
        client.closed().await
    })
    .await?;
    let list = registry.get("/v2/edge/lengths/tags/list").send().await?;
    let tags = list.expect(200)?.json()?["tags"].clone();
    ensure!(tags == serde_json::json!(["whole"]), "{tags}");
    cluster.finish().await
}

/// The head of a push of `blob` that declares `length` bytes.
fn post(cluster: &Cluster, blob: &Blob, length: usize) -> String {
    let target = format!("/v2/edge/lengths/blobs/uploads/?digest={}", blob.digest);
    head(
        cluster,
        "POST",
        &target,
        &format!("content-length: {length}\r\n"),
    )
}

async fn absent(registry: &Registry, blob: &Blob) -> Result<()> {
    let path = format!("/v2/edge/lengths/blobs/{}", blob.digest);
    let reply = registry.get(&path).send().await?;
    reply.expect_error(404, "BLOB_UNKNOWN")?;
    Ok(())
}
