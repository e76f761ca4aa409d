//! The tasks of one push.

use std::collections::BTreeSet;

use entrepot_oci::{Digest, RegistryId, RepositoryName, Tag};

use super::{names, names_of, remove};
use crate::keys::{self, Namespace, Parts};
use crate::limits::FOLLOWERS_MAX;
use crate::overlay::Overlay;
use crate::query::{self, Destination, ManifestEntry, Rule, Task, TaskKey};
use crate::read;
use crate::records::{TaskKind, TaskRecord, TaskState};
use crate::store::StorageError;

/// Enqueues the tasks of one push, tag by tag.
pub(in super::super) struct Enqueue<'a> {
    account: &'a RegistryId,
    repository: &'a RepositoryName,
    digest: &'a Digest,
    /// Those that match the repository.
    rules: Vec<Rule>,
    /// Read where a rule looks at more than the repository.
    image: Option<ManifestEntry>,
    index: u64,
    at_ms: i64,
    count: u32,
    followers_left: usize,
}

/// Has something copied that was there before, unless that is under way. What was
/// copied already is asked about anew: its destination may have lost it. `name`: of
/// the repository at the destination.
pub(in super::super) fn ask_again(
    overlay: &mut Overlay<'_>,
    key: &TaskKey,
    name: String,
    index: u64,
    at_ms: i64,
) -> Result<(), StorageError> {
    let before = query::task(overlay, key)?;
    let is_copied = |task: &Task| task.kind == TaskKind::Copy;
    let is_open = |task: &Task| task.state == TaskState::InProgress;
    if before
        .as_ref()
        .is_some_and(|it| is_open(it) && is_copied(it))
    {
        return Ok(());
    }
    put(overlay, key, (name, before), index, at_ms);
    Ok(())
}

/// A new task that copies, in the place of the one before, if there was one.
fn put(
    overlay: &mut Overlay<'_>,
    key: &TaskKey,
    (name, before): (String, Option<Task>),
    index: u64,
    at_ms: i64,
) {
    let mut to = vec![name];
    let mut deleted_before = None;
    if let Some(before) = before {
        if before.state != TaskState::Complete {
            let deletion = Some(before.sequence).filter(|_| before.kind == TaskKind::Delete);
            // That of a tag is done by what sets the tag.
            deleted_before = deletion.filter(|_| key.tag.is_none());
            deleted_before = deleted_before.or(before.deleted_before);
        }
        to.extend(names_of(&before));
        // The older push's task, if open, becomes this one's.
        remove(overlay, &before);
    }
    let record = TaskRecord {
        sequence: index,
        created_at_ms: at_ms,
        state: TaskState::InProgress.into(),
        kind: TaskKind::Copy.into(),
        names: names(&key.repository, to),
        deleted_before: deleted_before.unwrap_or_default(),
        ..TaskRecord::default()
    };
    overlay.put(keys::task(key), &record);
    overlay.mark(keys::outbox(index, key));
}

// === impl Enqueue ===

impl<'a> Enqueue<'a> {
    /// `here`: the push was made in this region. A replica goes no further. The
    /// manifest is stored already.
    pub(in super::super) fn new(
        overlay: &Overlay<'_>,
        account: &'a RegistryId,
        repository: &'a RepositoryName,
        digest: &'a Digest,
        here: bool,
        index: u64,
        at_ms: i64,
    ) -> Result<Self, StorageError> {
        let mut rules = if here {
            query::rules(overlay, account)?
        } else {
            Vec::new()
        };
        rules.retain(|rule| rule.matches(repository));
        let image = if rules.iter().any(|rule| rule.options.filters_images()) {
            query::manifest_entry(overlay, account, repository, digest)?
        } else {
            None
        };
        Ok(Self {
            account,
            repository,
            digest,
            rules,
            image,
            index,
            at_ms,
            count: 0,
            followers_left: FOLLOWERS_MAX,
        })
    }

    /// One task for each destination. `was_there`: the push changed nothing,
    /// so that a task which is done or under way need not be done again.
    pub(in super::super) fn run(
        &mut self,
        overlay: &mut Overlay<'_>,
        tag: Option<&Tag>,
        was_there: bool,
    ) -> Result<(), StorageError> {
        let mut taking = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            let takes = match &self.image {
                Some(image) => rule.takes(overlay, self.account, self.repository, image, tag)?,
                None => true,
            };
            if takes {
                taking.push(rule.clone());
            }
        }
        for (destination, rule) in query::by_destination(taking) {
            self.put(overlay, *self.digest, tag, (&destination, &rule), was_there)?;
            // Else they went when they were pushed.
            if rule.options.filters_images() {
                self.follow(overlay, (&destination, &rule))?;
            }
        }
        Ok(())
    }

    fn put(
        &mut self,
        overlay: &mut Overlay<'_>,
        digest: Digest,
        tag: Option<&Tag>,
        (destination, rule): (&Destination, &Rule),
        was_there: bool,
    ) -> Result<(), StorageError> {
        let key = TaskKey {
            account: self.account.account(),
            repository: self.repository.clone(),
            digest,
            tag: tag.cloned(),
            destination: destination.clone(),
        };
        let before = query::task(overlay, &key)?;
        let stands = before.as_ref().is_some_and(|before| {
            before.state != TaskState::Failed && before.kind == TaskKind::Copy
        });
        if was_there && stands {
            return Ok(());
        }
        let name = rule.name_there(self.repository);
        put(overlay, &key, (name, before), self.index, self.at_ms);
        self.count += 1;
        Ok(())
    }

    /// What refers to the image goes where it goes, and what refers to that.
    fn follow(
        &mut self,
        overlay: &mut Overlay<'_>,
        to: (&Destination, &Rule),
    ) -> Result<(), StorageError> {
        let mut subjects = vec![*self.digest];
        let mut seen = BTreeSet::from([*self.digest]);
        while let Some(subject) = subjects.pop() {
            let (account, repository) = (self.account, self.repository);
            let prefix = keys::of_digest(Namespace::Referrer, account, repository, &subject);
            for (key, _) in read::page(overlay, &prefix, None, self.followers_left)? {
                let mut parts = Parts::of(&key);
                parts.registry()?;
                parts.text("repository")?;
                parts.digest()?;
                let referrer = parts.digest()?;
                if !seen.insert(referrer) {
                    continue;
                }
                self.followers_left = self.followers_left.saturating_sub(1);
                self.put(overlay, referrer, None, to, true)?;
                subjects.push(referrer);
            }
            if self.followers_left == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    pub(in super::super) fn count(&self) -> u32 {
        self.count
    }
}
