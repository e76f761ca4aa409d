//! `entrepot lifecycle`: what would go and what went is seen, and by which rule.

use std::fs;

use serde_json::Value;

use crate::fake::{Fake, sample};
use crate::fake_lifecycle::sample_policy;
use crate::golden;
use crate::run::entrepot;

#[tokio::test]
async fn tables_of_a_policy() {
    let fake = Fake::start(sample()).await;
    for (name, command) in [
        ("lifecycle-get.txt", "lifecycle get team/app"),
        ("lifecycle-preview.txt", "lifecycle preview team/app"),
        ("lifecycle-run.txt", "lifecycle run team/app --yes"),
    ] {
        let table = entrepot(command).asking(&fake).answer().await;
        golden::check(name, &table);
    }
}

#[tokio::test]
async fn what_a_run_did_before_it_failed_is_told() {
    for (repository, images, cause) in [
        ("team/torn", 2, "the run ended before its time"),
        ("team/lost", 1, "cannot serve this now"),
    ] {
        let fake = Fake::start(sample()).await;
        let command = format!("lifecycle run {repository} --yes --json");
        let outcome = entrepot(&command).asking(&fake).outcome().await;
        assert_eq!(outcome.code, 1, "{}", outcome.stderr);
        let told: Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(told["images"].as_array().unwrap().len(), images, "{told}");
        assert!(outcome.stderr.contains(cause), "{}", outcome.stderr);
    }
}

#[tokio::test]
async fn a_policy_comes_from_a_file_or_from_standard_input() {
    let fake = Fake::start(sample()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.json");
    fs::write(&file, sample_policy()).unwrap();
    let put = entrepot("lifecycle put team/app --yes --file").argument(&file);
    assert_eq!(
        put.asking(&fake).answer().await,
        "team/app has a lifecycle policy of 3 rules. It is carried out within about five minutes.\n"
    );
    let put = entrepot("lifecycle put team/app --json --yes --file -").stdin(br#"{"rules":[]}"#);
    let put: Value = serde_json::from_str(&put.asking(&fake).answer().await).unwrap();
    assert_eq!(put["policy"]["rules"], Value::Array(Vec::new()));
    let wrong = entrepot("lifecycle put team/app --yes --file -").stdin(b"rules");
    let complaint = wrong.asking(&fake).complaint().await;
    assert_eq!(complaint, "the node refuses this: this is no policy");
    fs::remove_file(&file).unwrap();
    let put = entrepot("lifecycle put team/app --yes --file").argument(&file);
    let complaint = put.asking(&fake).complaint().await;
    let expected = format!("cannot read the policy from {}: ", file.display());
    assert!(complaint.starts_with(&expected), "{complaint}");
}

#[tokio::test]
async fn without_a_policy_there_is_nothing_to_show_or_to_do() {
    let fake = Fake::start(sample()).await;
    let delete = async || {
        entrepot("lifecycle delete team/app")
            .asking(&fake)
            .outcome()
            .await
    };
    let deleted = delete().await.stdout;
    assert_eq!(deleted, "team/app has no lifecycle policy any more.\n");
    for command in [
        "get team/app",
        "delete team/app",
        "preview team/app",
        "run team/app --yes",
    ] {
        let failed = entrepot(&format!("lifecycle {command}")).asking(&fake);
        assert_eq!(
            failed.complaint().await,
            "team/app has no lifecycle policy, or there is no such repository"
        );
    }
}
