//! Who may what of identities, and what those who may not are told.

use entrepot_access::{Identity, Principal, User};
use entrepot_service::{Caller, Proof};
use serde_json::{Value, json};

use super::endpoint::ACCOUNT;
use super::{Iam, PULL, READ_ONLY};
use crate::api::Api;

/// The user of that name as the records have it.
async fn user(iam: &Iam, name: &str) -> Principal {
    let found = iam.get("GetUser", json!({"UserName": name})).await;
    Principal {
        account: ACCOUNT.parse().unwrap(),
        identity: Identity::User(User {
            path: "/".to_owned(),
            name: name.to_owned(),
            id: found["User"]["UserId"].as_str().unwrap().to_owned(),
        }),
    }
}

/// A user `ann` who has a policy of this statement.
async fn ann(iam: &Iam, statement: Value) -> Principal {
    iam.user("ann").await;
    let document = json!({"Version": "2012-10-17", "Statement": [statement]});
    let input =
        json!({"UserName": "ann", "PolicyName": "p", "PolicyDocument": document.to_string()});
    iam.get("PutUserPolicy", input).await;
    user(iam, "ann").await
}

/// The message of what has to be denied.
async fn denied(iam: &Iam, who: &Principal, name: &str, input: Value) -> String {
    let refused = iam.0.call_as(who.clone(), Api::Iam, name, input).await;
    let error = refused.unwrap_err();
    assert_eq!(
        (error.status.as_u16(), error.code.as_ref()),
        (403, "AccessDenied")
    );
    error.message
}

#[tokio::test]
async fn who_is_denied_learns_no_path_no_case_and_no_owner() {
    let iam = Iam::start().await;
    let nothing = json!({"Effect": "Allow", "Action": "ecr:*", "Resource": "*"});
    let ann = ann(&iam, nothing).await;
    iam.get("CreateUser", json!({"UserName": "Bob", "Path": "/team/"}))
        .await;
    let made = iam.get("CreateAccessKey", json!({"UserName": "Bob"})).await;
    let own = &made["AccessKey"]["AccessKeyId"];
    let text = denied(&iam, &ann, "GetUser", json!({"UserName": "bob"})).await;
    assert!(text.contains("resource: user bob because"), "{text}");
    let of_key = async |id: &Value| {
        let input = json!({ "AccessKeyId": id });
        let text = denied(&iam, &ann, "GetAccessKeyLastUsed", input).await;
        text.replace(id.as_str().unwrap(), "<id>")
    };
    assert_eq!(
        of_key(own).await,
        of_key(&json!("AKIANONE000000000000")).await
    );
}

#[tokio::test]
async fn a_template_gives_no_policies_that_its_maker_may_not_set() {
    let iam = Iam::start().await;
    let statement = json!({"Effect": "Allow", "Resource": "*", "Action": [
        "ecr:CreateRepositoryCreationTemplate", "ecr:UpdateRepositoryCreationTemplate"]});
    let ann = ann(&iam, statement).await;
    let policy = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
        "Principal": "*", "Action": "ecr:*"}]}"#;
    let lifecycle = json!({"rules": [{"rulePriority": 1, "action": {"type": "expire"}, "selection": {
        "tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1}}]});
    let made = async |verb: &str, more: Value| {
        let mut input = more;
        input["prefix"] = "team".into();
        input["appliedFor"] = json!(["CREATE_ON_PUSH"]);
        let name = format!("{verb}RepositoryCreationTemplate");
        let done = iam.0.call_as(ann.clone(), Api::Ecr, &name, input).await;
        done.map(drop).map_err(|error| error.message)
    };
    let refused = |action: &str| {
        Err(format!(
            "User: arn:aws:iam::123456789012:user/ann is not authorized to perform: {action} on \
             resource: arn:aws:ecr:us-east-1:123456789012:repository/team/* because no \
             identity-based policy allows the {action} action"
        ))
    };
    let with_policy = json!({"repositoryPolicy": policy});
    let with_lifecycle = json!({"lifecyclePolicy": lifecycle.to_string()});
    for (verb, done) in [
        ("Create", json!({})),
        ("Update", json!({"description": "d"})),
    ] {
        let set = refused("ecr:SetRepositoryPolicy");
        assert_eq!(made(verb, with_policy.clone()).await, set);
        let put = refused("ecr:PutLifecyclePolicy");
        assert_eq!(made(verb, with_lifecycle.clone()).await, put);
        assert_eq!(made(verb, done).await, Ok(()));
    }
    let statement = json!({"Effect": "Allow",
        "Resource": "arn:aws:ecr:us-east-1:123456789012:repository/team/*",
        "Action": ["ecr:SetRepositoryPolicy", "ecr:PutLifecyclePolicy"]});
    let document = json!({"Version": "2012-10-17", "Statement": [statement]});
    let input =
        json!({"UserName": "ann", "PolicyName": "q", "PolicyDocument": document.to_string()});
    iam.get("PutUserPolicy", input).await;
    assert_eq!(made("Update", with_policy).await, Ok(()));
    assert_eq!(made("Update", with_lifecycle).await, Ok(()));
}

#[tokio::test]
async fn whoever_may_not_delete_images_makes_no_policy_that_does_for_good() {
    let iam = Iam::start().await;
    let input = json!({"repositoryName": "team/app"});
    let made = iam.0.call(Api::Ecr, "CreateRepository", input).await;
    made.unwrap();
    let actions = [
        "ecr:PutLifecyclePolicy",
        "ecr:CreateRepositoryCreationTemplate",
        "ecr:UpdateRepositoryCreationTemplate",
    ];
    let statement = json!({"Effect": "Allow", "Resource": "*", "Action": actions});
    let ann = ann(&iam, statement).await;
    let lifecycle = |windows: &[&str]| {
        let rules = (1..).zip(windows).map(|(priority, window)| {
            json!({"rulePriority": priority,
                "action": {"type": "expire", "undeleteWindow": window}, "selection": {
                    "tagStatus": "tagged", "tagPrefixList": [format!("v{priority}")],
                    "countType": "imageCountMoreThan", "countNumber": 1}})
        });
        json!({"rules": rules.collect::<Vec<_>>()}).to_string()
    };
    let call = async |name: &str, input: Value| {
        let done = iam.0.call_as(ann.clone(), Api::Ecr, name, input).await;
        done.map(drop)
            .map_err(|error| (error.code.to_string(), error.message))
    };
    let put = async |windows: &[&str]| {
        let text = lifecycle(windows);
        let input = json!({"repositoryName": "team/app", "lifecyclePolicyText": text});
        call("PutLifecyclePolicy", input).await
    };
    let template = async |verb: &str, windows: &[&str]| {
        let input = json!({"prefix": "team", "appliedFor": ["CREATE_ON_PUSH"],
            "lifecyclePolicy": lifecycle(windows)});
        call(&format!("{verb}RepositoryCreationTemplate"), input).await
    };
    let refused = |repository: &str| {
        let action = "ecr:BatchDeleteImage";
        let text = format!(
            "User: arn:aws:iam::123456789012:user/ann is not authorized to perform: {action} on \
             resource: arn:aws:ecr:us-east-1:123456789012:repository/{repository} because no \
             identity-based policy allows the {action} action. A lifecycle policy with an \
             undeleteWindow that is shorter than the registry's needs it"
        );
        Err(("AccessDeniedException".to_owned(), text))
    };
    // The registry's is of 7 days.
    assert_eq!(put(&["0"]).await, refused("team/app"));
    assert_eq!(put(&["30d", "167h"]).await, refused("team/app"));
    assert_eq!(put(&["7d", "168h", "30d"]).await, Ok(()));
    assert_eq!(template("Create", &["6d"]).await, refused("team/*"));
    assert_eq!(template("Create", &["7d"]).await, Ok(()));
    assert_eq!(template("Update", &["6d"]).await, refused("team/*"));
    let statement = json!({"Effect": "Allow", "Action": "ecr:BatchDeleteImage",
        "Resource": "arn:aws:ecr:us-east-1:123456789012:repository/team/*"});
    let document = json!({"Version": "2012-10-17", "Statement": [statement]});
    let input =
        json!({"UserName": "ann", "PolicyName": "q", "PolicyDocument": document.to_string()});
    iam.get("PutUserPolicy", input).await;
    assert_eq!(put(&["0"]).await, Ok(()));
    assert_eq!(template("Update", &["6d"]).await, Ok(()));
}

#[tokio::test]
async fn a_boundary_says_whose_policies_may_change() {
    let iam = Iam::start().await;
    let limits = iam.policy("limits").await;
    let statement = json!({"Effect": "Allow", "Resource": "*", "Action": ["iam:PutUserPolicy",
        "iam:DeleteUserPolicy", "iam:AttachUserPolicy", "iam:DetachUserPolicy"],
        "Condition": {"StringEquals": {"iam:PermissionsBoundary": limits}}});
    let ann = ann(&iam, statement).await;
    let bounded = json!({"UserName": "ben", "PermissionsBoundary": limits});
    iam.get("CreateUser", bounded).await;
    iam.user("eve").await;
    for (name, more) in [
        (
            "PutUserPolicy",
            json!({"PolicyName": "p", "PolicyDocument": PULL}),
        ),
        ("AttachUserPolicy", json!({"PolicyArn": READ_ONLY})),
        ("DetachUserPolicy", json!({"PolicyArn": READ_ONLY})),
        ("DeleteUserPolicy", json!({"PolicyName": "p"})),
    ] {
        let of = |user: &str| {
            let mut input = more.clone();
            input["UserName"] = user.into();
            input
        };
        let done = iam.0.call_as(ann.clone(), Api::Iam, name, of("ben")).await;
        done.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        denied(&iam, &ann, name, of("eve")).await;
    }
}

#[tokio::test]
async fn sessions_of_users_and_of_root_may_ask_nothing_of_iam() {
    let iam = Iam::start().await;
    let all = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
    let ann = ann(&iam, all).await;
    for who in [ann, Principal::root(ACCOUNT.parse().unwrap())] {
        let session = Caller {
            proof: Proof {
                expires_ms: Some(i64::MAX),
                ..Proof::default()
            },
            ..Caller::of(who.clone())
        };
        for name in ["GetUser", "CreateAccessKey"] {
            let input = json!({"UserName": "ann"});
            let asked = iam
                .0
                .call_by(session.clone(), Api::Iam, name, input.clone());
            let error = asked.await.unwrap_err();
            let told = (error.status.as_u16(), error.code.as_ref());
            assert_eq!(told, (403, "AccessDenied"));
            iam.0
                .call_as(who.clone(), Api::Iam, name, input)
                .await
                .unwrap();
        }
        let asked = iam
            .0
            .call_by(session, Api::Sts, "GetCallerIdentity", json!({}));
        assert_eq!(asked.await.unwrap()["Account"], ACCOUNT);
    }
}
