//! Every operation of IAM over a registry in memory: what it answers, and what it
//! refuses. The endpoint holds all of it against the model.

mod denials;
pub(in crate::operations) mod endpoint;
mod identities;
mod keys;
mod managed;
mod policies;
mod simulation;

use serde_json::{Value, json};

use self::endpoint::Endpoint;
use crate::api::Api;
use crate::error::ApiError;
use crate::model::Models;
use crate::operations::{Handler, handler};

/// Lets everybody of the cluster's second account assume a role.
const TRUST: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Principal": {"AWS": "210987654321"}, "Action": "sts:AssumeRole"}]}"#;
const PULL: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
    "Action": "ecr:BatchGetImage", "Resource": "*"}]}"#;
const READ_ONLY: &str = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly";

struct Iam(Endpoint);

impl Iam {
    async fn start() -> Self {
        Self(Endpoint::start().await)
    }

    async fn ask(&self, name: &str, input: Value) -> Result<Value, ApiError> {
        self.0.call(Api::Iam, name, input).await
    }

    /// What has to succeed.
    async fn get(&self, name: &str, input: Value) -> Value {
        let shown = input.to_string();
        let answer = self.ask(name, input).await;
        answer.unwrap_or_else(|error| panic!("{name} {shown}: {error:?}"))
    }

    /// Status, code and message of what has to be refused.
    async fn refused(&self, name: &str, input: Value) -> (u16, String, String) {
        let error = self.ask(name, input).await.unwrap_err();
        (
            error.status.as_u16(),
            error.code.into_owned(),
            error.message,
        )
    }

    async fn user(&self, name: &str) {
        self.get("CreateUser", json!({"UserName": name})).await;
    }

    async fn group(&self, name: &str) {
        self.get("CreateGroup", json!({"GroupName": name})).await;
    }

    async fn role(&self, name: &str) {
        let input = json!({"RoleName": name, "AssumeRolePolicyDocument": TRUST});
        self.get("CreateRole", input).await;
    }

    /// Its ARN.
    async fn policy(&self, name: &str) -> String {
        let input = json!({"PolicyName": name, "PolicyDocument": PULL});
        let made = self.get("CreatePolicy", input).await;
        made["Policy"]["Arn"].as_str().unwrap().to_owned()
    }

    /// All items of a list of pages of one, and how many pages there were.
    async fn paged(&self, name: &str, list: &str, mut input: Value) -> Vec<Value> {
        let mut items = Vec::new();
        loop {
            input["MaxItems"] = 1.into();
            let page = self.get(name, input.clone()).await;
            let found = page[list].as_array().unwrap();
            assert!(found.len() <= 1, "{page}");
            items.extend(found.iter().cloned());
            let is_last = page["IsTruncated"] == json!(false);
            assert_eq!(is_last, page["Marker"].is_null(), "{page}");
            if is_last {
                return items;
            }
            input["Marker"] = page["Marker"].clone();
        }
    }
}

fn error(status: u16, code: &str, message: &str) -> (u16, String, String) {
    (status, code.to_owned(), message.to_owned())
}

fn missing(what: &str) -> (u16, String, String) {
    error(404, "NoSuchEntity", what)
}

fn names(items: &[Value], name: &str) -> Vec<String> {
    let text = |item: &Value| item[name].as_str().unwrap().to_owned();
    items.iter().map(text).collect()
}

#[tokio::test]
async fn a_marker_that_is_none_is_refused() {
    let iam = Iam::start().await;
    let refused = iam
        .refused("ListUsers", json!({"Marker": "nonsense"}))
        .await;
    assert_eq!(refused, error(400, "ValidationError", "Invalid Marker."));
}

#[test]
fn every_operation_is_carried_out() {
    let models = Models::load().unwrap();
    for api in [Api::Iam, Api::Sts] {
        for operation in models.service(api).operations() {
            let found = handler(api, &operation.name);
            let works = matches!(found, Some(Handler::Works(_)));
            assert!(works, "{}", operation.name);
        }
    }
}
