//! Webhooks of real nodes: what happens in either region is told by HTTP, signed,
//! and told on when the node that tells it dies.

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Cluster, Image, Received, Receiver};
use serde_json::Value;

use crate::support::{EU, US, step};

fn is(action: &'static str, tag: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["data"]["action-type"] == action && event["data"]["image-tag"] == tag
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_told_whichever_node_dies() -> Result<()> {
    let builder = Cluster::builder().regions([US, EU]).nodes(3);
    let mut cluster = builder.start().await?;
    let receiver = Receiver::start().await?;
    let (url, image) = (receiver.url(), Image::random(1, 1, 10_000));
    let mut secret = String::new();

    step(
        "a push is told, signed with the secret that was shown once",
        async {
            let put = ["webhook", "put", "ci", "--url", &url];
            let made = cluster.admin(1)?.json(&put).await?;
            made["secret"]
                .as_str()
                .context("no secret")?
                .clone_into(&mut secret);
            let again = cluster.admin(2)?.json(&put).await?;
            ensure!(again["secret"].is_null(), "{again}");
            let shown = cluster.admin(2)?.run(&["webhook", "list"]).await?;
            ensure!(!shown.contains(&secret), "{shown}");
            cluster
                .registry(3)?
                .push_image("hooks/app", "v1", &image)
                .await?;
            let told = receiver.first(is("PUSH", "v1")).await?;
            told.verify(&secret)?;
            let event = told.json()?;
            ensure!(event["specversion"] == "1.0", "{event}");
            ensure!(event["data"]["image-digest"] == image.digest(), "{event}");
            ensure!(event["data"]["repository-name"] == "hooks/app", "{event}");
            Ok(())
        },
    )
    .await?;
    step(
        "a message can be sent to see whether it gets through",
        async {
            cluster.admin(3)?.run(&["webhook", "test", "ci"]).await?;
            let test = receiver.first(|event| event["type"] == "entrepot.webhook.test");
            test.await?.verify(&secret)
        },
    )
    .await?;
    step("what arrives from the other region is told there", async {
        let there = cluster.ids_in(EU)[0];
        let put = [
            "webhook",
            "put",
            "arrivals",
            "--url",
            &url,
            "--event",
            "replicate",
        ];
        cluster.admin(there)?.run(&put).await?;
        let rule = ["rule", "put", "all", "--to", EU, "--prefix", "copied/"];
        cluster.admin(1)?.run(&rule).await?;
        cluster
            .registry(1)?
            .push_image("copied/app", "r1", &image)
            .await?;
        let told = receiver.first(is("REPLICATE", "r1")).await?;
        let event = told.json()?;
        ensure!(event["data"]["source-region"] == US, "{event}");
        Ok(())
    })
    .await?;
    for (round, victim) in cluster.ids_in(US).into_iter().enumerate() {
        let name = format!("the death of node {victim} loses no message");
        step(
            &name,
            dies(&mut cluster, &receiver, victim, round, &image, &secret),
        )
        .await?;
    }
    cluster.finish().await
}

async fn dies(
    cluster: &mut Cluster,
    receiver: &Receiver,
    victim: u64,
    round: usize,
    image: &Image,
    secret: &str,
) -> Result<()> {
    const TAGS: [[&str; 2]; 3] = [["a1", "a2"], ["b1", "b2"], ["c1", "c2"]];
    let [before, after] = TAGS[round];
    let here = cluster
        .ids_in(US)
        .into_iter()
        .find(|id| *id != victim)
        .context("alone")?;
    let registry = cluster.registry(here)?;
    registry.push_image("hooks/app", before, image).await?;
    cluster.kill9(victim)?;
    registry.push_image("hooks/app", after, image).await?;
    for tag in [before, after] {
        let told: Received = receiver.first(is("PUSH", tag)).await?;
        told.verify(secret)?;
    }
    // The first time each was told, they came in order.
    let place = |tag: &'static str| {
        let mut all = receiver.all().into_iter();
        all.position(|it| it.json().is_ok_and(|event| is("PUSH", tag)(&event)))
    };
    ensure!(place(before) < place(after), "told in another order");
    cluster.start(&[victim]).await
}
