//! What was there before a rule: counted, copied, brought back where a destination has
//! lost it, and gone on with when the node that drives it dies.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use entrepot_harness::{Admin, Cluster, Image, Registry, wait_until};
use serde_json::Value;

use crate::support::{EU, REPLICATED, US, step, two_regions};

const REPOSITORIES: u64 = 6;
const IMAGES: u64 = 10;
const LAYER_BYTES: usize = 3_000;
const SOON: Duration = Duration::from_mins(1);

fn repository(nth: u64) -> String {
    format!("old/app-{nth}")
}

fn image(nth: u64, number: u64) -> Image {
    Image::random(1_000 * nth + number, 2, LAYER_BYTES)
}

/// Images of several repositories, the first of each under two tags.
async fn push_all(source: &Registry) -> Result<()> {
    for nth in 0..REPOSITORIES {
        for number in 0..IMAGES {
            let (name, image) = (repository(nth), image(nth, number));
            source
                .push_image(&name, &format!("v{number}"), &image)
                .await?;
            if number == 0 {
                source
                    .put_manifest(&name, "stable", &image.manifest)
                    .await?;
            }
        }
    }
    Ok(())
}

async fn verify_all(there: &Registry) -> Result<()> {
    for nth in 0..REPOSITORIES {
        for number in 0..IMAGES {
            let (name, image) = (repository(nth), image(nth, number));
            there
                .verify_image(&name, &format!("v{number}"), &image)
                .await?;
        }
        let stable = image(nth, 0);
        there
            .verify_image(&repository(nth), "stable", &stable)
            .await?;
    }
    Ok(())
}

/// Waits until the newest backfill is over.
async fn over(admin: &Admin) -> Result<Value> {
    wait_until("the backfill to be over", REPLICATED, async || {
        let found = admin.list(&["backfill", "list"], "backfills").await?;
        let newest = found.first().context("a backfill")?;
        let is_over = !newest["ended_at_ms"].is_null();
        Ok(is_over.then(|| newest.clone()))
    })
    .await
}

fn complete(backfill: &Value) -> Result<()> {
    let all = REPOSITORIES * (IMAGES + 1);
    ensure!(
        backfill["state"] == "complete"
            && backfill["completed"] == all
            && backfill["total"] == all
            && backfill["failed"] == 0,
        "{backfill}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_is_copied_and_what_was_lost_comes_back() -> Result<()> {
    let cluster = Cluster::builder()
        .regions([US, EU])
        .nodes(1)
        .start()
        .await?;
    let (source, admin) = (cluster.registry(1)?, cluster.admin(1)?);
    let there = cluster.registry(2)?;
    step("images, then a rule", async {
        push_all(&source).await?;
        admin.put_rule("to-europe", EU, Some("old/")).await?;
        ensure!(
            admin.tasks(None).await?.is_empty(),
            "the rule copies nothing old"
        );
        Ok(())
    })
    .await?;
    step("a dry run counts, and copies nothing", async {
        let start = ["backfill", "start", "--to", EU, "--dry-run"];
        let would = admin.json(&start).await?["would_copy"].clone();
        ensure!(would["images"] == REPOSITORIES * (IMAGES + 1), "{would}");
        let least = REPOSITORIES * IMAGES * 2 * LAYER_BYTES as u64;
        let bytes = would["bytes"].as_u64().unwrap_or_default();
        ensure!((least..2 * least).contains(&bytes), "{bytes} bytes");
        ensure!(
            admin
                .list(&["backfill", "list"], "backfills")
                .await?
                .is_empty()
        );
        Ok(())
    })
    .await?;
    step("everything goes there", async {
        admin.run(&["backfill", "start", "--to", EU]).await?;
        complete(&over(&admin).await?)?;
        verify_all(&there).await
    })
    .await?;
    step("a destination that lost it gets it back", async {
        let lost = cluster.admin(2)?;
        for nth in 0..REPOSITORIES {
            let name = repository(nth);
            lost.run(&["repository", "delete", &name, "--force", "--yes"])
                .await?;
        }
        admin.run(&["backfill", "start", "--to", EU]).await?;
        complete(&over(&admin).await?)?;
        verify_all(&there).await
    })
    .await?;
    step("the status and the metrics tell the lag", async {
        let status = ["replication", "status", "--rule", "to-europe"];
        let rules = admin.list(&status, "rules").await?;
        let rule = rules.first().context("the rule")?;
        ensure!(
            rule["pending"] == 0 && rule["lag_p99_ms"].is_u64(),
            "{rule}"
        );
        admin
            .run(&["replication", "wait", "old/app-1:stable"])
            .await?;
        let metrics = cluster.node(1)?.metrics().await?;
        for name in [
            "entrepot_replication_lag_seconds_bucket{",
            "entrepot_replication_in_flight 0",
        ] {
            ensure!(metrics.contains(name), "no {name} in {metrics}");
        }
        Ok(())
    })
    .await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rule_that_asks_for_it_is_filled_though_nodes_die() -> Result<()> {
    let mut cluster = two_regions().await?;
    let source = cluster.registry(1)?;
    step("images", push_all(&source)).await?;
    let admin = cluster.admin(2)?;
    step("a rule with --backfill", async {
        let put = [
            "rule",
            "put",
            "filled",
            "--to",
            EU,
            "--prefix",
            "old/",
            "--backfill",
        ];
        admin.run(&put).await?;
        // Pushes go on meanwhile: the newest stays.
        let newest = Image::random(7, 1, LAYER_BYTES);
        source.push_image("old/app-0", "moved", &newest).await?;
        Ok(())
    })
    .await?;
    step("nodes of both regions are killed meanwhile", async {
        wait_until("it has begun", SOON, async || {
            let found = admin.list(&["backfill", "list"], "backfills").await?;
            Ok((!found.is_empty()).then_some(()))
        })
        .await?;
        cluster.kill9(1)?;
        cluster.kill9(4)?;
        cluster.start(&[1, 4]).await?;
        cluster.kill9(3)?;
        cluster.start(&[3]).await?;
        Ok(())
    })
    .await?;
    step("everything is there, once the tasks are done", async {
        let backfill = over(&admin).await?;
        ensure!(backfill["state"] == "complete", "{backfill}");
        let there = cluster.registry(5)?;
        verify_all(&there).await?;
        let newest = Image::random(7, 1, LAYER_BYTES);
        admin
            .wait_replicated(Some("old/app-0"), 1, REPLICATED)
            .await?;
        there.verify_image("old/app-0", "moved", &newest).await
    })
    .await?;
    cluster.finish().await
}
