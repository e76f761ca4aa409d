//! A real image and real clients: skopeo and Docker's engine, in one region
//! and out of the other.

use std::time::Duration;

use anyhow::{Result, ensure};
use entrepot_harness::{Cluster, Engine, MachineImage, SHELL_GREETING};

use crate::support::{EU, step, two_regions};

const REPLICATED: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn skopeo_and_docker_push_here_and_pull_everywhere() -> Result<()> {
    let cluster = two_regions().await?;
    let image = MachineImage::build(&cluster.scratch("layout")?).await?;
    println!("{} layers, {} bytes", image.layers, image.size_bytes);
    let admin = cluster.admin(1)?;
    admin.put_rule("everything", EU, None).await?;

    step("skopeo pushes into the first region", async {
        let name = format!("{}/real/machine:latest", cluster.registry(1)?.address());
        cluster
            .skopeo()
            .push(image.folder(), MachineImage::NAME, &name)
            .await?;
        Ok(())
    })
    .await?;

    step("skopeo pulls it from each of the six nodes", async {
        admin
            .wait_replicated(Some("real/machine"), 1, REPLICATED)
            .await?;
        for id in cluster.ids() {
            let name = format!("{}/real/machine:latest", cluster.registry(id)?.address());
            let folder = cluster.scratch(&format!("pulled-{id}"))?;
            let digest = cluster.skopeo().pull(&name, &folder).await?;
            ensure!(
                digest == image.digest,
                "node {id} gave {digest}, pushed {}",
                image.digest
            );
            std::fs::remove_dir_all(folder)?;
        }
        Ok(())
    })
    .await?;

    step("pushing it again sends nothing new", async {
        let name = format!("{}/real/machine:again", cluster.registry(2)?.address());
        cluster
            .skopeo()
            .push(image.folder(), MachineImage::NAME, &name)
            .await?;
        Ok(())
    })
    .await?;

    let engine = Engine::start().await?;
    step("docker pulls, runs and pushes", docker(&cluster, &engine)).await?;
    step(
        "docker's own image crosses to the other region and runs there",
        async {
            admin
                .wait_replicated(Some("real/docker"), 1, REPLICATED)
                .await?;
            let here = format!("{}/real/docker:latest", cluster.registry(2)?.address());
            let there = format!("{}/real/docker:latest", cluster.registry(6)?.address());
            let pushed = engine
                .run(&["inspect", "--format", "{{.Id}}", &here])
                .await?;
            remove_images(&engine).await?;
            pull_and_run(&cluster, &engine, 6, &there).await?;
            let pulled = engine
                .run(&["inspect", "--format", "{{.Id}}", &there])
                .await?;
            ensure!(pushed == pulled, "pushed image {pushed}, pulled {pulled}");
            Ok(())
        },
    )
    .await?;
    engine.stop().await?;
    cluster.finish().await
}

/// Pulls from the second region, runs, and pushes what docker made of it.
async fn docker(cluster: &Cluster, engine: &Engine) -> Result<()> {
    let there = format!("{}/real/machine:latest", cluster.registry(5)?.address());
    pull_and_run(cluster, engine, 5, &there).await?;
    let registry = cluster.registry(2)?;
    let here = format!("{}/real/docker:latest", registry.address());
    engine.run(&["tag", &there, &here]).await?;
    let refused = engine.try_run(&["push", "--quiet", &here]).await?;
    refused.failure()?;
    engine
        .login(registry.address(), cluster.user(), cluster.password())
        .await?;
    engine.run(&["push", "--quiet", &here]).await?;
    Ok(())
}

async fn pull_and_run(cluster: &Cluster, engine: &Engine, id: u64, image: &str) -> Result<()> {
    let address = cluster.registry(id)?.address().to_owned();
    engine
        .login(&address, cluster.user(), cluster.password())
        .await?;
    engine.run(&["pull", "--quiet", image]).await?;
    let said = engine
        .run(&["run", "--rm", "--network", "none", image])
        .await?;
    ensure!(said == SHELL_GREETING, "the container said: {said}");
    Ok(())
}

async fn remove_images(engine: &Engine) -> Result<()> {
    let ids = engine.run(&["images", "--quiet", "--no-trunc"]).await?;
    let mut arguments = vec!["rmi", "--force"];
    let ids: std::collections::BTreeSet<&str> = ids.lines().collect();
    arguments.extend(ids);
    engine.run(&arguments).await?;
    Ok(())
}
