//! The benchmark of access: what it costs to decide who may do what, how many
//! tokens a node gives out, and how long a page of a large repository takes over
//! ECR's API. Printed, never asserted.
//!
//! ```text
//! apt-get install wrk
//! cargo build --release -p entrepot-node -p entrepot-admin
//! cargo bench -p entrepot-tests --bench access             # about 5 minutes
//! cargo bench -p entrepot-tests --bench access -- --quick  # to see it run
//! ```
//!
//! One node, plain HTTP. Requests of AWS's protocols are signed by a crate of AWS
//! and sent by a client of this program, which shares the cores with the node; CPU
//! is the node's alone.

#[path = "../common/machine.rs"]
mod machine;
mod signed;
#[path = "../common/timed.rs"]
mod timed;
#[path = "../common/wrk.rs"]
mod wrk;

use std::time::Instant;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot_harness::{AwsAccount, Blob, Cluster, Image, Registry, usage};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use crate::signed::{Api, Client};
use crate::timed::timed;

const REPOSITORY: &str = "bench/access";
const CONNECTIONS: usize = 32;
const AT_ONCE: usize = 8;
const READ_ONLY: &str = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly";

/// How much is done.
#[derive(Debug)]
struct Sizes {
    rounds: usize,
    /// Of each load of reads.
    read_s: u64,
    tokens: usize,
    images: usize,
}

impl Sizes {
    const FULL: Self = Self {
        rounds: 5,
        read_s: 5,
        tokens: 20_000,
        images: 100_000,
    };
    const QUICK: Self = Self {
        rounds: 1,
        read_s: 1,
        tokens: 200,
        images: 300,
    };
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut sizes = Sizes::FULL;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => sizes = Sizes::QUICK,
            // What cargo passes to every benchmark.
            "--bench" => {}
            other => bail!("unknown argument {other}"),
        }
    }
    println!("{}", machine::lines());
    println!("- build: {}\n", machine::build());
    let cluster = Cluster::builder().nodes(1).start().await?;
    let account = AwsAccount::create(&cluster, "111122223333").await?;
    let endpoint = cluster.node(1)?.endpoint();
    let root = Client::new(&endpoint, &account.key_id, &account.secret)?;
    let pid = cluster.node(1)?.pid()?;

    decisions(&cluster, &root, pid, &sizes).await?;
    tokens(&root, pid, &sizes).await?;
    pages(&cluster, &root, &sizes).await?;
    cluster.finish().await
}

/// CPU of a manifest GET by callers about whom more and more has to be asked.
async fn decisions(cluster: &Cluster, root: &Client, pid: u32, sizes: &Sizes) -> Result<()> {
    let password = root.login().await?;
    let owner = cluster
        .registry(1)?
        .with_credentials(Some(("AWS", &password)));
    owner
        .push_image(REPOSITORY, "v1", &Image::random(1, 1, 4_096))
        .await?;
    let reader = root.user("reader", READ_ONLY).await?;
    let by_policy = reader.login().await?;
    let url = format!(
        "{}/v2/{REPOSITORY}/manifests/v1",
        cluster.node(1)?.endpoint()
    );
    let rows = [
        ("its owner, by a token", password.as_str(), None),
        ("a user with a managed policy", by_policy.as_str(), None),
        (
            "the same, and the repository has a policy",
            by_policy.as_str(),
            Some(json!({})),
        ),
        (
            "the same, with a condition on the address",
            by_policy.as_str(),
            Some(json!({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}})),
        ),
    ];
    let mut found = vec![Vec::new(); rows.len()];
    for _ in 0..sizes.rounds {
        for (row, (_, password, condition)) in rows.iter().enumerate() {
            root.set_policy(REPOSITORY, condition.as_ref()).await?;
            let login = format!("Basic {}", STANDARD.encode(format!("AWS:{password}")));
            let before = usage(pid)?.cpu_s;
            let seen = wrk::load(&url, Some(&login), CONNECTIONS, sizes.read_s, None).await?;
            let cpu_us = (usage(pid)?.cpu_s - before) / seen.requests * 1e6;
            found[row].push((cpu_us, seen.requests / seen.timed.took_s));
        }
    }
    println!(
        "| manifest GET by tag, {CONNECTIONS} connections | CPU, µs | requests/s |\n|---|---:|---:|"
    );
    for ((what, ..), found) in rows.iter().zip(found) {
        let (cpu, rate): (Vec<f64>, Vec<f64>) = found.into_iter().unzip();
        println!("| {what} | {:.1} | {:.0} |", median(cpu), median(rate));
    }
    Ok(())
}

async fn tokens(root: &Client, pid: u32, sizes: &Sizes) -> Result<()> {
    let before = usage(pid)?.cpu_s;
    let asked = (0..sizes.tokens).map(|_| root.ask(Api::Ecr, "GetAuthorizationToken", json!({})));
    let timed = timed(asked, CONNECTIONS).await?;
    #[allow(clippy::cast_precision_loss, reason = "some thousand")]
    let count = sizes.tokens as f64;
    let cpu_us = (usage(pid)?.cpu_s - before) / count * 1e6;
    println!(
        "\n| GetAuthorizationToken, {CONNECTIONS} connections | per s | p50, ms | p99, ms | CPU, µs |"
    );
    println!("|---|---:|---:|---:|---:|");
    let (p50, p99) = (timed.p50_ms, timed.p99_ms);
    println!(
        "| {} | {:.0} | {p50:.2} | {p99:.2} | {cpu_us:.0} |",
        sizes.tokens,
        count / timed.took_s
    );
    Ok(())
}

/// Pages of `DescribeImages`, wherever they begin.
async fn pages(cluster: &Cluster, root: &Client, sizes: &Sizes) -> Result<()> {
    let password = root.login().await?;
    let owner = cluster
        .registry(1)?
        .with_credentials(Some(("AWS", &password)));
    fill(&owner, sizes.images).await?;
    println!(
        "\n| DescribeImages of {} images | pages | p50, ms | p99, ms |\n|---|---:|---:|---:|",
        sizes.images
    );
    for size in [100, 1_000] {
        let mut took = Vec::new();
        let mut next = Value::Null;
        loop {
            let mut input = json!({"repositoryName": REPOSITORY, "maxResults": size});
            if !next.is_null() {
                input["nextToken"] = next;
            }
            let started = Instant::now();
            let page = root.ask(Api::Ecr, "DescribeImages", input).await?;
            took.push(started.elapsed().as_secs_f64() * 1e3);
            next = page["nextToken"].clone();
            if next.is_null() {
                break;
            }
        }
        took.sort_by(f64::total_cmp);
        let at = |percent: usize| took[(took.len() * percent).div_ceil(100).saturating_sub(1)];
        println!(
            "| pages of {size} | {} | {:.2} | {:.2} |",
            took.len(),
            at(50),
            at(99)
        );
    }
    Ok(())
}

async fn fill(owner: &Registry, images: usize) -> Result<()> {
    let image = Image::random(2, 1, 2_000);
    for blob in &image.blobs {
        owner.push_blob(REPOSITORY, blob).await?;
    }
    let manifest: Value = serde_json::from_slice(&image.manifest.content)?;
    futures::stream::iter(0..images)
        .map(|nth| {
            let mut manifest = manifest.clone();
            manifest["annotations"] = json!({"nth": nth.to_string()});
            let blob = Blob::new(&image.manifest.media_type, manifest.to_string());
            async move {
                owner
                    .put_manifest(REPOSITORY, &format!("build-{nth}"), &blob)
                    .await?;
                anyhow::Ok(())
            }
        })
        .buffer_unordered(AT_ONCE * 2)
        .try_collect::<()>()
        .await
        .context("fill a repository")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
