//! The host of the public registries: anonymous pulls, pushes by those who may,
//! and everything that must not be had there.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot_oci::{AccountId, RegistryId};
use entrepot_service::{Caller, NewRepository, Principal};
use serde_json::Value;

use crate::client::{Client, MANIFEST, Reply, image, refusal, sha256};
use crate::registry;

const HOST: &str = "public.registry.test";
/// Of the account 123456789012.
const ALIAS: &str = "bcdefghijabc";

fn account() -> AccountId {
    "123456789012".parse().unwrap()
}

fn owner() -> Caller {
    Caller::of(Principal::root(account())).meaning(RegistryId::public(&account()))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn root() -> String {
    basic(registry::USER, registry::PASSWORD)
}

/// To the public host, with these credentials or none.
async fn ask(
    client: &Client,
    method: &str,
    target: &str,
    credentials: Option<&str>,
    body: impl Into<Body>,
) -> Reply {
    let mut request = Request::builder().method(method).uri(target);
    request = request.header("host", HOST);
    if let Some(credentials) = credentials {
        request = request.header("authorization", credentials);
    }
    if method == "PUT" {
        request = request.header("content-type", MANIFEST);
    }
    client.send(request.body(body.into()).unwrap()).await
}

async fn get(client: &Client, target: &str) -> Reply {
    ask(client, "GET", target, None, Body::empty()).await
}

/// With the public repositories `app` and `other`, and a private `app` that has a
/// blob and an image of its own.
async fn world() -> Client {
    let client = Client::new().await;
    for name in ["app", "other"] {
        let (name, new) = (name.parse().unwrap(), NewRepository::default());
        let made = Arc::clone(&client.registry);
        made.create_public(&owner(), &name, new, None)
            .await
            .unwrap();
    }
    let secret = client.push_blob("app", b"secret layer").await;
    let put = client.push_manifest("app", "v1", &image(&secret, 12)).await;
    assert_eq!(put.status, 201, "{put:?}");
    client
}

/// Pushes an image to the public `app`; its manifest.
async fn pushed(client: &Client) -> String {
    let digest = sha256(b"open layer");
    let target = format!("/v2/{ALIAS}/app/blobs/uploads/?digest={digest}");
    let reply = ask(client, "POST", &target, Some(&root()), "open layer").await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let location = format!("/v2/{ALIAS}/app/blobs/{digest}");
    assert_eq!(reply.header("location"), location);
    let manifest = image(&digest, 10);
    let target = format!("/v2/{ALIAS}/app/manifests/v1");
    let reply = ask(client, "PUT", &target, Some(&root()), manifest.clone()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let location = reply.header("location").to_owned();
    assert!(location.starts_with(&format!("/v2/{ALIAS}/app/manifests/sha256:")));
    manifest
}

#[tokio::test]
async fn everybody_pulls_with_a_token_and_without() {
    let client = world().await;
    let manifest = pushed(&client).await;
    let nobody = get(&client, "/v2/").await;
    assert_eq!(nobody.refused(), refusal(401, "UNAUTHORIZED"));
    let challenge = nobody.header("www-authenticate");
    let realm = "Bearer realm=\"https://public.registry.test/token/\",service=\"public.ecr.aws\"";
    assert_eq!(challenge, realm);
    let scope = format!("/token/?service=public.ecr.aws&scope=repository:{ALIAS}/app:pull");
    let reply = get(&client, &scope).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let bearer = format!("Bearer {}", body["token"].as_str().unwrap());
    let digest = sha256(b"open layer");
    for credentials in [None, Some("Basic Og=="), Some(&*bearer)] {
        let all = [
            (format!("/v2/{ALIAS}/app/manifests/v1"), manifest.as_bytes()),
            (format!("/v2/{ALIAS}/app/blobs/{digest}"), b"open layer"),
        ];
        for (target, expected) in all {
            let reply = ask(&client, "GET", &target, credentials, Body::empty()).await;
            assert_eq!((reply.status.as_u16(), &*reply.body), (200, expected));
            let head = ask(&client, "HEAD", &target, credentials, Body::empty()).await;
            assert_eq!(head.status, 200, "{target}");
        }
        let target = format!("/v2/{ALIAS}/app/tags/list");
        let tags = ask(&client, "GET", &target, credentials, Body::empty()).await;
        let tags: Value = serde_json::from_slice(&tags.body).unwrap();
        let name = format!("{ALIAS}/app");
        assert_eq!(tags, serde_json::json!({"name": name, "tags": ["v1"]}));
    }
    let ping = ask(&client, "GET", "/v2/", Some(&bearer), Body::empty()).await;
    assert_eq!(ping.status, 200);
}

#[tokio::test]
async fn nobody_does_anything_else_without_credentials() {
    let client = world().await;
    pushed(&client).await;
    let reply = get(&client, "/token/").await;
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let bearer = format!("Bearer {}", body["token"].as_str().unwrap());
    let digest = sha256(b"open layer");
    let uploads = format!("/v2/{ALIAS}/app/blobs/uploads/");
    for credentials in [None, Some(&*bearer)] {
        for (method, target) in [
            ("POST", uploads.clone()),
            ("POST", format!("{uploads}?digest={digest}")),
            (
                "POST",
                format!("{uploads}?mount={digest}&from={ALIAS}/other"),
            ),
            ("POST", format!("/v2/{ALIAS}/absent/blobs/uploads/")),
            ("PATCH", format!("{uploads}abc")),
            ("PUT", format!("/v2/{ALIAS}/app/manifests/v2")),
            ("PUT", format!("/v2/{ALIAS}/absent/manifests/v2")),
            ("DELETE", format!("/v2/{ALIAS}/app/manifests/v1")),
            ("DELETE", format!("/v2/{ALIAS}/app/blobs/{digest}")),
        ] {
            let reply = ask(&client, method, &target, credentials, "open layer").await;
            assert_eq!(
                reply.refused(),
                refusal(401, "UNAUTHORIZED"),
                "{method} {target}"
            );
            let challenge = reply.header("www-authenticate");
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
        }
    }
    for credentials in [None, Some(&*root())] {
        let catalog = ask(&client, "GET", "/v2/_catalog", credentials, Body::empty()).await;
        assert_eq!(catalog.refused(), refusal(404, "UNSUPPORTED"));
    }
}

#[tokio::test]
async fn nothing_private_is_there_under_any_name() {
    let client = world().await;
    pushed(&client).await;
    let secret = sha256(b"secret layer");
    let private = sha256(image(&secret, 12).as_bytes());
    for name in [
        "app".to_owned(),
        format!("{ALIAS}/app"),
        format!("{ALIAS}/other"),
        "123456789012/app".to_owned(),
        format!("{ALIAS}/{ALIAS}/app"),
        "library/app".to_owned(),
    ] {
        for target in [
            format!("/v2/{name}/blobs/{secret}"),
            format!("/v2/{name}/manifests/{private}"),
            format!("/v2/{name}/referrers/{private}"),
        ] {
            for credentials in [None, Some(&*root())] {
                let reply = ask(&client, "GET", &target, credentials, Body::empty()).await;
                let shown = String::from_utf8_lossy(&reply.body);
                assert!(!shown.contains("secret"), "{target}: {shown}");
                let is_empty_list = reply.status == 200 && shown.contains("\"manifests\":[]");
                assert!(reply.status == 404 || is_empty_list, "{target}: {reply:?}");
            }
        }
    }
    // Nor do the addresses of private layers open anything here.
    let who = Caller::of(Principal::root(account()));
    let app = "app".parse().unwrap();
    let grant = client.registry.presign_layer(&who, &app, &secret).await;
    let grant = grant.unwrap();
    for name in ["app".to_owned(), format!("{ALIAS}/app")] {
        let target = format!("/v2/{name}/blobs/{secret}?X-Entrepot-Grant={grant}");
        let reply = get(&client, &target).await;
        assert_eq!(reply.status, 404, "{reply:?}");
    }
    // What is public is not private either.
    let open = sha256(b"open layer");
    for name in ["app".to_owned(), format!("{ALIAS}/app")] {
        let reply = client
            .call("GET", &format!("/v2/{name}/blobs/{open}"))
            .await;
        assert_eq!(reply.status, 404, "{reply:?}");
    }
}

#[tokio::test]
async fn blobs_are_mounted_from_public_repositories_alone() {
    let client = world().await;
    pushed(&client).await;
    let (secret, open) = (sha256(b"secret layer"), sha256(b"open layer"));
    let mount = async |digest, from: &str| {
        let target = format!("/v2/{ALIAS}/other/blobs/uploads/?mount={digest}{from}");
        ask(&client, "POST", &target, Some(&root()), Body::empty()).await
    };
    for from in [
        "",
        "&from=app",
        "&from=123456789012/app",
        "&from=bcdefghijabc/app",
        "&from=bbbbbbbbbbbb/app",
    ] {
        let reply = mount(&secret, from).await;
        assert_eq!(reply.status, 202, "{from}: {reply:?}");
    }
    let gone = get(&client, &format!("/v2/{ALIAS}/other/blobs/{secret}")).await;
    assert_eq!(gone.status, 404);
    let mounted = mount(&open, &format!("&from={ALIAS}/app")).await;
    assert_eq!(mounted.status, 201, "{mounted:?}");
    // And the other way round.
    let target = format!("/v2/app/blobs/uploads/?mount={open}&from={ALIAS}/app");
    assert_eq!(client.call("POST", &target).await.status, 202);
    let target = format!("/v2/app/blobs/uploads/?mount={open}");
    assert_eq!(client.call("POST", &target).await.status, 202);
}

#[tokio::test]
async fn tokens_are_of_one_kind_of_registries() {
    let client = world().await;
    let who = Caller::of(Principal::root(account()));
    let (private, _) = client.registry.authorization_token(&who).unwrap();
    let (public, _) = client.registry.public_authorization_token(&who).unwrap();
    let uploads = format!("/v2/{ALIAS}/app/blobs/uploads/");
    let login = basic("AWS", public.expose());
    let reply = ask(&client, "POST", &uploads, Some(&login), Body::empty()).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    let location = reply.header("location").to_owned();
    assert!(location.starts_with(&uploads), "{location}");
    let wrong = basic("AWS", private.expose());
    let reply = ask(&client, "POST", &uploads, Some(&wrong), Body::empty()).await;
    assert_eq!(reply.refused(), refusal(400, "DENIED"));
    // An upload of the one is none of the other.
    let session = location.rsplit('/').next().unwrap();
    let reply = client
        .call("GET", &format!("/v2/app/blobs/uploads/{session}"))
        .await;
    assert_eq!(reply.refused(), refusal(404, "BLOB_UPLOAD_UNKNOWN"));

    let token = ask(&client, "GET", "/token/", Some(&login), Body::empty()).await;
    let body: Value = serde_json::from_slice(&token.body).unwrap();
    let bearer = format!("Bearer {}", body["token"].as_str().unwrap());
    let reply = ask(&client, "POST", &uploads, Some(&bearer), Body::empty()).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    for credentials in [&login, &bearer] {
        let request = Request::builder().uri("/v2/_catalog");
        let request = request.header("authorization", credentials);
        let reply = client.send(request.body(Body::empty()).unwrap()).await;
        assert!(
            reply.status == 400 || reply.status == 401,
            "a public token lists private repositories: {reply:?}"
        );
    }
}

#[tokio::test]
async fn no_push_makes_a_repository_and_a_missing_one_is_named_as_asked() {
    let client = world().await;
    let digest = sha256(b"x");
    let named = |reply: &Reply| {
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        body["errors"][0]["detail"]["name"].clone()
    };
    let absent = format!("{ALIAS}/absent");
    let uploads = format!("/v2/{absent}/blobs/uploads/?digest={digest}");
    let push = ask(&client, "POST", &uploads, Some(&root()), "x").await;
    assert_eq!(push.refused(), refusal(404, "NAME_UNKNOWN"));
    assert_eq!(named(&push), Value::from(absent.as_str()));
    // An account that is there, one that is not, and what is no alias: all the same.
    for name in [&*absent, "bbbbbbbbbbbb/absent", "library/absent"] {
        let reply = get(&client, &format!("/v2/{name}/manifests/v1")).await;
        assert_eq!(reply.refused(), refusal(404, "NAME_UNKNOWN"), "{name}");
        assert_eq!(named(&reply), Value::from(name));
    }
}
