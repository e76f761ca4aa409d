//! Sessions over a registry in memory.

mod web;

use entrepot_access::{AssumedRole, Identity, Principal, User};
use entrepot_service::{Caller, Proof};
use serde_json::{Value, json};

use crate::api::Api;
use crate::error::ApiError;
use crate::operations::iam::tests::endpoint::{ACCOUNT, Endpoint, OTHER};

const ROLE: &str = "arn:aws:iam::123456789012:role/team/deploy";
const PULL: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Action": "ecr:BatchGetImage", "Resource": "*"}]}"#;
const READ_ONLY: &str = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly";

/// Two accounts with a user `ann` each, and a role of the first one.
struct Sts(Endpoint);

impl Sts {
    /// `statement`: of the role's trust policy.
    async fn start(principal: &str, condition: &str) -> Self {
        let endpoint = Endpoint::start().await;
        for account in [ACCOUNT, OTHER] {
            let root = Principal::root(account.parse().unwrap());
            let input = json!({"UserName": "ann"});
            let made = endpoint.call_as(root, Api::Iam, "CreateUser", input).await;
            made.unwrap();
        }
        let trust = format!(
            r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal":
                {{"AWS": "{principal}"}}, "Action": "sts:AssumeRole"{condition}}}]}}"#
        );
        let input = json!({"RoleName": "deploy", "Path": "/team/", "MaxSessionDuration": 7200,
            "AssumeRolePolicyDocument": trust});
        endpoint.call(Api::Iam, "CreateRole", input).await.unwrap();
        Self(endpoint)
    }

    /// The user as the records have it.
    async fn ann(&self, account: &str) -> Principal {
        let root = Principal::root(account.parse().unwrap());
        let input = json!({"UserName": "ann"});
        let found = self.0.call_as(root, Api::Iam, "GetUser", input).await;
        Principal {
            account: account.parse().unwrap(),
            identity: Identity::User(User {
                path: "/".to_owned(),
                name: "ann".to_owned(),
                id: found.unwrap()["User"]["UserId"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            }),
        }
    }

    /// Lets `ann` of an account ask for roles.
    async fn permit(&self, account: &str) {
        let document = PULL.replace("ecr:BatchGetImage", "sts:AssumeRole");
        let input = json!({"UserName": "ann", "PolicyName": "p", "PolicyDocument": document});
        let root = Principal::root(account.parse().unwrap());
        let done = self.0.call_as(root, Api::Iam, "PutUserPolicy", input).await;
        done.unwrap();
    }

    async fn assume(&self, who: Principal, more: Value) -> Result<Value, ApiError> {
        let mut input = more;
        if input["RoleArn"].is_null() {
            input["RoleArn"] = ROLE.into();
        }
        input["RoleSessionName"] = "build".into();
        self.0.call_as(who, Api::Sts, "AssumeRole", input).await
    }

    async fn refused(&self, who: Principal, more: Value) -> (u16, String, String) {
        told(self.assume(who, more).await.unwrap_err())
    }
}

fn told(error: ApiError) -> (u16, String, String) {
    let status = error.status.as_u16();
    (status, error.code.into_owned(), error.message)
}

fn denied(who: &Principal, role: &str) -> (u16, String, String) {
    let text =
        format!("User: {who} is not authorized to perform: sts:AssumeRole on resource: {role}");
    (403, "AccessDenied".to_owned(), text)
}

fn invalid(text: &str) -> (u16, String, String) {
    (400, "ValidationError".to_owned(), text.to_owned())
}

#[tokio::test]
async fn everybody_is_told_who_they_are() {
    let sts = Sts::start(OTHER, "").await;
    let ann = sts.ann(ACCOUNT).await;
    for (who, arn) in [
        (
            Principal::root(ACCOUNT.parse().unwrap()),
            "arn:aws:iam::123456789012:root",
        ),
        (ann, "arn:aws:iam::123456789012:user/ann"),
    ] {
        let user_id = who.user_id();
        let found = sts
            .0
            .call_as(who, Api::Sts, "GetCallerIdentity", json!({}))
            .await;
        let expected = json!({"Account": ACCOUNT, "Arn": arn, "UserId": user_id});
        assert_eq!(found.unwrap(), expected);
    }
}

#[tokio::test]
async fn within_an_account_the_trust_policy_is_needed() {
    let ann_arn = "arn:aws:iam::123456789012:user/ann";
    let sts = Sts::start(ann_arn, "").await;
    let ann = sts.ann(ACCOUNT).await;
    // Named by itself, a user needs no policy.
    let made = sts.assume(ann.clone(), json!({})).await.unwrap();
    let session = "arn:aws:sts::123456789012:assumed-role/deploy/build";
    assert_eq!(made["AssumedRoleUser"]["Arn"], session);
    let id = made["AssumedRoleUser"]["AssumedRoleId"].as_str().unwrap();
    assert!(id.starts_with("AROA") && id.ends_with(":build"), "{id}");
    let key_id = made["Credentials"]["AccessKeyId"].as_str().unwrap();
    assert!(key_id.starts_with("ASIA"), "{key_id}");
    let other = sts.ann(OTHER).await;
    sts.permit(OTHER).await;
    let refused = sts.refused(other.clone(), json!({})).await;
    assert_eq!(refused, denied(&other, ROLE));
    // Whoever has that name later is somebody else.
    let mut imposter = ann;
    if let Identity::User(user) = &mut imposter.identity {
        user.id = "AIDAIMPOSTER000000000".to_owned();
    }
    let refused = sts.refused(imposter.clone(), json!({})).await;
    assert_eq!(refused, denied(&imposter, ROLE));
    let root = Principal::root(ACCOUNT.parse().unwrap());
    let (status, code, text) = sts.refused(root, json!({})).await;
    assert_eq!((status, code.as_str()), (403, "AccessDenied"));
    assert_eq!(text, "Roles may not be assumed by root accounts.");
}

#[tokio::test]
async fn across_accounts_both_sides_are_needed() {
    let condition = r#", "Condition": {"StringEquals": {"sts:ExternalId": "e-1"}}"#;
    let sts = Sts::start(OTHER, condition).await;
    let ann = sts.ann(OTHER).await;
    let with_id = json!({"ExternalId": "e-1"});
    let refused = denied(&ann, ROLE);
    assert_eq!(sts.refused(ann.clone(), with_id.clone()).await, refused);
    sts.permit(OTHER).await;
    sts.assume(ann.clone(), with_id).await.unwrap();
    for more in [json!({}), json!({"ExternalId": "e-2"})] {
        assert_eq!(sts.refused(ann.clone(), more).await, refused);
    }
    // What there is not is denied in the same words.
    for role in [
        "arn:aws:iam::123456789012:role/deploy",
        "arn:aws:iam::123456789012:role/none",
        "arn:aws:iam::999999999999:role/team/deploy",
        "arn:aws:iam::123456789012:user/ann",
    ] {
        let more = json!({"RoleArn": role, "ExternalId": "e-1"});
        assert_eq!(sts.refused(ann.clone(), more).await, denied(&ann, role));
    }
    let more = json!({"RoleArn": "no ARN, but long enough"});
    let refused = sts.refused(ann, more).await;
    assert_eq!(refused, invalid("no ARN, but long enough is invalid"));
}

#[tokio::test]
async fn sessions_are_as_long_as_the_role_lets_them() {
    let sts = Sts::start("arn:aws:iam::123456789012:user/ann", "").await;
    let ann = sts.ann(ACCOUNT).await;
    let before = 1 + std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    for (more, seconds) in [
        (json!({}), 3_600),
        (json!({"DurationSeconds": 900}), 900),
        (json!({"DurationSeconds": 7200}), 7_200),
    ] {
        let made = sts.assume(ann.clone(), more).await.unwrap();
        let ends = made["Credentials"]["Expiration"].as_u64().unwrap();
        assert!(
            (before - 2..before + 60).contains(&(ends - seconds)),
            "{ends}"
        );
    }
    let text = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
    let refused = sts
        .refused(ann.clone(), json!({"DurationSeconds": 7201}))
        .await;
    assert_eq!(refused, invalid(text));
    for (name, value) in [
        ("Tags", json!([{"Key": "a", "Value": "b"}])),
        ("SourceIdentity", json!("somebody")),
        ("SerialNumber", json!("GAHT12345678")),
    ] {
        let refused = sts.refused(ann.clone(), json!({ (name): value })).await;
        let text = format!("{name} is not supported for sessions here.");
        assert_eq!(refused, invalid(&text));
    }
}

#[tokio::test]
async fn policies_limit_a_session() {
    let sts = Sts::start("arn:aws:iam::123456789012:user/ann", "").await;
    let ann = sts.ann(ACCOUNT).await;
    let made = sts
        .assume(ann.clone(), json!({"Policy": PULL}))
        .await
        .unwrap();
    assert_eq!(made["PackedPolicySize"], 5);
    let more = json!({"Policy": PULL, "PolicyArns": [{"arn": READ_ONLY}]});
    let made = sts.assume(ann.clone(), more).await.unwrap();
    assert!(made["PackedPolicySize"].as_u64().unwrap() > 20, "{made}");
    let (status, code, text) = sts.refused(ann.clone(), json!({"Policy": "{}"})).await;
    assert_eq!(
        (status, code.as_str()),
        (400, "MalformedPolicyDocument"),
        "{text}"
    );
    let full = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPowerUser";
    let large = PULL.replace(
        "\"*\"",
        &format!("\"arn:aws:ecr:*:*:{}\"", "x".repeat(1_800)),
    );
    let more = json!({"Policy": large, "PolicyArns": [{"arn": full}]});
    let (status, code, text) = sts.refused(ann.clone(), more).await;
    assert_eq!((status, code.as_str()), (400, "PackedPolicyTooLarge"));
    assert!(text.starts_with("Packed policy consumes 1"), "{text}");
    let nameless = json!({"PolicyArns": [{"arn": READ_ONLY}, {}]});
    let refused = sts.refused(ann.clone(), nameless).await;
    assert_eq!(refused, invalid("Each of PolicyArns must have an arn."));
    let none = "arn:aws:iam::123456789012:policy/none";
    let refused = sts
        .refused(ann, json!({"PolicyArns": [{"arn": none}]}))
        .await;
    let text = format!("Policy {none} does not exist or is not attachable.");
    assert_eq!(refused, invalid(&text));
}

#[tokio::test]
async fn a_session_assumes_roles_for_an_hour_and_within_its_policy() {
    let trusted = "arn:aws:iam::123456789012:user/ann";
    let sts = Sts::start(trusted, "").await;
    let ann = sts.ann(ACCOUNT).await;
    let made = sts.assume(ann, json!({})).await.unwrap();
    let id = made["AssumedRoleUser"]["AssumedRoleId"].as_str().unwrap();
    let session = Principal {
        account: ACCOUNT.parse().unwrap(),
        identity: Identity::AssumedRole(AssumedRole {
            path: "/team/".to_owned(),
            role: "deploy".to_owned(),
            role_id: id.split(':').next().unwrap().to_owned(),
            session: "build".to_owned(),
        }),
    };
    let trust = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal":
            {{"AWS": "{ROLE}"}}, "Action": "sts:AssumeRole"}}]}}"#
    );
    let input = json!({"RoleName": "next", "MaxSessionDuration": 7200,
        "AssumeRolePolicyDocument": trust});
    sts.0.call(Api::Iam, "CreateRole", input).await.unwrap();
    let next = "arn:aws:iam::123456789012:role/next";
    let of = |policy: Option<&str>| Caller {
        proof: Proof {
            session_policy: policy.map(Into::into),
            expires_ms: Some(i64::MAX),
            ..Proof::default()
        },
        ..Caller::of(session.clone())
    };
    let input = |seconds: u32| json!({"RoleArn": next, "RoleSessionName": "build", "DurationSeconds": seconds});
    let ask = |caller, input| sts.0.call_by(caller, Api::Sts, "AssumeRole", input);
    ask(of(None), input(3_600)).await.unwrap();
    let long = ask(of(None), input(3_601)).await.unwrap_err();
    let text = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed \
                by role chaining.";
    assert_eq!(told(long), invalid(text));
    let limited = ask(of(Some(PULL)), input(3_600)).await.unwrap_err();
    assert_eq!(told(limited), denied(&session, next));
    let session_token = sts
        .0
        .call_by(of(None), Api::Sts, "GetSessionToken", json!({}));
    let (status, _, text) = told(session_token.await.unwrap_err());
    let expected = "Cannot call GetSessionToken with session credentials";
    assert_eq!((status, text.as_str()), (403, expected));
}

#[tokio::test]
async fn users_get_sessions_of_their_own() {
    let sts = Sts::start(OTHER, "").await;
    let ann = sts.ann(ACCOUNT).await;
    for (who, input) in [
        (ann.clone(), json!({})),
        (ann, json!({"DurationSeconds": 129_600})),
        (Principal::root(ACCOUNT.parse().unwrap()), json!({})),
    ] {
        let made = sts.0.call_as(who, Api::Sts, "GetSessionToken", input).await;
        let key_id = &made.unwrap()["Credentials"]["AccessKeyId"];
        let asked = json!({ "AccessKeyId": key_id });
        let found = sts.0.call(Api::Sts, "GetAccessKeyInfo", asked).await;
        assert_eq!(found.unwrap(), json!({"Account": ACCOUNT}));
    }
    let unknown = json!({"AccessKeyId": "nobodyskeyatallhere1"});
    let refused = sts.0.call(Api::Sts, "GetAccessKeyInfo", unknown).await;
    let text = "The access key ID nobodyskeyatallhere1 is not valid.";
    assert_eq!(told(refused.unwrap_err()), invalid(text));
}

#[tokio::test]
async fn what_this_node_knows_is_answered_without_a_quorum() {
    let sts = Sts::start("arn:aws:iam::123456789012:user/ann", "").await;
    let ann = sts.ann(ACCOUNT).await;
    let input = json!({"UserName": "ann"});
    let made = sts
        .0
        .call(Api::Iam, "CreateAccessKey", input)
        .await
        .unwrap();
    let key = json!({"AccessKeyId": made["AccessKey"]["AccessKeyId"]});
    sts.0.set_quorum(false);
    let more = json!({"Policy": PULL, "PolicyArns": [{"arn": READ_ONLY}]});
    sts.assume(ann.clone(), more).await.unwrap();
    let found = sts.0.call(Api::Sts, "GetAccessKeyInfo", key).await;
    assert_eq!(found.unwrap(), json!({"Account": ACCOUNT}));
    // What is not in its copy may be newer.
    let none = json!({"RoleArn": "arn:aws:iam::123456789012:role/none"});
    let (status, code, text) = sts.refused(ann, none).await;
    assert_eq!(
        (status, code.as_str()),
        (503, "ServiceUnavailable"),
        "{text}"
    );
}
