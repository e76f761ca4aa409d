//! The tasks of one deletion.
//!
//! A deletion goes to where the copies went, under the names that they went under:
//! that is looked up before anything is gone.

use entrepot_oci::{Digest, RegistryId, RepositoryName, Tag};

use super::{all_of, names, names_of, remove};
use crate::keys;
use crate::limits::DELETED_WITH_MAX;
use crate::overlay::Overlay;
use crate::query::{self, Destination, ManifestEntry, Rule, Task, TaskKey};
use crate::read;
use crate::records::{TaskKind, TaskRecord, TaskState};
use crate::store::StorageError;

/// Why the manifest of an index is not known to be where the index was to go.
const NOT_ARRIVED: &str = "the index that it was to go with was deleted before it had arrived";

/// What was deleted: a tag, or an image with all its tags.
pub(in super::super) struct Deletion<'a> {
    pub(in super::super) account: &'a RegistryId,
    pub(in super::super) repository: &'a RepositoryName,
    pub(in super::super) digest: &'a Digest,
    pub(in super::super) tag: Option<&'a Tag>,
    pub(in super::super) index: u64,
    pub(in super::super) at_ms: i64,
}

/// An image before something of it is deleted. Empty where no rule copies that.
#[derive(Default)]
pub(in super::super) struct Going {
    /// Those that match the repository.
    rules: Vec<Rule>,
    image: Option<ManifestEntry>,
    tags: Vec<Tag>,
    tasks: Vec<Task>,
}

// === impl Going ===

impl Going {
    pub(in super::super) fn look(
        overlay: &Overlay<'_>,
        account: &RegistryId,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Self, StorageError> {
        let mut rules = query::rules(overlay, account)?;
        rules.retain(|rule| rule.matches(repository));
        if !rules.iter().any(|rule| rule.options.deletions) {
            return Ok(Self::default());
        }
        let limit = DELETED_WITH_MAX;
        Ok(Self {
            rules,
            image: query::manifest_entry(overlay, account, repository, digest)?,
            tags: query::tags_of(overlay, account, repository, digest, limit)?,
            tasks: all_of(overlay, account, repository, digest)?,
        })
    }

    /// The copies to a destination: of one tag, or all.
    fn copies<'a>(
        &'a self,
        destination: &'a Destination,
        tag: Option<&'a Tag>,
    ) -> impl Iterator<Item = &'a Task> {
        self.tasks.iter().filter(move |task| {
            let is_of_tag = tag.is_none() || task.key.tag.as_ref() == tag;
            task.kind == TaskKind::Copy && task.key.destination == *destination && is_of_tag
        })
    }
}

// === impl Deletion ===

impl Deletion<'_> {
    /// One task for each destination that the rules copy it to. Of a tag, it takes the
    /// place of the task that was to copy it.
    pub(in super::super) fn enqueue(
        &self,
        overlay: &mut Overlay<'_>,
        going: &Going,
    ) -> Result<(), StorageError> {
        for (destination, rule) in query::by_destination(going.rules.clone()) {
            if !self.is_wanted(overlay, going, &destination)? {
                continue;
            }
            let copies = going.copies(&destination, self.tag);
            let mut names: Vec<String> = copies.flat_map(names_of).collect();
            if names.is_empty() {
                names.push(rule.name_there(self.repository));
            }
            let to = (&destination, names.as_slice());
            self.put(overlay, self.tag, to)?;
            if let Some(tag) = self.tag {
                self.put_image(overlay, going, &destination, tag)?;
            } else {
                self.put_tags(overlay, going, to)?;
                self.mark_children(overlay, going, to)?;
            }
        }
        Ok(())
    }

    /// Whether a rule copies deletions there, and the image may have gone there.
    fn is_wanted(
        &self,
        overlay: &Overlay<'_>,
        going: &Going,
        destination: &Destination,
    ) -> Result<bool, StorageError> {
        let went = going.copies(destination, self.tag).next().is_some();
        let goes_to = |rule: &&Rule| rule.destinations.contains(destination);
        for rule in going.rules.iter().filter(goes_to) {
            if !rule.options.deletions {
                continue;
            }
            if went || self.is_taken(overlay, going, rule)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_taken(
        &self,
        overlay: &Overlay<'_>,
        going: &Going,
        rule: &Rule,
    ) -> Result<bool, StorageError> {
        let Some(image) = &going.image else {
            return Ok(!rule.options.filters_images());
        };
        let takes = |tag| rule.takes(overlay, self.account, self.repository, image, tag);
        if self.tag.is_some() || going.tags.is_empty() {
            return takes(self.tag);
        }
        for tag in &going.tags {
            if takes(Some(tag))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The tags that went with the image and may not have got there: an older image
    /// may have them still.
    fn put_tags(
        &self,
        overlay: &mut Overlay<'_>,
        going: &Going,
        to: (&Destination, &[String]),
    ) -> Result<(), StorageError> {
        for tag in &going.tags {
            let mut copies = going.copies(to.0, Some(tag));
            if copies.any(|task| task.state != TaskState::Complete) {
                self.put(overlay, Some(tag), to)?;
            }
        }
        Ok(())
    }

    /// The image was to go along with its tag, has not, and is still here: it goes
    /// without one.
    fn put_image(
        &self,
        overlay: &mut Overlay<'_>,
        going: &Going,
        destination: &Destination,
        tag: &Tag,
    ) -> Result<(), StorageError> {
        let is_open = |task: &Task| task.state == TaskState::InProgress || task.denied;
        let mut open = going.copies(destination, Some(tag));
        let Some(copy) = open.find(|task| is_open(task)) else {
            return Ok(());
        };
        let mut others = going.copies(destination, None);
        let goes = others.any(|task| {
            let arrives = task.state == TaskState::Complete || is_open(task);
            task.key.tag.as_ref() != Some(tag) && arrives
        });
        if goes || !self.is_taken_untagged(overlay, going, destination)? {
            return Ok(());
        }
        let key = self.key(self.digest, None, destination);
        let before = query::task(overlay, &key)?;
        let before = before.filter(|before| before.state != TaskState::Complete);
        let mut all = names_of(copy);
        if let Some(before) = &before {
            all.extend(names_of(before));
            remove(overlay, before);
        }
        let deleted_before = before.and_then(|before| match before.kind {
            TaskKind::Delete => Some(before.sequence),
            TaskKind::Copy => before.deleted_before,
        });
        let record = TaskRecord {
            sequence: self.index,
            created_at_ms: self.at_ms,
            state: TaskState::InProgress.into(),
            kind: TaskKind::Copy.into(),
            names: names(self.repository, all),
            deleted_before: deleted_before.unwrap_or_default(),
            ..TaskRecord::default()
        };
        overlay.put(keys::task(&key), &record);
        overlay.mark(keys::outbox(self.index, &key));
        Ok(())
    }

    fn put(
        &self,
        overlay: &mut Overlay<'_>,
        tag: Option<&Tag>,
        (destination, to): (&Destination, &[String]),
    ) -> Result<(), StorageError> {
        let key = self.key(self.digest, tag, destination);
        let mut all = to.to_vec();
        if let Some(before) = query::task(overlay, &key)? {
            all.extend(names_of(&before));
            remove(overlay, &before);
        }
        let record = TaskRecord {
            sequence: self.index,
            created_at_ms: self.at_ms,
            state: TaskState::InProgress.into(),
            kind: TaskKind::Delete.into(),
            names: names(self.repository, all),
            ..TaskRecord::default()
        };
        overlay.put(keys::task(&key), &record);
        overlay.mark(keys::outbox(self.index, &key));
        Ok(())
    }

    fn is_taken_untagged(
        &self,
        overlay: &Overlay<'_>,
        going: &Going,
        destination: &Destination,
    ) -> Result<bool, StorageError> {
        let Some(image) = &going.image else {
            return Ok(false);
        };
        let goes_to = |rule: &&Rule| rule.destinations.contains(destination);
        for rule in going.rules.iter().filter(goes_to) {
            if rule.takes(overlay, self.account, self.repository, image, None)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Notes where the manifests of an index went with it. They may be what no rule
    /// takes by itself: then only this tells where to their deletions have to go. Of an
    /// index that is not known to have arrived, they are not either.
    fn mark_children(
        &self,
        overlay: &mut Overlay<'_>,
        going: &Going,
        (destination, to): (&Destination, &[String]),
    ) -> Result<(), StorageError> {
        let filters = |rule: &Rule| rule.options.filters_images();
        let Some(index) = going
            .image
            .as_ref()
            .filter(|_| going.rules.iter().any(filters))
        else {
            return Ok(());
        };
        let mut copies = going.copies(destination, None);
        let arrived = copies.any(|task| task.state == TaskState::Complete);
        let (state, reason) = if arrived {
            (TaskState::Complete, None)
        } else {
            (TaskState::Failed, Some(NOT_ARRIVED.to_owned()))
        };
        for child in index.children.iter().take(DELETED_WITH_MAX) {
            let key = self.key(child, None, destination);
            let manifest = keys::manifest(self.account, self.repository, child);
            if query::task(overlay, &key)?.is_some() || !read::exists(overlay, &manifest)? {
                continue;
            }
            let record = TaskRecord {
                sequence: self.index,
                created_at_ms: self.at_ms,
                state: state.into(),
                ended_at_ms: Some(self.at_ms),
                reason: reason.clone(),
                kind: TaskKind::Copy.into(),
                names: names(self.repository, to.to_vec()),
                ..TaskRecord::default()
            };
            overlay.put(keys::task(&key), &record);
        }
        Ok(())
    }

    fn key(&self, digest: &Digest, tag: Option<&Tag>, destination: &Destination) -> TaskKey {
        TaskKey {
            account: self.account.account(),
            repository: self.repository.clone(),
            digest: *digest,
            tag: tag.cloned(),
            destination: destination.clone(),
        }
    }
}
