//! Two regions near each other and far from the source: what is copied to both
//! crosses the long line once.

use std::time::Duration;

use anyhow::{Result, ensure};
use entrepot_harness::{Blob, Cluster, Image, Random, Wan, media};

use crate::support::{EU, REPLICATED, US, step};

/// Near the other European one.
const EU_2: &str = "eu-west-2";
const MIB: usize = 1 << 20;
const LAYER_BYTES: usize = 6 * MIB;
const LAYERS: u64 = 3;
const FAR: Duration = Duration::from_millis(80);
const NEAR: Duration = Duration::from_millis(5);
/// Of what is pushed: TLS, the other calls and the nodes' talk come on top.
const PERCENT_MAX: u64 = 110;

fn image(seed: u64) -> Image {
    let layers = (0..LAYERS).map(|nth| {
        let content = Random::new(seed * LAYERS + nth).bytes(LAYER_BYTES);
        Blob::new(media::LAYER, content)
    });
    let config = Blob::new(media::CONFIG, format!("{{\"author\":\"{seed}\"}}"));
    Image::of(media::MANIFEST, config, layers.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn regions_near_each_other_get_bytes_once() -> Result<()> {
    let builder = Cluster::builder().regions([US, EU, EU_2]).nodes(1).links(9);
    let mut cluster = builder.start().await?;
    let rule = ["rule", "put", "both", "--to", EU, "--to", EU_2];
    let near = ["--near", "eu-west-1,eu-west-2"];
    let admin = cluster.admin(1)?;
    admin.run(&[&rule[..], &near[..]].concat()).await?;
    let far = [EU, EU_2].map(|there| Wan::between(&cluster, (US, there), FAR, None));
    let far: Vec<Wan> = far.into_iter().collect::<Result<_>>()?;
    let between = Wan::between(&cluster, (EU, EU_2), NEAR, None)?;
    let carried = || far.iter().map(Wan::there_bytes).sum::<u64>();
    let source = cluster.registry(1)?;
    let size = LAYERS * LAYER_BYTES as u64;

    step("an image crosses the long line once", async {
        let (before, near_before) = (carried(), between.there_bytes());
        let pushed = image(1);
        source.push_image("near/app", "v1", &pushed).await?;
        admin
            .wait_replicated(Some("near/app"), 2, REPLICATED)
            .await?;
        let (far, near) = (carried() - before, between.there_bytes() - near_before);
        println!("  {far} bytes from the source and {near} between the two, for {size}");
        ensure!(far <= size * PERCENT_MAX / 100, "{far} bytes");
        ensure!(near >= size, "only {near} bytes were passed on");
        for id in [2, 3] {
            let there = cluster.registry(id)?;
            there.verify_image("near/app", "v1", &pushed).await?;
        }
        Ok(())
    })
    .await?;
    step(
        "without the one, the other gets it from the source",
        async {
            cluster.kill9(2)?;
            let pushed = image(2);
            source.push_image("near/alone", "v1", &pushed).await?;
            let wait = ["replication", "wait", "near/alone:v1", "--region", EU_2];
            admin
                .run(&[&wait[..], &["--timeout", "25s"]].concat())
                .await?;
            let there = cluster.registry(3)?;
            there.verify_image("near/alone", "v1", &pushed).await?;
            cluster.start(&[2]).await?;
            admin.wait_replicated(None, 4, REPLICATED).await?;
            let there = cluster.registry(2)?;
            there.verify_image("near/alone", "v1", &pushed).await
        },
    )
    .await?;
    cluster.finish().await
}
