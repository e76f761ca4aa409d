//! Several accounts in one cluster: each has registries of its own, and none
//! sees another's.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Admin, Cluster, Image, Registry, wait_until};
use serde_json::Value;

use crate::support::step;

const FIRST: &str = "000000000001";
const OTHER: &str = "210987654321";
/// For every node to apply what one of them was told.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

fn text(value: &Value, key: &str) -> Result<String> {
    let found = value[key].as_str().map(str::to_owned);
    found.with_context(|| format!("no {key}: {value}"))
}

#[tokio::test]
async fn accounts_never_see_each_other() -> Result<()> {
    let mut cluster = Cluster::builder().nodes(2).start().await?;
    let admin = cluster.admin(1)?;
    let made = admin
        .json(&["account", "create", OTHER, "--name", "team-a"])
        .await?;
    let (id, secret) = (
        text(&made, "access_key_id")?,
        text(&made, "secret_access_key")?,
    );
    ensure!(id.starts_with("AKIA"), "{made}");
    let root = cluster.registry(2)?;
    let other = root.with_credentials(Some((OTHER, &secret)));
    wait_until("every node to know the account", KNOWN_WITHIN, async || {
        Ok((other.get("/v2/").send().await?.status == 200).then_some(()))
    })
    .await?;

    let (ours, theirs) = (Image::random(1, 1, 10_000), Image::random(2, 1, 10_000));
    step("equal names hold what each has pushed", async {
        root.push_image("team/app", "latest", &ours).await?;
        other.push_image("team/app", "latest", &theirs).await?;
        root.verify_image("team/app", "latest", &ours).await?;
        other.verify_image("team/app", "latest", &theirs).await
    })
    .await?;
    step("nothing of another's can be had", async {
        root.push_image("ours/alone", "v1", &ours).await?;
        unseen(&other, "team/app", &ours).await?;
        unseen(&root, "team/app", &theirs).await?;
        unseen(&other, "ours/alone", &ours).await
    })
    .await?;
    step("each catalogue has its own", async {
        let catalogue = async |registry: &Registry| {
            let reply = registry.get("/v2/_catalog").send().await?.expect(200)?;
            Ok::<_, anyhow::Error>(reply.json()?["repositories"].to_string())
        };
        ensure!(catalogue(&root).await? == r#"["ours/alone","team/app"]"#);
        ensure!(catalogue(&other).await? == r#"["team/app"]"#);
        Ok(())
    })
    .await?;
    step(
        "the same login by the key's id and with the user's name",
        async {
            for user in [id.as_str(), "210987654321/root"] {
                let again = root.with_credentials(Some((user, &secret)));
                again.verify_image("team/app", "latest", &theirs).await?;
            }
            let first = format!("{FIRST}/{}", cluster.user());
            let again = root.with_credentials(Some((&first, cluster.password())));
            again.verify_image("team/app", "latest", &ours).await
        },
    )
    .await?;
    step("only the first account operates the cluster", {
        operating(&cluster, &secret)
    })
    .await?;
    step("a disabled account is out, and in again", {
        disabled(&admin, &other, &theirs)
    })
    .await?;
    step("all of it is there after a restart", async {
        let ids = cluster.ids();
        cluster.stop(&ids).await?;
        cluster.start(&ids).await?;
        other.verify_image("team/app", "latest", &theirs).await?;
        root.verify_image("team/app", "latest", &ours).await
    })
    .await?;
    step(
        "no secret is in a log or a data folder in the clear",
        async {
            for id in cluster.ids() {
                let node = cluster.node(id)?;
                ensure!(!node.log_contains(&secret), "node {id} has logged it");
                ensure!(!holds(node.data(), secret.as_bytes())?, "node {id} has it");
            }
            Ok(())
        },
    )
    .await?;
    cluster.finish().await
}

/// Neither by name, digest or mount, nor as a blob of one's own.
async fn unseen(stranger: &Registry, repository: &str, image: &Image) -> Result<()> {
    let layer = &image.blobs[0].digest;
    for path in [
        format!("/v2/{repository}/manifests/{}", image.digest()),
        format!("/v2/{repository}/blobs/{layer}"),
    ] {
        let reply = stranger.get(&path).send().await?;
        ensure!(reply.status == 404, "{path}: {}", reply.status);
    }
    let referrers = format!("/v2/{repository}/referrers/{}", image.digest());
    let reply = stranger.get(&referrers).send().await?.expect(200)?;
    ensure!(reply.json()?["manifests"] == serde_json::json!([]));
    for from in ["", "&from=team/app", "&from=ours/alone"] {
        let mount = format!("/v2/stolen/blobs/uploads/?mount={layer}{from}");
        let reply = stranger.post(&mount).header("content-length", "0").send();
        // An upload of one's own, and nothing mounted.
        let reply = reply.await?.expect(202)?;
        let upload = reply.location()?;
        stranger.delete(&upload).send().await?;
    }
    Ok(())
}

async fn operating(cluster: &Cluster, secret: &str) -> Result<()> {
    let stranger = Admin::new(&cluster.node(1)?.endpoint(), OTHER, secret)?;
    for arguments in [
        &["cluster", "status"][..],
        &["node", "list"],
        &["node", "token"],
        &["region", "list"],
        &["scrub", "start"],
        &["account", "list"],
        &["account", "create", "333333333333"],
        &["account", "disable", FIRST],
    ] {
        let refused = stranger.try_run(arguments).await?.failure()?;
        let said = "the cluster is the first account's";
        ensure!(refused.stderr.contains(said), "{}", refused.stderr);
    }
    // Its own registry is its own.
    let repositories = stranger
        .list(&["repository", "list"], "repositories")
        .await?;
    ensure!(repositories.len() == 1, "{repositories:?}");
    let first = cluster.admin(1)?;
    let accounts = first.list(&["account", "list"], "accounts").await?;
    let ids: Vec<&str> = accounts.iter().filter_map(|it| it["id"].as_str()).collect();
    ensure!(ids == [FIRST, OTHER], "{accounts:?}");

    let file = cluster.scratch("secret")?.join("secret");
    fs::write(&file, "a secret of one's own\n")?;
    let file = file.display().to_string();
    let create = [
        "account",
        "create",
        "333333333333",
        "--access-key-id",
        "own",
    ];
    let given = ["--secret-access-key-file", &file];
    let said = first.run(&[&create[..], &given].concat()).await?;
    ensure!(!said.contains("of one's own"), "{said}");
    let own = cluster.registry(1)?;
    let own = own.with_credentials(Some(("own", "a secret of one's own")));
    own.get("/v2/").send().await?.expect(200)?;
    Ok(())
}

async fn disabled(admin: &Admin, other: &Registry, theirs: &Image) -> Result<()> {
    let said = admin.run(&["account", "disable", OTHER]).await?;
    ensure!(said == format!("Account {OTHER} is disabled.\n"), "{said}");
    wait_until("the account to be out", KNOWN_WITHIN, async || {
        let reply = other.get("/v2/").send().await?;
        Ok((reply.status == 403).then_some(()))
    })
    .await?;
    let denied = other
        .get("/v2/")
        .send()
        .await?
        .expect_error(403, "DENIED")?;
    drop(denied);
    let guess = other.with_credentials(Some((OTHER, "guess")));
    guess.get("/v2/").send().await?.expect(401)?;
    let first = admin.try_run(&["account", "disable", FIRST]).await?;
    let refused = first.failure()?;
    ensure!(refused.stderr.contains("first"), "{}", refused.stderr);
    admin.run(&["account", "enable", OTHER]).await?;
    wait_until("the account to be in", KNOWN_WITHIN, async || {
        Ok((other.get("/v2/").send().await?.status == 200).then_some(()))
    })
    .await?;
    other.verify_image("team/app", "latest", theirs).await
}

/// Whether a file of the folder has these bytes.
fn holds(folder: &std::path::Path, bytes: &[u8]) -> Result<bool> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let found = if path.is_dir() {
            holds(&path, bytes)?
        } else {
            let content = fs::read(&path)?;
            content.windows(bytes.len()).any(|window| window == bytes)
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}
