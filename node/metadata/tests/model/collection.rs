//! Collection and the nodes' files: random short histories of pushes, mounts,
//! deletions, collections, repair, dropped copies and crashes on three nodes, over
//! the real state machine.
//!
//! The invariant, after every step: a blob that a repository has is on a node. And
//! at the end, when all is quiet, no node has a file of anything else. Each rule of
//! docs/deletion.md that a node has to follow can be left out, and then the invariant
//! has to break: else this would prove nothing.
#![allow(clippy::cast_possible_truncation, reason = "there are three nodes")]

use std::collections::{BTreeMap, BTreeSet};

use entrepot_metadata::command::{
    Author, BeginCollection, CollectBlobs, CollectFiles, CollectLinks, CollectedBlob, Command,
    ConfirmCollected, CreateRepository, DeleteManifest, Envelope, ForgetCollected, LinkBlob,
    MountBlob, OrphanFile, PutManifest, RestoreImage, UnlinkBlob,
};
use entrepot_metadata::query::{self, Blob, Cause};
use entrepot_metadata::{MemoryState, Response, Writes, apply, invariants};
use entrepot_oci::{Algorithm, Digest, RegistryId, RepositoryName};

const NODES: u64 = 3;
const STEPS: u64 = 60;
/// What runs with every build; more by [`HISTORIES`].
const HISTORIES_BY_DEFAULT: u64 = 3_000;
/// How many histories to run.
const HISTORIES: &str = "ENTREPOT_HISTORIES";
/// Histories within which a broken rule has to show.
const MUTANT_HISTORIES: u64 = 10_000;
const MANY: usize = 100;

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// Files go by what a node last saw, without the command that looks again.
    Recheck,
    /// A link does not say when its copies were looked at.
    Seen,
    /// A node that restarted deletes by what its old state shows.
    Linearize,
    /// A node that writes a blob which it still has to delete does not confirm first.
    Confirm,
    /// A copy that is being deleted counts for those who drop theirs.
    Keeps,
    /// A copy that was written again is dropped by what was found out before.
    Dropping,
    /// Collections are forgotten while older looks still count.
    Floor,
    /// What was deleted goes by what was due when somebody looked, without the command
    /// that looks again.
    Expiry,
    /// What was deleted uses its blobs no more, and comes back all the same.
    Kept,
}

#[derive(Clone, Debug, Default)]
struct Node {
    state: MemoryState,
    applied: u64,
    files: BTreeSet<Digest>,
    /// What is being deleted: nobody writes it meanwhile. Whether its file goes.
    deleting: BTreeMap<Digest, (u64, bool)>,
    /// Copies that all others were found to have, and that nobody has written since.
    dropping: BTreeSet<Digest>,
}

/// A push whose copies are on their way.
#[derive(Clone, Debug)]
struct Push {
    digest: Digest,
    repository: RepositoryName,
    /// Who has a copy, and what it had applied when it looked.
    copies: Vec<(u64, u64)>,
}

struct World {
    broken: Broken,
    random: u64,
    state: MemoryState,
    log: Vec<Writes>,
    nodes: Vec<Node>,
    pushes: Vec<Push>,
    /// Deleted images whose time was over when somebody looked.
    due: Vec<Command>,
}

// === impl World ===

impl World {
    fn new(seed: u64, broken: Broken) -> Self {
        let mut world = Self {
            broken,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            state: MemoryState::new(),
            log: Vec::new(),
            nodes: vec![Node::default(); NODES as usize],
            pushes: Vec::new(),
            due: Vec::new(),
        };
        for repository in [repository(0), repository(1)] {
            world.propose(CreateRepository::new(&account(), &repository, 1));
        }
        world.propose(BeginCollection {});
        world
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % bound
    }

    fn digest(&mut self) -> Digest {
        digest(self.below(2))
    }

    fn repository(&mut self) -> RepositoryName {
        repository(self.below(2))
    }

    fn node(&mut self) -> u64 {
        self.below(NODES)
    }

    fn propose(&mut self, command: impl Into<Command>) -> Response {
        let index = self.log.len() as u64 + 1;
        let id = u128::from(index).to_be_bytes();
        let envelope = Envelope::new(id, command.into()).to_bytes();
        let (writes, response) = apply(&self.state, index, &envelope).unwrap();
        self.state.apply_writes(&writes);
        self.log.push(writes);
        response
    }

    /// Brings a node's copy up to `index`.
    fn catch_up(&mut self, node: u64, index: u64) {
        let node = &mut self.nodes[node as usize];
        while node.applied < index {
            node.state.apply_writes(&self.log[node.applied as usize]);
            node.applied += 1;
        }
    }

    fn linearize(&mut self, node: u64) {
        self.catch_up(node, self.log.len() as u64);
    }

    fn at(&self, node: u64) -> &Node {
        &self.nodes[node as usize]
    }

    fn confirm(&mut self, node: u64, digest: Digest, index: u64) {
        let collected = CollectedBlob {
            digest: digest.to_string(),
            index,
        };
        self.propose(ConfirmCollected {
            node,
            collected: vec![collected],
        });
    }

    /// Looks for collections, and puts a copy in place; what was applied then. None:
    /// it has to wait.
    fn write(&mut self, node: u64, digest: Digest) -> Option<u64> {
        if self.at(node).deleting.contains_key(&digest) {
            return None;
        }
        if self.broken != Broken::Dropping {
            self.nodes[node as usize].dropping.remove(&digest);
        }
        while let Some(found) = query::to_delete(&self.at(node).state, node, &digest).unwrap()
            && self.broken != Broken::Confirm
        {
            self.confirm(node, digest, found.index);
            // A proposal returns once it is applied here.
            self.linearize(node);
        }
        self.nodes[node as usize].files.insert(digest);
        Some(self.at(node).applied)
    }

    /// Begins to delete what was collected.
    fn begin_delete(&mut self, node: u64) {
        if self.broken != Broken::Linearize {
            self.linearize(node);
        }
        let at = self.at(node);
        let found = query::all_to_delete(&at.state, node, None, MANY).unwrap();
        let deleting = found.into_iter().map(|found| {
            let known = query::blob(&at.state, &found.digest).unwrap();
            (found.digest, (found.index, known.is_none()))
        });
        self.nodes[node as usize].deleting = deleting.collect();
    }

    /// `crashes`: before it says so.
    fn finish_delete(&mut self, node: u64, crashes: bool) {
        for (digest, (index, goes)) in std::mem::take(&mut self.nodes[node as usize].deleting) {
            if goes {
                self.nodes[node as usize].files.remove(&digest);
            }
            if !crashes {
                self.confirm(node, digest, index);
            }
        }
        if crashes {
            self.crash(node);
        }
    }

    /// What is on the disk stays, and the state is built anew from the log.
    fn crash(&mut self, node: u64) {
        let back = self.at(node).applied.saturating_sub(self.below(8));
        self.restart(node, back);
    }

    fn restart(&mut self, node: u64, back: u64) {
        let node_ref = &mut self.nodes[node as usize];
        node_ref.state = MemoryState::new();
        node_ref.applied = 0;
        node_ref.deleting.clear();
        node_ref.dropping.clear();
        self.catch_up(node, back);
    }

    fn link(&mut self, which: u64) {
        if self.pushes.is_empty() {
            return;
        }
        let push = self.pushes.swap_remove(which as usize % self.pushes.len());
        let blob = Blob {
            digest: push.digest,
            size: 100,
            root: [1; 32],
            holders: push.copies.iter().map(|(node, _)| *node).collect(),
            content: None,
        };
        let seen = push.copies.iter().map(|(_, seen)| *seen).min();
        let seen = match self.broken {
            Broken::Seen => Some(u64::MAX),
            _ => seen,
        };
        self.propose(LinkBlob {
            seen,
            ..LinkBlob::new(&account(), &push.repository, &blob, 1)
        });
    }

    fn collect_blobs(&mut self) {
        let found = query::unlinked_blobs(&self.state, MANY).unwrap();
        let some = self.below(NODES + 1);
        self.propose(CollectBlobs {
            digests: found.iter().map(ToString::to_string).collect(),
            nodes: (0..some).collect(),
            at_ms: 1,
        });
    }

    fn collect_links(&mut self) {
        let links = query::unused_links(&self.state, i64::MAX, None, MANY).unwrap();
        // None: what no repository has any more goes with the next step.
        let some = self.below(NODES + 1);
        self.propose(CollectLinks {
            links,
            cutoff_ms: i64::MAX,
            nodes: (0..some).collect(),
            at_ms: 1,
        });
    }

    /// Files that are unknown to what a node has applied.
    fn collect_files(&mut self, node: u64) {
        let at = self.at(node);
        let files = at.files.iter().filter(|digest| {
            let known = query::blob(&at.state, digest).unwrap();
            known.is_none()
        });
        let files: Vec<Digest> = files.copied().collect();
        if self.broken == Broken::Recheck {
            for digest in files {
                self.nodes[node as usize].files.remove(&digest);
            }
            return;
        }
        let files = files.iter().map(|digest| OrphanFile {
            digest: digest.to_string(),
            size: 100,
        });
        self.propose(CollectFiles {
            node,
            files: files.collect(),
            at_ms: 1,
        });
    }

    fn forget(&mut self) {
        let floor = match self.broken {
            Broken::Floor => 0,
            _ => self.below(self.log.len() as u64 + 1),
        };
        let found = query::collections(&self.state, None, MANY).unwrap();
        if self.broken == Broken::Floor {
            // As if nobody had ever collected them.
            let mut forgotten = MemoryState::new();
            let pairs = self
                .state
                .iter()
                .filter(|(key, _)| !matches!(key[0], 0x3b | 0x3c));
            let entries = pairs.map(|(key, value)| (key.to_vec(), Some(value.clone())));
            forgotten.apply_writes(&Writes {
                entries: entries.collect(),
            });
            if found.iter().all(|found| found.pending.is_empty()) {
                self.state = forgotten;
            }
            return;
        }
        self.propose(ForgetCollected {
            floor,
            digests: found.iter().map(|it| it.digest.to_string()).collect(),
        });
    }

    /// A node fetches a copy that it lacks.
    fn repair(&mut self, node: u64, digest: Digest) {
        let at = self.at(node);
        let known = query::blob(&at.state, &digest).unwrap().is_some();
        let pending = query::to_delete(&at.state, node, &digest).unwrap();
        let anywhere = self.nodes.iter().any(|it| it.files.contains(&digest));
        if known && pending.is_none() && anywhere {
            self.write(node, digest);
        }
    }

    /// A node asks whether another one has a copy and keeps it, and drops its own.
    fn drop_surplus(&mut self, node: u64, digest: Digest) {
        if self.nodes[node as usize].dropping.remove(&digest) {
            self.nodes[node as usize].files.remove(&digest);
            return;
        }
        if query::blob(&self.at(node).state, &digest)
            .unwrap()
            .is_none()
        {
            return;
        }
        // The one that placement names.
        let other = (node + 1 + self.below(NODES - 1)) % NODES;
        self.ask(node, other, digest);
    }

    /// Two that rely on each other would both drop theirs.
    fn ask(&mut self, node: u64, other: u64, digest: Digest) {
        let at = self.at(other);
        let goes = at.deleting.contains_key(&digest) && self.broken != Broken::Keeps;
        if !at.files.contains(&digest) || goes || at.dropping.contains(&digest) {
            return;
        }
        self.nodes[node as usize].dropping.insert(digest);
    }

    fn step(&mut self) {
        let (node, digest, repository) = (self.node(), self.digest(), self.repository());
        match self.below(25) {
            0..=2 => {
                if let Some(seen) = self.write(node, digest) {
                    self.pushes.push(Push {
                        digest,
                        repository,
                        copies: vec![(node, seen)],
                    });
                }
            }
            3 if !self.pushes.is_empty() => {
                let which = self.below(self.pushes.len() as u64) as usize;
                let digest = self.pushes[which].digest;
                let seen = self.write(node, digest);
                let copies = &mut self.pushes[which].copies;
                if let Some(seen) = seen
                    && copies.iter().all(|(other, _)| *other != node)
                {
                    copies.push((node, seen));
                }
            }
            3..=5 => {
                let which = self.below(8);
                self.link(which);
            }
            6 => {
                let from = self.repository();
                self.propose(MountBlob::new(&account(), &from, &repository, &digest, 1));
            }
            7 => drop(self.propose(manifest(&repository, &digest))),
            8 => {
                let manifest = manifest(&repository, &digest);
                self.propose(DeleteManifest {
                    at_ms: 1,
                    account: manifest.account,
                    repository: manifest.repository,
                    digest: manifest.digest,
                    expected: None,
                    here_only: false,
                    author: Some(Author::new("", Cause::Client)),
                });
                self.let_go(&repository, &digest);
            }
            9 => drop(self.propose(UnlinkBlob::new(&account(), &repository, &digest))),
            10 => self.collect_links(),
            11 => self.collect_blobs(),
            12 => self.collect_files(node),
            13..=15 if self.at(node).deleting.is_empty() => self.begin_delete(node),
            13..=14 => self.finish_delete(node, false),
            15 => self.finish_delete(node, true),
            16 => self.forget(),
            17 => self.repair(node, digest),
            18 => self.drop_surplus(node, digest),
            19 => {
                self.crash(node);
                self.begin_delete(node);
            }
            20 => {
                self.restore(&repository, &digest);
            }
            21 => self
                .due
                .push(crate::undelete::due(&self.state, i64::MAX, false)),
            22 => self.expire(),
            _ => {
                let index = self.at(node).applied + 1 + self.below(4);
                self.catch_up(node, index.min(self.log.len() as u64));
            }
        }
    }

    /// As if nobody had to keep what may come back.
    fn let_go(&mut self, repository: &RepositoryName, blob: &Digest) {
        if self.broken != Broken::Kept {
            return;
        }
        let digest = manifest(repository, blob).digest.parse().unwrap();
        let is_kept = query::deleted_image(&self.state, &account(), repository, &digest).unwrap();
        if is_kept.is_some() {
            self.cut(repository, blob);
        }
    }

    /// Removes the uses of a blob, behind the back of the state machine, and takes it
    /// for unused.
    fn cut(&mut self, repository: &RepositoryName, blob: &Digest) {
        const BLOB_USE: u8 = 0x33;
        let bytes = |text: &str| [text.as_bytes(), &[0]].concat();
        let home = [account().as_str().as_bytes(), &bytes(repository.as_str())].concat();
        let keys = self.state.iter().filter(|(key, _)| {
            let is_here = key[0] == BLOB_USE && key[1..].starts_with(&home);
            is_here && key[1 + home.len() + 1..].starts_with(blob.bytes())
        });
        let mut entries: Vec<_> = keys.map(|(key, _)| (key.to_vec(), None)).collect();
        let unused = [&[0x39], &[0; 8][..], &home, &[1], blob.bytes()].concat();
        entries.push((unused, Some(bytes::Bytes::new())));
        let writes = Writes { entries };
        self.state.apply_writes(&writes);
    }

    fn restore(&mut self, repository: &RepositoryName, blob: &Digest) {
        let digest = manifest(repository, blob).digest.parse().unwrap();
        let back = RestoreImage::new(&account(), repository, &digest, 2);
        self.propose(back);
    }

    fn expire(&mut self) {
        if self.due.is_empty() {
            return;
        }
        let Command::ExpireDeleted(due) = self.due.swap_remove(0) else {
            return;
        };
        if self.broken != Broken::Expiry {
            self.propose(due);
            return;
        }
        for image in due.images {
            let repository = image.repository.parse().unwrap();
            for blob in [digest(0), digest(1)] {
                if manifest(&repository, &blob).digest == image.digest {
                    self.cut(&repository, &blob);
                }
            }
        }
    }

    /// Whether every image has its blobs linked, and what can be restored as well.
    fn has_links(&self) -> bool {
        [repository(0), repository(1)].iter().all(|repository| {
            let view = &self.state;
            let here = query::manifests(view, &account(), repository, None, MANY).unwrap();
            let kept = query::deleted_images(view, &account(), repository, None, MANY).unwrap();
            let kept = kept
                .into_iter()
                .filter(|_| self.broken == Broken::Nothing)
                .map(|it| it.manifest);
            here.into_iter().chain(kept).all(|image| {
                let is_linked = |blob| query::linked(view, &account(), repository, blob).unwrap();
                image.blobs.iter().all(is_linked)
            })
        })
    }

    /// Whether all that a repository has is somewhere.
    fn is_whole(&self) -> bool {
        if !self.has_links() {
            return false;
        }
        let blobs = query::blobs(&self.state, None, MANY).unwrap();
        blobs.iter().all(|blob| {
            let linked = query::link_any(&self.state, &blob.digest).unwrap();
            let anywhere = self.nodes.iter().any(|it| it.files.contains(&blob.digest));
            linked.is_none() || anywhere
        })
    }

    /// Lets everything that is due be done.
    fn settle(&mut self) {
        self.pushes.clear();
        for node in 0..NODES {
            self.finish_delete(node, false);
            self.nodes[node as usize].dropping.clear();
        }
        self.propose(crate::undelete::due(&self.state, i64::MAX, false));
        for _ in 0..2 {
            self.collect_links();
            let found = query::unlinked_blobs(&self.state, MANY).unwrap();
            self.propose(CollectBlobs {
                digests: found.iter().map(ToString::to_string).collect(),
                nodes: Vec::new(),
                at_ms: 1,
            });
            for node in 0..NODES {
                self.linearize(node);
                self.collect_files(node);
                self.begin_delete(node);
                self.finish_delete(node, false);
            }
        }
        let floor = self.log.len() as u64;
        let found = query::collections(&self.state, None, MANY).unwrap();
        self.propose(ForgetCollected {
            floor,
            digests: found.iter().map(|it| it.digest.to_string()).collect(),
        });
    }

    fn check_quiet(&self) {
        invariants::check(&self.state).unwrap();
        for (number, node) in (0..).zip(&self.nodes) {
            for digest in &node.files {
                let known = query::blob(&self.state, digest).unwrap();
                assert!(known.is_some(), "node {number} has an orphan");
            }
        }
        for blob in query::blobs(&self.state, None, MANY).unwrap() {
            let linked = query::link_any(&self.state, &blob.digest).unwrap();
            assert!(linked.is_some(), "a blob that nobody has is known");
        }
        assert_eq!(query::collections(&self.state, None, MANY).unwrap(), []);
    }
}

/// What the collector would propose.
pub(crate) fn candidates(state: &MemoryState, cutoff_ms: Option<i64>, nodes: &[u64]) -> Command {
    if let Some(cutoff_ms) = cutoff_ms {
        let links = query::unused_links(state, cutoff_ms, None, MANY).unwrap();
        let command = CollectLinks {
            links,
            cutoff_ms,
            nodes: nodes.to_vec(),
            at_ms: 1,
        };
        return command.into();
    }
    let found = query::unlinked_blobs(state, MANY).unwrap();
    let command = CollectBlobs {
        digests: found.iter().map(ToString::to_string).collect(),
        nodes: nodes.to_vec(),
        at_ms: 1,
    };
    command.into()
}

fn account() -> RegistryId {
    "123456789012".parse().unwrap()
}

fn repository(number: u64) -> RepositoryName {
    format!("r{number}").parse().unwrap()
}

fn digest(number: u64) -> Digest {
    Digest::of(Algorithm::Sha256, &number.to_be_bytes())
}

/// The one image of a repository that names a blob.
fn manifest(repository: &RepositoryName, blob: &Digest) -> PutManifest {
    PutManifest {
        account: account().to_string(),
        repository: repository.to_string(),
        digest: Digest::of(Algorithm::Sha256, blob.to_string().as_bytes()).to_string(),
        media_type: entrepot_oci::media_type::OCI_MANIFEST.to_owned(),
        blobs: vec![blob.to_string()],
        at_ms: 1,
        ..PutManifest::default()
    }
}

/// Whether the history ends well.
fn run(seed: u64, broken: Broken) -> bool {
    let mut world = World::new(seed, broken);
    for _ in 0..STEPS {
        world.step();
        if !world.is_whole() {
            return false;
        }
    }
    if broken == Broken::Nothing {
        world.settle();
        world.check_quiet();
        return world.is_whole();
    }
    true
}

fn histories() -> u64 {
    let wanted = std::env::var(HISTORIES).ok();
    let wanted = wanted.map(|text| text.parse().expect("a number"));
    wanted.unwrap_or(HISTORIES_BY_DEFAULT)
}

#[test]
fn no_link_ever_lacks_its_bytes_and_nothing_else_stays() {
    for seed in 0..histories() {
        assert!(run(seed, Broken::Nothing), "history {seed}");
    }
}

#[test]
fn every_rule_is_needed() {
    let broken = [
        Broken::Recheck,
        Broken::Seen,
        Broken::Confirm,
        Broken::Floor,
        Broken::Expiry,
        Broken::Kept,
    ];
    let unnoticed = broken.into_iter().filter(|broken| {
        let mut seeds = 0..MUTANT_HISTORIES;
        seeds.all(|seed| run(seed, *broken))
    });
    assert_eq!(unnoticed.collect::<Vec<_>>(), []);
}

// === chains of events that are too rare to be left to chance ===

/// A push of one blob with a copy on each of `nodes`, and its link.
fn push(world: &mut World, nodes: &[u64], digest: Digest) {
    let copies = nodes.iter().map(|node| {
        world.linearize(*node);
        (*node, world.write(*node, digest).unwrap())
    });
    let copies = copies.collect();
    world.pushes.push(Push {
        digest,
        repository: repository(0),
        copies,
    });
    world.link(0);
    assert!(query::blob(&world.state, &digest).unwrap().is_some());
}

fn unlink_and_collect(world: &mut World, digest: Digest) {
    world.propose(UnlinkBlob::new(&account(), &repository(0), &digest));
    world.collect_blobs();
    assert!(query::blob(&world.state, &digest).unwrap().is_none());
}

#[test]
fn a_node_that_restarted_looks_at_the_newest_state_first() {
    for broken in [Broken::Nothing, Broken::Linearize] {
        let (mut world, digest) = (World::new(1, broken), digest(1));
        push(&mut world, &[0], digest);
        unlink_and_collect(&mut world, digest);
        let collected = world.log.len() as u64;
        push(&mut world, &[0], digest);
        world.restart(0, collected);
        world.begin_delete(0);
        world.finish_delete(0, false);
        assert_eq!(world.is_whole(), broken == Broken::Nothing);
    }
}

#[test]
fn nobody_relies_on_a_copy_that_is_being_deleted() {
    for broken in [Broken::Nothing, Broken::Keeps] {
        let (mut world, digest) = (World::new(1, broken), digest(1));
        push(&mut world, &[0], digest);
        unlink_and_collect(&mut world, digest);
        world.begin_delete(0);
        push(&mut world, &[1], digest);
        world.linearize(1);
        world.ask(1, 0, digest);
        if !world.at(1).dropping.is_empty() {
            world.drop_surplus(1, digest);
        }
        world.finish_delete(0, false);
        assert_eq!(world.is_whole(), broken == Broken::Nothing);
    }
}

#[test]
fn a_copy_that_was_written_meanwhile_is_not_dropped() {
    for broken in [Broken::Nothing, Broken::Dropping] {
        let (mut world, digest) = (World::new(1, broken), digest(1));
        push(&mut world, &[0, 1], digest);
        world.linearize(0);
        world.ask(0, 1, digest);
        assert!(!world.at(0).dropping.is_empty());
        unlink_and_collect(&mut world, digest);
        world.begin_delete(1);
        world.finish_delete(1, false);
        push(&mut world, &[0], digest);
        world.drop_surplus(0, digest);
        assert_eq!(world.is_whole(), broken == Broken::Nothing);
    }
}
