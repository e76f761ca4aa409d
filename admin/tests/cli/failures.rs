//! What goes wrong, and the one line that says so.

use std::io::Write;

use entrepot_proto::admin::Registry;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tonic::{Code, Status};

use crate::fake::{Fake, State, sample};
use crate::run::entrepot;

/// What `command` complains about when the node answers with `status`.
async fn complaint(command: &str, status: Status) -> String {
    let failures = [Some(status)].into();
    let fake = Fake::start(State {
        failures,
        ..sample()
    })
    .await;
    let complaint = entrepot(command).asking(&fake).complaint().await;
    complaint.replace(&fake.url(), "URL")
}

/// A port that nobody listens on.
async fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Accepts one connection, reads a little, answers with `bytes` and closes.
async fn answering(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        let mut stream = stream.into_std().unwrap();
        let _ = stream.write_all(bytes);
    });
    url
}

#[tokio::test]
async fn nobody_listens() {
    let url = closed_port().await;
    let complaint = entrepot("rule list").asking_at(&url).complaint().await;
    assert_eq!(
        complaint,
        format!(
            "no node answers at {url} (connection refused): check that the node is running and \
             that --endpoint or ENTREPOT_ENDPOINT names its client port"
        )
    );
}

#[tokio::test]
async fn no_such_host() {
    let url = "http://no-such-host.invalid:5000";
    let complaint = entrepot("rule list").asking_at(url).complaint().await;
    assert!(
        complaint.starts_with(&format!("no node answers at {url} (")),
        "{complaint}"
    );
}

#[tokio::test]
async fn the_listener_is_no_node() {
    let url = answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let complaint = entrepot("rule list").asking_at(&url).complaint().await;
    assert!(
        complaint.starts_with(&format!("the connection to {url} broke (")),
        "{complaint}"
    );
    assert!(
        complaint.ends_with(
            "check that --endpoint names a node's client port, with https:// if that has a certificate"
        ),
        "{complaint}"
    );
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_change_leaves_the_outcome_open() {
    let url = answering(b"").await;
    let complaint = entrepot("rule delete nightly")
        .asking_at(&url)
        .complaint()
        .await;
    assert!(complaint.contains("broke"), "{complaint}");
    assert!(complaint.contains("may have been made"), "{complaint}");
}

#[tokio::test]
async fn no_answer_in_time() {
    let fake = Fake::start(State {
        hangs: true,
        ..State::default()
    })
    .await;
    let url = fake.url();
    let complaint = async |command: &str| entrepot(command).asking(&fake).complaint().await;
    assert_eq!(
        complaint("rule list --timeout 200ms").await,
        format!("{url} did not answer within 200ms: try again, or ask another node by --endpoint")
    );
    assert_eq!(
        complaint("rule delete nightly --timeout 200ms").await,
        format!(
            "{url} did not answer within 200ms: the change may have been made all the same, \
             `entrepot rule list` tells; if not, try again, or ask another node by --endpoint"
        )
    );
    for (command, tells) in [
        (
            "registry set --create-on-push on",
            "`entrepot registry show` tells",
        ),
        (
            "repository set team/app --sparse-indexes allow",
            "`entrepot repository show` tells",
        ),
        (
            "repository create team/app",
            "`entrepot repository list` tells",
        ),
    ] {
        let complaint = complaint(&format!("{command} --timeout 200ms")).await;
        assert!(complaint.contains(tells), "{complaint}");
    }
}

#[tokio::test]
async fn wrong_credentials() {
    let fake = Fake::start(sample()).await;
    let run = entrepot("rule list")
        .asking(&fake)
        .env("ENTREPOT_PASSWORD", "hush");
    assert_eq!(
        run.complaint().await,
        "the node does not accept the user \"root\" with this password: check --user or \
         ENTREPOT_USER, and where the password comes from"
    );
}

#[tokio::test]
async fn unknown_names() {
    let fake = Fake::start(sample()).await;
    let complaint = async |command: &str| entrepot(command).asking(&fake).complaint().await;
    assert_eq!(
        complaint("image list no/such").await,
        "there is no repository no/such: `entrepot repository list` shows those there are"
    );
    for command in [
        "show no/such",
        "set no/such --sparse-indexes allow",
        "delete no/such --yes",
    ] {
        assert_eq!(
            complaint(&format!("repository {command}")).await,
            "there is no repository no/such: `entrepot repository list` shows those there are"
        );
    }
    assert_eq!(
        complaint("rule delete no-such").await,
        "there is no rule \"no-such\": `entrepot rule list` shows those there are"
    );
}

#[tokio::test]
async fn a_status_of_each_kind_has_its_sentence() {
    let list = "rule list";
    for (command, status, expected) in [
        (
            "replication status no/such",
            Status::not_found("x"),
            "there is no repository no/such: `entrepot repository list` shows those there are",
        ),
        (
            "rule put a --to nowhere",
            Status::not_found("region nowhere"),
            "the node knows no such thing (region nowhere): check the names in the command",
        ),
        (
            list,
            Status::unavailable("no leader of region/us-east-1/0"),
            "URL cannot serve this now (no leader of region/us-east-1/0): try again, or ask \
             another node by --endpoint",
        ),
        (
            "rule put a --to b",
            Status::deadline_exceeded("the outcome is unknown"),
            "URL cannot serve this now (the outcome is unknown): the change may have been made \
             all the same, `entrepot rule list` tells; if not, try again, or ask another node by \
             --endpoint",
        ),
        (
            list,
            Status::permission_denied("rules are the root user's"),
            "the user \"root\" may not do this (rules are the root user's): ask an administrator \
             of the registry for the permission",
        ),
        (
            "rule put a --to b",
            Status::failed_precondition("a registry has at most 10 rules"),
            "the node refuses this: a registry has at most 10 rules",
        ),
        (
            list,
            Status::unimplemented(""),
            "what listens at URL does not know this request (operation is not implemented or not \
             supported): check that --endpoint names a node's client port and that the node is as \
             new as this client",
        ),
        (
            list,
            Status::internal("request 7f3a"),
            "the node failed (request 7f3a): its log says more; try again, or ask another node by \
             --endpoint",
        ),
    ] {
        assert_eq!(complaint(command, status).await, expected);
    }
}

#[tokio::test]
async fn a_nodes_words_stay_on_one_line_and_end() {
    let status = Status::new(
        Code::InvalidArgument,
        format!("a\n\x1b[2J{}", "é".repeat(1000)),
    );
    let complaint = complaint("rule list", status).await;
    assert_eq!(
        complaint,
        format!("the node refuses this: a [2J{}...", "é".repeat(295))
    );
}

#[tokio::test]
async fn a_list_that_goes_in_circles_ends() {
    let fake = Fake::start(State {
        circles: true,
        ..sample()
    })
    .await;
    assert_eq!(
        entrepot("repository list").asking(&fake).complaint().await,
        "the node's answer makes no sense (a page that names itself as the next): check that the \
         node and this client are of the same version"
    );
}

#[tokio::test]
async fn a_registry_without_settings_makes_no_sense() {
    let fake = Fake::start(State::default()).await;
    for registry in [None, Some(Registry::default())] {
        fake.state.lock().unwrap().registry = registry;
        let complaint = entrepot("registry show").asking(&fake).complaint().await;
        assert!(complaint.contains("makes no sense"), "{complaint}");
    }
}

#[tokio::test]
async fn a_repository_without_settings_makes_no_sense() {
    let fake = Fake::start(sample()).await;
    fake.state.lock().unwrap().repositories[1].settings = None;
    let run = entrepot("repository show team/app").asking(&fake);
    let complaint = run.complaint().await;
    assert!(complaint.contains("makes no sense"), "{complaint}");
}

#[tokio::test]
async fn a_page_that_fails_fails_the_whole_list() {
    let fake = Fake::start(sample()).await;
    {
        let mut state = fake.state.lock().unwrap();
        let one = state.repositories[0].clone();
        state.repositories = vec![one; 1500];
        state.failures = [None, Some(Status::unavailable("gone"))].into();
    }
    let outcome = entrepot("repository list").asking(&fake).outcome().await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""));
}

#[tokio::test]
async fn credentials_that_cannot_be_had() {
    let no_user = "no user is given: use --user or set ENTREPOT_USER";
    assert_eq!(entrepot("rule list").complaint().await, no_user);
    let run = entrepot("rule list").env("ENTREPOT_USER", "");
    assert_eq!(run.complaint().await, no_user);
    let run = entrepot("rule list --user a:b");
    assert!(
        run.complaint()
            .await
            .starts_with("the user name holds a colon")
    );
    assert_eq!(
        entrepot("rule list --user root").complaint().await,
        "no password is given: set ENTREPOT_PASSWORD, or use --password-file FILE or \
         --password-stdin"
    );
    assert_eq!(
        entrepot("rule list --user root --password-stdin")
            .complaint()
            .await,
        "standard input does not hold a password: one line is expected, the password alone"
    );
    let run = entrepot("rule list --user root --password-file /no/such");
    let complaint = run.complaint().await;
    assert!(
        complaint.starts_with("cannot read the password from /no/such: "),
        "{complaint}"
    );
}
