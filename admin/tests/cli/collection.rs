//! `entrepot gc`, `entrepot check` and `entrepot image delete`: what would go, what went,
//! and what is wrong is seen.

use serde_json::Value;
use tonic::Status;

use crate::fake::{Fake, sample};
use crate::golden;
use crate::run::entrepot;

#[tokio::test]
async fn tables_of_collection() {
    let fake = Fake::start(sample()).await;
    for (name, command) in [
        ("gc-status.txt", "gc status"),
        ("gc-run.txt", "gc run --older-than 1h --yes"),
        ("gc-run-dry.txt", "gc run --dry-run"),
        (
            "image-delete.txt",
            "image delete team/app:1.4 --children --yes",
        ),
        ("image-delete-tag.txt", "image delete team/app:latest --yes"),
        (
            "image-delete-dry.txt",
            "image delete team/app:1.4 --dry-run",
        ),
    ] {
        let table = entrepot(command).asking(&fake).answer().await;
        golden::check(name, &table);
    }
}

#[tokio::test]
async fn what_went_before_a_failure_is_told() {
    let fake = Fake::start(sample()).await;
    let command = "image delete team/app:torn --children --yes";
    let outcome = entrepot(command).asking(&fake).outcome().await;
    assert_eq!(outcome.code, 1, "{}", outcome.stderr);
    golden::check("image-delete-torn.txt", &outcome.stdout);
    assert!(
        outcome.stderr.contains("not all of it is gone"),
        "{}",
        outcome.stderr
    );
    let outcome = entrepot(&format!("{command} --json"))
        .asking(&fake)
        .outcome()
        .await;
    assert_eq!(outcome.code, 1);
    let told: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(told["manifests"].as_array().unwrap().len(), 1);
    assert_eq!(told["untried"].as_array().unwrap().len(), 1);
    let failure = "the metadata of this region has no leader";
    assert_eq!(told["failed"]["failure"], failure);
}

/// What a command of which the calls fail as `failures` says leaves with, shows, and
/// complains of.
async fn torn(command: &str, failures: &[bool]) -> (i32, String, String) {
    let fake = Fake::start(sample()).await;
    let failure = || Status::internal("out of order");
    let failures = failures.iter().map(|fails| fails.then(failure));
    fake.state.lock().unwrap().failures = failures.collect();
    let outcome = entrepot(command).asking(&fake).outcome().await;
    (outcome.code, outcome.stdout, outcome.stderr)
}

#[tokio::test]
async fn what_a_run_did_before_a_failure_is_told() {
    let (code, shown, complaint) = torn("gc run --yes", &[false, true]).await;
    assert_eq!(code, 1, "{complaint}");
    assert!(shown.contains("6 blobs were taken out"), "{shown}");
    assert!(
        shown.ends_with("It ended before all was done.\n"),
        "{shown}"
    );
    assert!(complaint.contains("out of order"), "{complaint}");
    let (code, shown, complaint) = torn("gc run --yes --json", &[false, true]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &shown["links"]), (1, &6.into()), "{complaint}");
    assert_eq!(shown["complete"], false);
    // Nothing was done.
    let (code, shown, _) = torn("gc run --yes --json", &[true]).await;
    assert_eq!((code, shown.as_str()), (1, ""));
}

#[tokio::test]
async fn a_run_is_done_though_nobody_tells_of_its_files() {
    let command = "gc run --older-than 0s --yes";
    let (code, shown, complaint) = torn(command, &[false, false, true]).await;
    assert_eq!(code, 0, "{complaint}");
    assert!(shown.contains("4 files had still to be deleted"), "{shown}");
    assert!(shown.contains("out of order"), "{shown}");
    assert!(!shown.contains("It ended before"), "{shown}");
}

#[tokio::test]
async fn what_a_check_mended_before_a_failure_is_told() {
    // A page of files, and then one that fails; or the records.
    for failures in [
        [false, false, true].as_slice(),
        &[false, false, false, true],
    ] {
        let (code, shown, complaint) = torn("check --repair", failures).await;
        assert_eq!(code, 1, "{complaint}");
        assert!(shown.contains("findings were mended"), "{shown}");
        let ended = "It ended before all was looked at.\n";
        assert!(shown.ends_with(ended), "{shown}");
        assert!(complaint.contains("out of order"), "{complaint}");
    }
    let (code, shown, _) = torn("check --repair --json", &[false, false, true]).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((code, &shown["mended"]), (1, &2.into()));
    assert_eq!(shown["complete"], false);
    let (code, shown, _) = torn("check --repair", &[false, true]).await;
    assert_eq!((code, shown.as_str()), (1, ""));
}

#[tokio::test]
async fn what_a_check_finds_is_a_table_and_a_failure() {
    let fake = Fake::start(sample()).await;
    for (name, command) in [
        ("check.txt", "check"),
        ("check-repair.txt", "check --repair"),
    ] {
        let outcome = entrepot(command).asking(&fake).outcome().await;
        assert_eq!(outcome.code, 1, "{}", outcome.stderr);
        golden::check(name, &outcome.stdout);
        let last = outcome.stderr.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("entrepot: not all is as it should be"),
            "{last}"
        );
    }
    let none = entrepot("check --node 7").asking(&fake).complaint().await;
    assert!(none.starts_with("there is no node 7"), "{none}");
}

#[tokio::test]
async fn pages_are_summed_up() {
    let fake = Fake::start(sample()).await;
    let json = async |command: &str| -> Value {
        let outcome = entrepot(command).asking(&fake).outcome().await;
        serde_json::from_str(&outcome.stdout).unwrap()
    };
    let dry = json("gc run --dry-run --json").await;
    assert_eq!(
        (&dry["now"]["links"], &dry["now"]["blobs"]),
        (&10.into(), &8.into())
    );
    let run = json("gc run --yes --json").await;
    assert_eq!((&run["links"], &run["blobs"]), (&12.into(), &8.into()));
    let check = json("check --json").await;
    assert_eq!(check["nodes"][0]["files"], 1_000);
    assert_eq!(check["nodes"][1]["answered"], false);
    assert_eq!(check["silent"], serde_json::json!([2, 3]));
    assert_eq!(check["findings"].as_array().unwrap().len(), 5);
}
