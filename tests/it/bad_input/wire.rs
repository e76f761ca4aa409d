//! Requests that no HTTP library would send.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Blob, Cluster, Image, Registry, media};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::REPOSITORY;
use super::uploads::basic;

const ANSWERED: Duration = Duration::from_secs(20);
/// More than any node may want to read of a header.
const HEADER_BYTES: usize = 2 << 20;

/// Sends `request` as it is and returns what comes back until the node closes.
pub(super) async fn raw(node: &Registry, request: &[u8]) -> Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(node.address()).await?;
        // The node may answer and close before it has read all of it.
        let _ = stream.write_all(request).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(ANSWERED, exchange)
        .await
        .context("no answer in time")?
}

pub(super) async fn large_headers(node: &Registry) -> Result<()> {
    let value = "x".repeat(HEADER_BYTES);
    let large = format!("GET /v2/ HTTP/1.1\r\nhost: x\r\nx-large: {value}\r\n\r\n");
    let many = "x-many: y\r\n".repeat(5_000);
    let many = format!("GET /v2/ HTTP/1.1\r\nhost: x\r\n{many}\r\n");
    for (what, request) in [("one large header", large), ("many headers", many)] {
        let answer = raw(node, request.as_bytes()).await?;
        let first = answer.lines().next().unwrap_or_default();
        ensure!(
            first.starts_with("HTTP/1.1 431"),
            "{what}: answered {first:?}"
        );
    }
    node.get("/v2/").send().await?.expect(200)?;
    Ok(())
}

pub(super) async fn no_http(node: &Registry) -> Result<()> {
    for request in [
        "\u{0}\u{1}\u{2}\r\n\r\n",
        "GET\r\n\r\n",
        "GET /v2/ HTTP/9.9\r\n\r\n",
    ] {
        let answer = raw(node, request.as_bytes()).await?;
        ensure!(
            answer.starts_with("HTTP/1.1 400 "),
            "{request:?}: answered {answer:?}"
        );
    }
    // Blank lines before a request are none.
    let answer = raw(node, b"\r\n\r\n").await?;
    ensure!(answer.is_empty(), "answered {answer:?}");
    node.get("/v2/").send().await?.expect(200)?;
    Ok(())
}

/// A request head as `cluster`'s root sends it.
fn head(cluster: &Cluster, method: &str, path: &str, more: &str) -> String {
    let authorization = basic(cluster.user(), cluster.password());
    format!("{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\n{more}\r\n")
}

/// Sends a head, and returns the first that comes back.
async fn first_answer(stream: &mut TcpStream, head: &str) -> Result<String> {
    let exchange = async {
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
            ensure!(
                stream.read_buf(&mut answer).await? > 0,
                "closed without an answer"
            );
        }
        anyhow::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    tokio::time::timeout(ANSWERED, exchange)
        .await
        .context("no answer in time")?
}

/// Who waits for leave to send hears a refusal in its place; nobody has to send
/// what is not taken. (RFC 9110, 10.1.1)
pub(super) async fn before_the_body(cluster: &Cluster) -> Result<()> {
    const HUGE: u64 = 100 << 30;
    let node = cluster.registry(2)?;
    let manifest = format!("/v2/{REPOSITORY}/manifests/huge");
    let upload = node.open_upload(REPOSITORY).await?.path;
    let elsewhere = cluster.registry(3)?.open_upload(REPOSITORY).await?.path;
    for (method, path, length, more, status) in [
        ("PUT", &manifest, HUGE, "", 413),
        ("PATCH", &upload, HUGE, "", 413),
        ("PATCH", &upload, 10, "content-range: 5-14\r\n", 416),
        ("PATCH", &elsewhere, HUGE, "", 413),
    ] {
        // The node that owns the upload decides, and is shown the body by the
        // one that was asked: there leave is given.
        let relayed = path == &elsewhere;
        for leave in ["", "expect: 100-continue\r\n"] {
            let more = format!("content-length: {length}\r\n{more}{leave}");
            let mut stream = TcpStream::connect(node.address()).await?;
            let answer = first_answer(&mut stream, &head(cluster, method, path, &more)).await?;
            let refused = answer.starts_with(&format!("HTTP/1.1 {status} "));
            let given = relayed && answer.starts_with("HTTP/1.1 100 ");
            ensure!(refused || given, "{method} {path} {more}: {answer}");
        }
    }
    let stranger = "content-length: 10\r\nexpect: 100-continue\r\n";
    let stranger = format!("PUT {manifest} HTTP/1.1\r\nhost: x\r\n{stranger}\r\n");
    let mut stream = TcpStream::connect(node.address()).await?;
    let answer = first_answer(&mut stream, &stranger).await?;
    ensure!(answer.starts_with("HTTP/1.1 401 "), "{answer}");

    let blob = Blob::new(media::LAYER, "what was waited for");
    let more = format!(
        "content-length: {}\r\nexpect: 100-continue\r\n",
        blob.content.len()
    );
    let path = format!("{upload}?digest={}", blob.digest);
    let mut stream = TcpStream::connect(node.address()).await?;
    let leave = first_answer(&mut stream, &head(cluster, "PUT", &path, &more)).await?;
    ensure!(leave.starts_with("HTTP/1.1 100 "), "{leave}");
    stream.write_all(&blob.content).await?;
    let answer = first_answer(&mut stream, "").await?;
    ensure!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    node.delete(&elsewhere).send().await?.expect(204)?;
    node.verify_blob(REPOSITORY, &blob).await
}

/// Content is named by its digest: nobody takes it apart on the way.
pub(super) async fn encoded(node: &Registry, image: &Image) -> Result<()> {
    let upload = node.open_upload(REPOSITORY).await?.path;
    let manifest = format!("/v2/{REPOSITORY}/manifests/encoded");
    let content = || image.manifest.content.clone();
    for request in [
        node.put(&manifest).header("content-type", media::MANIFEST),
        node.patch(&upload),
        node.put(&format!("{upload}?digest={}", image.digest())),
        node.post(&format!(
            "/v2/{REPOSITORY}/blobs/uploads/?digest={}",
            image.digest()
        )),
    ] {
        let request = request.header("content-encoding", "gzip").body(content());
        let reply = request.send().await?.expect_error(415, "UNSUPPORTED")?;
        reply.expect_header("accept-encoding", "identity")?;
    }
    node.delete(&upload).send().await?.expect(204)?;
    Ok(())
}
