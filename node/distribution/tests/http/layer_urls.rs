//! Addresses of layers that are good by themselves.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use entrepot_oci::Digest;
use entrepot_service::{Caller, Principal};

use crate::client::{Client, Reply, refusal};

const ACCOUNT: &str = "123456789012";

async fn grant(client: &Client, repository: &str, digest: &Digest) -> String {
    let who = Caller::of(Principal::root(ACCOUNT.parse().unwrap()));
    let name = repository.parse().unwrap();
    let grant = client.registry.presign_layer(&who, &name, digest).await;
    grant.unwrap()
}

/// Without credentials.
async fn send(client: &Client, method: &str, target: &str, range: Option<&str>) -> Reply {
    let mut request = Request::builder().method(method).uri(target);
    if let Some(range) = range {
        request = request.header("range", range);
    }
    client.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_layer_is_read_without_credentials_whole_and_in_parts() {
    let client = Client::new().await;
    let content: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let digest = client.push_blob("team/app", &content).await;
    let grant = grant(&client, "team/app", &digest).await;
    let target = format!("/v2/team/app/blobs/{digest}?X-Entrepot-Grant={grant}");
    let whole = send(&client, "GET", &target, None).await;
    assert_eq!(whole.status, StatusCode::OK);
    assert_eq!(whole.body[..], content[..]);
    let part = send(&client, "GET", &target, Some("bytes=1000-1999")).await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.body[..], content[1000..2000]);
    let head = send(&client, "HEAD", &target, None).await;
    assert_eq!(head.status, StatusCode::OK);
}

#[tokio::test]
async fn it_is_good_for_nothing_else() {
    let client = Client::new().await;
    let mine = client.push_blob("team/app", b"mine").await;
    let other = client.push_blob("team/app", b"other").await;
    client.push_blob("team/more", b"mine").await;
    let grant = grant(&client, "team/app", &mine).await;
    let denied = refusal(403, "DENIED");
    let mut changed = grant.clone().into_bytes();
    let middle = changed.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    for (method, path, grant) in [
        ("GET", format!("team/app/blobs/{other}"), &grant),
        ("GET", format!("team/more/blobs/{mine}"), &grant),
        ("GET", format!("team/app/blobs/{mine}"), &changed),
        ("GET", format!("team/app/blobs/{mine}"), &"x".repeat(3_000)),
    ] {
        let target = format!("/v2/{path}?X-Entrepot-Grant={grant}");
        let reply = send(&client, method, &target, None).await;
        assert_eq!(reply.refused(), denied, "{target}");
    }
    // It lets nobody write, nor read anything but a blob.
    for (method, path) in [
        ("DELETE", format!("team/app/blobs/{mine}")),
        ("POST", "team/app/blobs/uploads/".to_owned()),
        ("GET", "team/app/tags/list".to_owned()),
    ] {
        let target = format!("/v2/{path}?X-Entrepot-Grant={grant}");
        let reply = send(&client, method, &target, None).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{method} {target}");
    }
    let target = format!("/v2/team/app/blobs/{mine}?X-Entrepot-Grant={grant}");
    assert_eq!(send(&client, "GET", &target, None).await.body, "mine");
}
