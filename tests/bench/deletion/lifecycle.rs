//! What the policies of a repository with very many images cost the node.

use std::fs;

use anyhow::Result;
use entrepot_harness::{Blob, Cluster, Image, Registry, media};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Sizes;
use crate::cell::cell;
use crate::load;

const REPOSITORY: &str = "bench/policies";
const PUSHES_AT_ONCE: usize = 32;
/// Evaluations of each policy.
const RUNS: usize = 5;
/// For the command.
const TIMEOUT: &str = "5m";

pub(crate) async fn run(sizes: &Sizes) -> Result<String> {
    let cluster = Cluster::builder().nodes(1).start().await?;
    let registry = cluster.registry(1)?;
    fill(&registry, sizes.images).await?;
    let admin = cluster.admin(1)?;
    let file = cluster.scratch("policies")?.join("policy.json");
    let path = file.display().to_string();
    let mut lines = vec![
        format!(
            "- {} images in one repository, one tag each; the CPU is the node's alone, of \
             `entrepot lifecycle run`; no image is due; {RUNS} runs: median (least–most)",
            sizes.images
        ),
        String::new(),
        "| policy | CPU, s | elapsed, s |".to_owned(),
        "|---|---:|---:|".to_owned(),
    ];
    for (what, policy) in policies(sizes.images) {
        fs::write(&file, policy.to_string())?;
        let put = ["lifecycle", "put", REPOSITORY, "--file", &path, "--yes"];
        admin.run(&put).await?;
        let (mut cpu, mut elapsed) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let before = cluster.node(1)?.usage()?.cpu_s;
            let started = Instant::now();
            let run = [
                "lifecycle",
                "run",
                REPOSITORY,
                "--yes",
                "--timeout",
                TIMEOUT,
            ];
            admin.run(&run).await?;
            elapsed.push(started.elapsed().as_secs_f64());
            cpu.push(cluster.node(1)?.usage()?.cpu_s - before);
        }
        lines.push(format!("| {what} | {} | {} |", cell(&cpu), cell(&elapsed)));
    }
    cluster.finish().await?;
    Ok(lines.join("\n"))
}

/// Policies that let nothing go, so that what is measured is the evaluation.
fn policies(images: u64) -> [(&'static str, Value); 3] {
    let expire = |priority: u64, selection: Value| json!({"rulePriority": priority, "action": {"type": "expire"}, "selection": selection});
    let by_count = json!({"tagStatus": "any", "countType": "imageCountMoreThan",
        "countNumber": images + 1});
    let by_age = json!({"tagStatus": "any", "countType": "sinceImagePushed",
        "countUnit": "days", "countNumber": 30});
    let patterns = (1..=10).map(|nth| {
        let selection = json!({"tagStatus": "tagged", "tagPatternList": [format!("n*{}", nth - 1)],
            "countType": "imageCountMoreThan", "countNumber": images});
        expire(nth, selection)
    });
    [
        ("by count", json!({"rules": [expire(1, by_count)]})),
        ("by age", json!({"rules": [expire(1, by_age)]})),
        (
            "ten rules with patterns",
            json!({"rules": patterns.collect::<Vec<_>>()}),
        ),
    ]
}

async fn fill(registry: &Registry, images: u64) -> Result<()> {
    let layer = Blob::new(media::LAYER, "one layer for all");
    load::upload(registry, REPOSITORY, &layer).await?;
    let config = Blob::new(media::CONFIG, "{}");
    load::upload(registry, REPOSITORY, &config).await?;
    futures::stream::iter(0..images)
        .map(async |nth| {
            let mut manifest =
                Image::of(media::MANIFEST, config.clone(), vec![layer.clone()]).manifest_json()?;
            manifest["annotations"] = json!({"nth": nth.to_string()});
            let manifest = Blob::new(media::MANIFEST, manifest.to_string());
            let tag = format!("n{nth}");
            registry.put_manifest(REPOSITORY, &tag, &manifest).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(PUSHES_AT_ONCE)
        .try_collect()
        .await
}
