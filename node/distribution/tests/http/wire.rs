//! What only shows on a real connection.

use std::time::Duration;

use entrepot_distribution::router;
use entrepot_oci::{Algorithm, Digest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::client::{BODY_TIMEOUT, authorization, image};
use crate::registry;

const PATIENCE: Duration = Duration::from_secs(30);
const LARGE: usize = 5 * 1024 * 1024;

/// A connection to a server of its own.
async fn connected() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = router(registry::registry().await, BODY_TIMEOUT, None);
    tokio::spawn(async move { axum::serve(listener, app).await });
    TcpStream::connect(address).await.unwrap()
}

fn head(method: &str, target: &str, more: &str) -> String {
    let authorization = authorization();
    format!(
        "{method} {target} HTTP/1.1\r\nhost: test\r\nauthorization: {authorization}\r\n{more}\r\n"
    )
}

/// Reads one response, whose status line and headers have `expected` in them.
async fn expect(stream: &mut TcpStream, expected: &[&str]) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("\r\n\r\n") {
        let read = timeout(PATIENCE, stream.read(&mut buffer)).await;
        let read = read.expect("no answer").unwrap();
        assert_ne!(read, 0, "the connection was closed after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    for part in expected {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
    text
}

/// A connection with an open upload.
async fn uploading() -> (TcpStream, String) {
    let mut stream = connected().await;
    let request = head("POST", "/v2/app/blobs/uploads/", "");
    stream.write_all(request.as_bytes()).await.unwrap();
    let opened = expect(&mut stream, &["HTTP/1.1 202 "]).await;
    let location = opened
        .lines()
        .find_map(|line| line.strip_prefix("location: "));
    (stream, location.unwrap().to_owned())
}

fn digest_of(content: &[u8]) -> Digest {
    Digest::of(Algorithm::Sha256, content)
}

#[tokio::test]
async fn who_sends_a_manifest_too_large_hears_why_and_may_go_on() {
    let mut stream = connected().await;
    let length = format!("content-length: {LARGE}\r\n");
    let request = head("PUT", "/v2/app/manifests/v1", &length);
    stream.write_all(request.as_bytes()).await.unwrap();
    // All of it before the first look at the answer.
    stream.write_all(&vec![b' '; LARGE]).await.unwrap();
    expect(&mut stream, &["HTTP/1.1 413 ", "MANIFEST_INVALID"]).await;

    let request = head("GET", "/v2/", "");
    stream.write_all(request.as_bytes()).await.unwrap();
    expect(&mut stream, &["HTTP/1.1 200 "]).await;
}

#[tokio::test]
async fn a_head_without_content_tells_no_length() {
    let mut stream = connected().await;
    let request = head("POST", "/v2/app/blobs/uploads/", "");
    stream.write_all(request.as_bytes()).await.unwrap();
    let opened = expect(&mut stream, &["HTTP/1.1 202 ", "content-length: 0\r\n"]).await;
    let location = opened
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .unwrap();

    let request = head("HEAD", location, "");
    stream.write_all(request.as_bytes()).await.unwrap();
    let state = expect(&mut stream, &["HTTP/1.1 204 ", "range: 0-0\r\n"]).await;
    assert!(!state.contains("content-length"), "{state}");
}

#[tokio::test]
async fn a_body_that_ends_early_is_an_invalid_upload() {
    let (mut stream, location) = uploading().await;
    let request = head("PATCH", &location, "content-length: 100\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(b"too few").await.unwrap();
    stream.shutdown().await.unwrap();
    expect(&mut stream, &["HTTP/1.1 400 ", "BLOB_UPLOAD_INVALID"]).await;
}

#[tokio::test]
async fn who_asks_for_leave_to_send_gets_it_once_nothing_stands_against_it() {
    let (mut stream, location) = uploading().await;
    let target = format!("{location}?digest={}", digest_of(b"content"));
    let request = head(
        "PUT",
        &target,
        "content-length: 7\r\nexpect: 100-continue\r\n",
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    expect(&mut stream, &["HTTP/1.1 100 "]).await;
    stream.write_all(b"content").await.unwrap();
    expect(&mut stream, &["HTTP/1.1 201 ", "docker-content-digest: "]).await;
}

#[tokio::test]
async fn a_refusal_comes_instead_of_leave_to_send() {
    const HUGE: &str = "content-length: 107374182400\r\n";
    const SMALL: &str = "content-length: 7\r\n";
    let digest = digest_of(b"content");
    let cases = [
        ("PUT", "/v2/app/manifests/v1", HUGE, "", "413 "),
        ("PUT", "/v2/app/manifests/v1", HUGE, "", "401 "),
        ("PUT", "/v2/App/manifests/v1", SMALL, "", "400 "),
        (
            "PUT",
            "/v2/app/manifests/v1",
            SMALL,
            "content-encoding: gzip\r\n",
            "415 ",
        ),
        ("PATCH", "/v2/app/blobs/uploads/none", SMALL, "", "404 "),
        ("PATCH", "upload", HUGE, "", "413 "),
        ("PATCH", "upload", SMALL, "content-range: 3-9\r\n", "416 "),
        (
            "POST",
            &format!("/v2/app/blobs/uploads/?digest={digest}"),
            HUGE,
            "",
            "413 ",
        ),
    ];
    for (method, target, length, more, status) in cases {
        let (mut stream, location) = uploading().await;
        let target = if target == "upload" {
            &location
        } else {
            target
        };
        let more = format!("{length}{more}expect: 100-continue\r\n");
        let request = head(method, target, &more);
        let request = match status {
            "401 " => request.replacen(&authorization(), "Basic eDp5", 1),
            _ => request,
        };
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = expect(&mut stream, &[]).await;
        let expected = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&expected), "{target}: {answer}");
    }
}

#[tokio::test]
async fn a_manifest_declared_endless_is_refused_while_it_is_sent() {
    let mut stream = connected().await;
    let request = head(
        "PUT",
        "/v2/app/manifests/v1",
        "content-length: 107374182400\r\n",
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; LARGE]).await.unwrap();
    expect(&mut stream, &["HTTP/1.1 413 ", "MANIFEST_INVALID"]).await;
}

/// A body in chunks of 5 bytes.
fn chunked(content: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in content.chunks(5) {
        body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

#[tokio::test]
async fn content_of_unknown_length_is_taken_everywhere() {
    let (mut stream, location) = uploading().await;
    let config = br#"{"os":"linux"}"#;
    let digest = digest_of(config);
    let finish = format!("{location}?digest={digest}");
    let manifest = image(&digest, config.len());
    for (method, target, content, status) in [
        ("PATCH", location.as_str(), &config[..7], "202 "),
        ("PUT", &finish, &config[7..], "201 "),
        ("PUT", "/v2/app/manifests/v1", manifest.as_bytes(), "201 "),
    ] {
        let request = head(method, target, "transfer-encoding: chunked\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.write_all(&chunked(content)).await.unwrap();
        let expected = format!("HTTP/1.1 {status}");
        expect(&mut stream, &[&expected]).await;
    }
}

#[tokio::test]
async fn a_chunk_that_is_not_as_long_as_it_says_is_refused() {
    for (range, kept) in [("0-9", "0-6"), ("0-4", "0-0")] {
        let (mut stream, location) = uploading().await;
        let more = format!("transfer-encoding: chunked\r\ncontent-range: {range}\r\n");
        let request = head("PATCH", &location, &more);
        stream.write_all(request.as_bytes()).await.unwrap();
        // In one chunk, so that nothing of it fits where it is too long.
        stream
            .write_all(b"7\r\ncontent\r\n0\r\n\r\n")
            .await
            .unwrap();
        expect(&mut stream, &["HTTP/1.1 400 ", "SIZE_INVALID"]).await;
        let request = head("GET", &location, "");
        stream.write_all(request.as_bytes()).await.unwrap();
        let range = format!("range: {kept}\r\n");
        expect(&mut stream, &["HTTP/1.1 204 ", &range]).await;
    }
}

#[tokio::test]
async fn a_manifest_that_ends_early_is_invalid() {
    let mut stream = connected().await;
    let request = head("PUT", "/v2/app/manifests/v1", "content-length: 100\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(b"{}").await.unwrap();
    stream.shutdown().await.unwrap();
    expect(&mut stream, &["HTTP/1.1 400 ", "MANIFEST_INVALID"]).await;
}
