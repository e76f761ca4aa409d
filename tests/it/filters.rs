//! Rules that take some artifacts and some tags, with the Python client `oras` on
//! both sides.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use entrepot_harness::{Cluster, Image, Layout, Oras};

use crate::support::{EU, REPLICATED, US, step};

/// What `oras` makes of files when nothing else is said.
const OF_FILES: &str = "application/vnd.unknown.config.v1+json";

#[tokio::test]
async fn oras_finds_what_the_rules_take_and_nothing_else() -> Result<()> {
    let builder = Cluster::builder().regions([US, EU]).nodes(1);
    let cluster = builder.start().await?;
    let (admin, oras) = (
        cluster.admin(1)?,
        Oras::new(cluster.user(), cluster.password())?,
    );
    let (here, there) = (cluster.registry(1)?, cluster.registry(2)?);
    let at = |address: &str, name: &str| format!("{address}/{name}");
    let folder = cluster.scratch("filters")?;
    let file = folder.join("report.txt");
    fs::write(&file, "all is well")?;
    let file = file.display().to_string();
    let image = Image::random(1, 1, 10_000);
    let mut layout = Layout::create(&folder.join("layout"))?;
    layout.add_image("image", &image)?;

    step("rules by type and by tag", async {
        let by_type = ["rule", "put", "files", "--to", EU, "--prefix", "typed/"];
        admin
            .run(&[&by_type[..], &["--artifact-type", OF_FILES]].concat())
            .await?;
        let by_tag = ["rule", "put", "tags", "--to", EU, "--prefix", "tagged/"];
        let tags = ["--tag", "v*", "--exclude-tag", "*-rc"];
        admin.run(&[&by_tag[..], &tags[..]].concat()).await?;
        Ok(())
    })
    .await?;
    step("oras pushes files and images under several tags", async {
        for name in ["typed/app", "tagged/app"] {
            for tag in ["v1", "v2-rc", "latest"] {
                let target = at(here.address(), &format!("{name}:{tag}"));
                oras.push_files(&target, None, &[&file]).await?;
            }
            let target = at(here.address(), &format!("{name}:v-image"));
            oras.push_layout(layout.folder(), "image", &target).await?;
        }
        Ok(())
    })
    .await?;
    step("files by their type, whatever their tags", async {
        admin
            .wait_replicated(Some("typed/app"), 3, REPLICATED)
            .await?;
        let mut tags = oras.tags(&at(there.address(), "typed/app")).await?;
        tags.sort();
        ensure!(tags == ["latest", "v1", "v2-rc"], "{tags:?}");
        Ok(())
    })
    .await?;
    step("anything by its tag", async {
        admin
            .wait_replicated(Some("tagged/app"), 2, REPLICATED)
            .await?;
        let mut tags = oras.tags(&at(there.address(), "tagged/app")).await?;
        tags.sort();
        ensure!(tags == ["v-image", "v1"], "{tags:?}");
        there.verify_image("tagged/app", "v-image", &image).await
    })
    .await?;
    step("oras gets the files there", async {
        for name in ["typed/app:latest", "tagged/app:v1"] {
            let to = cluster.scratch(&name.replace(['/', ':'], "-"))?;
            oras.pull_files(&at(there.address(), name), &to).await?;
            let found = fs::read_dir(&to)?.next().context("a file")??;
            ensure!(fs::read_to_string(found.path())? == "all is well");
        }
        Ok(())
    })
    .await?;
    step("no rule has taken anything else", async {
        let tasks = admin.tasks(None).await?;
        ensure!(tasks.len() == 5, "{tasks:?}");
        Ok(())
    })
    .await?;
    cluster.finish().await
}
