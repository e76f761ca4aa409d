//! The destination region is down while the source is pushed to: tasks wait,
//! and drain when it is back.

use std::time::Instant;

use anyhow::{Result, ensure};
use entrepot_harness::{Cluster, Image, Task};

use crate::support::{EU, REPLICATED, US, step, two_regions};

const IMAGES: u64 = 5;
const MOVES: u64 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_wait_for_a_region_that_is_down() -> Result<()> {
    let mut cluster = two_regions().await?;
    let admin = cluster.admin(1)?;
    admin.put_rule("to-europe", EU, None).await?;
    let before = Image::random(1, 2, 30_000);
    step("a push while all is well arrives", async {
        cluster
            .registry(1)?
            .push_image("out/before", "latest", &before)
            .await?;
        admin.wait_replicated(None, 1, REPLICATED).await?;
        Ok(())
    })
    .await?;

    let europe = cluster.ids_in(EU);
    step("one node there dies, the other two are stopped", async {
        cluster.kill9(europe[0])?;
        cluster.stop(&europe[1..]).await
    })
    .await?;

    let images: Vec<Image> = (0..IMAGES)
        .map(|nth| Image::random(10 + nth, 2, 30_000))
        .collect();
    let moves: Vec<Image> = (0..MOVES)
        .map(|nth| Image::random(20 + nth, 1, 10_000))
        .collect();
    step(
        "pushes go on, and are served",
        push(&cluster, &images, &moves),
    )
    .await?;
    let expected = images.len() + moves.len();
    step("their tasks wait", async {
        waiting(&admin.tasks(None).await?, expected)
    })
    .await?;

    step("the source restarts: the tasks still wait", async {
        for id in cluster.ids_in(US) {
            cluster.kill9(id)?;
        }
        cluster.start(&cluster.ids_in(US)).await?;
        waiting(&admin.tasks(None).await?, expected)
    })
    .await?;

    step("the region comes back: every task ends COMPLETE", async {
        let started = Instant::now();
        cluster.start(&europe).await?;
        let ready = started.elapsed();
        let tasks = admin
            .wait_replicated(None, expected + 1, REPLICATED)
            .await?;
        println!(
            "  ready after {:.1} s, drained after {:.1} s",
            ready.as_secs_f64(),
            started.elapsed().as_secs_f64()
        );
        ensure!(tasks.iter().all(|task| task.reason.is_empty()), "{tasks:?}");
        Ok(())
    })
    .await?;

    step("the content is there, the same to the byte", async {
        for id in europe {
            let node = cluster.registry(id)?;
            node.verify_image("out/before", "latest", &before).await?;
            for (nth, image) in images.iter().enumerate() {
                node.verify_image("out/images", &format!("n{nth}"), image)
                    .await?;
            }
            for image in &moves {
                node.verify_image("out/moving", image.digest(), image)
                    .await?;
            }
            let last = &moves[moves.len() - 1];
            node.verify_image("out/moving", "latest", last).await?;
        }
        Ok(())
    })
    .await?;
    cluster.finish().await
}

async fn push(cluster: &Cluster, images: &[Image], moves: &[Image]) -> Result<()> {
    let mut nodes = Vec::new();
    for id in cluster.ids_in(US) {
        nodes.push(cluster.registry(id)?);
    }
    let in_turn = || nodes.iter().cycle();
    for ((nth, image), node) in images.iter().enumerate().zip(in_turn()) {
        node.push_image("out/images", &format!("n{nth}"), image)
            .await?;
    }
    for (image, node) in moves.iter().zip(in_turn()) {
        node.push_image("out/moving", "latest", image).await?;
    }
    for ((nth, image), node) in images.iter().enumerate().zip(in_turn().skip(1)) {
        node.verify_image("out/images", &format!("n{nth}"), image)
            .await?;
    }
    Ok(())
}

fn waiting(tasks: &[Task], expected: usize) -> Result<()> {
    let open = tasks.iter().filter(|task| task.state == "IN_PROGRESS");
    ensure!(
        open.count() == expected,
        "expected {expected} IN_PROGRESS: {tasks:?}"
    );
    ensure!(tasks.iter().all(|task| task.state != "FAILED"), "{tasks:?}");
    Ok(())
}
