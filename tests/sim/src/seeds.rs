//! Many seeds: a process each, as many at a time as there are cores.

use std::ops::Range;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

use clap::ValueEnum as _;
use serde_json::Value;

use crate::entropy;
use crate::flaw::Flaw;
use crate::folder::Folder;

/// What to run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) seeds: Range<u64>,
    pub(crate) jobs: Option<usize>,
    pub(crate) flaw: Flaw,
    pub(crate) first: bool,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found {
    next: u64,
    done: u64,
    failed: Vec<u64>,
    operations: u64,
    unknown: u64,
    simulated_ms: u64,
}

/// Runs the seeds; a failing one is printed with the command that replays it.
pub(crate) fn run(run: &Run) -> ExitCode {
    let began = entropy::real_now();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let jobs = run.jobs.unwrap_or(cores).max(1);
    let found = Mutex::new(Found {
        next: run.seeds.start,
        ..Found::default()
    });
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| work(run, &found));
        }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    let took = entropy::real_now().saturating_sub(began);
    println!(
        "{} seeds, {} failed; {} operations, {} of them with an unknown outcome; {} s simulated in {} s",
        found.done,
        found.failed.len(),
        found.operations,
        found.unknown,
        found.simulated_ms / 1_000,
        took.as_secs()
    );
    if found.failed.is_empty() && found.done == run.seeds.end - run.seeds.start {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn work(run: &Run, found: &Mutex<Found>) {
    let lock = || found.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let seed = {
            let mut found = lock();
            let is_over = found.next >= run.seeds.end;
            if is_over || run.first && !found.failed.is_empty() {
                return;
            }
            found.next += 1;
            found.next - 1
        };
        let simulated = simulate(seed, run.flaw);
        let mut found = lock();
        found.done += 1;
        match simulated {
            Ok(report) => {
                let number = |key: &str| report[key].as_u64().unwrap_or_default();
                found.operations += number("operations");
                found.unknown += number("unknown");
                found.simulated_ms += number("simulated_ms");
            }
            Err(why) => {
                found.failed.push(seed);
                let flaw = run.flaw.to_possible_value();
                let flaw = flaw.as_ref().map_or("none", |flaw| flaw.get_name());
                let features = if cfg!(feature = "broken-reads") {
                    " --features broken-reads"
                } else {
                    ""
                };
                println!(
                    "seed {seed} failed:\n{why}\n  replay: cargo run --profile sim -p entrepot-sim{features} -- seed {seed} --flaw {flaw} --plan --log info\n"
                );
            }
        }
    }
}

/// The report of a seed, or what was violated.
fn simulate(seed: u64, flaw: Flaw) -> Result<Value, String> {
    let flaw = flaw.to_possible_value();
    let flaw = flaw.as_ref().map_or("none", |flaw| flaw.get_name());
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let child = Command::new(program)
        .args(["seed", &seed.to_string(), "--flaw", flaw])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("it did not start: {error}"))?;
    // Should it end before it removes that.
    let _folder = Folder::of(child.id());
    let output = child
        .wait_with_output()
        .map_err(|error| format!("its end was not seen: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(text.trim()).map_err(|_| {
        format!(
            "{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    if output.status.success() {
        return Ok(report);
    }
    let violations = report["violations"].as_array();
    let lines = violations.into_iter().flatten();
    let lines: Vec<&str> = lines.filter_map(Value::as_str).collect();
    Err(lines.join("\n"))
}
