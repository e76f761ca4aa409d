//! What goes wrong under `docker-credential-entrepot get`, and the one line that
//! says so, without a secret.

use std::net::TcpListener;

use crate::fake_registry::{Answer, FakeRegistry};
use crate::run::{Run, credential_helper};

const SECRET: &str = "hush/secret";
const SESSION_TOKEN: &str = "hush-token";

/// `get` for `server`, which is named, and nothing more.
fn bare(server: &str) -> Run {
    credential_helper("get")
        .env("ENTREPOT_REGISTRIES", server)
        .stdin(server.as_bytes())
}

fn get(server: &str) -> Run {
    bare(server)
        .env("AWS_ACCESS_KEY_ID", "AKIA5")
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_SESSION_TOKEN", SESSION_TOKEN)
        .env("AWS_REGION", "eu-west-1")
}

/// What is said when the registry answers so.
async fn refusal(answer: Answer) -> String {
    let registry = FakeRegistry::start(answer);
    let refusal = get(&registry.http()).refusal().await;
    registry.only();
    assert!(!refusal.contains("hush"), "{refusal}");
    refusal.replace(&registry.authority, "SERVER")
}

#[tokio::test]
async fn a_key_that_is_not_accepted() {
    for kind in [
        "UnrecognizedClientException",
        "com.amazon.coral.service#InvalidSignatureException",
    ] {
        assert_eq!(
            refusal(Answer::error(400, kind, "The security token is\ninvalid.")).await,
            "SERVER does not accept the access key AKIA5 of AWS_ACCESS_KEY_ID (The security token \
             is invalid.): check the key, its secret, the region and this machine's clock"
        );
    }
    assert_eq!(
        refusal(Answer::error(400, "ExpiredTokenException", "It is over")).await,
        "the temporary access key AKIA5 of AWS_ACCESS_KEY_ID has expired (It is over): get a new \
         one"
    );
    for status in [400, 403] {
        assert_eq!(
            refusal(Answer::error(status, "AccessDeniedException", "no")).await,
            "SERVER gives no token to the access key AKIA5 (no): ask an administrator of the \
             registry for the permission ecr:GetAuthorizationToken"
        );
    }
}

#[tokio::test]
async fn other_errors_of_the_registry() {
    assert_eq!(
        refusal(Answer::error(400, "InvalidParameterException", "")).await,
        "SERVER gives no token: InvalidParameterException"
    );
    assert_eq!(
        refusal(Answer::error(500, "ServerException", "oops")).await,
        "SERVER cannot give a token now (oops): try again"
    );
    assert_eq!(
        refusal(Answer::error(400, "ThrottlingException", "Rate exceeded")).await,
        "SERVER cannot give a token now (Rate exceeded): try again"
    );
    assert_eq!(
        refusal(Answer::new(503, "<html>")).await,
        "SERVER cannot give a token now (HTTP 503): try again"
    );
}

#[tokio::test]
async fn what_answers_is_no_registry_of_ours() {
    let not_ecr = |status: u16| {
        format!(
            "what answers at SERVER does not know ECR's API (HTTP {status}): check that it is an \
             Entrepot registry, and that a proxy before it passes `POST /` on"
        )
    };
    assert_eq!(
        refusal(Answer::new(404, "404 page not found\n")).await,
        not_ecr(404)
    );
    // A signature is for the registry alone: no redirection is followed.
    let elsewhere = FakeRegistry::start(Answer::token());
    let location = format!("Location: {}/\r\n", elsewhere.http());
    for status in [301, 307] {
        let answer = Answer {
            headers: location.clone(),
            ..Answer::new(status, "")
        };
        assert_eq!(refusal(answer).await, not_ecr(status));
    }
    assert!(elsewhere.sent().is_empty());

    for body in [
        "<html>",
        "{}",
        r#"{"authorizationData": []}"#,
        r#"{"authorizationData": [{"authorizationToken": "?"}]}"#,
        // `AWS:`
        r#"{"authorizationData": [{"authorizationToken": "QVdTOg=="}]}"#,
    ] {
        assert_eq!(
            refusal(Answer::new(200, body)).await,
            "the answer of SERVER holds no token: check that it is an Entrepot registry, as new \
             as this program"
        );
    }
    let endless = Answer::new(200, " ".repeat(300 * 1024));
    assert!(
        refusal(endless)
            .await
            .starts_with("the connection to SERVER broke (")
    );
}

#[tokio::test]
async fn a_secret_that_the_registry_repeats_is_not_shown() {
    let message = format!("to sign: x-amz-security-token:{SESSION_TOKEN}\n{SECRET} \x1b[2J");
    let refusal = refusal(Answer::error(400, "InvalidSignatureException", &message)).await;
    assert!(
        refusal.contains("(to sign: x-amz-security-token:... ... [2J)"),
        "{refusal}"
    );
}

#[tokio::test]
async fn nobody_answers() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert_eq!(
        get(&closed.to_string()).refusal().await,
        format!(
            "{closed} does not answer (connection refused): check the registry's name and port, \
             and that it is running"
        )
    );
    let refusal = get("no-such-host.invalid").refusal().await;
    assert!(
        refusal.starts_with("no-such-host.invalid does not answer ("),
        "{refusal}"
    );
}

#[tokio::test]
async fn a_proxy_leads_nowhere() {
    let proxy = FakeRegistry::start(Answer::new(403, ""));
    let url = format!("http://user:hush@{}", proxy.authority);
    let refusal = get("registry.invalid")
        .env("HTTPS_PROXY", &url)
        .refusal()
        .await;
    assert!(
        refusal.starts_with("the proxy that HTTPS_PROXY names leads to no registry.invalid ("),
        "{refusal}"
    );
    assert!(!refusal.contains("hush"), "{refusal}");
    assert_eq!(proxy.only().line, "CONNECT registry.invalid:443 HTTP/1.1");

    let around = get("registry.invalid").env("HTTPS_PROXY", &url);
    let around = around.env("NO_PROXY", "registry.invalid").refusal().await;
    assert!(
        around.starts_with("registry.invalid does not answer ("),
        "{around}"
    );
    // This machine is never asked by way of another.
    let registry = FakeRegistry::start(Answer::token());
    let run = get(&registry.http()).env("HTTPS_PROXY", &url);
    assert_ne!(run.answer().await, "");
    proxy.only();
}

#[tokio::test]
async fn no_answer_in_time() {
    // Connects, and is never served.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap().to_string();
    for server in [server.clone(), format!("http://{server}")] {
        let refusal = get(&server)
            .env("ENTREPOT_TIMEOUT", "200ms")
            .refusal()
            .await;
        assert!(
            refusal.ends_with("did not answer within 200ms: try again"),
            "{refusal}"
        );
    }
    let refusal = get(&server).env("ENTREPOT_TIMEOUT", "soon").refusal().await;
    assert_eq!(
        refusal,
        "ENTREPOT_TIMEOUT must be a time between 1ms and 1h, such as 30s"
    );
}

#[tokio::test]
async fn a_registry_without_tls_is_not_asked_without_unless_it_is_this_machine() {
    let registry = FakeRegistry::start(Answer::token());
    let server = format!("https://{}", registry.authority);
    let refusal = get(&server).refusal().await;
    assert_eq!(
        refusal.replace(&registry.authority, "SERVER"),
        "what answers at SERVER does not speak TLS: check the port, or name the registry as \
         http://SERVER in ENTREPOT_REGISTRIES if your network may read what is sent"
    );
    assert!(registry.sent().is_empty());
}

#[tokio::test]
async fn no_key_is_found() {
    let server = "registry.example.com";
    assert_eq!(
        bare(server).refusal().await,
        "no access key: set ENTREPOT_ACCESS_KEY_ID and ENTREPOT_SECRET_ACCESS_KEY, or write \
         aws_access_key_id and aws_secret_access_key below [default] in \
         /nonexistent/.aws/credentials"
    );
    assert_eq!(
        bare(server)
            .env("ENTREPOT_SECRET_ACCESS_KEY", "hush")
            .refusal()
            .await,
        "ENTREPOT_SECRET_ACCESS_KEY is set and ENTREPOT_ACCESS_KEY_ID is not: set both, or neither"
    );
    assert_eq!(
        bare(server).env("AWS_PROFILE", "ci").refusal().await,
        "there is no profile \"ci\" in /nonexistent/.aws/credentials: AWS_PROFILE names it"
    );
    assert_eq!(
        get(server)
            .env("AWS_ACCESS_KEY_ID", "AKIA 5")
            .refusal()
            .await,
        "what AWS_ACCESS_KEY_ID holds is no access key ID: letters and digits are expected"
    );
}

#[tokio::test]
async fn a_file_of_profiles_that_is_broken() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    let place = file.display().to_string();
    let refusal = async |text: &str| {
        std::fs::write(&file, text).unwrap();
        let run = bare("registry.example.com").env("AWS_SHARED_CREDENTIALS_FILE", &place);
        run.refusal().await.replace(&place, "FILE")
    };
    assert_eq!(
        refusal("[default]\nhush\n").await,
        "FILE, line 2: [profile] or key = value is expected"
    );
    assert_eq!(
        refusal("[default]\naws_access_key_id = AKIA5\nsso_session = x\n").await,
        "the profile \"default\" of FILE has no access key: write aws_access_key_id and \
         aws_secret_access_key there, or set ENTREPOT_ACCESS_KEY_ID and ENTREPOT_SECRET_ACCESS_KEY"
    );
}

#[tokio::test]
async fn no_region_is_found() {
    let server = "registry.example.com";
    assert_eq!(
        get(server).env("AWS_REGION", "").refusal().await,
        "no region is known for registry.example.com: set ENTREPOT_REGION (or AWS_REGION) to the \
         region of the registry, such as eu-west-1, or write `region = ...` into \
         /nonexistent/.aws/config"
    );
    let refusal = get(server).env("AWS_REGION", "Europe").refusal().await;
    assert!(
        refusal.starts_with("the region in AWS_REGION cannot be: invalid region name \"Europe\""),
        "{refusal}"
    );
}

#[tokio::test]
async fn authorities_that_cannot_be_read() {
    let server = "https://127.0.0.1:1";
    assert_eq!(
        get(server)
            .env("ENTREPOT_CA_FILE", "/nonexistent/ca.pem")
            .refusal()
            .await,
        "there is no file /nonexistent/ca.pem, which ENTREPOT_CA_FILE names"
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, "hush").unwrap();
    let place = file.display().to_string();
    assert_eq!(
        get(server).env("ENTREPOT_CA_FILE", &place).refusal().await,
        format!("{place} does not hold certificate authorities: PEM is expected")
    );
}

#[tokio::test]
async fn lists_of_registries_that_make_no_sense() {
    let run = get("registry.example.com").env("ENTREPOT_REGISTRIES", "a.example b.example");
    assert_eq!(
        run.refusal().await,
        "ENTREPOT_REGISTRIES holds \"a.example b.example\": hosts parted by commas are expected, \
         such as registry.example.com:5000,*.dkr.ecr.eu-west-1.example.com"
    );
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), "{").unwrap();
    let folder = dir.path().display().to_string();
    assert_eq!(
        get("registry.example.com")
            .env("DOCKER_CONFIG", &folder)
            .refusal()
            .await,
        format!("{folder}/config.json is no configuration of docker or podman: JSON is expected")
    );
    assert_eq!(
        get("a b").env("ENTREPOT_REGISTRIES", "").refusal().await,
        "standard input does not hold a registry: a host is expected, with its port if any"
    );
}
