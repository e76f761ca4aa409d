//! What the state machine should do, written down as plainly as possible: hash
//! maps that are searched from end to end, no indexes, no batches.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use entrepot_metadata::command::{
    Author, CollectBlobs, CollectLinks, CreateAccount, DeleteManifest, DeleteReplica,
    DeleteRepository, DeleteTag, EndTask, LinkBlob, MountBlob, PutManifest, PutRepositorySettings,
    PutRule, RetryTasks, TagCondition, TagState, UnlinkBlob,
};
use entrepot_metadata::limits::{ENVELOPES_KEPT, RELINKED_AFTER_MS, SUBJECTS_MAX};
use entrepot_metadata::query::{self, TaskState};
use entrepot_metadata::records::Origin;
use entrepot_metadata::records::rules::{DestinationRecord, RuleOptions};
use entrepot_metadata::records::settings::{MutabilityMode, MutabilityRecord};
use entrepot_metadata::response::{
    BlobLinked, Collected, Digests, Done, ManifestDeleted, ManifestPut, Referenced,
    RepositoryDeleted, RepositoryPut, RulesChanged, TagFixed, TagFound, TaskEnded,
};
use entrepot_metadata::{Command, Envelope, Outcome, Refused, Response};

use crate::archive::Shelf;
use crate::history::Moved;
use crate::undelete::Deleted;

/// Account and repository.
pub(crate) type Home = (String, String);
/// Home, digest, tag (or nothing) and destination.
pub(crate) type TaskId = (Home, String, String, String);

/// Why a manifest is not known to be where an index was to take it.
const NOT_ARRIVED: &str = "the index that it was to go with was deleted before it had arrived";

#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) account: Option<String>,
    pub(crate) creates_on_push: HashMap<String, bool>,
    /// By account and id.
    pub(crate) rules: HashMap<(String, String), PutRule>,
    pub(crate) repositories: HashMap<Home, u64>,
    pub(crate) quotas: crate::quotas::Quotas,
    /// The repositories that take sparse indexes.
    pub(crate) sparse: HashSet<Home>,
    /// Which tags may move, where that was said.
    pub(crate) mutability: HashMap<Home, MutabilityRecord>,
    /// Size, root, holders and content.
    pub(crate) blobs: HashMap<String, (u64, Bytes, HashSet<u64>, Option<Bytes>)>,
    pub(crate) links: HashSet<(Home, String)>,
    /// When a link came, and when the last manifest went that named its blob.
    pub(crate) times: HashMap<(Home, String), (i64, Option<i64>)>,
    pub(crate) collects: bool,
    /// Log index of the last collection, and the nodes that have yet to confirm it.
    pub(crate) collected: HashMap<String, (u64, HashSet<u64>)>,
    /// As first pushed.
    pub(crate) manifests: HashMap<(Home, String), PutManifest>,
    /// Index and child: not there when the index was.
    pub(crate) absent: HashSet<(Home, String, String)>,
    /// Of what is in the archive, or was.
    pub(crate) shelves: HashMap<(Home, String), Shelf>,
    pub(crate) tags: HashMap<(Home, String), (String, Option<Origin>)>,
    /// The newest sequence that a tag ever had from a source.
    newest: HashMap<(Home, String, String), u64>,
    /// By image and source, this registry's own being an empty one: the newest push
    /// and the newest deletion.
    pub(crate) replicas: HashMap<(Home, String, String), (u64, u64)>,
    pub(crate) tasks: HashMap<TaskId, OracleTask>,
    /// Deleted images that can be restored.
    pub(crate) deleted: HashMap<(Home, String), Deleted>,
    /// What tags pointed to before.
    pub(crate) moves: HashMap<(Home, String), Vec<Moved>>,
    /// How long, in each registry.
    pub(crate) windows: HashMap<String, u64>,
    answered: HashMap<Bytes, Response>,
    slots: HashMap<u64, Bytes>,
}

#[derive(Clone, Debug)]
pub(crate) struct OracleTask {
    pub(crate) sequence: u64,
    pub(crate) state: TaskState,
    pub(crate) ended_at_ms: Option<i64>,
    pub(crate) reason: Option<String>,
    pub(crate) denied: bool,
    pub(crate) deletes: bool,
    pub(crate) deleted_before: Option<u64>,
}

// === impl OracleTask ===

impl OracleTask {
    fn new(sequence: u64, deletes: bool) -> Self {
        Self {
            sequence,
            state: TaskState::InProgress,
            ended_at_ms: None,
            reason: None,
            denied: false,
            deletes,
            deleted_before: None,
        }
    }
}

// === impl Oracle ===

impl Oracle {
    pub(crate) fn apply(&mut self, index: u64, envelope: &Envelope) -> Response {
        if let Some(response) = self.answered.get(&envelope.id) {
            return response.clone();
        }
        // A refused command leaves nothing, whatever it did before.
        let before = self.clone();
        let command = envelope.command.clone().unwrap();
        let asked = crate::history::asked(&command);
        let outcome = match self.run(index, command) {
            Ok(outcome) => {
                if let Some(asked) = &asked {
                    self.remember_moves(index, asked, &before.tags);
                }
                outcome
            }
            Err(reason) => {
                *self = before;
                reason.into()
            }
        };
        let response = Response::new(index, outcome);
        if let Some(old) = self
            .slots
            .insert(index % ENVELOPES_KEPT, envelope.id.clone())
        {
            self.answered.remove(&old);
        }
        self.answered.insert(envelope.id.clone(), response.clone());
        response
    }

    pub(crate) fn envelopes(&self) -> usize {
        self.answered.len()
    }

    /// An end for the `which`th task there is.
    pub(crate) fn end_task(&self, which: usize, stale: bool, end: &EndTask) -> EndTask {
        let mut tasks: Vec<_> = self.tasks.iter().collect();
        tasks.sort_by_key(|(id, _)| *id);
        let chosen = tasks.get(which % tasks.len().max(1));
        let Some((((account, repository), digest, tag, destination), task)) = chosen else {
            return EndTask {
                account: crate::steps::ACCOUNTS[0].to_owned(),
                repository: "aa".to_owned(),
                digest: crate::steps::digest(10),
                destination: "r1".to_owned(),
                ..end.clone()
            };
        };
        EndTask {
            account: account.clone(),
            repository: repository.clone(),
            digest: digest.clone(),
            tag: tag.clone(),
            destination: destination.clone(),
            sequence: task.sequence - u64::from(stale),
            ..end.clone()
        }
    }

    /// A deletion of the repository that there is, or of one before it.
    pub(crate) fn delete_of(&self, stale: bool, delete: &DeleteRepository) -> DeleteRepository {
        let home = (delete.account.clone(), delete.repository.clone());
        let index = self.repositories.get(&home).copied().unwrap_or_default();
        DeleteRepository {
            index: index.saturating_sub(u64::from(stale)),
            ..delete.clone()
        }
    }

    fn run(&mut self, index: u64, command: Command) -> Result<Outcome, Refused> {
        match command {
            Command::CreateAccount(it) => self.create_account(&it),
            Command::CreateRepository(it) => {
                let created = self.ensure(&(it.account, it.repository), true, index)?;
                Ok(Outcome::RepositoryPut(RepositoryPut { created }))
            }
            Command::PutRegistrySettings(it) => {
                self.set_quotas(&it);
                if let Some(on) = it.create_on_push {
                    self.creates_on_push.insert(it.account.clone(), on);
                }
                if let Some(window_ms) = it.undelete_window_ms {
                    self.windows.insert(it.account, window_ms);
                }
                Ok(done())
            }
            Command::PutRepositorySettings(it) => self.put_repository_settings(it),
            Command::LinkBlob(it) => self.link(index, it),
            Command::MountBlob(it) => self.mount(index, it),
            Command::UnlinkBlob(it) => self.unlink(it),
            Command::PutManifest(it) => self.put_manifest(index, &it),
            Command::DeleteManifest(it) => self.delete_manifest(index, it),
            Command::DeleteTag(it) => self.delete_tag(index, it),
            Command::PutRule(it) => Ok(self.put_one_rule(it)),
            Command::DeleteRule(it) => match self.rules.remove(&(it.account, it.id.clone())) {
                Some(_) => Ok(self.rules_changed(false)),
                None => Err(Refused::RuleUnknown(it.id)),
            },
            Command::ReplaceRules(it) => {
                self.rules.retain(|(account, _), _| *account != it.account);
                let account = it.account.parse().expect("an account");
                for rule in it.rules {
                    self.put_rule(PutRule::of(&account, rule, it.at_ms));
                }
                Ok(self.rules_changed(false))
            }
            Command::EndTask(it) => Ok(self.end(it)),
            Command::RetryTasks(it) => Ok(self.retry(&it)),
            Command::DeleteReplica(it) => self.delete_replica(index, it),
            Command::DeleteRepository(it) => self.delete_repository(it),
            Command::BeginCollection(_) => Ok(self.begin_collection()),
            Command::CollectLinks(it) => self.collect_links(index, it),
            Command::RestoreImage(it) => self.restore(index, it),
            Command::ForgetTags(it) => Ok(self.forget_tags(it)),
            Command::ExpireDeleted(it) => Ok(self.expire(it)),
            Command::CollectBlobs(it) => self.collect_blobs(index, it),
            Command::SetStorageClass(it) => self.set_storage_class(index, &it),
            // Tested by themselves, against a model of their own.
            Command::FormCluster(_)
            | Command::AddMember(_)
            | Command::SetMemberState(_)
            | Command::UpdateMember(_)
            | Command::RemoveMember(_)
            | Command::AddRegion(_)
            | Command::RemoveRegion(_)
            | Command::PutAuthority(_)
            | Command::CreateJoinToken(_)
            | Command::Join(_)
            | Command::RecordCertificate(_)
            | Command::RevokeCertificates(_)
            | Command::SetAccountState(_)
            | Command::CreateAccessKey(_)
            | Command::SetAccessKeyState(_)
            | Command::DeleteAccessKey(_)
            | Command::CreateEntity(_)
            | Command::DeleteEntity(_)
            | Command::UpdateRole(_)
            | Command::PutInlinePolicy(_)
            | Command::DeleteInlinePolicy(_)
            | Command::AttachPolicy(_)
            | Command::DetachPolicy(_)
            | Command::SetBoundary(_)
            | Command::TagEntity(_)
            | Command::SetGroupMember(_)
            | Command::CreatePolicy(_)
            | Command::CreatePolicyVersion(_)
            | Command::SetDefaultPolicyVersion(_)
            | Command::DeletePolicyVersion(_)
            | Command::DeletePolicy(_)
            | Command::UpdateEntity(_)
            | Command::TagRepository(_)
            | Command::PutRepositoryText(_)
            | Command::PutRegistryItem(_)
            | Command::DeleteRegistryItem(_)
            | Command::StartBackfill(_)
            | Command::StopBackfill(_)
            | Command::StepBackfill(_)
            | Command::SettleReplicas(_)
            | Command::PutReplicaSettings(_)
            | Command::EndSettingsTask(_)
            | Command::RecordPulls(_)
            | Command::CollectFiles(_)
            | Command::ConfirmCollected(_)
            | Command::CountHeld(_)
            | Command::ForgetCollected(_) => unreachable!("no step proposes it"),
        }
    }

    fn create_account(&mut self, it: &CreateAccount) -> Result<Outcome, Refused> {
        if let Some(account) = &self.account {
            return Err(Refused::AccountExists(account.clone()));
        }
        self.account = Some(it.account.clone());
        Ok(done())
    }

    pub(crate) fn ensure(
        &mut self,
        home: &Home,
        wanted: bool,
        index: u64,
    ) -> Result<bool, Refused> {
        if self.repositories.contains_key(home) {
            return Ok(false);
        }
        if !wanted {
            return Err(Refused::RepositoryUnknown(home.1.clone()));
        }
        self.repositories.insert(home.clone(), index);
        Ok(true)
    }

    fn put_repository_settings(&mut self, it: PutRepositorySettings) -> Result<Outcome, Refused> {
        let home = (it.account, it.repository);
        self.ensure(&home, false, 0)?;
        if let Some(mutability) = it.mutability {
            self.mutability.insert(home.clone(), mutability);
        }
        match it.sparse_indexes {
            Some(true) => drop(self.sparse.insert(home)),
            Some(false) => drop(self.sparse.remove(&home)),
            None => {}
        }
        Ok(done())
    }

    /// All at once: there is never more here than one step removes.
    fn delete_repository(&mut self, it: DeleteRepository) -> Result<Outcome, Refused> {
        let home = (it.account, it.repository);
        let mut deleted = RepositoryDeleted::default();
        if self.repositories.get(&home) != Some(&it.index) {
            return Ok(Outcome::RepositoryDeleted(deleted));
        }
        deleted.manifests = self.manifests.keys().filter(|it| it.0 == home).count() as u64;
        deleted.tags = self.tags.keys().filter(|it| it.0 == home).count() as u64;
        if deleted.manifests > 0 && !it.force {
            return Err(Refused::RepositoryNotEmpty(home.1));
        }
        self.repositories.remove(&home);
        self.sparse.remove(&home);
        self.mutability.remove(&home);
        self.links.retain(|(at, _)| *at != home);
        self.manifests.retain(|(at, _), _| *at != home);
        self.absent.retain(|(at, _, _)| *at != home);
        self.shelves.retain(|(at, _), _| *at != home);
        self.tags.retain(|(at, _), _| *at != home);
        self.newest.retain(|(at, _, _), _| *at != home);
        self.replicas.retain(|(at, _, _), _| *at != home);
        self.tasks.retain(|(at, ..), _| *at != home);
        self.deleted.retain(|(at, _), _| *at != home);
        self.moves.retain(|(at, _), _| *at != home);
        Ok(Outcome::RepositoryDeleted(deleted))
    }

    fn link(&mut self, index: u64, mut it: LinkBlob) -> Result<Outcome, Refused> {
        let home = (it.account.clone(), it.repository.clone());
        let repository_created = self.ensure(&home, it.create_repository, index)?;
        self.check_copies(&mut it)?;
        let blob = self
            .blobs
            .entry(it.digest.clone())
            .or_insert_with(|| (it.size, it.root.clone(), HashSet::new(), None));
        if blob.0 != it.size || blob.1 != it.root {
            return Err(Refused::BlobMismatch(it.digest));
        }
        blob.2.extend(std::mem::take(&mut it.holders));
        blob.3 = blob.3.take().or(it.content.take());
        self.takes_link(&home, &it)?;
        let created = self.put_link(home, it.digest, it.at_ms);
        Ok(linked(created, repository_created))
    }

    /// Whether the copies that a link names count.
    fn check_copies(&mut self, it: &mut LinkBlob) -> Result<(), Refused> {
        if it.must_be_known {
            if !self.blobs.contains_key(&it.digest) {
                return Err(Refused::BlobsUnknown(digests([it.digest.clone()])));
            }
            it.holders.clear();
            it.content = None;
        } else if let Some((collected, _)) = self.collected.get(&it.digest)
            && !it.holders.is_empty()
            && it.seen.unwrap_or(0) < *collected
        {
            return Err(Refused::CollectedMeanwhile(it.digest.clone()));
        }
        Ok(())
    }

    fn put_link(&mut self, home: Home, digest: String, at_ms: i64) -> bool {
        let is_used = self.is_used(&home, &digest);
        let since_ms = self.since_ms(&home, &digest);
        let link = (home, digest);
        if self.links.insert(link.clone()) {
            self.times.insert(link, (at_ms, None));
            return true;
        }
        if self.collects && !is_used && since_ms.saturating_add(RELINKED_AFTER_MS) <= at_ms {
            self.times.entry(link).or_default().0 = at_ms;
        }
        false
    }

    pub(crate) fn is_used(&self, home: &Home, digest: &str) -> bool {
        let uses = |it: &PutManifest| it.blobs.iter().any(|blob| blob == digest);
        let mut kept = self.deleted.iter();
        !self.users(home, uses).is_empty()
            || kept.any(|((at, _), it)| at == home && uses(&it.manifest))
    }

    /// Since when a link is unused, if it is.
    pub(crate) fn since_ms(&self, home: &Home, digest: &str) -> i64 {
        let link = (home.clone(), digest.to_owned());
        let (linked, unused) = self.times.get(&link).copied().unwrap_or_default();
        linked.max(unused.unwrap_or(linked))
    }

    pub(crate) fn release(&mut self, home: &Home, blobs: &[String], at_ms: i64) {
        for digest in blobs {
            let link = (home.clone(), digest.clone());
            if self.collects && self.links.contains(&link) && !self.is_used(home, digest) {
                self.times.entry(link).or_default().1 = Some(at_ms);
            }
        }
    }

    fn begin_collection(&mut self) -> Outcome {
        self.collects = true;
        Outcome::Collected(Collected::default())
    }

    fn collect_links(&mut self, index: u64, it: CollectLinks) -> Result<Outcome, Refused> {
        self.require_collection()?;
        let mut collected = Collected::default();
        let mut digests = Vec::new();
        for it_link in it.links {
            let home = (it_link.account, it_link.repository);
            let is_due = self.since_ms(&home, &it_link.digest) <= it.cutoff_ms;
            if is_due
                && !self.is_used(&home, &it_link.digest)
                && self.links.remove(&(home, it_link.digest.clone()))
            {
                collected.links += 1;
                digests.push(it_link.digest);
            }
        }
        if !it.nodes.is_empty() {
            let (nodes, at_ms) = (it.nodes, it.at_ms);
            let blobs = CollectBlobs {
                digests,
                nodes,
                at_ms,
            };
            if let Outcome::Collected(gone) = self.collect_blobs(index, blobs)? {
                (collected.blobs, collected.bytes) = (gone.blobs, gone.bytes);
            }
        }
        Ok(Outcome::Collected(collected))
    }

    fn collect_blobs(&mut self, index: u64, it: CollectBlobs) -> Result<Outcome, Refused> {
        self.require_collection()?;
        let mut collected = Collected::default();
        for digest in it.digests {
            if self.links.iter().any(|(_, linked)| *linked == digest) {
                continue;
            }
            let Some((size, _, holders, content)) = self.blobs.remove(&digest) else {
                continue;
            };
            collected.blobs += 1;
            collected.bytes += size;
            if content.is_none() || !holders.is_empty() {
                let record = self.collected.entry(digest).or_default();
                record.0 = index;
                record.1.extend(holders);
                record.1.extend(&it.nodes);
            }
        }
        Ok(Outcome::Collected(collected))
    }

    fn require_collection(&self) -> Result<(), Refused> {
        if self.collects {
            return Ok(());
        }
        Err(Refused::Invalid("collection: has not begun".to_owned()))
    }

    fn mount(&mut self, index: u64, it: MountBlob) -> Result<Outcome, Refused> {
        let home = (it.account.clone(), it.repository);
        let repository_created = self.ensure(&home, it.create_repository, index)?;
        if !self
            .links
            .contains(&((it.account, it.from), it.digest.clone()))
        {
            return Err(Refused::BlobsUnknown(digests([it.digest])));
        }
        self.takes_blob(&home, &it.digest)?;
        let created = self.put_link(home, it.digest, it.at_ms);
        Ok(linked(created, repository_created))
    }

    fn unlink(&mut self, it: UnlinkBlob) -> Result<Outcome, Refused> {
        let home = (it.account, it.repository);
        self.ensure(&home, false, 0)?;
        let link = (home.clone(), it.digest.clone());
        if !self.links.contains(&link) {
            return Err(Refused::BlobsUnknown(digests([it.digest])));
        }
        let mut users = self.users(&home, |manifest| manifest.blobs.contains(&it.digest));
        users.extend(self.keepers(&home, &it.digest));
        if let Some(by) = users.into_iter().min() {
            return Err(Refused::BlobReferenced(Referenced {
                digest: it.digest,
                by,
            }));
        }
        self.links.remove(&link);
        Ok(done())
    }

    /// The manifests of a repository that name something.
    pub(crate) fn users(&self, home: &Home, uses: impl Fn(&PutManifest) -> bool) -> Vec<String> {
        self.manifests
            .iter()
            .filter(|((at, _), manifest)| at == home && uses(manifest))
            .map(|((_, digest), _)| digest.clone())
            .collect()
    }

    fn put_manifest(&mut self, index: u64, it: &PutManifest) -> Result<Outcome, Refused> {
        let home = (it.account.clone(), it.repository.clone());
        if it.condition.is_some() {
            known(it.condition.as_ref())?;
            if it.tags.is_empty() {
                return Err(invalid("condition: must be of a tag"));
            }
        }
        let mut tags = it.tags.clone();
        tags.sort();
        tags.dedup();
        let replica = it.origin.as_ref().filter(|_| it.ordered);
        let replica = replica.map(|origin| (source(&home, origin), origin.sequence));
        if let Some((from, sequence)) = &replica
            && self.claim(&home, &it.digest, from).1 >= *sequence
        {
            self.delete_replicas(it, &tags)?;
            return Ok(Outcome::ManifestPut(ManifestPut {
                created: false,
                repository_created: false,
                tags_kept: tags,
                tasks: 0,
            }));
        }
        let repository_created = self.ensure(&home, it.create_repository, index)?;
        for tag in &tags {
            self.expect(&home, tag, it.condition.as_ref())?;
        }
        for tag in tags.iter().filter(|_| it.origin.is_none()) {
            if let Some(digest) = self.is_fixed_elsewhere(&home, tag, &it.digest) {
                let (tag, repository) = (tag.clone(), it.repository.clone());
                return Err(Refused::TagImmutable(TagFixed {
                    tag,
                    repository,
                    digest,
                }));
            }
        }
        if let Some((from, sequence)) = &replica {
            for child in &it.children {
                let is_here = self.manifests.contains_key(&(home.clone(), child.clone()));
                let is_deleted = self.claim(&home, child, from).1 >= *sequence;
                if *child != it.digest && is_here && !is_deleted {
                    self.brought(index, &home, child, from, *sequence);
                }
            }
            self.brought(index, &home, &it.digest, from, *sequence);
        } else if it.origin.is_none() && self.is_claimed(&home, &it.digest) {
            self.here(index, &home, &it.digest);
        }
        let key = (home.clone(), it.digest.clone());
        let created = !self.manifests.contains_key(&key);
        if created {
            let at = |digest: &&String| (home.clone(), (*digest).clone());
            let unknown = it
                .blobs
                .iter()
                .filter(|blob| !self.links.contains(&at(blob)));
            let unknown = digests(unknown.cloned());
            if !unknown.digests.is_empty() {
                return Err(Refused::BlobsUnknown(unknown));
            }
            let absent: Vec<&String> = it
                .children
                .iter()
                .filter(|child| !self.manifests.contains_key(&at(child)))
                .collect();
            let unknown = absent.iter().filter(|child| !it.absent.contains(child));
            let unknown = digests(unknown.map(|child| (*child).clone()));
            let sparse = it.origin.is_none() && self.sparse.contains(&home);
            if !unknown.digests.is_empty() && !sparse {
                return Err(Refused::ManifestsUnknown(unknown));
            }
            let before = self.deleted.remove(&key);
            self.takes_image(&home, it)?;
            let entry = |child: &String| (home.clone(), it.digest.clone(), child.clone());
            self.absent.extend(absent.into_iter().map(entry));
            self.manifests.insert(key.clone(), it.clone());
            self.shelves.remove(&key);
            self.let_go(&home, before, it.at_ms);
        }
        let restored = self.bring_back(&home, it, created);
        let mut tasks = 0;
        if tags.is_empty() {
            tasks += self.enqueue(index, &home, it, "", !created && !restored);
        }
        let mut tags_kept = Vec::new();
        for tag in tags {
            if self.is_fixed_elsewhere(&home, &tag, &it.digest).is_some() {
                tags_kept.push(tag);
                continue;
            }
            let was_there = self.move_tag(&home, &tag, it, &mut tags_kept);
            tasks += self.enqueue(index, &home, it, &tag, was_there && !restored);
        }
        Ok(Outcome::ManifestPut(ManifestPut {
            created,
            repository_created,
            tags_kept,
            tasks,
        }))
    }

    /// The newest push and deletion of a source that are about an image.
    fn claim(&self, home: &Home, digest: &str, from: &str) -> (u64, u64) {
        let key = (home.clone(), digest.to_owned(), from.to_owned());
        self.replicas.get(&key).copied().unwrap_or_default()
    }

    /// Whether it is known for whose sake an image is here.
    fn is_claimed(&self, home: &Home, digest: &str) -> bool {
        let mut all = self.replicas.iter();
        all.any(|((at, of, _), (pushed, deleted))| at == home && of == digest && pushed > deleted)
    }

    fn here(&mut self, index: u64, home: &Home, digest: &str) {
        let key = (home.clone(), digest.to_owned(), String::new());
        self.replicas.entry(key).or_insert((index, 0));
    }

    fn brought(&mut self, index: u64, home: &Home, digest: &str, from: &str, sequence: u64) {
        let (pushed, deleted) = self.claim(home, digest, from);
        if pushed >= sequence {
            return;
        }
        let manifest = (home.clone(), digest.to_owned());
        if self.manifests.contains_key(&manifest) && !self.is_claimed(home, digest) {
            self.here(index, home, digest);
        }
        let key = (home.clone(), digest.to_owned(), from.to_owned());
        self.replicas.insert(key, (sequence, deleted));
    }

    /// What its source had deleted before it came.
    fn delete_replicas(&mut self, it: &PutManifest, tags: &[String]) -> Result<(), Refused> {
        for tag in tags {
            self.delete_replica(
                0,
                DeleteReplica {
                    account: it.account.clone(),
                    repository: it.repository.clone(),
                    digest: it.digest.clone(),
                    tag: tag.clone(),
                    origin: it.origin.clone(),
                    at_ms: it.at_ms,
                    author: None,
                },
            )?;
        }
        Ok(())
    }

    /// Where a tag is that may not move from there to `digest`.
    pub(crate) fn is_fixed_elsewhere(
        &self,
        home: &Home,
        tag: &str,
        digest: &str,
    ) -> Option<String> {
        let mutability = self.mutability.get(home)?;
        // Every filter is of this form.
        let is_excluded = mutability
            .filters
            .iter()
            .any(|filter| tag.starts_with(filter.trim_end_matches('*')));
        let is_fixed = match mutability.mode() {
            MutabilityMode::Mutable => false,
            MutabilityMode::Immutable => true,
            MutabilityMode::ImmutableWithExclusion => !is_excluded,
            MutabilityMode::MutableWithExclusion => is_excluded,
        };
        let found = self.tags.get(&(home.clone(), tag.to_owned()));
        found
            .map(|(at, _)| at.clone())
            .filter(|at| is_fixed && at != digest)
    }

    /// That a tag is as a command expects it.
    fn expect(
        &self,
        home: &Home,
        tag: &str,
        condition: Option<&TagCondition>,
    ) -> Result<(), Refused> {
        let Some(expected) = condition.and_then(|condition| condition.expected.clone()) else {
            return Ok(());
        };
        let found = self.tags.get(&(home.clone(), tag.to_owned()));
        let digest = found.map(|(digest, _)| digest.clone());
        let holds = match expected {
            TagState::Is(expected) => digest == Some(expected),
            TagState::Present(_) => digest.is_some(),
            TagState::Absent(_) => digest.is_none(),
        };
        if holds {
            return Ok(());
        }
        let tag = tag.to_owned();
        Err(Refused::TagNotAsExpected(TagFound { tag, digest }))
    }

    /// Whether the tag was there before.
    pub(crate) fn move_tag(
        &mut self,
        home: &Home,
        tag: &str,
        it: &PutManifest,
        kept: &mut Vec<String>,
    ) -> bool {
        let key = (home.clone(), tag.to_owned());
        let was_there = self
            .tags
            .get(&key)
            .is_some_and(|(digest, _)| *digest == it.digest);
        if let Some(origin) = &it.origin {
            let newest = (home.clone(), tag.to_owned(), source(home, origin));
            let newest = self.newest.entry(newest).or_insert(0);
            if origin.sequence < *newest {
                kept.push(tag.to_owned());
            }
            if origin.sequence <= *newest {
                return was_there;
            }
            *newest = origin.sequence;
        }
        self.tags
            .insert(key, (it.digest.clone(), it.origin.clone()));
        was_there
    }

    pub(crate) fn enqueue(
        &mut self,
        index: u64,
        home: &Home,
        it: &PutManifest,
        tag: &str,
        was_there: bool,
    ) -> u32 {
        if it.origin.is_some() {
            return 0;
        }
        let mut taking: Vec<PutRule> = self
            .rules
            .values()
            .filter(|rule| matches(rule, home) && self.takes(rule, home, &it.digest, tag))
            .cloned()
            .collect();
        taking.sort_by_key(|rule| (std::cmp::Reverse(options(rule).priority), rule.id.clone()));
        let mut asked: HashMap<String, bool> = HashMap::new();
        for rule in taking {
            for destination in destinations(&rule) {
                asked.entry(destination).or_insert(filters(&rule));
            }
        }
        let mut count = 0;
        for (destination, follows) in asked {
            count += self.copy(index, home, &it.digest, tag, &destination, was_there);
            if follows {
                for referrer in self.referrers(home, &it.digest) {
                    count += self.copy(index, home, &referrer, "", &destination, true);
                }
            }
        }
        count
    }

    fn copy(
        &mut self,
        index: u64,
        home: &Home,
        digest: &str,
        tag: &str,
        destination: &str,
        was_there: bool,
    ) -> u32 {
        let id = (
            home.clone(),
            digest.to_owned(),
            tag.to_owned(),
            destination.to_owned(),
        );
        let stands = self
            .tasks
            .get(&id)
            .is_some_and(|task| task.state != TaskState::Failed && !task.deletes);
        if stands && was_there {
            return 0;
        }
        let mut task = OracleTask::new(index, false);
        if let Some(before) = self.tasks.get(&id)
            && before.state != TaskState::Complete
        {
            task.deleted_before = if before.deletes && tag.is_empty() {
                Some(before.sequence)
            } else {
                before.deleted_before
            };
        }
        self.tasks.insert(id, task);
        1
    }

    /// Whatever refers to an image, through others too.
    fn referrers(&self, home: &Home, digest: &str) -> Vec<String> {
        let mut found = vec![digest.to_owned()];
        let mut next = 0;
        while next < found.len() {
            let subject = found[next].clone();
            next += 1;
            for ((at, referrer), manifest) in &self.manifests {
                let refers = at == home && manifest.subject.as_ref() == Some(&subject);
                if refers && !found.contains(referrer) {
                    found.push(referrer.clone());
                }
            }
        }
        found.remove(0);
        found
    }

    fn takes(&self, rule: &PutRule, home: &Home, digest: &str, tag: &str) -> bool {
        let tag = Some(tag).filter(|tag| !tag.is_empty());
        if !filters(rule) || options(rule).takes_tag(tag) {
            return true;
        }
        let subject_of = |digest: &str| {
            let manifest = self.manifests.get(&(home.clone(), digest.to_owned()));
            manifest.and_then(|it| it.subject.clone())
        };
        let mut subject = subject_of(digest);
        for _ in 0..SUBJECTS_MAX {
            let Some(digest) = subject else { break };
            if !self.manifests.contains_key(&(home.clone(), digest.clone())) {
                break;
            }
            let tags: Vec<&String> = self
                .tags
                .iter()
                .filter(|((at, _), (to, _))| at == home && *to == digest)
                .map(|((_, tag), _)| tag)
                .collect();
            let fits = |tag: &&String| options(rule).takes_tag(Some(tag));
            if tags.is_empty() && options(rule).takes_tag(None) || tags.iter().any(fits) {
                return true;
            }
            subject = subject_of(&digest);
        }
        false
    }

    /// Whether the task is one that a rule asks for.
    fn is_wanted(&self, id: &TaskId, task: &OracleTask) -> bool {
        let (home, digest, tag, destination) = id;
        self.rules.values().any(|rule| {
            matches(rule, home)
                && destinations(rule).contains(destination)
                && if task.deletes {
                    options(rule).deletions
                } else {
                    self.takes(rule, home, digest, tag)
                }
        })
    }

    /// Copies a deletion to where the rules want it.
    fn deleted(&mut self, index: u64, before: &Self, home: &Home, digest: &str, tag: &str) {
        let mut rules: Vec<PutRule> = self.rules.values().cloned().collect();
        rules.retain(|rule| matches(rule, home));
        let all: HashSet<String> = rules.iter().flat_map(destinations).collect();
        for destination in all {
            let went = |tag: &str| before.went(home, digest, tag, &destination);
            let takes = |rule: &PutRule| {
                let mut of = before.tags_of(home, digest);
                if !tag.is_empty() || of.is_empty() {
                    of = vec![tag.to_owned()];
                }
                of.iter().any(|tag| before.takes(rule, home, digest, tag))
            };
            let is_wanted = rules.iter().any(|rule| {
                let deletes = destinations(rule).contains(&destination) && options(rule).deletions;
                deletes && (!went(tag).is_empty() || takes(rule))
            });
            if !is_wanted {
                continue;
            }
            let mut gone = vec![tag.to_owned()];
            if tag.is_empty() {
                let is_open = |(_, task): &(String, OracleTask)| task.state != TaskState::Complete;
                let mut tags = before.tags_of(home, digest);
                tags.retain(|name| went(name).iter().any(is_open));
                gone.extend(tags);
            } else {
                let is_open =
                    |task: &OracleTask| task.state == TaskState::InProgress || task.denied;
                let was_open = went(tag).iter().any(|(_, task)| is_open(task));
                let others = went("").into_iter().filter(|(of, _)| of != tag);
                let goes = others
                    .into_iter()
                    .any(|(_, task)| is_open(&task) || task.state == TaskState::Complete);
                let is_taken = rules.iter().any(|rule| {
                    let to = destinations(rule).contains(&destination);
                    to && self.takes(rule, home, digest, "")
                });
                if was_open && !goes && is_taken {
                    self.copy(index, home, digest, "", &destination, false);
                }
            }
            for tag in gone {
                let id = (home.clone(), digest.to_owned(), tag, destination.clone());
                self.tasks.insert(id, OracleTask::new(index, true));
            }
            if tag.is_empty() && rules.iter().any(filters) {
                let manifest = &before.manifests[&(home.clone(), digest.to_owned())];
                let mut index_went = before.went(home, digest, "", &destination).into_iter();
                let arrived = index_went.any(|(_, task)| task.state == TaskState::Complete);
                self.mark_children(index, home, &manifest.children, &destination, arrived);
            }
        }
    }

    fn tags_of(&self, home: &Home, digest: &str) -> Vec<String> {
        let tags = self.tags.iter();
        let tags = tags.filter(|((at, _), (to, _))| at == home && to == digest);
        tags.map(|((_, tag), _)| tag.clone()).collect()
    }

    /// The copies of an image, or of it under one tag, to a destination.
    fn went(
        &self,
        home: &Home,
        digest: &str,
        tag: &str,
        destination: &str,
    ) -> Vec<(String, OracleTask)> {
        let copies = self.tasks.iter().filter(|((at, of, name, to), task)| {
            let is_its = (at, of.as_str(), to.as_str()) == (home, digest, destination);
            is_its && !task.deletes && (tag.is_empty() || name == tag)
        });
        copies
            .map(|(id, task)| (id.2.clone(), task.clone()))
            .collect()
    }

    /// The manifests of an index went where it went.
    fn mark_children(
        &mut self,
        index: u64,
        home: &Home,
        children: &[String],
        destination: &str,
        arrived: bool,
    ) {
        for child in children {
            let destination = destination.to_owned();
            let id = (home.clone(), child.clone(), String::new(), destination);
            let is_here = self.manifests.contains_key(&(home.clone(), child.clone()));
            if is_here && !self.tasks.contains_key(&id) {
                let mut task = OracleTask::new(index, false);
                task.state = if arrived {
                    TaskState::Complete
                } else {
                    TaskState::Failed
                };
                task.reason = (!arrived).then(|| NOT_ARRIVED.to_owned());
                task.ended_at_ms = Some(1);
                self.tasks.insert(id, task);
            }
        }
    }

    fn delete_replica(&mut self, index: u64, it: DeleteReplica) -> Result<Outcome, Refused> {
        let home = (it.account, it.repository);
        let Some(origin) = it.origin else {
            return Err(Refused::Invalid("origin: must be given".to_owned()));
        };
        let from = source(&home, &origin);
        if !it.tag.is_empty() {
            let newest = (home.clone(), it.tag.clone(), from.clone());
            let newest = self.newest.entry(newest).or_insert(0);
            if *newest >= origin.sequence {
                return Ok(done());
            }
            *newest = origin.sequence;
            let key = (home, it.tag);
            let origin = self.tags.get(&key).and_then(|(_, origin)| origin.clone());
            if origin.is_some_and(|origin| source(&key.0, &origin) == from) {
                self.tags.remove(&key);
            }
            return Ok(done());
        }
        let mut gone = Vec::new();
        let before = self.clone();
        let (pushed, deleted) = self.claim(&home, &it.digest, &from);
        if deleted >= origin.sequence {
            return Ok(done());
        }
        let key = (home.clone(), it.digest.clone(), from.clone());
        self.replicas.insert(key, (pushed, origin.sequence));
        // It was not this source's, or is so again.
        let mut stays = pushed <= deleted || pushed > origin.sequence;
        let tags: Vec<(String, Option<Origin>)> = self
            .tags
            .iter()
            .filter(|((at, _), (to, _))| *at == home && *to == it.digest)
            .map(|((_, tag), (_, from))| (tag.clone(), from.clone()))
            .collect();
        for (tag, of) in tags {
            let of = of.filter(|of| source(&home, of) == from);
            if of.is_some_and(|of| of.sequence <= origin.sequence) {
                self.tags.remove(&(home.clone(), tag.clone()));
                gone.push(tag);
            } else {
                stays = true;
            }
        }
        let key = (home.clone(), it.digest.clone());
        if stays || self.is_claimed(&home, &it.digest) || !self.manifests.contains_key(&key) {
            return Ok(done());
        }
        let parents = self.users(&home, |manifest| manifest.children.contains(&it.digest));
        let is_its = |parent: &String| {
            let (pushed, deleted) = self.claim(&home, parent, &from);
            pushed > deleted
        };
        if !parents.iter().all(is_its) {
            return Ok(done());
        }
        if let Some(by) = parents.into_iter().min() {
            *self = before;
            return Err(Refused::ManifestReferenced(Referenced {
                digest: it.digest,
                by,
            }));
        }
        let departure = (index, it.at_ms, it.author.as_ref());
        self.remove_manifest((home, it.digest), departure, gone);
        Ok(done())
    }

    fn retry(&mut self, it: &RetryTasks) -> Outcome {
        let home = (it.account.clone(), it.repository.clone());
        let mut tasks = std::mem::take(&mut self.tasks);
        for (id, task) in &mut tasks {
            let is_meant = task.deletes == it.deletions;
            if !task.denied || !is_meant || id.0 != home || id.3 != it.destination {
                continue;
            }
            if self.is_wanted(id, task) {
                let deleted_before = task.deleted_before;
                *task = OracleTask::new(task.sequence, task.deletes);
                task.deleted_before = deleted_before;
            } else {
                task.denied = false;
            }
        }
        self.tasks = tasks;
        done()
    }

    fn delete_manifest(&mut self, index: u64, it: DeleteManifest) -> Result<Outcome, Refused> {
        let home = (it.account, it.repository);
        self.ensure(&home, false, 0)?;
        let key = (home.clone(), it.digest.clone());
        if !self.manifests.contains_key(&key) {
            return Err(Refused::ManifestUnknown(it.digest));
        }
        let parents = self.users(&home, |manifest| manifest.children.contains(&it.digest));
        if let Some(by) = parents.into_iter().min() {
            return Err(Refused::ManifestReferenced(Referenced {
                digest: it.digest,
                by,
            }));
        }
        let (home, digest) = key.clone();
        let before = self.clone();
        let departure = (index, it.at_ms, it.author.as_ref());
        let tags = self.remove_manifest(key, departure, Vec::new());
        self.deleted(index, &before, &home, &digest, "");
        Ok(Outcome::ManifestDeleted(ManifestDeleted { tags }))
    }

    /// `tags`: those that it had just before.
    fn remove_manifest(
        &mut self,
        key: (Home, String),
        (index, at_ms, author): (u64, i64, Option<&Author>),
        mut tags: Vec<String>,
    ) -> Vec<String> {
        let gone = self.manifests.remove(&key);
        let (home, removed) = key;
        let all = self.tags.iter();
        let all = all.filter(|((at, _), (to, _))| *at == home && *to == removed);
        tags.extend(all.map(|((_, tag), _)| tag.clone()));
        tags.sort();
        if let Some(gone) = gone {
            self.keep(&home, gone, (index, at_ms, author), tags.clone());
        }
        self.replicas.retain(|(at, digest, _), (pushed, deleted)| {
            if (at, digest) == (&home, &removed) && *pushed > *deleted {
                *pushed = 0;
            }
            *pushed > 0 || *deleted > 0
        });
        self.absent
            .retain(|(at, index, _)| (at, index) != (&home, &removed));
        self.tags
            .retain(|(at, _), (digest, _)| *at != home || *digest != removed);
        self.tasks.retain(|(at, digest, _, _), task| {
            let is_open = task.state == TaskState::InProgress || task.denied;
            (at, digest) != (&home, &removed) || task.deletes && is_open
        });
        tags
    }

    fn delete_tag(&mut self, index: u64, it: DeleteTag) -> Result<Outcome, Refused> {
        let home = (it.account, it.repository);
        known(it.condition.as_ref())?;
        self.ensure(&home, false, 0)?;
        self.expect(&home, &it.tag, it.condition.as_ref())?;
        let before = self.clone();
        let Some((digest, _)) = self.tags.remove(&(home.clone(), it.tag.clone())) else {
            return Err(Refused::TagUnknown(it.tag));
        };
        let mut tags = self.tags.iter();
        let is_tagged = tags.any(|((at, _), (to, _))| *at == home && *to == digest);
        let parents = self.users(&home, |manifest| manifest.children.contains(&digest));
        let mut tag = it.tag.as_str();
        if it.with_manifest && !is_tagged && parents.is_empty() {
            let departure = (index, it.at_ms, it.author.as_ref());
            let tags = vec![it.tag.clone()];
            self.remove_manifest((home.clone(), digest.clone()), departure, tags);
            tag = "";
        }
        self.deleted(index, &before, &home, &digest, tag);
        Ok(done())
    }

    /// Whether it replaced one.
    fn put_one_rule(&mut self, it: PutRule) -> Outcome {
        match self.put_rule(it) {
            Some(true) => self.rules_changed(true),
            // A new one asks for no less than there was.
            other => Outcome::RulesChanged(RulesChanged {
                replaced: other.is_some(),
                ..RulesChanged::default()
            }),
        }
    }

    /// Whether it differs from the one in whose place it comes, if it does.
    fn put_rule(&mut self, mut it: PutRule) -> Option<bool> {
        it.prefixes.sort();
        it.prefixes.dedup();
        let key = (it.account.clone(), it.id.clone());
        let before = self.rules.insert(key, it.clone())?;
        let is_same = before.prefixes == it.prefixes
            && destinations(&before) == destinations(&it)
            && options(&before) == options(&it);
        Some(!is_same)
    }

    /// Drops the open tasks that no rule asks for.
    fn rules_changed(&mut self, replaced: bool) -> Outcome {
        let mut tasks = std::mem::take(&mut self.tasks);
        let before = tasks.len();
        tasks.retain(|id, task| task.state != TaskState::InProgress || self.is_wanted(id, task));
        self.tasks = tasks;
        Outcome::RulesChanged(RulesChanged {
            replaced,
            tasks_dropped: (before - self.tasks.len()) as u64,
            tasks_left: false,
        })
    }

    fn end(&mut self, it: EndTask) -> Outcome {
        let id = (
            (it.account, it.repository),
            it.digest,
            it.tag,
            it.destination,
        );
        let task = self
            .tasks
            .get_mut(&id)
            .filter(|task| task.sequence == it.sequence && task.state == TaskState::InProgress);
        let ended = task.is_some();
        if let Some(task) = task {
            task.state = match it.failed_reason {
                Some(_) => TaskState::Failed,
                None => TaskState::Complete,
            };
            task.ended_at_ms = Some(it.at_ms);
            task.reason = it.failed_reason;
            task.denied = it.denied && task.state == TaskState::Failed;
            if task.deletes && task.state == TaskState::Complete {
                self.tasks.remove(&id);
            }
        }
        Outcome::TaskEnded(TaskEnded { ended })
    }
}

/// The full name of where something beside a repository came from.
pub(crate) fn source(home: &Home, origin: &Origin) -> String {
    let named = |given: &str, own: &str| {
        let own = if given.is_empty() { own } else { given };
        own.to_owned()
    };
    let account = named(&origin.account, &home.0);
    let repository = named(&origin.repository, &home.1);
    format!("{}/{account}/{repository}", origin.region)
}

fn options(rule: &PutRule) -> RuleOptions {
    rule.options.clone().unwrap_or_default()
}

/// Not all images of a repository go.
fn filters(rule: &PutRule) -> bool {
    let options = options(rule);
    !options.tags.is_empty() || !options.tags_excluded.is_empty()
}

fn matches(rule: &PutRule, home: &Home) -> bool {
    let options = options(rule);
    let fits = |wildcard: &String| query::matches_wildcard(wildcard, &home.1);
    let named = rule
        .prefixes
        .iter()
        .any(|prefix| home.1.starts_with(prefix))
        || options.repositories.iter().any(fits);
    let open = rule.prefixes.is_empty() && options.repositories.is_empty();
    let excluded = options.repositories_excluded.iter().any(fits);
    rule.account == home.0 && (open || named) && !excluded
}

/// The names of a rule's destinations.
pub(crate) fn destinations(rule: &PutRule) -> Vec<String> {
    if rule.destinations.is_empty() {
        return vec![rule.destination_region.clone()];
    }
    let name = |it: &DestinationRecord| {
        if it.account == rule.account {
            it.region.clone()
        } else {
            format!("{}/{}", it.region, it.account)
        }
    };
    let mut names: Vec<String> = rule.destinations.iter().map(name).collect();
    names.sort();
    names.dedup();
    names
}

pub(crate) fn digests(digests: impl IntoIterator<Item = String>) -> Digests {
    let mut digests: Vec<String> = digests.into_iter().collect();
    digests.sort();
    digests.dedup();
    Digests { digests }
}

/// That a condition, if there is one, says what it expects.
fn known(condition: Option<&TagCondition>) -> Result<(), Refused> {
    match condition {
        Some(TagCondition { expected: None }) => {
            Err(invalid("condition: expects nothing that is known here"))
        }
        _ => Ok(()),
    }
}

fn invalid(why: &str) -> Refused {
    Refused::Invalid(why.to_owned())
}

fn done() -> Outcome {
    Outcome::Done(Done {})
}

fn linked(created: bool, repository_created: bool) -> Outcome {
    Outcome::BlobLinked(BlobLinked {
        created,
        repository_created,
    })
}
