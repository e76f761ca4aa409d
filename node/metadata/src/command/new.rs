//! Commands from validated names: how a proposer makes them.

use bytes::Bytes;
use entrepot_oci::{AccountId, Digest, Manifest, RegionName, RegistryId, RepositoryName, Tag};

use super::{
    Blank, CreateAccount, CreateRepository, DeleteManifest, DeleteRule, DeleteTag, EndTask,
    LinkBlob, MountBlob, NewAccessKey, PutManifest, PutRegistrySettings, PutRepositorySettings,
    PutRule, RuleSpec, TagCondition, TagState, UnlinkBlob,
};
use crate::limits::INLINE_BYTES_MAX_FIRST;
use crate::query::{Blob, Destination, Task};
use crate::records::Origin;
use crate::records::rules::{DestinationRecord, RuleOptions};

impl CreateAccount {
    pub fn new(account: &AccountId, root_user: &str, password_hash: &str, at_ms: i64) -> Self {
        Self {
            account: account.to_string(),
            root_user: root_user.to_owned(),
            password_hash: password_hash.to_owned(),
            at_ms,
            additional: false,
            name: String::new(),
            root_key: None,
        }
    }

    /// One more account, with the first key of its root user.
    pub fn additional(
        account: &AccountId,
        name: &str,
        root_user: &str,
        root_key: NewAccessKey,
        at_ms: i64,
    ) -> Self {
        Self {
            additional: true,
            name: name.to_owned(),
            root_key: Some(root_key),
            ..Self::new(account, root_user, "", at_ms)
        }
    }
}

impl CreateRepository {
    pub fn new(account: &RegistryId, repository: &RepositoryName, at_ms: i64) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            at_ms,
            spec: None,
            must_be_new: false,
        }
    }
}

impl LinkBlob {
    /// The repository has to exist: set `create_repository` as needed.
    pub fn new(account: &RegistryId, repository: &RepositoryName, blob: &Blob, at_ms: i64) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            digest: blob.digest.to_string(),
            size: blob.size,
            root: Bytes::copy_from_slice(&blob.root),
            holders: blob.holders.clone(),
            at_ms,
            create_repository: false,
            content: blob.content.clone(),
            seen: None,
            must_be_known: false,
            is_replica: false,
        }
    }

    /// Whether it has more content than was always kept.
    pub(super) fn is_long(&self) -> bool {
        let content = self.content.as_ref();
        content.is_some_and(|content| content.len() > INLINE_BYTES_MAX_FIRST)
    }
}

impl MountBlob {
    /// The repository has to exist: set `create_repository` as needed.
    pub fn new(
        account: &RegistryId,
        from: &RepositoryName,
        repository: &RepositoryName,
        digest: &Digest,
        at_ms: i64,
    ) -> Self {
        Self {
            account: account.to_string(),
            from: from.to_string(),
            repository: repository.to_string(),
            digest: digest.to_string(),
            at_ms,
            create_repository: false,
        }
    }
}

impl UnlinkBlob {
    pub fn new(account: &RegistryId, repository: &RepositoryName, digest: &Digest) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            digest: digest.to_string(),
        }
    }
}

impl PutManifest {
    /// What `manifest`, parsed from `content`, says of itself. No tags, no
    /// condition, no origin, the repository has to exist: set those fields as
    /// needed.
    pub fn new(
        account: &RegistryId,
        repository: &RepositoryName,
        digest: &Digest,
        manifest: &Manifest,
        content: Bytes,
        at_ms: i64,
    ) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            digest: digest.to_string(),
            media_type: manifest.media_type.to_string(),
            content,
            artifact_type: manifest.referrer_type().map(ToString::to_string),
            subject: manifest
                .subject
                .as_ref()
                .map(|subject| subject.digest.to_string()),
            blobs: manifest
                .blobs()
                .iter()
                .map(|blob| blob.digest.to_string())
                .collect(),
            children: manifest
                .children()
                .iter()
                .map(|child| child.digest.to_string())
                .collect(),
            size: manifest.content_size(),
            tags: Vec::new(),
            at_ms,
            create_repository: false,
            origin: None,
            condition: None,
            absent: Vec::new(),
            ordered: false,
            author: None,
        }
    }
}

impl TagCondition {
    /// The tag points to `digest`.
    pub fn is(digest: &Digest) -> Self {
        TagState::Is(digest.to_string()).into()
    }

    /// The tag points to something.
    pub fn present() -> Self {
        TagState::Present(Blank {}).into()
    }

    /// There is no such tag.
    pub fn absent() -> Self {
        TagState::Absent(Blank {}).into()
    }
}

impl From<TagState> for TagCondition {
    fn from(expected: TagState) -> Self {
        Self {
            expected: Some(expected),
        }
    }
}

impl Origin {
    /// Of the account's own registry in that region, and the repository of the same
    /// name there.
    pub fn new(region: &RegionName, sequence: u64) -> Self {
        Self {
            region: region.to_string(),
            sequence,
            account: String::new(),
            repository: String::new(),
        }
    }

    /// What every version takes for a source: a region.
    pub(super) fn is_plain(&self) -> bool {
        self.account.is_empty() && self.repository.is_empty()
    }
}

impl DeleteManifest {
    pub fn new(account: &RegistryId, repository: &RepositoryName, digest: &Digest) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            digest: digest.to_string(),
            at_ms: 0,
            expected: None,
            here_only: false,
            author: None,
        }
    }
}

impl DeleteTag {
    /// Under no condition: set that field as needed.
    pub fn new(account: &RegistryId, repository: &RepositoryName, tag: &Tag) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            tag: tag.to_string(),
            condition: None,
            with_manifest: false,
            at_ms: 0,
            author: None,
        }
    }
}

impl PutRule {
    pub fn new(
        account: &AccountId,
        id: &str,
        prefixes: &[String],
        destination: &RegionName,
        at_ms: i64,
    ) -> Self {
        Self {
            account: account.to_string(),
            id: id.to_owned(),
            prefixes: prefixes.to_vec(),
            destination_region: destination.to_string(),
            at_ms,
            destinations: Vec::new(),
            options: None,
        }
    }

    /// A rule with all that it may say, as plain as it can be said.
    pub fn of(account: &AccountId, spec: RuleSpec, at_ms: i64) -> Self {
        Self {
            account: account.to_string(),
            id: spec.id,
            prefixes: spec.prefixes,
            destination_region: spec.destination_region,
            at_ms,
            destinations: spec.destinations,
            options: spec.options,
        }
    }
}

impl From<PutRule> for RuleSpec {
    fn from(command: PutRule) -> Self {
        Self {
            id: command.id,
            prefixes: command.prefixes,
            destination_region: command.destination_region,
            destinations: command.destinations,
            options: command.options,
        }
    }
}

impl RuleSpec {
    /// As plain as it can be said: what needs no newer version says nothing that
    /// only those understand.
    pub fn new(
        account: &AccountId,
        id: &str,
        prefixes: Vec<String>,
        destinations: &[Destination],
        options: RuleOptions,
    ) -> Self {
        let own = match destinations {
            [only] if only.account == *account => Some(&only.region),
            _ => None,
        };
        let record = |it: &Destination| DestinationRecord {
            region: it.region.to_string(),
            account: it.account.to_string(),
        };
        Self {
            id: id.to_owned(),
            prefixes,
            destination_region: own.map(ToString::to_string).unwrap_or_default(),
            destinations: match own {
                Some(_) => Vec::new(),
                None => destinations.iter().map(record).collect(),
            },
            options: Some(options).filter(|options| !options.is_plain()),
        }
    }
}

impl DeleteRule {
    pub fn new(account: &AccountId, id: &str) -> Self {
        Self {
            account: account.to_string(),
            id: id.to_owned(),
        }
    }
}

impl EndTask {
    pub fn complete(task: &Task, at_ms: i64) -> Self {
        Self {
            account: task.key.account.to_string(),
            repository: task.key.repository.to_string(),
            digest: task.key.digest.to_string(),
            tag: task
                .key
                .tag
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            destination: task.key.destination.name(&task.key.account),
            sequence: task.sequence,
            failed_reason: None,
            at_ms,
            denied: false,
        }
    }

    /// It failed because the destination's account does not allow it.
    pub fn denied(task: &Task, reason: &str, at_ms: i64) -> Self {
        Self {
            denied: true,
            ..Self::failed(task, reason, at_ms)
        }
    }

    pub fn failed(task: &Task, reason: &str, at_ms: i64) -> Self {
        Self {
            failed_reason: Some(reason.to_owned()),
            ..Self::complete(task, at_ms)
        }
    }
}

impl PutRegistrySettings {
    /// Changes nothing: set the fields that are to change.
    pub fn new(account: &RegistryId) -> Self {
        Self {
            account: account.to_string(),
            create_on_push: None,
            quotas: None,
            is_granted: false,
            undelete_window_ms: None,
        }
    }
}

impl PutRepositorySettings {
    /// Changes nothing: set the fields that are to change.
    pub fn new(account: &RegistryId, repository: &RepositoryName) -> Self {
        Self {
            account: account.to_string(),
            repository: repository.to_string(),
            sparse_indexes: None,
            mutability: None,
            scan_on_push: None,
            bytes_max: None,
            images_max: None,
        }
    }
}
