//! The example front end: a registry that keeps nothing, in front of a cluster.

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use entrepot_harness::{
    Blob, Cluster, FrontEnd, Image, Index, Layout, Random, Registry, Skopeo, artifact_of, media,
};

use crate::support::step;

const LAYERS: usize = 4;
const LAYER_BYTES: usize = 3_000_000;

#[tokio::test]
async fn a_registry_that_keeps_nothing_takes_and_serves_images() -> Result<()> {
    let cluster = Cluster::builder().nodes(3).start().await?;
    let credentials = Some((cluster.user(), cluster.password()));
    let first = start(&cluster, "first").await?;
    let registry = first.registry(credentials)?;
    let image = Image::random(1, LAYERS, LAYER_BYTES);
    let index = Index::random(2);
    let mut layout = Layout::create(&cluster.scratch("layout")?)?;
    layout.add_image("image", &image)?;
    layout.add_index("index", &index)?;

    step("skopeo pushes through it", async {
        let skopeo = cluster.skopeo();
        for name in ["image", "index"] {
            let to = format!("{}/front/end:{name}", registry.address());
            skopeo.push(layout.folder(), name, &to).await?;
        }
        Ok(())
    })
    .await?;
    first.stop().await?;

    let second = start(&cluster, "second").await?;
    let registry = second.registry(credentials)?;
    step("another one, and every node, serve the same", async {
        let mut everywhere = vec![registry.clone()];
        for id in cluster.ids() {
            everywhere.push(cluster.registry(id)?);
        }
        for (number, from) in everywhere.iter().enumerate() {
            for (name, digest) in [("image", image.digest()), ("index", &index.manifest.digest)] {
                let folder = cluster.scratch(&format!("pulled-{number}-{name}"))?;
                pulled(&cluster.skopeo(), from, name, digest, &folder).await?;
            }
            from.verify_image("front/end", "image", &image).await?;
        }
        Ok(())
    })
    .await?;

    step(
        "what a node took is served through it",
        taken_by_a_node(&cluster.registry(2)?, &registry),
    )
    .await?;
    step(
        "a tag moves through it only from where it is expected",
        conditions(&registry),
    )
    .await?;
    step(
        "what refers to an image is listed through it",
        referrers(&registry, &image),
    )
    .await?;

    step("nobody gets past it without credentials", async {
        for credentials in [None, Some((cluster.user(), "wrong"))] {
            stranger(&second.registry(credentials)?).await?;
        }
        Ok(())
    })
    .await?;
    second.stop().await?;
    cluster.finish().await
}

#[tokio::test]
async fn an_upload_outlives_the_front_end_that_began_it() -> Result<()> {
    let cluster = Cluster::builder().nodes(3).start().await?;
    let credentials = Some((cluster.user(), cluster.password()));
    let blob = Blob::new(media::LAYER, Random::new(4).bytes(2_000_000));
    let chunk = |from: usize, to: usize| blob.content.slice(from..to);

    let first = start(&cluster, "first").await?;
    let registry = first.registry(credentials)?;
    let mut upload = registry.open_upload("front/upload").await?;
    registry
        .send_chunk(&mut upload, 0, chunk(0, 700_000))
        .await?;
    let stale = upload.path.clone();
    registry
        .send_chunk(&mut upload, 700_000, chunk(700_000, 800_000))
        .await?;
    first.kill9()?;

    let second = start(&cluster, "second").await?;
    let registry = second.registry(credentials)?;
    step("another one knows how far it got", async {
        // A client that never heard the answer to its last chunk.
        let status = registry.get(&stale).send().await?.expect(204)?;
        let status = status.expect_header("range", "0-799999")?;
        ensure!(status.location()? == upload.path, "{status:?}");
        Ok(())
    })
    .await?;
    step("a chunk that does not fit is refused", async {
        let reply = registry
            .patch(&stale)
            .header("content-range", &"700000-700003")
            .body(Bytes::from_static(b"four"))
            .send()
            .await?;
        let reply = reply.expect_header("range", "0-799999")?;
        reply.expect_error(416, "BLOB_UPLOAD_INVALID")?;
        Ok(())
    })
    .await?;
    step("and it is finished there", async {
        registry
            .send_chunk(&mut upload, 800_000, chunk(800_000, 1_500_000))
            .await?;
        let reply = registry
            .put(&upload.end(&blob.digest))
            .body(chunk(1_500_000, 2_000_000))
            .send()
            .await?;
        reply
            .expect(201)?
            .expect_header("docker-content-digest", &blob.digest)?;
        registry.verify_blob("front/upload", &blob).await?;
        for id in cluster.ids() {
            let node = cluster.registry(id)?;
            node.verify_blob("front/upload", &blob).await?;
        }
        Ok(())
    })
    .await?;
    second.stop().await?;
    cluster.finish().await
}

async fn taken_by_a_node(node: &Registry, registry: &Registry) -> Result<()> {
    let image = Image::random(3, 1, 10_000);
    node.push_image("front/direct", "v1", &image).await?;
    registry.verify_image("front/direct", "v1", &image).await?;
    let refused = registry.get("/v2/front/direct/manifests/v2").send().await?;
    refused.expect_error(404, "MANIFEST_UNKNOWN")?;
    let tags = registry.get("/v2/front/end/tags/list?n=1").send().await?;
    let tags = tags.expect(200)?;
    ensure!(tags.json()?["tags"][0] == "image", "{tags:?}");
    let next = tags.header("link")?;
    ensure!(next.contains("last=image"), "Link: {next}");
    Ok(())
}

async fn conditions(registry: &Registry) -> Result<()> {
    let (image, next) = (Image::random(5, 1, 1_000), Image::random(6, 1, 1_000));
    for image in [&image, &next] {
        registry
            .push_image("front/tags", image.digest(), image)
            .await?;
    }
    let put = async |image: &Image, name: &str, value: &str| {
        let put = registry
            .put("/v2/front/tags/manifests/v1")
            .header("content-type", &image.manifest.media_type)
            .header(name, &value)
            .body(image.manifest.content.clone());
        put.send().await
    };
    put(&image, "if-none-match", "*").await?.expect(201)?;
    let refused = put(&next, "if-none-match", "*").await?;
    refused.expect_error(412, "TAG_NOT_AS_EXPECTED")?;
    let expected = format!("\"{}\"", image.digest());
    put(&next, "if-match", &expected).await?.expect(201)?;
    let refused = put(&next, "if-match", &expected).await?;
    refused.expect_error(412, "TAG_NOT_AS_EXPECTED")?;
    // What it does not understand, it does not pass over.
    for (name, value, status) in [
        ("if-none-match", expected.as_str(), 400),
        ("if-match", "\"v1\"", 400),
        ("if-match", "W/\"v1\"", 400),
        ("content-encoding", "gzip", 415),
    ] {
        put(&next, name, value).await?.expect(status)?;
    }
    let of_digest = format!("/v2/front/tags/manifests/{}", next.digest());
    let delete = registry.delete(&of_digest).header("if-match", &expected);
    delete.send().await?.expect(400)?;
    let large = registry.put("/v2/front/tags/manifests/v1");
    let large = large.body(vec![b' '; 5 << 20]).send().await?;
    large.expect(413)?;
    registry.get(&of_digest).send().await?.expect(200)?;
    let tagged = registry
        .put(&format!("{of_digest}?tag=v2"))
        .header("content-type", &next.manifest.media_type)
        .body(next.manifest.content.clone());
    let tagged = tagged.send().await?.expect(201)?;
    tagged.expect_header("oci-tag", "v2")?;
    Ok(())
}

async fn referrers(registry: &Registry, image: &Image) -> Result<()> {
    let artifact = artifact_of(image, 7);
    registry
        .push_image("front/end", artifact.digest(), &artifact)
        .await?;
    let list = async |filter: &str| {
        let path = format!("/v2/front/end/referrers/{}{filter}", image.digest());
        let reply = registry.get(&path).send().await?.expect(200)?;
        Ok::<_, anyhow::Error>(reply.json()?["manifests"].clone())
    };
    let all = list("").await?;
    ensure!(all[0]["digest"] == artifact.digest(), "{all}");
    ensure!(list(&format!("?artifactType={}", media::SBOM)).await? == all);
    ensure!(list("?artifactType=a/b").await? == serde_json::json!([]));
    Ok(())
}

async fn stranger(registry: &Registry) -> Result<()> {
    for path in ["/v2/", "/v2/front/end/manifests/image"] {
        let reply = registry.get(path).send().await?;
        let challenge = reply.header("www-authenticate")?;
        ensure!(challenge.starts_with("Basic realm="), "{challenge}");
        reply.expect_error(401, "UNAUTHORIZED")?;
    }
    Ok(())
}

/// Before all nodes, none of which it prefers.
async fn start(cluster: &Cluster, name: &str) -> Result<FrontEnd> {
    let mut nodes = Vec::new();
    for id in cluster.ids() {
        nodes.push(cluster.node(id)?.endpoint());
    }
    let folder = cluster.scratch(&format!("front-end-{name}"))?;
    let started = FrontEnd::start(&nodes, &folder).await;
    started.with_context(|| format!("start the {name} front end"))
}

async fn pulled(
    skopeo: &Skopeo,
    from: &Registry,
    name: &str,
    digest: &str,
    folder: &std::path::Path,
) -> Result<()> {
    let image = format!("{}/front/end:{name}", from.address());
    let pulled = skopeo.pull(&image, folder).await?;
    ensure!(pulled == digest, "{image} is {pulled}, pushed {digest}");
    Ok(())
}
