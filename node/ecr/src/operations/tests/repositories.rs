//! Repositories, their settings, tags and policies.

use serde_json::{Value, json};

use super::world::{ACCOUNT, HOST, World, no_repository};

const ARN: &str = "arn:aws:ecr:us-east-1:123456789012:repository/team/app";

fn named() -> Value {
    json!({"repositoryName": "team/app"})
}

/// `named` with more members.
fn with(more: &Value) -> Value {
    let mut value = named();
    let members = more.as_object().unwrap().clone();
    value.as_object_mut().unwrap().extend(members);
    value
}

async fn world() -> World {
    let world = World::new();
    world.create("team/app").await;
    world
}

/// What is described of the repository, but for when it was made.
async fn described(world: &World) -> Value {
    let input = json!({"repositoryNames": ["team/app"]});
    let mut output = world.done("DescribeRepositories", input).await;
    let mut found = output["repositories"][0].take();
    let at = found.as_object_mut().unwrap().remove("createdAt").unwrap();
    assert!(at.as_f64().unwrap() > 1.7e9, "{at}");
    found
}

#[tokio::test]
async fn a_repository_has_what_it_was_made_with_until_it_is_deleted() {
    let world = World::new();
    let input = with(&json!({
        "tags": [{"Key": "team", "Value": "a b"}],
        "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": "dev-*"}],
        "imageScanningConfiguration": {"scanOnPush": true},
        "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": "alias/mine"},
    }));
    let mut made = world.done("CreateRepository", input.clone()).await;
    let mut made = made["repository"].take();
    let expected = json!({
        "repositoryArn": ARN,
        "registryId": ACCOUNT,
        "repositoryName": "team/app",
        "repositoryUri": format!("{HOST}/team/app"),
        "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": [{"filterType": "WILDCARD", "filter": "dev-*"}],
        "imageScanningConfiguration": {"scanOnPush": true},
        "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey": "alias/mine"},
    });
    made.as_object_mut().unwrap().remove("createdAt").unwrap();
    assert_eq!(made, expected);
    assert_eq!(described(&world).await, expected);
    let tags = world
        .done("ListTagsForResource", json!({"resourceArn": ARN}))
        .await;
    assert_eq!(tags, json!({"tags": [{"Key": "team", "Value": "a b"}]}));
    let exists = format!(
        "The repository with name 'team/app' already exists in the registry with id '{ACCOUNT}'"
    );
    let expected = ("RepositoryAlreadyExistsException", exists.as_str());
    world.refused("CreateRepository", input, expected).await;

    world.done("DeleteRepository", named()).await;
    let unknown = no_repository("team/app");
    let expected = ("RepositoryNotFoundException", unknown.as_str());
    for operation in ["DeleteRepository", "GetRepositoryPolicy"] {
        world.refused(operation, named(), expected).await;
    }
    let input = json!({"repositoryNames": ["team/app"]});
    world.refused("DescribeRepositories", input, expected).await;
    // One that is made anew has nothing of it.
    world.create("team/app").await;
    let described = described(&world).await;
    assert_eq!(described["imageTagMutability"], "MUTABLE");
    assert_eq!(
        described["encryptionConfiguration"],
        json!({"encryptionType": "AES256"})
    );
    let tags = world
        .done("ListTagsForResource", json!({"resourceArn": ARN}))
        .await;
    assert_eq!(tags, json!({"tags": []}));
}

#[tokio::test]
async fn what_no_repository_can_be_made_with_is_refused() {
    let world = World::new();
    let filters = json!([{"filterType": "WILDCARD", "filter": "a"}]);
    let stars = json!([{"filterType": "WILDCARD", "filter": "a*b*c*"}]);
    let tag = |key: &str| json!([{"Key": key, "Value": "v"}]);
    let many: Vec<Value> = (0..51)
        .map(|number| json!({"Key": number.to_string(), "Value": ""}))
        .collect();
    for (more, code) in [
        (
            json!({"imageTagMutabilityExclusionFilters": filters}),
            "InvalidParameterException",
        ),
        (
            json!({"imageTagMutability": "IMMUTABLE",
                "imageTagMutabilityExclusionFilters": filters}),
            "InvalidParameterException",
        ),
        (
            json!({"imageTagMutability": "IMMUTABLE_WITH_EXCLUSION"}),
            "InvalidParameterException",
        ),
        (
            json!({"imageTagMutability": "MUTABLE_WITH_EXCLUSION",
                "imageTagMutabilityExclusionFilters": stars}),
            "InvalidParameterException",
        ),
        (
            json!({"encryptionConfiguration": {"encryptionType": "AES256", "kmsKey": "k"}}),
            "InvalidParameterException",
        ),
        (json!({"tags": tag("")}), "InvalidTagParameterException"),
        (
            json!({"tags": tag("AWS:x")}),
            "InvalidTagParameterException",
        ),
        (
            json!({"tags": tag("a\u{7}")}),
            "InvalidTagParameterException",
        ),
        (
            json!({"tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}),
            "InvalidTagParameterException",
        ),
        (
            json!({"tags": [{"Key": "team", "Value": "1"}, {"Key": "Team", "Value": "2"}]}),
            "InvalidTagParameterException",
        ),
        (json!({"tags": many}), "TooManyTagsException"),
    ] {
        let found = world.code("CreateRepository", with(&more)).await;
        assert_eq!(found, code, "{more}");
    }
    let none = world.done("DescribeRepositories", json!({})).await;
    assert_eq!(none, json!({"repositories": []}));
}

#[tokio::test]
async fn repositories_are_described_page_by_page_or_by_name() {
    let world = World::new();
    let names = ["a0", "b0", "b0/c", "d0", "e0"];
    for name in names {
        world.create(name).await;
    }
    // Nobody else's.
    world.of("210987654321").create("c0").await;
    let (mut found, mut token) = (Vec::new(), Value::Null);
    loop {
        let input = json!({"maxResults": 2, "nextToken": token});
        let mut page = world.done("DescribeRepositories", input).await;
        let repositories = page["repositories"].as_array().unwrap();
        assert!(repositories.len() <= 2);
        let names = repositories.iter().map(|it| it["repositoryName"].clone());
        found.extend(names);
        token = page["nextToken"].take();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(found, names);
    let input = json!({"repositoryNames": ["d0", "a0"]});
    let page = world.done("DescribeRepositories", input).await;
    let both: Vec<_> = page["repositories"].as_array().unwrap().iter().collect();
    assert_eq!(both.len(), 2);
    assert_eq!(both[0]["repositoryName"], "d0");
    for input in [
        json!({"repositoryNames": ["a0"], "maxResults": 2}),
        json!({"repositoryNames": ["a0"], "nextToken": "x"}),
        json!({"nextToken": "x"}),
        json!({"maxResults": 0}),
    ] {
        let found = world.code("DescribeRepositories", input.clone()).await;
        assert_eq!(found, "InvalidParameterException", "{input}");
    }
}

#[tokio::test]
async fn a_repository_with_images_is_deleted_by_force_alone() {
    let world = world().await;
    world.push("team/app", "v1", "layer").await;
    let not_empty = format!(
        "The repository with name 'team/app' in registry with id '{ACCOUNT}' cannot be deleted \
         because it still contains images"
    );
    let expected = ("RepositoryNotEmptyException", not_empty.as_str());
    world.refused("DeleteRepository", named(), expected).await;
    let forced = with(&json!({"force": true}));
    let deleted = world.done("DeleteRepository", forced.clone()).await;
    assert_eq!(deleted["repository"]["repositoryArn"], ARN);
    let code = world.code("DeleteRepository", forced).await;
    assert_eq!(code, "RepositoryNotFoundException");
}

#[tokio::test]
async fn mutability_and_scanning_are_set_and_told() {
    let world = world().await;
    let filters = json!([{"filterType": "WILDCARD", "filter": "latest"},
        {"filterType": "WILDCARD", "filter": "dev-*"}]);
    let mutability = json!({"imageTagMutability": "MUTABLE_WITH_EXCLUSION",
        "imageTagMutabilityExclusionFilters": filters});
    let set = world.done("PutImageTagMutability", with(&mutability)).await;
    let mut expected = with(&mutability);
    expected["registryId"] = json!(ACCOUNT);
    assert_eq!(set, expected);
    let scanning = json!({"imageScanningConfiguration": {"scanOnPush": true}});
    let set = world
        .done("PutImageScanningConfiguration", with(&scanning))
        .await;
    assert_eq!(
        set["imageScanningConfiguration"],
        json!({"scanOnPush": true})
    );
    let found = described(&world).await;
    assert_eq!(found["imageTagMutability"], "MUTABLE_WITH_EXCLUSION");
    assert_eq!(found["imageTagMutabilityExclusionFilters"], filters);
    assert_eq!(
        found["imageScanningConfiguration"],
        json!({"scanOnPush": true})
    );
    // And enforced.
    world.push("team/app", "latest", "one").await;
    world.push("team/app", "other", "one").await;
    world.push("team/app", "other", "two").await;
    let plain = with(&json!({"imageTagMutability": "IMMUTABLE"}));
    world.done("PutImageTagMutability", plain).await;
    let found = described(&world).await;
    assert!(found.get("imageTagMutabilityExclusionFilters").is_none());

    for (operation, more) in [
        (
            "PutImageTagMutability",
            json!({"imageTagMutability": "MUTABLE"}),
        ),
        ("PutImageScanningConfiguration", scanning),
    ] {
        let mut input = with(&more);
        input["repositoryName"] = json!("no");
        let message = no_repository("no");
        let expected = ("RepositoryNotFoundException", message.as_str());
        world.refused(operation, input, expected).await;
    }
}

#[tokio::test]
async fn tags_are_set_listed_and_removed() {
    let world = world().await;
    let tag = |tags: Value| json!({"resourceArn": ARN, "tags": tags});
    let tags = async || {
        let input = json!({"resourceArn": ARN});
        let mut output = world.done("ListTagsForResource", input).await;
        output["tags"].take()
    };
    let set = json!([{"Key": "b", "Value": ""}, {"Key": "a", "Value": "1"}]);
    assert_eq!(world.done("TagResource", tag(set)).await, json!({}));
    let set = json!([{"Key": "a", "Value": "2"}]);
    world.done("TagResource", tag(set)).await;
    let expected = json!([{"Key": "a", "Value": "2"}, {"Key": "b", "Value": ""}]);
    assert_eq!(tags().await, expected);
    let other_case = json!([{"Key": "A", "Value": "3"}]);
    let code = world.code("TagResource", tag(other_case)).await;
    assert_eq!(code, "InvalidTagParameterException");
    assert_eq!(tags().await, expected);
    let many: Vec<Value> = (0..49)
        .map(|number| json!({"Key": format!("k{number}"), "Value": ""}))
        .collect();
    let code = world.code("TagResource", tag(json!(many))).await;
    assert_eq!(code, "TooManyTagsException");
    let input = json!({"resourceArn": ARN, "tagKeys": ["b", "never"]});
    assert_eq!(world.done("UntagResource", input).await, json!({}));
    assert_eq!(tags().await, json!([{"Key": "a", "Value": "2"}]));
    world.done("TagResource", tag(json!(many))).await;
    assert_eq!(tags().await.as_array().unwrap().len(), 50);

    for (arn, code) in [
        ("team/app", "InvalidParameterException"),
        (
            "arn:aws:ecr:eu-west-1:123456789012:repository/team/app",
            "InvalidParameterException",
        ),
        (
            "arn:aws:s3:us-east-1:123456789012:repository/team/app",
            "InvalidParameterException",
        ),
        (
            "arn:aws:ecr:us-east-1:123456789012:team/app",
            "InvalidParameterException",
        ),
        (
            "arn:aws:ecr:us-east-1:123456789012:repository/no",
            "RepositoryNotFoundException",
        ),
        (
            "arn:aws:ecr:us-east-1:210987654321:repository/team/app",
            "AccessDeniedException",
        ),
    ] {
        let input = json!({"resourceArn": arn});
        assert_eq!(
            world.code("ListTagsForResource", input).await,
            code,
            "{arn}"
        );
        let input = json!({"resourceArn": arn, "tags": []});
        assert_eq!(world.code("TagResource", input).await, code, "{arn}");
        let input = json!({"resourceArn": arn, "tagKeys": []});
        assert_eq!(world.code("UntagResource", input).await, code, "{arn}");
    }
}

#[tokio::test]
async fn a_policy_is_kept_as_it_is_and_told_until_it_is_deleted() {
    let world = world().await;
    let none = format!(
        "Repository policy does not exist for the repository with name 'team/app' in the registry \
         with id '{ACCOUNT}'"
    );
    let none = ("RepositoryPolicyNotFoundException", none.as_str());
    world.refused("GetRepositoryPolicy", named(), none).await;
    world.refused("DeleteRepositoryPolicy", named(), none).await;
    let text = r#"{ "Version": "2008-10-17", "Statement": [ {"Sid": "pull", "Effect": "Allow",
        "Principal": "*", "Action": "ecr:BatchGetImage"} ] }"#;
    let expected = with(&json!({"registryId": ACCOUNT, "policyText": text}));
    let input = with(&json!({"policyText": text}));
    assert_eq!(
        world.done("SetRepositoryPolicy", input.clone()).await,
        expected
    );
    assert_eq!(world.done("GetRepositoryPolicy", named()).await, expected);
    assert_eq!(
        world.done("DeleteRepositoryPolicy", named()).await,
        expected
    );
    world.refused("GetRepositoryPolicy", named(), none).await;

    let mut input = input;
    input["repositoryName"] = json!("no");
    let code = world.code("SetRepositoryPolicy", input).await;
    assert_eq!(code, "RepositoryNotFoundException");
    let invalid = "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid \
                   repository policy provided'";
    for text in ["", "{}", "[]", r#"{"Statement": [{"Effect": "Allow"}]}"#] {
        let input = with(&json!({"policyText": text}));
        let expected = ("InvalidParameterException", invalid);
        world.refused("SetRepositoryPolicy", input, expected).await;
    }
}

#[tokio::test]
async fn nobody_locks_themselves_out_unless_they_force_it() {
    let world = world().await;
    let deny = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Deny",
        "Principal": "*", "Action": "ecr:Set*"}]});
    let input = with(&json!({"policyText": deny.to_string()}));
    let code = world.code("SetRepositoryPolicy", input.clone()).await;
    assert_eq!(code, "InvalidParameterException");
    assert_eq!(
        world.code("GetRepositoryPolicy", named()).await,
        "RepositoryPolicyNotFoundException"
    );
    let mut input = input;
    input["force"] = json!(true);
    world.done("SetRepositoryPolicy", input).await;
}

#[tokio::test]
async fn manifests_are_answered_once_each_and_not_too_many_at_a_time() {
    let world = world().await;
    let (first, layer) = world.push("app", "small", "layer").await;
    for at in 0..3 {
        let blob = |media_type: &str| json!({"mediaType": media_type, "digest": layer, "size": 5});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blob("application/vnd.oci.image.config.v1+json"),
            "layers": [blob("application/vnd.oci.image.layer.v1.tar+gzip")],
            "annotations": {"padding": at.to_string().repeat(3 * 1024 * 1024)},
        });
        let input = json!({"repositoryName": "app", "imageManifest": manifest.to_string(),
            "imageTag": format!("v{at}")});
        world.done("PutImage", input).await;
    }
    let ids = |tags: &[&str]| {
        let ids: Vec<Value> = tags.iter().map(|tag| json!({"imageTag": tag})).collect();
        json!({"repositoryName": "app", "imageIds": ids})
    };
    let found = world
        .done(
            "BatchGetImage",
            ids(&["v0", "v1", "v0", "none", "v1", "none", "small", "v0"]),
        )
        .await;
    let images = found["images"].as_array().unwrap();
    let tags: Vec<_> = images.iter().map(|it| &it["imageId"]["imageTag"]).collect();
    assert_eq!(tags, ["v0", "v1", "small"]);
    assert_eq!(images[2]["imageId"]["imageDigest"], first);
    assert_eq!(found["failures"].as_array().unwrap().len(), 1);
    let text = "The manifests of one answer have at most 8388608 bytes together: ask for fewer \
                images at a time";
    let input = ids(&["v0", "v1", "v2"]);
    world
        .refused("BatchGetImage", input, ("LimitExceededException", text))
        .await;
}
