//! Manifests that are none, that name what is absent, or that are too large.

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Blob, Image, Registry, media};
use serde_json::{Value, json};

use super::REPOSITORY;

pub(super) async fn manifests(node: &Registry) -> Result<()> {
    let config = Blob::new(media::CONFIG, "{}").descriptor();
    let with = |changes: Value| {
        let mut manifest = json!({"schemaVersion": 2, "mediaType": media::MANIFEST,
            "config": config, "layers": []});
        for (key, value) in changes.as_object().into_iter().flatten() {
            manifest[key.as_str()] = value.clone();
        }
        manifest.to_string()
    };
    let bad_digest = json!({"mediaType": media::LAYER, "digest": "sha256:short", "size": 1});
    let bad_size = json!({"mediaType": media::LAYER, "digest": config["digest"], "size": -1});
    let cases = [
        ("nothing", String::new()),
        ("no JSON", "{\"schemaVersion\": 2,".to_owned()),
        ("a list", "[]".to_owned()),
        ("no manifest", "{}".to_owned()),
        ("schema version 3", with(json!({"schemaVersion": 3}))),
        (
            "schema 1",
            json!({"schemaVersion": 1, "name": "x", "fsLayers": []}).to_string(),
        ),
        (
            "another media type",
            with(json!({"mediaType": media::INDEX})),
        ),
        ("a layer's digest", with(json!({"layers": [bad_digest]}))),
        ("a layer's size", with(json!({"layers": [bad_size]}))),
        ("layers that are no list", with(json!({"layers": 1}))),
        ("no text", "\u{0}\u{1}".to_owned()),
    ];
    for (what, content) in cases {
        let path = format!("/v2/{REPOSITORY}/manifests/bad");
        let reply = node
            .put(&path)
            .header("content-type", media::MANIFEST)
            .body(content);
        let reply = reply.send().await?;
        reply
            .expect_error(400, "MANIFEST_INVALID")
            .with_context(|| what.to_owned())?;
    }
    // By a digest that is not its own.
    let path = format!(
        "/v2/{REPOSITORY}/manifests/{}",
        Blob::new("", "other").digest
    );
    let reply = node
        .put(&path)
        .header("content-type", media::MANIFEST)
        .body(with(json!({})));
    reply.send().await?.expect_error(400, "DIGEST_INVALID")?;
    Ok(())
}

pub(super) async fn absent_blobs(node: &Registry, image: &Image) -> Result<()> {
    let absent = [
        Blob::new(media::LAYER, "absent one"),
        Blob::new(media::LAYER, "absent two"),
    ];
    let [config, layer, ..] = image.blobs.as_slice() else {
        anyhow::bail!("an image without a layer");
    };
    let mut layers = vec![layer.clone()];
    layers.extend(absent.clone());
    let broken = Image::of(media::MANIFEST, config.clone(), layers);
    let path = format!("/v2/{REPOSITORY}/manifests/broken");
    let reply = node.put(&path).header("content-type", media::MANIFEST);
    let reply = reply.body(broken.manifest.content.clone()).send().await?;
    let body = String::from_utf8_lossy(&reply.body).into_owned();
    reply.expect_error(404, "MANIFEST_BLOB_UNKNOWN")?;
    for blob in &absent {
        ensure!(
            body.contains(&blob.digest),
            "{} is not named: {body}",
            blob.digest
        );
    }
    ensure!(
        !body.contains(&layer.digest),
        "a blob that is there is named: {body}"
    );

    let index = json!({"schemaVersion": 2, "mediaType": media::INDEX,
        "manifests": [broken.manifest.descriptor()]});
    let request = node.put(&path).header("content-type", media::INDEX);
    let reply = request.body(index.to_string()).send().await?;
    ensure!(
        reply.status == 404,
        "an index of an absent image: {}",
        reply.status
    );
    let body = String::from_utf8_lossy(&reply.body).into_owned();
    ensure!(
        body.contains(&broken.manifest.digest),
        "the absent image is not named: {body}"
    );
    node.get(&path)
        .send()
        .await?
        .expect_error(404, "MANIFEST_UNKNOWN")?;
    Ok(())
}

pub(super) async fn large_manifest(node: &Registry) -> Result<()> {
    let filler = "x".repeat(4 << 20);
    let manifest = json!({"schemaVersion": 2, "mediaType": media::MANIFEST,
        "config": Blob::new(media::CONFIG, "{}").descriptor(), "layers": [],
        "annotations": {"note": filler}});
    let path = format!("/v2/{REPOSITORY}/manifests/large");
    let text = manifest.to_string();
    let request = node
        .put(&path)
        .header("content-type", media::MANIFEST)
        .body(text.clone());
    request
        .send()
        .await?
        .expect_error(413, "MANIFEST_INVALID")?;
    // And when its length is not announced.
    let pieces: Vec<std::io::Result<Vec<u8>>> = text
        .into_bytes()
        .chunks(1 << 16)
        .map(|piece| Ok(piece.to_vec()))
        .collect();
    let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    let request = node
        .put(&path)
        .header("content-type", media::MANIFEST)
        .body(body);
    request
        .send()
        .await?
        .expect_error(413, "MANIFEST_INVALID")?;
    node.get(&path)
        .send()
        .await?
        .expect_error(404, "MANIFEST_UNKNOWN")?;
    Ok(())
}
