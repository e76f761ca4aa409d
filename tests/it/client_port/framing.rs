//! HTTP/1 as it is not spoken any more, or never was.

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Blob, Cluster, media};

use super::raw::Raw;
use super::{basic, head, pushed_blob, serves};
use crate::support::step;

const PIPELINED: usize = 64;

#[tokio::test]
async fn old_and_broken_framing_is_answered_or_refused() -> Result<()> {
    let cluster = Cluster::builder().nodes(1).start().await?;
    let registry = cluster.registry(1)?;
    step("HTTP/1.0", old_protocol(&cluster)).await?;
    step("requests without waiting for answers", pipelined(&cluster)).await?;
    step(
        "headers that are too many or too large",
        large_headers(&cluster),
    )
    .await?;
    step("heads that are wrong", wrong_heads(&cluster)).await?;
    step("lengths that contradict", wrong_lengths(&cluster)).await?;
    step("bodies refused unread", refused_unread(&cluster)).await?;
    step("credentials twice", twice(&cluster)).await?;
    step("broken chunks", broken_chunks(&cluster)).await?;
    step("whole chunks", whole_chunks(&cluster)).await?;
    serves(&registry, 1).await?;
    let panicked = cluster.node(1)?.log_contains("panicked");
    ensure!(!panicked, "the node has panicked");
    cluster.finish().await
}

async fn connect(cluster: &Cluster) -> Result<Raw> {
    Raw::connect(cluster.node(1)?.client_address()).await
}

/// No `Host`, one answer, and the end of the connection.
async fn old_protocol(cluster: &Cluster) -> Result<()> {
    let blob = pushed_blob(&cluster.registry(1)?, 1, 300_000).await?;
    let authorization = basic(cluster);
    let target = format!("/v2/edge/blobs/blobs/{}", blob.digest);
    let mut client = connect(cluster).await?;
    let ask = format!("GET {target} HTTP/1.0\r\nauthorization: {authorization}\r\n\r\n");
    client.send(&ask).await?;
    let answer = client.answer().await?.expect(200)?;
    ensure!(answer.body == blob.content, "other content");
    client.closed().await?;
    let mut client = connect(cluster).await?;
    client.send("GET /v2/ HTTP/1.0\r\n\r\n").await?;
    let answer = client.answer().await?;
    answer.expect_error(401, "UNAUTHORIZED")?;
    client.closed().await?;
    let mut client = connect(cluster).await?;
    client.send("GET /v2/\r\n\r\n").await?;
    client.answer().await?.expect(400)?;
    client.closed().await
}

/// The answers come in the order of the requests.
async fn pipelined(cluster: &Cluster) -> Result<()> {
    let mut all = String::new();
    for number in 0..PIPELINED {
        let target = match number % 2 {
            0 => "/v2/".to_owned(),
            _ => format!("/v2/edge/none/manifests/{number}"),
        };
        all.push_str(&head(cluster, "GET", &target, ""));
    }
    let mut client = connect(cluster).await?;
    client.send(&all).await?;
    for number in 0..PIPELINED {
        let status = if number % 2 == 0 { 200 } else { 404 };
        let answer = client.answer().await?.expect(status);
        answer.with_context(|| format!("answer {number}"))?;
    }
    Ok(())
}

async fn large_headers(cluster: &Cluster) -> Result<()> {
    let large = format!("x-large: {}\r\n", "x".repeat(70_000));
    let many = (0..200).fold(String::new(), |all, number| {
        format!("{all}x-{number}: y\r\n")
    });
    let fits = format!("x-fits: {}\r\n", "x".repeat(32_000));
    for (what, more, status) in [
        ("large", large, 431),
        ("many", many, 431),
        ("fits", fits, 200),
    ] {
        let mut client = connect(cluster).await?;
        client.send_some(head(cluster, "GET", "/v2/", &more)).await;
        let answer = client.answer().await.context(what)?;
        answer.expect(status).context(what)?;
    }
    Ok(())
}

async fn wrong_heads(cluster: &Cluster) -> Result<()> {
    for (what, request) in [
        ("no Host", "GET /v2/ HTTP/1.1\r\n\r\n"),
        (
            "two Hosts",
            "GET /v2/ HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        ),
        ("an empty Host", "GET /v2/ HTTP/1.1\r\nhost: \r\n\r\n"),
        ("no host", "GET /v2/ HTTP/1.1\r\nhost: a b/c\r\n\r\n"),
    ] {
        let mut client = connect(cluster).await?;
        client.send(request).await?;
        let answer = client.answer().await.context(what)?;
        answer.expect_error(400, "UNSUPPORTED").context(what)?;
    }
    for (what, request) in [
        (
            "a blank in a header's name",
            "GET /v2/ HTTP/1.1\r\nho st: x\r\n\r\n",
        ),
        (
            "NUL in a header",
            "GET /v2/ HTTP/1.1\r\nhost: x\r\nx: a\0b\r\n\r\n",
        ),
        (
            "a folded header",
            "GET /v2/ HTTP/1.1\r\nhost: x\r\nx: a\r\n b\r\n\r\n",
        ),
        ("a version to come", "GET /v2/ HTTP/1.2\r\nhost: x\r\n\r\n"),
        ("no method", " /v2/ HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("a method of blanks", "G T /v2/ HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03"),
    ] {
        let mut client = connect(cluster).await?;
        client.send(request).await?;
        client.end().await?;
        let answer = client.answer().await.context(what)?;
        answer.expect(400).context(what)?;
        client.closed().await.context(what)?;
    }
    Ok(())
}

async fn wrong_lengths(cluster: &Cluster) -> Result<()> {
    let target = "/v2/edge/framing/manifests/latest";
    for (what, lengths) in [
        ("two", "content-length: 1\r\ncontent-length: 2\r\n"),
        ("a list", "content-length: 1, 2\r\n"),
        ("negative", "content-length: -1\r\n"),
        ("signed", "content-length: +1\r\n"),
        ("no number", "content-length: all\r\n"),
        ("too long", "content-length: 99999999999999999999999\r\n"),
        (
            "chunks that are not last",
            "transfer-encoding: chunked, gzip\r\n",
        ),
        ("an unknown encoding", "transfer-encoding: gzip\r\n"),
    ] {
        let mut client = connect(cluster).await?;
        client.send(head(cluster, "PUT", target, lengths)).await?;
        let answer = client.answer().await.context(what)?;
        answer.expect(400).context(what)?;
        client.closed().await.context(what)?;
    }
    for coded in ["gzip, chunked", "chunked, chunked"] {
        let mut client = connect(cluster).await?;
        let coding = format!("transfer-encoding: {coded}\r\n");
        client.send(head(cluster, "PUT", target, &coding)).await?;
        client.send("0\r\n\r\n").await?;
        let answer = client.answer().await.context(coded)?;
        answer.expect_error(400, "UNSUPPORTED").context(coded)?;
    }
    // Both: whatever is made of it, the rest is no second request.
    let mut client = connect(cluster).await?;
    let both = "content-length: 5\r\ntransfer-encoding: chunked\r\n";
    client.send(head(cluster, "PUT", target, both)).await?;
    let smuggled = format!("0\r\n\r\n{}", head(cluster, "GET", "/v2/smuggled", ""));
    client.send_some(&smuggled).await;
    let answer = client.answer().await?;
    ensure!(matches!(answer.status, 400), "{answer:?}");
    client.closed().await
}

/// What is not going to be read is not waited for: the answer says so.
async fn refused_unread(cluster: &Cluster) -> Result<()> {
    let target = "/v2/edge/framing/manifests/latest";
    for (what, more) in [
        (
            "leave to send",
            "expect: 100-continue\r\ncontent-length: 5000000\r\n",
        ),
        ("more than is read", "content-length: 50000000\r\n"),
    ] {
        let mut client = connect(cluster).await?;
        client.send(head(cluster, "PUT", target, more)).await?;
        let answer = client.answer().await.context(what)?;
        ensure!(answer.closes(), "{what}: {answer:?}");
        answer.expect_error(413, "MANIFEST_INVALID").context(what)?;
    }
    Ok(())
}

async fn twice(cluster: &Cluster) -> Result<()> {
    let mut client = connect(cluster).await?;
    let again = format!("authorization: {}\r\n", basic(cluster));
    client.send(head(cluster, "GET", "/v2/", &again)).await?;
    let answer = client.answer().await?;
    answer.expect_error(401, "UNAUTHORIZED").map(drop)
}

async fn broken_chunks(cluster: &Cluster) -> Result<()> {
    let target = "/v2/edge/framing/manifests/latest";
    for (what, chunks) in [
        ("no size", "{}\r\n0\r\n\r\n"),
        ("a size that is no number", "zz\r\n{}\r\n0\r\n\r\n"),
        ("a size that is negative", "-2\r\n{}\r\n0\r\n\r\n"),
        (
            "a size beyond all numbers",
            "fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        ),
        ("a chunk longer than its size", "1\r\n{}\r\n0\r\n\r\n"),
        ("a chunk without its end", "2\r\n{}"),
        ("no last chunk", "2\r\n{}\r\n"),
        ("a line end of its own kind", "2\n{}\n0\n\n"),
    ] {
        let mut client = connect(cluster).await?;
        let chunked = "transfer-encoding: chunked\r\n";
        client.send(head(cluster, "PUT", target, chunked)).await?;
        client.send_some(chunks).await;
        client.end().await?;
        let answer = client.answer().await.context(what)?;
        let refused = answer.expect_error(400, "MANIFEST_INVALID");
        refused.context(what)?;
        client.closed().await.context(what)?;
    }
    Ok(())
}

async fn whole_chunks(cluster: &Cluster) -> Result<()> {
    let blob = Blob::new(media::LAYER, "chunks");
    let target = format!("/v2/edge/framing/blobs/uploads/?digest={}", blob.digest);
    let mut client = connect(cluster).await?;
    let chunked = "transfer-encoding: chunked\r\n";
    client.send(head(cluster, "POST", &target, chunked)).await?;
    client.send("3;extension=1\r\nchu\r\n").await?;
    client
        .send("03\r\nnks\r\n0\r\nx-trailer: y\r\n\r\n")
        .await?;
    client.answer().await?.expect(201)?;
    let registry = cluster.registry(1)?;
    registry.verify_blob("edge/framing", &blob).await
}
