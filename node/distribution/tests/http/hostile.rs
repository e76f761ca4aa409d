//! Hostile bytes: whole requests, through everything that a node does with one.

use std::cell::RefCell;

use axum::body::Body;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use entrepot_fuzz::{Verdict, target, uncounted};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::client::{Client, Reply, authorization, image};

/// Uploads that are opened and left stay open for a minute.
const CASES_PER_REGISTRY: u64 = 500;
/// What a refusal says, however much was sent.
const REFUSAL_BYTES_MAX: usize = 16 * 1024;

/// `<method> <target>`, a header on each line, an empty line, the body. Without an
/// `authorization`, the right one is sent, or few cases would get far. `{upload}`
/// is the place of an open upload of `app`, `{other-upload}` that of one whose
/// repository's name was exchanged.
#[test]
fn request() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let registry = RefCell::new((0, runtime.block_on(filled())));
    let words = [
        "GET ",
        "HEAD ",
        "POST ",
        "PUT ",
        "PATCH ",
        "DELETE ",
        "/v2/app/",
        "/v2/other/",
        "/v2/app/manifests/",
        "/v2/app/blobs/",
        "{upload}",
        "{other-upload}",
        "?digest=",
        "?mount=",
        "&from=app",
        "v1",
        "latest",
        "\nrange: bytes=",
        "\ncontent-range: ",
        "\ncontent-length: ",
        "\ncontent-type: ",
        "\nauthorization: Basic ",
        "\nexpect: 100-continue",
        "\n\n",
        "\"subject\":",
        "\"layers\":",
        "\"manifests\":",
        "sha256:",
        "sha512:",
    ];
    target!("request")
        .words(words)
        // What is stored stays.
        .memory(512 * 1024, 100)
        .check(|input| {
            let (cases, client) = &mut *registry.borrow_mut();
            *cases += 1;
            if *cases % CASES_PER_REGISTRY == 0 {
                *client = uncounted(|| runtime.block_on(filled()));
            }
            let input = uncounted(|| with_upload(&runtime, client, input));
            let Some(request) = request_of(&input) else {
                return Verdict::Refused;
            };
            let is_head = request.method() == Method::HEAD;
            let reply = runtime.block_on(client.send(request));
            check(&reply, is_head);
            Verdict::taken(reply.status.is_success() || reply.status.is_redirection())
        });
}

/// A registry with what the seeds ask for.
async fn filled() -> Client {
    let client = Client::new().await;
    let config = client.push_blob("app", b"{}").await;
    client.push_blob("app", b"a blob").await;
    for tag in ["v1", "latest"] {
        let reply = client.push_manifest("app", tag, &image(&config, 2)).await;
        assert_eq!(reply.status, StatusCode::CREATED);
    }
    client
}

fn with_upload(runtime: &Runtime, client: &Client, input: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(input) else {
        return input.to_vec();
    };
    if !text.contains("upload}") {
        return input.to_vec();
    }
    let location = runtime.block_on(client.open_upload("app"));
    let other = location.replace("/app/", "/other/");
    let text = text.replace("{upload}", &location);
    text.replace("{other-upload}", &other).into_bytes()
}

fn request_of(input: &[u8]) -> Option<Request<Body>> {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = input.split_at(end.unwrap_or(input.len()));
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let (method, target) = first.split_once(' ')?;
    let mut request = Request::builder()
        .method(Method::from_bytes(method.as_bytes()).ok()?)
        .uri(target);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        request = request.header(name, value);
    }
    if request.headers_ref()?.get(AUTHORIZATION).is_none() {
        request = request.header(AUTHORIZATION, authorization());
    }
    let body = body.get(2..).unwrap_or_default().to_vec();
    request.body(Body::from(body)).ok()
}

/// Nothing that a client sends is the node's own fault, and a refusal says what
/// it is in the form that clients read.
fn check(reply: &Reply, is_head: bool) {
    let status = reply.status;
    assert!(!status.is_server_error(), "{reply:?}");
    assert!(reply.headers.contains_key("x-request-id"));
    if is_head {
        assert!(reply.body.is_empty(), "{reply:?}");
        return;
    }
    if !status.is_client_error() {
        return;
    }
    assert!(reply.body.len() <= REFUSAL_BYTES_MAX);
    uncounted(|| {
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        let errors = body["errors"].as_array().unwrap();
        assert!(!errors.is_empty());
        for error in errors {
            let code = error["code"].as_str().unwrap();
            assert!(
                code.bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
            );
            assert!(!error["message"].as_str().unwrap().is_empty());
        }
        let challenged = reply.headers.contains_key("www-authenticate");
        assert_eq!(challenged, status == StatusCode::UNAUTHORIZED);
    });
}
