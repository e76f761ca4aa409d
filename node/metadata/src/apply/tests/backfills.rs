//! What was there before a rule goes too: in bounded steps, once each, in order.

use super::{Machine, account, app, digest, image, link, replica, repository, rule, tag};
use crate::command::{
    Command, CreateRepository, DeleteManifest, DeleteRule, EndTask, LinkBlob, PutManifest, PutRule,
    StartBackfill, StepBackfill, StopBackfill,
};
use crate::limits::{BACKFILL_KEPT_MS, BACKFILL_STEP_TASKS, BACKFILL_WAITING_MAX};
use crate::query::{self, Backfill, BackfillCount, BackfillPhase, ItemState};
use crate::records::rules::{PrefixMapping, RuleOptions};
use crate::response::Refused;

const NOW: i64 = 1_000;

fn id(number: u32) -> String {
    format!("6d2f4f4e-1111-4222-8333-{number:012}")
}

fn start(number: u32, to: &str) -> StartBackfill {
    let to = query::Destination::named(to, &account()).unwrap();
    StartBackfill::new(&account(), &id(number), &to, NOW)
}

fn counted(images: u64) -> BackfillCount {
    BackfillCount {
        images,
        ..BackfillCount::default()
    }
}

fn found(machine: &Machine) -> Backfill {
    let found = query::backfills(&machine.state, &account()).unwrap();
    found.into_iter().next_back().unwrap()
}

fn step(machine: &mut Machine) -> Backfill {
    let step = StepBackfill::new(&account(), found(machine).sequence, NOW);
    machine.done(step);
    found(machine)
}

/// A backfill that was counted.
fn begun(machine: &mut Machine, to: &str, images: u64) -> Backfill {
    let number = u32::try_from(machine.state.len()).unwrap();
    machine.done(start(number, to));
    let sequence = found(machine).sequence;
    machine.done(StepBackfill {
        counted: Some(counted(images)),
        ..StepBackfill::new(&account(), sequence, NOW)
    });
    found(machine)
}

/// Does all open tasks.
fn complete(machine: &mut Machine) {
    for task in machine.open_tasks() {
        machine.done(EndTask::complete(&task, NOW));
    }
}

fn images_of(machine: &Machine, state: ItemState) -> Vec<(entrepot_oci::Digest, Option<String>)> {
    let sequence = found(machine).sequence;
    let items = query::backfill_items(&machine.state, &account(), sequence, state, None, 10_000);
    let items = items.unwrap().into_iter();
    items
        .map(|item| (item.place.digest, item.place.tag.map(|it| it.to_string())))
        .collect()
}

#[test]
fn what_was_there_is_copied_under_each_of_its_tags() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1", "v2"]));
    machine.done(image(11, &[2], &[]));
    machine.done(replica(image(12, &[3], &["v3"]), "ap-south-1", 7));
    machine.done(PutManifest {
        ordered: true,
        ..replica(image(13, &[3], &[]), "ap-south-1", 8)
    });
    machine.done(rule("a", &[], "eu-west-1"));
    assert_eq!(machine.open_tasks(), []);
    assert_eq!(begun(&mut machine, "eu-west-1", 3).total(), Some(3));
    let walked = step(&mut machine);
    assert!(walked.walked);
    assert_eq!(
        (walked.waiting, walked.phase),
        (3, BackfillPhase::InProgress)
    );
    // In the place of the step: after all that was pushed before.
    let step_index = machine.index;
    let tasks = machine.open_tasks();
    assert_eq!(tasks.len(), 3);
    assert!(tasks.iter().all(|task| task.sequence == step_index));
    machine.done(EndTask::complete(&tasks[0], NOW));
    assert_eq!(step(&mut machine).completed, 1);
    complete(&mut machine);
    let over = step(&mut machine);
    assert_eq!((over.phase, over.completed), (BackfillPhase::Complete, 3));
    assert_eq!(over.ended_at_ms, Some(NOW));
    let mut copied = images_of(&machine, ItemState::Complete);
    copied.sort_by_key(|(_, tag)| tag.clone());
    let tagged = |name: &str| Some(name.to_owned());
    assert_eq!(
        copied,
        [
            (digest(11), None),
            (digest(10), tagged("v1")),
            (digest(10), tagged("v2"))
        ]
    );
}

#[test]
fn what_is_under_way_is_waited_for_and_what_was_done_is_asked_about_anew() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &[], "eu-west-1"));
    machine.done(image(10, &[1], &["v1"]));
    complete(&mut machine);
    machine.done(image(11, &[1], &["v2"]));
    let under_way = machine.open_tasks();
    begun(&mut machine, "eu-west-1", 2);
    assert_eq!(step(&mut machine).waiting, 2);
    let tasks = machine.open_tasks();
    assert_eq!(tasks.len(), 2);
    assert!(tasks.contains(&under_way[0]));
    // A push of the same leaves it at that, and one of another image does not stop it.
    assert_eq!(machine.pushed(image(10, &[1], &["v1"])).tasks, 0);
    machine.done(image(12, &[1], &["v1"]));
    complete(&mut machine);
    assert_eq!(step(&mut machine).phase, BackfillPhase::Complete);
}

#[test]
fn a_step_is_bounded_and_any_other_proposer_goes_on() {
    let mut machine = Machine::with_app();
    let tags: Vec<String> = (0..90).map(|number| format!("t{number:03}")).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    for number in 10..13 {
        let own: Vec<String> = tags.iter().map(|tag| format!("{tag}-{number}")).collect();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        machine.done(image(number, &[1], &own));
    }
    machine.done(rule("a", &[], "eu-west-1"));
    begun(&mut machine, "eu-west-1", 3 * 90);
    let mut before = 0;
    loop {
        let now = step(&mut machine);
        let asked = now.waiting - before;
        assert!(asked <= BACKFILL_STEP_TASKS as u64 + 1, "{asked}");
        before = now.waiting;
        if now.walked {
            break;
        }
        assert!(asked > 0);
    }
    assert_eq!(before, 3 * 90);
    complete(&mut machine);
    let over = step(&mut machine);
    assert_eq!(
        (over.phase, over.completed),
        (BackfillPhase::Complete, 3 * 90)
    );
}

#[test]
fn no_more_is_under_way_than_may_be() {
    let mut machine = Machine::with_app();
    for number in 10..40 {
        let own: Vec<String> = (0..90).map(|tag| format!("{tag}-{number}")).collect();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        machine.done(image(number, &[1], &own));
    }
    machine.done(rule("a", &[], "eu-west-1"));
    begun(&mut machine, "eu-west-1", 30 * 90);
    for _ in 0..30 {
        step(&mut machine);
    }
    let full = found(&machine);
    assert!(!full.walked && full.waiting >= BACKFILL_WAITING_MAX);
    assert!(full.waiting <= BACKFILL_WAITING_MAX + BACKFILL_STEP_TASKS as u64);
    let first = machine.open_tasks().remove(0);
    machine.done(EndTask::complete(&first, NOW));
    assert_eq!(step(&mut machine).completed, 1);
}

#[test]
fn repositories_that_no_rule_takes_are_passed_over() {
    let mut machine = Machine::with_app();
    for number in 0..2_500 {
        let name = format!("none/{number:04}");
        machine.done(CreateRepository::new(&account(), &repository(&name), 1));
    }
    machine.done(LinkBlob {
        create_repository: true,
        ..link("zoo", 1)
    });
    machine.done(PutManifest {
        repository: "zoo".to_owned(),
        ..image(10, &[1], &["v1"])
    });
    machine.done(rule("a", &["zoo"], "eu-west-1"));
    begun(&mut machine, "eu-west-1", 1);
    let mut steps = 0;
    while !step(&mut machine).walked {
        steps += 1;
        assert!(steps < 5);
    }
    assert!(steps > 0);
    assert_eq!(found(&machine).waiting, 1);
}

#[test]
fn half_of_them_failing_is_a_failure() {
    let mut machine = Machine::with_app();
    for number in 10..14 {
        machine.done(image(number, &[1], &[]));
    }
    machine.done(rule("a", &[], "eu-west-1"));
    begun(&mut machine, "eu-west-1", 4);
    step(&mut machine);
    let tasks = machine.open_tasks();
    machine.done(EndTask::denied(&tasks[0], "denied", NOW));
    machine.done(EndTask::failed(&tasks[1], "wrong", NOW));
    for task in &tasks[2..] {
        machine.done(EndTask::complete(task, NOW));
    }
    let over = step(&mut machine);
    assert_eq!((over.phase, over.failed), (BackfillPhase::Failed, 2));
    assert_eq!(over.failure.as_deref(), Some("TooManyReplicationFailures"));
    assert!(over.any_denied && over.any_refused);
    assert_eq!(images_of(&machine, ItemState::Failed).len(), 2);
    // A new one tries again what failed.
    begun(&mut machine, "eu-west-1", 4);
    step(&mut machine);
    complete(&mut machine);
    assert_eq!(step(&mut machine).phase, BackfillPhase::Complete);
}

#[test]
fn what_goes_while_it_is_copied_is_left_out() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    machine.done(image(11, &[1], &["v2"]));
    machine.done(rule("a", &[], "eu-west-1"));
    begun(&mut machine, "eu-west-1", 2);
    step(&mut machine);
    machine.done(DeleteManifest::new(&account(), &app(), &digest(10)));
    complete(&mut machine);
    let over = step(&mut machine);
    assert_eq!(over.phase, BackfillPhase::Complete);
    assert_eq!((over.completed, over.failed, over.total()), (1, 0, Some(1)));
}

#[test]
fn a_rule_that_goes_ends_its_backfill() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    machine.done(rule("a", &[], "eu-west-1"));
    begun(&mut machine, "eu-west-1", 1);
    machine.done(DeleteRule::new(&account(), "a"));
    let over = step(&mut machine);
    assert_eq!(over.phase, BackfillPhase::Failed);
    assert_eq!(over.failure.as_deref(), Some("DestinationNotConfigured"));
    assert_eq!(machine.open_tasks(), []);
    // Also one that had asked for everything: what it asked for is dropped.
    machine.done(rule("a", &[], "eu-west-1"));
    begun(&mut machine, "eu-west-1", 1);
    step(&mut machine);
    machine.done(DeleteRule::new(&account(), "a"));
    assert_eq!(step(&mut machine).waiting, 0);
}

#[test]
fn one_at_a_time_to_a_region_and_not_too_many() {
    let mut machine = Machine::with_app();
    let to = |number: usize| format!("eu-west-{number}");
    for number in 0..10 {
        machine.done(rule(&format!("r{number}"), &[], &to(number)));
    }
    assert_eq!(
        machine.refused(start(1, "ap-south-1")),
        Refused::DestinationUnknown("ap-south-1".to_owned())
    );
    machine.done(start(1, &to(0)));
    // The same again is no other.
    machine.done(start(1, &to(0)));
    assert_eq!(
        query::backfills(&machine.state, &account()).unwrap().len(),
        1
    );
    assert_eq!(
        machine.refused(start(2, &to(0))),
        Refused::BackfillRunning(to(0))
    );
    machine.done(StopBackfill::new(&account(), &id(1), NOW));
    assert_eq!(found(&machine).phase, BackfillPhase::Stopped);
    assert_eq!(found(&machine).total(), None);
    machine.done(start(2, &to(0)));
    for (command, reason) in [
        (
            StopBackfill::new(&account(), &id(1), NOW),
            Refused::BackfillOver(id(1)),
        ),
        (
            StopBackfill::new(&account(), &id(9), NOW),
            Refused::BackfillUnknown(id(9)),
        ),
    ] {
        assert_eq!(machine.refused(command), reason);
    }
    let bad: Command = StopBackfill::new(&account(), "no id", NOW).into();
    assert!(matches!(machine.refused(bad), Refused::Invalid(_)));
}

#[test]
fn one_that_is_stopped_ends_with_what_it_had_asked_for() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    machine.done(rule("a", &[], "eu-west-1"));
    let begun = begun(&mut machine, "eu-west-1", 1);
    step(&mut machine);
    machine.done(StopBackfill::new(&account(), &begun.id, NOW));
    assert_eq!(found(&machine).phase, BackfillPhase::Stopping);
    assert_eq!(step(&mut machine).phase, BackfillPhase::Stopping);
    complete(&mut machine);
    let over = step(&mut machine);
    assert_eq!((over.phase, over.completed), (BackfillPhase::Stopped, 1));
    // Forgotten in the end, with all that was noted of it.
    let forget = |at_ms| StepBackfill::new(&account(), over.sequence, at_ms);
    machine.done(forget(NOW + BACKFILL_KEPT_MS - 1));
    assert_eq!(images_of(&machine, ItemState::Complete).len(), 1);
    machine.done(forget(NOW + BACKFILL_KEPT_MS));
    assert_eq!(query::backfills(&machine.state, &account()).unwrap(), []);
}

#[test]
fn a_rule_asks_for_its_own() {
    let mut machine = Machine::with_app();
    let asking = |prefixes: &[&str], to: &str| PutRule {
        options: Some(RuleOptions {
            backfill: true,
            ..RuleOptions::default()
        }),
        ..rule("a", prefixes, to)
    };
    let wanted = |machine: &Machine| {
        let wanted = query::wanted_backfills(&machine.state, None, 10).unwrap();
        let names = wanted.iter().map(|it| it.destination.name(&account()));
        names.collect::<Vec<String>>()
    };
    machine.done(image(10, &[1], &["v1"]));
    machine.done(asking(&[], "eu-west-1"));
    assert_eq!(wanted(&machine), ["eu-west-1"]);
    machine.done(StartBackfill {
        rule: "a".to_owned(),
        ..start(1, "eu-west-1")
    });
    assert_eq!(wanted(&machine), [""; 0]);
    // The same rule again asks for nothing, another does, and takes what it asked for
    // with it.
    machine.done(asking(&[], "eu-west-1"));
    assert_eq!(wanted(&machine), [""; 0]);
    machine.done(asking(&["app"], "eu-west-2"));
    assert_eq!(wanted(&machine), ["eu-west-2"]);
    machine.done(asking(&["app"], "eu-west-3"));
    assert_eq!(wanted(&machine), ["eu-west-3"]);
    machine.done(DeleteRule::new(&account(), "a"));
    assert_eq!(wanted(&machine), [""; 0]);
}

#[test]
fn a_backfill_of_one_rule_copies_what_that_rule_takes() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    machine.done(image(11, &[1], &["w1"]));
    machine.done(rule("all", &[], "eu-west-1"));
    let tagged = RuleOptions {
        tags: vec!["w*".to_owned()],
        ..RuleOptions::default()
    };
    machine.done(PutRule {
        options: Some(tagged),
        ..rule("some", &[], "eu-west-1")
    });
    machine.done(StartBackfill {
        rule: "some".to_owned(),
        ..start(1, "eu-west-1")
    });
    machine.done(StepBackfill {
        counted: Some(counted(1)),
        ..StepBackfill::new(&account(), found(&machine).sequence, NOW)
    });
    step(&mut machine);
    let tasks = machine.open_tasks();
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].key.tag, Some(tag("w1")));
}

#[test]
fn the_rule_that_decides_says_under_which_name() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    machine.done(rule("plain", &[], "eu-west-1"));
    let mapped = RuleOptions {
        mapping: Some(PrefixMapping {
            from: "app".to_owned(),
            to: "mirror/app".to_owned(),
        }),
        priority: 2,
        ..RuleOptions::default()
    };
    machine.done(PutRule {
        options: Some(mapped),
        ..rule("mapped", &[], "eu-west-1")
    });
    machine.done(StartBackfill {
        rule: "plain".to_owned(),
        ..start(1, "eu-west-1")
    });
    machine.done(StepBackfill {
        counted: Some(counted(1)),
        ..StepBackfill::new(&account(), found(&machine).sequence, NOW)
    });
    step(&mut machine);
    let tasks = machine.open_tasks();
    assert_eq!(tasks[0].names, ["mirror/app"]);
}

#[test]
fn what_came_from_elsewhere_and_was_pushed_here_too_is_copied() {
    let mut machine = Machine::with_app();
    machine.done(PutManifest {
        ordered: true,
        ..replica(image(13, &[3], &[]), "ap-south-1", 8)
    });
    machine.done(rule("a", &[], "eu-west-1"));
    begun(&mut machine, "eu-west-1", 0);
    assert_eq!(step(&mut machine).phase, BackfillPhase::Complete);
    machine.done(DeleteRule::new(&account(), "a"));
    machine.done(image(13, &[3], &[]));
    machine.done(rule("a", &[], "eu-west-1"));
    begun(&mut machine, "eu-west-1", 1);
    assert_eq!(step(&mut machine).waiting, 1);
}
