//! Who asks too often: told so in each protocol's words, slowed down for themselves
//! alone, and let through once they wait as their clients do.

use anyhow::{Result, ensure};
use entrepot_harness::{AwsAccount, Cluster, Image, Registry, Reply, aws_walk, media};
use tokio::task::JoinSet;

use crate::support::step;

const REPOSITORY: &str = "team/app";
const PUTS: usize = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_too_often_waits_and_nobody_else_does() -> Result<()> {
    let cluster = Cluster::builder()
        .nodes(1)
        .rate("GetAuthorizationToken", 2)
        .rate("PutImage", 2)
        .start()
        .await?;
    let accounts = [
        AwsAccount::create(&cluster, "111122223333").await?,
        AwsAccount::create(&cluster, "444455556666").await?,
    ];
    let owner = |account: &AwsAccount| -> Result<Registry> {
        let credentials = Some((account.key_id.as_str(), account.secret.as_str()));
        Ok(cluster.registry(1)?.with_credentials(credentials))
    };
    step("boto3 waits and gets through", async {
        aws_walk(&cluster, "throttled", &accounts).await.map(drop)
    })
    .await?;
    step("pushes hear when to try again", async {
        let image = Image::random(1, 1, 1_000);
        let [registry, other] = [owner(&accounts[0])?, owner(&accounts[1])?];
        for registry in [&registry, &other] {
            for blob in &image.blobs {
                registry.push_blob(REPOSITORY, blob).await?;
            }
        }
        let mut puts = JoinSet::new();
        for nth in 0..PUTS {
            let (registry, image) = (registry.clone(), image.clone());
            puts.spawn(async move { put(&registry, &image, nth).await });
        }
        let mut refused = 0;
        while let Some(reply) = puts.join_next().await {
            let reply = reply??;
            if reply.status == 201 {
                continue;
            }
            let reply = reply.expect_error(429, "TOOMANYREQUESTS")?;
            ensure!(reply.header("retry-after")? == "1", "{reply:?}");
            ensure!(reply.first_error()?["message"] == "Rate exceeded");
            refused += 1;
        }
        ensure!(refused > 0, "all {PUTS} were taken");
        put(&other, &image, 0).await?.expect(201)?;
        let found = registry.get("/v2/team/app/tags/list").send().await?;
        let tags = found.expect(200)?.json()?["tags"].as_array().map(Vec::len);
        ensure!(tags == Some(PUTS - refused), "{tags:?} with {refused}");
        Ok(())
    })
    .await?;
    let counted = "entrepot_throttled_requests_total{operation=\"PutImage\"} ";
    let metrics = cluster.node(1)?.metrics().await?;
    let count = metrics.lines().find_map(|line| line.strip_prefix(counted));
    ensure!(count.is_some_and(|count| count != "0"), "{metrics}");
    cluster.finish().await
}

async fn put(registry: &Registry, image: &Image, nth: usize) -> Result<Reply> {
    let path = format!("/v2/{REPOSITORY}/manifests/v{nth}");
    let put = registry.put(&path).header("content-type", media::MANIFEST);
    put.body(image.manifest.content.clone()).send().await
}
