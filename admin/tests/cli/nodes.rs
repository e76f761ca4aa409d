//! `entrepot node` and `entrepot region` against the fake node.

use entrepot_proto::admin::Counting;
use serde_json::{Value, json};

use crate::fake::{Fake, State, sample};
use crate::golden;
use crate::run::entrepot;

async fn json_of(fake: &Fake, command: &str) -> Value {
    let text = entrepot(command)
        .argument("--json")
        .asking(fake)
        .answer()
        .await;
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn tables_of_nodes_and_regions() {
    let fake = Fake::start(sample()).await;
    for (name, command) in [
        ("node-list.txt", "node list"),
        ("region-list.txt", "region list"),
        ("region-add.txt", "region add eu-west-1"),
        ("node-drain-no-wait.txt", "node drain 1 --no-wait"),
        ("node-drain-cancel.txt", "node drain 1 --cancel"),
    ] {
        let table = entrepot(command).asking(&fake).answer().await;
        golden::check(name, &table);
    }
}

#[tokio::test]
async fn nothing_to_list_says_so() {
    let fake = Fake::start(State::default()).await;
    for command in ["node list", "region list"] {
        let said = entrepot(command).asking(&fake).answer().await;
        assert_eq!(said, "The cluster is not formed yet.\n");
    }
}

#[tokio::test]
async fn a_drain_waits_shows_how_far_it_is_and_says_when_it_is_done() {
    let fake = Fake::start(sample()).await;
    let outcome = entrepot("node drain 2").asking(&fake).outcome().await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    golden::check("node-drain.txt", &outcome.stdout);
    golden::check("node-drain-progress.txt", &outcome.stderr);
    let again = json_of(&fake, "node drain 2").await;
    assert_eq!(again["safe_to_stop"], true);
}

#[tokio::test]
async fn a_drain_that_takes_too_long_fails_and_goes_on() {
    let mut state = sample();
    state.nodes.departure.silent = vec![3];
    state.nodes.departure.blobs_short = 1_000;
    let fake = Fake::start(state).await;
    let outcome = entrepot("node drain 2 --wait-at-most 0s")
        .asking(&fake)
        .outcome()
        .await;
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stdout.contains("Do not stop it yet"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stderr.contains("the drain goes on"),
        "{}",
        outcome.stderr
    );
}

/// A count of a million blobs takes longer than any call may.
#[tokio::test]
async fn a_count_that_takes_long_is_waited_for_and_shown() {
    for command in [
        "node remove 3 --force --yes",
        "node replace 3 --with 2 --force --yes",
        "node drain 2 --no-wait",
    ] {
        let mut state = sample();
        state.nodes.counting = [(200, 90), (300, 95), (900, 410), (2_000, 1_000)]
            .map(|(blobs, per_mille)| Counting { blobs, per_mille })
            .into();
        let fake = Fake::start(state).await;
        let outcome = entrepot(command).asking(&fake).outcome().await;
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert!(!outcome.stdout.is_empty());
        let told: Vec<&str> = outcome.stderr.lines().collect();
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[1].contains("900 blobs so far"), "{told:?}");
        assert!(fake.state.lock().unwrap().nodes.counting.is_empty());
    }
}

#[tokio::test]
async fn a_node_goes_only_when_it_is_confirmed_and_may() {
    let fake = Fake::start(sample()).await;
    let unsure = entrepot("node remove 1").asking(&fake).outcome().await;
    assert_eq!(unsure.code, 2);
    assert!(unsure.stderr.contains("--yes"), "{}", unsure.stderr);
    let refused = entrepot("node remove 3 --yes")
        .asking(&fake)
        .complaint()
        .await;
    assert!(refused.contains("last copy of 3"), "{refused}");
    let unknown = entrepot("node remove 9 --yes")
        .asking(&fake)
        .complaint()
        .await;
    assert!(unknown.contains("there is no node 9"), "{unknown}");
    let forced = json_of(&fake, "node remove 3 --force --yes").await;
    assert_eq!(
        forced,
        json!({"removed": 3, "blobs_lost": 3, "blobs_short": 40})
    );
}

#[tokio::test]
async fn only_what_is_lost_is_replaced_and_by_one_that_takes_part() {
    let fake = Fake::start(sample()).await;
    for (command, says) in [
        (
            "node replace 1 --with 2 --yes",
            "answers, so it is not lost",
        ),
        ("node replace 3 --with 3 --yes", "cannot take the place"),
        ("node replace 3 --with 9 --yes", "there is no node 9"),
        (
            "node replace 3 --with 2 --yes",
            "last copy of 3 of 1042 blobs",
        ),
    ] {
        let said = entrepot(command).asking(&fake).complaint().await;
        assert!(said.contains(says), "{said}");
    }
    let replaced = entrepot("node replace 3 --with 2 --force --yes")
        .asking(&fake)
        .answer()
        .await;
    golden::check("node-replace.txt", &replaced);
}

#[tokio::test]
async fn a_region_with_nodes_stays() {
    let fake = Fake::start(sample()).await;
    let said = entrepot("region remove us-east-1 --yes")
        .asking(&fake)
        .complaint()
        .await;
    assert!(said.contains("has nodes"), "{said}");
    let removed = json_of(&fake, "region remove eu-west-1 --yes").await;
    assert_eq!(removed, json!({"removed": "eu-west-1"}));
}

#[tokio::test]
async fn a_token_is_printed_alone_and_is_of_the_region_and_time_asked_for() {
    let fake = Fake::start(sample()).await;
    let said = |command: &'static str| entrepot(command).asking(&fake).answer();
    assert_eq!(said("node token").await, "entrepot_join__3600\n");
    let asked = "node token --region eu-west-1 --ttl 10m";
    assert_eq!(said(asked).await, "entrepot_join_eu-west-1_600\n");
    let json = json_of(&fake, "node token --region eu-west-1").await;
    assert_eq!(json["region"], "eu-west-1");
    assert_eq!(json["expires_at_ms"], crate::fake_trust::EXPIRES_AT_MS);
    let long = entrepot("node token --ttl 8d")
        .asking(&fake)
        .outcome()
        .await;
    assert_eq!(long.code, 2);
    assert!(long.stderr.contains("at most 7d"), "{}", long.stderr);
}

#[tokio::test]
async fn a_node_is_revoked_only_when_that_is_confirmed() {
    let fake = Fake::start(sample()).await;
    let unsure = entrepot("node revoke 3").asking(&fake).outcome().await;
    assert_eq!(unsure.code, 2);
    assert!(unsure.stderr.contains("--yes"), "{}", unsure.stderr);
    let revoked = json_of(&fake, "node revoke 3 --yes").await;
    assert_eq!(revoked, json!({"revoked": 3, "certificates": 1}));
    let unknown = entrepot("node revoke 9 --yes")
        .asking(&fake)
        .outcome()
        .await;
    assert_eq!(unknown.code, 1);
    assert!(unknown.stderr.contains("no node 9"), "{}", unknown.stderr);
}
