//! `entrepot backfill`, `entrepot replication` and every option of a rule.

use serde_json::Value;

use crate::fake::{Fake, State, sample};
use crate::fake_replication::BACKFILL;
use crate::run::entrepot;

#[tokio::test]
async fn a_backfill_is_counted_started_shown_and_stopped() {
    let fake = Fake::start(sample()).await;
    let answer = async |command: &str| entrepot(command).asking(&fake).answer().await;
    assert_eq!(
        answer("backfill start --to eu-west-1 --dry-run").await,
        "Would look at 1042 images with at least 7.0 MiB; what the destination has already is \
         not sent.\n"
    );
    let started = answer("backfill start --to eu-west-1/210987654321 --rule all").await;
    assert!(started.contains("eu-west-1/210987654321"), "{started}");
    let list = answer("backfill list").await;
    for part in [
        BACKFILL,
        "preparing",
        "in progress",
        "314 of 1042",
        "7.0 MiB",
        "2h",
    ] {
        assert!(list.contains(part), "{part}: {list}");
    }
    let shown = answer(&format!("backfill show {BACKFILL}")).await;
    assert!(shown.contains("the destination denies it"), "{shown}");
    let stopped = answer(&format!("backfill stop {BACKFILL}")).await;
    assert!(stopped.contains("200 images under way"), "{stopped}");
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let fake = Fake::start(sample()).await;
    for (command, part) in [
        ("backfill stop nothing", "there is no backfill \"nothing\""),
        ("backfill show nothing", "there is no backfill \"nothing\""),
        (
            "backfill start --to mars-1",
            "no rule copies that to mars-1",
        ),
        (
            "replication status --rule none",
            "there is no rule \"none\"",
        ),
    ] {
        let outcome = entrepot(command).asking(&fake).outcome().await;
        assert_eq!(outcome.code, 1, "{command}");
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
}

#[tokio::test]
async fn waiting_ends_when_it_is_there() {
    let fake = Fake::start(State {
        arrives: true,
        ..sample()
    })
    .await;
    let wait = "replication wait base/alpine";
    let outcome = entrepot(wait).asking(&fake).outcome().await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stdout.starts_with("There: base/alpine, after "));
    assert!(
        outcome.stderr.contains("1 copy to go"),
        "{}",
        outcome.stderr
    );
    let json = entrepot("replication wait team/app:1.4 --json").asking(&fake);
    let json: Value = serde_json::from_str(&json.answer().await).unwrap();
    assert_eq!(json["waited_for"], "team/app:1.4");
    assert_eq!(json["complete"], 1);
}

#[tokio::test]
async fn waiting_fails_when_it_was_refused_or_nobody_copies_it_or_it_takes_too_long() {
    let fake = Fake::start(sample()).await;
    for (command, part) in [
        (
            "replication wait team/app:latest",
            "team/app:latest was refused by its destination: the destination denies it",
        ),
        (
            "replication wait team/app:none",
            "no rule copies team/app:none",
        ),
        (
            "replication wait base/alpine --timeout 100ms",
            "base/alpine is not there after 100ms: 1 of its copies are under way",
        ),
    ] {
        let outcome = entrepot(command).asking(&fake).outcome().await;
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (1, ""),
            "{command}"
        );
        assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
    }
    // What failed before is no concern of who waits for what goes on.
    let outcome = entrepot("replication wait team/app")
        .asking(&fake)
        .outcome();
    assert_eq!(outcome.await.code, 0);
}

#[tokio::test]
async fn the_status_of_one_rule_has_its_lag_and_why_copies_failed() {
    let fake = Fake::start(sample()).await;
    let status = entrepot("replication status --rule all").asking(&fake);
    let status = status.answer().await;
    for part in [
        "[#####.....] 50 %",
        "1s / 1s",
        "eu-west-1, 99% within 30s: 49 of 50 in time in the last hour, a burn of 2.0",
        "1 failed to eu-west-1: the destination denies it",
        "7.0 MiB",
    ] {
        assert!(status.contains(part), "{part}: {status}");
    }
}

#[tokio::test]
async fn every_option_of_a_rule_goes_to_the_node_and_comes_back() {
    let fake = Fake::start(sample()).await;
    let put = "rule put full --to eu-west-1 --to eu-west-2/210987654321 --prefix team/ --match *-x \
               --exclude old/* --tag v* --exclude-tag *-rc --artifact-type a/* --deletions \
               --map team/=mirror/ --priority 3 --synchronous --synchronous-timeout 5s \
               --bandwidth 200Mbit --window mon-fri/22:00-06:00 --window 12:00-13:00 \
               --near eu-west-1,eu-west-2 --read-through --settings --backfill --slo";
    let put = entrepot(put).argument("99.5% within 30s");
    put.asking(&fake).answer().await;
    let options = {
        let state = fake.state.lock().unwrap();
        let rule = state.rules.iter().find(|rule| rule.id == "full").unwrap();
        rule.options.clone().unwrap()
    };
    assert_eq!(options.bandwidth_bytes_per_second, 25_000_000);
    assert_eq!(options.windows.len(), 2);
    assert_eq!(options.windows[0].days, 0b1_1111);
    assert_eq!(options.near[0].regions, ["eu-west-1", "eu-west-2"]);
    assert!(options.read_through && options.settings && options.backfill && options.synchronous);
    let list = entrepot("rule list").asking(&fake).answer().await;
    for part in [
        "exclude old/*",
        "tag v*",
        "exclude-tag *-rc",
        "artifact-type a/*",
        "deletions",
        "map team/=mirror/",
        "priority 3",
        "synchronous",
        "bandwidth 25MB",
        "window mon,tue,wed,thu,fri/22:00-06:00",
        "window 12:00-13:00",
        "near eu-west-1,eu-west-2",
        "read-through",
        "settings",
        "backfill",
        "slo 99.5% within 30s",
    ] {
        assert!(list.contains(part), "{part}: {list}");
    }
    let json = entrepot("rule list --json").asking(&fake).answer().await;
    let json: Value = serde_json::from_str(&json).unwrap();
    let rules = json["rules"].as_array().unwrap();
    let full = rules.iter().find(|rule| rule["id"] == "full").unwrap();
    assert_eq!(full["options"]["slo"], "99.5% within 30s");
    assert_eq!(full["options"]["bandwidth_bytes_per_second"], 25_000_000);
    assert_eq!(full["options"]["near"][0][1], "eu-west-2");
}

#[tokio::test]
async fn an_option_that_makes_no_sense_is_refused_before_anything_is_sent() {
    for options in [
        "--bandwidth 5",
        "--bandwidth 0MiB",
        "--window 25:00-26:00",
        "--near eu-west-1",
    ] {
        let put = format!("rule put wrong --to eu-west-1 {options}");
        let outcome = entrepot(&put).outcome().await;
        assert_eq!(outcome.code, 2, "{options}");
    }
}
