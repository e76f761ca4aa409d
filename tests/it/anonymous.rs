//! Pulls without a login, of what a repository's policy gives to everybody: by
//! every program, from the registry's own host and by TLS, as they come from the
//! world outside.

use anyhow::{Result, ensure};
use entrepot_harness::{
    AwsAccount, Cluster, Containerd, Engine, Image, Oras, Podman, Proxy, Skopeo,
};

use crate::support::{US, step};

const DOMAIN: &str = "registry.test";
const ACCOUNT: &str = "111122223333";
const PUBLIC: &str = "open/app";
const PRIVATE: &str = "closed/app";
/// As a user writes it who wants the whole world to pull.
const POLICY: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Principal": "*", "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]}]}"#;

/// What the programs are given.
struct World {
    cluster: Cluster,
    account: AwsAccount,
    proxy: Proxy,
    image: Image,
    /// Of the registry.
    host: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_program_pulls_without_a_login_what_everybody_may() -> Result<()> {
    let world = World::start().await?;
    step("skopeo", skopeo(&world)).await?;
    step("podman", podman(&world)).await?;
    step("oras", oras(&world)).await?;
    step("containerd", containerd(&world)).await?;
    step("docker", docker(&world)).await?;
    world.cluster.finish().await
}

// === impl World ===

impl World {
    async fn start() -> Result<Self> {
        let cluster = Cluster::builder()
            .nodes(2)
            .domain(DOMAIN)
            .tls()
            .start()
            .await?;
        let account = AwsAccount::create(&cluster, ACCOUNT).await?;
        let proxy = Proxy::open(cluster.node(2)?.client_address())?;
        let world = Self {
            image: Image::random(3, 2, 50_000),
            host: format!("{ACCOUNT}.dkr.ecr.{US}.{DOMAIN}"),
            cluster,
            account,
            proxy,
        };
        let owner = world.cluster.registry(1)?;
        let owner = owner.with_credentials(Some((&world.account.key_id, &world.account.secret)));
        for repository in [PUBLIC, PRIVATE] {
            owner.push_image(repository, "v1", &world.image).await?;
        }
        let asked = ["ecr", "set-repository-policy", "--repository-name", PUBLIC];
        let asked = [&asked[..], &["--policy-text", POLICY]].concat();
        let endpoint = world.cluster.node(1)?.endpoint();
        let authority = Some(world.cluster.authority()?);
        world.account.aws(&asked, &endpoint, US, authority).await?;
        Ok(world)
    }

    fn name(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.host)
    }

    fn public(&self) -> String {
        self.name(PUBLIC, "v1")
    }

    fn private(&self) -> String {
        self.name(PRIVATE, "v1")
    }
}

// === the programs ===

async fn skopeo(world: &World) -> Result<()> {
    let nobody = Skopeo::new(None).behind(&world.proxy);
    let folder = world.cluster.scratch("skopeo")?;
    let digest = nobody.pull(&world.public(), &folder).await?;
    ensure!(digest == world.image.digest(), "{digest}");
    for closed in [world.private(), world.name("absent/app", "v1")] {
        ensure!(nobody.pull(&closed, &folder).await.is_err(), "{closed}");
    }
    let owner = Skopeo::new(Some((&world.account.key_id, &world.account.secret)));
    let folder = world.cluster.scratch("skopeo-owner")?;
    owner
        .behind(&world.proxy)
        .pull(&world.private(), &folder)
        .await?;
    Ok(())
}

async fn podman(world: &World) -> Result<()> {
    let podman = Podman::new(&world.account.key_id, &world.account.secret)?;
    let podman = podman.behind(&world.proxy);
    podman.pull_as_nobody(&world.public()).await?.success()?;
    podman.pull_as_nobody(&world.private()).await?.failure()?;
    podman.pull(&world.private(), None).await?;
    podman
        .push(&world.private(), &world.name("podman/app", "v1"))
        .await?;
    Ok(())
}

async fn oras(world: &World) -> Result<()> {
    let nobody = Oras::as_nobody(&world.proxy)?;
    let folder = world.cluster.scratch("oras")?;
    let pulled = nobody.pull_layout(&world.public(), &folder).await?;
    ensure!(
        pulled.iter().any(|it| it == world.image.digest()),
        "{pulled:?}"
    );
    let closed = world.cluster.scratch("oras-closed")?;
    let refused = nobody.pull_layout(&world.private(), &closed).await;
    ensure!(refused.is_err(), "{refused:?}");
    Ok(())
}

async fn containerd(world: &World) -> Result<()> {
    let (user, password) = (&world.account.key_id, &world.account.secret);
    let containerd = Containerd::start(user, password).await?;
    let (open, closed) = (world.public(), world.private());
    let pulled = containerd.pull_as_nobody(&open, &world.proxy).await?;
    pulled.success()?;
    let digest = containerd.digest(&open).await?;
    ensure!(digest == world.image.digest(), "{digest}");
    let refused = containerd.pull_as_nobody(&closed, &world.proxy).await?;
    refused.failure()?;
    containerd.stop().await
}

async fn docker(world: &World) -> Result<()> {
    let engine = Engine::start_behind(&world.proxy, &world.host).await?;
    let (open, closed) = (world.public(), world.private());
    engine.run(&["pull", "--quiet", &open]).await?;
    let refused = engine.try_run(&["pull", "--quiet", &closed]).await?;
    let refused = refused.failure()?;
    ensure!(
        refused.stderr.contains("unauthorized") || refused.stderr.contains("denied"),
        "{}",
        refused.stderr
    );
    // A login by Basic goes on to work, and a wrong one is told so.
    let (user, secret) = (&world.account.key_id, &world.account.secret);
    let wrong = [
        "login",
        "--username",
        user,
        "--password",
        "wrong",
        &world.host,
    ];
    engine.try_run(&wrong).await?.failure()?;
    engine.login(&world.host, user, secret).await?;
    engine.run(&["pull", "--quiet", &closed]).await?;
    let copy = world.name("docker/copy", "v2");
    engine.run(&["tag", &closed, &copy]).await?;
    engine.run(&["push", "--quiet", &copy]).await?;
    engine.stop().await
}
