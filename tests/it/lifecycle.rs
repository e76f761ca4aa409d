//! Lifecycle policies by the command line client: what a preview shows goes, by any
//! node, and nothing else.

use std::fs;

use anyhow::{Result, ensure};
use entrepot_harness::{Cluster, Image};
use serde_json::{Value, json};

use crate::support::{US, step};

const REPOSITORY: &str = "team/app";

fn digests(report: &Value) -> Vec<&str> {
    let images = report["images"].as_array().into_iter().flatten();
    images
        .filter_map(|image| image["digest"].as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_preview_shows_goes_when_the_policy_is_run() -> Result<()> {
    let cluster = Cluster::builder().regions([US]).nodes(3).start().await?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("policy.json");
    let policy = json!({"rules": [{"rulePriority": 7, "action": {"type": "expire"},
        "selection": {"tagStatus": "tagged", "tagPrefixList": ["dev-"],
            "countType": "imageCountMoreThan", "countNumber": 1}}]});
    fs::write(&file, policy.to_string())?;
    let path = file.display().to_string();
    let (old, new, kept) = (
        Image::random(1, 1, 1_000),
        Image::random(2, 1, 1_000),
        Image::random(3, 1, 1_000),
    );
    for (tag, image) in [("dev-1", &old), ("dev-2", &new), ("v1", &kept)] {
        cluster
            .registry(1)?
            .push_image(REPOSITORY, tag, image)
            .await?;
    }

    step("nothing is confirmed by itself", async {
        let put = ["lifecycle", "put", REPOSITORY, "--file", &path];
        let refused = cluster.admin(1)?.try_run(&put).await?.failure()?;
        ensure!(refused.stderr.contains("--yes"), "{}", refused.stderr);
        let run = ["lifecycle", "run", REPOSITORY];
        cluster.admin(1)?.try_run(&run).await?.failure()?;
        Ok(())
    })
    .await?;
    step(
        "a preview of a file shows the oldest, and lets nothing go",
        async {
            let preview = ["lifecycle", "preview", REPOSITORY, "--file", &path];
            let shown = cluster.admin(2)?.json(&preview).await?;
            ensure!(digests(&shown) == [old.digest()], "{shown}");
            ensure!(shown["images"][0]["rule"] == 7, "{shown}");
            let listed = cluster
                .admin(3)?
                .json(&["image", "list", REPOSITORY])
                .await?;
            ensure!(digests(&listed).len() == 3, "{listed}");
            Ok(())
        },
    )
    .await?;
    step("a run at another node lets it go", async {
        let put = ["lifecycle", "put", REPOSITORY, "--file", &path, "--yes"];
        cluster.admin(1)?.run(&put).await?;
        // The region may have been faster: then the run finds nothing.
        let run = ["lifecycle", "run", REPOSITORY, "--yes"];
        let done = cluster.admin(3)?.json(&run).await?;
        ensure!(
            done["images"] == json!([]) || digests(&done) == [old.digest()],
            "{done}"
        );
        let listed = cluster
            .admin(2)?
            .json(&["image", "list", REPOSITORY])
            .await?;
        let mut left = digests(&listed);
        left.sort_unstable();
        let mut expected = [new.digest(), kept.digest()];
        expected.sort_unstable();
        ensure!(left == expected, "{listed}");
        let shown = cluster
            .admin(2)?
            .json(&["lifecycle", "get", REPOSITORY])
            .await?;
        ensure!(shown["policy"] == policy, "{shown}");
        ensure!(shown["last_evaluation"]["expired"].is_u64(), "{shown}");
        Ok(())
    })
    .await?;
    step("a policy that is wrong is refused in ECR's words", async {
        fs::write(&file, r#"{"rules": [{"rulePriority": 0}]}"#)?;
        let put = ["lifecycle", "put", REPOSITORY, "--file", &path, "--yes"];
        let refused = cluster.admin(1)?.try_run(&put).await?.failure()?;
        ensure!(
            refused
                .stderr
                .contains("Lifecycle policy validation failure"),
            "{}",
            refused.stderr
        );
        Ok(())
    })
    .await
}
