//! Every key of a group's state, and nothing else that knows their layout.
//!
//! A key is a namespace byte and then its parts: an account as its 12 digits,
//! a digest as an algorithm byte and its raw bytes, a number as 8 bytes big
//! endian, any other name as its bytes and 0x00, which no name contains. So
//! keys sort as their parts do, no key can be read in two ways and a prefix
//! ends at the end of a part.
//!
//! Namespace 0x00 belongs to the store (applied log id, membership).

use entrepot_oci::{AccountId, Algorithm, Digest, RegionName, RepositoryName, Tag};

use crate::query::TaskKey;
use crate::store::StorageError;

/// The lowest first byte of a state machine's key; what sorts before it is the
/// store's own.
pub const FIRST: u8 = 0x01;

/// The namespaces. A byte that is retired is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Namespace {
    /// id -> `EnvelopeRecord`
    Envelope = FIRST,
    /// slot -> `SlotRecord`
    EnvelopeSlot = 0x02,
    /// account -> `AccountRecord`
    Account = 0x10,
    /// account -> `SettingsRecord`
    Settings = 0x11,
    /// account, rule -> `RuleRecord`
    Rule = 0x12,
    /// account, repository -> `RepositoryRecord`
    Repository = 0x20,
    /// digest -> `BlobRecord`
    Blob = 0x30,
    /// account, repository, digest -> `LinkRecord`
    Link = 0x31,
    /// digest, account, repository -> nothing: a blob's links
    LinkOf = 0x32,
    /// account, repository, blob, manifest -> nothing: who names a blob
    BlobUse = 0x33,
    /// account, repository, digest -> `ManifestRecord`
    Manifest = 0x40,
    /// account, repository, digest -> the manifest's own bytes
    Content = 0x41,
    /// account, repository, child, parent -> nothing: which index names a manifest
    ChildUse = 0x42,
    /// account, repository, subject, manifest -> nothing
    Referrer = 0x43,
    /// account, repository, tag -> `TagRecord`
    Tag = 0x50,
    /// account, repository, digest, tag -> nothing: a manifest's tags
    TagOf = 0x51,
    /// account, repository, tag, source region -> `TagOriginRecord`
    TagOrigin = 0x52,
    /// account, repository, digest, tag, destination -> `TaskRecord`
    Task = 0x60,
    /// sequence and a task's key -> nothing: the open tasks, oldest first
    Outbox = 0x61,
}

/// Every namespace, in order.
const NAMESPACES: [Namespace; 19] = [
    Namespace::Envelope,
    Namespace::EnvelopeSlot,
    Namespace::Account,
    Namespace::Settings,
    Namespace::Rule,
    Namespace::Repository,
    Namespace::Blob,
    Namespace::Link,
    Namespace::LinkOf,
    Namespace::BlobUse,
    Namespace::Manifest,
    Namespace::Content,
    Namespace::ChildUse,
    Namespace::Referrer,
    Namespace::Tag,
    Namespace::TagOf,
    Namespace::TagOrigin,
    Namespace::Task,
    Namespace::Outbox,
];

/// Puts a key together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Vec<u8>);

/// Takes a key apart.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    key: &'a [u8],
    rest: &'a [u8],
}

// === impl Namespace ===

impl Namespace {
    /// The namespace of keys that begin with this byte.
    pub(crate) fn of(byte: u8) -> Option<Self> {
        NAMESPACES
            .into_iter()
            .find(|namespace| *namespace as u8 == byte)
    }
}

// === impl Key ===

impl Key {
    pub fn new(namespace: Namespace) -> Self {
        let mut bytes = Vec::with_capacity(96);
        bytes.push(namespace as u8);
        Self(bytes)
    }

    /// A key that a scan gave back.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    #[must_use]
    pub fn account(self, account: &AccountId) -> Self {
        self.raw(account.as_str().as_bytes())
    }

    /// `name` must not contain 0x00, which holds for every validated name.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.raw(name.as_bytes()).raw(&[0])
    }

    #[must_use]
    pub fn digest(self, digest: &Digest) -> Self {
        self.raw(&[algorithm_byte(digest.algorithm())])
            .raw(digest.bytes())
    }

    #[must_use]
    pub fn number(self, number: u64) -> Self {
        self.raw(&number.to_be_bytes())
    }

    /// Account and repository, with which most keys begin.
    #[must_use]
    pub fn home(self, account: &AccountId, repository: &RepositoryName) -> Self {
        self.account(account).name(repository.as_str())
    }

    #[must_use]
    pub fn task(self, key: &TaskKey) -> Self {
        self.home(&key.account, &key.repository)
            .digest(&key.digest)
            .name(key.tag.as_ref().map_or("", Tag::as_str))
            .name(key.destination.as_str())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The least key after this one: the start of a scan that leaves it out.
    #[must_use]
    pub fn successor(self) -> Self {
        self.raw(&[0])
    }

    /// The least key that does not begin with this one: the end of a scan.
    pub fn prefix_end(&self) -> Vec<u8> {
        let mut end = self.0.clone();
        while end.pop_if(|last| *last == u8::MAX).is_some() {}
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        end
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

// === keys with one shape each ===

pub fn envelope(id: &[u8]) -> Key {
    Key::new(Namespace::Envelope).raw(id)
}

pub fn envelope_slot(slot: u64) -> Key {
    Key::new(Namespace::EnvelopeSlot).number(slot)
}

pub fn account(account: &AccountId) -> Key {
    Key::new(Namespace::Account).account(account)
}

pub fn settings(account: &AccountId) -> Key {
    Key::new(Namespace::Settings).account(account)
}

pub fn rule(account: &AccountId, id: &str) -> Key {
    Key::new(Namespace::Rule).account(account).name(id)
}

pub fn repository(account: &AccountId, repository: &RepositoryName) -> Key {
    Key::new(Namespace::Repository).home(account, repository)
}

pub fn blob(digest: &Digest) -> Key {
    Key::new(Namespace::Blob).digest(digest)
}

/// Any key of account, repository and one digest.
pub fn of_digest(
    namespace: Namespace,
    account: &AccountId,
    repository: &RepositoryName,
    digest: &Digest,
) -> Key {
    Key::new(namespace).home(account, repository).digest(digest)
}

pub fn link(account: &AccountId, repository: &RepositoryName, digest: &Digest) -> Key {
    of_digest(Namespace::Link, account, repository, digest)
}

pub fn link_of(digest: &Digest, account: &AccountId, repository: &RepositoryName) -> Key {
    Key::new(Namespace::LinkOf)
        .digest(digest)
        .home(account, repository)
}

pub fn manifest(account: &AccountId, repository: &RepositoryName, digest: &Digest) -> Key {
    of_digest(Namespace::Manifest, account, repository, digest)
}

pub fn content(account: &AccountId, repository: &RepositoryName, digest: &Digest) -> Key {
    of_digest(Namespace::Content, account, repository, digest)
}

pub fn tag(account: &AccountId, repository: &RepositoryName, tag: &Tag) -> Key {
    Key::new(Namespace::Tag)
        .home(account, repository)
        .name(tag.as_str())
}

pub fn tag_of(account: &AccountId, repository: &RepositoryName, digest: &Digest, tag: &Tag) -> Key {
    of_digest(Namespace::TagOf, account, repository, digest).name(tag.as_str())
}

pub fn tag_origin(
    account: &AccountId,
    repository: &RepositoryName,
    tag: &Tag,
    region: &RegionName,
) -> Key {
    Key::new(Namespace::TagOrigin)
        .home(account, repository)
        .name(tag.as_str())
        .name(region.as_str())
}

pub fn task(key: &TaskKey) -> Key {
    Key::new(Namespace::Task).task(key)
}

pub fn outbox(sequence: u64, key: &TaskKey) -> Key {
    Key::new(Namespace::Outbox).number(sequence).task(key)
}

// === impl Parts ===

impl<'a> Parts<'a> {
    /// The parts after the namespace byte.
    pub(crate) fn of(key: &'a [u8]) -> Self {
        Self {
            key,
            rest: key.get(1..).unwrap_or_default(),
        }
    }

    fn corrupt(&self, what: &str) -> StorageError {
        StorageError::corrupt(self.key, format_args!("no {what} in the key"))
    }

    pub(crate) fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], StorageError> {
        match self.rest.split_at_checked(count) {
            Some((part, rest)) => {
                self.rest = rest;
                Ok(part)
            }
            None => Err(self.corrupt(what)),
        }
    }

    /// A name up to its 0x00, as a type that checks it.
    pub(crate) fn name<T: std::str::FromStr>(&mut self, what: &str) -> Result<T, StorageError> {
        let name = self.text(what)?;
        name.parse().map_err(|_| self.corrupt(what))
    }

    pub(crate) fn text(&mut self, what: &str) -> Result<&'a str, StorageError> {
        let end = self
            .rest
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(|| self.corrupt(what))?;
        let name = self.take(end, what)?;
        self.take(1, what)?;
        std::str::from_utf8(name).map_err(|_| self.corrupt(what))
    }

    pub(crate) fn account(&mut self) -> Result<AccountId, StorageError> {
        let digits = self.take(12, "account")?;
        std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| self.corrupt("account"))
    }

    pub(crate) fn digest(&mut self) -> Result<Digest, StorageError> {
        let (algorithm, length) = match self.take(1, "digest")? {
            [1] => (Algorithm::Sha256, 32),
            [2] => (Algorithm::Sha512, 64),
            _ => return Err(self.corrupt("digest")),
        };
        let bytes = self.take(length, "digest")?;
        Digest::from_bytes(algorithm, bytes).map_err(|_| self.corrupt("digest"))
    }

    pub(crate) fn number(&mut self) -> Result<u64, StorageError> {
        let bytes = self.take(8, "number")?;
        let bytes = bytes.try_into().map_err(|_| self.corrupt("number"))?;
        Ok(u64::from_be_bytes(bytes))
    }

    pub(crate) fn task(&mut self) -> Result<TaskKey, StorageError> {
        let account = self.account()?;
        let repository = self.name("repository")?;
        let digest = self.digest()?;
        let tag = match self.text("tag")? {
            "" => None,
            tag => Some(tag.parse().map_err(|_| self.corrupt("tag"))?),
        };
        Ok(TaskKey {
            account,
            repository,
            digest,
            tag,
            destination: self.name("destination")?,
        })
    }

    /// Nothing may follow.
    pub(crate) fn end(&self) -> Result<(), StorageError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(StorageError::corrupt(self.key, "more parts than expected"))
        }
    }
}

/// Sorts as the algorithms' names do.
fn algorithm_byte(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Sha256 => 1,
        Algorithm::Sha512 => 2,
    }
}
