//! The log against a model, and against torn and damaged files.

mod damage;
mod faults;
mod memory;
mod model;
mod space;

use std::path::Path;
use std::sync::{Arc, mpsc};

use bytes::Bytes;

use crate::files::{Disk, Files};

use super::{EntryId, GroupLog, LogEntry, LogOptions, RaftLog};

/// Segments so small that a handful of entries fills one.
const SMALL: LogOptions = LogOptions {
    segment_bytes: 400,
    recent_bytes_max: 100,
    segments_before_copy: 4,
    copy_bytes_max: 200,
};

fn id(term: u64, index: u64) -> EntryId {
    EntryId {
        term,
        node: 1,
        index,
    }
}

fn entry(term: u64, index: u64) -> LogEntry {
    LogEntry {
        id: id(term, index),
        payload: Bytes::from(format!("{term}:{index}")),
    }
}

fn disk() -> Arc<dyn Files> {
    Arc::new(Disk)
}

fn open(dir: &Path) -> RaftLog {
    RaftLog::open(&disk(), dir, SMALL).unwrap()
}

/// Appends and waits until it is durable.
fn append(log: &GroupLog, entries: Vec<LogEntry>) {
    let (sender, receiver) = mpsc::channel();
    let done = Box::new(move |result| sender.send(result).unwrap());
    log.append(entries, done).unwrap();
    receiver.recv().unwrap().unwrap();
}

/// Waits until everything before is written, and what is not needed gone.
fn settle(log: &GroupLog) {
    for _ in 0..3 {
        let (sender, receiver) = mpsc::channel();
        let vote = log.vote().unwrap_or(super::Ballot {
            term: 0,
            node: 0,
            committed: false,
        });
        log.save_vote(vote, Box::new(move |result| sender.send(result).unwrap()));
        receiver.recv().unwrap().unwrap();
    }
}

fn all(log: &GroupLog) -> Vec<LogEntry> {
    log.read(0..u64::MAX, usize::MAX).unwrap()
}

fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == "log"))
        .collect();
    paths.sort();
    paths
}
