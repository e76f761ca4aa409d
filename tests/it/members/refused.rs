//! Nodes that the cluster does not take, each with one clear line. They are
//! listed in their configuration, where anything can be claimed: what a token
//! lets in is tried in `trust`.

use std::fs;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Cluster, Image};

use super::wait_states;
use crate::support::{US, step};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_with_what_is_in_use_is_refused() -> Result<()> {
    let mut cluster = Cluster::builder()
        .regions([US])
        .nodes(2)
        .spare(US)
        .spare(US)
        .listed()
        .start()
        .await?;
    let admin = cluster.admin(1)?;
    wait_states(&admin, &[(1, "active"), (2, "active")]).await?;
    let first = address(&cluster, 1)?;
    let third = address(&cluster, 3)?;

    let config = fs::read_to_string(cluster.node(3)?.config_path())?;
    let listed = |id: u64, at: &str| {
        format!("\n[[peers]]\nnode = {id}\nregion = \"{US}\"\naddress = \"{at}\"\n")
    };
    step("an address that another node has", async {
        // It knows node 2 alone, which knows better.
        let changed = config.replace(&listed(1, &first), "");
        let changed = changed.replace(&listed(3, &third), &listed(3, &first));
        let refused = refusal(&mut cluster, 3, &changed).await?;
        ensure!(refused.contains(&first), "{refused}");
        ensure!(refused.contains("node 1"), "{refused}");
        Ok(())
    })
    .await?;
    step("a number that another node has", async {
        fs::remove_dir_all(cluster.node(3)?.data())?;
        let changed = config.replace(&listed(3, &third), "");
        let changed = changed.replacen("node = 3", "node = 2", 1);
        ensure!(changed.contains("node-3"), "the folder is still its own");
        let refused = refusal(&mut cluster, 3, &changed).await?;
        let expected = "the cluster has a node 2 with another data folder";
        ensure!(refused.contains(expected), "{refused}");
        Ok(())
    })
    .await?;
    step("a number that is not the next", async {
        let refused = cluster.start(&[4]).await.err();
        let refused = format!("{:#}", refused.context("node 4 was taken")?);
        ensure!(refused.contains("the next is 3"), "{refused}");
        Ok(())
    })
    .await?;
    step("a folder of another cluster", async {
        fs::write(cluster.node(3)?.config_path(), &config)?;
        fs::remove_dir_all(cluster.node(3)?.data())?;
        cluster.start(&[3]).await?;
        cluster.stop(&[3]).await?;
        let scratch = cluster.scratch("another")?.join("secret");
        let secret = fs::read_to_string(secret_file(&config)?)?;
        fs::write(&scratch, secret.replace("0123", "3210"))?;
        let other = format!("{}", scratch.display());
        let changed = config.replace(secret_file(&config)?, &other);
        close(&scratch)?;
        let refused = refusal(&mut cluster, 3, &changed).await?;
        ensure!(
            refused.contains("belongs to a cluster whose secret"),
            "{refused}"
        );
        fs::write(cluster.node(3)?.config_path(), &config)?;
        cluster.start(&[3]).await
    })
    .await?;
    step("the others did not mind", async {
        wait_states(&admin, &[(1, "active"), (2, "active"), (3, "active")]).await?;
        let image = Image::random(1, 1, 10_000);
        cluster.registry(3)?.push_image("app", "v1", &image).await
    })
    .await?;
    cluster.finish().await
}

/// What a start with this configuration ends with: one line.
async fn refusal(cluster: &mut Cluster, id: u64, config: &str) -> Result<String> {
    let path = cluster.node(id)?.config_path().to_owned();
    ensure!(fs::read_to_string(&path)? != config, "nothing is changed");
    fs::write(&path, config)?;
    let refused = cluster.start(&[id]).await.err();
    let refused = format!("{:#}", refused.context("it was taken")?);
    let line = refused
        .lines()
        .rfind(|line| line.starts_with("entrepot-node: "));
    Ok(line.with_context(|| refused.clone())?.to_owned())
}

/// Where the nodes reach node `id`.
fn address(cluster: &Cluster, id: u64) -> Result<String> {
    let config = fs::read_to_string(cluster.node(id)?.config_path())?;
    let own = format!("\n[[peers]]\nnode = {id}\n");
    let (_, after) = config.split_once(&own).context("it is not listed")?;
    let (_, after) = after.split_once("address = \"").context("no address")?;
    Ok(after.split_once('"').context("no address")?.0.to_owned())
}

fn secret_file(config: &str) -> Result<&str> {
    let (_, after) = config
        .split_once("cluster_secret_file = \"")
        .context("no secret")?;
    Ok(after.split_once('"').context("no secret")?.0)
}

/// To all but its owner.
fn close(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).context("close a file")
}
