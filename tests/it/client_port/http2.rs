//! HTTP/2, used against the node.

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Blob, Cluster, Random, media};
use h2::client::SendRequest;
use http::{Request, StatusCode};
use tokio::net::TcpStream;

use super::frames::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS,
    INITIAL_WINDOW_SIZE, RST_STREAM,
};
use super::raw::ANSWERED;
use super::{basic, grew_little, pushed_blob, serves};
use crate::support::step;

const ANNOUNCING_CLIENTS: usize = 8;
/// Of each client.
const ANNOUNCING_REQUESTS: usize = 100;
const RESETS: u32 = 20_000;
const CONTINUATIONS: usize = 2_000;
const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;
/// Requests of one connection that are stuck; each holds a few MiB.
const STUCK: usize = 16;
const LARGE_BYTES: usize = 32 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_taken_back_at_once_end_the_connection_and_nothing_else() -> Result<()> {
    let cluster = Cluster::builder().nodes(1).start().await?;
    let registry = cluster.registry(1)?;
    serves(&registry, 1).await?;
    let node = cluster.node(1)?;
    let before = node.usage()?;
    step("20,000 requests, each reset in the same breath", async {
        let mut client = Frames::connect(node.client_address(), &[]).await?;
        let mut burst = Vec::new();
        for stream in (1..).step_by(2).take(RESETS as usize) {
            burst.extend(frames::request(stream, END_STREAM, "GET", "/v2/", &[]));
            burst.extend(frames::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        // The node does not read to the end.
        let _ = client.send(&burst).await;
        calmed(client, GOAWAY).await
    })
    .await?;
    step("headers without an end", async {
        let mut client = Frames::connect(node.client_address(), &[]).await?;
        let mut burst = frames::request(1, 0, "GET", "/v2/", &[]);
        // Not the end of the headers.
        burst[4] &= !END_HEADERS;
        for _ in 0..CONTINUATIONS {
            burst.extend(frames::frame(CONTINUATION, 0, 1, &[0; 16_000]));
        }
        let _ = client.send(&burst).await;
        calmed(client, GOAWAY).await
    })
    .await?;
    serves(&registry, 2).await?;
    grew_little(&cluster, before.peak_rss_bytes)?;
    let used = node.usage()?.cpu_s - before.cpu_s;
    println!("the node used {used:.2} s of CPU time");
    cluster.finish().await
}

/// What is announced takes nothing; what has come does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_that_are_announced_take_no_memory() -> Result<()> {
    let cluster = Cluster::builder().nodes(1).start().await?;
    let registry = cluster.registry(1)?;
    serves(&registry, 1).await?;
    let before = cluster.node(1)?.usage()?.peak_rss_bytes;
    let authorization = basic(&cluster);
    let manifest = [
        ("authorization", authorization.as_str()),
        ("content-length", "4194304"),
    ];
    let call = [
        ("authorization", authorization.as_str()),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let message = [&[0, 0, 0x40, 0, 0][..], &[7; 100]].concat();
    let path = "/v2/edge/announced/manifests/v1";
    let (put, append) = (
        "/entrepot.v1.Registry/PutManifest",
        "/entrepot.v1.Registry/AppendUpload",
    );
    for (what, method, path, headers, body) in [
        ("manifests", "PUT", path, &manifest[..], &[b' '; 100][..]),
        ("calls", "POST", put, &call, &message),
        (
            "streams",
            "POST",
            append,
            &call,
            &[&[0, 0, 0x0f][..], &message[3..]].concat(),
        ),
    ] {
        let mut clients = Vec::new();
        for _ in 0..ANNOUNCING_CLIENTS {
            let mut client = Frames::connect(cluster.node(1)?.client_address(), &[]).await?;
            let streams = || (1..).step_by(2).take(ANNOUNCING_REQUESTS);
            let mut burst = Vec::new();
            for stream in streams() {
                burst.extend(frames::request(stream, 0, method, path, headers));
                burst.extend(frames::frame(DATA, 0, stream, body));
            }
            let last = streams().last().unwrap_or_default() + 2;
            let credentials = [("authorization", authorization.as_str())];
            burst.extend(frames::request(
                last,
                END_STREAM,
                "GET",
                "/v2/",
                &credentials,
            ));
            client.send(&burst).await?;
            client
                .expect(|frame| frame.kind == HEADERS && frame.stream == last)
                .await
                .context(what)?;
            clients.push(client);
        }
        serves(&registry, 2).await?;
        grew_little(&cluster, before).context(what)?;
        drop(clients);
    }
    cluster.finish().await
}

/// The node says so, if the client can still hear it, and closes.
async fn calmed(mut client: Frames, kind: u8) -> Result<()> {
    if let Some(said) = client.next(|frame| frame.kind == kind).await? {
        let code = said.error();
        ensure!(
            matches!(code, Some(ENHANCE_YOUR_CALM | PROTOCOL_ERROR)),
            "{said:?}"
        );
        println!("the node ended it with {code:?}");
        ensure!(client.next(|_| false).await?.is_none(), "it is still open");
    }
    Ok(())
}

#[tokio::test]
async fn streams_and_headers_are_limited() -> Result<()> {
    let cluster = Cluster::builder()
        .nodes(1)
        .limit("http2_streams_max", 4)
        .limit("body_timeout_s", 2)
        .start()
        .await?;
    let node = cluster.node(1)?;
    let authorization = basic(&cluster);
    let upload = ("authorization", authorization.as_str());
    let target = "/v2/edge/http2/manifests/latest";

    step("the fifth of four requests is refused", async {
        let mut client = Frames::connect(node.client_address(), &[]).await?;
        for stream in [1, 3, 5, 7, 9] {
            let request = frames::request(stream, 0, "PUT", target, &[upload]);
            client.send(&request).await?;
        }
        let refused = client.expect(|frame| frame.kind == RST_STREAM).await?;
        ensure!(refused.stream == 9, "{refused:?}");
        ensure!(refused.error() == Some(REFUSED_STREAM), "{refused:?}");
        // The others have been let in, and end for want of a body: 408.
        for _ in 0..4 {
            client.expect(|frame| frame.kind == HEADERS).await?;
        }
        Ok(())
    })
    .await?;
    step("a body longer than declared", async {
        let mut client = Frames::connect(node.client_address(), &[]).await?;
        let fields = [upload, ("content-length", "2")];
        let request = frames::request(1, 0, "PUT", target, &fields);
        let data = frames::frame(DATA, END_STREAM, 1, b"{   }");
        client.send(&[request, data].concat()).await?;
        let reset = client.expect(|frame| frame.kind == RST_STREAM).await?;
        ensure!(reset.error() == Some(PROTOCOL_ERROR), "{reset:?}");
        Ok(())
    })
    .await?;
    step(
        "headers too large: 431, and the next request is answered",
        async {
            let mut client = speak(&cluster).await?;
            let large = Request::get("http://x/v2/").header("x-large", "x".repeat(100_000));
            let (status, _) = ask(&mut client, large.body(())?).await?;
            ensure!(
                status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "{status}"
            );
            let right = Request::get("http://x/v2/").header("authorization", &authorization);
            let (status, _) = ask(&mut client, right.body(())?).await?;
            ensure!(status == StatusCode::OK, "{status}");
            Ok(())
        },
    )
    .await?;
    step("gRPC without its message", async {
        let mut client = speak(&cluster).await?;
        let call = Request::post("http://x/entrepot.admin.v1.Admin/ClusterStatus")
            .header("content-type", "application/grpc")
            .header("authorization", &authorization)
            .body(())?;
        let (response, mut body) = client.send_request(call, false)?;
        let response = tokio::time::timeout(ANSWERED, response).await??;
        let status = response.headers().get("grpc-status");
        ensure!(status.is_some_and(|status| status != "0"), "{response:?}");
        body.send_reset(h2::Reason::CANCEL);
        Ok(())
    })
    .await?;
    cluster.finish().await
}

#[tokio::test]
async fn a_client_without_room_for_the_answer_is_given_up() -> Result<()> {
    let cluster = Cluster::builder()
        .nodes(1)
        .limit("write_timeout_s", 1)
        .start()
        .await?;
    let registry = cluster.registry(1)?;
    let blob = pushed_blob(&registry, 1, LARGE_BYTES).await?;
    let node = cluster.node(1)?;
    let before = node.usage()?.peak_rss_bytes;
    let authorization = basic(&cluster);
    let target = format!("/v2/edge/blobs/blobs/{}", blob.digest);
    let fields = [("authorization", authorization.as_str())];
    for window in [0, 1] {
        let settings = [(INITIAL_WINDOW_SIZE, window)];
        let mut client = Frames::connect(node.client_address(), &settings).await?;
        for stream in (1..).step_by(2).take(STUCK) {
            let request = frames::request(stream, END_STREAM, "GET", &target, &fields);
            client.send(&request).await?;
        }
        client.expect(|frame| frame.kind == HEADERS).await?;
        ensure!(client.next(|_| false).await?.is_none(), "it is still open");
    }
    registry.verify_blob("edge/blobs", &blob).await?;
    grew_little(&cluster, before)?;
    cluster.finish().await
}

#[tokio::test]
async fn a_connection_that_rests_is_told_to_go() -> Result<()> {
    let cluster = Cluster::builder()
        .nodes(1)
        .limit("idle_timeout_s", 2)
        .start()
        .await?;
    let node = cluster.node(1)?;
    let mut client = Frames::connect(node.client_address(), &[]).await?;
    let request = frames::request(1, END_STREAM, "GET", "/v2/", &[]);
    client.send(&request).await?;
    client.expect(|frame| frame.kind == HEADERS).await?;
    let told = client.expect(|frame| frame.kind == GOAWAY).await?;
    ensure!(told.error() == Some(0), "{told:?}");
    cluster.finish().await
}

#[tokio::test]
async fn an_upload_over_http2_is_not_held_back_by_others() -> Result<()> {
    let cluster = Cluster::builder().nodes(1).start().await?;
    let registry = cluster.registry(1)?;
    let blob = Blob::new(media::LAYER, Random::new(5).bytes(LARGE_BYTES));
    let mut client = speak(&cluster).await?;
    // A request of the same connection that takes nothing and gives nothing.
    let authorization = basic(&cluster);
    let stuck = Request::put("http://x/v2/edge/http2/manifests/stuck")
        .header("authorization", &authorization)
        .body(())?;
    let stuck = client.send_request(stuck, false)?;
    let target = format!(
        "http://x/v2/edge/http2/blobs/uploads/?digest={}",
        blob.digest
    );
    let push = Request::post(target)
        .header("authorization", &authorization)
        .header("content-length", blob.content.len())
        .body(())?;
    let (response, mut body) = client.send_request(push, false)?;
    let sent = async {
        let mut rest = blob.content.clone();
        while !rest.is_empty() {
            body.reserve_capacity(rest.len().min(1 << 20));
            let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await;
            let room = room.context("the stream is closed")??;
            let piece = rest.split_to(room.min(rest.len()));
            body.send_data(piece, rest.is_empty())?;
        }
        let status = response.await?.status();
        ensure!(status == StatusCode::CREATED, "{status}");
        Ok(())
    };
    tokio::time::timeout(ANSWERED, sent).await??;
    registry.verify_blob("edge/http2", &blob).await?;
    // A node that stops would wait for it.
    drop((stuck, client));
    cluster.finish().await
}

/// A well-behaved client.
async fn speak(cluster: &Cluster) -> Result<SendRequest<bytes::Bytes>> {
    let stream = TcpStream::connect(cluster.node(1)?.client_address()).await?;
    let (client, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A request without a body; its status and its body.
async fn ask(
    client: &mut SendRequest<bytes::Bytes>,
    request: Request<()>,
) -> Result<(StatusCode, Vec<u8>)> {
    let (response, _) = client.send_request(request, true)?;
    let answer = async {
        let (head, mut body) = response.await?.into_parts();
        let mut content = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            content.extend_from_slice(&data);
        }
        Ok((head.status, content))
    };
    tokio::time::timeout(ANSWERED, answer).await?
}
