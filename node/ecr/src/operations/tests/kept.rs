//! What is kept as it is given: lifecycle policies, templates, and rules of pull
//! through caches.

use serde_json::{Value, json};

use super::world::{ACCOUNT, World, no_repository};

fn lifecycle() -> String {
    let rule = |priority: i64, status: &str| {
        json!({"rulePriority": priority, "action": {"type": "expire"}, "selection":
            {"tagStatus": status, "countType": "imageCountMoreThan", "countNumber": 5}})
    };
    json!({"rules": [rule(9, "any"), rule(1, "untagged")]}).to_string()
}

#[tokio::test]
async fn a_lifecycle_policy_is_kept_in_order_until_it_is_deleted() {
    let world = World::new();
    world.create("app").await;
    let named = json!({"repositoryName": "app"});
    let none = format!(
        "Lifecycle policy does not exist for the repository with name 'app' in the registry with \
         id '{ACCOUNT}'"
    );
    let none = ("LifecyclePolicyNotFoundException", none.as_str());
    world
        .refused("GetLifecyclePolicy", named.clone(), none)
        .await;
    world
        .refused("DeleteLifecyclePolicy", named.clone(), none)
        .await;
    let put = |name: &str, text: &str| json!({"repositoryName": name, "lifecyclePolicyText": text});
    let kept = world
        .done("PutLifecyclePolicy", put("app", &lifecycle()))
        .await;
    let text: Value = serde_json::from_str(kept["lifecyclePolicyText"].as_str().unwrap()).unwrap();
    let priorities = [&text["rules"][0], &text["rules"][1]].map(|it| it["rulePriority"].clone());
    assert_eq!(priorities, [json!(1), json!(9)]);
    assert_eq!(world.done("GetLifecyclePolicy", named.clone()).await, kept);
    assert_eq!(
        world.done("DeleteLifecyclePolicy", named.clone()).await,
        kept
    );
    world
        .refused("GetLifecyclePolicy", named.clone(), none)
        .await;

    let bad = "{\"rules\": [{\"rulePriority\": 0}]}".to_owned() + &" ".repeat(100);
    let message = "Invalid parameter at 'LifecyclePolicyText' failed to satisfy constraint: \
                   'Lifecycle policy validation failure: object has missing required properties \
                   ([\"action\",\"selection\"])'";
    let expected = ("InvalidParameterException", message);
    world
        .refused("PutLifecyclePolicy", put("app", &bad), expected)
        .await;
    let message = no_repository("no");
    let expected = ("RepositoryNotFoundException", message.as_str());
    world
        .refused("PutLifecyclePolicy", put("no", &lifecycle()), expected)
        .await;
}

#[tokio::test]
async fn a_preview_tells_what_a_policy_would_do() {
    let world = World::new();
    world.create("app").await;
    let named = json!({"repositoryName": "app"});
    let of = format!("for the repository with name 'app' in the registry with id '{ACCOUNT}'");
    let no_policy = format!("Lifecycle policy does not exist {of}");
    let expected = ("LifecyclePolicyNotFoundException", no_policy.as_str());
    world
        .refused("StartLifecyclePolicyPreview", named.clone(), expected)
        .await;
    let no_preview = format!("Lifecycle policy preview does not exist {of}");
    let expected = (
        "LifecyclePolicyPreviewNotFoundException",
        no_preview.as_str(),
    );
    world
        .refused("GetLifecyclePolicyPreview", named.clone(), expected)
        .await;
    let mut pushed = Vec::new();
    for name in ["a", "b", "c"] {
        pushed.push(world.push("app", name, name).await.0);
    }
    let rule = json!({"rulePriority": 7, "action": {"type": "expire"}, "selection":
        {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1}});
    let text = json!({ "rules": [&rule] }).to_string();
    let input = json!({"repositoryName": "app", "lifecyclePolicyText": text});
    let started = world.done("StartLifecyclePolicyPreview", input).await;
    assert_eq!(started["status"], "IN_PROGRESS");
    let kept: Value =
        serde_json::from_str(started["lifecyclePolicyText"].as_str().unwrap()).unwrap();
    assert_eq!(kept, json!({ "rules": [rule] }));
    let whole = world.done("GetLifecyclePolicyPreview", named.clone()).await;
    assert_eq!(
        (&whole["status"], &whole["nextToken"]),
        (&json!("COMPLETE"), &Value::Null)
    );
    assert_eq!(whole["summary"]["expiringImageTotalCount"], 2);
    let results = whole["previewResults"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    assert_eq!(results[0]["action"], json!({"type": "EXPIRE"}));
    assert_eq!(results[0]["appliedRulePriority"], 7);
    assert!(pushed.contains(&results[0]["imageDigest"].as_str().unwrap().to_owned()));
    // Page by page, and by name.
    let mut paged = Vec::new();
    let mut next = Value::Null;
    loop {
        let mut input = json!({"repositoryName": "app", "maxResults": 1});
        if next.is_string() {
            input["nextToken"] = next;
        }
        let page = world.done("GetLifecyclePolicyPreview", input).await;
        paged.extend(page["previewResults"].as_array().unwrap().clone());
        next = page["nextToken"].clone();
        if next.is_null() {
            break;
        }
    }
    assert_eq!(&paged, results);
    let shown = async |more: Value| {
        let mut input = named.clone();
        let members = more.as_object().unwrap().clone();
        input.as_object_mut().unwrap().extend(members);
        let page = world.done("GetLifecyclePolicyPreview", input).await;
        page["previewResults"].as_array().unwrap().len()
    };
    let id = json!({"imageTag": results[1]["imageTags"][0]});
    assert_eq!(shown(json!({ "imageIds": [id] })).await, 1);
    assert_eq!(shown(json!({"imageIds": [{"imageTag": "none"}]})).await, 0);
    assert_eq!(shown(json!({"filter": {"tagStatus": "UNTAGGED"}})).await, 0);
    assert_eq!(shown(json!({"filter": {"tagStatus": "TAGGED"}})).await, 2);
    // Nothing has gone.
    let left = world.done("DescribeImages", named.clone()).await;
    assert_eq!(left["imageDetails"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn when_an_image_was_last_pulled_is_told() {
    let world = World::new();
    world.create("app").await;
    world.push("app", "v1", "a").await;
    let named = json!({"repositoryName": "app", "imageIds": [{"imageTag": "v1"}]});
    let times = entrepot_service::PullTimes::new(world.registry.clone());
    let told = async || {
        times.record().await.unwrap();
        let found = world.done("DescribeImages", named.clone()).await;
        found["imageDetails"][0]["lastRecordedPullTime"].clone()
    };
    assert_eq!(told().await, Value::Null);
    world.done("BatchGetImage", named.clone()).await;
    assert!(told().await.is_f64());
}

#[tokio::test]
async fn templates_are_made_changed_listed_and_deleted() {
    let world = World::new();
    let input = json!({"prefix": "team", "appliedFor": ["CREATE_ON_PUSH", "REPLICATION"],
        "description": "d", "imageTagMutability": "IMMUTABLE",
        "resourceTags": [{"Key": "k", "Value": "v"}],
        "encryptionConfiguration": {"encryptionType": "KMS", "kmsKey":
            "arn:aws:kms:us-east-1:123456789012:key/1"},
        "customRoleArn": "arn:aws:iam::123456789012:role/r"});
    let mut made = world
        .done("CreateRepositoryCreationTemplate", input.clone())
        .await;
    assert_eq!(made["registryId"], ACCOUNT);
    let mut template = made["repositoryCreationTemplate"].take();
    for at in ["createdAt", "updatedAt"] {
        assert!(template.as_object_mut().unwrap().remove(at).is_some());
    }
    assert_eq!(template, input);
    let code = world.code("CreateRepositoryCreationTemplate", input).await;
    assert_eq!(code, "TemplateAlreadyExistsException");
    let change = json!({"prefix": "team", "description": "e", "imageTagMutability": "MUTABLE",
        "lifecyclePolicy": lifecycle(), "resourceTags": []});
    let changed = world.done("UpdateRepositoryCreationTemplate", change).await;
    let changed = &changed["repositoryCreationTemplate"];
    assert_eq!(changed["description"], "e");
    assert_eq!(changed["imageTagMutability"], "MUTABLE");
    assert_eq!(
        changed["appliedFor"],
        json!(["CREATE_ON_PUSH", "REPLICATION"])
    );
    assert!(changed.get("resourceTags").is_none());
    assert!(
        changed["lifecyclePolicy"]
            .as_str()
            .unwrap()
            .contains("\"rulePriority\":1,")
    );

    let root = json!({"prefix": "ROOT", "appliedFor": ["PULL_THROUGH_CACHE"]});
    world.done("CreateRepositoryCreationTemplate", root).await;
    let prefixes = async |input: Value| {
        let found = world
            .done("DescribeRepositoryCreationTemplates", input)
            .await;
        let each = found["repositoryCreationTemplates"]
            .as_array()
            .unwrap()
            .clone();
        let prefixes = each
            .iter()
            .map(|it| it["prefix"].as_str().unwrap().to_owned());
        (prefixes.collect::<Vec<_>>(), found["nextToken"].clone())
    };
    let (first, token) = prefixes(json!({"maxResults": 1})).await;
    assert_eq!(first, ["ROOT"]);
    let (second, token) = prefixes(json!({"maxResults": 1, "nextToken": token})).await;
    assert_eq!((second, token), (vec!["team".to_owned()], Value::Null));
    let (found, _) = prefixes(json!({"prefixes": ["team", "no"]})).await;
    assert_eq!(found, ["team"]);
    let both = json!({"prefixes": ["team"], "maxResults": 1});
    let code = world
        .code("DescribeRepositoryCreationTemplates", both)
        .await;
    assert_eq!(code, "InvalidParameterException");

    let named = json!({"prefix": "team"});
    world
        .done("DeleteRepositoryCreationTemplate", named.clone())
        .await;
    for operation in [
        "DeleteRepositoryCreationTemplate",
        "UpdateRepositoryCreationTemplate",
    ] {
        let code = world.code(operation, named.clone()).await;
        assert_eq!(code, "TemplateNotFoundException");
    }
    for more in [
        json!({"imageTagMutability": "IMMUTABLE_WITH_EXCLUSION"}),
        json!({"repositoryPolicy": "{}"}),
        json!({"lifecyclePolicy": "{}"}),
        json!({"resourceTags": [{"Key": "", "Value": ""}]}),
    ] {
        let mut input = json!({"prefix": "bad", "appliedFor": ["CREATE_ON_PUSH"]});
        let members = more.as_object().unwrap().clone();
        input.as_object_mut().unwrap().extend(members);
        let code = world.code("CreateRepositoryCreationTemplate", input).await;
        assert_eq!(code, "InvalidParameterException", "{more}");
    }
}

#[tokio::test]
async fn a_push_makes_a_repository_as_its_template_says() {
    let world = World::new();
    let policy = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": "*", "Action": "ecr:BatchGetImage"}]});
    let input = json!({"prefix": "team", "appliedFor": ["CREATE_ON_PUSH"],
        "imageTagMutability": "IMMUTABLE", "repositoryPolicy": policy.to_string(),
        "lifecyclePolicy": lifecycle(), "resourceTags": [{"Key": "k", "Value": "v"}]});
    world.done("CreateRepositoryCreationTemplate", input).await;
    let input = json!({"prefix": "ROOT", "appliedFor": ["REPLICATION"],
        "imageTagMutability": "IMMUTABLE"});
    world.done("CreateRepositoryCreationTemplate", input).await;
    // By hand, no template counts.
    world.create("team/made").await;
    for name in ["team/app", "other"] {
        world.push_layer(name, "layer").await;
    }
    let mutability = async |name: &str| {
        let input = json!({"repositoryNames": [name]});
        let found = world.done("DescribeRepositories", input).await;
        found["repositories"][0]["imageTagMutability"].clone()
    };
    assert_eq!(mutability("team/app").await, "IMMUTABLE");
    assert_eq!(mutability("team/made").await, "MUTABLE");
    assert_eq!(mutability("other").await, "MUTABLE");
    let named = json!({"repositoryName": "team/app"});
    let kept = world.done("GetRepositoryPolicy", named.clone()).await;
    assert_eq!(kept["policyText"], policy.to_string());
    world.done("GetLifecyclePolicy", named).await;
    let arn = "arn:aws:ecr:us-east-1:123456789012:repository/team/app";
    let tags = world
        .done("ListTagsForResource", json!({"resourceArn": arn}))
        .await;
    assert_eq!(tags, json!({"tags": [{"Key": "k", "Value": "v"}]}));
}

#[tokio::test]
async fn cache_rules_are_made_changed_listed_and_deleted() {
    let world = World::new();
    let input = json!({"ecrRepositoryPrefix": "quay", "upstreamRegistryUrl": "quay.io"});
    let made = world
        .done("CreatePullThroughCacheRule", input.clone())
        .await;
    assert_eq!(made["upstreamRegistry"], "quay");
    assert_eq!(made["upstreamRepositoryPrefix"], "ROOT");
    let code = world.code("CreatePullThroughCacheRule", input).await;
    assert_eq!(code, "PullThroughCacheRuleAlreadyExistsException");
    let secret = "arn:aws:secretsmanager:us-east-1:123456789012:secret:ecr-pullthroughcache/hub";
    let input = json!({"ecrRepositoryPrefix": "hub", "upstreamRegistryUrl":
        "registry-1.docker.io", "upstreamRegistry": "docker-hub", "credentialArn": secret});
    world.done("CreatePullThroughCacheRule", input).await;
    let input = json!({"ecrRepositoryPrefix": "hub", "credentialArn": format!("{secret}2")});
    let changed = world.done("UpdatePullThroughCacheRule", input).await;
    assert_eq!(changed["credentialArn"], format!("{secret}2"));
    let prefixes = async |input: Value| {
        let found = world.done("DescribePullThroughCacheRules", input).await;
        let each = found["pullThroughCacheRules"].as_array().unwrap().clone();
        let prefixes = each.iter();
        let prefixes = prefixes.map(|it| it["ecrRepositoryPrefix"].as_str().unwrap().to_owned());
        (prefixes.collect::<Vec<_>>(), found["nextToken"].clone())
    };
    let (first, token) = prefixes(json!({"maxResults": 1})).await;
    assert_eq!(first, ["hub"]);
    let (second, _) = prefixes(json!({"maxResults": 1, "nextToken": token})).await;
    assert_eq!(second, ["quay"]);
    let (found, _) = prefixes(json!({"ecrRepositoryPrefixes": ["quay"]})).await;
    assert_eq!(found, ["quay"]);
    // That nothing is pulled is said.
    let named = json!({"ecrRepositoryPrefix": "quay"});
    let validated = world
        .done("ValidatePullThroughCacheRule", named.clone())
        .await;
    assert_eq!(validated["isValid"], false);
    assert!(
        validated["failure"]
            .as_str()
            .unwrap()
            .contains("does not pull")
    );
    let deleted = world
        .done("DeletePullThroughCacheRule", named.clone())
        .await;
    assert_eq!(deleted["upstreamRegistryUrl"], "quay.io");
    let missing = "PullThroughCacheRuleNotFoundException";
    for operation in ["DeletePullThroughCacheRule", "ValidatePullThroughCacheRule"] {
        assert_eq!(world.code(operation, named.clone()).await, missing);
    }
    let input = json!({"ecrRepositoryPrefix": "quay", "credentialArn": secret});
    assert_eq!(
        world.code("UpdatePullThroughCacheRule", input).await,
        missing
    );
    let input = json!({"ecrRepositoryPrefixes": ["quay"]});
    assert_eq!(
        world.code("DescribePullThroughCacheRules", input).await,
        missing
    );
    for (more, code) in [
        (
            json!({"upstreamRegistryUrl": "example.com"}),
            "UnsupportedUpstreamRegistryException",
        ),
        (
            json!({"upstreamRegistryUrl": ".azurecr.io"}),
            "UnsupportedUpstreamRegistryException",
        ),
        (
            json!({"upstreamRegistryUrl": "quay.io", "upstreamRegistry": "k8s"}),
            "InvalidParameterException",
        ),
        (
            json!({"upstreamRegistryUrl": "ghcr.io"}),
            "InvalidParameterException",
        ),
        (
            json!({"upstreamRegistryUrl": "quay.io", "ecrRepositoryPrefix": "ROOT",
                "upstreamRepositoryPrefix": "team"}),
            "InvalidParameterException",
        ),
    ] {
        let mut input = json!({"ecrRepositoryPrefix": "new"});
        let members = more.as_object().unwrap().clone();
        input.as_object_mut().unwrap().extend(members);
        assert_eq!(
            world.code("CreatePullThroughCacheRule", input).await,
            code,
            "{more}"
        );
    }
}

#[tokio::test]
async fn an_address_is_given_for_layers_that_are_there() {
    let world = World::new();
    world.create("app").await;
    let (_, layer) = world.push("app", "v1", "layer").await;
    let input = json!({"repositoryName": "app", "layerDigest": layer});
    let told = world.done("GetDownloadUrlForLayer", input).await;
    let url = told["downloadUrl"].as_str().unwrap();
    let expected = format!(
        "http://localhost:5000/v2/app/blobs/{layer}?X-Entrepot-Region=us-east-1&X-Entrepot-Grant="
    );
    assert!(url.starts_with(&expected), "{url}");
    let absent = format!("sha256:{}", "0".repeat(64));
    for (repository, digest, code) in [
        ("app", absent.as_str(), "LayersNotFoundException"),
        ("app", "sha256:ab", "LayersNotFoundException"),
        ("no", layer.as_str(), "RepositoryNotFoundException"),
    ] {
        let input = json!({"repositoryName": repository, "layerDigest": digest});
        assert_eq!(world.code("GetDownloadUrlForLayer", input).await, code);
    }
}
