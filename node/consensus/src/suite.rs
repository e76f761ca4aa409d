//! openraft's own conformance suite over the log and the state machine.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

use crate::applied::AppliedStore;
use crate::files::{Disk, Files};
use crate::log_store::LogStore;
use crate::machine::StateMachine;
use crate::raftlog::{LogOptions, RaftLog};
use crate::snapshot::SnapshotStore;
use crate::types::TypeConfig;

/// Stores in a directory of their own.
struct Builder {
    options: LogOptions,
}

/// Keeps the stores and their directory for as long as a case runs.
struct Guard {
    _log: RaftLog,
    _dir: tempfile::TempDir,
}

impl StoreBuilder<TypeConfig, LogStore, StateMachine, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogStore, StateMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let log = RaftLog::open(&disk(), &dir.path().join("log"), self.options).unwrap();
        let (applied, _) = AppliedStore::open(&dir.path().join("index"), false, None).unwrap();
        let state = applied.group("global/0").unwrap();
        let snapshots = Arc::new(SnapshotStore::open(&disk(), dir.path(), "global/0").unwrap());
        let machine = StateMachine::new(Arc::new(applied), state, snapshots).unwrap();
        let store = LogStore::new(log.group("global/0"));
        let guard = Guard {
            _log: log,
            _dir: dir,
        };
        Ok((guard, store, machine))
    }
}

fn disk() -> Arc<dyn Files> {
    Arc::new(Disk)
}

#[test]
fn the_stores_pass_openrafts_suite() {
    run(LogOptions::default());
}

#[test]
fn the_stores_pass_it_with_tiny_segments_too() {
    run(LogOptions {
        segment_bytes: 300,
        recent_bytes_max: 20,
        segments_before_copy: 3,
        copy_bytes_max: 100,
    });
}

fn run(options: LogOptions) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(Suite::test_all(Builder { options }))
        .unwrap();
}
