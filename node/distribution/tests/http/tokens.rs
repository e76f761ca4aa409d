//! Authorization and Bearer tokens on the wire, requests without credentials, and
//! hosts that name registries.

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot_access::token::{AuthorizationToken, Claims};
use entrepot_access::trust::ClusterKey;
use entrepot_metadata::GroupId;
use entrepot_metadata::command::PutRepositoryText;
use entrepot_metadata::query::TextKind;
use entrepot_oci::AccountId;
use entrepot_service::{Caller, Principal, Secret};
use serde_json::Value;

use crate::client::{Client, MANIFEST, Reply, refusal, sha256};
use crate::registry;

const PUBLIC: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow",
    "Principal": "*", "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]}}"#;
const INVALID: &str = "Your Authorization Token is invalid.";

fn account() -> AccountId {
    "123456789012".parse().unwrap()
}

fn root() -> Caller {
    Caller::of(Principal::root(account()))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

async fn get(client: &Client, target: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::builder().uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.send(request.body(Body::empty()).unwrap()).await
}

async fn with_token(client: &Client, target: &str, token: &str) -> Reply {
    get(client, target, &[("authorization", &basic("AWS", token))]).await
}

fn message(reply: &Reply) -> String {
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    body["errors"][0]["message"].as_str().unwrap().to_owned()
}

/// With an image, and whoever its policy lets in.
async fn with_image(policy: &str) -> Client {
    let client = Client::new().await;
    let blob = client.push_blob("app", b"layer").await;
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": "application/x", "digest": blob.to_string(), "size": 5},
        "layers": []
    });
    let headers = [("content-type", MANIFEST)];
    let body = Body::from(manifest.to_string());
    let put = client.with("PUT", "/v2/app/manifests/v1", &headers, body);
    assert_eq!(put.await.status, 201);
    let name = "app".parse().unwrap();
    let put = PutRepositoryText::new(&account(), &name, TextKind::Policy, policy, 1);
    let group = GroupId::region("us-east-1".parse().unwrap());
    if !policy.is_empty() {
        let response = client.metadata.propose(&group, put.into()).await;
        response.unwrap().into_result().unwrap();
    }
    client
}

#[tokio::test]
async fn a_token_is_a_password_and_a_wrong_one_is_told_so_without_a_challenge() {
    let client = with_image("").await;
    let (token, _) = client.registry.authorization_token(&root()).unwrap();
    let token = token.expose();
    for target in ["/v2/", "/v2/app/manifests/v1", "/v2/_catalog"] {
        assert_eq!(
            with_token(&client, target, token).await.status,
            200,
            "{target}"
        );
    }
    let mut flipped = token.as_bytes().to_vec();
    flipped[20] ^= 1;
    let flipped = String::from_utf8(flipped).unwrap();
    for wrong in [&flipped, "", "x", &token[1..]] {
        for target in ["/v2/", "/v2/app/manifests/v1", "/v2/absent/manifests/v1"] {
            let reply = with_token(&client, target, wrong).await;
            assert_eq!(reply.refused(), refusal(400, "DENIED"), "{target}");
            assert_eq!(message(&reply), INVALID);
            assert!(!reply.headers.contains_key("www-authenticate"));
        }
    }
}

#[tokio::test]
async fn an_expired_token_and_one_of_another_region_say_what_they_are() {
    let client = Client::new().await;
    let sealed = |region: &str, at_ms: i64| -> Secret {
        let claims = Claims {
            principal: root().principal,
            issued_ms: 0,
            expires_ms: 0,
            key_id: None,
            session_policy: None,
        };
        let token = AuthorizationToken::issue(claims, region.parse().unwrap(), at_ms);
        let key = ClusterKey::from_secret(registry::SECRET.as_bytes());
        token.seal(&key).unwrap()
    };
    let expired = sealed("us-east-1", 1_700_000_000_000);
    let reply = with_token(&client, "/v2/", expired.expose()).await;
    assert_eq!(reply.refused(), refusal(403, "DENIED"));
    assert_eq!(
        message(&reply),
        "Your authorization token has expired. Reauthenticate and try again."
    );
    let now_ms =
        entrepot_proto::environment::Clock::now_ms(&entrepot_proto::environment::SystemClock);
    let here = sealed("us-east-1", now_ms);
    assert_eq!(with_token(&client, "/v2/", here.expose()).await.status, 200);
    let elsewhere = sealed("eu-west-1", now_ms);
    let reply = with_token(&client, "/v2/", elsewhere.expose()).await;
    assert_eq!(reply.refused(), refusal(400, "DENIED"));
}

#[tokio::test]
async fn credentials_are_changed_for_a_bearer_token() {
    let client = with_image("").await;
    let header = basic(registry::USER, registry::PASSWORD);
    let reply = get(
        &client,
        "/token?service=x&scope=repository:app:pull,push",
        &[("authorization", &header)],
    )
    .await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("cache-control"), "no-store");
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(body["token"], body["access_token"]);
    let seconds = body["expires_in"].as_i64().unwrap();
    assert!((3_590..=3_600).contains(&seconds), "{seconds}");
    let bearer = format!("Bearer {}", body["token"].as_str().unwrap());
    for target in ["/v2/", "/v2/app/manifests/v1"] {
        let reply = get(&client, target, &[("authorization", &bearer)]).await;
        assert_eq!(reply.status, 200, "{target}");
    }
    // As a password it is none.
    let reply = with_token(&client, "/v2/", body["token"].as_str().unwrap()).await;
    assert_eq!(reply.refused(), refusal(400, "DENIED"));

    for credentials in [&[][..], &[("authorization", "Basic cm9vdDp3cm9uZw==")]] {
        let reply = get(&client, "/token?scope=repository:app:pull", credentials).await;
        assert_eq!(reply.refused(), refusal(401, "UNAUTHORIZED"));
    }
    let reply = client.call("POST", "/token").await;
    assert_eq!(reply.refused(), refusal(405, "UNSUPPORTED"));
}

#[tokio::test]
async fn nobody_pulls_what_everyone_may_and_nothing_else() {
    let client = with_image(PUBLIC).await;
    let reply = get(&client, "/token?scope=repository:app:pull", &[]).await;
    assert_eq!(reply.status, 200);
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let bearer = format!("Bearer {}", body["token"].as_str().unwrap());
    let digest = crate::client::sha256(b"layer");
    let blob = format!("/v2/app/blobs/{digest}");
    for credentials in [
        &[][..],
        &[("authorization", "Basic Og==")],
        &[("authorization", &*bearer)],
    ] {
        for target in ["/v2/app/manifests/v1", &blob] {
            let reply = get(&client, target, credentials).await;
            assert_eq!(reply.status, 200, "{target} {credentials:?}");
        }
        for target in [
            "/v2/",
            "/v2/_catalog",
            "/v2/app/tags/list",
            "/v2/other/manifests/v1",
            "/v2/other/referrers/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ] {
            let reply = get(&client, target, credentials).await;
            assert_eq!(
                reply.refused(),
                refusal(401, "UNAUTHORIZED"),
                "{target} {credentials:?}"
            );
        }
    }
    // Refused before the body is read.
    let mut request = Request::builder().method("PUT").uri("/v2/app/manifests/v2");
    request = request.header("content-type", MANIFEST);
    let never = Body::from_stream(futures::stream::pending::<
        Result<bytes::Bytes, std::io::Error>,
    >());
    let reply = client.send(request.body(never).unwrap()).await;
    assert_eq!(reply.refused(), refusal(401, "UNAUTHORIZED"));
    for scope in ["repository:other:pull", "registry:catalog:*", ""] {
        let reply = get(&client, &format!("/token?scope={scope}"), &[]).await;
        assert_eq!(reply.refused(), refusal(401, "UNAUTHORIZED"), "{scope}");
    }
}

#[tokio::test]
async fn a_host_names_a_registry_of_this_region() {
    let client = with_image("").await;
    let (token, _) = client.registry.authorization_token(&root()).unwrap();
    let credentials = basic("AWS", token.expose());
    let ask = async |account: &str, region: &str| {
        let host = format!("{account}.dkr.ecr.{region}.registry.test:5000");
        let headers = [("host", &*host), ("authorization", &*credentials)];
        get(&client, "/v2/app/manifests/v1", &headers).await
    };
    assert_eq!(ask("123456789012", "us-east-1").await.status, 200);
    let reply = ask("123456789012", "eu-west-1").await;
    assert_eq!(reply.refused(), refusal(400, "UNSUPPORTED"));
    // Another's registry, there or not.
    let reply = ask("210987654321", "us-east-1").await;
    assert_eq!(reply.refused(), refusal(403, "DENIED"));
    assert_eq!(
        message(&reply),
        "User: arn:aws:iam::123456789012:root is not authorized to perform: ecr:BatchGetImage on \
         resource: arn:aws:ecr:us-east-1:210987654321:repository/app because no resource-based \
         policy allows the ecr:BatchGetImage action"
    );
}

#[tokio::test]
async fn whoever_may_pull_reads_a_blob_in_parts_as_well() {
    let client = with_image(PUBLIC).await;
    let target = format!("/v2/app/blobs/{}", sha256(b"layer"));
    let part = get(&client, &target, &[("range", "bytes=1-2")]).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &b"ay"[..]));
    // That asks whether the registry has a layer, which is another action.
    let request = Request::builder().method("HEAD").uri(target.as_str());
    let head = client.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(head.status, 401);
}
