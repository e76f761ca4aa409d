//! How much a registry may have: exactly that, by however many ways at once.

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Admin, AwsAccount, Blob, Cluster, Image, Random, Registry, Reply, media};
use tokio::task::JoinSet;

use crate::signed::Call;
use crate::support::{US, step};

const REPOSITORY: &str = "quota/app";
const IMAGES: usize = 5;
const PUSHES: u64 = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_has_what_it_may_and_nothing_beyond() -> Result<()> {
    let cluster = Cluster::builder().nodes(3).start().await?;
    let account = AwsAccount::create(&cluster, "111122223333").await?;
    let owner = |id| -> Result<Registry> {
        let credentials = Some((account.key_id.as_str(), account.secret.as_str()));
        Ok(cluster.registry(id)?.with_credentials(credentials))
    };
    let endpoint = cluster.node(1)?.endpoint();
    let operator = Admin::new(&endpoint, &account.key_id, &account.secret)?;
    // One that was there before anybody counted.
    let before = Image::random(100, 1, 1_000);
    owner(1)?.push_image(REPOSITORY, "before", &before).await?;

    step("quotas are set and shown", async {
        let shown = operator.json(&["registry", "show"]).await?;
        ensure!(shown["max_images"] == 100_000, "{shown}");
        ensure!(shown["repositories"] == 1, "{shown}");
        let set = ["registry", "set", "--max-images", "5", "--max-tags", "3"];
        let set = [
            &set[..],
            &["--max-repositories", "2", "--max-layer-mib", "1"],
        ]
        .concat();
        let set = [&set[..], &["--max-layer-parts", "2"]].concat();
        let shown = operator.json(&set).await?;
        ensure!(
            shown["max_images"] == 5 && shown["max_tags"] == 3,
            "{shown}"
        );
        Ok(())
    })
    .await?;
    step("pushes at all nodes at once", async {
        let mut pushes = JoinSet::new();
        for nth in 0..PUSHES {
            let registry = owner(1 + nth % 3)?;
            pushes.spawn(async move { pushed(&registry, nth).await });
        }
        let mut taken = 0;
        while let Some(reply) = pushes.join_next().await {
            let reply = reply??;
            if reply.status == 201 {
                taken += 1;
                continue;
            }
            let reply = reply.expect_error(403, "DENIED")?;
            let text = reply.first_error()?["message"].to_string();
            ensure!(text.contains("may have at most 5 images"), "{text}");
        }
        ensure!(taken == IMAGES - 1, "{taken} were taken");
        let tags = owner(2)?.get("/v2/quota/app/tags/list").send().await?;
        let tags = tags.json()?["tags"].as_array().map(Vec::len);
        ensure!(tags == Some(IMAGES), "{tags:?} tags");
        Ok(())
    })
    .await?;
    step("one that goes makes room for one", async {
        let path = format!("/v2/{REPOSITORY}/manifests/{}", before.digest());
        owner(3)?.delete(&path).send().await?.expect(202)?;
        pushed(&owner(1)?, 900).await?.expect(201)?;
        pushed(&owner(1)?, 901).await?.expect(403)?;
        Ok(())
    })
    .await?;
    step("tags, repositories, layers and their parts", async {
        tags_and_repositories(&owner(2)?).await?;
        let address = cluster.registry(2)?.address().to_owned();
        parts(&cluster, &account, &address).await
    })
    .await?;
    cluster.finish().await
}

/// What a node answers to the manifest of an image of its own.
async fn pushed(registry: &Registry, seed: u64) -> Result<Reply> {
    let image = Image::random(seed, 1, 1_000);
    for blob in &image.blobs {
        registry.push_blob(REPOSITORY, blob).await?;
    }
    put(registry, &image, &format!("v{seed}")).await
}

async fn put(registry: &Registry, image: &Image, tag: &str) -> Result<Reply> {
    let path = format!("/v2/{REPOSITORY}/manifests/{tag}");
    let put = registry.put(&path).header("content-type", media::MANIFEST);
    put.body(image.manifest.content.clone()).send().await
}

async fn tags_and_repositories(registry: &Registry) -> Result<()> {
    let image = Image::random(900, 1, 1_000);
    for tag in ["a", "b"] {
        put(registry, &image, tag).await?.expect(201)?;
    }
    let refused = put(registry, &image, "c").await?;
    refused.expect_error(403, "DENIED")?;
    // It has that one.
    put(registry, &image, "b").await?.expect(201)?;

    let blob = Blob::new(media::LAYER, Random::new(1).bytes(20_000));
    registry.push_blob("quota/second", &blob).await?;
    let path = format!("/v2/quota/third/blobs/uploads/?digest={}", blob.digest);
    let refused = registry
        .post(&path)
        .body(blob.content.clone())
        .send()
        .await?;
    refused.expect_error(403, "DENIED")?;
    let large = Blob::new(media::LAYER, Random::new(2).bytes(1_100_000));
    let path = format!("/v2/quota/second/blobs/uploads/?digest={}", large.digest);
    let refused = registry
        .post(&path)
        .body(large.content.clone())
        .send()
        .await?;
    refused.expect_error(413, "BLOB_UPLOAD_INVALID")?;
    Ok(())
}

/// Over ECR's API, in parts.
async fn parts(cluster: &Cluster, account: &AwsAccount, address: &str) -> Result<()> {
    let http = cluster.registry(2)?.with_credentials(None);
    let ask = async |operation: &str, input: String| {
        let call = Call::signed(account, address, US, operation, &input, &[])?;
        let mut request = http.post("/");
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        request.body(call.body).send().await
    };
    let input = r#"{"repositoryName": "quota/third"}"#.to_owned();
    let refused = ask("CreateRepository", input).await?.expect(400)?;
    let text = String::from_utf8_lossy(&refused.body).into_owned();
    ensure!(text.contains("LimitExceededException"), "{text}");
    ensure!(text.contains("may have at most 2 repositories"), "{text}");

    let input = format!(r#"{{"repositoryName": "{REPOSITORY}"}}"#);
    let begun = ask("InitiateLayerUpload", input).await?.expect(200)?;
    let upload = begun.json()?["uploadId"].as_str().map(str::to_owned);
    let upload = upload.context("no upload")?;
    for nth in 0..3 {
        let input = format!(
            r#"{{"repositoryName": "{REPOSITORY}", "uploadId": "{upload}",
                "partFirstByte": {nth}, "partLastByte": {nth}, "layerPartBlob": "eA=="}}"#
        );
        let reply = ask("UploadLayerPart", input).await?;
        if nth < 2 {
            reply.expect(200)?;
            continue;
        }
        let text = String::from_utf8_lossy(&reply.expect(400)?.body).into_owned();
        ensure!(text.contains("LimitExceededException"), "{text}");
        ensure!(text.contains("at most 2 parts"), "{text}");
    }
    Ok(())
}
