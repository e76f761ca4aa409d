//! Upload sessions in every shape, over every node of a region, and blobs
//! served by a node that holds no copy.

use anyhow::{Result, ensure};
use entrepot_harness::{Blob, Cluster, Random, Registry, media};

use crate::support::step;

const RANDOM_UPLOADS: u64 = 12;
const RANDOM_UPLOAD_BYTES_MAX: usize = 3_000_000;
const CHUNKS_MAX: usize = 8;
const REPOSITORY: &str = "up/loads";

/// Four nodes and three copies: for every blob there is a node without it.
#[tokio::test]
async fn any_chunking_over_any_nodes() -> Result<()> {
    let cluster = Cluster::builder().nodes(4).copies(3).start().await?;
    let mut nodes = Vec::new();
    for id in cluster.ids() {
        nodes.push(cluster.registry(id)?);
    }
    step("PATCH here, PATCH there, PUT elsewhere", two_nodes(&nodes)).await?;
    step("POST with the whole content", single_post(&nodes)).await?;
    step(
        "PATCH without a range, of unknown length",
        streamed_patch(&nodes),
    )
    .await?;
    step("PUT with the last chunk", last_chunk_in_put(&nodes)).await?;
    step("an empty blob", empty(&nodes)).await?;
    step("an upload is cancelled", cancelled(&nodes)).await?;
    step("random chunks over random nodes", random(&nodes)).await?;
    step("the same blob from all sides at once", at_once(&nodes)).await?;
    step("no upload leaves anything behind", async {
        for id in cluster.ids() {
            let left = cluster.node(id)?.staging_files()?;
            ensure!(left.is_empty(), "node {id} still has {left:?}");
        }
        Ok(())
    })
    .await?;
    cluster.finish().await
}

async fn everywhere(nodes: &[Registry], blob: &Blob) -> Result<()> {
    for node in nodes {
        node.verify_blob(REPOSITORY, blob).await?;
    }
    Ok(())
}

async fn two_nodes(nodes: &[Registry]) -> Result<()> {
    let blob = Blob::new(media::LAYER, Random::new(1).bytes(200_000));
    let mut upload = nodes[0].open_upload(REPOSITORY).await?;
    ensure!(
        !upload.path.contains('?'),
        "the upload's state is in the query, which some clients drop: {}",
        upload.path
    );
    let (first, second) = (blob.content.slice(..120_000), blob.content.slice(120_000..));
    nodes[0].send_chunk(&mut upload, 0, first).await?;
    let status = nodes[2].get(&upload.path).send().await?.expect(204)?;
    let status = status.expect_header("range", "0-119999")?;
    upload.path = status.location()?;
    nodes[1].send_chunk(&mut upload, 120_000, second).await?;
    let ended = nodes[3]
        .put(&upload.end(&blob.digest))
        .header("content-length", "0");
    let ended = ended.send().await?.expect(201)?;
    ended.expect_header("docker-content-digest", &blob.digest)?;
    everywhere(nodes, &blob).await?;
    // The session is over.
    let reply = nodes[0].get(&upload.path).send().await?;
    reply.expect_error(404, "BLOB_UPLOAD_UNKNOWN")?;
    Ok(())
}

async fn single_post(nodes: &[Registry]) -> Result<()> {
    let blob = Blob::new(media::LAYER, Random::new(2).bytes(150_000));
    let path = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={}", blob.digest);
    let reply = nodes[1]
        .post(&path)
        .header("content-type", "application/octet-stream")
        .body(blob.content.clone())
        .send()
        .await?;
    let reply = reply.expect(201)?;
    ensure!(reply.location()?.ends_with(&blob.digest));
    everywhere(nodes, &blob).await
}

/// As docker pushes: one PATCH with chunked transfer encoding.
async fn streamed_patch(nodes: &[Registry]) -> Result<()> {
    let blob = Blob::new(media::LAYER, Random::new(3).bytes(500_000));
    let mut upload = nodes[2].open_upload(REPOSITORY).await?;
    let pieces: Vec<std::io::Result<bytes::Bytes>> = (0..10)
        .map(|nth| Ok(blob.content.slice(nth * 50_000..(nth + 1) * 50_000)))
        .collect();
    let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    let reply = nodes[0]
        .patch(&upload.path)
        .body(body)
        .send()
        .await?
        .expect(202)?;
    upload.path = reply.expect_header("range", "0-499999")?.location()?;
    let ended = nodes[2]
        .put(&upload.end(&blob.digest))
        .header("content-length", "0");
    ended.send().await?.expect(201)?;
    everywhere(nodes, &blob).await
}

async fn last_chunk_in_put(nodes: &[Registry]) -> Result<()> {
    let blob = Blob::new(media::LAYER, Random::new(4).bytes(90_000));
    let mut upload = nodes[3].open_upload(REPOSITORY).await?;
    nodes[3]
        .send_chunk(&mut upload, 0, blob.content.slice(..40_000))
        .await?;
    let reply = nodes[1]
        .put(&upload.end(&blob.digest))
        .header("content-range", "40000-89999")
        .header("content-type", "application/octet-stream")
        .body(blob.content.slice(40_000..))
        .send()
        .await?;
    reply.expect(201)?;
    everywhere(nodes, &blob).await
}

async fn empty(nodes: &[Registry]) -> Result<()> {
    let blob = Blob::new(media::LAYER, "");
    nodes[0].push_blob(REPOSITORY, &blob).await?;
    everywhere(nodes, &blob).await
}

async fn cancelled(nodes: &[Registry]) -> Result<()> {
    let content = Random::new(5).bytes(50_000);
    let mut upload = nodes[0].open_upload(REPOSITORY).await?;
    nodes[1].send_chunk(&mut upload, 0, content).await?;
    nodes[2].delete(&upload.path).send().await?.expect(204)?;
    for node in nodes {
        let reply = node.get(&upload.path).send().await?;
        reply.expect_error(404, "BLOB_UPLOAD_UNKNOWN")?;
    }
    Ok(())
}

async fn random(nodes: &[Registry]) -> Result<()> {
    for seed in 100..100 + RANDOM_UPLOADS {
        let mut random = Random::new(seed);
        let length = random.below(RANDOM_UPLOAD_BYTES_MAX) + 1;
        let blob = Blob::new(media::LAYER, random.bytes(length));
        let mut ends: Vec<usize> = (0..random.below(CHUNKS_MAX))
            .map(|_| random.below(length))
            .collect();
        ends.push(length);
        ends.sort_unstable();
        ends.dedup();
        ends.retain(|end| *end > 0);
        let mut upload = nodes[random.below(nodes.len())]
            .open_upload(REPOSITORY)
            .await?;
        let mut offset = 0;
        for end in ends {
            let chunk = blob.content.slice(offset..end);
            let node = &nodes[random.below(nodes.len())];
            node.send_chunk(&mut upload, offset, chunk).await?;
            offset = end;
        }
        let node = &nodes[random.below(nodes.len())];
        let ended = node
            .put(&upload.end(&blob.digest))
            .header("content-length", "0");
        ended.send().await?.expect(201)?;
        everywhere(nodes, &blob).await?;
    }
    Ok(())
}

async fn at_once(nodes: &[Registry]) -> Result<()> {
    let blob = Blob::new(media::LAYER, Random::new(6).bytes(400_000));
    let pushes = nodes
        .iter()
        .chain(nodes)
        .map(|node| node.push_blob(REPOSITORY, &blob));
    futures::future::try_join_all(pushes).await?;
    everywhere(nodes, &blob).await
}
