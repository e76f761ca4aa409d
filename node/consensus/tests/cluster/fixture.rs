//! A data folder that another release wrote.
//!
//! `tests/fixtures/<release>` holds the log and a snapshot as that release left
//! them. When a release changes one of the formats, its predecessor's folder
//! stays and is read by the test below; a new one is made by
//!
//! ```text
//! ENTREPOT_MAKE_FIXTURE=1 cargo test -p entrepot-consensus --test cluster fixture
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use entrepot_consensus::IndexState;

use crate::EAGER;
use crate::harness::{Cluster, Shape};

const BEFORE_THE_SNAPSHOT: usize = 30;
const AFTER_IT: usize = 15;
const MANIFEST: &[u8] = b"{\"schemaVersion\":2}";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn shape() -> Shape {
    Shape {
        compaction: EAGER,
        ..Shape::voters(1)
    }
}

/// Copies the files of a folder, those below it as well.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_name() != "lock" {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn make(release: &str) {
    let mut cluster = Cluster::start(&shape());
    cluster
        .put_manifest(1, &Bytes::from_static(MANIFEST))
        .unwrap();
    cluster.create_many(1, "before", BEFORE_THE_SNAPSHOT);
    cluster.wait_until("the log is cut", || cluster.status(1).purged >= 20);
    for number in 0..AFTER_IT {
        cluster.create(1, &format!("after/{number}")).unwrap();
    }
    cluster.stop(1);
    for part in ["log", "snapshots"] {
        let target = fixtures().join(release).join(part);
        let _ = fs::remove_dir_all(&target);
        copy(&cluster.data(1).join(part), &target);
    }
}

#[test]
fn what_an_earlier_release_wrote_is_found() {
    if std::env::var_os("ENTREPOT_MAKE_FIXTURE").is_some() {
        make(env!("CARGO_PKG_VERSION"));
    }
    let releases: Vec<_> = fs::read_dir(fixtures()).unwrap().collect();
    assert!(!releases.is_empty());
    for release in releases {
        let release = release.unwrap().path();
        let cluster = Cluster::start_with(&shape(), |data| copy(&release, data));
        assert_eq!(cluster.index_state(1), IndexState::Fresh);
        cluster.linearize(1).unwrap();
        assert_eq!(cluster.manifest(1), MANIFEST, "{}", release.display());
        // The manifest's own repository is one more.
        assert_eq!(cluster.count(1), 1 + BEFORE_THE_SNAPSHOT + AFTER_IT);
        assert!(cluster.has(1, "before/0") && cluster.has(1, "after/14"));
        let status = cluster.status(1);
        assert!(status.purged >= 20, "the snapshot was read: {status:?}");
        assert!(status.term >= 2, "its vote was read: {status:?}");
        // What was answered before is answered the same, what is new goes on.
        cluster.create(1, "now").unwrap();
        assert_eq!(cluster.count(1), 2 + BEFORE_THE_SNAPSHOT + AFTER_IT);
    }
}
