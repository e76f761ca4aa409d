//! Denied tasks are opened again, some at a time.

use super::{Machine, account, app, apply, image, rule};
use crate::command::{Command, DeniedTask, EndTask, Envelope, RetryTasks};
use crate::limits::RETRIED_MAX;
use crate::query::{self, Destination, TaskKey, TaskKind};

const NOW: i64 = 50;

/// Looks at no invariants: there are many of them, and the last command does.
fn unchecked(machine: &mut Machine, command: impl Into<Command>) {
    machine.index += 1;
    let id = u128::from(machine.index).to_be_bytes();
    let envelope = Envelope::new(id, command.into()).to_bytes();
    let (writes, response) = apply(&machine.state, machine.index, &envelope).unwrap();
    machine.state.apply_writes(&writes);
    response.into_result().unwrap();
}

#[test]
fn each_command_looks_at_some_and_the_next_goes_on_behind_them() {
    let mut machine = Machine::with_app();
    for region in ["ap-south-1", "eu-west-1"] {
        machine.done(rule(region, &[], region));
    }
    let tags: Vec<String> = (0..10).map(|nth| format!("v{nth}")).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    for number in 10..70 {
        let names: Vec<String> = tags.iter().map(|tag| format!("{number}-{tag}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        machine.done(image(number, &[1], &names));
    }
    for _ in 0..2 {
        for task in machine.open_tasks() {
            unchecked(&mut machine, EndTask::denied(&task, "denied", NOW));
        }
    }
    assert!(machine.open_tasks().is_empty());
    let denied = |machine: &Machine, after: Option<&TaskKey>| {
        let view = &machine.state;
        query::denied_tasks_of(view, &account(), &app(), after, RETRIED_MAX).unwrap()
    };
    assert_eq!(denied(&machine, None).len(), RETRIED_MAX);
    let to = Destination::new(&"eu-west-1".parse().unwrap(), &account());
    let retry = |after: Option<&TaskKey>| RetryTasks {
        after: after.map(DeniedTask::from),
        ..RetryTasks::new(&account(), &app(), &to, TaskKind::Copy)
    };

    let first = denied(&machine, None);
    machine.done(retry(None));
    assert_eq!(machine.open_tasks().len(), RETRIED_MAX / 2);
    // Behind them, and not from the first again, which are for another destination.
    machine.done(retry(first.last()));
    let open = machine.open_tasks();
    assert_eq!(open.len(), 600);
    assert!(open.iter().all(|task| task.key.destination == to));
    let left = denied(&machine, None);
    assert_eq!(left.len(), 600);
    assert!(left.iter().all(|key| key.destination != to));
    // Nothing is left behind the last.
    assert!(denied(&machine, left.last()).is_empty());
}
