//! Hosts that name a registry: whose it is, and in which region, whichever node
//! takes the request.

use anyhow::{Result, ensure};
use entrepot_harness::{AwsAccount, Cluster, Image};

use crate::support::{EU, US, step};

const DOMAIN: &str = "registry.test";
const OWN: &str = "111122223333";
const OTHER: &str = "444455556666";

fn host(account: &str, region: &str) -> String {
    format!("{account}.dkr.ecr.{region}.{DOMAIN}")
}

#[tokio::test]
async fn a_host_names_a_registry_through_any_node() -> Result<()> {
    let cluster = Cluster::builder()
        .regions([US, EU])
        .nodes(2)
        .domain(DOMAIN)
        .start()
        .await?;
    let own = AwsAccount::create(&cluster, OWN).await?;
    let other = AwsAccount::create(&cluster, OTHER).await?;
    let node = cluster.registry(1)?;
    let owner = node.with_credentials(Some((&own.key_id, &own.secret)));
    let stranger = node.with_credentials(Some((&other.key_id, &other.secret)));
    // Large enough to go over in many pieces.
    let image = Image::random(1, 2, 3_000_000);
    let in_europe = owner.with_host(&host(OWN, EU));

    step("a push goes to the region that the host names", async {
        in_europe.push_image("team/app", "v1", &image).await?;
        let direct = cluster
            .registry(3)?
            .with_credentials(Some((&own.key_id, &own.secret)));
        direct.verify_image("team/app", "v1", &image).await?;
        in_europe.verify_image("team/app", "v1", &image).await?;
        let here = owner.with_host(&host(OWN, US));
        let found = here.get("/v2/team/app/tags/list").send().await?;
        ensure!(found.status == 404, "{}", found.status);
        Ok(())
    })
    .await?;
    step("ranges, heads and refusals come back as they are", async {
        let blob = &image.blobs[1];
        let path = format!("/v2/team/app/blobs/{}", blob.digest);
        let part = in_europe
            .get(&path)
            .header("range", "bytes=10-1000009")
            .send()
            .await?;
        ensure!(
            part.status == 206 && part.body == blob.content[10..1_000_010],
            "{part:?}"
        );
        let head = in_europe.head(&path).send().await?.expect(200)?;
        ensure!(head.header("content-length")? == blob.content.len().to_string());
        let nobody = in_europe.with_credentials(None).get("/v2/").send().await?;
        ensure!(nobody.status == 401, "{}", nobody.status);
        ensure!(nobody.header("www-authenticate")?.contains(&host(OWN, EU)));
        Ok(())
    })
    .await?;
    step("another account's host opens nothing", async {
        for region in [US, EU] {
            let theirs = stranger.with_host(&host(OWN, region));
            for path in [
                "/v2/team/app/tags/list".to_owned(),
                "/v2/team/none/tags/list".to_owned(),
                "/v2/team/app/manifests/v1".to_owned(),
                format!("/v2/team/app/blobs/{}", image.blobs[0].digest),
            ] {
                let refused = theirs.get(&path).send().await?;
                ensure!(refused.status == 403, "{path}: {}", refused.status);
            }
            let upload = theirs.post("/v2/team/app/blobs/uploads/").send().await?;
            ensure!(upload.status == 403, "{}", upload.status);
        }
        Ok(())
    })
    .await?;
    step("a host of a region that is not there is none", async {
        let nowhere = owner.with_host(&host(OWN, "ap-south-1"));
        let refused = nowhere.get("/v2/team/app/tags/list").send().await?;
        ensure!((400..500).contains(&refused.status), "{}", refused.status);
        Ok(())
    })
    .await?;
    cluster.finish().await
}
