//! Hostile bytes: snapshot files, as a peer may send them.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use entrepot_fuzz::{Verdict, target};

use super::format::{self, Pairs, Writer};
use crate::files::{Disk, Files as _, Mode, Stream};
use crate::raftlog::EntryId;
use crate::types::{Position, SnapshotMeta, log_id};

const GROUP: &str = "region/us-east-1/0";

fn written(pairs: &[(Bytes, Bytes)], position: &Position) -> Vec<u8> {
    let mut content = Vec::new();
    let mut writer = Writer::begin(&mut content, GROUP, position).unwrap();
    for (key, value) in pairs {
        writer.pair(key, value).unwrap();
    }
    writer.finish().unwrap();
    content
}

fn read(path: &Path) -> Vec<(Bytes, Bytes)> {
    let handle = Disk.open(path, Mode::Read).unwrap();
    let pairs = Pairs::open(Stream::new(handle), path).unwrap();
    pairs.collect::<Result<_, _>>().unwrap()
}

/// `raw` or `sum`, then the file; with `sum`, its checksum is set right, since
/// whoever sends a snapshot can do that too.
#[test]
fn snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snapshot");
    let meta = Position::from(SnapshotMeta {
        last_log_id: Some(log_id(EntryId {
            term: 3,
            node: 1,
            index: 77,
        })),
        ..SnapshotMeta::default()
    });
    let pairs: Vec<(Bytes, Bytes)> = (1..6_u8)
        .map(|number| (vec![number; 3].into(), vec![number; 20].into()))
        .collect();
    let (empty, whole) = (written(&[], &meta), written(&pairs, &meta));
    let with = |how: &[u8], content: &[u8]| [how, content].concat();
    // The last pair says that its value has 64 MiB.
    let mut believed = whole.clone();
    let last = whole.len() - blake3::OUT_LEN - 12 - 23 - 8;
    believed[last + 4..last + 8].copy_from_slice(&(64_u32 << 20).to_le_bytes());
    let backwards: Vec<_> = pairs.iter().rev().cloned().collect();
    target!("snapshot")
        .seed("good-whole", with(b"raw", &whole))
        .seed("good-empty", with(b"sum", &empty))
        .seed("good-summed-again", with(b"sum", &whole))
        .seed("bad-nothing", "raw")
        .seed("bad-backwards", with(b"sum", &written(&backwards, &meta)))
        .seed("bad-length", with(b"sum", &believed))
        .seed("bad-cut", with(b"sum", &whole[..whole.len() - 50]))
        .words([b"ENTRSNAP\x01\0\0\0", b"\xff\xff\xff\xff\0\0\0\0\0\0\0\0"])
        .words([[0xff, 0xff, 0, 0, 0xff, 0xff, 0xff, 0x03]])
        .words(["raw", "sum"])
        // The file's buffers are 256 KiB each.
        .memory(1024 * 1024, 16)
        .check(|input| {
            let (how, content) = input.split_at(input.len().min(3));
            let mut content = content.to_vec();
            if how == b"sum" {
                let length = content.len().saturating_sub(blake3::OUT_LEN);
                let sum = blake3::hash(&content[..length]);
                content.truncate(length);
                content.extend_from_slice(sum.as_bytes());
            }
            fs::write(&path, &content).unwrap();
            let verified = format::verify(&Disk, &path, GROUP);
            if let Ok(meta) = &verified {
                let pairs = read(&path);
                assert!(pairs.is_sorted_by(|one, next| one.0 < next.0));
                // Nothing is lost when it is written once more.
                fs::write(&path, written(&pairs, meta)).unwrap();
                assert_eq!(format::verify(&Disk, &path, GROUP).unwrap(), *meta);
                assert_eq!(read(&path), pairs);
            }
            Verdict::of(&verified)
        });
}
