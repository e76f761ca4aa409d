//! Disk and memory stay bounded.

use super::{all, append, entry, id, open, segments, settle};

#[test]
fn purged_segments_go() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let group = log.group("global/0");
    for index in 0..200 {
        append(&group, vec![entry(1, index)]);
    }
    let before = segments(dir.path()).len();
    group.purge(id(1, 190)).unwrap();
    settle(&group);
    let after = segments(dir.path()).len();
    assert!(before > 20 && after <= 4, "{before} then {after}");
    drop(log);
    let log = open(dir.path());
    assert_eq!(all(&log.group("global/0")).len(), 9);
}

#[test]
fn a_quiet_group_does_not_keep_the_others_segments() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let (quiet, busy) = (log.group("global/0"), log.group("region/a/0"));
    append(&quiet, vec![entry(1, 0), entry(1, 1)]);
    let vote = super::super::Ballot {
        term: 7,
        node: 3,
        committed: true,
    };
    quiet.save_vote(vote, Box::new(|_| {}));
    for index in 0..500 {
        append(&busy, vec![entry(1, index)]);
        busy.purge(id(1, index)).unwrap();
    }
    settle(&busy);
    let count = segments(dir.path()).len();
    assert!(
        count <= super::SMALL.segments_before_copy + 2,
        "{count} segments"
    );
    drop((quiet, busy, log));

    let log = open(dir.path());
    let quiet = log.group("global/0");
    assert_eq!(all(&quiet), vec![entry(1, 0), entry(1, 1)]);
    assert_eq!(quiet.vote(), Some(vote));
    assert_eq!(log.group("region/a/0").bounds().0, Some(id(1, 499)));
}

#[test]
fn old_payloads_are_read_from_files() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let group = log.group("global/0");
    for index in 0..100 {
        append(&group, vec![entry(1, index)]);
    }
    settle(&group);
    assert!(group.read_recent(0..10, usize::MAX).is_none());
    assert!(group.read_recent(95..100, usize::MAX).is_some());
    assert_eq!(all(&group).len(), 100);
}

#[test]
fn a_read_stops_at_its_limit_but_returns_one() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let group = log.group("global/0");
    append(&group, (0..10).map(|index| entry(1, index)).collect());
    assert_eq!(group.read(3..10, 1).unwrap(), vec![entry(1, 3)]);
    assert_eq!(group.read(3..10, 120).unwrap().len(), 2);
    assert!(group.read(20..30, 120).unwrap().is_empty());
}
