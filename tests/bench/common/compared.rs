//! What was compared with what, below the lines about the machine.

use std::fs;

use crate::machine;

/// A few lines of Markdown: the machine, and both registries.
pub(crate) fn lines(rounds: usize) -> String {
    format!(
        "{}\n\
         - `docker-registry`: Debian's {}, file system driver, plain HTTP, no authentication\n\
         - Entrepot: {} build, plain HTTP, Basic authentication on every request, \
         acknowledged when durable; nodes and client share the machine\n\
         - {rounds} alternating rounds, each on empty folders: median (least–most)",
        machine::lines(),
        package_version("docker-registry").unwrap_or_else(|| "unknown version".to_owned()),
        machine::build(),
    )
}

fn package_version(name: &str) -> Option<String> {
    let status = fs::read_to_string("/var/lib/dpkg/status").ok()?;
    let start = status.find(&format!("Package: {name}\n"))?;
    let rest = &status[start..];
    let line = rest
        .lines()
        .find_map(|line| line.strip_prefix("Version: "))?;
    Some(line.to_owned())
}
