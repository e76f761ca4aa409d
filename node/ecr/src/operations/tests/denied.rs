//! Whoever may do nothing is told nothing: every operation is refused before it
//! looks at anything, in the same words whether there is something or not.

use serde_json::{Map, Value, json};

use super::world::{ACCOUNT, World};
use crate::api::Api;
use crate::model::{Kind, Models, Service, ShapeId};
use crate::operations::{ECR, Handler, public};

const STRANGER: &str = "210987654321";

/// A value of that shape, with no more in it than has to be.
fn sample(api: Api, service: &Service, shape: ShapeId, member: &str, repository: &str) -> Value {
    if let Some(value) = known(api, member, repository) {
        return value;
    }
    match &service.shape(shape).kind {
        Kind::Structure(structure) => {
            let required = structure.members.iter().filter(|member| member.required);
            let members: Map<String, Value> = required
                .map(|member| {
                    let value = sample(api, service, member.shape, &member.name, repository);
                    (member.name.clone(), value)
                })
                .collect();
            Value::Object(members)
        }
        Kind::List { member: item, .. } => json!([sample(api, service, *item, member, repository)]),
        Kind::String { values, .. } => values.first().map_or(json!("walk"), |value| json!(value)),
        Kind::Boolean => json!(true),
        Kind::Blob { .. } => json!("YWJj"),
        _ => json!(0),
    }
}

/// What members of these names are.
fn known(api: Api, member: &str, repository: &str) -> Option<Value> {
    let digest = format!("sha256:{}", "0".repeat(64));
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": "*", "Action": "ecr:BatchGetImage"}]});
    let rule = json!({"rulePriority": 1, "action": {"type": "expire"}, "selection":
        {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 5}});
    Some(match member {
        "repositoryName" => json!(repository),
        "repositoryNames" => json!([repository]),
        "resourceArn" => {
            let registry = match api {
                Api::EcrPublic => "ecr-public:",
                _ => "ecr:us-east-1",
            };
            json!(format!(
                "arn:aws:{registry}:{ACCOUNT}:repository/{repository}"
            ))
        }
        "Key" | "Value" => json!("walk"),
        "tags" => json!([{"Key": "walk", "Value": "walk"}]),
        "imageId" => json!({"imageTag": "v1"}),
        "imageIds" => json!([{"imageTag": "v1"}]),
        "subjectId" => json!({"imageDigest": digest}),
        "layerDigest" => json!(digest),
        "layerDigests" => json!([digest]),
        "policyText" => json!(policy.to_string()),
        "lifecyclePolicyText" => json!(json!({"rules": [rule]}).to_string()),
        "uploadId" | "replicationBackfillId" => json!("6d2f4f4e-1111-4222-8333-944444444444"),
        "partLastByte" => json!(2),
        "upstreamRegistryUrl" => json!("quay.io"),
        "principalArn" => json!(format!("arn:aws:iam::{ACCOUNT}:role/r")),
        "region" => json!("eu-west-1"),
        "signingProfileArn" => {
            json!(format!(
                "arn:aws:signer:us-east-1:{ACCOUNT}:/signing-profiles/mine"
            ))
        }
        "registryId" => json!(ACCOUNT),
        "name" => json!("BLOB_MOUNTING"),
        "value" => json!("ENABLED"),
        _ => return None,
    })
}

#[tokio::test]
async fn a_stranger_is_denied_every_operation_and_learns_nothing() {
    let world = World::new();
    world.create("team/app").await;
    world.push("team/app", "v1", "layer").await;
    let name = json!({"repositoryName": "team/app"});
    let made = world.call(Api::EcrPublic, "CreateRepository", name).await;
    made.unwrap();
    let stranger = world.of(STRANGER).meaning(ACCOUNT);
    let models = Models::load().unwrap();
    let of = |api, table: &'static [(&str, Handler)]| table.iter().map(move |it| (api, it));
    let all = of(Api::Ecr, ECR).chain(of(Api::EcrPublic, public::TABLE));
    for (api, (operation, handler)) in all {
        let service = models.service(api);
        // Everybody's token is their own.
        if matches!(handler, Handler::Refused(_)) || *operation == "GetAuthorizationToken" {
            continue;
        }
        let input = service.operation(operation).unwrap().input.unwrap();
        let mut said = Vec::new();
        for repository in ["team/app", "team/no"] {
            let input = sample(api, service, input, "", repository);
            let refused = stranger.call(api, operation, input.clone()).await;
            let error = refused.expect_err(operation);
            assert_eq!(
                error.code, "AccessDeniedException",
                "{operation} {input}: {error:?}"
            );
            said.push(error.message.replace(repository, "R"));
        }
        assert_eq!(said[0], said[1], "{operation}");
    }
    // Nothing was changed.
    let found = world.done("DescribeRepositories", json!({})).await;
    assert_eq!(found["repositories"].as_array().unwrap().len(), 1);
}
