//! Backfills: seeds for the targets.

use entrepot_oci::{Algorithm, Digest};

use crate::apply::tests::{Machine, account, rule};
use crate::command::{
    Command, EndSettingsTask, Pull, PutReplicaSettings, PutRule, RecordPulls, StartBackfill,
    StepBackfill, StopBackfill,
};
use crate::query::{self, BackfillCount, Destination, ItemState};
use crate::records::rules::RuleOptions;
use crate::store::{KeyValue, StorageError};

/// Backfills read at a time.
const FEW: usize = 10;

fn to(name: &str) -> Destination {
    Destination::named(name, &account()).unwrap()
}

fn start(id: &str, name: &str) -> StartBackfill {
    let id = format!("6d2f4f4e-1111-4222-8333-{id:0>12}");
    StartBackfill::new(&account(), &id, &to(name), 1)
}

fn step(sequence: u64) -> StepBackfill {
    StepBackfill {
        counted: Some(BackfillCount {
            images: 3,
            bytes: 7,
            is_at_least: false,
        }),
        ..StepBackfill::new(&account(), sequence, 2)
    }
}

fn asking() -> PutRule {
    PutRule {
        options: Some(RuleOptions {
            backfill: true,
            ..RuleOptions::default()
        }),
        ..rule("asking", &["team/"], "eu-west-2")
    }
}

fn running(view: &dyn KeyValue) -> u64 {
    let running = query::running_backfills(view, FEW).unwrap();
    running.last().map_or(0, |(_, found)| found.sequence)
}

/// One under way, one that is being counted, and one that a rule asks for.
pub(super) fn prepare(machine: &mut Machine) {
    machine.done(start("1", "eu-west-1"));
    let sequence = running(&machine.state);
    machine.done(step(sequence));
    machine.done(step(sequence));
    machine.done(asking());
}

pub(super) fn commands() -> Vec<(&'static str, Command)> {
    let sequence = running(&super::state());
    let first = start("1", "eu-west-1").id;
    vec![
        (
            "good-replica-settings",
            PutReplicaSettings {
                account: account().to_string(),
                repository: "app".to_owned(),
                source_region: "us-east-1".to_owned(),
                source_repository: "app".to_owned(),
                sequence: 7,
                policy: "{}".to_owned(),
                ..PutReplicaSettings::default()
            }
            .into(),
        ),
        (
            "good-end-of-settings",
            EndSettingsTask {
                account: account().to_string(),
                repository: "app".to_owned(),
                destination: "eu-west-1".to_owned(),
                sequence: 7,
            }
            .into(),
        ),
        (
            "good-pulls",
            RecordPulls {
                pulls: vec![Pull::new(
                    &account().into(),
                    &"app".parse().unwrap(),
                    &Digest::of(Algorithm::Sha256, b"1"),
                    7,
                )],
                at_ms: 7,
            }
            .into(),
        ),
        ("good-backfill", start("2", "eu-west-2").into()),
        ("bad-backfill-nowhere", start("3", "mars").into()),
        ("bad-backfill-twice", start("3", "eu-west-1").into()),
        ("good-backfill-step", step(sequence).into()),
        (
            "good-backfill-stop",
            StopBackfill::new(&account(), &first, 3).into(),
        ),
        (
            "bad-backfill-stop",
            StopBackfill::new(&account(), "1", 3).into(),
        ),
    ]
}

pub(super) fn read_all(view: &dyn KeyValue) -> Result<(), StorageError> {
    let account = account();
    for found in query::backfills(view, &account)? {
        for state in ItemState::ALL {
            query::backfill_items(view, &account, found.sequence, state, None, FEW)?;
        }
    }
    query::wanted_backfills(view, None, FEW)?;
    query::running_backfills(view, FEW)?;
    query::settings_tasks(view, None, FEW)?;
    let rules = query::backfill_rules(view, &account, &to("eu-west-1"), None)?;
    query::backfill_page(view, &account, &rules, None, FEW)?;
    Ok(())
}
