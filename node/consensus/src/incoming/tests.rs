//! Snapshots that come in pieces, in several streams, and wrongly.

use std::path::Path;

use super::*;
use crate::files::{Fault, Faults, FaultyFiles, MemoryFiles, Operation, Stream};
use crate::raftlog::EntryId;
use crate::snapshot::write_pairs;
use crate::types::{SnapshotMeta, log_id};

const GROUP: &str = "region/us-east-1/0";

struct Node {
    faults: Faults,
    snapshots: Arc<SnapshotStore>,
    incoming: Incoming,
}

fn node() -> Node {
    let faults = Faults::default();
    let memory: Arc<dyn Files> = Arc::new(MemoryFiles::new());
    let files: Arc<dyn Files> = Arc::new(FaultyFiles::new(memory, faults.clone()));
    let snapshots = SnapshotStore::open(&files, Path::new("/data"), GROUP).unwrap();
    let snapshots = Arc::new(snapshots);
    Node {
        incoming: Incoming::new(&files, &snapshots),
        faults,
        snapshots,
    }
}

fn position(index: u64) -> Position {
    Position::from(SnapshotMeta {
        last_log_id: Some(log_id(EntryId {
            term: 1,
            node: 1,
            index,
        })),
        ..SnapshotMeta::default()
    })
}

/// A snapshot up to `index`, and its bytes.
fn snapshot(index: u64) -> (Announced, Bytes) {
    let pairs = (0..200_u32).map(|number| (number.to_be_bytes(), format!("{index}: {number}")));
    let mut content = Vec::new();
    write_pairs(&mut content, GROUP, &position(index), pairs).unwrap();
    let content = Bytes::from(content);
    let file = FileId {
        length: content.len() as u64,
        checksum: content.slice(content.len() - blake3::OUT_LEN..),
    };
    let announced = Announced {
        position: position(index),
        file: Some(file),
    };
    (announced, content)
}

fn read(file: &SnapshotFile) -> Vec<u8> {
    let mut content = Vec::new();
    let mut stream: Stream = file.stream(0);
    std::io::Read::read_to_end(&mut stream, &mut content).unwrap();
    content
}

#[tokio::test]
async fn a_stream_that_is_cut_anywhere_goes_on_there() {
    let (announced, content) = snapshot(7);
    for cut in [
        0,
        1,
        99,
        content.len() / 2,
        content.len() - 1,
        content.len(),
    ] {
        let node = node();
        let stream = node.incoming.begin(announced.clone(), 0).await.unwrap();
        node.incoming
            .write(stream, content.slice(..cut))
            .await
            .unwrap();

        let here = node.incoming.received(&announced).await;
        assert_eq!(here, cut as u64);
        let stream = node.incoming.begin(announced.clone(), here).await.unwrap();
        node.incoming
            .write(stream, content.slice(cut..))
            .await
            .unwrap();
        let file = node.incoming.finish(stream).await.unwrap();
        assert_eq!(read(&file), content);
        assert_eq!(node.incoming.received(&announced).await, 0);
    }
}

#[tokio::test]
async fn a_newer_snapshot_starts_over() {
    let node = node();
    let ((older, bytes), (newer, content)) = (snapshot(7), snapshot(8));
    let stream = node.incoming.begin(older.clone(), 0).await.unwrap();
    node.incoming
        .write(stream, bytes.slice(..100))
        .await
        .unwrap();
    assert_eq!(node.incoming.received(&newer).await, 0);
    let refused = node.incoming.begin(newer.clone(), 100).await.unwrap_err();
    assert!(matches!(refused, IncomingError::Offset { received: 0, .. }));

    let stream = node.incoming.begin(newer, 0).await.unwrap();
    assert_eq!(node.incoming.received(&older).await, 0);
    node.incoming.write(stream, content.clone()).await.unwrap();
    let file = node.incoming.finish(stream).await.unwrap();
    assert_eq!(read(&file), content);
}

#[tokio::test]
async fn a_stream_that_was_replaced_writes_nothing_more() {
    let node = node();
    let (announced, content) = snapshot(7);
    let dead = node.incoming.begin(announced.clone(), 0).await.unwrap();
    node.incoming
        .write(dead, content.slice(..100))
        .await
        .unwrap();
    let alive = node.incoming.begin(announced.clone(), 100).await.unwrap();
    let refused = node.incoming.write(dead, content.slice(100..200)).await;
    assert!(matches!(refused, Err(IncomingError::Superseded)));
    let refused = node.incoming.finish(dead).await;
    assert!(matches!(refused, Err(IncomingError::Superseded)));
    assert_eq!(node.incoming.received(&announced).await, 100);
    node.incoming
        .write(alive, content.slice(100..))
        .await
        .unwrap();
    node.incoming.finish(alive).await.unwrap();
}

#[tokio::test]
async fn what_is_not_what_was_announced_is_refused() {
    let node = node();
    let (announced, content) = snapshot(7);
    // More of it than there is, or less.
    let stream = node.incoming.begin(announced.clone(), 0).await.unwrap();
    let long = Bytes::from([&content[..], b"x"].concat());
    let refused = node.incoming.write(stream, long).await;
    assert!(matches!(refused, Err(IncomingError::TooLong)));
    node.incoming
        .write(stream, content.slice(..10))
        .await
        .unwrap();
    let refused = node.incoming.finish(stream).await;
    assert!(matches!(
        refused,
        Err(IncomingError::Short { received: 10 })
    ));
    assert_eq!(node.incoming.received(&announced).await, 10, "it may go on");

    // Other bytes: they are gone, and it starts over.
    let mut damaged = content.to_vec();
    damaged[50] ^= 1;
    let stream = node.incoming.begin(announced.clone(), 0).await.unwrap();
    node.incoming.write(stream, damaged.into()).await.unwrap();
    let refused = node.incoming.finish(stream).await.unwrap_err();
    assert!(matches!(refused, IncomingError::Snapshot(_)), "{refused}");
    assert_eq!(node.incoming.received(&announced).await, 0);
}

#[tokio::test]
async fn a_sender_that_cannot_go_on_sends_all_of_it() {
    let node = node();
    let (announced, content) = snapshot(7);
    let old = Announced {
        file: None,
        ..announced
    };
    let stream = node.incoming.begin(old.clone(), 0).await.unwrap();
    node.incoming
        .write(stream, content.slice(..100))
        .await
        .unwrap();
    assert_eq!(node.incoming.received(&old).await, 0);
    let stream = node.incoming.begin(old, 0).await.unwrap();
    node.incoming.write(stream, content.clone()).await.unwrap();
    assert_eq!(read(&node.incoming.finish(stream).await.unwrap()), content);
}

#[tokio::test]
async fn a_disk_that_fails_refuses_and_the_next_try_goes_on() {
    for (operation, fault) in [
        (Operation::Create, Fault::Full),
        (Operation::Write, Fault::TornFull),
        (Operation::Write, Fault::Broken),
        (Operation::Sync, Fault::Broken),
        (Operation::Read, Fault::Broken),
        (Operation::Open, Fault::Broken),
    ] {
        let node = node();
        let (announced, content) = snapshot(7);
        node.faults.fail(operation, fault);
        let mut tries = 0;
        let file = loop {
            tries += 1;
            match all_of_it(&node.incoming, &announced, &content).await {
                Ok(file) => break file,
                Err(error) => assert!(tries < 3, "{operation:?}: {error}"),
            }
        };
        assert_eq!(tries, 2, "{operation:?}");
        assert_eq!(read(&file), content, "{operation:?}");
        drop(file);
        assert!(node.snapshots.current().unwrap().is_none());
    }
}

/// What a sender does.
async fn all_of_it(
    incoming: &Incoming,
    announced: &Announced,
    content: &Bytes,
) -> Result<SnapshotFile, IncomingError> {
    let offset = incoming.received(announced).await;
    let stream = incoming.begin(announced.clone(), offset).await?;
    let mut rest = content.slice(usize::try_from(offset).unwrap()..);
    while !rest.is_empty() {
        let piece = rest.split_to(rest.len().min(100));
        incoming.write(stream, piece).await?;
    }
    incoming.finish(stream).await
}

#[tokio::test(start_paused = true)]
async fn what_nobody_goes_on_with_is_given_up() {
    let node = node();
    let (announced, content) = snapshot(7);
    let stream = node.incoming.begin(announced.clone(), 0).await.unwrap();
    node.incoming
        .write(stream, content.slice(..100))
        .await
        .unwrap();
    node.incoming.tidy().await;
    assert_eq!(node.incoming.received(&announced).await, 100);
    tokio::time::advance(PATIENCE + Duration::from_secs(1)).await;
    node.incoming.tidy().await;
    assert_eq!(node.incoming.received(&announced).await, 0);
}
