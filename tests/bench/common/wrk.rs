//! Reads, as fast as they come: `wrk` with one thread and its own latencies.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use entrepot_harness::run;

use crate::timed::Timed;

/// What one run of `wrk` saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) requests: f64,
    pub(crate) timed: Timed,
}

/// Loads `url` with `connections` for `seconds`, with a variable `set` in its
/// environment. Certificates are not checked.
pub(crate) async fn load(
    url: &str,
    authorization: Option<&str>,
    connections: usize,
    seconds: u64,
    set: Option<(&str, PathBuf)>,
) -> Result<Seen> {
    let mut command = Command::new("wrk");
    command
        .args(["--threads", "1", "--latency", "--timeout", "10s"])
        .args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s")])
        // What some registries need to serve an OCI manifest at all.
        .args(["--header", "Accept: application/vnd.oci.image.manifest.v1+json, */*"]);
    if let Some(authorization) = authorization {
        command.args(["--header", &format!("Authorization: {authorization}")]);
    }
    if let Some((variable, value)) = set {
        command.env(variable, value);
    }
    command.arg(url);
    let deadline = Duration::from_secs(seconds + 30);
    let said = run(command, deadline).await?.success()?.stdout;
    ensure!(
        !said.contains("Non-2xx") && !said.contains("Socket errors"),
        "wrk got errors:\n{said}"
    );
    let words = |start: &str| {
        let mut lines = said.lines().map(str::trim);
        let line = lines.find_map(|line| line.strip_prefix(start));
        line.map(str::trim)
            .with_context(|| format!("no {start} in:\n{said}"))
    };
    let mut lines = said.lines().map(str::trim);
    let requests = lines
        .find_map(|line| line.split_once(" requests in "))
        .with_context(|| format!("no number of requests in:\n{said}"))?;
    let requests: f64 = requests.0.parse()?;
    let per_s: f64 = words("Requests/sec:")?.parse()?;
    let timed = Timed {
        took_s: requests / per_s,
        p50_ms: milliseconds(words("50%")?)?,
        p99_ms: milliseconds(words("99%")?)?,
    };
    Ok(Seen { requests, timed })
}

/// `812.00us`, `1.24ms`, `2.00s`.
fn milliseconds(text: &str) -> Result<f64> {
    let (number, factor) = if let Some(number) = text.strip_suffix("us") {
        (number, 0.001)
    } else if let Some(number) = text.strip_suffix("ms") {
        (number, 1.0)
    } else {
        let number = text.strip_suffix('s');
        (number.with_context(|| format!("{text} is no time"))?, 1e3)
    };
    Ok(number.parse::<f64>()? * factor)
}
