//! What every state of a group looks like.
//!
//! For tests, simulations and an operator's check of a node: it reads
//! everything, once, and looks up what each pair promises about others. Must
//! never repair anything.

mod accounts;
mod backfills;
mod blobs;
mod collection;
mod envelopes;
mod following;
mod held;
mod history;
mod identity;
mod images;
mod kept;
mod members;
mod registry;
mod settings;
mod tasks;
#[cfg(test)]
mod tests;
mod trust;
mod undelete;

use std::fmt;

use bytes::Bytes;

use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::SCAN_PAGE;
use crate::read;
use crate::store::{KeyValue, StorageError};

/// Violations that one check reports.
pub const VIOLATIONS_MAX: usize = 100;

/// What a state holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub envelopes: usize,
    pub members: usize,
    pub regions: usize,
    pub accounts: usize,
    pub access_keys: usize,
    pub entities: usize,
    pub policies: usize,
    pub rules: usize,
    pub repositories: usize,
    pub blobs: usize,
    pub links: usize,
    pub manifests: usize,
    pub tags: usize,
    pub tasks: usize,
    pub open_tasks: usize,
    /// Deleted images that can be restored.
    pub deleted: usize,
}

/// One thing that should not be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}: {detail}")]
pub struct Violation {
    /// What should hold.
    pub invariant: &'static str,
    /// Where it does not.
    pub detail: String,
}

/// # Errors
/// What is violated, at most [`VIOLATIONS_MAX`] of it. A store that cannot be
/// read is a violation too.
pub fn check(view: &dyn KeyValue) -> Result<Summary, Vec<Violation>> {
    let mut check = Check {
        view,
        summary: Summary::default(),
        used: members::Used::default(),
        violations: Vec::new(),
    };
    if let Err(error) = check.all() {
        check.corrupt(&error);
    }
    check.once();
    if check.violations.is_empty() {
        Ok(check.summary)
    } else {
        Err(check.violations)
    }
}

/// A check under way.
struct Check<'a> {
    view: &'a dyn KeyValue,
    summary: Summary,
    used: members::Used,
    violations: Vec<Violation>,
}

/// One pair of the state.
struct Pair {
    key: Bytes,
    value: Bytes,
}

// === impl Check ===

impl Check<'_> {
    fn all(&mut self) -> Result<(), StorageError> {
        let mut start = vec![keys::FIRST];
        loop {
            let page = self.view.scan(&start, &[u8::MAX], SCAN_PAGE)?;
            let full = page.len() == SCAN_PAGE;
            if let Some((last, _)) = page.last() {
                start = Key::of(last.to_vec()).successor().into_bytes();
            }
            for (key, value) in page {
                // One bad record must not hide the others.
                if let Err(error) = self.pair(&Pair { key, value }) {
                    self.corrupt(&error);
                }
            }
            if !full || self.violations.len() >= VIOLATIONS_MAX {
                return Ok(());
            }
        }
    }

    fn pair(&mut self, pair: &Pair) -> Result<(), StorageError> {
        let Some(namespace) = pair.key.first().copied().and_then(Namespace::of) else {
            self.violated("every key belongs to a namespace", pair);
            return Ok(());
        };
        match namespace {
            Namespace::Envelope => envelopes::envelope(self, pair),
            Namespace::EnvelopeSlot => envelopes::slot(self, pair),
            Namespace::Cluster => members::cluster(self, pair),
            Namespace::Member => members::member(self, pair),
            Namespace::Region => members::region(self, pair),
            Namespace::Authority => trust::authority(self, pair),
            Namespace::JoinToken => trust::join_token(self, pair),
            Namespace::Certificate => trust::certificate(self, pair),
            Namespace::Revoked => trust::revoked(self, pair),
            Namespace::RevokedNode => trust::revoked_node(self, pair),
            Namespace::Account => accounts::account(self, pair),
            Namespace::FirstAccount => accounts::first(self, pair),
            Namespace::AccessKey => accounts::access_key(self, pair),
            Namespace::AccessKeyOf => accounts::access_key_of(self, pair),
            Namespace::Identities => identity::identities(self, pair),
            Namespace::Entity => identity::entity(self, pair),
            Namespace::Policy => identity::policy(self, pair),
            Namespace::PolicyVersion => identity::policy_version(self, pair),
            Namespace::GroupMember => identity::group_member(self, pair),
            Namespace::PolicyUse => identity::policy_use(self, pair),
            Namespace::Settings => registry::settings(self, pair),
            Namespace::Rule => registry::rule(self, pair),
            Namespace::Repository => registry::repository(self, pair),
            Namespace::RepositoryCount => registry::repository_count(self, pair),
            Namespace::ImageCount => registry::image_count(self, pair),
            Namespace::TagCount => registry::tag_count(self, pair),
            Namespace::Held => held::registry(self, pair),
            Namespace::RepositoryHeld => held::repository(self, pair),
            Namespace::ResourceTags => settings::resource_tags(self, pair),
            Namespace::RepositoryText => settings::text(self, pair),
            Namespace::RegistryItem => settings::item(self, pair),
            Namespace::Blob => blobs::blob(self, pair),
            Namespace::Link => blobs::link(self, pair),
            Namespace::LinkOf => blobs::link_of(self, pair),
            Namespace::BlobUse => blobs::blob_use(self, pair),
            Namespace::Collection => collection::collection(self, pair),
            Namespace::Unused => collection::unused(self, pair),
            Namespace::Unlinked => collection::unlinked(self, pair),
            Namespace::Collected => collection::collected(self, pair),
            Namespace::CollectedAt => collection::collected_at(self, pair),
            Namespace::ToDelete => collection::to_delete(self, pair),
            Namespace::Manifest => images::manifest(self, pair),
            Namespace::Content => images::content(self, pair),
            Namespace::ChildUse => images::child_use(self, pair),
            Namespace::Referrer => images::referrer(self, pair),
            Namespace::Pull => images::pull(self, pair),
            Namespace::PullsSince => images::pulls_since(pair),
            Namespace::Deleted => undelete::deleted(self, pair),
            Namespace::DeletedUntil => undelete::until(self, pair),
            Namespace::Kept => kept::registry(self, pair),
            Namespace::RepositoryKept => kept::repository(self, pair),
            Namespace::KeptOrder => kept::order(self, pair),
            Namespace::Tag => images::tag(self, pair),
            Namespace::TagOf => images::tag_of(self, pair),
            Namespace::TagOrigin => images::tag_origin(self, pair),
            Namespace::Replica => images::replica(self, pair),
            Namespace::Settled => images::settled(self, pair),
            Namespace::TagMove => history::tag_move(self, pair),
            Namespace::TagHistory => history::history(self, pair),
            Namespace::GoneTag => history::gone(self, pair),
            Namespace::GoneTagCount => history::gone_count(self, pair),
            Namespace::GoneTagOrder => history::gone_order(self, pair),
            Namespace::Task => tasks::task(self, pair),
            Namespace::Outbox => tasks::outbox(self, pair),
            Namespace::Denied => tasks::denied(self, pair),
            Namespace::Backfill => backfills::backfill(self, pair),
            Namespace::RunningBackfill => backfills::running(self, pair),
            Namespace::BackfillItem => backfills::item(self, pair),
            Namespace::WantedBackfill => backfills::wanted(self, pair),
            Namespace::SettingsTask => following::task(self, pair),
            Namespace::SettingsOutbox => following::outbox(self, pair),
            Namespace::SettingsOrigin => following::origin(self, pair),
        }
    }

    /// What is true of the whole.
    fn once(&mut self) {
        let known = read::exists(self.view, &keys::first_account()).unwrap_or(true);
        let accounts = self.summary.accounts;
        self.require(
            accounts <= 1 || known,
            "the first of several accounts is known",
            accounts,
        );
    }

    fn require(&mut self, holds: bool, invariant: &'static str, detail: impl fmt::Debug) {
        if !holds && self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation {
                invariant,
                detail: format!("{detail:?}"),
            });
        }
    }

    fn violated(&mut self, invariant: &'static str, pair: &Pair) {
        self.require(false, invariant, &pair.key);
    }

    /// There is a pair of this key.
    fn require_key(
        &mut self,
        key: &Key,
        invariant: &'static str,
        pair: &Pair,
    ) -> Result<(), StorageError> {
        let holds = read::exists(self.view, key)?;
        self.require(holds, invariant, &pair.key);
        Ok(())
    }

    /// An entry of an index says everything in its key.
    fn require_mark(&mut self, pair: &Pair) {
        let holds = pair.value.is_empty();
        self.require(holds, "an index entry has no value", &pair.key);
    }

    fn corrupt(&mut self, error: &StorageError) {
        self.require(false, "every record can be read", error.to_string());
    }
}

// === impl Pair ===

impl Pair {
    fn parts(&self) -> Parts<'_> {
        Parts::of(&self.key)
    }

    fn decode<M: prost::Message + Default>(&self) -> Result<M, StorageError> {
        read::decode(&self.key, self.value.clone())
    }
}
