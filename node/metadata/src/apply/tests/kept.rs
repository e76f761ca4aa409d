//! What is kept of deleted images is held, and bounded.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use entrepot_oci::Digest;
use prost::Message as _;

use super::{Machine, account, app, digest, image, index_of, link};
use crate::apply::apply;
use crate::apply::undelete::kept::Bound;
use crate::command::{
    Author, BeginCollection, Command, CountHeld, CreateRepository, DeleteManifest, Envelope,
    ExpireDeleted, ExpiredImage, LinkBlob, PutRegistrySettings, PutRepositorySettings,
    QuotasChange, RestoreImage,
};
use crate::keys::{self, Key};
use crate::limits::{COUNT_STEP, KEPT_BYTES_MAX, KEPT_IMAGE_BYTES, QUOTA_BYTES_MAX};
use crate::overlay::Overlay;
use crate::query::{self, Cause, Held, Kept};
use crate::read;
use crate::records::LinkRecord;
use crate::records::undelete::{DeletedRecord, KeptRecord};
use crate::response::Refused;
use crate::store::{KeyValue, MemoryState, StorageError, Writes};

/// All that is kept, to go for good.
pub(super) fn all_due(state: &MemoryState) -> ExpireDeleted {
    let due = query::due_images(state, i64::MAX, 1_000).unwrap();
    let images = due.iter().map(|it| {
        let digest = &it.image.manifest.digest;
        ExpiredImage::new(&it.account, &it.repository, digest, it.image.index)
    });
    ExpireDeleted {
        images: images.collect(),
        cutoff_ms: 40,
        now: true,
    }
}

fn delete(number: u8) -> DeleteManifest {
    DeleteManifest {
        at_ms: 30,
        author: Some(Author::new("root", Cause::Client)),
        ..DeleteManifest::new(&account(), &app(), &digest(number))
    }
}

fn restore(number: u8) -> RestoreImage {
    RestoreImage::new(&account(), &app(), &digest(number), 31)
}

fn quotas(bytes: u64, images: u64) -> PutRegistrySettings {
    PutRegistrySettings {
        quotas: Some(QuotasChange {
            bytes: Some(bytes),
            registry_images: Some(images),
            ..QuotasChange::default()
        }),
        ..PutRegistrySettings::new(&account())
    }
}

fn held(machine: &Machine) -> (u64, u64) {
    let held = query::held(&machine.state, &account()).unwrap().unwrap();
    assert!(held.is_whole);
    (held.bytes, held.images)
}

fn kept(state: &MemoryState) -> (u64, u64) {
    let all = query::kept(state, &account()).unwrap();
    let here = query::repository_kept(state, &account(), &app()).unwrap();
    assert_eq!(all, here);
    (all.images, all.bytes)
}

fn deleted(state: &MemoryState) -> Vec<Digest> {
    let found = query::deleted_images(state, &account(), &app(), None, 1_000).unwrap();
    found.iter().map(|it| it.manifest.digest).collect()
}

fn is_full(refused: &Refused) -> bool {
    matches!(refused, Refused::QuotaReached(_))
}

#[test]
fn whoever_pushes_and_deletes_fills_the_registry() {
    let mut machine = Machine::with_app();
    machine.done(quotas(330, 1));
    for number in 10..13 {
        machine.done(image(number, &[1], &["v1"]));
        machine.done(delete(number));
    }
    assert_eq!((held(&machine), kept(&machine.state)), ((330, 0), (3, 30)));
    assert!(is_full(&machine.refused(image(13, &[1], &["v1"]))));
    // The same image takes the place of what is kept of it.
    machine.done(image(12, &[1], &["v1"]));
    assert_eq!((held(&machine), kept(&machine.state)), ((330, 1), (2, 20)));
    machine.done(all_due(&machine.state));
    assert_eq!((held(&machine), kept(&machine.state)), ((310, 1), (0, 0)));
    let registries = query::registries_kept(&machine.state, None, 10).unwrap();
    assert_eq!(registries, []);
}

#[test]
fn what_comes_back_brings_no_bytes_but_is_an_image_again() {
    let mut machine = Machine::with_app();
    machine.done(quotas(320, 1));
    machine.done(image(10, &[1], &[]));
    machine.done(delete(10));
    machine.done(image(11, &[1], &[]));
    assert!(is_full(&machine.refused(restore(10))));
    machine.done(delete(11));
    // Less than is held.
    machine.done(quotas(200, 1));
    machine.done(restore(10));
    assert_eq!((held(&machine), kept(&machine.state)), ((320, 1), (1, 10)));
    // Nor is a deletion ever refused.
    machine.done(delete(10));
    assert_eq!((held(&machine), kept(&machine.state)), ((320, 0), (2, 20)));
}

#[test]
fn what_was_deleted_before_anybody_counted_is_counted_too() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &[]));
    machine.done(image(11, &[1], &[]));
    machine.done(delete(10));
    let registries = query::registries_kept(&machine.state, None, 10).unwrap();
    let one = Kept {
        images: 1,
        bytes: 10,
    };
    assert_eq!(registries, [(account().into(), one)]);
    machine.done(PutRepositorySettings {
        bytes_max: Some(330),
        ..PutRepositorySettings::new(&account(), &app())
    });
    // Nobody has counted yet.
    machine.done(delete(11));
    machine.done(image(12, &[1], &[]));
    assert_eq!(held(&machine), (330, 1));
    assert!(is_full(&machine.refused(image(13, &[1], &[]))));
}

#[test]
fn beyond_what_a_repository_may_keep_the_first_go() {
    let mut machine = Machine::with_app();
    machine.done(quotas(10_000, 100));
    // Not in the order of their digests.
    for number in [12, 10, 14, 11, 13] {
        machine.done(image(number, &[1], &[]));
        machine.done(delete(number));
    }
    let cost = |images| images * (KEPT_IMAGE_BYTES + 10);
    let left = |max: u64| {
        let mut overlay = Overlay::new(&machine.state);
        let home = (&account().into(), &app());
        let bound = Bound {
            max,
            excess: 0,
            room: usize::MAX,
        };
        bound.keep_to(&mut overlay, home, 50).unwrap();
        let mut state = machine.state.clone();
        state.apply_writes(&overlay.into_writes());
        crate::invariants::check(&state).unwrap();
        let held = query::held(&state, &account()).unwrap().unwrap();
        let (images, bytes) = kept(&state);
        assert_eq!((images * 10, held.bytes), (bytes, 300 + bytes));
        deleted(&state)
    };
    let sorted = |numbers: &[u8]| {
        let mut all: Vec<Digest> = numbers.iter().map(|number| digest(*number)).collect();
        all.sort();
        all
    };
    assert_eq!(left(cost(5)), sorted(&[10, 11, 12, 13, 14]));
    assert_eq!(left(cost(5) - 1), sorted(&[10, 11, 13, 14]));
    assert_eq!(left(cost(2)), sorted(&[11, 13]));
    assert_eq!(left(0), []);
}

/// Each takes five pairs.
#[test]
fn what_there_is_no_room_for_goes_with_the_next_deletions() {
    let mut machine = Machine::with_app();
    machine.done(BeginCollection {});
    machine.done(quotas(10_000, 100));
    for number in 10..15 {
        machine.done(image(number, &[1], &[]));
        machine.done(delete(number));
    }
    let cost = KEPT_IMAGE_BYTES + 10;
    let left = |(max, excess, room): (u64, u64, usize)| {
        let (mut state, mut left) = (machine.state.clone(), Vec::new());
        while kept(&state).0 > max {
            let mut overlay = Overlay::new(&state);
            let (max, excess) = (max * cost, excess * cost);
            let bound = Bound { max, excess, room };
            let home = (&account().into(), &app());
            bound.keep_to(&mut overlay, home, 50).unwrap();
            state.apply_writes(&overlay.into_writes());
            crate::invariants::check(&state).unwrap();
            left.push(kept(&state).0);
            // The blob is released with the last of them.
            let key = keys::link(&account(), &app(), &digest(1));
            let link: LinkRecord = read::record(&state, &key).unwrap().unwrap();
            assert_eq!(link.unused_at_ms, left.ends_with(&[0]).then_some(50));
        }
        left
    };
    let ample = 5;
    assert_eq!(left((0, ample, 1)), [4, 3, 2, 1, 0]);
    assert_eq!(left((0, ample, 5)), [4, 3, 2, 1, 0]);
    assert_eq!(left((0, ample, 6)), [3, 1, 0]);
    assert_eq!(left((1, ample, 11)), [2, 1]);
    // Beyond the excess, room or not.
    assert_eq!(left((0, 1, 5)), [1, 0]);
    assert_eq!(left((1, 2, 1)), [3, 2, 1]);
    assert_eq!(left((0, 0, 1)), [0]);
}

/// Counts the pairs that are read.
#[derive(Debug)]
struct Scanned<'a> {
    state: &'a MemoryState,
    pairs: AtomicUsize,
}

impl KeyValue for Scanned<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.state.get(key)
    }

    fn scan(
        &self,
        start: &[u8],
        end: &[u8],
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StorageError> {
        let found = self.state.scan(start, end, limit)?;
        self.pairs.fetch_add(found.len(), Ordering::Relaxed);
        Ok(found)
    }
}

/// Not once more for each image that has gone before: a blob's uses are read past those
/// that are removed.
#[test]
fn what_goes_together_is_read_once() {
    const IMAGES: u8 = 120;
    let mut machine = Machine::with_app();
    machine.done(BeginCollection {});
    for number in 10..10 + IMAGES {
        machine.done(image(number, &[1, 2, 3], &[]));
        machine.done(delete(number));
    }
    let scanned = Scanned {
        state: &machine.state,
        pairs: AtomicUsize::new(0),
    };
    let mut overlay = Overlay::new(&scanned);
    let bound = Bound {
        max: 0,
        excess: 0,
        room: usize::MAX,
    };
    let home = (&account().into(), &app());
    bound.keep_to(&mut overlay, home, 50).unwrap();
    // When each was deleted, and its three uses.
    let pairs = usize::from(IMAGES) * (1 + 3);
    assert_eq!(scanned.pairs.load(Ordering::Relaxed), pairs);
}

#[test]
fn the_tags_that_go_with_an_image_count_too() {
    let mut machine = Machine::with_app();
    let long = "t".repeat(128);
    machine.done(image(10, &[1], &[&long, "v1"]));
    machine.done(delete(10));
    machine.done(image(11, &[1], &[]));
    machine.done(delete(11));
    let cost = |machine: &Machine| {
        let key = keys::repository_kept(&account().into(), &app());
        let record: Option<KeptRecord> = read::record(&machine.state, &key).unwrap();
        record.map(|record| record.cost)
    };
    let tags = 128 + 2;
    assert_eq!(cost(&machine), Some(2 * (KEPT_IMAGE_BYTES + 10) + tags));
    // What comes back with other tags, or with none, gives back the same.
    machine.done(RestoreImage {
        without_tags: true,
        ..restore(10)
    });
    assert_eq!(cost(&machine), Some(KEPT_IMAGE_BYTES + 10));
    machine.done(delete(10));
    assert_eq!(cost(&machine), Some(2 * (KEPT_IMAGE_BYTES + 10)));
    machine.done(all_due(&machine.state));
    assert_eq!(cost(&machine), None);
}

/// However many images it brings.
#[test]
fn a_restoration_counts_one_step_further() {
    let mut machine = Machine::default();
    machine.done(CreateRepository::new(&account(), &app(), 1));
    for number in 0..2 * COUNT_STEP as u64 {
        let digest =
            entrepot_oci::Digest::of(entrepot_oci::Algorithm::Sha256, &number.to_be_bytes());
        let link = LinkBlob {
            digest: digest.to_string(),
            ..link("app", 1)
        };
        let id = u128::from(machine.index + 1).to_be_bytes();
        let envelope = Envelope::new(id, link.into()).to_bytes();
        let (writes, response) = apply(&machine.state, machine.index + 1, &envelope).unwrap();
        response.into_result().unwrap();
        machine.state.apply_writes(&writes);
        machine.index += 1;
    }
    machine.done(image(10, &[], &[]));
    machine.done(image(11, &[], &[]));
    machine.done(index_of(12, &[10, 11]));
    for number in [12, 11, 10] {
        machine.done(delete(number));
    }
    machine.done(quotas(QUOTA_BYTES_MAX, 10));
    machine.done(restore(12));
    let found = query::held(&machine.state, &account()).unwrap().unwrap();
    let one_step = Held {
        bytes: COUNT_STEP as u64 * 100,
        images: 0,
        is_whole: false,
    };
    assert_eq!(found, one_step);
    // The other links, and the manifests.
    for _ in 0..2 {
        machine.done(CountHeld::new(&account()));
    }
    let all = 2 * COUNT_STEP as u64 * 100 + 30;
    assert_eq!(held(&machine), (all, 3));
}

/// A GiB is much for a test: the first image only says that it has so much.
#[test]
fn a_deletion_keeps_within_bounds() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &[]));
    machine.done(delete(10));
    let mut state = machine.state;
    let large = KEPT_BYTES_MAX - 2 * (KEPT_IMAGE_BYTES + 10) - KEPT_IMAGE_BYTES;
    let key = keys::deleted(&account(), &app(), &digest(10));
    let mut record: DeletedRecord = read::record(&state, &key).unwrap().unwrap();
    record.manifest.as_mut().unwrap().content_len = large;
    record.cost = large + KEPT_IMAGE_BYTES;
    let sum = KeptRecord {
        images: 1,
        bytes: large,
        cost: record.cost,
    };
    let entry = |key: Key, value: Vec<u8>| (key.into_bytes(), Some(Bytes::from(value)));
    state.apply_writes(&Writes {
        entries: vec![
            entry(key, record.encode_to_vec()),
            entry(keys::kept(&account()), sum.encode_to_vec()),
            entry(
                keys::repository_kept(&account(), &app()),
                sum.encode_to_vec(),
            ),
        ],
    });
    let mut index = 100;
    let mut run = |command: Command| {
        index += 1;
        let envelope = Envelope::new(u128::from(index).to_be_bytes(), command).to_bytes();
        let (writes, response) = apply(&state, index, &envelope).unwrap();
        response.into_result().unwrap();
        state.apply_writes(&writes);
        kept(&state)
    };
    let mut cycle = |number| {
        run(image(number, &[1], &[]).into());
        run(delete(number).into())
    };
    assert_eq!(cycle(11), (2, large + 10));
    assert_eq!(cycle(12), (3, large + 20));
    assert_eq!(cycle(13), (3, 30));
}
