//! Requests of AWS's protocols, signed by AWS's own crate.

use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const REGION: &str = "us-east-1";

#[derive(Debug, Clone, Copy)]
pub(crate) enum Api {
    Ecr,
    Iam,
}

/// One caller at one node.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    endpoint: String,
    credentials: Credentials,
}

// === impl Client ===

impl Client {
    pub(crate) fn new(endpoint: &str, key_id: &str, secret: &str) -> Result<Self> {
        Ok(Self {
            http: entrepot_harness::http_client()
                .build()
                .context("make an HTTP client")?,
            endpoint: endpoint.to_owned(),
            credentials: Credentials::new(key_id, secret, None, None, "benchmark"),
        })
    }

    /// What an operation answers.
    pub(crate) async fn ask(&self, api: Api, operation: &str, input: Value) -> Result<Value> {
        let text = self.text(api, operation, &input).await?;
        match api {
            Api::Ecr => serde_json::from_str(&text).with_context(|| text.clone()),
            Api::Iam => Ok(Value::String(text)),
        }
    }

    async fn text(&self, api: Api, operation: &str, input: &Value) -> Result<String> {
        let (service, headers, body) = match api {
            Api::Ecr => (
                "ecr",
                vec![
                    ("content-type", "application/x-amz-json-1.1".to_owned()),
                    (
                        "x-amz-target",
                        format!("AmazonEC2ContainerRegistry_V20150921.{operation}"),
                    ),
                ],
                input.to_string(),
            ),
            Api::Iam => (
                "iam",
                vec![(
                    "content-type",
                    "application/x-www-form-urlencoded".to_owned(),
                )],
                form(operation, input),
            ),
        };
        let identity = self.credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(REGION)
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let url = format!("{}/", self.endpoint);
        let signed = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let body_bytes = SignableBody::Bytes(body.as_bytes());
        let request = SignableRequest::new("POST", &url, signed, body_bytes)?;
        let (instructions, _) = sign(request, &parameters)?.into_parts();
        let mut request = self.http.post(&url);
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        for (name, value) in instructions.headers() {
            request = request.header(name, value);
        }
        let response = request.body(body).send().await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "{operation}: {status} {text}");
        Ok(text)
    }

    /// The password of a token.
    pub(crate) async fn login(&self) -> Result<String> {
        let answer = self
            .ask(Api::Ecr, "GetAuthorizationToken", json!({}))
            .await?;
        let token = answer["authorizationData"][0]["authorizationToken"].as_str();
        let decoded = STANDARD.decode(token.with_context(|| answer.to_string())?)?;
        let text = String::from_utf8(decoded)?;
        let password = text
            .strip_prefix("AWS:")
            .context("a token of another user")?;
        Ok(password.to_owned())
    }

    /// A new user with a managed policy.
    pub(crate) async fn user(&self, name: &str, policy: &str) -> Result<Self> {
        let user = json!({"UserName": name});
        self.ask(Api::Iam, "CreateUser", user.clone()).await?;
        let attached = json!({"UserName": name, "PolicyArn": policy});
        self.ask(Api::Iam, "AttachUserPolicy", attached).await?;
        let key = self.text(Api::Iam, "CreateAccessKey", &user).await?;
        let between = |start: &str, end: &str| {
            let rest = key.split_once(start)?.1;
            rest.split_once(end).map(|(found, _)| found)
        };
        let key_id = between("<AccessKeyId>", "<").context("no key")?;
        let secret = between("<SecretAccessKey>", "<").context("no secret")?;
        Self::new(&self.endpoint, key_id, secret)
    }

    /// Lets everybody of the account read, on a condition; none: no policy.
    pub(crate) async fn set_policy(&self, repository: &str, on: Option<&Value>) -> Result<()> {
        let name = json!({"repositoryName": repository});
        let Some(condition) = on else {
            // There may be none.
            let _ = self.ask(Api::Ecr, "DeleteRepositoryPolicy", name).await;
            return Ok(());
        };
        let mut statement = json!({
            "Effect": "Allow",
            "Principal": {"AWS": "111122223333"},
            "Action": ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        });
        if condition.as_object().is_some_and(|it| !it.is_empty()) {
            statement["Condition"] = condition.clone();
        }
        let policy = json!({"Version": "2012-10-17", "Statement": [statement]});
        let input = json!({"repositoryName": repository, "policyText": policy.to_string()});
        self.ask(Api::Ecr, "SetRepositoryPolicy", input)
            .await
            .map(drop)
    }
}

fn form(operation: &str, input: &Value) -> String {
    let action = format!("Action={operation}&Version=2010-05-08");
    let parameters = input
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let value = value.as_str().unwrap_or_default();
            let escaped = value.replace(':', "%3A").replace('/', "%2F");
            format!("{name}={escaped}")
        });
    std::iter::once(action)
        .chain(parameters)
        .collect::<Vec<_>>()
        .join("&")
}
