//! Names, digests and tags that no grammar allows, and those that are unknown.

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Blob, Image, Registry, media};

use super::REPOSITORY;

pub(super) async fn names(node: &Registry) -> Result<()> {
    let long = "a".repeat(257);
    let names = [
        "UPPER/case",
        "a",
        "-dash/first",
        "two//slashes",
        "under___score",
        &long,
    ];
    for name in names {
        let digest = &Blob::new(media::LAYER, "x").digest;
        for (method, path) in [
            ("GET", format!("/v2/{name}/tags/list")),
            ("GET", format!("/v2/{name}/manifests/latest")),
            ("GET", format!("/v2/{name}/blobs/{digest}")),
            ("POST", format!("/v2/{name}/blobs/uploads/")),
        ] {
            let reply = node.request(method.parse()?, &path).send().await?;
            reply.expect_error(400, "NAME_INVALID")?;
        }
    }
    Ok(())
}

pub(super) async fn digests(node: &Registry) -> Result<()> {
    let short = format!("sha256:{}", "0".repeat(63));
    let upper = format!("sha256:{}", "A".repeat(64));
    let unknown = format!("md5:{}", "0".repeat(32));
    for digest in [
        "sha256:",
        "sha256:xyz",
        &short,
        &upper,
        &unknown,
        "no-digest",
    ] {
        let path = format!("/v2/{REPOSITORY}/blobs/{digest}");
        node.get(&path)
            .send()
            .await?
            .expect_error(400, "DIGEST_INVALID")?;
        let path = format!("/v2/{REPOSITORY}/blobs/uploads/?digest={digest}");
        let reply = node.post(&path).body("content").send().await?;
        reply.expect_error(400, "DIGEST_INVALID")?;
    }
    let upload = node.open_upload(REPOSITORY).await?;
    let reply = node.put(&upload.path).body("content").send().await?;
    reply
        .expect_error(400, "DIGEST_INVALID")
        .context("PUT without a digest")?;
    Ok(())
}

pub(super) async fn tags(node: &Registry, image: &Image) -> Result<()> {
    let long = "t".repeat(129);
    for tag in [".hidden", "-dash", "a%20b", "tag%21", &long] {
        let path = format!("/v2/{REPOSITORY}/manifests/{tag}");
        let request = node.put(&path).header("content-type", media::MANIFEST);
        let reply = request.body(image.manifest.content.clone()).send().await?;
        reply.expect_error(400, "MANIFEST_INVALID")?;
        let reply = node.get(&path).send().await?;
        ensure!(
            matches!(reply.status, 400 | 404),
            "{}: {}",
            reply.what,
            reply.status
        );
        reply.first_error()?;
    }
    Ok(())
}

pub(super) async fn unknown(node: &Registry, image: &Image) -> Result<()> {
    let absent = Blob::new(media::LAYER, "never pushed");
    for (path, code) in [
        ("/v2/no/such/tags/list".to_owned(), "NAME_UNKNOWN"),
        ("/v2/no/such/manifests/latest".to_owned(), "NAME_UNKNOWN"),
        (
            format!("/v2/no/such/manifests/{}", image.digest()),
            "NAME_UNKNOWN",
        ),
        (
            format!("/v2/no/such/blobs/{}", absent.digest),
            "NAME_UNKNOWN",
        ),
        (
            format!("/v2/{REPOSITORY}/manifests/absent"),
            "MANIFEST_UNKNOWN",
        ),
        (
            format!("/v2/{REPOSITORY}/manifests/{}", absent.digest),
            "MANIFEST_UNKNOWN",
        ),
        (
            format!("/v2/{REPOSITORY}/blobs/{}", absent.digest),
            "BLOB_UNKNOWN",
        ),
        (
            format!("/v2/{REPOSITORY}/blobs/uploads/no-such-upload"),
            "BLOB_UPLOAD_UNKNOWN",
        ),
    ] {
        node.get(&path).send().await?.expect_error(404, code)?;
    }
    let reply = node.post("/v2/").send().await?;
    ensure!(reply.status == 405, "{}: {}", reply.what, reply.status);
    let reply = node.get("/v2/bad/input/nothing-like-it").send().await?;
    ensure!(reply.status == 404, "{}: {}", reply.what, reply.status);
    Ok(())
}
