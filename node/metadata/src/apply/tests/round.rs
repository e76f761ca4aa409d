//! Two accounts with two repositories each, which rules bring together in one
//! repository elsewhere: whatever they push and delete, and however late and often
//! what their tasks send arrives, in the end it holds what they hold.

use std::collections::{BTreeMap, BTreeSet};

use entrepot_oci::{AccountId, Digest, RepositoryName};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::{Machine, account, app, digest, image, index_of, link, region, tag};
use crate::command::{
    Command, CreateRepository, DeleteManifest, DeleteReplica, DeleteTag, EndTask, PutManifest,
    PutRule, RuleSpec, SettleReplicas,
};
use crate::query::{self, Source, TagOrigin, Task, TaskKind};
use crate::records::rules::{DestinationRecord, PrefixMapping, RuleOptions};

const EAST: &str = "us-east-1";
const WEST: &str = "eu-west-1";
const ACCOUNTS: [&str; 2] = ["123456789012", "210987654321"];
/// The rule copies the second one under the name of the first.
const REPOSITORIES: [&str; 2] = ["app", "team/app"];
const SOURCES: usize = 4;
const IMAGES: [u8; 3] = [10, 11, 12];
/// An index of the first image.
const INDEX: u8 = 20;
const TAGS: u8 = 3;
/// Rounds of all open tasks until none may be left.
const ROUNDS_MAX: usize = 10;

#[derive(Clone, Copy, Debug)]
enum Act {
    Push(usize, u8, Option<u8>),
    /// The last tag with its image, or not.
    Untag(usize, u8, bool),
    Delete(usize, u8),
    /// Somebody takes one of the open tasks in hand.
    Start(usize),
    /// What was sent for one of them arrives; and once more some time, if so.
    Arrive(usize, bool),
    /// Something arrives once more.
    Again(usize),
    /// What need not be kept goes.
    Settle,
}

/// A task, and what is sent for it.
type Sent = (Task, Vec<Command>);

#[derive(Debug)]
struct World {
    here: Machine,
    there: Machine,
    sent: Vec<Sent>,
    late: Vec<Sent>,
}

fn act() -> impl Strategy<Value = Act> {
    let place = || 0..SOURCES;
    let image = || select(vec![IMAGES[0], IMAGES[1], IMAGES[2], INDEX]);
    prop_oneof![
        6 => (place(), image(), proptest::option::weighted(0.7, 0..TAGS))
            .prop_map(|(place, image, tag)| Act::Push(place, image, tag)),
        2 => (place(), 0..TAGS, any::<bool>())
            .prop_map(|(place, tag, with)| Act::Untag(place, tag, with)),
        3 => (place(), image()).prop_map(|(place, image)| Act::Delete(place, image)),
        6 => any::<usize>().prop_map(Act::Start),
        5 => (any::<usize>(), any::<bool>()).prop_map(|(which, again)| Act::Arrive(which, again)),
        1 => any::<usize>().prop_map(Act::Again),
        1 => Just(Act::Settle),
    ]
}

fn source(place: usize) -> (AccountId, RepositoryName) {
    let (account, repository) = (ACCOUNTS[place / 2], REPOSITORIES[place % 2]);
    (account.parse().unwrap(), repository.parse().unwrap())
}

/// Each source has its own tags; the images are the same.
fn name(place: usize, number: u8) -> String {
    format!("s{place}-v{number}")
}

fn rule_of(account: &str) -> PutRule {
    let spec = RuleSpec {
        id: "all".to_owned(),
        destinations: vec![DestinationRecord {
            region: WEST.to_owned(),
            account: ACCOUNTS[0].to_owned(),
        }],
        options: Some(RuleOptions {
            deletions: true,
            mapping: Some(PrefixMapping {
                from: "team/".to_owned(),
                to: String::new(),
            }),
            ..RuleOptions::default()
        }),
        ..RuleSpec::default()
    };
    PutRule::of(&account.parse().unwrap(), spec, 5)
}

fn pushed(place: usize, number: u8, tags: &[&str]) -> PutManifest {
    let (account, repository) = source(place);
    let push = if number == INDEX {
        PutManifest {
            tags: tags.iter().map(ToString::to_string).collect(),
            ..index_of(INDEX, &[IMAGES[0]])
        }
    } else {
        image(number, &[1], tags)
    };
    PutManifest {
        account: account.to_string(),
        repository: repository.to_string(),
        ..push
    }
}

// === impl World ===

impl World {
    fn new() -> Self {
        let mut here = Machine::default();
        for place in 0..SOURCES {
            let (account, repository) = source(place);
            here.done(CreateRepository::new(&account, &repository, 1));
            let mut blob = link("app", 1);
            blob.account = account.to_string();
            blob.repository = repository.to_string();
            here.done(blob);
        }
        for account in ACCOUNTS {
            here.done(rule_of(account));
        }
        Self {
            here,
            there: Machine::with_app(),
            sent: Vec::new(),
            late: Vec::new(),
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Push(place, number, at) => {
                let name = at.map(|at| name(place, at));
                let names: Vec<&str> = name.as_deref().into_iter().collect();
                // Refused, if it is the index and its image is not there.
                let _ = self.here.run(pushed(place, number, &names));
            }
            Act::Untag(place, at, with_manifest) => {
                let (account, repository) = source(place);
                let name = tag(&name(place, at));
                let delete = DeleteTag {
                    with_manifest,
                    ..DeleteTag::new(&account, &repository, &name)
                };
                let _ = self.here.run(delete);
            }
            Act::Delete(place, number) => {
                let (account, repository) = source(place);
                let delete = DeleteManifest::new(&account, &repository, &digest(number));
                let _ = self.here.run(delete);
            }
            Act::Start(which) => {
                let open = self.here.open_tasks();
                if let Some(task) = open.get(which % open.len().max(1)) {
                    let sent = self.prepare(task);
                    self.sent.push((task.clone(), sent));
                }
            }
            Act::Arrive(which, again) => {
                if self.sent.is_empty() {
                    return;
                }
                let sent = self.sent.remove(which % self.sent.len());
                if again {
                    self.late.push(sent.clone());
                }
                self.arrive(&sent);
            }
            Act::Settle => {
                self.forget();
            }
            Act::Again(which) => {
                if !self.late.is_empty() {
                    let sent = self.late.remove(which % self.late.len());
                    self.arrive(&sent);
                }
            }
        }
    }

    /// As a node of the destination does it; whether anything is kept then of what is
    /// gone.
    fn forget(&mut self) -> bool {
        let (dead, next) = query::dead_replicas(&self.there.state, None, 1_000).unwrap();
        assert_eq!(next, None);
        for found in dead {
            let from = found.source.account.account();
            let to = query::Destination::new(&region(WEST), &found.account.account());
            let (here, applied) = (&self.here.state, self.here.index);
            let settled = query::settled_up_to(here, &from, &to, applied).unwrap();
            let sequence = settled.unwrap();
            if found.sequence <= sequence {
                self.there.done(SettleReplicas {
                    account: found.account.to_string(),
                    region: found.source.region.to_string(),
                    source_account: from.to_string(),
                    sequence,
                    records: vec![found.key],
                });
            }
        }
        let (dead, _) = query::dead_replicas(&self.there.state, None, 1_000).unwrap();
        !dead.is_empty()
    }

    /// As the outbox does it.
    fn prepare(&self, task: &Task) -> Vec<Command> {
        let names = task.names_there().unwrap();
        assert_eq!(names, [app()]);
        let key = &task.key;
        let at = |sequence| TagOrigin {
            source: Source::new(&region(EAST), &key.account, &key.repository),
            sequence,
        };
        let delete = |sequence, tag| -> Command {
            DeleteReplica::new(&account(), &app(), &key.digest, tag, &at(sequence)).into()
        };
        if task.kind == TaskKind::Delete {
            return vec![delete(task.sequence, key.tag.as_ref())];
        }
        let mut sent: Vec<Command> = Vec::new();
        sent.extend(task.deleted_before.map(|sequence| delete(sequence, None)));
        let (from, home) = (&key.account, &key.repository);
        let entry = query::manifest_entry(&self.here.state, from, home, &key.digest);
        let children = entry.unwrap().unwrap().children;
        let of: Vec<(Digest, Option<String>)> = children
            .into_iter()
            .map(|child| (child, None))
            .chain([(key.digest, key.tag.as_ref().map(ToString::to_string))])
            .collect();
        for (digest, tag) in of {
            let found = query::manifest(&self.here.state, from, home, &digest);
            let found = found.unwrap().unwrap();
            let texts = |all: &[Digest]| all.iter().map(ToString::to_string).collect();
            let put = PutManifest {
                account: account().to_string(),
                repository: app().to_string(),
                digest: digest.to_string(),
                media_type: found.entry.media_type.to_string(),
                content: found.content,
                blobs: texts(&found.entry.blobs),
                children: texts(&found.entry.children),
                size: found.entry.size,
                tags: tag.into_iter().collect(),
                origin: Some(at(task.sequence).record(&account(), &app())),
                ordered: true,
                ..PutManifest::default()
            };
            sent.push(put.into());
        }
        sent
    }

    /// The task ends if all of it was taken.
    fn arrive(&mut self, (task, sent): &Sent) {
        for command in sent {
            if let Err(refused) = self.there.run(command.clone()) {
                // Never a task that is still open.
                let is_open = query::task(&self.here.state, &task.key).unwrap();
                let is_settled = refused.to_string().contains("settled");
                assert!(!is_settled || is_open.as_ref() != Some(task), "{refused}");
                return;
            }
        }
        self.here.done(EndTask::complete(task, 9));
    }

    /// Everything that is on its way arrives, and every task is tried on.
    fn settle(&mut self) -> bool {
        for sent in std::mem::take(&mut self.sent) {
            self.arrive(&sent);
        }
        for _ in 0..ROUNDS_MAX {
            let open = self.here.open_tasks();
            if open.is_empty() {
                break;
            }
            for task in open {
                let sent = (task.clone(), self.prepare(&task));
                self.arrive(&sent);
            }
        }
        for sent in std::mem::take(&mut self.late) {
            self.arrive(&sent);
        }
        self.here.open_tasks().is_empty()
    }
}

fn images(machine: &Machine, account: &AccountId, name: &RepositoryName) -> BTreeSet<Digest> {
    let found = query::manifests(&machine.state, account, name, None, 100).unwrap();
    found.into_iter().map(|entry| entry.digest).collect()
}

fn tags(machine: &Machine, account: &AccountId, name: &RepositoryName) -> BTreeMap<String, Digest> {
    let found = query::tags(&machine.state, account, name, None, 100).unwrap();
    let pair = |entry: query::TagEntry| (entry.tag.to_string(), entry.digest);
    found.into_iter().map(pair).collect()
}

proptest! {
    #[test]
    fn when_all_is_quiet_the_destination_holds_what_its_sources_hold(
        acts in vec(act(), 0..60),
    ) {
        let mut world = World::new();
        for act in acts {
            world.act(act);
        }
        prop_assert!(world.settle(), "tasks are left");
        prop_assert!(!world.forget(), "something is kept for ever");
        let mut expected = (BTreeSet::new(), BTreeMap::new());
        for place in 0..SOURCES {
            let (account, repository) = source(place);
            expected.0.extend(images(&world.here, &account, &repository));
            expected.1.extend(tags(&world.here, &account, &repository));
        }
        let found = (
            images(&world.there, &account(), &app()),
            tags(&world.there, &account(), &app()),
        );
        prop_assert_eq!(found, expected);
    }
}
