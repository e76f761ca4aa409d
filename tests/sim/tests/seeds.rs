//! The simulation as tests: many seeds hold, one seed is one run, and a product
//! that is broken on purpose is noticed.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Seeds that a run of the tests takes, unless `ENTREPOT_SIM_SEEDS` says
/// otherwise.
const SEEDS: u64 = 1_000;
/// Seeds within which a broken product has to be noticed.
const NOTICED_WITHIN: u64 = 100;

const SIM: &str = env!("CARGO_BIN_EXE_entrepot-sim");

fn sim(arguments: &[&str]) -> Output {
    let output = Command::new(SIM).args(arguments).output();
    output.expect("the simulation starts")
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    format!("{text}{}", String::from_utf8_lossy(&output.stderr))
}

#[test]
fn what_is_promised_holds_for_every_seed() {
    let given = std::env::var("ENTREPOT_SIM_SEEDS").ok();
    let seeds = given.map_or(SEEDS, |given| given.parse().expect("a number of seeds"));
    let output = sim(&["seeds", "--from", "1", "--count", &seeds.to_string()]);
    let said = said(&output);
    println!("{said}");
    assert!(output.status.success(), "{said}");
    assert!(said.contains(&format!("{seeds} seeds, 0 failed")), "{said}");
}

#[test]
fn a_seed_is_one_run() {
    let report = |seed: u64, more: &[&str]| -> Value {
        let seed = seed.to_string();
        let output = sim(&[&["seed", &seed], more].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
    };
    let mut traces = Vec::new();
    for seed in 1..=6 {
        // A log shows the same run.
        let (one, again) = (report(seed, &[]), report(seed, &["--log", "info"]));
        assert!(one["events"].as_u64().is_some_and(|events| events > 100));
        for what in ["trace", "events", "operations", "simulated_ms"] {
            assert_eq!(one[what], again[what], "seed {seed}: {what}");
        }
        traces.push(one["trace"].to_string());
    }
    traces.sort();
    traces.dedup();
    assert_eq!(traces.len(), 6, "every seed is another run");
}

// === the tests of the test ===

/// What the simulation says when it notices a product that is broken.
fn noticed(program: &Path, flaw: &str) -> String {
    let count = NOTICED_WITHIN.to_string();
    let arguments = ["seeds", "--count", &count, "--first", "--flaw", flaw];
    let output = Command::new(program).args(arguments).output();
    let output = output.expect("the simulation starts");
    let said = said(&output);
    println!("{said}");
    assert!(!output.status.success(), "nobody noticed:\n{said}");
    assert!(said.contains("replay: "), "{said}");
    said
}

#[test]
fn disks_that_lie_about_syncs_are_noticed() {
    noticed(Path::new(SIM), "lying-sync");
}

#[test]
fn acknowledged_blobs_with_too_few_copies_are_noticed() {
    let said = noticed(Path::new(SIM), "losing-blobs");
    assert!(said.contains("was acknowledged with"), "{said}");
}

#[test]
fn copies_that_are_missing_are_noticed() {
    let said = noticed(Path::new(SIM), "few-copies");
    let noticed = ["was acknowledged with", "copies in us-east-1 instead of"];
    assert!(noticed.iter().any(|what| said.contains(what)), "{said}");
}

#[test]
fn snapshots_that_lack_something_are_noticed() {
    let said = noticed(Path::new(SIM), "dropping-snapshots");
    assert!(said.contains("hold different states of"), "{said}");
}

#[test]
fn a_build_that_reads_without_asking_is_noticed() {
    let program =
        entrepot_harness::binary("ENTREPOT_SIM_BROKEN_READS", "entrepot-sim-broken-reads");
    let said = noticed(&program.expect("./tests/run builds it"), "none");
    let noticed = ["is not linearizable", "denies the acknowledged"];
    assert!(noticed.iter().any(|what| said.contains(what)), "{said}");
}
