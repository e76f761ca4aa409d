//! Clients pull at a destination what has not been sent there yet, over a slow line,
//! and while the source dies.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use entrepot_harness::{Blob, Cluster, Image, Podman, Random, Registry, Wan, media, wait_until};
use futures::future::try_join_all;

use crate::support::{EU, REPLICATED, US, step};

const MIB: usize = 1 << 20;
const LAYER_BYTES: usize = 8 * MIB;
const LINE_BYTES_PER_S: u64 = 4 * MIB as u64;
const ROUND_TRIP: Duration = Duration::from_millis(40);
const RAW_READERS: usize = 6;
const SOON: Duration = Duration::from_mins(1);
/// What the line carries besides: the nodes' talk and TLS.
const BESIDES_BYTES: u64 = MIB as u64;
const REPOSITORY: &str = "through/app";

/// Images of before the rule: nothing sends them but pulls.
async fn two_regions(images: &[(&str, &Image)]) -> Result<Cluster> {
    let builder = Cluster::builder().regions([US, EU]).nodes(2).links(11);
    let cluster = builder.start().await?;
    let source = cluster.registry(1)?;
    for (tag, image) in images {
        source.push_image(REPOSITORY, tag, image).await?;
    }
    let rule = ["rule", "put", "through", "--to", EU, "--read-through"];
    let rule = [&rule[..], &["--tag", "v*", "--prefix", "through/"]].concat();
    cluster.admin(2)?.run(&rule).await?;
    Ok(cluster)
}

fn image(seed: u64) -> Image {
    let layer = Blob::new(media::LAYER, Random::new(seed).bytes(LAYER_BYTES));
    let config = format!("{{\"architecture\":\"amd64\",\"os\":\"linux\",\"author\":\"{seed}\"}}");
    Image::of(
        media::MANIFEST,
        Blob::new(media::CONFIG, config),
        vec![layer],
    )
}

/// Waits until a node of the destination knows what it may read through.
async fn offered(there: &Registry, tag: &str) -> Result<()> {
    let path = format!("/v2/{REPOSITORY}/manifests/{tag}");
    wait_until("the destination to know of the rule", SOON, async || {
        Ok((there.head(&path).send().await?.status == 200).then_some(()))
    })
    .await
}

/// Copies what was there before the rule.
async fn fill(cluster: &Cluster) -> Result<()> {
    let admin = cluster.admin(1)?;
    admin.run(&["backfill", "start", "--to", EU]).await?;
    wait_until("the backfill to be over", REPLICATED, async || {
        let found = admin.list(&["backfill", "list"], "backfills").await?;
        let newest = found.first().context("a backfill")?;
        ensure!(newest["state"] != "failed", "{newest}");
        Ok((newest["state"] == "complete").then_some(()))
    })
    .await
}

fn layer(image: &Image) -> &Blob {
    &image.blobs[1]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_pull_an_image_by_one_transfer() -> Result<()> {
    let image = Image::random(1, 1, LAYER_BYTES);
    let hidden = Image::random(2, 1, 10_000);
    let cluster = two_regions(&[("v1", &image), ("internal", &hidden)]).await?;
    let there = [3, 4].map(|id| cluster.registry(id));
    let there = there.into_iter().collect::<Result<Vec<_>>>()?;
    let wan = Wan::between(&cluster, (US, EU), ROUND_TRIP, Some(LINE_BYTES_PER_S))?;
    for registry in &there {
        offered(registry, "v1").await?;
    }
    let before = wan.there_bytes();
    step("skopeo, podman and others pull it at once", async {
        let podman = Podman::new(cluster.user(), cluster.password())?;
        let name = |nth: usize| format!("{}/{REPOSITORY}:v1", there[nth % 2].address());
        let skopeos = (0..3).map(async |nth| {
            let folder = cluster.scratch(&format!("skopeo-{nth}"))?;
            let pulled = cluster.skopeo().pull(&name(nth), &folder).await?;
            ensure!(pulled == image.digest(), "skopeo pulled {pulled}");
            Ok(())
        });
        let raw = (0..RAW_READERS).map(async |nth| {
            let blob = layer(&image);
            let (digest, size) = there[nth % 2].read_blob(REPOSITORY, &blob.digest).await?;
            ensure!(digest == blob.digest && size == blob.content.len() as u64);
            Ok(())
        });
        let by_podman = async {
            let id = podman.pull(&name(1), None).await?;
            ensure!(id == image.blobs[0].digest, "podman pulled {id}");
            Ok(())
        };
        let all = (try_join_all(skopeos), try_join_all(raw), by_podman);
        tokio::try_join!(all.0, all.1, all.2).map(drop)
    })
    .await?;
    let size = layer(&image).content.len() as u64;
    let carried = wan.there_bytes() - before;
    println!("  {carried} bytes went into the line for a layer of {size}");
    ensure!(carried < size + BESIDES_BYTES, "{carried} bytes");
    step("what the rule does not take is not served", async {
        let path = format!("/v2/{REPOSITORY}/manifests/internal");
        let reply = there[0].get(&path).send().await?;
        reply.expect_error(404, "MANIFEST_UNKNOWN").map(drop)
    })
    .await?;
    step("it is not sent again for the image", async {
        fill(&cluster).await?;
        there[1].verify_image(REPOSITORY, "v1", &image).await?;
        let carried = wan.there_bytes() - before;
        ensure!(carried < size + 2 * BESIDES_BYTES, "{carried} bytes");
        Ok(())
    })
    .await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_fails_clearly_when_the_source_dies_and_works_later() -> Result<()> {
    let image = image(3);
    let mut cluster = two_regions(&[("v1", &image)]).await?;
    let there = cluster.registry(3)?;
    let wan = Wan::between(&cluster, (US, EU), ROUND_TRIP, Some(LINE_BYTES_PER_S))?;
    offered(&there, "v1").await?;
    let name = format!("{}/{REPOSITORY}:v1", there.address());
    step("the source dies in the middle of two pulls", async {
        let before = wan.there_bytes();
        let raw = there.read_blob(REPOSITORY, &layer(&image).digest);
        let folder = cluster.scratch("broken")?;
        let skopeo = cluster.skopeo();
        let skopeo = skopeo.pull(&name, &folder);
        let dies = async {
            wait_until("a part of it to be on its way", SOON, async || {
                let carried = wan.there_bytes() - before;
                Ok((carried > LAYER_BYTES as u64 / 4).then_some(()))
            })
            .await
        };
        let ends = async { tokio::join!(raw, skopeo) };
        let mut ends = std::pin::pin!(ends);
        tokio::select! {
            begun = dies => begun?,
            early = &mut ends => anyhow::bail!("it was pulled before: {early:?}"),
        }
        for id in cluster.ids_in(US) {
            cluster.kill9(id)?;
        }
        let (raw, skopeo) = tokio::time::timeout(SOON, ends).await?;
        let raw = raw.err().context("a blob was read to its end")?;
        let raw = format!("{raw:#}");
        ensure!(raw.contains("broken off after"), "{raw}");
        let skopeo = skopeo.err().context("skopeo has pulled it")?;
        println!("  skopeo says: {skopeo:#}");
        Ok(())
    })
    .await?;
    step("then a pull is told that nobody can know", async {
        for path in [
            "manifests/v1".to_owned(),
            format!("blobs/{}", layer(&image).digest),
        ] {
            let path = format!("/v2/{REPOSITORY}/{path}");
            let reply = there.get(&path).send().await?.expect(503)?;
            let error = reply.first_error()?;
            println!("  {}: {error}", reply.what);
            ensure!(error["message"].as_str().is_some_and(|it| !it.is_empty()));
        }
        let inspected = cluster.skopeo().inspect(&name).await?;
        println!("  skopeo says: {}", inspected.failure()?.stderr.trim());
        Ok(())
    })
    .await?;
    step("when the source is back, it arrives", async {
        let ids = cluster.ids_in(US);
        cluster.start(&ids).await?;
        fill(&cluster).await?;
        for id in cluster.ids_in(EU) {
            cluster
                .registry(id)?
                .verify_image(REPOSITORY, "v1", &image)
                .await?;
        }
        Ok(())
    })
    .await?;
    cluster.finish().await
}
