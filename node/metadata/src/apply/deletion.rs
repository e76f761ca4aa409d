//! Repositories go, in steps of a bounded size.
//!
//! The first step marks the repository, so that nothing comes while it goes. Tags
//! and tasks go first, then the manifests, then the links: at no time does a tag
//! point to nothing, or a manifest name a blob that is not linked. The invariant:
//! what is left between two steps can be removed by the next one, whoever
//! proposes it.

use entrepot_oci::{RegistryId, RepositoryName};

use super::counts::Counted;
use super::history::{self, Change, Named};
use super::{Stop, collection, held, manifests, parse, settings, tags, tasks, undelete};
use crate::command::DeleteRepository;
use crate::keys::{self, Key, Namespace, Parts};
use crate::limits::{DELETION_MANIFESTS_PAGE, DELETION_STEP_PAIRS};
use crate::overlay::Overlay;
use crate::query;
use crate::read;
use crate::records::RepositoryRecord;
use crate::records::collection::Why;
use crate::response::{Outcome, Refused, RepositoryDeleted};
use crate::store::StorageError;

/// One step under way.
struct Step<'a, 'b> {
    overlay: &'a mut Overlay<'b>,
    account: &'a RegistryId,
    repository: &'a RepositoryName,
    /// Pairs that may still be removed.
    room: usize,
    deleted: RepositoryDeleted,
}

pub(super) fn step(overlay: &mut Overlay<'_>, command: &DeleteRepository) -> Result<Outcome, Stop> {
    let account = parse("account", &command.account)?;
    let repository = parse("repository", &command.repository)?;
    let key = keys::repository(&account, &repository);
    let record: Option<RepositoryRecord> = read::record(overlay, &key)?;
    let Some(record) = record.filter(|record| record.index == command.index) else {
        return Ok(Outcome::RepositoryDeleted(RepositoryDeleted::default()));
    };
    let may_go = record.deleting || command.force;
    if !may_go && !query::manifests(overlay, &account, &repository, None, 1)?.is_empty() {
        return Err(Refused::RepositoryNotEmpty(repository.to_string()).into());
    }
    let mut step = Step {
        overlay,
        account: &account,
        repository: &repository,
        room: DELETION_STEP_PAIRS,
        deleted: RepositoryDeleted::default(),
    };
    let empty = step.run()?;
    let deleted = RepositoryDeleted {
        more: !empty,
        ..step.deleted
    };
    if empty {
        settings::clear(overlay, &account, &repository)?;
        Counted::Images(&account, &repository).forget(overlay)?;
        held::forget(overlay, &account, &repository)?;
        Counted::Repositories(&account).remove(overlay, &key)?;
        overlay.delete(key);
    } else if !record.deleting {
        let deleting = RepositoryRecord {
            deleting: true,
            ..record
        };
        overlay.put(key, &deleting);
    }
    Ok(Outcome::RepositoryDeleted(deleted))
}

// === impl Step ===

impl Step<'_, '_> {
    /// Whether the repository is empty then.
    fn run(&mut self) -> Result<bool, StorageError> {
        Ok(self.tags()?
            && self.tasks()?
            && self.origins()?
            && self.histories()?
            && self.manifests()?
            && self.kept()?
            && self.links()?)
    }

    /// How many things of so many pairs each there is room for.
    fn room_for(&self, pairs: usize) -> usize {
        self.room / pairs
    }

    fn took(&mut self, pairs: usize) {
        self.room = self.room.saturating_sub(pairs);
    }

    /// Whether no tag is left; so do the others of their kind.
    fn tags(&mut self) -> Result<bool, StorageError> {
        let limit = self.room_for(2);
        let found = query::tags(self.overlay, self.account, self.repository, None, limit)?;
        // What tags pointed to goes with them.
        let unsaid = Change {
            index: 0,
            at_ms: 0,
            author: None,
            forgets: true,
        };
        for entry in &found {
            let (digest, tag) = (&entry.digest, &entry.tag);
            let (overlay, account, repository) =
                (&mut *self.overlay, self.account, self.repository);
            let named = Named {
                account,
                repository,
                tag,
            };
            tags::remove(overlay, named, digest, unsaid)?;
        }
        self.deleted.tags += found.len() as u64;
        self.took(2 * found.len());
        Ok(found.len() < limit)
    }

    fn tasks(&mut self) -> Result<bool, StorageError> {
        let limit = self.room_for(2);
        let (overlay, repository) = (&mut *self.overlay, Some(self.repository));
        let found = query::tasks(overlay, self.account, repository, None, limit)?;
        for task in &found {
            tasks::remove(overlay, task);
        }
        self.took(2 * found.len());
        Ok(found.len() < limit)
    }

    /// Which pushes of other regions have set tags here. A repository that is made
    /// anew begins with none.
    fn origins(&mut self) -> Result<bool, StorageError> {
        for namespace in [Namespace::TagOrigin, Namespace::Replica] {
            if !self.all_of(namespace)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What tags pointed to.
    fn histories(&mut self) -> Result<bool, StorageError> {
        let limit = self.room_for(3);
        let prefix = Key::new(Namespace::TagHistory).home(self.account, self.repository);
        let found = read::page(self.overlay, &prefix, None, limit)?;
        let number = found.len();
        for (key, value) in found {
            history::forget_history(self.overlay, &key, value)?;
        }
        self.took(3 * number);
        Ok(number < limit && self.all_of(Namespace::TagMove)?)
    }

    /// Whether no pair of a namespace is left that nothing else knows of.
    fn all_of(&mut self, namespace: Namespace) -> Result<bool, StorageError> {
        let limit = self.room_for(1);
        let found = self.page(namespace, limit)?;
        for key in &found {
            self.overlay.delete(Key::of(key.clone()));
        }
        self.took(found.len());
        Ok(found.len() < limit)
    }

    fn manifests(&mut self) -> Result<bool, StorageError> {
        let mut after = None;
        while self.room > 0 {
            let (after_digest, limit) = (after.as_ref(), DELETION_MANIFESTS_PAGE);
            let (account, repository) = (self.account, self.repository);
            let page = query::manifests(self.overlay, account, repository, after_digest, limit)?;
            for entry in &page {
                if self.room == 0 {
                    return Ok(false);
                }
                let pairs = manifests::remove(self.overlay, account, repository, entry)?;
                self.took(pairs);
                self.deleted.manifests += 1;
            }
            if page.len() < limit {
                return Ok(true);
            }
            after = page.last().map(|entry| entry.digest);
        }
        Ok(false)
    }

    /// Nothing of a repository can be restored once it is gone.
    fn kept(&mut self) -> Result<bool, StorageError> {
        let (account, repository) = (self.account, self.repository);
        while self.room > 0 {
            let limit = DELETION_MANIFESTS_PAGE;
            // What is dropped is gone from the next page.
            let page = query::deleted_images(self.overlay, account, repository, None, limit)?;
            for image in &page {
                if self.room == 0 {
                    return Ok(false);
                }
                let pairs = undelete::forget(self.overlay, account, repository, image)?;
                self.took(pairs);
            }
            if page.len() < limit {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn links(&mut self) -> Result<bool, StorageError> {
        // Before collection has begun, releases that know nothing of it have to come
        // to the same.
        let pairs = if collection::has_begun(self.overlay)? {
            3
        } else {
            2
        };
        let limit = self.room_for(pairs);
        let links = self.page(Namespace::Link, limit)?;
        for key in &links {
            let mut parts = Parts::of(key);
            parts.registry()?;
            parts.text("repository")?;
            let digest = parts.digest()?;
            let link_of = keys::link_of(&digest, self.account, self.repository);
            self.overlay.delete(link_of);
            let key = Key::of(key.clone());
            held::unlinked(self.overlay, self.account, self.repository, &key, &digest)?;
            self.overlay.delete(key);
            collection::unlinked(self.overlay, &digest, Why::RepositoryDeleted)?;
        }
        self.took(pairs * links.len());
        Ok(links.len() < limit)
    }

    /// The first keys of the repository in a namespace.
    fn page(&self, namespace: Namespace, limit: usize) -> Result<Vec<Vec<u8>>, StorageError> {
        let prefix = Key::new(namespace).home(self.account, self.repository);
        let pairs = read::page(self.overlay, &prefix, None, limit)?;
        Ok(pairs.into_iter().map(|(key, _)| key.to_vec()).collect())
    }
}
