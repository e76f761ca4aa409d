//! When images were last pulled: the newest pull counts, while the image is there.

use super::{Machine, account, app, digest, image};
use crate::command::{DeleteManifest, DeleteRepository, Pull, RecordPulls};
use crate::limits::PULLS_PER_COMMAND_MAX;
use crate::query;
use crate::response::Refused;

fn pull(number: u8, at_ms: i64) -> Pull {
    Pull::new(&account().into(), &app(), &digest(number), at_ms)
}

fn record(pulls: Vec<Pull>, at_ms: i64) -> RecordPulls {
    RecordPulls { pulls, at_ms }
}

fn pulled(machine: &Machine, number: u8) -> Option<i64> {
    query::pulled_at_ms(&machine.state, &account(), &app(), &digest(number)).unwrap()
}

#[test]
fn the_newest_pull_counts_and_the_first_says_since_when() {
    let mut machine = Machine::with_app();
    machine.pushed(image(10, &[1], &["v1"]));
    assert_eq!(query::pulls_since_ms(&machine.state).unwrap(), None);
    machine.done(record(Vec::new(), 50));
    for (at_ms, newest) in [(70, 70), (60, 70), (80, 80)] {
        machine.done(record(vec![pull(10, at_ms), pull(11, at_ms)], at_ms));
        assert_eq!(pulled(&machine, 10), Some(newest));
    }
    // What is not there was not pulled.
    assert_eq!(pulled(&machine, 11), None);
    assert_eq!(query::pulls_since_ms(&machine.state).unwrap(), Some(50));
}

#[test]
fn it_goes_with_its_image_and_comes_with_no_other() {
    let mut machine = Machine::with_app();
    machine.pushed(image(10, &[1], &[]));
    machine.done(record(vec![pull(10, 70)], 70));
    machine.done(DeleteManifest::new(&account(), &app(), &digest(10)));
    assert_eq!(pulled(&machine, 10), None);
    machine.pushed(image(10, &[1], &[]));
    assert_eq!(pulled(&machine, 10), None);
    machine.done(record(vec![pull(10, 80)], 80));
    let found = query::repository(&machine.state, &account(), &app()).unwrap();
    machine.done(DeleteRepository {
        force: true,
        ..DeleteRepository::new(&account(), &app(), found.unwrap().index)
    });
    assert_eq!(pulled(&machine, 10), None);
}

#[test]
fn there_are_only_so_many_at_a_time_and_they_have_names() {
    let mut machine = Machine::with_app();
    let many = record(vec![pull(10, 7); PULLS_PER_COMMAND_MAX + 1], 7);
    let nameless = Pull {
        repository: "No Name".to_owned(),
        ..pull(10, 7)
    };
    for command in [many, record(vec![nameless], 7)] {
        let refused = machine.refused(command);
        assert!(matches!(refused, Refused::Invalid(_)), "{refused}");
    }
}
