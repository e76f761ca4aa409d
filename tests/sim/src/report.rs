//! One seed in this process, and what is said of it: a line of JSON.

use std::fmt;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::json;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::flaw::Flaw;
use crate::plan::Plan;
use crate::{entropy, world};

/// A hundred times what most take.
const CPU_S_MAX: u64 = 60;

/// Log lines carry the time of the simulation.
struct SimTime;

impl FormatTime for SimTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        write!(writer, "{:>8.3}", now.as_secs_f64())
    }
}

/// Simulates a plan and prints what became of it; fails if anything was
/// violated.
pub(crate) fn one(plan: &Plan, flaw: Flaw, log: Option<&str>) -> ExitCode {
    // Always: what a log needs, such as maps, is drawn from the same numbers.
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(log.unwrap_or("off")))
        .with_timer(SimTime)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    limit_cpu();
    let panics = catch_panics();
    let began = entropy::real_now();
    let mut outcome = world::run(plan, flaw);
    let took = entropy::real_now().saturating_sub(began);
    let mut panics = panics.lock().unwrap_or_else(PoisonError::into_inner);
    outcome.violations.append(&mut panics);
    let line = json!({
        "seed": plan.seed,
        "trace": outcome.trace,
        "events": outcome.events,
        "operations": outcome.operations,
        "unknown": outcome.unknown,
        "simulated_ms": u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX),
        "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "violations": outcome.violations,
    });
    println!("{line}");
    if outcome.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A task that never waits stops the time of a simulation, which then takes for
/// ever: the system ends it (SIGXCPU).
fn limit_cpu() {
    let limit = Rlimit {
        current: Some(CPU_S_MAX),
        maximum: Some(CPU_S_MAX),
    };
    if let Err(error) = setrlimit(Resource::Cpu, limit) {
        eprintln!("the time that a simulation may take cannot be limited: {error}");
    }
}

/// A task that panics takes nobody else along; here it is a violation.
fn catch_panics() -> Arc<Mutex<Vec<String>>> {
    let panics = Arc::new(Mutex::new(Vec::new()));
    let caught = Arc::clone(&panics);
    std::panic::set_hook(Box::new(move |panic| {
        let mut caught = caught.lock().unwrap_or_else(PoisonError::into_inner);
        // Some panics end the process before anything is reported.
        eprintln!("{panic}");
        caught.push(format!("a task panicked: {panic}"));
    }));
    panics
}
