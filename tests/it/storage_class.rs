//! The archive by the command line client, with skopeo: what is there cannot be
//! pulled from any node until it is brought back.

use std::fs;

use anyhow::{Result, ensure};
use entrepot_harness::{Cluster, Image};
use serde_json::{Value, json};

use crate::support::{US, step};

const REPOSITORY: &str = "team/app";

/// The class of each tag.
fn classes(report: &Value) -> Vec<(String, String)> {
    let images = report["images"].as_array().into_iter().flatten();
    let mut classes: Vec<_> = images
        .filter_map(|image| {
            let tag = image["tags"][0].as_str()?.to_owned();
            Some((tag, image["storage_class"].as_str()?.to_owned()))
        })
        .collect();
    classes.sort();
    classes
}

/// Whether skopeo pulls a tag from each of the nodes.
async fn is_pulled(cluster: &Cluster, tag: &str) -> Result<bool> {
    let mut pulled = Vec::new();
    for id in cluster.ids() {
        let from = format!("{}/{REPOSITORY}:{tag}", cluster.registry(id)?.address());
        let folder = cluster.scratch(&format!("pulled-{tag}-{id}"))?;
        let result = cluster.skopeo().pull(&from, &folder).await;
        if let Err(error) = &result {
            let text = format!("{error:#}");
            ensure!(text.contains("in the archive"), "{text}");
        }
        pulled.push(result.is_ok());
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    ensure!(pulled.iter().all(|it| *it == pulled[0]), "{pulled:?}");
    Ok(pulled[0])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_archive_is_pulled_from_no_node() -> Result<()> {
    let cluster = Cluster::builder().regions([US]).nodes(2).start().await?;
    let admin = cluster.admin(1)?;
    for (tag, seed) in [("v1", 1), ("v2", 2)] {
        let image = Image::random(seed, 1, 1_000);
        let registry = cluster.registry(1)?;
        registry.push_image(REPOSITORY, tag, &image).await?;
    }
    let image = format!("{REPOSITORY}:v1");

    step("an image goes into the archive and comes back", async {
        ensure!(is_pulled(&cluster, "v1").await?);
        let moved = admin.json(&["image", "archive", &image]).await?;
        ensure!(moved["moved"] == 1, "{moved}");
        ensure!(!is_pulled(&cluster, "v1").await?);
        ensure!(is_pulled(&cluster, "v2").await?);
        let other = cluster.admin(2)?;
        let listed = other.json(&["image", "list", REPOSITORY]).await?;
        let listed = classes(&listed);
        let expected = [("v1", "ARCHIVE"), ("v2", "STANDARD")];
        ensure!(
            listed == expected.map(|(tag, class)| (tag.to_owned(), class.to_owned())),
            "{listed:?}"
        );
        let usage = other.json(&["usage"]).await?;
        ensure!(usage["total"][1]["storage_class"] == "ARCHIVE", "{usage}");
        ensure!(usage["total"][1]["images"] == 1, "{usage}");
        let moved = other.json(&["image", "activate", &image]).await?;
        ensure!(moved["storage_class"] == "STANDARD", "{moved}");
        ensure!(is_pulled(&cluster, "v1").await?);
        Ok(())
    })
    .await?;

    step("a lifecycle policy puts the oldest there", async {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("policy.json");
        let policy = json!({"rules": [{"rulePriority": 1, "selection":
            {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1},
            "action": {"type": "transition", "targetStorageClass": "archive"}}]});
        fs::write(&file, policy.to_string())?;
        let path = file.display().to_string();
        let put = ["lifecycle", "put", REPOSITORY, "--file", &path, "--yes"];
        admin.run(&put).await?;
        // The region may have been faster: then the run finds nothing.
        let run = ["lifecycle", "run", REPOSITORY, "--yes"];
        cluster.admin(2)?.json(&run).await?;
        // The other one has come back since, which makes it the younger.
        ensure!(!is_pulled(&cluster, "v2").await?);
        ensure!(is_pulled(&cluster, "v1").await?);
        Ok(())
    })
    .await?;
    cluster.finish().await
}
