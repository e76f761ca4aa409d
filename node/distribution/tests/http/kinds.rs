//! Every kind of content: digests by SHA-512, layers that are kept elsewhere,
//! embedded data, unknown fields, other media types.

use axum::body::Body;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use entrepot_oci::{Algorithm, Digest, media_type};
use serde_json::{Value, json};

use crate::client::{Client, MANIFEST, Reply, image, refusal, sha256};

fn sha512(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha512, content)
}

async fn put(client: &Client, reference: &str, media_type: &str, content: &str) -> Reply {
    let target = format!("/v2/app/manifests/{reference}");
    let headers = [("content-type", media_type)];
    client
        .with("PUT", &target, &headers, content.to_owned())
        .await
}

#[tokio::test]
async fn everything_may_be_named_by_sha512() {
    let client = Client::new().await;
    let content = b"a config";
    let config = sha512(content);
    let post = format!("/v2/app/blobs/uploads/?digest={config}");
    let reply = client.with("POST", &post, &[], &content[..]).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    assert_eq!(reply.header("docker-content-digest"), config.to_string());
    let mount = format!("/v2/other/blobs/uploads/?mount={config}&from=app");
    let reply = client.call("POST", &mount).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    assert_eq!(reply.header("docker-content-digest"), config.to_string());

    let mut manifest: Value = serde_json::from_str(&image(&config, content.len())).unwrap();
    let subject = sha512(b"subject");
    manifest["subject"] = json!({"mediaType": MANIFEST, "digest": subject, "size": 7});
    let manifest = manifest.to_string();
    let digest = sha512(manifest.as_bytes());
    let reply = put(&client, &digest.to_string(), MANIFEST, &manifest).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    assert_eq!(
        reply.header("location"),
        format!("/v2/app/manifests/{digest}")
    );
    for (target, expected, named) in [
        (
            format!("/v2/app/manifests/{digest}"),
            manifest.as_bytes(),
            digest,
        ),
        (format!("/v2/app/blobs/{config}"), &content[..], config),
        (format!("/v2/other/blobs/{config}"), &content[..], config),
    ] {
        for method in ["GET", "HEAD"] {
            let reply = client.call(method, &target).await;
            assert_eq!(reply.status, StatusCode::OK, "{method} {target}");
            assert_eq!(reply.header("docker-content-digest"), named.to_string());
            assert_eq!(reply.header("etag"), format!("\"{named}\""));
            assert_eq!(reply.header("content-length"), expected.len().to_string());
            assert!(method == "HEAD" || reply.body == expected);
        }
        let headers = [("range", "bytes=2-4")];
        let reply = client.with("GET", &target, &headers, Body::empty()).await;
        assert_eq!(reply.body, expected[2..5], "{target}");
    }
    let referrers = client
        .call("GET", &format!("/v2/app/referrers/{subject}"))
        .await;
    let referrers: Value = serde_json::from_slice(&referrers.body).unwrap();
    assert_eq!(referrers["manifests"][0]["digest"], digest.to_string());

    // The same content by its other name is not there.
    for target in [
        format!("/v2/app/blobs/{}", sha256(content)),
        format!("/v2/app/manifests/{}", sha256(manifest.as_bytes())),
    ] {
        let reply = client.call("GET", &target).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{target}");
    }
    let target = format!("/v2/app/manifests/{digest}");
    let reply = client.call("DELETE", &target).await;
    assert_eq!(reply.status, StatusCode::ACCEPTED, "{target}");
    let reply = client.call("GET", &target).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND, "{target}");
    // The image may be restored, which needs it.
    let target = format!("/v2/app/blobs/{config}");
    let reply = client.call("DELETE", &target).await;
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{target}");
}

#[tokio::test]
async fn layers_that_are_kept_elsewhere_need_not_be_here() {
    let client = Client::new().await;
    let config = client.push_blob("app", b"config").await;
    let layer = |media_type: &str| {
        let digest = sha256(media_type.as_bytes());
        json!({"mediaType": media_type, "digest": digest, "size": 123,
            "urls": [format!("https://layers.example.com/{digest}")]})
    };
    let mut manifest: Value = serde_json::from_str(&image(&config, 6)).unwrap();
    manifest["layers"] = json!([
        layer("application/vnd.oci.image.layer.nondistributable.v1.tar"),
        layer("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
        layer("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"),
        layer("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
    ]);
    let content = manifest.to_string();
    let reply = put(&client, "v1", MANIFEST, &content).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    assert_eq!(
        client.call("GET", "/v2/app/manifests/v1").await.body,
        content
    );

    // Who says where does not thereby say that it is kept elsewhere.
    manifest["layers"] = json!([layer(media_type::OCI_LAYER)]);
    let reply = put(&client, "v2", MANIFEST, &manifest.to_string()).await;
    assert_eq!(reply.refused(), refusal(404, "MANIFEST_BLOB_UNKNOWN"));
}

#[tokio::test]
async fn embedded_data_must_be_what_its_descriptor_says() {
    let client = Client::new().await;
    let config = client.push_blob("app", b"config").await;
    let with_data = |content: &[u8]| {
        let mut manifest: Value = serde_json::from_str(&image(&config, 6)).unwrap();
        manifest["config"]["data"] = json!(STANDARD.encode(content));
        manifest.to_string()
    };
    let right = with_data(b"config");
    let reply = put(&client, "v1", MANIFEST, &right).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    assert_eq!(client.call("GET", "/v2/app/manifests/v1").await.body, right);
    for (content, reason) in [
        (&b"CONFIG"[..], "another digest"),
        (b"configuration", "13 bytes, not the 6"),
    ] {
        let reply = put(&client, "v2", MANIFEST, &with_data(content)).await;
        assert_eq!(reply.refused(), refusal(400, "MANIFEST_INVALID"));
        let body = String::from_utf8_lossy(&reply.body);
        assert!(body.contains(reason), "{body}");
    }
    let reply = client.call("GET", "/v2/app/manifests/v2").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_manifest_keeps_every_byte() {
    let client = Client::new().await;
    let config = client.push_blob("app", b"config").await;
    // Unknown fields, twice the same, odd spelling, blanks at both ends.
    let fields = r#""x-unknown": [1.50, {"a": null}, "\u00e9\/"], "x-unknown": 1e3, "#;
    let image = image(&config, 6).replacen('{', &format!("{{ {fields}"), 1);
    let image = image.replace(
        "\"config\":{",
        "\"config\" :\t{ \"x-more\": \"\u{1f980}\", ",
    );
    let image = format!("\r\n {image}\n\n");
    let digest = sha256(image.as_bytes());
    let reply = put(&client, "v1", MANIFEST, &image).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    assert_eq!(reply.header("docker-content-digest"), digest.to_string());
    let index = format!(
        r#"{{"x":{{}},"schemaVersion":2,"manifests":[{{"x":1,"mediaType":"{MANIFEST}","size":{},"digest":"{digest}","platform":{{"os":"linux","architecture":"x","os.unknown":[]}}}}] }}"#,
        image.len(),
    );
    let reply = put(&client, "all", media_type::OCI_INDEX, &index).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    for (reference, expected) in [
        ("v1", &image),
        (&digest.to_string(), &image),
        ("all", &index),
        (&sha256(index.as_bytes()).to_string(), &index),
    ] {
        let target = format!("/v2/app/manifests/{reference}");
        assert_eq!(client.call("GET", &target).await.body, *expected);
    }
}

#[tokio::test]
async fn a_manifest_is_served_as_what_it_is_whatever_is_accepted() {
    let client = Client::new().await;
    let config = client.push_blob("app", b"config").await;
    let oci = image(&config, 6);
    let docker = oci.replace(MANIFEST, media_type::DOCKER_MANIFEST);
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [
        {"mediaType": MANIFEST, "digest": sha256(oci.as_bytes()), "size": oci.len()},
    ]})
    .to_string();
    for (tag, kind, content) in [
        ("oci", MANIFEST, &oci),
        ("docker", media_type::DOCKER_MANIFEST, &docker),
        ("index", media_type::OCI_INDEX, &index),
    ] {
        let reply = put(&client, tag, kind, content).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        let digest = sha256(content.as_bytes()).to_string();
        for accept in [
            MANIFEST,
            media_type::DOCKER_MANIFEST,
            media_type::DOCKER_LIST,
            "application/json;q=0.5, text/*",
            "*/*",
            "",
        ] {
            for reference in [tag, &digest] {
                let target = format!("/v2/app/manifests/{reference}");
                for method in ["GET", "HEAD"] {
                    let headers = [("accept", accept)];
                    let reply = client.with(method, &target, &headers, Body::empty()).await;
                    assert_eq!(reply.status, StatusCode::OK, "{target} {accept}");
                    assert_eq!(reply.header("content-type"), kind, "{target} {accept}");
                    assert_eq!(reply.header("docker-content-digest"), digest);
                    assert!(method == "HEAD" || reply.body == *content);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_manifest_is_served_in_parts() {
    let client = Client::new().await;
    let config = client.push_blob("app", b"config").await;
    let content = image(&config, 6);
    put(&client, "v1", MANIFEST, &content).await;
    let size = content.len();
    let digest = sha256(content.as_bytes()).to_string();
    for reference in ["v1", &digest] {
        let target = format!("/v2/app/manifests/{reference}");
        let get = async |range: &str| {
            let headers = [("range", range)];
            client.with("GET", &target, &headers, Body::empty()).await
        };
        let reply = get("bytes=10-19").await;
        assert_eq!(reply.status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(reply.body, content.as_bytes()[10..20]);
        let expected = format!("bytes 10-19/{size}");
        assert_eq!(reply.header("content-range"), expected);
        assert_eq!(reply.header("content-length"), "10");
        assert_eq!(reply.header("content-type"), MANIFEST);
        assert_eq!(reply.header("docker-content-digest"), digest);
        let reply = get(&format!("bytes={size}-")).await;
        assert_eq!(reply.refused(), refusal(416, "SIZE_INVALID"));
        assert_eq!(reply.header("content-range"), format!("bytes */{size}"));
        let reply = get("bytes=0-1,3-4").await;
        assert_eq!(
            (reply.status, reply.body),
            (StatusCode::OK, content.clone().into())
        );
        assert_eq!(reply.headers["accept-ranges"], "bytes");
    }
}
