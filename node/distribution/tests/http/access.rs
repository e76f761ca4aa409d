//! Who is served, and what every answer has.

use axum::body::Body;
use axum::http::Request;

use crate::client::{Client, refusal, sha256};

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
        let challenge = match value {
            Some("Bearer x") => {
                "Bearer realm=\"https://localhost/token\",service=\"ecr.amazonaws.com\",error=\"invalid_token\""
            }
            None => "Bearer realm=\"https://localhost/token\",service=\"ecr.amazonaws.com\"",
            _ => "Basic realm=\"https://localhost/\",service=\"ecr.amazonaws.com\"",
        };
        assert_eq!(reply.header("www-authenticate"), challenge);
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
async fn a_clients_own_id_comes_back_if_it_can_be_one() {
    let client = Client::new().await;
    for target in ["/v2/", "/v2/nothing", "/elsewhere"] {
        let headers = [("x-request-id", "Root=1-5759e988-bd862e3f")];
        let reply = client.with("GET", target, &headers, Body::empty()).await;
        assert_eq!(reply.header("x-request-id"), "Root=1-5759e988-bd862e3f");
        let headers = [("x-request-id", "two words")];
        let reply = client.with("GET", target, &headers, Body::empty()).await;
        assert_eq!(reply.header("x-request-id").len(), 16);
    }
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
            "/v2/_catalog?n=x".to_owned(),
            refusal(400, "UNSUPPORTED"),
        ),
        (
            "GET",
            "/v2/app/referrers/sha256:1".to_owned(),
            refusal(400, "DIGEST_INVALID"),
        ),
        (
            "GET",
            "/v2/App/referrers/sha256:1".to_owned(),
            refusal(400, "NAME_INVALID"),
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
