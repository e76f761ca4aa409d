//! Deletions go to where the copies went, and to nowhere else.

use super::{Machine, account, app, digest, image, index_of, tag};
use crate::command::{DeleteManifest, DeleteTag, EndTask, PutRule, RuleSpec};
use crate::query::{Task, TaskKind};
use crate::records::rules::{PrefixMapping, RuleOptions};

fn rule(id: &str, options: RuleOptions) -> PutRule {
    let spec = RuleSpec {
        id: id.to_owned(),
        destination_region: "eu-west-1".to_owned(),
        options: Some(options),
        ..RuleSpec::default()
    };
    PutRule::of(&account(), spec, 5)
}

/// Copies `app` under another name, and deletions.
fn mapped(to: &str) -> RuleOptions {
    RuleOptions {
        deletions: true,
        mapping: Some(PrefixMapping {
            from: "app".to_owned(),
            to: to.to_owned(),
        }),
        ..RuleOptions::default()
    }
}

fn done(machine: &mut Machine) {
    for task in machine.open_tasks() {
        machine.done(EndTask::complete(&task, 9));
    }
}

/// The names that the open tasks go under.
fn names(machine: &Machine) -> Vec<Vec<String>> {
    let text = |task: &Task| {
        let names = task.names_there().unwrap().into_iter();
        names.map(|name| name.to_string()).collect()
    };
    machine.open_tasks().iter().map(text).collect()
}

fn delete(machine: &mut Machine, number: u8) {
    machine.done(DeleteManifest::new(&account(), &app(), &digest(number)));
}

#[test]
fn what_goes_here_alone_goes_nowhere_else() {
    let mut machine = Machine::with_app();
    machine.done(rule("all", mapped("one/app")));
    machine.done(image(10, &[1], &["v1"]));
    done(&mut machine);
    machine.done(DeleteManifest {
        here_only: true,
        ..DeleteManifest::new(&account(), &app(), &digest(10))
    });
    assert!(machine.open_tasks().is_empty());
}

#[test]
fn a_deletion_goes_under_every_name_that_the_copies_went_under() {
    let mut machine = Machine::with_app();
    machine.done(rule("all", mapped("one/app")));
    machine.done(image(10, &[1], &["v1"]));
    assert_eq!(names(&machine), [["one/app"]]);
    // What is on its way keeps its name.
    machine.done(rule("all", mapped("two/app")));
    assert_eq!(names(&machine), [["one/app"]]);
    done(&mut machine);
    machine.done(image(11, &[1], &["v1"]));
    machine.done(image(10, &[1], &["v1"]));
    assert_eq!(
        names(&machine),
        [vec!["two/app"], vec!["two/app", "one/app"]]
    );
    done(&mut machine);
    machine.done(rule("all", mapped("three/app")));
    delete(&mut machine, 10);
    delete(&mut machine, 11);
    assert_eq!(
        names(&machine),
        [vec!["two/app", "one/app"], vec!["two/app"]]
    );
}

#[test]
fn the_rule_that_copies_names_it_also_where_another_one_copies_deletions() {
    let mut machine = Machine::with_app();
    let copies = RuleOptions {
        deletions: false,
        priority: 1,
        ..mapped("mirror/app")
    };
    machine.done(rule("copies", copies));
    machine.done(rule("deletes", mapped("other/app")));
    machine.done(image(10, &[1], &["v1"]));
    done(&mut machine);
    machine.done(DeleteTag::new(&account(), &app(), &tag("v1")));
    assert_eq!(names(&machine), [["mirror/app"]]);
}

#[test]
fn what_no_rule_has_taken_is_not_deleted_elsewhere() {
    let mut machine = Machine::with_app();
    let tagged = RuleOptions {
        deletions: true,
        tags: vec!["v*".to_owned()],
        ..RuleOptions::default()
    };
    machine.done(rule("tagged", tagged));
    machine.done(image(10, &[1], &["dev"]));
    machine.done(image(11, &[1], &["dev", "v1"]));
    // Of an index, its image goes too, though not by itself.
    machine.done(image(12, &[1], &[]));
    let mut index = index_of(20, &[12]);
    index.tags = vec!["v2".to_owned()];
    machine.done(index);
    done(&mut machine);
    delete(&mut machine, 10);
    assert_eq!(machine.open_tasks(), []);
    for number in [11, 20, 12] {
        delete(&mut machine, number);
        let open = machine.open_tasks();
        let kinds: Vec<_> = open
            .iter()
            .map(|task| (task.kind, task.key.digest))
            .collect();
        assert_eq!(kinds, [(TaskKind::Delete, digest(number))]);
        done(&mut machine);
    }
}

#[test]
fn an_image_whose_tag_goes_before_it_arrived_goes_without_one() {
    let mut machine = Machine::with_app();
    let deletions = RuleOptions {
        deletions: true,
        ..RuleOptions::default()
    };
    machine.done(rule("all", deletions));
    machine.done(image(10, &[1], &["v1"]));
    machine.done(DeleteTag::new(&account(), &app(), &tag("v1")));
    let open = machine.open_tasks();
    let found: Vec<_> = open
        .iter()
        .map(|task| (task.kind, task.key.tag.is_some()))
        .collect();
    assert_eq!(found, [(TaskKind::Copy, false), (TaskKind::Delete, true)]);
    // And an image that is pushed anew is deleted first.
    delete(&mut machine, 10);
    let deleted = machine.index;
    machine.done(image(10, &[1], &[]));
    let open = machine.open_tasks();
    let copy = open.iter().find(|task| task.kind == TaskKind::Copy);
    assert_eq!(copy.unwrap().deleted_before, Some(deleted));
}
