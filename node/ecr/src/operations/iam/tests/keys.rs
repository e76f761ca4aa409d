//! Access keys.

use entrepot_access::{AssumedRole, Identity, Principal, User};
use serde_json::{Value, json};

use super::endpoint::{ACCOUNT, OTHER};
use super::{Iam, error, missing, names};
use crate::api::Api;

#[tokio::test]
async fn a_user_has_two_keys_at_most() {
    let iam = Iam::start().await;
    iam.user("ann").await;
    let ann = json!({"UserName": "ann"});
    let mut ids = Vec::new();
    for _ in 0..2 {
        let made = iam.get("CreateAccessKey", ann.clone()).await;
        let key = &made["AccessKey"];
        assert_eq!(key["UserName"], "ann");
        assert_eq!(key["Status"], "Active");
        assert_eq!(key["SecretAccessKey"].as_str().unwrap().len(), 40);
        ids.push(key["AccessKeyId"].as_str().unwrap().to_owned());
    }
    ids.sort();
    let text = "Cannot exceed quota for AccessKeysPerUser: 2";
    let refused = iam.refused("CreateAccessKey", ann.clone()).await;
    assert_eq!(refused, error(409, "LimitExceeded", text));
    let listed = iam.paged("ListAccessKeys", "AccessKeyMetadata", ann.clone());
    let listed = listed.await;
    assert_eq!(names(&listed, "AccessKeyId"), ids);
    assert!(!json!(listed).to_string().contains("Secret"));
    let text = "Cannot delete entity, must delete access keys first.";
    let refused = iam.refused("DeleteUser", ann.clone()).await;
    assert_eq!(refused, error(409, "DeleteConflict", text));
    for id in &ids {
        let key = json!({"UserName": "ann", "AccessKeyId": id});
        let used = iam.get("GetAccessKeyLastUsed", json!({"AccessKeyId": id}));
        let expected = json!({"UserName": "ann",
            "AccessKeyLastUsed": {"ServiceName": "N/A", "Region": "N/A"}});
        assert_eq!(used.await, expected);
        iam.get("DeleteAccessKey", key).await;
    }
    iam.get("DeleteUser", ann).await;
}

#[tokio::test]
async fn a_key_is_active_or_not() {
    let iam = Iam::start().await;
    iam.user("ann").await;
    iam.user("ben").await;
    let made = iam.get("CreateAccessKey", json!({"UserName": "ann"})).await;
    let id = made["AccessKey"]["AccessKeyId"].as_str().unwrap();
    let input =
        |user: &str, status: &str| json!({"UserName": user, "AccessKeyId": id, "Status": status});
    for status in ["Inactive", "Active"] {
        iam.get("UpdateAccessKey", input("ann", status)).await;
        let listed = iam.get("ListAccessKeys", json!({"UserName": "ann"})).await;
        assert_eq!(listed["AccessKeyMetadata"][0]["Status"], status);
    }
    let text = "The status of an access key cannot be set to Expired.";
    let refused = iam
        .refused("UpdateAccessKey", input("ann", "Expired"))
        .await;
    assert_eq!(refused, error(400, "InvalidInput", text));
    let text = format!("The Access Key with id {id} cannot be found.");
    let refused = iam.refused("UpdateAccessKey", input("ben", "Active")).await;
    assert_eq!(refused, missing(&text));
    let input = json!({"UserName": "ben", "AccessKeyId": id});
    assert_eq!(iam.refused("DeleteAccessKey", input).await, missing(&text));
    let nobody = missing("The user with name x cannot be found.");
    for (name, input) in [
        ("CreateAccessKey", json!({"UserName": "x"})),
        ("ListAccessKeys", json!({"UserName": "x"})),
    ] {
        assert_eq!(iam.refused(name, input).await, nobody);
    }
    let none = json!({"AccessKeyId": "AKIANONE000000000000"});
    let text = "User: arn:aws:iam::123456789012:root is not authorized to perform: \
                iam:GetAccessKeyLastUsed on resource: access key AKIANONE000000000000";
    let refused = iam.refused("GetAccessKeyLastUsed", none).await;
    assert_eq!(refused, error(403, "AccessDenied", text));
}

#[tokio::test]
async fn another_account_sees_nothing() {
    let iam = Iam::start().await;
    iam.user("ann").await;
    let made = iam.get("CreateAccessKey", json!({"UserName": "ann"})).await;
    let id = &made["AccessKey"]["AccessKeyId"];
    let other = Principal::root(OTHER.parse().unwrap());
    for (name, input) in [
        ("GetUser", json!({"UserName": "ann"})),
        ("DeleteUser", json!({"UserName": "ann"})),
        ("CreateAccessKey", json!({"UserName": "ann"})),
        ("DeleteAccessKey", json!({"AccessKeyId": id})),
    ] {
        let asked = iam.0.call_as(other.clone(), Api::Iam, name, input).await;
        assert_eq!(asked.unwrap_err().code, "NoSuchEntity", "{name}");
    }
    let input = json!({"AccessKeyId": id});
    let asked = iam
        .0
        .call_as(other.clone(), Api::Iam, "GetAccessKeyLastUsed", input);
    assert_eq!(asked.await.unwrap_err().code, "AccessDenied");
    let listed = iam.0.call_as(other, Api::Iam, "ListUsers", json!({})).await;
    assert_eq!(listed.unwrap()["Users"], json!([]));
}

#[tokio::test]
async fn whoever_may_nothing_is_told_so() {
    let iam = Iam::start().await;
    iam.user("ann").await;
    let ann = Principal {
        account: ACCOUNT.parse().unwrap(),
        identity: Identity::User(User {
            path: "/".to_owned(),
            name: "ann".to_owned(),
            id: "AIDAANN0000000000000".to_owned(),
        }),
    };
    for (name, user) in [("GetUser", "ann"), ("DeleteUser", "nobody")] {
        let input = json!({ "UserName": user });
        let denied = iam.0.call_as(ann.clone(), Api::Iam, name, input).await;
        let denied = denied.unwrap_err();
        assert_eq!(
            (denied.status.as_u16(), denied.code.as_ref()),
            (403, "AccessDenied")
        );
        let text = format!(
            "User: arn:aws:iam::123456789012:user/ann is not authorized to perform: iam:{name} on \
             resource: user {user} because no identity-based policy \
             allows the iam:{name} action"
        );
        assert_eq!(denied.message, text);
    }
}

#[tokio::test]
async fn a_session_of_a_role_has_to_name_a_user() {
    let iam = Iam::start().await;
    let session = Principal {
        account: ACCOUNT.parse().unwrap(),
        identity: Identity::AssumedRole(AssumedRole {
            path: "/".to_owned(),
            role: "deploy".to_owned(),
            role_id: "AROADEPLOY0000000000".to_owned(),
            session: "s".to_owned(),
        }),
    };
    for name in ["GetUser", "CreateAccessKey", "ListAccessKeys"] {
        let asked = iam.0.call_as(
            session.clone(),
            Api::Iam,
            name,
            Value::from(serde_json::Map::new()),
        );
        let refused = asked.await.unwrap_err();
        assert_eq!(refused.code, "ValidationError");
        let text = "Must specify userName when calling with non-User credentials";
        assert_eq!(refused.message, text);
    }
}
