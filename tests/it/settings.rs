//! The settings of registries and repositories, set by the CLI and met by
//! clients.

use anyhow::{Result, ensure};
use entrepot_harness::{Admin, Blob, Cluster, Image, Index, Layout, Registry, media};
use serde_json::json;

use crate::support::{EU, REPLICATED, US, step};

const SET_OFF: [&str; 4] = ["registry", "set", "--create-on-push", "off"];
const SET_ON: [&str; 4] = ["registry", "set", "--create-on-push", "on"];

#[tokio::test]
async fn pushes_create_repositories_unless_that_is_switched_off() -> Result<()> {
    let cluster = Cluster::builder()
        .regions([US, EU])
        .nodes(2)
        .start()
        .await?;
    let admin = cluster.admin(1)?;
    // Never the node that is told.
    let here = cluster.registry(2)?;
    let image = Image::random(1, 1, 10_000);

    step("a push creates its repository at first", async {
        expect_creation(&cluster.admin(2)?, US, true).await?;
        here.push_image("settings/known", "one", &image).await
    })
    .await?;
    step("switched off, a first push is refused", async {
        admin.run(&SET_OFF).await?;
        expect_creation(&cluster.admin(2)?, US, false).await?;
        refused(&here, &image).await?;
        cluster.admin(2)?.run(&SET_OFF).await?;
        refused(&cluster.registry(1)?, &image).await
    })
    .await?;
    step("skopeo shows its user what to do", skopeo(&cluster)).await?;
    step("a repository that exists takes pushes", async {
        let image = Image::random(2, 1, 10_000);
        here.push_image("settings/known", "two", &image).await
    })
    .await?;
    step("so does one that was created by hand", async {
        let create = ["repository", "create", "settings/new"];
        let created = admin.json(&create).await?;
        ensure!(created["created"] == true, "{created}");
        here.push_image("settings/new", "latest", &image).await?;
        let again = cluster.admin(2)?.json(&create).await?;
        ensure!(again["created"] == false, "{again}");
        here.verify_image("settings/new", "latest", &image).await
    })
    .await?;
    step("the other region has a setting of its own", async {
        let there = cluster.admin(3)?;
        expect_creation(&there, EU, true).await?;
        there.run(&SET_OFF).await?;
        refused(&cluster.registry(4)?, &image).await
    })
    .await?;
    step("what a rule copies creates its repository", async {
        admin.put_rule("to-europe", EU, None).await?;
        here.push_image("settings/new", "copied", &image).await?;
        admin.wait_replicated(None, 1, REPLICATED).await?;
        let there = cluster.registry(4)?;
        there.verify_image("settings/new", "copied", &image).await
    })
    .await?;
    step("a repository is deleted, and not made anew", async {
        let name = "settings/new";
        let refused = admin.run(&["repository", "delete", name, "--yes"]).await;
        let Err(refused) = refused else {
            anyhow::bail!("{name} was deleted with its images");
        };
        let said = format!("{refused:#}");
        ensure!(said.contains("has images"), "{said}");
        here.verify_image(name, "latest", &image).await?;
        let delete = ["repository", "delete", name, "--force", "--yes"];
        let deleted = admin.json(&delete).await?;
        ensure!(deleted == json!({"deleted": name, "images": 1, "tags": 2}));
        gone(&cluster.registry(1)?, name).await?;
        gone(&here, name).await?;
        // Its replica is another repository.
        let there = cluster.registry(4)?;
        there.verify_image(name, "copied", &image).await
    })
    .await?;
    step("switched on again, a first push works", async {
        admin.run(&SET_ON).await?;
        here.push_image("settings/refused", "latest", &image).await
    })
    .await?;
    cluster.finish().await
}

async fn expect_creation(admin: &Admin, region: &str, on: bool) -> Result<()> {
    let shown = admin.json(&["registry", "show"]).await?;
    let told = ["account", "region", "create_on_push"].map(|key| &shown[key]);
    let expected = [json!("000000000001"), json!(region), json!(on)];
    ensure!(told == expected.each_ref(), "{shown}");
    Ok(())
}

/// That nobody is told of a repository any more, by any way.
async fn gone(node: &Registry, name: &str) -> Result<()> {
    for path in ["manifests/latest", "tags/list"] {
        let path = format!("/v2/{name}/{path}");
        let reply = node.get(&path).send().await?.expect(404)?;
        ensure!(reply.first_error()?["code"] != "", "{}", reply.what);
    }
    let catalog = node.get("/v2/_catalog").send().await?.expect(200)?.json()?;
    let listed = catalog["repositories"].as_array().cloned();
    ensure!(
        !listed.unwrap_or_default().contains(&json!(name)),
        "{catalog}"
    );
    Ok(())
}

/// That nothing which begins or ends a push creates `settings/refused`, and
/// that the refusal says what would.
async fn refused(node: &Registry, image: &Image) -> Result<()> {
    let blob = &image.blobs[0];
    let uploads = "/v2/settings/refused/blobs/uploads/";
    let mount = format!("{uploads}?mount={}&from=settings/known", blob.digest);
    let whole = format!("{uploads}?digest={}", blob.digest);
    let manifest = &image.manifest;
    let put = node
        .put("/v2/settings/refused/manifests/latest")
        .header("content-type", &manifest.media_type)
        .body(manifest.content.clone());
    for request in [
        node.post(uploads).header("content-length", "0"),
        node.post(&mount).header("content-length", "0"),
        node.post(&whole).body(blob.content.clone()),
        put,
    ] {
        let reply = request.send().await?.expect_error(404, "NAME_UNKNOWN")?;
        let error = reply.first_error()?;
        let message = error["message"].as_str().unwrap_or_default();
        ensure!(
            message.contains("`entrepot repository create settings/refused`"),
            "{}: {error}",
            reply.what
        );
    }
    Ok(())
}

async fn skopeo(cluster: &Cluster) -> Result<()> {
    let mut layout = Layout::create(&cluster.scratch("layout")?)?;
    let image = Image::random(3, 1, 10_000);
    layout.add_image("one", &image)?;
    let name = format!("{}/settings/refused:one", cluster.registry(2)?.address());
    let pushed = cluster.skopeo().push(layout.folder(), "one", &name).await;
    let Err(error) = pushed else {
        anyhow::bail!("skopeo could push to {name}");
    };
    let said = format!("{error:#}");
    ensure!(
        said.contains("entrepot repository create settings/refused"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn a_repository_takes_sparse_indexes_if_it_is_told_to() -> Result<()> {
    let cluster = Cluster::builder()
        .regions([US, EU])
        .nodes(1)
        .start()
        .await?;
    let admin = cluster.admin(1)?;
    let (here, there) = (cluster.registry(1)?, cluster.registry(2)?);
    let index = Index::random(1);
    let [present, late, absent] = &index.images[..] else {
        anyhow::bail!("an index of three images");
    };

    step("at first an index needs all that it names", async {
        here.push_image("settings/multi", present.digest(), present)
            .await?;
        refuses(&here, &index, &[late, absent]).await
    })
    .await?;
    step("a repository that is told to takes a sparse one", async {
        admin.put_rule("to-europe", EU, None).await?;
        set_sparse(&admin, "allow").await?;
        here.put_manifest("settings/multi", "latest", &index.manifest)
            .await?;
        serves(&here, &index, &[present], &[late, absent]).await
    })
    .await?;
    step("a rule copies what there is of it", async {
        let tasks = admin.wait_replicated(None, 1, REPLICATED).await?;
        ensure!(tasks.len() == 1, "{tasks:?}");
        serves(&there, &index, &[present], &[late, absent]).await?;
        // The destination's own setting is untouched, and nobody else's push
        // gets past it.
        let shown = cluster.admin(2)?.json(&SHOW).await?;
        ensure!(shown["sparse_indexes"] == "refuse", "{shown}");
        let other = Index {
            manifest: Blob::new(media::INDEX, format!("{} ", text(&index.manifest)?)),
            ..index.clone()
        };
        refuses(&there, &other, &[late, absent]).await
    })
    .await?;
    step("what comes later follows", async {
        here.push_image("settings/multi", late.digest(), late)
            .await?;
        admin.wait_replicated(None, 2, REPLICATED).await?;
        serves(&here, &index, &[present, late], &[absent]).await?;
        serves(&there, &index, &[present, late], &[absent]).await
    })
    .await?;
    step("told not to, it keeps what it has", async {
        set_sparse(&admin, "refuse").await?;
        serves(&here, &index, &[present, late], &[absent]).await?;
        let other = Index::random(2);
        let images: Vec<&Image> = other.images.iter().collect();
        refuses(&here, &other, &images).await
    })
    .await?;
    cluster.finish().await
}

const SHOW: [&str; 3] = ["repository", "show", "settings/multi"];

async fn set_sparse(admin: &Admin, answer: &str) -> Result<()> {
    let set = [
        "repository",
        "set",
        "settings/multi",
        "--sparse-indexes",
        answer,
    ];
    let changed = admin.json(&set).await?;
    ensure!(changed["sparse_indexes"] == answer, "{changed}");
    let shown = admin.json(&SHOW).await?;
    ensure!(shown == changed, "{shown}");
    Ok(())
}

/// That the index is refused, and that the refusal names these images.
async fn refuses(node: &Registry, index: &Index, absent: &[&Image]) -> Result<()> {
    let manifest = &index.manifest;
    let reply = node
        .put("/v2/settings/multi/manifests/refused")
        .header("content-type", &manifest.media_type)
        .body(manifest.content.clone())
        .send()
        .await?
        .expect_error(404, "MANIFEST_BLOB_UNKNOWN")?;
    let json = reply.json()?;
    let errors = json["errors"].as_array().cloned().unwrap_or_default();
    let mut named: Vec<&str> = errors
        .iter()
        .filter_map(|error| error["detail"]["digest"].as_str())
        .collect();
    let mut expected: Vec<&str> = absent.iter().map(|image| image.digest()).collect();
    named.sort_unstable();
    expected.sort_unstable();
    ensure!(named == expected, "{json}");
    Ok(())
}

/// That the index is there with these images and without those.
async fn serves(
    node: &Registry,
    index: &Index,
    present: &[&Image],
    absent: &[&Image],
) -> Result<()> {
    node.verify_manifest("settings/multi", "latest", &index.manifest)
        .await?;
    for image in present {
        node.verify_image("settings/multi", image.digest(), image)
            .await?;
    }
    for image in absent {
        let path = format!("/v2/settings/multi/manifests/{}", image.digest());
        let reply = node.get(&path).send().await?;
        reply.expect_error(404, "MANIFEST_UNKNOWN")?;
    }
    Ok(())
}

fn text(manifest: &Blob) -> Result<&str> {
    Ok(std::str::from_utf8(&manifest.content)?)
}
