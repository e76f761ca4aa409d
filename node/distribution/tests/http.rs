//! The front end as its clients see it: requests in, answers out.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use entrepot_distribution::router;
use entrepot_oci::{Algorithm, Digest, MANIFEST_BYTES_MAX};
use futures::stream;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

mod registry;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What came back.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

struct Client(Router);

// === impl Client ===

impl Client {
    async fn new() -> Self {
        Self(router(registry::registry().await))
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.0.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
        }
    }

    async fn call(&self, method: &str, target: &str) -> Reply {
        self.with(method, target, &[], Body::empty()).await
    }

    async fn with(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header("authorization", authorization());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn push_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = sha256(content);
        let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let reply = self.with("POST", &target, &[], content.to_vec()).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        digest
    }

    async fn push_manifest(&self, repository: &str, reference: &str, content: &str) -> Reply {
        let target = format!("/v2/{repository}/manifests/{reference}");
        self.with(
            "PUT",
            &target,
            &[("content-type", MANIFEST)],
            content.to_owned(),
        )
        .await
    }

    /// The Location of a new upload.
    async fn open_upload(&self, repository: &str) -> String {
        let target = format!("/v2/{repository}/blobs/uploads/");
        let reply = self.call("POST", &target).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{reply:?}");
        reply.header("location").to_owned()
    }
}

// === impl Reply ===

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {self:?}"))
            .to_str()
            .unwrap()
    }

    fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap();
        body["errors"][0]["code"].as_str().unwrap().to_owned()
    }

    fn refused(&self) -> (u16, String) {
        (self.status.as_u16(), self.code())
    }
}

fn authorization() -> String {
    let credentials = format!("{}:{}", registry::USER, registry::PASSWORD);
    format!("Basic {}", STANDARD.encode(credentials))
}

fn sha256(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

fn refusal(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn image(config: &Digest, size: usize) -> String {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": config.to_string(),
            "size": size,
        },
        "layers": [],
    })
    .to_string()
}

// === Access ===

#[tokio::test]
async fn nobody_is_served_without_credentials() {
    let client = Client::new().await;
    for value in [
        None,
        Some("Basic xyz"),
        Some("Bearer x"),
        Some("Basic YTpi"),
    ] {
        let mut request = Request::builder().uri("/v2/");
        if let Some(value) = value {
            request = request.header("authorization", value);
        }
        let reply = client.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(reply.refused(), refusal(401, "UNAUTHORIZED"), "{value:?}");
        assert_eq!(reply.header("www-authenticate"), "Basic realm=\"entrepot\"");
        assert_eq!(
            reply.header("docker-distribution-api-version"),
            "registry/2.0"
        );
        assert_eq!(reply.header("content-type"), "application/json");
    }
}

#[tokio::test]
async fn every_reply_has_an_id_of_its_own() {
    let client = Client::new().await;
    let mut ids = Vec::new();
    for target in ["/v2/", "/v2/", "/v2/nothing", "/elsewhere"] {
        let reply = client.call("GET", target).await;
        let id = reply.header("x-request-id").to_owned();
        assert_eq!(id.len(), 16);
        assert!(id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        ids.push(id);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_protocols_words() {
    let client = Client::new().await;
    let digest = sha256(b"absent");
    client.push_blob("app", b"present").await;
    let cases = [
        ("GET", "/elsewhere".to_owned(), refusal(404, "UNSUPPORTED")),
        (
            "GET",
            "/v2/_catalog".to_owned(),
            refusal(404, "UNSUPPORTED"),
        ),
        ("POST", "/v2/".to_owned(), refusal(405, "UNSUPPORTED")),
        (
            "GET",
            "/v2/App/tags/list".to_owned(),
            refusal(400, "NAME_INVALID"),
        ),
        (
            "GET",
            "/v2/other/tags/list".to_owned(),
            refusal(404, "NAME_UNKNOWN"),
        ),
        (
            "GET",
            "/v2/app/blobs/sha256:1".to_owned(),
            refusal(400, "DIGEST_INVALID"),
        ),
        (
            "GET",
            format!("/v2/app/blobs/{digest}"),
            refusal(404, "BLOB_UNKNOWN"),
        ),
        (
            "DELETE",
            format!("/v2/app/blobs/{digest}"),
            refusal(404, "BLOB_UNKNOWN"),
        ),
        (
            "GET",
            "/v2/app/manifests/v1".to_owned(),
            refusal(404, "MANIFEST_UNKNOWN"),
        ),
        (
            "GET",
            "/v2/app/manifests/.v1".to_owned(),
            refusal(404, "MANIFEST_UNKNOWN"),
        ),
        (
            "DELETE",
            "/v2/app/manifests/v1".to_owned(),
            refusal(404, "MANIFEST_UNKNOWN"),
        ),
        (
            "GET",
            "/v2/app/blobs/uploads/none".to_owned(),
            refusal(404, "BLOB_UPLOAD_UNKNOWN"),
        ),
        (
            "PATCH",
            "/v2/app/blobs/uploads/n.o".to_owned(),
            refusal(404, "BLOB_UPLOAD_UNKNOWN"),
        ),
    ];
    for (method, target, expected) in cases {
        let reply = client.call(method, &target).await;
        assert_eq!(reply.refused(), expected, "{method} {target}");
    }
    assert_eq!(
        client.call("PUT", "/v2/").await.header("allow"),
        "GET, HEAD"
    );
}

// === Blobs ===

#[tokio::test]
async fn a_blob_is_served_whole_and_in_parts() {
    let client = Client::new().await;
    let content: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let digest = client.push_blob("a/blobs/app", &content).await;
    let target = format!("/v2/a/blobs/app/blobs/{digest}");

    let whole = client.call("GET", &target).await;
    assert_eq!(
        (whole.status, &whole.body[..]),
        (StatusCode::OK, &content[..])
    );
    for (name, expected) in [
        ("content-length", "300000"),
        ("content-type", "application/octet-stream"),
        ("docker-content-digest", &digest.to_string()),
        ("etag", &format!("\"{digest}\"")),
        ("accept-ranges", "bytes"),
    ] {
        assert_eq!(whole.header(name), expected);
    }

    let part = client
        .with(
            "GET",
            &target,
            &[("range", "bytes=1000-199999")],
            Body::empty(),
        )
        .await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.body[..], content[1000..200_000]);
    assert_eq!(part.header("content-range"), "bytes 1000-199999/300000");
    assert_eq!(part.header("content-length"), "199000");

    let beyond = client
        .with("GET", &target, &[("range", "bytes=300000-")], Body::empty())
        .await;
    assert_eq!(beyond.refused(), refusal(416, "RANGE_INVALID"));
    assert_eq!(beyond.header("content-range"), "bytes */300000");
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let client = Client::new().await;
    let digest = client.push_blob("app", b"config").await;
    let manifest = image(&digest, 6);
    client.push_manifest("app", "v1", &manifest).await;
    for target in [
        "/v2/".to_owned(),
        "/v2/app/tags/list".to_owned(),
        "/v2/app/manifests/v1".to_owned(),
        "/v2/app/manifests/v2".to_owned(),
        format!("/v2/app/blobs/{digest}"),
        format!("/v2/app/blobs/{}", sha256(b"absent")),
        "/v2/nothing".to_owned(),
    ] {
        let get = client.call("GET", &target).await;
        let head = client.call("HEAD", &target).await;
        assert_eq!(head.status, get.status, "{target}");
        assert!(head.body.is_empty(), "{target}");
        assert_eq!(
            head.header("content-length"),
            get.body.len().to_string(),
            "{target}"
        );
        assert_eq!(
            head.header("content-type"),
            get.header("content-type"),
            "{target}"
        );
    }
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let client = Client::new().await;
    let digest = client.push_blob("app", b"config").await;
    let manifest = image(&digest, 6);
    client.push_manifest("app", "v1", &manifest).await;
    for (target, digest) in [
        (format!("/v2/app/blobs/{digest}"), digest),
        (
            "/v2/app/manifests/v1".to_owned(),
            sha256(manifest.as_bytes()),
        ),
    ] {
        let tag = format!("\"{digest}\"");
        let headers = [("if-none-match", tag.as_str())];
        let reply = client.with("GET", &target, &headers, Body::empty()).await;
        assert_eq!(reply.status, StatusCode::NOT_MODIFIED, "{target}");
        assert_eq!(reply.header("etag"), tag);
    }
    let absent = sha256(b"absent");
    let tag = format!("\"{absent}\"");
    let target = format!("/v2/app/blobs/{absent}");
    let reply = client
        .with("GET", &target, &[("if-none-match", &tag)], Body::empty())
        .await;
    assert_eq!(reply.refused(), refusal(404, "BLOB_UNKNOWN"));
}

#[tokio::test]
async fn a_deleted_blob_is_gone() {
    let client = Client::new().await;
    let target = format!(
        "/v2/app/blobs/{}",
        client.push_blob("app", b"content").await
    );
    assert_eq!(
        client.call("DELETE", &target).await.status,
        StatusCode::ACCEPTED
    );
    assert_eq!(
        client.call("GET", &target).await.refused(),
        refusal(404, "BLOB_UNKNOWN")
    );
}

#[tokio::test]
async fn a_mount_takes_the_blob_over_or_opens_an_upload() {
    let client = Client::new().await;
    let digest = client.push_blob("base", b"layer").await;
    let absent = sha256(b"absent");
    let mount = |digest: &Digest, from| {
        format!("/v2/app/blobs/uploads/?mount={digest}{from}").replace("sha256:", "sha256%3A")
    };

    let mounted = client.call("POST", &mount(&digest, "&from=base")).await;
    assert_eq!(mounted.status, StatusCode::CREATED);
    assert_eq!(
        mounted.header("location"),
        format!("/v2/app/blobs/{digest}")
    );
    assert_eq!(
        client.call("GET", mounted.header("location")).await.body,
        "layer"
    );

    for target in [mount(&absent, "&from=base"), mount(&digest, "")] {
        let reply = client.call("POST", &target).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{target}");
        assert!(
            reply
                .header("location")
                .starts_with("/v2/app/blobs/uploads/")
        );
    }
}

// === Uploads ===

#[tokio::test]
async fn an_upload_grows_by_chunks_and_ends_with_its_digest() {
    let client = Client::new().await;
    let opened = client.call("POST", "/v2/app/blobs/uploads/").await;
    assert_eq!(opened.header("range"), "0-0");
    assert!(
        opened
            .header("location")
            .ends_with(opened.header("docker-upload-uuid"))
    );

    let mut location = opened.header("location").to_owned();
    for (headers, chunk, range) in [
        (&[("content-range", "0-4")][..], "first", "0-4"),
        (&[("content-range", "5-10")][..], "second", "0-10"),
        (&[][..], "third", "0-15"),
    ] {
        let reply = client.with("PATCH", &location, headers, chunk).await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{reply:?}");
        assert_eq!(reply.header("range"), range);
        reply.header("location").clone_into(&mut location);
        let state = client.call("GET", &location).await;
        assert_eq!(
            (state.status, state.header("range")),
            (StatusCode::NO_CONTENT, range)
        );
    }

    let digest = sha256(b"firstsecondthirdlast");
    let target = format!("{location}?digest=sha256%3A{}", digest.hex());
    let reply = client
        .with("PUT", &target, &[("content-range", "16-19")], "last")
        .await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    assert_eq!(reply.header("docker-content-digest"), digest.to_string());
    let blob = client.call("GET", reply.header("location")).await;
    assert_eq!(blob.body, "firstsecondthirdlast");
}

#[tokio::test]
async fn a_chunk_out_of_order_is_refused_and_told_where_to_go_on() {
    let client = Client::new().await;
    let location = client.open_upload("app").await;
    client.with("PATCH", &location, &[], "first").await;
    let put = format!("{location}?digest={}", sha256(b"x"));
    for (method, target) in [("PATCH", &location), ("PUT", &put)] {
        let reply = client
            .with(method, target, &[("content-range", "9-12")], "late")
            .await;
        assert_eq!(
            reply.refused(),
            refusal(416, "BLOB_UPLOAD_INVALID"),
            "{method}"
        );
        assert_eq!(reply.header("range"), "0-4");
    }
}

#[tokio::test]
async fn wrong_content_is_refused() {
    let client = Client::new().await;
    let other = sha256(b"other");
    let location = client.open_upload("app").await;
    let reply = client
        .with("PUT", &format!("{location}?digest={other}"), &[], "content")
        .await;
    assert_eq!(reply.refused(), refusal(400, "DIGEST_INVALID"));
    let gone = client.call("GET", &location).await;
    assert_eq!(gone.refused(), refusal(404, "BLOB_UPLOAD_UNKNOWN"));

    let post = format!("/v2/app/blobs/uploads/?digest={other}");
    let reply = client.with("POST", &post, &[], "content").await;
    assert_eq!(reply.refused(), refusal(400, "DIGEST_INVALID"));
    let blob = client.call("GET", &format!("/v2/app/blobs/{other}")).await;
    assert_eq!(blob.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_torn_body_is_an_invalid_upload() {
    let client = Client::new().await;
    let location = client.open_upload("app").await;
    let torn = stream::iter([
        Ok(Bytes::from_static(b"some")),
        Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
    ]);
    let reply = client
        .with("PATCH", &location, &[], Body::from_stream(torn))
        .await;
    assert_eq!(reply.refused(), refusal(400, "BLOB_UPLOAD_INVALID"));
}

#[tokio::test]
async fn a_cancelled_upload_is_gone() {
    let client = Client::new().await;
    let location = client.open_upload("app").await;
    assert_eq!(
        client.call("DELETE", &location).await.status,
        StatusCode::NO_CONTENT
    );
    let gone = client.call("DELETE", &location).await;
    assert_eq!(gone.refused(), refusal(404, "BLOB_UPLOAD_UNKNOWN"));
}

#[tokio::test]
async fn a_sha512_blob_is_pushed_with_the_hint() {
    let client = Client::new().await;
    let digest = Digest::of(Algorithm::Sha512, b"content");
    let opened = client
        .call("POST", "/v2/app/blobs/uploads/?digest-algorithm=sha512")
        .await;
    let location = opened.header("location");
    client.with("PATCH", location, &[], "content").await;
    let reply = client
        .call("PUT", &format!("{location}?digest={digest}"))
        .await;
    assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
    assert_eq!(reply.header("location"), format!("/v2/app/blobs/{digest}"));
}

// === Manifests and tags ===

#[tokio::test]
async fn a_manifest_comes_back_byte_for_byte() {
    let client = Client::new().await;
    let config = client.push_blob("app", b"config").await;
    let content = image(&config, 6);
    let digest = sha256(content.as_bytes()).to_string();
    for reference in ["v1", &digest] {
        let put = client.push_manifest("app", reference, &content).await;
        assert_eq!(put.status, StatusCode::CREATED, "{put:?}");
        assert_eq!(
            put.header("location"),
            format!("/v2/app/manifests/{digest}")
        );
        assert_eq!(put.header("docker-content-digest"), digest);
        let got = client
            .call("GET", &format!("/v2/app/manifests/{reference}"))
            .await;
        assert_eq!(got.body, content);
        assert_eq!(got.header("content-type"), MANIFEST);
        assert_eq!(got.header("docker-content-digest"), digest);
    }

    // The tag goes, the manifest stays; then the manifest goes.
    let (tag, manifest) = (
        "/v2/app/manifests/v1",
        format!("/v2/app/manifests/{digest}"),
    );
    assert_eq!(
        client.call("DELETE", tag).await.status,
        StatusCode::ACCEPTED
    );
    assert_eq!(client.call("GET", tag).await.status, StatusCode::NOT_FOUND);
    assert_eq!(client.call("GET", &manifest).await.status, StatusCode::OK);
    assert_eq!(
        client.call("DELETE", &manifest).await.status,
        StatusCode::ACCEPTED
    );
    assert_eq!(
        client.call("GET", &manifest).await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn a_subject_is_acknowledged() {
    let client = Client::new().await;
    let config = client.push_blob("app", b"config").await;
    let subject = sha256(b"subject");
    let mut manifest: Value = serde_json::from_str(&image(&config, 6)).unwrap();
    manifest["subject"] = json!({"mediaType": MANIFEST, "digest": subject.to_string(), "size": 7});
    let put = client
        .push_manifest("app", "v1", &manifest.to_string())
        .await;
    assert_eq!(put.header("oci-subject"), subject.to_string());
}

#[tokio::test]
async fn bad_manifests_are_refused() {
    let client = Client::new().await;
    let config = client.push_blob("app", b"config").await;
    let good = image(&config, 6);
    let absent = sha256(b"absent");

    let reply = client.push_manifest("app", "v1", &image(&absent, 6)).await;
    assert_eq!(reply.refused(), refusal(404, "MANIFEST_BLOB_UNKNOWN"));
    assert!(String::from_utf8_lossy(&reply.body).contains(&absent.to_string()));

    let wrong = absent.to_string();
    for (reference, content, expected) in [
        ("v1", "not json", refusal(400, "MANIFEST_INVALID")),
        (".v1", &good, refusal(400, "MANIFEST_INVALID")),
        ("sha256:bad", &good, refusal(400, "DIGEST_INVALID")),
        (&wrong, &good, refusal(400, "DIGEST_INVALID")),
    ] {
        let reply = client.push_manifest("app", reference, content).await;
        assert_eq!(reply.refused(), expected, "{reference}");
    }

    let large = " ".repeat(MANIFEST_BYTES_MAX + 1);
    let reply = client.push_manifest("app", "v1", &large).await;
    assert_eq!(reply.refused(), refusal(413, "MANIFEST_INVALID"));
}

#[tokio::test]
async fn tags_are_listed_in_pages() {
    let client = Client::new().await;
    let config = client.push_blob("team/app", b"config").await;
    let manifest = image(&config, 6);
    for tag in ["c", "a", "b"] {
        client.push_manifest("team/app", tag, &manifest).await;
    }
    let list = |query: &str| {
        let target = format!("/v2/team/app/tags/list{query}");
        let client = &client;
        async move {
            let reply = client.call("GET", &target).await;
            let body: Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!(body["name"], "team/app");
            let link = reply
                .headers
                .get("link")
                .map(|link| link.to_str().unwrap().to_owned());
            (body["tags"].clone(), link)
        }
    };
    let link = "</v2/team/app/tags/list?n=2&last=b>; rel=\"next\"".to_owned();
    assert_eq!(list("").await, (json!(["a", "b", "c"]), None));
    assert_eq!(list("?n=2").await, (json!(["a", "b"]), Some(link)));
    assert_eq!(list("?n=2&last=b").await, (json!(["c"]), None));
    assert_eq!(list("?n=0").await, (json!([]), None));
    let reply = client.call("GET", "/v2/team/app/tags/list?n=-1").await;
    assert_eq!(reply.refused(), refusal(400, "PAGINATION_NUMBER_INVALID"));
}
