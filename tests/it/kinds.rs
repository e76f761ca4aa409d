//! Every kind of manifest crosses to the other region, whole.

use anyhow::{Result, ensure};
use entrepot_harness::{Admin, Cluster, Image, Index, Layout, Registry, artifact_of};

use crate::support::{EU, REPLICATED, US, step, two_regions};

/// One of each kind.
struct Kinds {
    index: Index,
    subject: Image,
    artifact: Image,
    docker: Image,
    untagged: Image,
    /// Under several tags, set by one request.
    many: Image,
    /// In a repository that no rule matches.
    unmatched: Image,
}

#[tokio::test]
async fn indexes_artifacts_and_docker_images_cross_regions() -> Result<()> {
    let cluster = two_regions().await?;
    let here = cluster.registry(1)?;
    let admin = cluster.admin(2)?;
    let kinds = Kinds::new();

    step(
        "a rule, set through one node and listed by another",
        async {
            admin.put_rule("to-europe", EU, Some("kinds/")).await?;
            let rules = cluster.admin(3)?.list(&["rule", "list"], "rules").await?;
            ensure!(
                rules.len() == 1 && rules[0]["id"] == "to-europe",
                "{rules:?}"
            );
            ensure!(rules[0]["destinations"][0]["region"] == EU, "{rules:?}");
            Ok(())
        },
    )
    .await?;
    step(
        "push: an index with skopeo, the others raw",
        kinds.push(&cluster),
    )
    .await?;
    step("every task ends COMPLETE", kinds.replicated(&admin)).await?;
    step("every node of both regions serves all of it", async {
        for id in cluster.ids() {
            kinds.verify(&cluster.registry(id)?).await?;
        }
        Ok(())
    })
    .await?;

    step("skopeo pulls the whole index over there", async {
        let there = cluster.registry(5)?;
        let name = format!("{}/kinds/multi:latest", there.address());
        let pulled = cluster
            .skopeo()
            .pull(&name, &cluster.scratch("pulled")?)
            .await?;
        ensure!(pulled == kinds.index.manifest.digest, "pulled {pulled}");
        Ok(())
    })
    .await?;
    step("what no rule matches stays", async {
        let path = "/v2/other/docker/manifests/latest";
        let reply = cluster.registry(4)?.get(path).send().await?;
        ensure!(reply.status == 404, "{} gave {}", reply.what, reply.status);
        here.verify_image("other/docker", "latest", &kinds.unmatched)
            .await
    })
    .await?;
    step("the CLI lists both sides", listed(&cluster)).await?;
    step("without the rule nothing goes over", async {
        admin.run(&["rule", "delete", "to-europe"]).await?;
        let image = Image::random(7, 1, 10_000);
        here.push_image("kinds/after", "latest", &image).await?;
        let tasks = admin.tasks(Some("kinds/after")).await?;
        ensure!(tasks.is_empty(), "{tasks:?}");
        Ok(())
    })
    .await?;
    cluster.finish().await
}

impl Kinds {
    fn new() -> Self {
        let subject = Image::random(2, 2, 30_000);
        Self {
            index: Index::random(1),
            artifact: artifact_of(&subject, 3),
            subject,
            docker: Image::random_docker(4, 2, 30_000),
            untagged: Image::random(5, 1, 10_000),
            many: Image::random(8, 1, 10_000),
            unmatched: Image::random(6, 1, 10_000),
        }
    }

    async fn push(&self, cluster: &Cluster) -> Result<()> {
        let here = cluster.registry(1)?;
        let mut layout = Layout::create(&cluster.scratch("layout")?)?;
        layout.add_index("multi", &self.index)?;
        let name = format!("{}/kinds/multi:latest", here.address());
        cluster
            .skopeo()
            .push(layout.folder(), "multi", &name)
            .await?;
        here.push_image("kinds/signed", "subject", &self.subject)
            .await?;
        here.push_image("kinds/signed", self.artifact.digest(), &self.artifact)
            .await?;
        here.push_image("kinds/docker", "latest", &self.docker)
            .await?;
        here.push_image("kinds/untagged", self.untagged.digest(), &self.untagged)
            .await?;
        let tags = format!("{}?tag=1.2&tag=1&tag=latest", self.many.digest());
        here.push_image("kinds/many", &tags, &self.many).await?;
        here.push_image("other/docker", "latest", &self.unmatched)
            .await
    }

    async fn replicated(&self, admin: &Admin) -> Result<()> {
        // The index and its three images, subject, artifact, docker, untagged,
        // and one for each of three tags.
        let tasks = admin.wait_replicated(None, 11, REPLICATED).await?;
        ensure!(
            tasks.iter().all(|task| task.destination_region == EU),
            "{tasks:?}"
        );
        ensure!(
            tasks
                .iter()
                .all(|task| task.repository.starts_with("kinds/")),
            "{tasks:?}"
        );
        let signed = admin.tasks(Some("kinds/signed")).await?;
        ensure!(signed.len() == 2, "{signed:?}");
        ensure!(
            signed
                .iter()
                .any(|task| task.digest == self.artifact.digest()),
            "{signed:?}"
        );
        Ok(())
    }

    async fn verify(&self, node: &Registry) -> Result<()> {
        node.verify_index("kinds/multi", "latest", &self.index)
            .await?;
        node.verify_image("kinds/signed", "subject", &self.subject)
            .await?;
        node.verify_image("kinds/signed", self.artifact.digest(), &self.artifact)
            .await?;
        let referrers = format!("/v2/kinds/signed/referrers/{}", self.subject.digest());
        let referrers = node.get(&referrers).send().await?.expect(200)?.json()?;
        ensure!(
            referrers["manifests"][0]["digest"] == self.artifact.digest(),
            "{referrers}"
        );
        node.verify_image("kinds/docker", "latest", &self.docker)
            .await?;
        node.verify_image("kinds/untagged", self.untagged.digest(), &self.untagged)
            .await?;
        for tag in ["1.2", "1", "latest"] {
            node.verify_manifest("kinds/many", tag, &self.many.manifest)
                .await?;
        }
        node.verify_image("kinds/many", "latest", &self.many).await
    }
}

async fn listed(cluster: &Cluster) -> Result<()> {
    let repositories = [
        "kinds/docker",
        "kinds/multi",
        "kinds/signed",
        "kinds/untagged",
    ];
    for (id, region) in [(1, US), (6, EU)] {
        let admin = cluster.admin(id)?;
        let found = admin.list(&["repository", "list"], "repositories").await?;
        let names: Vec<&str> = found
            .iter()
            .filter_map(|found| found["name"].as_str())
            .collect();
        for name in repositories {
            ensure!(names.contains(&name), "{region}: {names:?}");
        }
        let images = admin
            .list(&["image", "list", "kinds/multi"], "images")
            .await?;
        ensure!(images.len() == 4, "{region}: {images:?}");
        let tagged = images.iter().filter(|image| image["tags"][0] == "latest");
        ensure!(tagged.count() == 1, "{region}: {images:?}");
        let table = admin.run(&["image", "list", "kinds/multi"]).await?;
        ensure!(table.contains("latest"), "{region}: {table}");
    }
    Ok(())
}
