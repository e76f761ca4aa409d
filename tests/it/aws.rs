//! The real clients of Amazon ECR, IAM and STS against a cluster, by one changed
//! URL: boto3, AWS's SDK for JavaScript, and the `aws` programs of `PyPI` and of Debian.
//!
//! The walks are written in Python (`tests/aws`); each has two accounts of its own.
//! What came of each operation is the table of `docs/ecr-compatibility.md`.

mod table;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{AwsAccount, Cluster, Engine, Image, aws_walk};

use self::table::Table;
use crate::support::{EU, US, step};

/// All of them; a walk is `tests/aws/walk_NAME.py`.
const WALKS: [&str; 12] = [
    "images",
    "repositories",
    "storage_class",
    "registry",
    "public",
    "regions",
    "access",
    "cli",
    "javascript",
    "identities",
    "web_identity",
    "refused",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clients_of_aws_work_unchanged() -> Result<()> {
    // Where the walk that stands for an identity provider puts its keys.
    let keys = format!("entrepot-issuer-{}.json", std::process::id());
    let keys = std::env::temp_dir().join(keys);
    let cluster = Cluster::builder()
        .regions([US, EU])
        .nodes(2)
        .issuer("https://ci.example/org", keys.clone())
        .start()
        .await?;
    let mut table = Table::default();
    for (nth, walk) in WALKS.into_iter().enumerate() {
        step(walk, async {
            let accounts = [
                AwsAccount::create(&cluster, &format!("{:012}", 111_122_220_000 + nth)).await?,
                AwsAccount::create(&cluster, &format!("{:012}", 444_455_550_000 + nth)).await?,
            ];
            let calls = aws_walk(&cluster, walk, &accounts).await?;
            table.add(calls);
            Ok(())
        })
        .await?;
    }
    cluster.finish().await?;
    std::fs::remove_file(&keys).context("remove the keys of a walk")?;
    table.check().context("the table of operations")
}

/// As everybody writes it: `aws ecr get-login-password | docker login`.
#[tokio::test]
async fn docker_logs_in_by_the_aws_program() -> Result<()> {
    let cluster = Cluster::builder().nodes(2).start().await?;
    let account = AwsAccount::create(&cluster, "111122223333").await?;
    let node = cluster.node(1)?;
    let password = account.login_password(&node.endpoint(), US).await?;
    let registry = cluster.registry(1)?;
    let owner = registry.with_credentials(Some(("AWS", &password)));
    let image = Image::random(7, 2, 50_000);
    owner.push_image("team/app", "v1", &image).await?;

    let engine = Engine::start().await?;
    let address = cluster.registry(2)?.address().to_owned();
    engine.login(&address, "AWS", &password).await?;
    let (from, to) = (
        format!("{address}/team/app:v1"),
        format!("{address}/team/copy:v2"),
    );
    engine.run(&["pull", "--quiet", &from]).await?;
    engine.run(&["tag", &from, &to]).await?;
    engine.run(&["push", "--quiet", &to]).await?;
    let found = owner
        .get("/v2/team/copy/tags/list")
        .send()
        .await?
        .expect(200)?;
    ensure!(found.json()?["tags"] == serde_json::json!(["v2"]));
    // The cluster's own account has nothing of it.
    let other = registry.get("/v2/team/copy/tags/list").send().await?;
    ensure!(other.status == 404, "{}", other.status);
    engine.stop().await?;
    cluster.finish().await
}

/// Nobody logs in: the credential helper does, with an access key.
#[tokio::test]
async fn docker_needs_no_login_with_the_credential_helper() -> Result<()> {
    let cluster = Cluster::builder().nodes(2).start().await?;
    let account = AwsAccount::create(&cluster, "111122223333").await?;
    let image = Image::random(7, 2, 50_000);
    let registry = cluster.registry(1)?;
    let owner = registry.with_credentials(Some((&account.id, &account.secret)));
    owner.push_image("team/app", "v1", &image).await?;

    let mut engine = Engine::start().await?;
    let address = cluster.registry(2)?.address().to_owned();
    let (from, to) = (
        format!("{address}/team/app:v1"),
        format!("{address}/team/copy:v2"),
    );
    let refused = engine.try_run(&["pull", "--quiet", &from]).await?;
    ensure!(refused.success().is_err(), "nobody may pull");
    engine.log_in_by_helper(&address, &account, US)?;
    engine.run(&["pull", "--quiet", &from]).await?;
    engine.run(&["tag", &from, &to]).await?;
    engine.run(&["push", "--quiet", &to]).await?;
    let found = owner
        .get("/v2/team/copy/tags/list")
        .send()
        .await?
        .expect(200)?;
    ensure!(found.json()?["tags"] == serde_json::json!(["v2"]));
    engine.stop().await?;
    cluster.finish().await
}
