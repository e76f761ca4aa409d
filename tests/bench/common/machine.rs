//! What a reader must know to read the numbers: the machine, the disk, the
//! build.

use std::fs;
use std::path::Path;

/// Two lines of Markdown: the machine and its disk.
pub(crate) fn lines() -> String {
    let folder = std::env::temp_dir();
    format!(
        "- machine: {} cores ({}), {} of memory, Linux {}\n\
         - disk: {} under {}",
        std::thread::available_parallelism().map_or(0, usize::from),
        field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
        field("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".to_owned()),
        read("/proc/sys/kernel/osrelease"),
        file_system(&folder).unwrap_or_else(|| "unknown".to_owned()),
        folder.display(),
    )
}

/// How the nodes were built: they are found in the same target folder.
pub(crate) fn build() -> &'static str {
    if cfg!(debug_assertions) {
        "DEBUG (these numbers say nothing)"
    } else {
        "release"
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// The value of the first `key : value` line.
fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    let (_, value) = line.split_once(':')?;
    Some(value.trim().to_owned())
}

/// Type and device of the file system that `folder` lies on.
fn file_system(folder: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let mut best: Option<(usize, String)> = None;
    for line in mounts.lines() {
        let mut fields = line.split_whitespace();
        let (Some(device), Some(point), Some(kind)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let length = point.len();
        if folder.starts_with(point) && best.as_ref().is_none_or(|(longest, _)| length >= *longest)
        {
            best = Some((length, format!("{kind} on {device}")));
        }
    }
    best.map(|(_, found)| found)
}
