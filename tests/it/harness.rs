//! The harness itself, against a registry that is known to work: what fails
//! here is the machine or the harness, not Entrepot.

use anyhow::{Result, ensure};
use entrepot_harness::{
    Blob, DockerRegistry, Engine, Image, Index, Layout, MachineImage, SHELL_GREETING, Skopeo,
    artifact_of, media,
};

#[tokio::test]
async fn raw_client_pushes_and_reads_back() -> Result<()> {
    let known = DockerRegistry::start().await?;
    let registry = known.registry()?;
    let image = Image::random(1, 2, 50_000);
    registry.push_image("harness/raw", "one", &image).await?;
    registry.verify_image("harness/raw", "one", &image).await?;
    let docker = Image::random_docker(2, 2, 50_000);
    registry.push_image("harness/raw", "two", &docker).await?;
    registry.verify_image("harness/raw", "two", &docker).await?;
    let artifact = artifact_of(&image, 3);
    registry
        .push_image("harness/raw", "sbom", &artifact)
        .await?;
    registry
        .verify_image("harness/raw", "sbom", &artifact)
        .await?;

    let blob = Blob::new(media::LAYER, vec![7; 100_000]);
    let mut upload = registry.open_upload("harness/raw").await?;
    let (first, second) = (blob.content.slice(..60_000), blob.content.slice(60_000..));
    registry.send_chunk(&mut upload, 0, first).await?;
    registry.send_chunk(&mut upload, 60_000, second).await?;
    let ended = registry.put(&upload.end(&blob.digest)).send().await?;
    ended.expect(201)?;
    registry.verify_blob("harness/raw", &blob).await?;
    let read = registry.read_blob("harness/raw", &blob.digest).await?;
    ensure!(read == (blob.digest.clone(), 100_000), "read {read:?}");
    Ok(())
}

#[tokio::test]
async fn skopeo_copies_there_and_back() -> Result<()> {
    let known = DockerRegistry::start().await?;
    let registry = known.registry()?;
    let folder = tempfile::tempdir()?;
    let index = Index::random(4);
    let mut layout = Layout::create(&folder.path().join("layout"))?;
    layout.add_index("multi", &index)?;
    let name = format!("{}/harness/skopeo:multi", registry.address());
    let skopeo = Skopeo::new(None);
    skopeo.push(layout.folder(), "multi", &name).await?;
    let pulled = skopeo.pull(&name, &folder.path().join("pulled")).await?;
    ensure!(pulled == index.manifest.digest, "pulled {pulled}");
    registry
        .verify_index("harness/skopeo", "multi", &index)
        .await
}

#[tokio::test]
async fn engine_runs_a_machine_image() -> Result<()> {
    let known = DockerRegistry::start().await?;
    let registry = known.registry()?;
    let folder = tempfile::tempdir()?;
    let image = MachineImage::build(&folder.path().join("layout")).await?;
    let name = format!("{}/harness/machine:one", registry.address());
    Skopeo::new(None)
        .push(image.folder(), MachineImage::NAME, &name)
        .await?;
    let engine = Engine::start().await?;
    engine.run(&["pull", "--quiet", &name]).await?;
    let said = engine
        .run(&["run", "--rm", "--network", "none", &name])
        .await?;
    ensure!(said == SHELL_GREETING, "the container said: {said}");
    let again = format!("{}/harness/machine:two", registry.address());
    engine.run(&["tag", &name, &again]).await?;
    engine.run(&["push", "--quiet", &again]).await?;
    engine.stop().await
}
