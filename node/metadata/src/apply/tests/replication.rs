//! Rules, tasks and the order of replicas.

use super::{Machine, account, app, digest, image, replica, rule, tag};
use crate::command::{DeleteManifest, DeleteRule, DeleteTag, EndTask};
use crate::query::{self, TaskState};
use crate::response::{Outcome, Refused, RulesChanged, TaskEnded};

const NOW: i64 = 50;

fn ended(ended: bool) -> Outcome {
    Outcome::TaskEnded(TaskEnded { ended })
}

fn changed(replaced: bool, tasks_dropped: u64) -> Outcome {
    Outcome::RulesChanged(RulesChanged {
        replaced,
        tasks_dropped,
        tasks_left: false,
    })
}

/// (digest number's digest, tag, destination) of the open tasks.
fn open(machine: &Machine) -> Vec<(entrepot_oci::Digest, Option<String>, String)> {
    machine
        .open_tasks()
        .into_iter()
        .map(|task| {
            let tag = task.key.tag.map(|tag| tag.to_string());
            (
                task.key.digest,
                tag,
                task.key.destination.name(&task.key.account),
            )
        })
        .collect()
}

#[test]
fn a_push_enqueues_a_task_for_each_tag_and_destination() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &[], "eu-west-1"));
    machine.done(rule("b", &["ap"], "eu-west-1"));
    machine.done(rule("c", &["app"], "ap-south-1"));
    machine.done(rule("d", &["apps", "other"], "us-east-1"));
    assert_eq!(machine.pushed(image(10, &[1], &["v1", "v2"])).tasks, 4);
    let task = |tag: &str, to: &str| (digest(10), Some(tag.to_owned()), to.to_owned());
    assert_eq!(
        open(&machine),
        [
            task("v1", "ap-south-1"),
            task("v1", "eu-west-1"),
            task("v2", "ap-south-1"),
            task("v2", "eu-west-1"),
        ]
    );
    assert!(
        machine
            .open_tasks()
            .iter()
            .all(|task| task.sequence == machine.index)
    );
}

#[test]
fn a_push_without_a_tag_is_copied_once() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &[], "eu-west-1"));
    assert_eq!(machine.pushed(image(10, &[1], &[])).tasks, 1);
    assert_eq!(machine.pushed(image(10, &[1], &[])).tasks, 0);
    assert_eq!(open(&machine), [(digest(10), None, "eu-west-1".to_owned())]);
}

#[test]
fn what_was_there_before_the_rule_waits_for_the_next_push() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &["v1"]));
    machine.done(rule("a", &[], "eu-west-1"));
    assert_eq!(open(&machine), []);
    assert_eq!(machine.pushed(image(10, &[1], &["v1"])).tasks, 1);
}

#[test]
fn a_replica_goes_no_further() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &[], "eu-west-1"));
    let put = machine.pushed(replica(image(10, &[1], &["v1"]), "us-east-1", 7));
    assert_eq!(put.tasks, 0);
}

#[test]
fn a_second_push_does_not_repeat_what_is_done_or_under_way() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &[], "eu-west-1"));
    machine.done(image(10, &[1], &["v1"]));
    assert_eq!(machine.pushed(image(10, &[1], &["v1"])).tasks, 0);
    let task = machine.open_tasks().remove(0);
    assert_eq!(machine.done(EndTask::complete(&task, NOW)), ended(true));
    assert_eq!(machine.pushed(image(10, &[1], &["v1"])).tasks, 0);
}

#[test]
fn a_second_push_repeats_what_failed() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &[], "eu-west-1"));
    machine.done(image(10, &[1], &["v1"]));
    let task = machine.open_tasks().remove(0);
    machine.done(EndTask::failed(&task, "denied", NOW));
    assert_eq!(machine.pushed(image(10, &[1], &["v1"])).tasks, 1);
    let task = query::task(&machine.state, &task.key).unwrap().unwrap();
    assert_eq!((task.state, task.reason), (TaskState::InProgress, None));
}

#[test]
fn a_tag_that_comes_back_is_copied_again() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &[], "eu-west-1"));
    machine.done(image(10, &[1], &["v1"]));
    let first = machine.open_tasks().remove(0);
    machine.done(image(11, &[1], &["v1"]));
    assert_eq!(machine.pushed(image(10, &[1], &["v1"])).tasks, 1);
    // The first push's task became the third's.
    assert_eq!(machine.open_tasks().len(), 2);
    assert_eq!(machine.done(EndTask::complete(&first, NOW)), ended(false));
    let third = query::task(&machine.state, &first.key).unwrap().unwrap();
    assert!(third.sequence > first.sequence);
    assert_eq!(machine.done(EndTask::complete(&third, NOW)), ended(true));
    assert_eq!(machine.done(EndTask::complete(&third, NOW)), ended(false));
}

#[test]
fn a_task_ends_once_with_its_time_and_reason() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &[], "eu-west-1"));
    machine.done(image(10, &[1], &[]));
    let task = machine.open_tasks().remove(0);
    let reason = "é".repeat(1_000);
    machine.done(EndTask::failed(&task, &reason, NOW));
    let ended = query::tasks(&machine.state, &account(), None, None, 10).unwrap();
    assert_eq!(
        ended,
        [query::Task {
            state: TaskState::Failed,
            ended_at_ms: Some(NOW),
            reason: Some("é".repeat(512)),
            ..task
        }]
    );
    assert_eq!(machine.open_tasks(), []);
}

#[test]
fn open_tasks_come_in_pages_that_hold_whole_pushes() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &[], "eu-west-1"));
    machine.done(rule("b", &[], "ap-south-1"));
    machine.done(image(10, &[1], &["v1", "v2"]));
    machine.done(image(11, &[1], &["v1"]));
    let page = |after, limit| query::open_tasks(&machine.state, after, limit).unwrap();
    assert_eq!(page(0, 0).len(), 0);
    let first = page(0, 1);
    assert_eq!(first.len(), 4);
    let second = page(first[3].sequence, 100);
    assert_eq!(second.len(), 2);
    assert_eq!([first, second].concat(), page(0, 100));
    assert_eq!(page(u64::MAX, 1), []);
}

#[test]
fn tasks_are_listed_in_pages_and_by_image() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &[], "eu-west-1"));
    for number in 10..13 {
        machine.done(image(number, &[1], &["v1", "v2"]));
    }
    let page = |after, limit| {
        query::tasks(&machine.state, &account(), Some(&app()), after, limit).unwrap()
    };
    let all = page(None, 100);
    assert_eq!(all.len(), 6);
    let second = page(Some(&all[3].key), 100);
    assert_eq!(second, all[4..]);
    for task in &all {
        assert_eq!(task.key.to_string().parse(), Ok(task.key.clone()));
    }
    let of = query::tasks_of(&machine.state, &account(), &app(), &digest(11), 100).unwrap();
    assert!(of.len() == 2 && of.iter().all(|task| task.key.digest == digest(11)));
}

#[test]
fn a_deleted_manifest_is_no_longer_copied() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &[], "eu-west-1"));
    machine.done(image(10, &[1], &["v1"]));
    let task = machine.open_tasks().remove(0);
    machine.done(DeleteManifest::new(&account(), &app(), &digest(10)));
    assert_eq!(open(&machine), []);
    assert_eq!(machine.done(EndTask::complete(&task, NOW)), ended(false));
    assert_eq!(machine.pushed(image(10, &[1], &["v1"])).tasks, 1);
}

#[test]
fn a_deleted_rule_takes_the_open_tasks_that_no_other_asks_for() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &["app"], "eu-west-1"));
    machine.done(rule("b", &[], "eu-west-1"));
    machine.done(rule("c", &[], "ap-south-1"));
    machine.done(image(10, &[1], &["v1"]));
    assert_eq!(
        machine.done(DeleteRule::new(&account(), "b")),
        changed(false, 0)
    );
    assert_eq!(
        machine.done(DeleteRule::new(&account(), "a")),
        changed(false, 1)
    );
    let left = (digest(10), Some("v1".to_owned()), "ap-south-1".to_owned());
    assert_eq!(open(&machine), [left]);
    let refused = machine.refused(DeleteRule::new(&account(), "a"));
    assert_eq!(refused, Refused::RuleUnknown("a".to_owned()));
}

#[test]
fn a_narrowed_rule_takes_the_open_tasks_that_it_no_longer_asks_for() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &[], "eu-west-1"));
    machine.done(image(10, &[1], &["v1"]));
    assert_eq!(
        machine.done(rule("a", &["ap"], "eu-west-1")),
        changed(true, 0)
    );
    assert_eq!(
        machine.done(rule("a", &["other"], "eu-west-1")),
        changed(true, 1)
    );
    assert_eq!(open(&machine), []);
}

#[test]
fn a_task_that_ended_outlives_its_rule() {
    let mut machine = Machine::with_app();
    machine.done(rule("a", &[], "eu-west-1"));
    machine.done(image(10, &[1], &["v1"]));
    let task = machine.open_tasks().remove(0);
    machine.done(EndTask::complete(&task, NOW));
    assert_eq!(
        machine.done(DeleteRule::new(&account(), "a")),
        changed(false, 0)
    );
    assert!(query::task(&machine.state, &task.key).unwrap().is_some());
}

#[test]
fn a_registry_has_ten_rules() {
    let mut machine = Machine::with_app();
    for number in 0..10 {
        machine.done(rule(&format!("r{number}"), &[], "eu-west-1"));
    }
    assert_eq!(
        machine.refused(rule("one-more", &[], "eu-west-1")),
        Refused::RuleLimit(10)
    );
    assert_eq!(
        machine.done(rule("r3", &["b", "a", "b"], "eu-west-1")),
        changed(true, 0)
    );
    let found = query::rule(&machine.state, &account(), "r3")
        .unwrap()
        .unwrap();
    assert_eq!(found.prefixes, ["a", "b"]);
    assert_eq!(query::rules(&machine.state, &account()).unwrap().len(), 10);
}

#[test]
fn a_rule_is_checked() {
    let mut machine = Machine::with_app();
    let many = vec!["a"; 101];
    let long = "a".repeat(257);
    for prefixes in [&[""][..], &["A"], &["a\0"], &[&long], &many] {
        assert!(matches!(
            machine.refused(rule("a", prefixes, "eu-west-1")),
            Refused::Invalid(_)
        ));
    }
    for id in ["", "a b", "a\0", &long] {
        assert!(matches!(
            machine.refused(rule(id, &[], "eu-west-1")),
            Refused::Invalid(_)
        ));
        assert!(matches!(
            machine.refused(DeleteRule::new(&account(), id)),
            Refused::Invalid(_)
        ));
    }
}

#[test]
fn a_replicas_tag_never_goes_back_to_an_older_push_of_its_source() {
    let mut machine = Machine::with_app();
    machine.done(replica(image(10, &[1], &["v1"]), "us-east-1", 20));
    let late = machine.pushed(replica(image(11, &[1], &["v1", "v2"]), "us-east-1", 19));
    assert!(late.created);
    assert_eq!(late.tags_kept, ["v1"]);
    assert_eq!(machine.tag_digest("v1"), Some(digest(10)));
    assert_eq!(machine.tag_digest("v2"), Some(digest(11)));
    let origin = machine.tag("v1").unwrap().origin.unwrap();
    let source = origin.source;
    assert_eq!((source.region.as_str(), origin.sequence), ("us-east-1", 20));
}

#[test]
fn neither_a_push_here_nor_a_deletion_lets_an_older_replica_in() {
    let mut machine = Machine::with_app();
    machine.done(replica(image(10, &[1], &["v1"]), "us-east-1", 20));
    machine.done(image(12, &[1], &["v1"]));
    let late = machine.pushed(replica(image(11, &[1], &["v1"]), "us-east-1", 19));
    assert_eq!(late.tags_kept, ["v1"]);
    assert_eq!(machine.tag_digest("v1"), Some(digest(12)));

    machine.done(DeleteTag::new(&account(), &app(), &tag("v1")));
    machine.done(replica(image(11, &[1], &["v1"]), "us-east-1", 19));
    assert_eq!(machine.tag("v1"), None);
    machine.done(replica(image(11, &[1], &["v1"]), "us-east-1", 21));
    assert_eq!(machine.tag_digest("v1"), Some(digest(11)));
}

#[test]
fn a_repeated_replica_does_not_undo_what_came_after() {
    let mut machine = Machine::with_app();
    let push = || replica(image(10, &[1], &["v1"]), "us-east-1", 20);
    machine.done(push());
    machine.done(image(12, &[1], &["v1"]));
    let again = machine.pushed(push());
    assert_eq!(again.tags_kept, [""; 0]);
    assert_eq!(machine.tag_digest("v1"), Some(digest(12)));
}

#[test]
fn sources_do_not_order_each_other() {
    let mut machine = Machine::with_app();
    machine.done(replica(image(10, &[1], &["v1"]), "us-east-1", 20));
    machine.done(replica(image(11, &[1], &["v1"]), "eu-west-1", 3));
    assert_eq!(machine.tag_digest("v1"), Some(digest(11)));
    machine.done(replica(image(12, &[1], &["v1"]), "us-east-1", 21));
    assert_eq!(machine.tag_digest("v1"), Some(digest(12)));
}
