//! Deleted images come back to the byte, by any node, until their time is over; then
//! their files go.

use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};
use entrepot_harness::{Cluster, Image, Index, Layout, Registry, wait_until};
use serde_json::{Value, json};

use crate::support::{US, step};

const REPOSITORY: &str = "team/app";
/// What nothing needs any more goes soon.
const UNREFERENCED_AFTER_S: u64 = 1;
const GONE: Duration = Duration::from_mins(1);

async fn listed(cluster: &Cluster, node: u64) -> Result<Vec<Value>> {
    let list = ["image", "list", REPOSITORY, "--deleted"];
    cluster.admin(node)?.list(&list, "deleted").await
}

async fn delete(registry: &Registry, reference: &str) -> Result<()> {
    let path = format!("/v2/{REPOSITORY}/manifests/{reference}");
    registry.delete(&path).send().await?.expect(202)?;
    Ok(())
}

async fn is_gone(registry: &Registry, reference: &str) -> Result<()> {
    let path = format!("/v2/{REPOSITORY}/manifests/{reference}");
    registry.get(&path).send().await?.expect(404)?;
    Ok(())
}

async fn push_by_skopeo(cluster: &Cluster, image: &Image) -> Result<()> {
    let folder = cluster.scratch("layout")?;
    let mut layout = Layout::create(&folder)?;
    layout.add_image("one", image)?;
    let address = cluster.node(1)?.client_address();
    let name = format!("{address}/{REPOSITORY}:v1");
    cluster.skopeo().push(layout.folder(), "one", &name).await?;
    Ok(())
}

/// Whether a node has a file of its layers.
fn has_files(cluster: &Cluster, image: &Image) -> Result<bool> {
    for id in cluster.ids() {
        // The config is so small that it has no file.
        for layer in &image.blobs[1..] {
            if cluster.node(id)?.blob_file(&layer.digest)?.exists() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Moves `tag` from one image to the next, and back to what it was; when that was.
async fn set_back(cluster: &Cluster, tag: &str, [image, newer]: [&Image; 2]) -> Result<String> {
    let registry = cluster.registry(1)?;
    registry.push_image(REPOSITORY, "v2", image).await?;
    let history = ["tag", "history", tag];
    let moves = cluster.admin(2)?.list(&history, "moves").await?;
    ensure!(moves[0]["to"] == image.digest(), "{moves:?}");
    ensure!(moves[0]["reason"] == "push", "{moves:?}");
    let at_ms = moves[0]["at_ms"].as_u64().unwrap_or_default();
    let then = SystemTime::UNIX_EPOCH + Duration::from_millis(at_ms);
    let then = humantime::format_rfc3339_millis(then).to_string();
    registry.push_image(REPOSITORY, "v2", newer).await?;
    delete(&registry, image.digest()).await?;
    let restore = ["tag", "restore", tag, "--at", &then];
    let dry = [&restore[..], &["--dry-run"]].concat();
    let planned = cluster.admin(2)?.json(&dry).await?;
    is_gone(&registry, image.digest()).await?;
    let back = cluster.admin(3)?.json(&restore).await?;
    for told in [&planned, &back] {
        ensure!(told["digest"] == image.digest(), "{told}");
        ensure!(told["previous"] == newer.digest(), "{told}");
        ensure!(told["image_restored"] == true, "{told}");
    }
    let other = cluster.registry(2)?;
    other.verify_image(REPOSITORY, "v2", image).await?;
    // Once more, as who heard no answer.
    let again = cluster.admin(1)?.json(&restore).await?;
    ensure!(again["previous"] == image.digest(), "{again}");
    let moves = cluster.admin(1)?.list(&history, "moves").await?;
    ensure!(moves.len() == 3, "{moves:?}");
    ensure!(moves[0]["reason"] == "restore", "{moves:?}");
    let early = ["tag", "restore", tag, "--at", "2001-01-01T00:00:00Z"];
    let early = cluster.admin(1)?.try_run(&early).await?.failure()?;
    let told = &early.stderr;
    ensure!(told.contains("nothing is known"), "{told}");
    // As it was for what follows.
    delete(&registry, "v2").await?;
    registry.push_image(REPOSITORY, "v1", image).await?;
    Ok(then)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_image_comes_back_until_its_time_is_over() -> Result<()> {
    let cluster = Cluster::builder()
        .regions([US])
        .nodes(3)
        .storage("unreferenced_after_s", UNREFERENCED_AFTER_S)
        .start()
        .await?;
    let (image, newer) = (Image::random(1, 2, 100_000), Image::random(2, 1, 50_000));
    push_by_skopeo(&cluster, &image).await?;
    let registry = cluster.registry(1)?;

    step("what was deleted is told of, and not served", async {
        delete(&registry, image.digest()).await?;
        is_gone(&cluster.registry(2)?, image.digest()).await?;
        is_gone(&cluster.registry(3)?, "v1").await?;
        let deleted = listed(&cluster, 2).await?;
        ensure!(deleted.len() == 1, "{deleted:?}");
        ensure!(deleted[0]["digest"] == image.digest(), "{deleted:?}");
        ensure!(deleted[0]["tags"] == json!(["v1"]), "{deleted:?}");
        ensure!(deleted[0]["reason"] == "client", "{deleted:?}");
        let usage = cluster.admin(3)?.json(&["usage"]).await?;
        ensure!(usage["restorable"]["images"] == 1, "{usage}");
        let kept = usage["restorable"]["unique_bytes"].as_u64();
        ensure!(kept.is_some_and(|bytes| bytes > 200_000), "{usage}");
        Ok(())
    })
    .await?;
    step("it comes back by its tag, whole, at every node", async {
        let restore = ["image", "restore", &format!("{REPOSITORY}:v1")];
        let back = cluster.admin(3)?.json(&restore).await?;
        ensure!(back["digest"] == image.digest(), "{back}");
        ensure!(back["tags"] == json!(["v1"]), "{back}");
        for id in cluster.ids() {
            let registry = cluster.registry(id)?;
            registry.verify_image(REPOSITORY, "v1", &image).await?;
        }
        ensure!(listed(&cluster, 1).await?.is_empty(), "it is listed still");
        let again = cluster.admin(1)?.try_run(&restore).await?.failure()?;
        ensure!(again.stderr.contains("had the tag"), "{}", again.stderr);
        Ok(())
    })
    .await?;
    let tag = format!("{REPOSITORY}:v2");
    let mut then = String::new();
    step("a tag goes back to what it was", async {
        then = set_back(&cluster, &tag, [&image, &newer]).await?;
        Ok(())
    })
    .await?;
    step("a tag that has moved on stays", async {
        delete(&registry, image.digest()).await?;
        registry.push_image(REPOSITORY, "v1", &newer).await?;
        let which = format!("{REPOSITORY}@{}", image.digest());
        let back = cluster
            .admin(2)?
            .json(&["image", "restore", &which])
            .await?;
        ensure!(back["tags_kept"] == json!(["v1"]), "{back}");
        let registry = cluster.registry(3)?;
        registry.verify_image(REPOSITORY, "v1", &newer).await?;
        registry
            .verify_image(REPOSITORY, image.digest(), &image)
            .await
    })
    .await?;
    step("an index comes back with its images", async {
        let index = Index::random(7);
        let registry = cluster.registry(2)?;
        registry.push_index(REPOSITORY, "all", &index).await?;
        delete(&registry, &index.manifest.digest).await?;
        for image in &index.images {
            delete(&registry, image.digest()).await?;
        }
        let restore = ["image", "restore", &format!("{REPOSITORY}:all")];
        let back = cluster.admin(1)?.json(&restore).await?;
        ensure!(back["images"] == 1 + index.images.len() as u64, "{back}");
        let registry = cluster.registry(3)?;
        registry.verify_index(REPOSITORY, "all", &index).await
    })
    .await?;
    step("one whose time is over goes with its files", async {
        let set = ["registry", "set", "--undelete-window", "2s"];
        let shown = cluster.admin(1)?.json(&set).await?;
        ensure!(shown["undelete_window_s"] == 2, "{shown}");
        delete(&registry, image.digest()).await?;
        let gone = async || Ok(listed(&cluster, 3).await?.is_empty().then_some(()));
        wait_until("it cannot be restored", GONE, gone).await?;
        let which = format!("{REPOSITORY}@{}", image.digest());
        let late = ["image", "restore", &which];
        cluster.admin(2)?.try_run(&late).await?.failure()?;
        let late = ["tag", "restore", &tag, "--at", &then];
        let late = cluster.admin(3)?.try_run(&late).await?.failure()?;
        ensure!(late.stderr.contains("gone for good"), "{}", late.stderr);
        let gone = async || Ok((!has_files(&cluster, &image)?).then_some(()));
        wait_until("its files are gone", GONE, gone).await
    })
    .await?;
    cluster.finish().await
}
