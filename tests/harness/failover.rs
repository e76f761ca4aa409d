//! How long a region cannot write after its leader was killed, as clients of the
//! survivors see it: the time without a leader, and the request's own.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::json;

use crate::cluster::Cluster;
use crate::http::Registry;
use crate::image::{Blob, media};
use crate::wait::wait_until;

const SETTLED: Duration = Duration::from_secs(30);

/// Kills the leader of `group` and sends each survivor a write at once, a manifest
/// of `config`, which `repository` has; the time until all of them acknowledged it.
/// Then the node is started again. `round`: makes the write a new one.
pub async fn without_leader(
    cluster: &mut Cluster,
    group: &str,
    repository: &str,
    config: &Blob,
    round: usize,
) -> Result<Duration> {
    let leader = settled(cluster, group).await?;
    let mut survivors = Vec::new();
    for id in cluster.ids().into_iter().filter(|id| *id != leader) {
        let survivor = cluster.registry(id)?;
        // The connection is there, and the password known.
        survivor.get("/v2/").send().await?.expect(200)?;
        survivors.push((id, survivor));
    }
    cluster.kill9(leader)?;
    let killed = Instant::now();
    let writes = survivors.iter().map(|(id, survivor)| async move {
        let value = format!("round {round}, node {id}");
        write(survivor, repository, config, &value).await?;
        anyhow::Ok(killed.elapsed())
    });
    let waits = try_join_all(writes).await?;
    cluster.start(&[leader]).await?;
    waits.into_iter().max().context("a survivor")
}

async fn write(node: &Registry, repository: &str, config: &Blob, value: &str) -> Result<()> {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::MANIFEST,
        "artifactType": "application/vnd.entrepot.test",
        "config": config.descriptor(),
        "layers": [config.descriptor()],
        "annotations": {"value": value},
    });
    let manifest = Blob::new(media::MANIFEST, manifest.to_string());
    node.put_manifest(repository, "latest", &manifest).await?;
    Ok(())
}

/// Waits until all nodes name the same leader and have applied as much.
async fn settled(cluster: &Cluster, group: &str) -> Result<u64> {
    wait_until("a settled region", SETTLED, async || {
        let mut found = Vec::new();
        for id in cluster.ids() {
            let admin = cluster.admin(id)?;
            let leader = admin.leader(group).await?;
            found.push((leader, admin.applied(group).await?));
        }
        ensure!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?}");
        Ok(found[0].0)
    })
    .await
}
