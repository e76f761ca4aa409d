//! Help and usage errors are part of the interface: golden files.

use serde_json::{Map, Value};

use crate::fake::{Fake, sample};
use crate::golden;
use crate::run::entrepot;

async fn check_help(name: &str, command: &str) {
    let help = entrepot(command).argument("--help").answer().await;
    golden::check(name, &help);
}

async fn check_usage(name: &str, command: &str) {
    let outcome = entrepot(command).outcome().await;
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""));
    golden::check(name, &outcome.stderr);
}

#[tokio::test]
async fn help_of_the_program_and_its_groups() {
    check_help("help.txt", "").await;
    check_help("help-cluster.txt", "cluster").await;
    check_help("help-node.txt", "node").await;
    check_help("help-region.txt", "region").await;
    check_help("help-account.txt", "account").await;
    check_help("help-webhook.txt", "webhook").await;
    check_help("help-registry.txt", "registry").await;
    check_help("help-repository.txt", "repository").await;
    check_help("help-rule.txt", "rule").await;
    check_help("help-image.txt", "image").await;
    check_help("help-tag.txt", "tag").await;
    check_help("help-replication.txt", "replication").await;
    check_help("help-backfill.txt", "backfill").await;
    check_help("help-lifecycle.txt", "lifecycle").await;
    check_help("help-usage.txt", "usage").await;
    check_help("help-repair.txt", "repair").await;
    check_help("help-scrub.txt", "scrub").await;
    check_help("help-gc.txt", "gc").await;
}

#[tokio::test]
async fn help_of_each_command() {
    check_help("help-cluster-status.txt", "cluster status").await;
    check_help("help-node-list.txt", "node list").await;
    check_help("help-node-drain.txt", "node drain").await;
    check_help("help-node-remove.txt", "node remove").await;
    check_help("help-node-replace.txt", "node replace").await;
    check_help("help-node-token.txt", "node token").await;
    check_help("help-node-revoke.txt", "node revoke").await;
    check_help("help-region-add.txt", "region add").await;
    check_help("help-region-list.txt", "region list").await;
    check_help("help-region-remove.txt", "region remove").await;
    check_help("help-webhook-put.txt", "webhook put").await;
    check_help("help-webhook-list.txt", "webhook list").await;
    check_help("help-webhook-delete.txt", "webhook delete").await;
    check_help("help-webhook-test.txt", "webhook test").await;
    check_help("help-account-create.txt", "account create").await;
    check_help("help-account-list.txt", "account list").await;
    check_help("help-account-disable.txt", "account disable").await;
    check_help("help-account-enable.txt", "account enable").await;
    check_help("help-registry-show.txt", "registry show").await;
    check_help("help-registry-set.txt", "registry set").await;
    check_help("help-repository-create.txt", "repository create").await;
    check_help("help-repository-delete.txt", "repository delete").await;
    check_help("help-repository-show.txt", "repository show").await;
    check_help("help-repository-set.txt", "repository set").await;
    check_help("help-repository-list.txt", "repository list").await;
    check_help("help-rule-put.txt", "rule put").await;
    check_help("help-rule-list.txt", "rule list").await;
    check_help("help-rule-delete.txt", "rule delete").await;
    check_help("help-image-list.txt", "image list").await;
    check_help("help-image-restore.txt", "image restore").await;
    check_help("help-image-purge.txt", "image purge").await;
    check_help("help-image-archive.txt", "image archive").await;
    check_help("help-image-activate.txt", "image activate").await;
    check_help("help-tag-history.txt", "tag history").await;
    check_help("help-tag-restore.txt", "tag restore").await;
    check_help("help-replication-status.txt", "replication status").await;
    check_help("help-replication-wait.txt", "replication wait").await;
    check_help("help-backfill-start.txt", "backfill start").await;
    check_help("help-backfill-list.txt", "backfill list").await;
    check_help("help-backfill-show.txt", "backfill show").await;
    check_help("help-backfill-stop.txt", "backfill stop").await;
    check_help("help-lifecycle-put.txt", "lifecycle put").await;
    check_help("help-lifecycle-get.txt", "lifecycle get").await;
    check_help("help-lifecycle-delete.txt", "lifecycle delete").await;
    check_help("help-lifecycle-preview.txt", "lifecycle preview").await;
    check_help("help-lifecycle-run.txt", "lifecycle run").await;
    check_help("help-repair-status.txt", "repair status").await;
    check_help("help-scrub-start.txt", "scrub start").await;
    check_help("help-scrub-status.txt", "scrub status").await;
    check_help("help-gc-status.txt", "gc status").await;
    check_help("help-gc-run.txt", "gc run").await;
    check_help("help-check.txt", "check").await;
    check_help("help-image-delete.txt", "image delete").await;
}

/// The first JSON example of a help text.
fn json_example(help: &str) -> Value {
    let (_, example) = help.split_once("\n  {").unwrap();
    let text = format!("{{{example}");
    let mut examples = serde_json::Deserializer::from_str(&text).into_iter();
    examples.next().unwrap().unwrap()
}

/// What `value` is made of: names and nesting, a list of objects by its first.
fn shape(value: &Value) -> Value {
    match value {
        Value::Array(items) if items.first().is_some_and(Value::is_object) => {
            Value::Array(vec![shape(&items[0])])
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, field)| (name.clone(), shape(field)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        _ => Value::Null,
    }
}

#[tokio::test]
async fn help_shows_the_json_that_the_command_prints() {
    let fake = Fake::start(sample()).await;
    for (command, arguments) in [
        ("cluster status", ""),
        ("node list", ""),
        ("node drain", " 1 --no-wait"),
        ("node replace", " 3 --with 2 --force --yes"),
        ("node remove", " 2 --force --yes"),
        ("node token", " --region eu-west-1"),
        ("node revoke", " 1 --yes"),
        ("region add", " eu-west-1"),
        ("region list", ""),
        ("region remove", " eu-west-1 --yes"),
        ("account create", " 333333333333"),
        ("account list", ""),
        ("webhook list", ""),
        ("webhook put", " ci --url https://ci.example.com/"),
        ("webhook test", " ci"),
        ("webhook delete", " ci"),
        ("account disable", " 333333333333"),
        ("account enable", " 333333333333"),
        ("registry show", ""),
        ("registry set", " --create-on-push off"),
        ("repository create", " team/new"),
        ("repository show", " team/app"),
        ("repository set", " team/app --sparse-indexes allow"),
        ("repository list", ""),
        ("repository delete", " team/app --force --yes"),
        ("rule put", " new --to eu-west-1 --prefix team/"),
        ("rule list", ""),
        ("rule delete", " new"),
        ("image list", " team/app"),
        ("image archive", " team/app:1.4"),
        ("image activate", " team/app:1.4"),
        ("tag history", " team/app:latest"),
        ("tag restore", " team/app:latest --at 2h"),
        ("replication status", ""),
        ("replication wait", " team/app:1.4"),
        ("backfill start", " --to eu-west-1"),
        ("backfill list", ""),
        ("backfill show", " 0b0e4a2e-7ad2-4a1f-9d6c-2d7f1f0f9a11"),
        ("backfill stop", " 0b0e4a2e-7ad2-4a1f-9d6c-2d7f1f0f9a11"),
        ("usage", ""),
        ("lifecycle get", " team/app"),
        ("lifecycle preview", " team/app"),
        ("lifecycle run", " team/app --yes"),
        ("lifecycle delete", " team/app"),
        ("repair status", ""),
        ("scrub start", ""),
        ("scrub status", ""),
        ("gc status", ""),
        ("image delete", " team/app:1.4 --dry-run"),
    ] {
        let help = entrepot(command).argument("--help").answer().await;
        let run = entrepot(&format!("{command}{arguments} --json")).asking(&fake);
        let printed: Value = serde_json::from_str(&run.answer().await).unwrap();
        assert_eq!(shape(&json_example(&help)), shape(&printed), "{command}");
    }
}

#[tokio::test]
async fn help_shows_no_value_of_the_environment() {
    let help = entrepot("--help")
        .env("ENTREPOT_USER", "alice")
        .env("ENTREPOT_ENDPOINT", "https://inside:5000")
        .env("ENTREPOT_CA_FILE", "/etc/inside.pem")
        .env("ENTREPOT_PASSWORD", "hush")
        .answer()
        .await;
    golden::check("help.txt", &help);
}

#[tokio::test]
async fn wrong_usage_says_what_is_wrong_and_leaves_with_2() {
    check_usage("usage-nothing.txt", "").await;
    check_usage("usage-unknown-command.txt", "cluster statsu").await;
    check_usage("usage-rule-put-without-region.txt", "rule put nightly").await;
    check_usage("usage-registry-set-nothing.txt", "registry set").await;
    let maybe = "registry set --create-on-push maybe";
    check_usage("usage-registry-set-switch.txt", maybe).await;
    check_usage(
        "usage-repository-set-nothing.txt",
        "repository set team/app",
    )
    .await;
    let unconfirmed = "repository delete team/app --force";
    check_usage("usage-repository-delete-unconfirmed.txt", unconfirmed).await;
    let unconfirmed = "lifecycle put team/app --file policy.json";
    check_usage("usage-lifecycle-put-unconfirmed.txt", unconfirmed).await;
    check_usage("usage-region.txt", "rule put nightly --to Europe").await;
    check_usage("usage-repository.txt", "image list Team/App").await;
    check_usage("usage-timeout.txt", "--timeout 0s rule list").await;
    check_usage(
        "usage-endpoint-shape.txt",
        "--endpoint node-1:5000 rule list",
    )
    .await;
    check_usage(
        "usage-ca-file-without-tls.txt",
        "--ca-file ca.pem --endpoint http://node-1 rule list",
    )
    .await;
    // Must not repeat the password.
    let credentials = "--endpoint http://root:hush@node-1 rule list";
    check_usage("usage-endpoint-credentials.txt", credentials).await;
}

#[tokio::test]
async fn a_password_is_no_argument() {
    check_usage("usage-password.txt", "--password rule list").await;
}

#[tokio::test]
async fn two_places_for_the_password_are_refused_wherever_the_options_stand() {
    let together = "--password-file f --password-stdin rule list";
    check_usage("usage-two-passwords.txt", together).await;
    let apart = "--password-file f rule list --password-stdin";
    check_usage("usage-two-passwords.txt", apart).await;
}

#[tokio::test]
async fn the_version_is_the_crates() {
    let version = entrepot("--version").answer().await;
    assert_eq!(version, format!("entrepot {}\n", env!("CARGO_PKG_VERSION")));
}
