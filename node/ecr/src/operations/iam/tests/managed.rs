//! Managed policies and their versions.

use serde_json::{Value, json};

use super::{Iam, PULL, READ_ONLY, error, missing, names};

#[tokio::test]
async fn policies_come_are_found_and_go() {
    let iam = Iam::start().await;
    let input = json!({"PolicyName": "Pull", "Path": "/team/", "PolicyDocument": PULL,
        "Description": "pulls", "Tags": [{"Key": "k", "Value": "v"}]});
    let made = iam.get("CreatePolicy", input).await;
    let policy = &made["Policy"];
    let arn = "arn:aws:iam::123456789012:policy/team/Pull";
    assert_eq!(policy["Arn"], arn);
    assert_eq!(policy["DefaultVersionId"], "v1");
    assert_eq!(policy["AttachmentCount"], 0);
    assert!(policy["PolicyId"].as_str().unwrap().starts_with("ANPA"));
    assert_eq!(iam.get("GetPolicy", json!({"PolicyArn": arn})).await, made);
    let again = json!({"PolicyName": "pull", "PolicyDocument": PULL});
    let text = "A policy called Pull already exists. Duplicate names are not allowed.";
    let refused = iam.refused("CreatePolicy", again).await;
    assert_eq!(refused, error(409, "EntityAlreadyExists", text));
    iam.user("ann").await;
    let attached = json!({"UserName": "ann", "PolicyArn": arn});
    iam.get("AttachUserPolicy", attached.clone()).await;
    let text = "Cannot delete a policy attached to entities.";
    let refused = iam.refused("DeletePolicy", json!({"PolicyArn": arn})).await;
    assert_eq!(refused, error(409, "DeleteConflict", text));
    iam.get("DetachUserPolicy", attached).await;
    iam.get("DeletePolicy", json!({"PolicyArn": arn})).await;
    let gone = missing(&format!("Policy {arn} was not found."));
    for (name, rest) in [
        ("GetPolicy", json!({})),
        ("DeletePolicy", json!({})),
        ("GetPolicyVersion", json!({"VersionId": "v1"})),
        ("DeletePolicyVersion", json!({"VersionId": "v1"})),
        ("SetDefaultPolicyVersion", json!({"VersionId": "v1"})),
        ("ListPolicyVersions", json!({})),
        ("CreatePolicyVersion", json!({"PolicyDocument": PULL})),
        ("TagPolicy", json!({"Tags": []})),
        ("UntagPolicy", json!({"TagKeys": []})),
    ] {
        let mut input = rest;
        input["PolicyArn"] = arn.into();
        assert_eq!(iam.refused(name, input).await, gone, "{name}");
    }
    let input = json!({ "PolicyArn": arn });
    let refused = iam.ask("ListPolicyTags", input).await.unwrap_err();
    assert_eq!(refused.code, "NoSuchEntity");
}

#[tokio::test]
async fn documents_are_read_before_they_are_kept() {
    let iam = Iam::start().await;
    let large = PULL.replace(
        "\"*\"",
        &format!("\"arn:aws:ecr:*:*:{}\"", "x".repeat(6_144)),
    );
    let arn = iam.policy("own").await;
    for (document, status, code, text) in [
        (
            "[]",
            400,
            "MalformedPolicyDocument",
            "Syntax errors in policy.",
        ),
        (
            r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "x", "Resource": "*"}}"#,
            400,
            "MalformedPolicyDocument",
            "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.",
        ),
        (
            large.as_str(),
            409,
            "LimitExceeded",
            "Cannot exceed quota for PolicySize: 6144",
        ),
    ] {
        let expected = error(status, code, text);
        let input = json!({"PolicyName": "p", "PolicyDocument": document});
        assert_eq!(iam.refused("CreatePolicy", input).await, expected);
        let input = json!({"PolicyArn": arn, "PolicyDocument": document});
        assert_eq!(iam.refused("CreatePolicyVersion", input).await, expected);
    }
}

#[tokio::test]
async fn a_policy_has_versions() {
    let iam = Iam::start().await;
    let arn = iam.policy("own").await;
    let with = |rest: Value| {
        let mut input = rest;
        input["PolicyArn"] = arn.as_str().into();
        input
    };
    for (at, is_default) in [(2, false), (3, true), (4, false), (5, false)] {
        let document = PULL.replace("BatchGetImage", &format!("Action{at}"));
        let input = with(json!({"PolicyDocument": document, "SetAsDefault": is_default}));
        let made = iam.get("CreatePolicyVersion", input).await;
        assert_eq!(made["PolicyVersion"]["VersionId"], format!("v{at}"));
        assert_eq!(made["PolicyVersion"]["IsDefaultVersion"], is_default);
    }
    let text = "A managed policy can have up to 5 versions. Before you create a new version, you \
                must delete an existing version.";
    let input = with(json!({"PolicyDocument": PULL}));
    let refused = iam.refused("CreatePolicyVersion", input).await;
    assert_eq!(refused, error(409, "LimitExceeded", text));
    let listed = iam
        .paged("ListPolicyVersions", "Versions", with(json!({})))
        .await;
    assert_eq!(names(&listed, "VersionId"), ["v5", "v4", "v3", "v2", "v1"]);
    let defaults: Vec<bool> = listed
        .iter()
        .map(|it| it["IsDefaultVersion"] == json!(true))
        .collect();
    assert_eq!(defaults, [false, false, true, false, false]);
    let found = iam
        .get("GetPolicyVersion", with(json!({"VersionId": "v2"})))
        .await;
    let document = found["PolicyVersion"]["Document"].as_str().unwrap();
    assert!(document.contains("ecr%3AAction2"), "{document}");
    let text = "This policy has more than one version. Before you delete a policy, you must \
                delete the policy's versions. The default version is deleted with the policy.";
    let refused = iam.refused("DeletePolicy", with(json!({}))).await;
    assert_eq!(refused, error(409, "DeleteConflict", text));
    iam.get("SetDefaultPolicyVersion", with(json!({"VersionId": "v4"})))
        .await;
    let found = iam.get("GetPolicy", with(json!({}))).await;
    assert_eq!(found["Policy"]["DefaultVersionId"], "v4");
    let text = "Cannot delete the default version of a policy.";
    let refused = iam
        .refused("DeletePolicyVersion", with(json!({"VersionId": "v4"})))
        .await;
    assert_eq!(refused, error(409, "DeleteConflict", text));
    for version in ["v1", "v2", "v3", "v5"] {
        iam.get("DeletePolicyVersion", with(json!({"VersionId": version})))
            .await;
    }
    for name in [
        "GetPolicyVersion",
        "DeletePolicyVersion",
        "SetDefaultPolicyVersion",
    ] {
        for version in ["v1", "v9"] {
            let text =
                format!("Policy {arn} version {version} does not exist or is not attachable.");
            let refused = iam.refused(name, with(json!({"VersionId": version}))).await;
            assert_eq!(refused, missing(&text), "{name}");
        }
    }
    iam.get("DeletePolicy", with(json!({}))).await;
}

#[tokio::test]
async fn the_policies_of_aws_are_there_and_stay() {
    let iam = Iam::start().await;
    let of = json!({"PolicyArn": READ_ONLY});
    let found = iam.get("GetPolicy", of.clone()).await;
    assert_eq!(
        found["Policy"]["PolicyName"],
        "AmazonEC2ContainerRegistryReadOnly"
    );
    let version = found["Policy"]["DefaultVersionId"]
        .as_str()
        .unwrap()
        .to_owned();
    let listed = iam.get("ListPolicyVersions", of.clone()).await;
    assert_eq!(
        names(listed["Versions"].as_array().unwrap(), "VersionId"),
        std::slice::from_ref(&version)
    );
    let with = |rest: Value| {
        let mut input = rest;
        input["PolicyArn"] = READ_ONLY.into();
        input
    };
    let input = with(json!({"VersionId": version}));
    let found = iam.get("GetPolicyVersion", input.clone()).await;
    let document = found["PolicyVersion"]["Document"].as_str().unwrap();
    assert!(document.contains("ecr%3AGetAuthorizationToken"));
    assert_eq!(iam.get("ListPolicyTags", of).await["Tags"], json!([]));
    let text = format!("Policy {READ_ONLY} is managed by AWS and cannot be changed.");
    let expected = error(400, "InvalidInput", &text);
    for (name, rest) in [
        ("DeletePolicy", json!({})),
        ("DeletePolicyVersion", json!({"VersionId": "v1"})),
        ("SetDefaultPolicyVersion", json!({"VersionId": "v1"})),
        ("CreatePolicyVersion", json!({"PolicyDocument": PULL})),
        ("TagPolicy", json!({"Tags": []})),
        ("UntagPolicy", json!({"TagKeys": []})),
    ] {
        assert_eq!(iam.refused(name, with(rest)).await, expected, "{name}");
    }
    let refused = iam.refused("GetPolicy", json!({"PolicyArn": "no ARN, but long enough"}));
    let text = "ARN no ARN, but long enough is not valid.";
    assert_eq!(refused.await, error(400, "InvalidInput", text));
}

#[tokio::test]
async fn policies_are_listed_by_whose_they_are_and_who_has_them() {
    let iam = Iam::start().await;
    let (a, b) = (iam.policy("a").await, iam.policy("b").await);
    iam.user("ann").await;
    for arn in [READ_ONLY, &b] {
        let input = json!({"UserName": "ann", "PolicyArn": arn});
        iam.get("AttachUserPolicy", input).await;
    }
    iam.get(
        "CreateUser",
        json!({"UserName": "ben", "PermissionsBoundary": a}),
    )
    .await;
    let list = |input: Value| iam.paged("ListPolicies", "Policies", input);
    let all = names(&list(json!({})).await, "Arn");
    assert_eq!(all[all.len() - 2..], [a.clone(), b.clone()]);
    assert!(all.contains(&READ_ONLY.to_owned()));
    let aws = names(&list(json!({"Scope": "AWS"})).await, "Arn");
    assert_eq!(aws, all[..all.len() - 2]);
    for (filter, expected) in [
        (json!({"Scope": "Local"}), vec![a.as_str(), b.as_str()]),
        (
            json!({"Scope": "Local", "OnlyAttached": true}),
            vec![&a, &b],
        ),
        (
            json!({"PolicyUsageFilter": "PermissionsPolicy"}),
            vec![READ_ONLY, &b],
        ),
        (
            json!({"PolicyUsageFilter": "PermissionsBoundary"}),
            vec![&a],
        ),
        (json!({"OnlyAttached": true, "PathPrefix": "/x/"}), vec![]),
    ] {
        let shown = filter.to_string();
        assert_eq!(names(&list(filter).await, "Arn"), expected, "{shown}");
    }
}
