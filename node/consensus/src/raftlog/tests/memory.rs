//! The log on files in memory: no thread, and crashes that take what was not
//! synced.

use std::path::Path;
use std::sync::Arc;

use super::super::{GroupLog, LogEntry, RaftLog};
use super::{SMALL, all, entry};
use crate::files::{Files, MemoryFiles};

fn open(files: &MemoryFiles) -> RaftLog {
    let files: Arc<dyn Files> = Arc::new(files.clone());
    RaftLog::open(&files, Path::new("/data/log"), SMALL).unwrap()
}

async fn append(log: &GroupLog, entries: Vec<LogEntry>) -> std::io::Result<()> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let done = Box::new(move |result| sender.send(result).unwrap());
    log.append(entries, done).unwrap();
    receiver.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_what_was_acknowledged() {
    let files = MemoryFiles::new();
    let log = open(&files);
    let group = log.group("global/0");
    let mut acknowledged = Vec::new();
    for index in 0..60 {
        append(&group, vec![entry(1, index)]).await.unwrap();
        acknowledged.push(entry(1, index));
    }
    // Nobody has been told of this one.
    group
        .append(
            vec![entry(1, 60)],
            Box::new(|result| assert!(result.is_err())),
        )
        .unwrap();
    files.crash();
    drop((group, log));

    let log = open(&files);
    assert_eq!(all(&log.group("global/0")), acknowledged);
}

#[tokio::test(start_paused = true)]
async fn the_machine_of_before_the_crash_writes_nothing_more() {
    let files = MemoryFiles::new();
    let before = open(&files);
    let old = before.group("global/0");
    append(&old, vec![entry(1, 0)]).await.unwrap();
    files.crash();
    let after = open(&files);
    assert!(append(&old, vec![entry(1, 1)]).await.is_err());
    assert!(before.failure().is_some());
    drop((old, before));
    let new = after.group("global/0");
    append(&new, vec![entry(2, 1)]).await.unwrap();
    assert_eq!(all(&new), [entry(1, 0), entry(2, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_close_writes_what_waits() {
    let files = MemoryFiles::new();
    let log = open(&files);
    let group = log.group("global/0");
    let done = Box::new(|result: std::io::Result<()>| result.unwrap());
    group.append(vec![entry(1, 0)], done).unwrap();
    log.close();
    files.crash();
    drop((group, log));
    assert_eq!(all(&open(&files).group("global/0")), [entry(1, 0)]);
}
