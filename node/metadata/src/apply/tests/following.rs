//! Settings follow their repositories, the newest last.

use std::collections::BTreeMap;

use super::{Machine, account, app, image, repository, rule};
use crate::command::{
    DeleteRepository, EndSettingsTask, PutReplicaSettings, PutRepositorySettings,
    PutRepositoryText, PutRule, TagRepository,
};
use crate::query::{self, MutabilityMode, SettingsTask, TextKind};
use crate::records::rules::{DestinationRecord, RuleOptions};
use crate::records::settings::MutabilityRecord;
use crate::response::Refused;

const NOW: i64 = 50;

fn following(to: &[(&str, &str)]) -> PutRule {
    let destination = |(region, account): &(&str, &str)| DestinationRecord {
        region: (*region).to_owned(),
        account: (*account).to_owned(),
    };
    PutRule {
        destination_region: String::new(),
        destinations: to.iter().map(destination).collect(),
        options: Some(RuleOptions {
            settings: true,
            ..RuleOptions::default()
        }),
        ..rule("all", &[], "eu-west-1")
    }
}

fn policy(text: &str) -> PutRepositoryText {
    PutRepositoryText::new(&account(), &app(), TextKind::Policy, text, NOW)
}

fn tasks(machine: &Machine) -> Vec<SettingsTask> {
    query::settings_tasks(&machine.state, None, 10).unwrap()
}

fn arriving(sequence: u64, policy: &str) -> PutReplicaSettings {
    PutReplicaSettings {
        account: account().to_string(),
        repository: "app".to_owned(),
        source_region: "us-east-1".to_owned(),
        source_repository: "app".to_owned(),
        sequence,
        policy: policy.to_owned(),
        tags: BTreeMap::from([("team".to_owned(), policy.to_owned())]),
        mutability: Some(MutabilityRecord {
            mode: MutabilityMode::Immutable.into(),
            filters: Vec::new(),
        }),
        at_ms: NOW,
        ..PutReplicaSettings::default()
    }
}

fn policy_of(machine: &Machine) -> Option<String> {
    let kind = TextKind::Policy;
    let text = query::repository_text(&machine.state, &account(), &app(), kind).unwrap();
    text.map(|text| text.text)
}

#[test]
fn each_change_asks_for_all_settings_once_and_only_in_the_own_account() {
    let mut machine = Machine::with_app();
    let own = account().to_string();
    machine.done(following(&[
        ("eu-west-1", &own),
        ("eu-west-1", "222222222222"),
    ]));
    machine.done(policy("{}"));
    let first = tasks(&machine);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].destination.account, account());
    machine.done(TagRepository {
        set: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        ..TagRepository::new(&account(), &app())
    });
    machine.done(PutRepositorySettings {
        mutability: Some(MutabilityRecord {
            mode: MutabilityMode::Immutable.into(),
            filters: Vec::new(),
        }),
        ..PutRepositorySettings::new(&account(), &app())
    });
    // The last change's place.
    let last = tasks(&machine);
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].sequence, machine.index);
    // Whoever did the first has not done the last.
    machine.done(EndSettingsTask::new(&first[0]));
    assert_eq!(tasks(&machine), last);
    machine.done(EndSettingsTask::new(&last[0]));
    assert_eq!(tasks(&machine), []);
    // Images are none of them.
    machine.done(image(10, &[1], &["v1"]));
    assert_eq!(tasks(&machine), []);
}

#[test]
fn older_settings_never_come_over_newer_ones_and_go_no_further() {
    let mut machine = Machine::with_app();
    machine.done(following(&[("us-east-1", account().as_str())]));
    machine.done(arriving(7, "seven"));
    machine.done(arriving(5, "five"));
    machine.done(arriving(7, "again"));
    assert_eq!(policy_of(&machine).as_deref(), Some("seven"));
    let tags = query::repository_tags(&machine.state, &account(), &app()).unwrap();
    assert_eq!(tags["team"], "seven");
    let found = query::repository(&machine.state, &account(), &app()).unwrap();
    assert_eq!(found.unwrap().mutability.mode, MutabilityMode::Immutable);
    assert_eq!(tasks(&machine), []);
    // What has gone at the source goes here.
    machine.done(arriving(9, ""));
    assert_eq!(policy_of(&machine), None);
    // What is changed here goes back, and stays until the source changes something.
    machine.done(policy("mine"));
    machine.done(arriving(8, "eight"));
    assert_eq!(policy_of(&machine).as_deref(), Some("mine"));
    assert_eq!(tasks(&machine).len(), 1);
}

#[test]
fn a_repository_is_made_for_its_settings_and_takes_them_with_it_when_it_goes() {
    let mut machine = Machine::with_app();
    machine.done(following(&[("eu-west-1", account().as_str())]));
    machine.done(PutReplicaSettings {
        repository: "new".to_owned(),
        ..arriving(7, "seven")
    });
    let made = query::repository(&machine.state, &account(), &repository("new"));
    let made = made.unwrap().unwrap();
    machine.done(DeleteRepository::new(
        &account(),
        &repository("new"),
        made.index,
    ));
    // One that is made anew begins with none of it.
    machine.done(PutReplicaSettings {
        repository: "new".to_owned(),
        ..arriving(3, "three")
    });
    let kind = TextKind::Policy;
    let text = query::repository_text(&machine.state, &account(), &repository("new"), kind);
    assert_eq!(text.unwrap().unwrap().text, "three");
    machine.done(policy("{}"));
    let app_index = query::repository(&machine.state, &account(), &app()).unwrap();
    machine.done(DeleteRepository {
        force: true,
        ..DeleteRepository::new(&account(), &app(), app_index.unwrap().index)
    });
    assert_eq!(tasks(&machine), []);
}

#[test]
fn what_no_repository_may_have_is_refused() {
    let mut machine = Machine::with_app();
    for wrong in [
        PutReplicaSettings {
            source_region: String::new(),
            ..arriving(7, "seven")
        },
        PutReplicaSettings {
            policy: "x".repeat(20_000),
            ..arriving(7, "seven")
        },
        PutReplicaSettings {
            tags: (0..51).map(|n| (n.to_string(), String::new())).collect(),
            ..arriving(7, "seven")
        },
    ] {
        let refused = machine.refused(wrong);
        assert!(
            matches!(refused, Refused::Invalid(_) | Refused::EntityLimit(_)),
            "{refused:?}"
        );
    }
}
