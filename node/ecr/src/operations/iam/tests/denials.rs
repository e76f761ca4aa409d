//! Who may what of identities, and what those who may not are told.

use entrepot_access::{Identity, Principal, User};
use serde_json::{Value, json};

use super::Iam;
use super::endpoint::ACCOUNT;
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
    assert!(
        text.contains("resource: user bob because"),
        "{text}"
    );
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
