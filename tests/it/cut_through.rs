//! Uploads and tasks between regions while the line is slow, breaks, or an end of
//! it dies: everything arrives, and next to nothing is sent twice.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use entrepot_harness::{Blob, Cluster, Image, Link, Random, Wan, media, wait_until};

use crate::support::{EU, REPLICATED, US, step};

const MIB: usize = 1 << 20;
const LAYER_BYTES: usize = 24 * MIB;
/// A layer takes some seconds.
const LINE_BYTES_PER_S: u64 = 6 * 1024 * 1024;
const ROUND_TRIP: Duration = Duration::from_millis(40);
/// What may be sent twice when a line or a node breaks: what was on its way.
const AGAIN_BYTES_MAX: u64 = 3 * MIB as u64;
const SOON: Duration = Duration::from_mins(1);

async fn two_regions(nodes: usize) -> Result<Cluster> {
    let builder = Cluster::builder().regions([US, EU]).nodes(nodes).links(3);
    let cluster = builder.start().await?;
    cluster.admin(1)?.put_rule("to-europe", EU, None).await?;
    Ok(cluster)
}

fn image_of_one_layer(seed: u64) -> Image {
    let layer = Blob::new(media::LAYER, Random::new(seed).bytes(LAYER_BYTES));
    let config = Blob::new(media::CONFIG, format!("{{\"author\":\"seed {seed}\"}}"));
    Image::of(media::MANIFEST, config, vec![layer])
}

/// Waits until so many bytes have gone into the line since `before`.
async fn under_way(wan: &Wan, before: u64, bytes: u64) -> Result<()> {
    wait_until("bytes are on their way", SOON, async || {
        Ok((wan.there_bytes() >= before + bytes).then_some(()))
    })
    .await
}

/// Waits until an image is at the destination, and compares it.
async fn arrived(cluster: &Cluster, repository: &str, tag: &str, image: &Image) -> Result<()> {
    cluster
        .admin(cluster.ids_in(US)[0])?
        .wait_replicated(Some(repository), 1, REPLICATED)
        .await?;
    let there = cluster.registry(cluster.ids_in(EU)[0])?;
    there.verify_image(repository, tag, image).await
}

fn sent_once(wan: &Wan, before: u64) -> Result<()> {
    let sent = wan.there_bytes() - before;
    println!("  {sent} bytes went into the line for {LAYER_BYTES}");
    // What TLS, the other calls and the nodes' talk take, and what was torn.
    let most = LAYER_BYTES as u64 * 104 / 100 + AGAIN_BYTES_MAX;
    ensure!(sent <= most, "{sent} bytes for a layer of {LAYER_BYTES}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_goes_on_where_it_stopped_when_its_line_breaks() -> Result<()> {
    let cluster = two_regions(1).await?;
    let wan = Wan::between(&cluster, (US, EU), ROUND_TRIP, Some(LINE_BYTES_PER_S))?;
    let image = image_of_one_layer(1);
    let before = wan.there_bytes();
    step("push while the line is slow", async {
        let source = cluster.registry(1)?;
        source.push_image("wan/broken", "v1", &image).await
    })
    .await?;
    step(
        "connections break all the time, for a quarter of it",
        async {
            under_way(&wan, before, LAYER_BYTES as u64 / 2).await?;
            cluster.links()?.set(1, 2, Link::Breaks { one_in: 20 });
            under_way(&wan, before, LAYER_BYTES as u64 * 3 / 4).await?;
            cluster.links()?.set(1, 2, Link::Whole);
            Ok(())
        },
    )
    .await?;
    step("it arrives", arrived(&cluster, "wan/broken", "v1", &image)).await?;
    sent_once(&wan, before)?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_goes_on_when_the_one_that_sends_is_killed() -> Result<()> {
    let mut cluster = two_regions(3).await?;
    let wan = Wan::between(&cluster, (US, EU), ROUND_TRIP, Some(LINE_BYTES_PER_S))?;
    let image = image_of_one_layer(2);
    let before = wan.there_bytes();
    step("push through one node", async {
        let source = cluster.registry(2)?;
        source.push_image("wan/killed", "v1", &image).await
    })
    .await?;
    step("kill it in the middle", async {
        under_way(&wan, before, LAYER_BYTES as u64 / 2).await?;
        cluster.kill9(2)
    })
    .await?;
    step("it arrives", arrived(&cluster, "wan/killed", "v1", &image)).await?;
    sent_once(&wan, before)?;
    cluster.start(&[2]).await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_is_cancelled_leaves_nothing_there() -> Result<()> {
    let cluster = two_regions(1).await?;
    let wan = Wan::between(&cluster, (US, EU), ROUND_TRIP, None)?;
    let before = wan.there_bytes();
    let source = cluster.registry(1)?;
    let content = Random::new(3).bytes(LAYER_BYTES);
    let mut upload = source.open_upload("wan/cancelled").await?;
    source.send_chunk(&mut upload, 0, content).await?;
    step(
        "most of it goes there",
        under_way(&wan, before, LAYER_BYTES as u64 / 2),
    )
    .await?;
    source.delete(&upload.path).send().await?.expect(204)?;
    let staging = cluster.node(2)?.data().join("blobs/staging");
    step("it goes", async {
        wait_until("nothing is staged there", SOON, async || {
            let left = std::fs::read_dir(&staging).context("list what is staged")?;
            Ok((left.count() == 0).then_some(()))
        })
        .await
    })
    .await?;
    let there = cluster.registry(2)?;
    let list = there.get("/v2/wan/cancelled/tags/list").send().await?;
    ensure!(list.status == 404, "the repository is there: {}", list.what);
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_layer_without_an_image_shows_nowhere_until_there_is_one() -> Result<()> {
    let cluster = two_regions(1).await?;
    let wan = Wan::between(&cluster, (US, EU), ROUND_TRIP, None)?;
    let before = wan.there_bytes();
    let image = image_of_one_layer(4);
    let (source, there) = (cluster.registry(1)?, cluster.registry(2)?);
    step("push its blobs alone", async {
        for blob in &image.blobs {
            source.push_blob("wan/layers", blob).await?;
        }
        under_way(&wan, before, LAYER_BYTES as u64).await
    })
    .await?;
    let hidden = async || {
        let list = there.get("/v2/wan/layers/tags/list").send().await?;
        ensure!(list.status == 404, "the repository is there: {}", list.what);
        let catalog = there.get("/v2/_catalog").send().await?;
        let catalog = String::from_utf8_lossy(&catalog.body).into_owned();
        ensure!(!catalog.contains("wan/layers"), "{catalog}");
        for blob in &image.blobs {
            let path = format!("/v2/wan/layers/blobs/{}", blob.digest);
            let found = there.head(&path).send().await?;
            ensure!(found.status == 404, "a blob is there: {}", found.what);
        }
        Ok(())
    };
    step("nothing shows there", hidden()).await?;
    step("its image", async {
        source
            .put_manifest("wan/layers", "v1", &image.manifest)
            .await?;
        arrived(&cluster, "wan/layers", "v1", &image).await
    })
    .await?;
    sent_once(&wan, before)?;
    cluster.finish().await
}
