//! Requests that no HTTP library would send.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use entrepot_harness::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

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
        "\r\n\r\n",
    ] {
        let answer = raw(node, request.as_bytes()).await?;
        ensure!(
            !answer.starts_with("HTTP/1.1 2"),
            "{request:?}: answered {answer:?}"
        );
        ensure!(
            !answer.starts_with("HTTP/1.1 5"),
            "{request:?}: answered {answer:?}"
        );
    }
    node.get("/v2/").send().await?.expect(200)?;
    Ok(())
}
