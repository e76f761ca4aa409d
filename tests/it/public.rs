//! The public registries with real clients: pulls without a login through any node,
//! pushes with the password of ECR Public, and nothing of what is private.

use anyhow::{Context, Result, ensure};
use entrepot_harness::{AwsAccount, Cluster, Engine, Image, Layout, Proxy, Registry, Skopeo};
use serde_json::Value;

use crate::support::{EU, US, step};

const DOMAIN: &str = "registry.test";
const HOST: &str = "public.registry.test";
const OWN: &str = "111122223333";
const ALIAS: &str = "bbbbccccdddd";
const OTHER: &str = "444455556666";

struct World {
    cluster: Cluster,
    own: AwsAccount,
    other: AwsAccount,
    image: Image,
    /// Of the image, which is `image` there.
    layout: Layout,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_pulls_what_is_public_through_any_node() -> Result<()> {
    let world = World::start().await?;
    step("a repository is made through another region", make(&world)).await?;
    step("who may not push does not", refuse(&world)).await?;
    step("its account pushes with its password", push(&world)).await?;
    step("everybody pulls and lists tags", pull(&world)).await?;
    step("what is private is not there", hide(&world)).await?;
    step(
        "docker pulls without a login and pushes with one",
        docker(&world),
    )
    .await?;
    world.cluster.finish().await
}

// === impl World ===

impl World {
    async fn start() -> Result<Self> {
        let cluster = Cluster::builder()
            .regions([US, EU])
            .nodes(2)
            .tls()
            .domain(DOMAIN)
            .start()
            .await?;
        let image = Image::random(3, 2, 300_000);
        let mut layout = Layout::create(&cluster.scratch("layout")?)?;
        layout.add_image("image", &image)?;
        Ok(Self {
            own: AwsAccount::create(&cluster, OWN).await?,
            other: AwsAccount::create(&cluster, OTHER).await?,
            cluster,
            image,
            layout,
        })
    }

    fn proxy(&self, node: u64) -> Result<Proxy> {
        Proxy::open(self.cluster.node(node)?.client_address())
    }

    async fn aws(&self, account: &AwsAccount, node: u64, words: &[&str]) -> Result<String> {
        let asked = [&["ecr-public"], words].concat();
        let node = self.cluster.node(node)?;
        let authority = Some(self.cluster.authority()?);
        account
            .aws(&asked, &node.endpoint(), node.region(), authority)
            .await
    }

    /// The password with which `account` pushes to public registries.
    async fn password(&self, account: &AwsAccount) -> Result<String> {
        self.aws(account, 1, &["get-login-password"]).await
    }
}

// === steps ===

fn name(name: &str) -> String {
    format!("{HOST}/{ALIAS}/{name}")
}

async fn make(world: &World) -> Result<()> {
    let asked = ["create-repository", "--repository-name", "app"];
    let made: Value = serde_json::from_str(&world.aws(&world.own, 3, &asked).await?)?;
    let uri = made["repository"]["repositoryUri"].as_str();
    ensure!(uri == Some(&name("app")), "{made}");
    Ok(())
}

async fn refuse(world: &World) -> Result<()> {
    let (proxy, app) = (world.proxy(1)?, name("app:v1"));
    let nobody = Skopeo::new(None).behind(&proxy);
    let layout = world.layout.folder();
    nobody.try_push(layout, "image", &app).await?.failure()?;
    let password = world.password(&world.other).await?;
    let stranger = nobody.with_credentials(Some(("AWS", &password)));
    let refused = stranger.try_push(layout, "image", &app).await?.failure()?;
    ensure!(
        refused.stderr.contains("ecr-public:InitiateLayerUpload"),
        "{}",
        refused.stderr
    );
    Ok(())
}

async fn push(world: &World) -> Result<()> {
    let password = world.password(&world.own).await?;
    // Through the other region: it goes over in pieces.
    let proxy = world.proxy(3)?;
    let owner = Skopeo::new(Some(("AWS", &password))).behind(&proxy);
    let layout = world.layout.folder();
    owner.push(layout, "image", &name("app:v1")).await?;
    let absent = name("absent:v1");
    owner.try_push(layout, "image", &absent).await?.failure()?;
    Ok(())
}

async fn pull(world: &World) -> Result<()> {
    for node in world.cluster.ids() {
        let proxy = world.proxy(node)?;
        let nobody = Skopeo::new(None).behind(&proxy);
        let folder = world.cluster.scratch(&format!("pulled-{node}"))?;
        let digest = nobody.pull(&name("app:v1"), &folder).await?;
        ensure!(
            digest == world.image.digest(),
            "{digest} through node {node}"
        );
        let tags = nobody.tags(&name("app")).await?.success()?;
        let tags: Value = serde_json::from_str(&tags.stdout)?;
        ensure!(tags["Tags"] == serde_json::json!(["v1"]), "{tags}");
    }
    Ok(())
}

async fn hide(world: &World) -> Result<()> {
    let secret = Image::random(9, 1, 20_000);
    let own = Some((&*world.own.key_id, &*world.own.secret));
    let owner = world.cluster.registry(1)?.with_credentials(own);
    owner.push_image("app", "private", &secret).await?;
    for node in world.cluster.ids() {
        let public = world.cluster.registry(node)?.with_host(HOST);
        for credentials in [None, own] {
            hides(&public.with_credentials(credentials), &secret).await?;
        }
    }
    let hidden = owner.get("/v2/app/manifests/v1").send().await?.status;
    ensure!(hidden == 404, "{hidden}");
    let nobody = world.cluster.registry(1)?.with_credentials(None);
    let uploads = format!("/v2/{ALIAS}/app/blobs/uploads/");
    let opened = nobody.with_host(HOST).post(&uploads).send().await?;
    ensure!(opened.status == 401, "{}", opened.status);
    let challenge = opened.header("www-authenticate").context("a challenge")?;
    let realm = format!("Bearer realm=\"https://{HOST}/token/\"");
    ensure!(challenge.starts_with(&realm), "{challenge}");
    Ok(())
}

/// Asks for `secret` under every name that it could have.
async fn hides(public: &Registry, secret: &Image) -> Result<()> {
    let blob = &secret.blobs[0].digest;
    for name in [
        format!("{ALIAS}/app"),
        "app".to_owned(),
        format!("{OWN}/app"),
    ] {
        for path in [
            format!("/v2/{name}/blobs/{blob}"),
            format!("/v2/{name}/manifests/private"),
            format!("/v2/{name}/manifests/{}", secret.digest()),
            "/v2/_catalog".to_owned(),
        ] {
            let found = public.get(&path).send().await?.status;
            ensure!(found == 404, "{path}: {found}");
        }
    }
    Ok(())
}

async fn docker(world: &World) -> Result<()> {
    let proxy = world.proxy(4)?;
    let engine = Engine::start_behind(&proxy, HOST).await?;
    let (app, copy) = (name("app:v1"), name("app:docker"));
    engine.run(&["pull", "--quiet", &app]).await?;
    engine.run(&["tag", &app, &copy]).await?;
    engine
        .try_run(&["push", "--quiet", &copy])
        .await?
        .failure()?;
    let password = world.password(&world.own).await?;
    engine.login(HOST, "AWS", &password).await?;
    engine.run(&["push", "--quiet", &copy]).await?;
    engine.stop().await
}
