//! What the archive should be, looked for from end to end until nothing changes.

use std::collections::BTreeSet;

use entrepot_metadata::command::{PutManifest, SetStorageClass};
use entrepot_metadata::query::ManifestEntry;
use entrepot_metadata::response::{Referenced, StorageClassSet};
use entrepot_metadata::{Outcome, Refused};

use crate::oracle::{Home, Oracle};

/// When a manifest went into the archive, if it is there; when it last came back, and
/// when it had gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shelf {
    archived: Option<i64>,
    activated: Option<i64>,
    last_archived: Option<i64>,
}

pub(crate) fn compare(entries: &[ManifestEntry], oracle: &Oracle, home: &Home) {
    for entry in entries {
        let key = (home.clone(), entry.digest.to_string());
        let found = Shelf {
            archived: entry.archived_at_ms,
            activated: entry.activated_at_ms,
            last_archived: entry.last_archived_at_ms,
        };
        let expected = oracle.shelves.get(&key).copied().unwrap_or_default();
        assert_eq!(found, expected, "{key:?}");
    }
}

// === impl Oracle ===

impl Oracle {
    pub(crate) fn set_storage_class(
        &mut self,
        index: u64,
        it: &SetStorageClass,
    ) -> Result<Outcome, Refused> {
        let home = (it.account.clone(), it.repository.clone());
        self.ensure(&home, false, 0)?;
        if !self
            .manifests
            .contains_key(&(home.clone(), it.digest.clone()))
        {
            return Err(Refused::ManifestUnknown(it.digest.clone()));
        }
        let mut images = 0;
        if it.archive && !self.is_archived(&home, &it.digest) {
            let going = BTreeSet::from([it.digest.clone()]);
            if let Some(by) = self.active_users(&home, &it.digest, &BTreeSet::new()).min() {
                let digest = it.digest.clone();
                return Err(Refused::ManifestReferenced(Referenced { digest, by }));
            }
            images = self.archive(&home, going, it.at_ms);
        } else if !it.archive && self.is_archived(&home, &it.digest) {
            images = self.activate(&home, [it.digest.clone()], it.at_ms);
            self.copy_restored(index, &home, &it.digest);
        }
        let left = false;
        Ok(Outcome::StorageClassSet(StorageClassSet { images, left }))
    }

    /// What a push brings back; whether that is the image itself.
    pub(crate) fn bring_back(&mut self, home: &Home, it: &PutManifest, created: bool) -> bool {
        if created {
            self.activate(home, it.children.clone(), it.at_ms);
            return false;
        }
        self.activate(home, [it.digest.clone()], it.at_ms) > 0
    }

    /// What came back from being deleted is where it was, but for what an index names
    /// that is not in the archive.
    pub(crate) fn reshelve<'a>(
        &mut self,
        home: &Home,
        digests: impl IntoIterator<Item = &'a String>,
        at_ms: i64,
    ) {
        for digest in digests {
            if !self.is_archived(home, digest) {
                let key = (home.clone(), digest.clone());
                let children = self.manifests[&key].children.clone();
                self.activate(home, children, at_ms);
            } else if self
                .active_users(home, digest, &BTreeSet::new())
                .next()
                .is_some()
            {
                self.activate(home, [digest.clone()], at_ms);
            }
        }
    }

    pub(crate) fn is_archived(&self, home: &Home, digest: &str) -> bool {
        let key = (home.clone(), digest.to_owned());
        let times = self.shelves.get(&key);
        self.manifests.contains_key(&key) && times.is_some_and(|times| times.archived.is_some())
    }

    /// Indexes that name a manifest and are neither in the archive nor going there.
    fn active_users<'a>(
        &'a self,
        home: &'a Home,
        digest: &'a str,
        going: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = String> + 'a {
        let names = move |it: &PutManifest| it.children.iter().any(|child| child == digest);
        let users = self.users(home, names).into_iter();
        users.filter(move |by| !self.is_archived(home, by) && !going.contains(by))
    }

    /// What goes with these is added until nothing more does.
    fn archive(&mut self, home: &Home, mut going: BTreeSet<String>, at_ms: i64) -> u64 {
        loop {
            let is_gone =
                |digest: &String| going.contains(digest) || self.is_archived(home, digest);
            let joins = |digest: &String, it: &PutManifest| {
                let is_tagged = self
                    .tags
                    .iter()
                    .any(|((at, _), (to, _))| at == home && to == digest);
                let mut named = self
                    .users(home, |by| by.children.contains(digest))
                    .into_iter();
                let is_named = named.any(|by| going.contains(&by));
                let is_free = self.active_users(home, digest, &going).next().is_none();
                let follows = it.subject.as_ref().is_some_and(&is_gone);
                let subject_goes = it.subject.as_ref().is_some_and(|it| going.contains(it));
                let belongs = subject_goes || is_named && (!is_tagged || follows);
                belongs && is_free && !is_gone(digest)
            };
            let mut all = self.manifests.iter().filter(|((at, _), _)| at == home);
            let Some(next) = all
                .find(|((_, digest), it)| joins(digest, it))
                .map(|((_, digest), _)| digest.clone())
            else {
                break;
            };
            going.insert(next);
        }
        for digest in &going {
            let times = self.shelves.entry((home.clone(), digest.clone()));
            let times = times.or_default();
            times.archived = Some(at_ms);
            times.last_archived = Some(at_ms);
        }
        going.len() as u64
    }

    pub(crate) fn activate(
        &mut self,
        home: &Home,
        digests: impl IntoIterator<Item = String>,
        at_ms: i64,
    ) -> u64 {
        let mut count = 0;
        for digest in digests {
            if !self.is_archived(home, &digest) {
                continue;
            }
            count += 1;
            let times = self
                .shelves
                .get_mut(&(home.clone(), digest.clone()))
                .unwrap();
            times.archived = None;
            times.activated = Some(at_ms);
            let named = self.manifests[&(home.clone(), digest.clone())]
                .children
                .clone();
            let referrers = self.users(home, |it| it.subject.as_deref() == Some(&digest));
            count += self.activate(home, named.into_iter().chain(referrers), at_ms);
        }
        count
    }

    /// As if it had been pushed, with the tags that were pushed here.
    fn copy_restored(&mut self, index: u64, home: &Home, digest: &str) {
        let claims = self.replicas.iter();
        let claims = claims.filter(|((at, of, _), (pushed, deleted))| {
            at == home && of == digest && pushed > deleted
        });
        let sources: Vec<String> = claims.map(|((.., from), _)| from.clone()).collect();
        if !sources.is_empty() && !sources.contains(&String::new()) {
            return;
        }
        let push = PutManifest {
            digest: digest.to_owned(),
            ..PutManifest::default()
        };
        let tags = self.tags.iter();
        let tags = tags.filter(|((at, _), (to, _))| at == home && to == digest);
        let tags: Vec<(String, bool)> = tags
            .map(|((_, tag), (_, origin))| (tag.clone(), origin.is_none()))
            .collect();
        if tags.is_empty() {
            self.enqueue(index, home, &push, "", false);
        }
        for (tag, _) in tags.iter().filter(|(_, here)| *here) {
            self.enqueue(index, home, &push, tag, false);
        }
    }
}
