//! `docker-credential-entrepot` as docker runs it.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};

use crate::fake_registry::{Answer, FakeRegistry, PASSWORD};
use crate::golden;
use crate::run::{Run, credential_helper};
use crate::tls::Authority;

const KEY: &str = "AKIA5EXAMPLE7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// `get` for `server`, which is named, with a key and a region.
fn get(server: &str) -> Run {
    named(server)
        .env("ENTREPOT_ACCESS_KEY_ID", KEY)
        .env("ENTREPOT_SECRET_ACCESS_KEY", SECRET)
        .env("ENTREPOT_REGION", "eu-west-1")
}

/// `get` for `server`, which is named.
fn named(server: &str) -> Run {
    credential_helper("get")
        .env("ENTREPOT_REGISTRIES", server)
        .stdin(format!("{server}\n").as_bytes())
}

fn login(server: &str) -> Value {
    json!({"ServerURL": server, "Username": "AWS", "Secret": PASSWORD})
}

async fn answer(run: Run) -> Value {
    serde_json::from_str(&run.answer().await).unwrap()
}

#[tokio::test]
async fn a_token_is_the_login() {
    let registry = FakeRegistry::start(Answer::token());
    let server = registry.http();
    assert_eq!(answer(get(&server)).await, login(&server));

    let sent = registry.only();
    assert_eq!(sent.line, "POST / HTTP/1.1");
    assert_eq!(sent.header("host"), registry.authority);
    assert_eq!(
        sent.header("x-amz-target"),
        "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"
    );
    assert_eq!(sent.header("content-type"), "application/x-amz-json-1.1");
    assert_eq!(sent.body, b"{}");
    assert_eq!(sent.key_and_region(), (KEY, "eu-west-1"));
    assert_eq!(
        sent.signed("SignedHeaders"),
        "content-type;host;x-amz-date;x-amz-target"
    );
    assert!(sent.is_signed_by(SECRET) && !sent.is_signed_by("other"));
}

#[tokio::test]
async fn temporary_credentials_bring_their_token() {
    let registry = FakeRegistry::start(Answer::token());
    let server = registry.http();
    let run = get(&server).env("ENTREPOT_SESSION_TOKEN", "IQoJb3/+==");
    assert_eq!(answer(run).await, login(&server));
    let sent = registry.only();
    assert_eq!(sent.header("x-amz-security-token"), "IQoJb3/+==");
    assert!(
        sent.signed("SignedHeaders")
            .contains("x-amz-security-token")
    );
    assert!(sent.is_signed_by(SECRET));
}

/// The key and the region that a run's request was signed with.
async fn signed_with(add: impl FnOnce(Run) -> Run) -> (String, String) {
    let registry = FakeRegistry::start(Answer::token());
    let server = registry.http();
    assert_eq!(answer(add(named(&server))).await, login(&server));
    let sent = registry.only();
    let (key, region) = sent.key_and_region();
    assert!(sent.is_signed_by(&format!("secret-of-{key}")), "{sent:?}");
    (key.to_owned(), region.to_owned())
}

fn key(run: Run, prefix: &str, id: &str) -> Run {
    run.env(&format!("{prefix}_ACCESS_KEY_ID"), id).env(
        &format!("{prefix}_SECRET_ACCESS_KEY"),
        &format!("secret-of-{id}"),
    )
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
    std::fs::write(dir.join(name), text).unwrap();
}

/// A user's folder with two profiles, in the places of AWS.
fn home(dir: &Path) -> String {
    write(
        dir,
        ".aws/credentials",
        "[default]\naws_access_key_id = AKIADEFAULT\n\
         aws_secret_access_key = secret-of-AKIADEFAULT\n\
         [ci]\naws_access_key_id = AKIACI\naws_secret_access_key = secret-of-AKIACI\n",
    );
    write(
        dir,
        ".aws/config",
        "[default]\nregion = us-east-1\n[profile ci]\nregion = ap-south-1\n",
    );
    dir.display().to_string()
}

#[tokio::test]
async fn key_and_region_come_from_the_first_place_that_has_one() {
    let dir = tempfile::tempdir().unwrap();
    let home = home(dir.path());
    let pair = |key: &str, region: &str| (key.to_owned(), region.to_owned());

    let default = signed_with(|run| run.env("HOME", &home)).await;
    assert_eq!(default, pair("AKIADEFAULT", "us-east-1"));

    let profile = |run: Run| run.env("HOME", &home).env("AWS_PROFILE", "ci");
    assert_eq!(signed_with(profile).await, pair("AKIACI", "ap-south-1"));

    let aws = |run: Run| {
        key(profile(run), "AWS", "AKIAAWS")
            .env("AWS_DEFAULT_REGION", "aws-default-1")
            // Set and empty is not set.
            .env("ENTREPOT_ACCESS_KEY_ID", "")
    };
    assert_eq!(signed_with(aws).await, pair("AKIAAWS", "aws-default-1"));

    let region = |run: Run| aws(run).env("AWS_REGION", "aws-1");
    assert_eq!(signed_with(region).await, pair("AKIAAWS", "aws-1"));

    let own = |run: Run| key(region(run), "ENTREPOT", "AKIAOWN").env("ENTREPOT_REGION", "own-1");
    assert_eq!(signed_with(own).await, pair("AKIAOWN", "own-1"));
}

#[tokio::test]
async fn the_files_of_profiles_may_lie_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    home(dir.path());
    let file = |name: &str| dir.path().join(name).display().to_string();
    let elsewhere = |run: Run| {
        run.env("AWS_SHARED_CREDENTIALS_FILE", &file(".aws/credentials"))
            .env("AWS_CONFIG_FILE", &file(".aws/config"))
    };
    let signed = signed_with(elsewhere).await;
    assert_eq!(signed, ("AKIADEFAULT".to_owned(), "us-east-1".to_owned()));
}

#[tokio::test]
async fn a_registry_in_docker_s_credential_helpers_is_named() {
    let registry = FakeRegistry::start(Answer::token());
    let server = &registry.authority;
    let dir = tempfile::tempdir().unwrap();
    let config = json!({"credHelpers": {server.as_str(): "entrepot", "gcr.io": "gcloud"}});
    write(dir.path(), ".docker/config.json", &config.to_string());
    let home = dir.path().display().to_string();
    // As docker names it. This machine speaks no TLS, so it is asked without.
    let run = get(server)
        .env("ENTREPOT_REGISTRIES", "")
        .env("HOME", &home);
    assert_eq!(answer(run).await, login(server));
    assert!(registry.only().is_signed_by(SECRET));

    let list = credential_helper("list").env("HOME", &home);
    assert_eq!(answer(list).await, json!({server.as_str(): "AWS"}));
}

#[tokio::test]
async fn a_registry_that_is_not_named_is_sent_nothing() {
    let registry = FakeRegistry::start(Answer::token());
    let run = get(&registry.authority).env("ENTREPOT_REGISTRIES", "registry.example.com");
    let outcome = run.outcome().await;
    assert_eq!(
        (
            outcome.code,
            outcome.stdout.as_str(),
            outcome.stderr.as_str()
        ),
        (1, "credentials not found in native keychain\n", "")
    );
    // Nothing is named at all: people are told, docker is told the same.
    let run = get("index.docker.io").env("ENTREPOT_REGISTRIES", "");
    let outcome = run.outcome().await;
    assert_eq!(outcome.stdout, "credentials not found in native keychain\n");
    assert_eq!(
        outcome.stderr,
        "docker-credential-entrepot: index.docker.io is not named as a registry of yours: set \
         ENTREPOT_REGISTRIES=index.docker.io, or put {\"credHelpers\": {\"index.docker.io\": \
         \"entrepot\"}} into ~/.docker/config.json\n"
    );
    assert!(registry.sent().is_empty());
}

/// A registry with a certificate of `ca` for 127.0.0.1.
fn tls_registry(ca: &Authority) -> FakeRegistry {
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca.issuer()).unwrap();
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    FakeRegistry::start_tls(Answer::token(), config)
}

#[tokio::test]
async fn a_certificate_of_an_authority_that_is_trusted_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca.pem");
    let registry = tls_registry(&ca);
    let server = &registry.authority;
    for variable in ["ENTREPOT_CA_FILE", "SSL_CERT_FILE"] {
        let run = get(server).env(variable, &ca.file().display().to_string());
        assert_eq!(answer(run).await, login(server));
    }
    let all_signed = registry.sent().iter().all(|sent| sent.is_signed_by(SECRET));
    assert!(all_signed);
}

#[tokio::test]
async fn any_other_certificate_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let registry = tls_registry(&Authority::new(dir.path(), "ca.pem"));
    let other = Authority::new(dir.path(), "other.pem");
    let server = &registry.authority;
    let run = get(server).env("ENTREPOT_CA_FILE", &other.file().display().to_string());
    let refusal = run.refusal().await;
    assert!(
        refusal.starts_with(&format!(
            "what answers at {server} does not prove to be {server} ("
        )),
        "{refusal}"
    );
    // Not without TLS either.
    assert!(registry.sent().is_empty());
}

#[tokio::test]
async fn a_login_with_a_token_is_taken_and_forgotten() {
    let login = login("registry.example.com").to_string();
    let run = credential_helper("store")
        .env("ENTREPOT_REGISTRIES", "registry.example.com")
        .stdin(login.as_bytes());
    assert_eq!(run.answer().await, "");
    assert_eq!(
        credential_helper("erase")
            .stdin(b"registry.example.com")
            .answer()
            .await,
        ""
    );
}

#[tokio::test]
async fn a_login_that_would_be_lost_is_refused() {
    for (server, user) in [("registry.example.com", "root"), ("gcr.io", "AWS")] {
        let login = json!({"ServerURL": server, "Username": user, "Secret": "hush"});
        let run = credential_helper("store")
            .env("ENTREPOT_REGISTRIES", "registry.example.com")
            .stdin(login.to_string().as_bytes());
        assert_eq!(
            run.refusal().await,
            "no login is kept, since the registry is asked for one with your access key when docker \
             needs it: no `docker login` is needed, see `docker-credential-entrepot --help`"
        );
    }
}

#[tokio::test]
async fn what_docker_leaves_out_is_said_in_the_protocol_s_words() {
    for (verb, input, text) in [
        ("get", " \n", "no credentials server URL"),
        ("erase", "", "no credentials server URL"),
        (
            "store",
            r#"{"Username": "AWS"}"#,
            "no credentials server URL",
        ),
        (
            "store",
            r#"{"ServerURL": "r.example"}"#,
            "no credentials username",
        ),
    ] {
        let run = credential_helper(verb).stdin(input.as_bytes());
        assert_eq!(run.refusal().await, text, "{verb}");
    }
}

#[tokio::test]
async fn list_holds_what_is_named_one_by_one() {
    let run = credential_helper("list").env(
        "ENTREPOT_REGISTRIES",
        "https://b.example:5000, *.c.example,a.example",
    );
    assert_eq!(
        run.answer().await,
        "{\"a.example\":\"AWS\",\"b.example:5000\":\"AWS\"}\n"
    );
    assert_eq!(credential_helper("list").answer().await, "{}\n");
}

#[tokio::test]
async fn help_and_version() {
    let help = credential_helper("--help").answer().await;
    golden::check("credential-help.txt", &help);
    let nothing = credential_helper("").outcome().await;
    assert_eq!((nothing.code, nothing.stdout.as_str()), (2, ""));
    let unknown = credential_helper("fetch").outcome().await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""));
    golden::check("credential-usage-unknown-verb.txt", &unknown.stderr);
    assert_eq!(
        credential_helper("version").answer().await,
        format!(
            "docker-credential-entrepot ({}) {}\n",
            env!("CARGO_PKG_REPOSITORY"),
            env!("CARGO_PKG_VERSION")
        )
    );
}
