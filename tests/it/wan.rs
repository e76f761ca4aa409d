//! Many pushes while the line between two regions breaks and nodes on both sides
//! are killed; then all is quiet, and both regions hold the same.

use std::time::Duration;

use anyhow::{Result, ensure};
use entrepot_harness::{Cluster, Image, Link, Random, Registry, Wan, wait_until};

use crate::support::{EU, US, step};

const IMAGES: u64 = 120;
const REPOSITORIES: u64 = 6;
const LAYER_BYTES: usize = 40_000;
/// Pushes between one trouble and the next.
const BETWEEN: u64 = 12;
const ATTEMPTS_MAX: usize = 40;
/// What clients wait before they try again.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
const QUIET: Duration = Duration::from_mins(3);
const SEED: u64 = 17;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regions_agree_after_cuts_and_kills() -> Result<()> {
    let builder = Cluster::builder().regions([US, EU]).nodes(3).links(SEED);
    let mut cluster = builder.start().await?;
    cluster.admin(1)?.put_rule("to-europe", EU, None).await?;
    let _wan = Wan::between(&cluster, (US, EU), Duration::from_millis(40), None)?;
    let images: Vec<Image> = (0..IMAGES)
        .map(|nth| Image::random(1_000 + nth, 1, LAYER_BYTES))
        .collect();
    let mut random = Random::new(SEED);
    let mut down = None;
    for (nth, image) in (0..).zip(&images) {
        if nth % BETWEEN == BETWEEN - 1 {
            trouble(&mut cluster, &mut random, &mut down).await?;
        }
        push(&cluster, nth, image, down).await?;
    }
    step("all is well again", async {
        set_line(&cluster, Link::Whole)?;
        if let Some(id) = down {
            cluster.start(&[id]).await?;
        }
        Ok(())
    })
    .await?;
    step("every task ends COMPLETE", async {
        let tasks = images.len() + usize::try_from(REPOSITORIES)?;
        let admin = cluster.admin(1)?;
        admin.wait_replicated(None, tasks, QUIET).await?;
        Ok(())
    })
    .await?;
    step("both regions hold the same", compared(&cluster, &images)).await?;
    cluster.finish().await
}

/// The line breaks or is cut, or is whole again; a node dies, after the last one
/// that did was started.
async fn trouble(cluster: &mut Cluster, random: &mut Random, down: &mut Option<u64>) -> Result<()> {
    if let Some(id) = down.take() {
        // It could not learn who leads the cluster.
        set_line(cluster, Link::Whole)?;
        cluster.start(&[id]).await?;
    }
    match random.below(4) {
        0 => set_line(cluster, Link::Cut)?,
        1 => set_line(cluster, Link::Breaks { one_in: 20 })?,
        2 => set_line(cluster, Link::Whole)?,
        _ => {
            let ids = cluster.ids();
            let id = ids[random.below(ids.len())];
            cluster.kill9(id)?;
            *down = Some(id);
        }
    }
    Ok(())
}

fn set_line(cluster: &Cluster, link: Link) -> Result<()> {
    let links = cluster.links()?;
    for from in cluster.ids_in(US) {
        for to in cluster.ids_in(EU) {
            links.set(from, to, link);
            links.set(to, from, link);
        }
    }
    Ok(())
}

/// Under a tag of its own, and under one that moves; as clients do, once more
/// through another node when that fails.
async fn push(cluster: &Cluster, nth: u64, image: &Image, down: Option<u64>) -> Result<()> {
    let repository = repository(nth);
    let mut ids = cluster.ids_in(US);
    ids.retain(|id| Some(*id) != down);
    let mut last = None;
    for attempt in 0..ATTEMPTS_MAX {
        let id = ids[(usize::try_from(nth)? + attempt) % ids.len()];
        let registry = cluster.registry(id)?;
        match push_once(&registry, &repository, nth, image).await {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no attempt")))
}

async fn push_once(registry: &Registry, repository: &str, nth: u64, image: &Image) -> Result<()> {
    let tag = format!("n{nth}");
    registry.push_image(repository, &tag, image).await?;
    registry
        .put_manifest(repository, "moving", &image.manifest)
        .await?;
    Ok(())
}

fn repository(nth: u64) -> String {
    format!("wan/r{}", nth % REPOSITORIES)
}

/// Tag for tag, and every image to the byte.
async fn compared(cluster: &Cluster, images: &[Image]) -> Result<()> {
    let (here, there) = (cluster.registry(1)?, cluster.registry(4)?);
    for nth in 0..REPOSITORIES {
        let path = format!("/v2/{}/tags/list", repository(nth));
        let ours = here.get(&path).send().await?.expect(200)?.body;
        wait_until("the tags are the same", QUIET, async || {
            let theirs = there.get(&path).send().await?;
            Ok((theirs.status == 200 && theirs.body == ours).then_some(()))
        })
        .await?;
        let moving = format!("/v2/{}/manifests/moving", repository(nth));
        let ours = here.get(&moving).send().await?.expect(200)?.body;
        let theirs = there.get(&moving).send().await?.expect(200)?.body;
        ensure!(ours == theirs, "{moving} differs");
    }
    for (nth, image) in (0..).zip(images) {
        let tag = format!("n{nth}");
        there.verify_image(&repository(nth), &tag, image).await?;
    }
    Ok(())
}
