//! A push into a repository with a synchronous rule is never acknowledged while
//! its destination lacks the image, wherever in the exchange the line is cut.

use std::time::Duration;

use anyhow::{Result, ensure};
use entrepot_harness::{Cluster, Image, Link, Random, Registry, Wan, wait_until};

use crate::support::{EU, REPLICATED, US, step};

const ROUND_TRIP: Duration = Duration::from_millis(20);
/// An image takes about a tenth of a second, so that a cut can be placed in it.
const LINE_BYTES_PER_S: u64 = 1 << 20;
const LAYER_BYTES: usize = 64 * 1024;
/// Places at which a line is cut, in each direction and in both.
const PLACES: u64 = 6;
/// What the rule waits for.
const TIMEOUT: &str = "1s";
const LOOK: Duration = Duration::from_millis(1);
const REPOSITORY: &str = "wan/sync";

/// What of the line is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// What is sent does not get there.
    There,
    /// The answers do not come back.
    Back,
    Both,
}

/// A push, and where the line is cut in it.
struct Case<'a> {
    cluster: &'a Cluster,
    wan: &'a Wan,
    image: &'a Image,
    tag: &'a str,
    way: Way,
    /// Bytes that go there before.
    after_bytes: u64,
}

async fn two_regions() -> Result<Cluster> {
    let builder = Cluster::builder().regions([US, EU]).nodes(1).links(5);
    let cluster = builder.start().await?;
    let admin = cluster.admin(1)?;
    let rule = ["rule", "put", "sync", "--to", EU, "--synchronous"];
    let rule = [&rule[..], &["--synchronous-timeout", TIMEOUT]].concat();
    admin.run(&rule).await?;
    Ok(cluster)
}

fn set(cluster: &Cluster, way: Way, link: Link) -> Result<()> {
    let links = cluster.links()?;
    if way != Way::Back {
        links.set(1, 2, link);
    }
    if way != Way::There {
        links.set(2, 1, link);
    }
    Ok(())
}

/// The status of a push. Its blobs are here whatever the line does.
async fn push(source: &Registry, tag: &str, image: &Image) -> Result<u16> {
    for blob in &image.blobs {
        source.push_blob(REPOSITORY, blob).await?;
    }
    let reply = source
        .put(&format!("/v2/{REPOSITORY}/manifests/{tag}"))
        .header("content-type", &image.manifest.media_type)
        .body(image.manifest.content.clone())
        .send()
        .await?;
    ensure!(
        [201, 504].contains(&reply.status),
        "{}: {}",
        reply.what,
        String::from_utf8_lossy(&reply.body)
    );
    Ok(reply.status)
}

// === impl Case ===

impl Case<'_> {
    /// Whether the push was acknowledged.
    async fn run(&self) -> Result<bool> {
        let (source, there) = (self.cluster.registry(1)?, self.cluster.registry(2)?);
        let before = self.wan.there_bytes();
        let cut = async {
            let mut look = tokio::time::interval(LOOK);
            while self.wan.there_bytes() < before + self.after_bytes {
                look.tick().await;
            }
            set(self.cluster, self.way, Link::Cut)
        };
        let pushed = push(&source, self.tag, self.image);
        let status = {
            let mut pushed = std::pin::pin!(pushed);
            tokio::select! {
                status = &mut pushed => status?,
                cut = cut => {
                    cut?;
                    pushed.await?
                }
            }
        };
        // While the line is as it was when the answer came.
        if status == 201 {
            there.verify_image(REPOSITORY, self.tag, self.image).await?;
        }
        set(self.cluster, Way::Both, Link::Whole)?;
        wait_until("the same push is acknowledged", REPLICATED, async || {
            let status = push(&source, self.tag, self.image).await?;
            Ok((status == 201).then_some(()))
        })
        .await?;
        there.verify_image(REPOSITORY, self.tag, self.image).await?;
        Ok(status == 201)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acknowledged_that_the_destination_lacks() -> Result<()> {
    let cluster = two_regions().await?;
    let wan = Wan::between(&cluster, (US, EU), ROUND_TRIP, Some(LINE_BYTES_PER_S))?;
    let whole = Image::random(99, 1, LAYER_BYTES);
    let before = wan.there_bytes();
    step("a push while the line is whole", async {
        let status = push(&cluster.registry(1)?, "whole", &whole).await?;
        ensure!(status == 201, "not acknowledged");
        let there = cluster.registry(2)?;
        there.verify_image(REPOSITORY, "whole", &whole).await
    })
    .await?;
    let bytes = wan.there_bytes() - before;
    println!("  it took {bytes} bytes");
    let mut random = Random::new(5);
    let mut acknowledged = (0, 0);
    for way in [Way::There, Way::Back, Way::Both] {
        for place in 0..PLACES {
            let within = bytes / PLACES;
            let jitter = random.below(usize::try_from(within)?) as u64;
            let number = acknowledged.0 + acknowledged.1;
            let image = Image::random(100 + number, 1, LAYER_BYTES);
            let tag = format!("n{number}");
            let case = Case {
                cluster: &cluster,
                wan: &wan,
                image: &image,
                tag: &tag,
                way,
                after_bytes: place * within + jitter,
            };
            let yes = case.run().await?;
            println!("- {way:?} after {} bytes: {yes}", case.after_bytes);
            if yes {
                acknowledged.0 += 1;
            } else {
                acknowledged.1 += 1;
            }
        }
    }
    println!("  {} acknowledged, {} not", acknowledged.0, acknowledged.1);
    ensure!(acknowledged.1 >= PLACES, "most cuts came too late");
    cluster.finish().await
}
