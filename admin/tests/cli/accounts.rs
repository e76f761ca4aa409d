//! `entrepot account`: what is asked for, and what is shown.

use serde_json::{Value, json};

use crate::fake::{Fake, sample};
use crate::fake_accounts::{KEY_ID, SECRET};
use crate::golden;
use crate::run::entrepot;

async fn json_of(fake: &Fake, command: &str) -> Value {
    let run = entrepot(&format!("{command} --json")).asking(fake);
    serde_json::from_str(&run.answer().await).unwrap()
}

#[tokio::test]
async fn a_new_account_is_shown_with_its_key() {
    let fake = Fake::start(sample()).await;
    let create = "account create 333333333333 --name team-b";
    let shown = entrepot(create).asking(&fake).answer().await;
    golden::check("account-create.txt", &shown);
    let again = entrepot(create).asking(&fake).complaint().await;
    assert!(again.contains("account 333333333333 exists"), "{again}");
    let json = json_of(&fake, "account create 444444444444").await;
    assert_eq!(
        json,
        json!({"account": "444444444444", "name": "", "root_user": "root",
               "access_key_id": KEY_ID, "secret_access_key": SECRET})
    );
}

#[tokio::test]
async fn a_key_that_is_known_is_taken_from_a_file_and_not_shown() {
    let fake = Fake::start(sample()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "hush\n").unwrap();
    let given = format!(
        "account create 333333333333 --access-key-id mine --secret-access-key-file {}",
        file.display()
    );
    let shown = entrepot(&given).asking(&fake).answer().await;
    // The fake tells what it was sent.
    assert_eq!(
        shown,
        "Created account 333333333333. Its root access key is mine=hush.\n"
    );
    let json = json_of(&fake, &given.replace("333333333333", "444444444444")).await;
    assert_eq!(json["secret_access_key"], Value::Null);

    std::fs::write(&file, "two\nlines\n").unwrap();
    let torn = entrepot(&given).asking(&fake).complaint().await;
    assert!(torn.contains("does not hold a secret access key"), "{torn}");
    std::fs::remove_file(&file).unwrap();
    let gone = entrepot(&given).asking(&fake).complaint().await;
    assert!(gone.contains("cannot read the secret access key"), "{gone}");
}

#[tokio::test]
async fn an_id_comes_with_a_secret_and_an_account_has_12_digits() {
    for (command, named) in [
        (
            "account create 333333333333 --access-key-id mine",
            "--secret-access-key-file",
        ),
        (
            "account create 333333333333 --secret-access-key-file f",
            "--access-key-id",
        ),
        ("account create 1", "account"),
        ("account create", "<ACCOUNT>"),
        ("account disable team-a", "account"),
    ] {
        let outcome = entrepot(command).outcome().await;
        assert_eq!(outcome.code, 2, "{command}");
        assert!(outcome.stderr.contains(named), "{}", outcome.stderr);
    }
}

#[tokio::test]
async fn accounts_are_listed_disabled_and_enabled() {
    let fake = Fake::start(sample()).await;
    let listed = entrepot("account list").asking(&fake).answer().await;
    golden::check("account-list.txt", &listed);
    let json = json_of(&fake, "account list").await;
    assert_eq!(json["accounts"][0]["first"], true);
    assert_eq!(json["accounts"][1]["state"], "disabled");

    let said = |command: &'static str| entrepot(command).asking(&fake);
    let enabled = said("account enable 210987654321").answer().await;
    assert_eq!(enabled, "Account 210987654321 is active.\n");
    let disabled = json_of(&fake, "account disable 210987654321").await;
    assert_eq!(
        disabled,
        json!({"account": "210987654321", "state": "disabled"})
    );
    let unknown = said("account disable 999999999999").complaint().await;
    assert!(
        unknown.contains("there is no account 999999999999"),
        "{unknown}"
    );
}
