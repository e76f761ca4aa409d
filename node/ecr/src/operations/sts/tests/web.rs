//! Roles that are assumed by a token of an identity provider.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use entrepot_access::Principal;
use entrepot_service::{Courier, Message, Undelivered};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::told;
use crate::api::Api;
use crate::error::ApiError;
use crate::operations::iam::tests::endpoint::{ACCOUNT, Endpoint, OTHER};

const ISSUER: &str = "token.ci.example/org";
const AUDIENCE: &str = "sts.amazonaws.com";

/// Tells the keys of an issuer, until it is down.
#[derive(Debug, Default)]
struct Keys(Mutex<Option<Bytes>>);

struct Ci {
    endpoint: Endpoint,
    keys: Arc<Keys>,
    pair: Ed25519KeyPair,
}

#[async_trait]
impl Courier for Keys {
    async fn deliver(&self, _message: Message) -> Result<(), Undelivered> {
        Ok(())
    }

    async fn issuer_keys(&self, name: &str, _max: usize) -> Result<Bytes, Undelivered> {
        let keys = self.0.lock().unwrap().clone().filter(|_| name == ISSUER);
        keys.ok_or(Undelivered::Status(503))
    }
}

fn provider(account: &str) -> String {
    format!("arn:aws:iam::{account}:oidc-provider/{ISSUER}")
}

/// A trust policy of this statement, besides its effect.
fn trust(principal: &Value, condition: &Value) -> String {
    let statement = json!({"Effect": "Allow", "Principal": principal,
        "Action": "sts:AssumeRoleWithWebIdentity", "Condition": condition});
    json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

fn usual() -> String {
    let condition = json!({
        "StringEquals": {format!("{ISSUER}:aud"): AUDIENCE},
        "StringLike": {format!("{ISSUER}:sub"): "repo:team/*:ref:refs/heads/main"},
    });
    trust(&json!({"Federated": provider(ACCOUNT)}), &condition)
}

impl Ci {
    /// A role that the issuer's tokens of one branch may assume.
    async fn start(trust: &str) -> Self {
        let keys = Arc::<Keys>::default();
        let courier: Arc<dyn Courier> = Arc::<Keys>::clone(&keys);
        let endpoint = Endpoint::with(courier).await;
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let ci = Self {
            endpoint,
            keys,
            pair,
        };
        ci.publish();
        let url = format!("https://{ISSUER}");
        let input = json!({"Url": url, "ClientIDList": [AUDIENCE, "other"]});
        ci.iam("CreateOpenIDConnectProvider", input).await.unwrap();
        let input = json!({"RoleName": "deploy", "AssumeRolePolicyDocument": trust});
        ci.iam("CreateRole", input).await.unwrap();
        ci
    }

    async fn iam(&self, name: &str, input: Value) -> Result<Value, ApiError> {
        self.endpoint.call(Api::Iam, name, input).await
    }

    fn publish(&self) {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        let key = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "one", "use": "sig"});
        let keys = json!({"keys": [key]}).to_string();
        *self.keys.0.lock().unwrap() = Some(keys.into());
    }

    fn token(&self, changed: &Value) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let mut claims = json!({"iss": format!("https://{ISSUER}"), "aud": AUDIENCE,
            "sub": "repo:team/app:ref:refs/heads/main", "iat": now, "exp": now + 600});
        for (name, value) in changed.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!(
            "{}.{}",
            part(&json!({"alg": "EdDSA", "kid": "one"})),
            part(&claims)
        );
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    async fn assume(&self, token: &str, more: &Value) -> Result<Value, ApiError> {
        let mut input = json!({"RoleArn": format!("arn:aws:iam::{ACCOUNT}:role/deploy"),
            "RoleSessionName": "build-7", "WebIdentityToken": token});
        for (name, value) in more.as_object().unwrap() {
            input[name] = value.clone();
        }
        let nobody = Principal::anonymous(ACCOUNT.parse().unwrap());
        let name = "AssumeRoleWithWebIdentity";
        self.endpoint.call_as(nobody, Api::Sts, name, input).await
    }

    /// Status and code.
    async fn refused(&self, token: &str, more: &Value) -> (u16, String) {
        let (status, code, message) = told(self.assume(token, more).await.unwrap_err());
        assert!(!message.contains("repo:team"), "{message}");
        (status, code)
    }
}

fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn who_is_vouched_for_gets_a_session_of_the_role() {
    let ci = Ci::start(&usual()).await;
    let made = ci.assume(&ci.token(&json!({})), &json!({})).await.unwrap();
    let arn = format!("arn:aws:sts::{ACCOUNT}:assumed-role/deploy/build-7");
    assert_eq!(made["AssumedRoleUser"]["Arn"], arn);
    assert_eq!(
        made["SubjectFromWebIdentityToken"],
        "repo:team/app:ref:refs/heads/main"
    );
    assert_eq!(made["Audience"], AUDIENCE);
    assert_eq!(made["Provider"], provider(ACCOUNT));
    let key = made["Credentials"]["AccessKeyId"].as_str().unwrap();
    assert!(key.starts_with("ASIA"), "{key}");
    // For as long as the role lets it, and no longer.
    let token = ci.token(&json!({}));
    let longer = json!({"DurationSeconds": 3_601});
    assert_eq!(
        ci.refused(&token, &longer).await,
        code(400, "ValidationError")
    );
    ci.assume(&token, &json!({"DurationSeconds": 900}))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_trust_policy_says_whose_tokens() {
    let ci = Ci::start(&usual()).await;
    let denied = code(403, "AccessDenied");
    for sub in [
        "repo:team/app:ref:refs/heads/other",
        "repo:mallory/app:ref:refs/heads/main",
    ] {
        assert_eq!(
            ci.refused(&ci.token(&json!({"sub": sub})), &json!({}))
                .await,
            denied
        );
    }
    // One of the provider's audiences, and not the role's.
    let other = ci.token(&json!({"aud": "other"}));
    assert_eq!(ci.refused(&other, &json!({})).await, denied);
    // What there is not, and what is somebody else's, look the same.
    let token = ci.token(&json!({}));
    let absent = json!({"RoleArn": format!("arn:aws:iam::{ACCOUNT}:role/none")});
    assert_eq!(ci.refused(&token, &absent).await, denied);
    let moved = json!({"RoleArn": format!("arn:aws:iam::{ACCOUNT}:role/x/deploy")});
    assert_eq!(ci.refused(&token, &moved).await, denied);
    let theirs = json!({"RoleArn": format!("arn:aws:iam::{OTHER}:role/deploy")});
    assert_eq!(
        ci.refused(&token, &theirs).await,
        code(400, "InvalidIdentityToken")
    );
    let gone = json!({"RoleArn": "arn:aws:iam::999999999999:role/deploy"});
    assert_eq!(
        ci.refused(&token, &gone).await,
        code(400, "InvalidIdentityToken")
    );
}

#[tokio::test]
async fn only_who_names_the_provider_trusts_it() {
    for principal in [
        json!("*"),
        json!({"AWS": "*"}),
        json!({"AWS": ACCOUNT}),
        json!({"Federated": provider(OTHER)}),
        json!({"Service": "ecr.amazonaws.com"}),
    ] {
        let ci = Ci::start(&trust(&principal, &json!({}))).await;
        let refused = ci.refused(&ci.token(&json!({})), &json!({})).await;
        assert_eq!(refused, code(403, "AccessDenied"), "{principal}");
    }
    let other = usual().replace("sts:AssumeRoleWithWebIdentity", "sts:AssumeRole");
    let ci = Ci::start(&other).await;
    let refused = ci.refused(&ci.token(&json!({})), &json!({})).await;
    assert_eq!(refused, code(403, "AccessDenied"));
}

#[tokio::test]
async fn other_claims_are_conditions_too() {
    let condition = json!({"StringEquals": {format!("{ISSUER}:repository"): "team/app"},
        "ForAnyValue:StringEquals": {format!("{ISSUER}:groups"): "deployers"}});
    let named = json!({"Federated": provider(ACCOUNT)});
    let ci = Ci::start(&trust(&named, &condition)).await;
    let denied = code(403, "AccessDenied");
    let good = json!({"repository": "team/app", "groups": ["all", "deployers"]});
    ci.assume(&ci.token(&good), &json!({})).await.unwrap();
    for wrong in [
        json!({"repository": "team/app"}),
        json!({"repository": "mallory/app", "groups": ["deployers"]}),
        // Two keys that a policy cannot tell apart.
        json!({"repository": "team/app", "Repository": "mallory/app", "groups": ["deployers"]}),
    ] {
        assert_eq!(
            ci.refused(&ci.token(&wrong), &json!({})).await,
            denied,
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused() {
    let ci = Ci::start(&usual()).await;
    let invalid = code(400, "InvalidIdentityToken");
    let good = ci.token(&json!({}));
    for (token, expected) in [
        (ci.token(&json!({"aud": "elsewhere"})), &invalid),
        (ci.token(&json!({"iss": "https://other.example"})), &invalid),
        (
            ci.token(&json!({"iss": format!("http://{ISSUER}")})),
            &invalid,
        ),
        (
            ci.token(&json!({"exp": 7})),
            &code(400, "ExpiredTokenException"),
        ),
        (format!("{}x", &good[..good.len() - 1]), &invalid),
        (good.replace('.', "-"), &invalid),
        ("x".repeat(100), &invalid),
    ] {
        assert_eq!(ci.refused(&token, &json!({})).await, *expected, "{token}");
    }
    ci.assume(&good, &json!({})).await.unwrap();
    // A provider that is gone vouches for nobody.
    let arn = json!({"OpenIDConnectProviderArn": provider(ACCOUNT)});
    ci.iam("DeleteOpenIDConnectProvider", arn).await.unwrap();
    assert_eq!(ci.refused(&good, &json!({})).await, invalid);
}

#[tokio::test]
async fn an_issuer_that_is_down_is_told_so() {
    let ci = Ci::start(&usual()).await;
    *ci.keys.0.lock().unwrap() = None;
    let refused = ci.refused(&ci.token(&json!({})), &json!({})).await;
    assert_eq!(refused, code(400, "IDPCommunicationError"));
}

#[tokio::test]
async fn providers_are_made_changed_listed_and_deleted() {
    let ci = Ci::start(&usual()).await;
    let arn = provider(ACCOUNT);
    let of = |more: Value| {
        let mut input = json!({"OpenIDConnectProviderArn": arn});
        for (name, value) in more.as_object().unwrap() {
            input[name] = value.clone();
        }
        input
    };
    let again = json!({"Url": format!("https://{ISSUER}/"), "Tags": [{"Key": "a", "Value": "b"}]});
    let again = told(
        ci.iam("CreateOpenIDConnectProvider", again)
            .await
            .unwrap_err(),
    );
    assert_eq!((again.0, again.1.as_str()), (409, "EntityAlreadyExists"));
    let wrong = json!({"Url": "http://plain.example"});
    let wrong = told(
        ci.iam("CreateOpenIDConnectProvider", wrong)
            .await
            .unwrap_err(),
    );
    assert_eq!((wrong.0, wrong.1.as_str()), (400, "InvalidInput"));

    let add = of(json!({"ClientID": "third"}));
    ci.iam("AddClientIDToOpenIDConnectProvider", add)
        .await
        .unwrap();
    let remove = of(json!({"ClientID": "other"}));
    let name = "RemoveClientIDFromOpenIDConnectProvider";
    ci.iam(name, remove).await.unwrap();
    let prints = of(json!({"ThumbprintList": ["a".repeat(40)]}));
    let name = "UpdateOpenIDConnectProviderThumbprint";
    ci.iam(name, prints).await.unwrap();
    let found = ci
        .iam("GetOpenIDConnectProvider", of(json!({})))
        .await
        .unwrap();
    assert_eq!(found["Url"], ISSUER);
    assert_eq!(found["ClientIDList"], json!([AUDIENCE, "third"]));
    assert_eq!(found["ThumbprintList"], json!(["a".repeat(40)]));
    let listed = ci
        .iam("ListOpenIDConnectProviders", json!({}))
        .await
        .unwrap();
    assert_eq!(listed["OpenIDConnectProviderList"], json!([{"Arn": arn}]));

    // Nobody of another account sees or changes it.
    let root = Principal::root(OTHER.parse().unwrap());
    let theirs = ci.endpoint.call_as(
        root.clone(),
        Api::Iam,
        "GetOpenIDConnectProvider",
        of(json!({})),
    );
    let theirs = told(theirs.await.unwrap_err());
    assert_eq!((theirs.0, theirs.1.as_str()), (403, "AccessDenied"));
    let listed = ci
        .endpoint
        .call_as(root, Api::Iam, "ListOpenIDConnectProviders", json!({}));
    assert_eq!(
        listed.await.unwrap()["OpenIDConnectProviderList"],
        json!([])
    );

    ci.iam("DeleteOpenIDConnectProvider", of(json!({})))
        .await
        .unwrap();
    for name in ["GetOpenIDConnectProvider", "DeleteOpenIDConnectProvider"] {
        let gone = told(ci.iam(name, of(json!({}))).await.unwrap_err());
        assert_eq!((gone.0, gone.1.as_str()), (404, "NoSuchEntity"));
    }
}
