//! Every program that people push and pull with, against a region of three nodes:
//! each pushes through one node and pulls through another, and what arrives is
//! what was sent, digest by digest.
//!
//! A program that is missing fails the test: `./tests/run` installs them all.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{
    Cluster, Containerd, Engine, Image, Index, Layout, Oras, Podman, Registry, artifact_of,
    digest_of, media,
};

use crate::support::step;

/// What the programs are given: an OCI layout on disk.
struct Content {
    image: Image,
    index: Index,
    artifact: Image,
    layout: Layout,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_program_pushes_and_pulls() -> Result<()> {
    let cluster = Cluster::builder().nodes(3).start().await?;
    let content = Content::new(&cluster.scratch("layout")?)?;

    step("skopeo", skopeo(&cluster, &content)).await?;
    step("oras", oras(&cluster, &content)).await?;
    step("podman", podman(&cluster, &content)).await?;
    step("containerd", containerd(&cluster, &content)).await?;
    step("docker", docker(&cluster, &content)).await?;
    cluster.finish().await
}

// === impl Content ===

impl Content {
    fn new(folder: &Path) -> Result<Self> {
        let image = Image::random(40, 2, 30_000);
        let content = Self {
            artifact: artifact_of(&image, 41),
            index: Index::random(42),
            layout: Layout::create(folder)?,
            image,
        };
        content.written()
    }

    fn written(mut self) -> Result<Self> {
        self.layout.add_image("image", &self.image)?;
        self.layout.add_index("index", &self.index)?;
        self.layout.add_image("artifact", &self.artifact)?;
        Ok(self)
    }
}

/// `host:port/repository:tag` through node `id`.
fn name(cluster: &Cluster, id: u64, repository: &str, tag: &str) -> Result<String> {
    let registry = cluster.registry(id)?;
    Ok(format!("{}/{repository}:{tag}", registry.address()))
}

/// The digest of what `reference` names, as a node says it.
async fn digest_at(registry: &Registry, repository: &str, reference: &str) -> Result<String> {
    let path = format!("/v2/{repository}/manifests/{reference}");
    let reply = registry.get(&path).send().await?.expect(200)?;
    let digest = digest_of(&reply.body);
    let reply = reply.expect_header("docker-content-digest", &digest)?;
    ensure!(!reply.body.is_empty(), "{}: no body", reply.what);
    Ok(digest)
}

/// What refers to a manifest: digests and artifact types. (OCI distribution,
/// "Listing Referrers")
async fn referrers(
    registry: &Registry,
    repository: &str,
    subject: &str,
) -> Result<Vec<(String, String)>> {
    let path = format!("/v2/{repository}/referrers/{subject}");
    let reply = registry.get(&path).send().await?.expect(200)?;
    let index = reply.json()?;
    let listed = index["manifests"].as_array();
    let listed = listed.with_context(|| format!("{path}: {index}"))?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let entries = listed.iter();
    Ok(entries
        .map(|entry| (text(&entry["digest"]), text(&entry["artifactType"])))
        .collect())
}

// === the programs ===

async fn skopeo(cluster: &Cluster, content: &Content) -> Result<()> {
    let skopeo = cluster.skopeo();
    let layout = content.layout.folder();
    for (tag, digest) in [
        ("image", content.image.digest()),
        ("index", &content.index.manifest.digest),
        ("artifact", content.artifact.digest()),
    ] {
        let to = name(cluster, 1, "skopeo/app", tag)?;
        skopeo.push(layout, tag, &to).await?;
        let from = name(cluster, 2, "skopeo/app", tag)?;
        let folder = cluster.scratch(&format!("skopeo-{tag}"))?;
        let pulled = skopeo.pull(&from, &folder).await?;
        ensure!(pulled == digest, "{from}: pushed {digest}, pulled {pulled}");
    }
    let third = cluster.registry(3)?;
    third
        .verify_image("skopeo/app", "image", &content.image)
        .await?;
    third
        .verify_index("skopeo/app", "index", &content.index)
        .await?;
    let artifact = (content.artifact.digest().to_owned(), media::SBOM.to_owned());
    let referrers = referrers(&third, "skopeo/app", content.image.digest()).await?;
    ensure!(referrers == [artifact], "{referrers:?}");
    Ok(())
}

async fn oras(cluster: &Cluster, content: &Content) -> Result<()> {
    let oras = Oras::new(cluster.user(), cluster.password())?;
    let layout = content.layout.folder();
    for (tag, digest) in [
        ("image", content.image.digest()),
        ("index", &content.index.manifest.digest),
    ] {
        let to = name(cluster, 2, "oras/app", tag)?;
        let pushed = oras.push_layout(layout, tag, &to).await?;
        ensure!(pushed == digest, "{to}: sent {digest}, pushed {pushed}");
        let from = name(cluster, 3, "oras/app", tag)?;
        let folder = cluster.scratch(&format!("oras-{tag}"))?;
        let pulled = oras.pull_layout(&from, &folder).await?;
        ensure!(pulled.iter().any(|found| found == digest), "{pulled:?}");
    }
    let tags = oras.tags(&name(cluster, 1, "oras/app", "image")?).await?;
    ensure!(tags == ["image", "index"], "{tags:?}");

    let files = cluster.scratch("oras-files")?;
    let bill = files.join("bill-of-materials.json");
    fs::write(&bill, "{\"spdxVersion\": \"SPDX-2.3\"}").context("write a file")?;
    let file = format!("{}:application/spdx+json", bill.display());
    let subject = content.image.manifest.descriptor();
    let to = name(cluster, 1, "oras/app", "bill")?;
    let pushed = oras.push_files(&to, Some(&subject), &[&file]).await?;
    let from = name(cluster, 2, "oras/app", "bill")?;
    let pulled = cluster.scratch("oras-pulled")?;
    oras.pull_files(&from, &pulled).await?;
    let content_of = |path: &Path| fs::read(path).with_context(|| format!("{}", path.display()));
    ensure!(content_of(&pulled.join("bill-of-materials.json"))? == content_of(&bill)?);
    let third = cluster.registry(3)?;
    let found = digest_at(&third, "oras/app", "bill").await?;
    ensure!(found == pushed, "pushed {pushed}, another node has {found}");
    let referrers = referrers(&third, "oras/app", content.image.digest()).await?;
    ensure!(
        referrers == [(pushed, ORAS_TYPE.to_owned())],
        "{referrers:?}"
    );
    Ok(())
}

/// The type of a configuration that says nothing, by which an artifact without a
/// type of its own is listed.
const ORAS_TYPE: &str = "application/vnd.unknown.config.v1+json";

async fn podman(cluster: &Cluster, content: &Content) -> Result<()> {
    let podman = Podman::new(cluster.user(), cluster.password())?;
    let config = &content.image.blobs[0].digest;
    let from = name(cluster, 1, "skopeo/app", "image")?;
    podman.pull_as_nobody(&from).await?.failure()?;
    let id = podman.pull(&from, None).await?;
    ensure!(id == *config, "{from}: pushed {config}, pulled {id}");
    let to = name(cluster, 2, "podman/app", "image")?;
    let pushed = podman.push(&from, &to).await?;
    let third = digest_at(&cluster.registry(3)?, "podman/app", "image").await?;
    ensure!(third == pushed, "pushed {pushed}, another node has {third}");
    podman.forget().await?;
    let id = podman
        .pull(&name(cluster, 1, "podman/app", "image")?, None)
        .await?;
    ensure!(id == *config, "pushed {config}, pulled {id}");

    let to = name(cluster, 3, "skopeo/app", "multi")?;
    let parts = parts(cluster, 3, content)?.into_iter().zip(PLATFORMS);
    let pushed = podman.push_index(&parts.collect::<Vec<_>>(), &to).await?;
    let first = digest_at(&cluster.registry(1)?, "skopeo/app", "multi").await?;
    ensure!(first == pushed, "pushed {pushed}, another node has {first}");
    for (image, platform) in content.index.images.iter().zip(PLATFORMS) {
        let from = name(cluster, 2, "skopeo/app", "multi")?;
        let id = podman.pull(&from, Some(platform)).await?;
        let config = &image.blobs[0].digest;
        ensure!(id == *config, "{platform}: pushed {config}, pulled {id}");
    }
    Ok(())
}

/// What [`Index::random`] is made of.
const PLATFORMS: [&str; 3] = ["linux/amd64", "linux/arm64", "linux/arm/v7"];

/// The images of the index that skopeo pushed, by digest, through node `id`.
fn parts(cluster: &Cluster, id: u64, content: &Content) -> Result<Vec<String>> {
    let registry = cluster.registry(id)?;
    let images = content.index.images.iter();
    Ok(images
        .map(|image| format!("{}/skopeo/app@{}", registry.address(), image.digest()))
        .collect())
}

async fn containerd(cluster: &Cluster, content: &Content) -> Result<()> {
    let containerd = Containerd::start(cluster.user(), cluster.password()).await?;
    for (tag, digest) in [
        ("image", content.image.digest()),
        ("index", &content.index.manifest.digest),
    ] {
        let from = name(cluster, 3, "skopeo/app", tag)?;
        containerd.pull(&from).await?;
        let pulled = containerd.digest(&from).await?;
        ensure!(pulled == digest, "{from}: pushed {digest}, pulled {pulled}");
        let to = name(cluster, 1, "containerd/app", tag)?;
        containerd.push(&from, &to).await?;
        containerd.forget(&from).await?;
        let back = name(cluster, 2, "containerd/app", tag)?;
        containerd.pull(&back).await?;
        let pulled = containerd.digest(&back).await?;
        ensure!(pulled == digest, "{back}: pushed {digest}, pulled {pulled}");
        containerd.forget(&back).await?;
    }
    let third = cluster.registry(3)?;
    third
        .verify_index("containerd/app", "index", &content.index)
        .await?;
    containerd.stop().await
}

async fn docker(cluster: &Cluster, content: &Content) -> Result<()> {
    let engine = Engine::start().await?;
    for id in cluster.ids() {
        let address = cluster.registry(id)?.address().to_owned();
        let login = engine.login(&address, cluster.user(), cluster.password());
        login.await?;
    }
    let config = &content.image.blobs[0].digest;
    let from = name(cluster, 1, "skopeo/app", "image")?;
    ensure!(pulled(&engine, &from).await? == *config, "{from}");
    let to = name(cluster, 2, "docker/app", "image")?;
    engine.run(&["tag", &from, &to]).await?;
    engine.run(&["push", "--quiet", &to]).await?;
    engine.run(&["rmi", "--force", config]).await?;
    let back = name(cluster, 3, "docker/app", "image")?;
    ensure!(pulled(&engine, &back).await? == *config, "{back}");

    let to = name(cluster, 1, "skopeo/app", "docker-multi")?;
    let pushed = engine.push_index(&parts(cluster, 1, content)?, &to).await?;
    let third = digest_at(&cluster.registry(3)?, "skopeo/app", "docker-multi").await?;
    ensure!(third == pushed, "pushed {pushed}, another node has {third}");
    let from = name(cluster, 2, "skopeo/app", "docker-multi")?;
    let config = &content.index.images[0].blobs[0].digest;
    ensure!(pulled(&engine, &from).await? == *config, "{from}");
    engine.stop().await
}

/// Pulls an image; the digest of its configuration.
async fn pulled(engine: &Engine, image: &str) -> Result<String> {
    engine.run(&["pull", "--quiet", image]).await?;
    engine.run(&["inspect", "--format", "{{.Id}}", image]).await
}
