//! What disks hold is held against what the records say, and what collection would free
//! against what it does free: both by the admin CLI, on real nodes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Admin, Blob, Cluster, Image, Node, Random, digest_of, media, wait_until};
use serde_json::Value;

use crate::support::{US, step};

const NODES: u64 = 3;
/// Whose disk is tampered with.
const BAD: u64 = 2;
const LAYER_BYTES: usize = 300 << 10;
/// For copies to be made, and collection to begin.
const SETTLED: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_tells_what_is_wrong_and_mends_it() -> Result<()> {
    let cluster = Cluster::builder().regions([US]).nodes(3).start().await?;
    let (registry, admin) = (cluster.registry(1)?, cluster.admin(1)?);
    let image = Image::random(1, 3, LAYER_BYTES);
    registry.push_image("team/app", "1.0", &image).await?;
    let unnamed = Blob::new(media::LAYER, Random::new(2).bytes(LAYER_BYTES));
    registry.push_blob("team/app", &unnamed).await?;
    let bad = cluster.node(BAD)?;
    let (missing, cut) = (&image.blobs[1], &image.blobs[2]);
    let orphan = Random::new(3).bytes(LAYER_BYTES);
    let orphan_file = bad.blob_file(&digest_of(&orphan))?;

    step("a region that is whole has no findings", async {
        settled(&admin).await?;
        let found = check(&admin, &[]).await?;
        ensure!(found["manifests"] == 1, "{found}");
        let looked_at = found["nodes"].as_array().map_or(0, Vec::len);
        ensure!(looked_at as u64 == NODES, "{found}");
        Ok(())
    })
    .await?;

    step(
        "what was done to a disk is found, and nothing else",
        async {
            // Repair would find two of the three by itself, a minute after its last look.
            after_a_repair(&admin).await?;
            fs::remove_file(bad.blob_file(&missing.digest)?)?;
            let file = fs::File::options()
                .write(true)
                .open(bad.blob_file(&cut.digest)?)?;
            file.set_len(1_000)?;
            fs::write(&orphan_file, &orphan)?;
            // What was written just now may belong to a push: it stays for an hour.
            let long_ago = SystemTime::now() - Duration::from_hours(2);
            let file = fs::File::options().write(true).open(&orphan_file)?;
            file.set_modified(long_ago)?;
            let found = check(&admin, &[]).await?;
            let expected = [
                ("missing", missing.digest.as_str(), Some(2)),
                ("orphan", &digest_of(&orphan), None),
                ("wrong_size", &cut.digest, Some(2)),
            ];
            ensure!(
                found["findings"].as_array().map(Vec::len) == Some(3),
                "{found}"
            );
            for (kind, digest, copies) in expected {
                let finding = finding(&found, kind)?;
                ensure!(finding["node"] == BAD, "{finding}");
                ensure!(finding["digest"] == digest, "{finding}");
                ensure!(finding["copies"].as_u64() == copies, "{finding}");
                ensure!(finding["mended"] == false, "{finding}");
            }
            let failed = admin.try_run(&["check"]).await?;
            ensure!(failed.code == Some(1), "{failed:?}");
            Ok(())
        },
    )
    .await?;

    step("a repair mends it", async {
        let found = check(&admin, &["--repair"]).await?;
        ensure!(found["mended"] == 3, "{found}");
        for blob in [missing, cut] {
            let content = fs::read(bad.blob_file(&blob.digest)?)?;
            ensure!(
                digest_of(&content) == blob.digest,
                "{} is wrong",
                blob.digest
            );
        }
        wait_until("the orphan is gone", SETTLED, async || {
            Ok((!orphan_file.exists()).then_some(()))
        })
        .await?;
        let found = check(&admin, &[]).await?;
        ensure!(found["findings"] == Value::Array(Vec::new()), "{found}");
        registry.verify_image("team/app", "1.0", &image).await
    })
    .await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dry_run_tells_is_what_a_run_frees() -> Result<()> {
    let cluster = Cluster::builder().regions([US]).nodes(3).start().await?;
    let (registry, admin) = (cluster.registry(1)?, cluster.admin(1)?);
    // What is deleted need not be kept to be restored.
    admin
        .run(&["registry", "set", "--undelete-window", "0"])
        .await?;
    let image = Image::random(1, 3, LAYER_BYTES);
    registry.push_image("team/app", "1.0", &image).await?;
    registry.push_image("team/app", "latest", &image).await?;
    // One layer is in another repository as well, whose image stays.
    let shared = image.blobs[1].clone();
    let other = Image::of(
        media::MANIFEST,
        Blob::new(
            media::CONFIG,
            "{\"architecture\":\"amd64\",\"os\":\"linux\"}",
        ),
        vec![shared.clone()],
    );
    registry.push_image("team/other", "1.0", &other).await?;
    let unnamed = Blob::new(media::LAYER, Random::new(2).bytes(LAYER_BYTES));
    registry.push_blob("team/app", &unnamed).await?;
    settled(&admin).await?;
    let size = |blob: &Blob| blob.content.len() as u64;
    let all: u64 = image.blobs.iter().map(size).sum();

    step("a look at a deletion deletes nothing", async {
        let by_tag = ["image", "delete", "team/app:1.0", "--dry-run"];
        let tag = admin.json(&by_tag).await?;
        ensure!(tag["manifests"] == Value::Array(Vec::new()), "{tag}");
        let by_digest = format!("team/app@{}", image.digest());
        let found = admin
            .json(&["image", "delete", &by_digest, "--dry-run"])
            .await?;
        ensure!(
            found["tags"] == serde_json::json!(["1.0", "latest"]),
            "{found}"
        );
        ensure!(found["blob_bytes"] == all, "{found}");
        ensure!(found["unique_bytes"] == all - size(&shared), "{found}");
        registry.verify_image("team/app", "1.0", &image).await?;
        let deleted = admin
            .json(&["image", "delete", &by_digest, "--yes"])
            .await?;
        ensure!(
            deleted["unique_bytes"] == found["unique_bytes"],
            "{deleted}"
        );
        Ok(())
    })
    .await?;

    step("a run frees what was told", async {
        // All that nothing names waits for a day.
        let told = admin.json(&["gc", "run", "--dry-run"]).await?;
        ensure!(
            told["now"]["links"] == 0 && told["later"]["links"] == 5,
            "{told}"
        );
        let now = ["gc", "run", "--older-than", "0s"];
        let told = admin.json(&[&now[..], &["--dry-run"]].concat()).await?;
        let before = on_disks(&cluster)?;
        let run = admin.json(&[&now[..], &["--yes"]].concat()).await?;
        for what in ["links", "blobs", "bytes"] {
            ensure!(told["now"][what] == run[what], "{what}: {told} {run}");
        }
        let freed = all - size(&shared) + size(&unnamed);
        ensure!(run["bytes"] == freed, "{run}, {freed}");
        ensure!(run["files_pending"] == 0, "{run}");
        let after = on_disks(&cluster)?;
        let gone = before - after;
        ensure!(told["now"]["file_bytes"] == gone, "{told}, {gone} are gone");
        let told = admin.json(&[&now[..], &["--dry-run"]].concat()).await?;
        ensure!(
            told["now"]["links"] == 0 && told["later"]["links"] == 0,
            "{told}"
        );
        let status = admin.json(&["gc", "status"]).await?;
        ensure!(status["links_waiting"] == 0, "{status}");
        registry.verify_image("team/other", "1.0", &other).await?;
        check(&admin, &[]).await.map(drop)
    })
    .await?;
    cluster.finish().await
}

/// Its JSON, whatever it finds.
async fn check(admin: &Admin, options: &[&str]) -> Result<Value> {
    let arguments = [&["check", "--json"], options].concat();
    let checked = admin.try_run(&arguments).await?;
    let found: Value =
        serde_json::from_str(&checked.stdout).with_context(|| format!("no JSON: {checked:?}"))?;
    let findings = found["findings"].as_array().context("no findings")?;
    let is_left = |finding: &&Value| finding["mended"] == false;
    let left = findings.iter().filter(is_left).count();
    let code = Some(i32::from(left > 0));
    ensure!(checked.code == code, "{checked:?}");
    Ok(found)
}

fn finding<'a>(found: &'a Value, kind: &str) -> Result<&'a Value> {
    let findings = found["findings"].as_array().context("no findings")?;
    let finding = findings.iter().find(|it| it["kind"] == kind);
    finding.with_context(|| format!("nothing is {kind}: {found}"))
}

/// Waits until all copies are there, and collection has begun.
async fn settled(admin: &Admin) -> Result<()> {
    wait_until("the region is whole", SETTLED, async || {
        let status = admin.json(&["gc", "status"]).await?;
        ensure!(status["walked"] == true, "{status}");
        let found = check(admin, &[]).await?;
        let is_whole = found["findings"] == Value::Array(Vec::new());
        Ok(is_whole.then_some(()))
    })
    .await
}

/// Waits until the bad node has just looked at all its copies.
async fn after_a_repair(admin: &Admin) -> Result<()> {
    let looked = async || -> Result<Option<i64>> {
        let nodes = admin.list(&["repair", "status"], "nodes").await?;
        let bad = nodes.iter().find(|node| node["node"] == BAD);
        Ok(bad.context("no such node")?["whole_at_ms"].as_i64())
    };
    let first = looked().await?;
    wait_until("a repair ends", SETTLED, async || {
        Ok((looked().await? != first).then_some(()))
    })
    .await
}

/// Bytes of all blobs on all disks.
fn on_disks(cluster: &Cluster) -> Result<u64> {
    let mut bytes = 0;
    for id in cluster.ids() {
        bytes += blob_bytes(cluster.node(id)?)?;
    }
    Ok(bytes)
}

fn blob_bytes(node: &Node) -> Result<u64> {
    let mut bytes = 0;
    for shard in files_of(&node.data().join("blobs").join("sha256"))? {
        for file in files_of(Path::new(&shard))? {
            bytes += fs::metadata(file)?.len();
        }
    }
    Ok(bytes)
}

fn files_of(folder: &Path) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(folder)?;
    let names = entries.map(|entry| Ok(entry?.path().display().to_string()));
    names.collect()
}
