//! What only shows on a real connection.

use std::time::Duration;

use entrepot_distribution::router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::client::authorization;
use crate::registry;

const PATIENCE: Duration = Duration::from_secs(30);
const LARGE: usize = 5 * 1024 * 1024;

/// A connection to a server of its own.
async fn connected() -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = router(registry::registry().await);
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
    let mut stream = connected().await;
    let request = head("POST", "/v2/app/blobs/uploads/", "");
    stream.write_all(request.as_bytes()).await.unwrap();
    let opened = expect(&mut stream, &["HTTP/1.1 202 "]).await;
    let location = opened
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .unwrap();

    let request = head("PATCH", location, "content-length: 100\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.write_all(b"too few").await.unwrap();
    stream.shutdown().await.unwrap();
    expect(&mut stream, &["HTTP/1.1 400 ", "BLOB_UPLOAD_INVALID"]).await;
}
