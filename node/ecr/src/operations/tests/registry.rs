//! The registry's policy, account settings, exclusions, scanning and signing.

use serde_json::{Value, json};

use super::world::{ACCOUNT, World};

#[tokio::test]
async fn the_registry_s_policy_is_kept_until_it_is_deleted() {
    let world = World::new();
    let none = format!("Registry policy does not exist in the registry with id '{ACCOUNT}'");
    let none = ("RegistryPolicyNotFoundException", none.as_str());
    world.refused("GetRegistryPolicy", json!({}), none).await;
    world.refused("DeleteRegistryPolicy", json!({}), none).await;
    let policy = |action: &str| {
        json!({"Version": "2012-10-17", "Statement": [{"Sid": "a", "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::210987654321:root"}, "Action": [action],
            "Resource": "arn:aws:ecr:us-east-1:123456789012:repository/*"}]})
        .to_string()
    };
    let text = policy("ecr:ReplicateImage");
    let expected = json!({"registryId": ACCOUNT, "policyText": text});
    let put = world
        .done("PutRegistryPolicy", json!({"policyText": text}))
        .await;
    assert_eq!(put, expected);
    assert_eq!(world.done("GetRegistryPolicy", json!({})).await, expected);
    assert_eq!(
        world.done("DeleteRegistryPolicy", json!({})).await,
        expected
    );
    world.refused("GetRegistryPolicy", json!({}), none).await;

    let invalid = "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Invalid \
                   registry policy provided'";
    let invalid = ("InvalidParameterException", invalid);
    let input = json!({"policyText": "{}"});
    world.refused("PutRegistryPolicy", input, invalid).await;
    // The narrow scope has three actions.
    let scope = |value: &str| json!({"name": "REGISTRY_POLICY_SCOPE", "value": value});
    let wide = json!({"policyText": policy("ecr:*")});
    world.done("PutRegistryPolicy", wide.clone()).await;
    world
        .refused("PutAccountSetting", scope("V1"), invalid)
        .await;
    world
        .done("PutRegistryPolicy", json!({"policyText": text}))
        .await;
    world.done("PutAccountSetting", scope("V1")).await;
    world
        .refused("PutRegistryPolicy", wide.clone(), invalid)
        .await;
    world.done("PutAccountSetting", scope("V2")).await;
    world.done("PutRegistryPolicy", wide).await;
}

#[tokio::test]
async fn account_settings_have_ecr_s_names_and_values() {
    let world = World::new();
    let get = async |name: &str| {
        let found = world.done("GetAccountSetting", json!({"name": name})).await;
        assert_eq!(found["name"], name);
        found["value"].as_str().unwrap().to_owned()
    };
    for (name, default, other) in [
        ("BASIC_SCAN_TYPE_VERSION", "AWS_NATIVE", "AWS_NATIVE"),
        ("REGISTRY_POLICY_SCOPE", "V2", "V1"),
        ("BLOB_MOUNTING", "ENABLED", "DISABLED"),
    ] {
        assert_eq!(get(name).await, default);
        let setting = json!({"name": name, "value": other});
        let put = world.done("PutAccountSetting", setting.clone()).await;
        assert_eq!(put, setting);
        assert_eq!(get(name).await, other);
    }
    for (name, value) in [("COLOUR", "RED"), ("BLOB_MOUNTING", "PERHAPS")] {
        let input = json!({"name": name, "value": value});
        let code = world.code("PutAccountSetting", input).await;
        assert_eq!(code, "InvalidParameterException");
    }
    let code = world
        .code("GetAccountSetting", json!({"name": "COLOUR"}))
        .await;
    assert_eq!(code, "InvalidParameterException");
}

#[tokio::test]
async fn no_blob_is_mounted_where_that_is_switched_off() {
    let world = World::new();
    world.create("one").await;
    world.create("two").await;
    let (_, layer) = world.push("one", "v1", "layer").await;
    let (digest, from, to) = (
        layer.parse().unwrap(),
        "one".parse().unwrap(),
        "two".parse(),
    );
    let to = to.unwrap();
    let mount = async || {
        let caller = world.caller();
        let mounted = world
            .registry
            .mount_blob(&caller, &to, Some(&from), &digest);
        mounted.await.unwrap().is_some()
    };
    let set = async |value: &str| {
        let input = json!({"name": "BLOB_MOUNTING", "value": value});
        world.done("PutAccountSetting", input).await;
    };
    set("DISABLED").await;
    assert!(!mount().await);
    set("ENABLED").await;
    assert!(mount().await);
}

#[tokio::test]
async fn principals_whose_pulls_do_not_count_are_listed() {
    let world = World::new();
    let arn = |name: &str| json!({"principalArn": format!("arn:aws:iam::{ACCOUNT}:role/{name}")});
    for name in ["c", "a", "b"] {
        let registered = world
            .done("RegisterPullTimeUpdateExclusion", arn(name))
            .await;
        assert_eq!(registered["principalArn"], arn(name)["principalArn"]);
    }
    let code = world
        .code("RegisterPullTimeUpdateExclusion", arn("a"))
        .await;
    assert_eq!(code, "ExclusionAlreadyExistsException");
    let (mut found, mut token) = (Vec::new(), Value::Null);
    loop {
        let input = json!({"maxResults": 2, "nextToken": token});
        let mut page = world.done("ListPullTimeUpdateExclusions", input).await;
        let arns = page["pullTimeUpdateExclusions"].as_array().unwrap();
        found.extend(arns.iter().cloned());
        token = page["nextToken"].take();
        if token.is_null() {
            break;
        }
    }
    let expected = ["a", "b", "c"].map(|name| arn(name)["principalArn"].clone());
    assert_eq!(found, expected);
    let gone = world
        .done("DeregisterPullTimeUpdateExclusion", arn("b"))
        .await;
    assert_eq!(gone, arn("b"));
    let code = world
        .code("DeregisterPullTimeUpdateExclusion", arn("b"))
        .await;
    assert_eq!(code, "ExclusionNotFoundException");
    for number in 0..98 {
        let arn = arn(&format!("r{number}"));
        world.done("RegisterPullTimeUpdateExclusion", arn).await;
    }
    let code = world
        .code("RegisterPullTimeUpdateExclusion", arn("more"))
        .await;
    assert_eq!(code, "LimitExceededException");
}

fn rule(frequency: &str, filters: &[&str]) -> Value {
    let filters = filters.iter();
    let filters: Vec<Value> = filters
        .map(|filter| json!({"filter": filter, "filterType": "WILDCARD"}))
        .collect();
    json!({"scanFrequency": frequency, "repositoryFilters": filters})
}

#[tokio::test]
async fn what_is_to_be_scanned_is_told_for_each_repository() {
    let world = World::new();
    let default = json!({"scanType": "BASIC", "rules": []});
    let found = world
        .done("GetRegistryScanningConfiguration", json!({}))
        .await;
    assert_eq!(
        found,
        json!({"registryId": ACCOUNT, "scanningConfiguration": default})
    );
    for name in ["prod", "prod/app", "my-prod", "dev"] {
        world.create(name).await;
    }
    let input = json!({"repositoryName": "dev",
        "imageScanningConfiguration": {"scanOnPush": true}});
    world.done("PutImageScanningConfiguration", input).await;
    let frequencies = async || {
        let names = json!({"repositoryNames": ["prod", "prod/app", "my-prod", "dev", "no"]});
        let found = world
            .done("BatchGetRepositoryScanningConfiguration", names)
            .await;
        assert_eq!(found["failures"][0]["repositoryName"], "no");
        assert_eq!(found["failures"][0]["failureCode"], "REPOSITORY_NOT_FOUND");
        let each = found["scanningConfigurations"].as_array().unwrap().clone();
        each.iter()
            .map(|it| it["scanFrequency"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        frequencies().await,
        ["MANUAL", "MANUAL", "MANUAL", "SCAN_ON_PUSH"]
    );
    let put = async |scan_type: &str, rules: Value| {
        let input = json!({"scanType": scan_type, "rules": rules});
        let put = world
            .done("PutRegistryScanningConfiguration", input.clone())
            .await;
        assert_eq!(put, json!({"registryScanningConfiguration": input}));
    };
    put("BASIC", json!([rule("SCAN_ON_PUSH", &["prod*"])])).await;
    let expected = ["SCAN_ON_PUSH", "SCAN_ON_PUSH", "MANUAL", "SCAN_ON_PUSH"];
    assert_eq!(frequencies().await, expected);
    put("ENHANCED", json!([])).await;
    assert_eq!(frequencies().await, ["CONTINUOUS_SCAN"; 4]);
    let rules = json!([
        rule("SCAN_ON_PUSH", &["prod"]),
        rule("CONTINUOUS_SCAN", &["*/app"])
    ]);
    put("ENHANCED", rules).await;
    let expected = ["SCAN_ON_PUSH", "CONTINUOUS_SCAN", "SCAN_ON_PUSH", "MANUAL"];
    assert_eq!(frequencies().await, expected);
    for (scan_type, rules) in [
        ("BASIC", json!([rule("CONTINUOUS_SCAN", &["*"])])),
        ("ENHANCED", json!([rule("MANUAL", &["*"])])),
        (
            "BASIC",
            json!([rule("MANUAL", &["a"]), rule("MANUAL", &["b"])]),
        ),
    ] {
        let input = json!({"scanType": scan_type, "rules": rules});
        let code = world.code("PutRegistryScanningConfiguration", input).await;
        assert_eq!(code, "InvalidParameterException");
    }
}

#[tokio::test]
async fn what_is_to_be_signed_is_kept_and_that_nothing_was_is_told() {
    let world = World::new();
    world.create("prod/app").await;
    world.push("prod/app", "v1", "layer").await;
    let none = "SigningConfigurationNotFoundException";
    for operation in ["GetSigningConfiguration", "DeleteSigningConfiguration"] {
        assert_eq!(world.code(operation, json!({})).await, none);
    }
    let image = json!({"repositoryName": "prod/app", "imageId": {"imageTag": "v1"}});
    let status = world
        .done("DescribeImageSigningStatus", image.clone())
        .await;
    assert_eq!(status["signingStatuses"], json!([]));
    let arn = "arn:aws:signer:us-east-1:123456789012:/signing-profiles/mine";
    let filter = |filter: &str| json!([{"filter": filter, "filterType": "WILDCARD_MATCH"}]);
    let configuration = json!({"rules": [
        {"signingProfileArn": arn, "repositoryFilters": filter("prod/*")},
        {"signingProfileArn": format!("{arn}2"), "repositoryFilters": filter("dev")},
    ]});
    let input = json!({"signingConfiguration": configuration});
    assert_eq!(
        world.done("PutSigningConfiguration", input.clone()).await,
        input
    );
    let expected = json!({"registryId": ACCOUNT, "signingConfiguration": configuration});
    assert_eq!(
        world.done("GetSigningConfiguration", json!({})).await,
        expected
    );
    let status = world.done("DescribeImageSigningStatus", image).await;
    let statuses = status["signingStatuses"].as_array().unwrap();
    assert_eq!(statuses.len(), 1);
    assert_eq!(statuses[0]["signingProfileArn"], arn);
    assert_eq!(statuses[0]["status"], "FAILED");
    assert_eq!(
        world.done("DeleteSigningConfiguration", json!({})).await,
        expected
    );
    assert_eq!(world.code("GetSigningConfiguration", json!({})).await, none);
}

#[tokio::test]
async fn what_nobody_scans_or_signs_is_told_of_images_that_are_there() {
    let world = World::new();
    world.create("app").await;
    world.push("app", "v1", "layer").await;
    let operation = "DescribeImageSigningStatus";
    for (input, code) in [
        (
            json!({"repositoryName": "app", "imageId": {"imageTag": "v2"}}),
            "ImageNotFoundException",
        ),
        (
            json!({"repositoryName": "no", "imageId": {"imageTag": "v1"}}),
            "RepositoryNotFoundException",
        ),
        (
            json!({"repositoryName": "app", "imageId": {}}),
            "InvalidParameterException",
        ),
    ] {
        assert_eq!(world.code(operation, input).await, code);
    }
    for operation in ["StartImageScan", "DescribeImageScanFindings"] {
        let input = json!({"repositoryName": "app", "imageId": {"imageTag": "v1"}});
        let error = world.ecr(operation, input).await.unwrap_err();
        assert_eq!(error.code, "ValidationException");
        assert!(error.message.contains("no scanner"), "{}", error.message);
    }
}
