//! One machine with short ways to say what is done to it, and the tests of
//! each kind of command. The invariants are checked after every step.

mod accounts;
mod backfills;
mod blobs;
mod changes;
mod collection;
mod conditions;
mod configuration;
mod cost;
mod deletion;
mod envelopes;
mod following;
mod held;
mod history;
mod identity;
mod images;
mod kept;
mod members;
mod order;
mod origins;
mod public;
mod pulls;
mod quotas;
mod registry;
mod removals;
mod replication;
mod retries;
mod round;
mod settings;
mod sparse;
mod storage_class;
mod trust;
mod undelete;

use bytes::Bytes;
use entrepot_oci::{AccountId, Algorithm, Digest, RegionName, RepositoryName, Tag};

use super::apply;
use crate::command::{Command, CreateRepository, Envelope, LinkBlob, PutManifest, PutRule};
use crate::invariants;
use crate::query::{self, Blob, TagEntry, TagOrigin, Task};
use crate::records::Origin;
use crate::response::{ManifestPut, Outcome, Refused};
use crate::store::MemoryState;

#[derive(Debug, Default)]
pub(crate) struct Machine {
    pub(crate) state: MemoryState,
    index: u64,
}

// === impl Machine ===

impl Machine {
    /// With repository `app`, in which blobs 1 to 3 are linked.
    pub(crate) fn with_app() -> Self {
        let mut machine = Self::default();
        machine.done(CreateRepository::new(&account(), &app(), 1));
        for number in 1..=3 {
            machine.done(link("app", number));
        }
        machine
    }

    fn run(&mut self, command: impl Into<Command>) -> Result<Outcome, Refused> {
        let id = u128::from(self.index + 1).to_be_bytes();
        self.run_as(id, command)
    }

    fn run_as(&mut self, id: [u8; 16], command: impl Into<Command>) -> Result<Outcome, Refused> {
        self.index += 1;
        let envelope = Envelope::new(id, command.into()).to_bytes();
        let (writes, response) = apply(&self.state, self.index, &envelope).unwrap();
        self.state.apply_writes(&writes);
        invariants::check(&self.state).unwrap();
        response.into_result()
    }

    #[track_caller]
    pub(crate) fn done(&mut self, command: impl Into<Command>) -> Outcome {
        self.run(command).unwrap()
    }

    #[track_caller]
    fn refused(&mut self, command: impl Into<Command>) -> Refused {
        let before = self.state.len();
        let reason = self.run(command).unwrap_err();
        // The envelope and its slot, nothing else.
        assert_eq!(self.state.len(), before + 2, "{reason}");
        reason
    }

    #[track_caller]
    fn pushed(&mut self, push: PutManifest) -> ManifestPut {
        match self.done(push) {
            Outcome::ManifestPut(put) => put,
            other => panic!("{other:?}"),
        }
    }

    fn tag(&self, name: &str) -> Option<TagEntry> {
        query::tag(&self.state, &account(), &app(), &tag(name)).unwrap()
    }

    fn tag_digest(&self, name: &str) -> Option<Digest> {
        self.tag(name).map(|entry| entry.digest)
    }

    pub(crate) fn open_tasks(&self) -> Vec<Task> {
        query::open_tasks(&self.state, 0, 1_000).unwrap()
    }
}

// === names ===

pub(crate) fn account() -> AccountId {
    "123456789012".parse().unwrap()
}

fn app() -> RepositoryName {
    repository("app")
}

fn repository(name: &str) -> RepositoryName {
    name.parse().unwrap()
}

fn region(name: &str) -> RegionName {
    name.parse().unwrap()
}

fn tag(name: &str) -> Tag {
    name.parse().unwrap()
}

pub(crate) fn digest(number: u8) -> Digest {
    Digest::of(Algorithm::Sha256, &[number])
}

fn digests(numbers: &[u8]) -> Vec<String> {
    numbers
        .iter()
        .map(|number| digest(*number).to_string())
        .collect()
}

fn unknown(numbers: &[u8]) -> crate::response::Digests {
    let mut digests = digests(numbers);
    digests.sort();
    crate::response::Digests { digests }
}

// === commands ===

pub(crate) fn link(name: &str, number: u8) -> LinkBlob {
    let blob = Blob {
        digest: digest(number),
        size: 100,
        root: [number; 32],
        holders: vec![1, 2],
        content: None,
    };
    LinkBlob::new(&account(), &repository(name), &blob, 10)
}

/// An image in `app` of these blobs.
pub(crate) fn image(number: u8, blobs: &[u8], tags: &[&str]) -> PutManifest {
    PutManifest {
        account: account().to_string(),
        repository: "app".to_owned(),
        digest: digest(number).to_string(),
        media_type: entrepot_oci::media_type::OCI_MANIFEST.to_owned(),
        content: Bytes::from(vec![number; 10]),
        blobs: digests(blobs),
        size: 300,
        tags: tags.iter().map(ToString::to_string).collect(),
        at_ms: 20,
        ..PutManifest::default()
    }
}

/// An index in `app` of these manifests.
pub(crate) fn index_of(number: u8, children: &[u8]) -> PutManifest {
    PutManifest {
        media_type: entrepot_oci::media_type::OCI_INDEX.to_owned(),
        children: digests(children),
        ..image(number, &[], &[])
    }
}

/// The same push, as it arrives from another region.
pub(crate) fn replica(push: PutManifest, from: &str, sequence: u64) -> PutManifest {
    PutManifest {
        origin: Some(Origin::new(&region(from), sequence)),
        ..push
    }
}

/// The same push, as it arrives in order from a repository of an account.
pub(crate) fn replica_of(push: PutManifest, origin: &TagOrigin) -> PutManifest {
    PutManifest {
        origin: Some(origin.record(&account(), &app())),
        ordered: true,
        ..push
    }
}

pub(crate) fn rule(id: &str, prefixes: &[&str], destination: &str) -> PutRule {
    let prefixes: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
    PutRule::new(&account(), id, &prefixes, &region(destination), 5)
}
