//! Repositories whose tags stay where they are, as clients meet them.

use axum::http::StatusCode;
use entrepot_service::{Caller, Mutability, MutabilityMode, Principal, RepositoryChange};
use serde_json::Value;

use crate::client::{Client, Reply, image, refusal};

/// Lets tags of `app` move as that says.
async fn set(client: &Client, mode: MutabilityMode, filters: &[&str]) {
    let caller = Caller::of(Principal::root("123456789012".parse().unwrap()));
    let change = RepositoryChange {
        mutability: Some(Mutability {
            mode,
            filters: filters.iter().map(ToString::to_string).collect(),
        }),
        ..RepositoryChange::default()
    };
    let app = "app".parse().unwrap();
    let changed = client
        .registry
        .put_repository_settings(&caller, &app, change);
    assert_eq!(changed.await.unwrap().mutability.mode, mode);
}

/// Two images of `app`, which is there then.
async fn images(client: &Client) -> (String, String) {
    let mut made = Vec::new();
    for config in ["a", "b"] {
        let digest = client.push_blob("app", config.as_bytes()).await;
        made.push(image(&digest, 1));
    }
    (made.remove(0), made.remove(0))
}

#[tokio::test]
async fn a_tag_that_may_not_move_is_refused_as_ecr_refuses_it() {
    let client = Client::new().await;
    let (first, second) = images(&client).await;
    set(&client, MutabilityMode::ImmutableWithExclusion, &["dev*"]).await;
    let put = async |tag: &str, content: &str| -> Reply {
        client.push_manifest("app", tag, content).await
    };
    assert_eq!(put("latest", &first).await.status, StatusCode::CREATED);
    assert_eq!(put("dev-1", &first).await.status, StatusCode::CREATED);

    let refused = put("latest", &second).await;
    assert_eq!(refused.refused(), refusal(400, "TAG_INVALID"));
    let body: Value = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!(
        body["errors"][0]["message"],
        "The image tag 'latest' already exists in the 'app' repository and cannot be overwritten \
         because the repository is immutable."
    );
    // Nothing of it came: not even by its digest.
    let digest = crate::client::sha256(second.as_bytes());
    let target = format!("/v2/app/manifests/{digest}");
    let missing = client.call("GET", &target).await;
    assert_eq!(missing.refused(), refusal(404, "MANIFEST_UNKNOWN"));
    let several = format!("{digest}?tag=dev-1&tag=latest");
    let all = client.push_manifest("app", &several, &second).await;
    assert_eq!(all.refused(), refusal(400, "TAG_INVALID"));

    // What is excluded moves, the same again is fine, and so is a new tag.
    assert_eq!(put("dev-1", &second).await.status, StatusCode::CREATED);
    assert_eq!(put("latest", &first).await.status, StatusCode::CREATED);
    assert_eq!(put("v2", &second).await.status, StatusCode::CREATED);
    // A tag may go, as in ECR, and is free then.
    let gone = client.call("DELETE", "/v2/app/manifests/latest").await;
    assert_eq!(gone.status, StatusCode::ACCEPTED);
    assert_eq!(put("latest", &second).await.status, StatusCode::CREATED);

    set(&client, MutabilityMode::Mutable, &[]).await;
    assert_eq!(put("latest", &first).await.status, StatusCode::CREATED);
}
