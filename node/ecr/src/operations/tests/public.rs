//! The operations of ECR Public, and that what they do stays there.

use entrepot_oci::{Algorithm, Digest};
use serde_json::{Value, json};

use super::world::{ACCOUNT, World};
use crate::api::Api;
use crate::error::ApiError;

/// Of the account 123456789012.
const ALIAS: &str = "bcdefghijabc";
const APP: &str = "team/app";

async fn ask(world: &World, operation: &str, input: Value) -> Result<Value, ApiError> {
    world.call(Api::EcrPublic, operation, input).await
}

async fn done(world: &World, operation: &str, input: Value) -> Value {
    ask(world, operation, input).await.unwrap()
}

async fn refused(world: &World, operation: &str, input: Value) -> String {
    let error = ask(world, operation, input).await.unwrap_err();
    error.code.into_owned()
}

/// With the repository's name.
fn at(mut input: Value) -> Value {
    input["repositoryName"] = json!(APP);
    input
}

#[tokio::test]
async fn what_is_made_in_one_registry_is_not_in_the_other() {
    let world = World::new();
    let made = done(&world, "CreateRepository", at(json!({}))).await;
    let repository = &made["repository"];
    let arn = format!("arn:aws:ecr-public::{ACCOUNT}:repository/{APP}");
    assert_eq!(repository["repositoryArn"], json!(arn));
    let uri = format!("public.localhost:5000/{ALIAS}/{APP}");
    assert_eq!(repository["repositoryUri"], json!(uri));
    assert_eq!(made.get("catalogData"), None);
    let described = world.done("DescribeRepositories", json!({})).await;
    assert_eq!(described["repositories"], json!([]));
    world.create(APP).await;
    world.push(APP, "v1", "private").await;
    let images = done(&world, "DescribeImages", at(json!({}))).await;
    assert_eq!(images["imageDetails"], json!([]));
    let digest = Digest::of(Algorithm::Sha256, b"private").to_string();
    let found = at(json!({"layerDigests": [digest]}));
    let found = done(&world, "BatchCheckLayerAvailability", found).await;
    let layer = &found["layers"][0]["layerAvailability"];
    assert_eq!(*layer, json!("UNAVAILABLE"));
    done(&world, "DeleteRepository", at(json!({}))).await;
    let described = world.done("DescribeRepositories", json!({})).await;
    assert_eq!(described["repositories"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn people_are_told_what_was_given_and_no_more() {
    let world = World::new();
    let catalog = json!({
        "description": "an app", "architectures": ["ARM"], "operatingSystems": ["Linux"],
        "aboutText": "about", "usageText": "usage", "logoImageBlob": "bG9nbw==",
    });
    let made = done(
        &world,
        "CreateRepository",
        at(json!({"catalogData": catalog})),
    )
    .await;
    let told = made["catalogData"].as_object().unwrap();
    let logo = Digest::of(Algorithm::Sha256, b"logo");
    let url = format!("https://public.localhost:5000/v2/{ALIAS}/{APP}/blobs/{logo}");
    assert_eq!(told["logoUrl"], json!(url));
    let got = done(&world, "GetRepositoryCatalogData", at(json!({}))).await;
    assert_eq!(got["catalogData"], made["catalogData"]);
    let available = at(json!({"layerDigests": [logo.to_string()]}));
    let available = done(&world, "BatchCheckLayerAvailability", available).await;
    assert_eq!(available["layers"][0]["layerSize"], json!(4));
    done(
        &world,
        "PutRepositoryCatalogData",
        at(json!({"catalogData": {}})),
    )
    .await;
    let got = done(&world, "GetRepositoryCatalogData", at(json!({}))).await;
    let nothing =
        json!({"architectures": [], "operatingSystems": [], "marketplaceCertified": false});
    assert_eq!(got["catalogData"], nothing);
    let other = json!({"repositoryName": "team/none"});
    let code = refused(&world, "GetRepositoryCatalogData", other.clone()).await;
    assert_eq!(code, "RepositoryNotFoundException");
    done(&world, "CreateRepository", other.clone()).await;
    let code = refused(&world, "GetRepositoryCatalogData", other).await;
    assert_eq!(code, "RepositoryCatalogDataNotFoundException");
}

#[tokio::test]
async fn an_arn_is_of_the_service_that_is_asked() {
    let world = World::new();
    done(&world, "CreateRepository", at(json!({}))).await;
    let tags = json!([{"Key": "a", "Value": "1"}]);
    let arn = |service: &str| json!(format!("arn:aws:{service}:{ACCOUNT}:repository/{APP}"));
    let own = json!({"resourceArn": arn("ecr-public:"), "tags": tags});
    done(&world, "TagResource", own).await;
    let listed = json!({"resourceArn": arn("ecr-public:")});
    let listed = done(&world, "ListTagsForResource", listed).await;
    assert_eq!(listed["tags"], tags);
    for service in ["ecr:us-east-1", "ecr-public:us-east-1", "ecr:"] {
        let code = refused(
            &world,
            "ListTagsForResource",
            json!({"resourceArn": arn(service)}),
        );
        assert_eq!(code.await, "InvalidParameterException", "{service}");
    }
    let private = world.ecr(
        "ListTagsForResource",
        json!({"resourceArn": arn("ecr-public:")}),
    );
    assert_eq!(private.await.unwrap_err().code, "InvalidParameterException");
}
