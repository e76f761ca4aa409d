//! Deleted images in the model: kept for a while, back again, or gone for good.

use std::collections::BTreeMap;

use entrepot_metadata::command::{Author, ExpireDeleted, ExpiredImage, PutManifest, RestoreImage};
use entrepot_metadata::limits::{KEPT_IMAGE_BYTES, UNDELETE_WINDOW_MS};
use entrepot_metadata::query::{self, Cause};
use entrepot_metadata::response::{DeletedExpired, ImageRestored, TagFixed};
use entrepot_metadata::{Command, MemoryState, Outcome, Refused};
use entrepot_oci::{AccountId, RepositoryName};
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};
use proptest::sample::select;

use crate::oracle::{Home, Oracle, digests};

/// A registry's own window, where one is set.
const WINDOW_MS: u64 = 10;

#[derive(Clone, Debug)]
pub(crate) struct Deleted {
    pub(crate) manifest: PutManifest,
    /// Those of its manifests that it was taken without.
    absent: Vec<String>,
    tags: Vec<String>,
    until_ms: i64,
    index: u64,
}

// === what is proposed ===

pub(crate) fn window() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![2 => Just(None), 1 => select(vec![0, WINDOW_MS, UNDELETE_WINDOW_MS]).prop_map(Some)]
}

/// Mostly somebody says so.
pub(crate) fn author() -> BoxedStrategy<Option<Author>> {
    let window_ms = prop_oneof![4 => Just(None), 1 => select(vec![0, 5]).prop_map(Some)];
    let author = window_ms.prop_map(|window_ms| Author {
        window_ms,
        ..Author::new("arn", Cause::Client)
    });
    proptest::option::weighted(0.8, author).boxed()
}

/// Before a short window is over, or after it.
pub(crate) fn at() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(2), 1 => Just(20), 1 => Just(i64::MAX)]
}

pub(crate) fn restore(
    account: impl Strategy<Value = String> + 'static,
    repository: impl Strategy<Value = String> + 'static,
    digest: impl Strategy<Value = String> + 'static,
) -> BoxedStrategy<Command> {
    let without_tags = any::<bool>();
    (account, repository, digest, at(), without_tags)
        .prop_map(|(account, repository, digest, at_ms, without_tags)| {
            let command = RestoreImage {
                account,
                repository,
                digest,
                at_ms,
                without_tags,
                author: Some(Author::new("arn", Cause::Restore)),
            };
            command.into()
        })
        .boxed()
}

/// What the collector would propose; `now`: what somebody would who wants the space.
pub(crate) fn due(state: &MemoryState, cutoff_ms: i64, now: bool) -> Command {
    let until_ms = if now { i64::MAX } else { cutoff_ms };
    let due = query::due_images(state, until_ms, 100).unwrap();
    let images = due.iter().map(|it| {
        let digest = &it.image.manifest.digest;
        ExpiredImage::new(&it.account, &it.repository, digest, it.image.index)
    });
    let command = ExpireDeleted {
        images: images.collect(),
        cutoff_ms,
        now,
    };
    command.into()
}

// === what should come of it ===

impl Oracle {
    /// A manifest was removed: it goes, or stays for a while.
    pub(crate) fn keep(
        &mut self,
        home: &Home,
        manifest: PutManifest,
        (index, at_ms, author): (u64, i64, Option<&Author>),
        tags: Vec<String>,
    ) {
        let own = self.windows.get(&home.0).copied();
        let own = own.unwrap_or(UNDELETE_WINDOW_MS);
        let window_ms = author.map_or(0, |author| author.window_ms.unwrap_or(own));
        if window_ms == 0 {
            self.release(home, &manifest.blobs, at_ms);
            return;
        }
        let absent = self.absent.iter();
        let absent = absent.filter(|(at, it, _)| (at, it) == (home, &manifest.digest));
        let deleted = Deleted {
            absent: absent.map(|(_, _, child)| child.clone()).collect(),
            tags,
            until_ms: at_ms + i64::try_from(window_ms).unwrap(),
            index,
            manifest,
        };
        let key = (home.clone(), deleted.manifest.digest.clone());
        self.deleted.insert(key, deleted);
    }

    /// What was kept of an image went for good.
    pub(crate) fn let_go(&mut self, home: &Home, before: Option<Deleted>, at_ms: i64) {
        if let Some(before) = before {
            self.release(home, &before.manifest.blobs, at_ms);
        }
    }

    /// How many deleted images there are, and how many bytes their manifests have.
    fn kept(&self, is_meant: impl Fn(&(Home, String)) -> bool) -> (u64, u64) {
        let found = self.deleted.iter().filter(|(key, _)| is_meant(key));
        found.fold((0, 0), |sum, (_, it)| {
            (sum.0 + 1, sum.1 + it.manifest.content.len() as u64)
        })
    }

    /// The deleted images that name a blob.
    pub(crate) fn keepers(&self, home: &Home, blob: &str) -> Vec<String> {
        let all = self.deleted.iter().filter(|((at, _), it)| {
            let mut blobs = it.manifest.blobs.iter();
            at == home && blobs.any(|named| named == blob)
        });
        all.map(|((_, digest), _)| digest.clone()).collect()
    }

    pub(crate) fn expire(&mut self, it: ExpireDeleted) -> Outcome {
        let mut images = 0;
        for image in it.images {
            let key = ((image.account, image.repository), image.digest);
            let is_due = self.deleted.get(&key).is_some_and(|found| {
                found.index == image.index && (it.now || found.until_ms <= it.cutoff_ms)
            });
            if is_due {
                let gone = self.deleted.remove(&key);
                self.let_go(&key.0, gone, it.cutoff_ms);
                images += 1;
            }
        }
        Outcome::DeletedExpired(DeletedExpired {
            images,
            more: false,
        })
    }

    pub(crate) fn restore(&mut self, index: u64, it: RestoreImage) -> Result<Outcome, Refused> {
        let home = (it.account, it.repository);
        let key = (home.clone(), it.digest.clone());
        self.ensure(&home, false, index)?;
        if self.manifests.contains_key(&key) {
            return Err(Refused::NotDeleted(it.digest));
        }
        let Some(image) = self.deleted.get(&key).cloned() else {
            return Err(Refused::DeletedUnknown(it.digest));
        };
        if image.until_ms <= it.at_ms {
            return Err(Refused::WindowPassed(it.digest));
        }
        let (mut tags, mut tags_kept) = (Vec::new(), Vec::new());
        for tag in image.tags.iter().filter(|_| !it.without_tags) {
            if let Some(digest) = self.is_fixed_elsewhere(&home, tag, &it.digest) {
                let (tag, repository) = (tag.clone(), home.1);
                return Err(Refused::TagImmutable(TagFixed {
                    tag,
                    repository,
                    digest,
                }));
            }
            if self.tags.contains_key(&(home.clone(), tag.clone())) {
                tags_kept.push(tag.clone());
            } else {
                tags.push(tag.clone());
            }
        }
        let all = self.put_back(&home, image)?;
        self.reshelve(&home, all.keys(), it.at_ms);
        let mut tasks = 0;
        if tags.is_empty() {
            tasks += self.copied(index, &home, &it.digest, "");
        }
        let image = PutManifest {
            digest: it.digest.clone(),
            ..PutManifest::default()
        };
        for tag in &tags {
            self.move_tag(&home, tag, &image, &mut Vec::new());
            tasks += self.copied(index, &home, &it.digest, tag);
        }
        for digest in all.keys().filter(|digest| **digest != it.digest) {
            tasks += self.copied(index, &home, digest, "");
        }
        Ok(Outcome::ImageRestored(ImageRestored {
            manifests: all.len() as u64,
            tags,
            tags_kept,
            tasks,
        }))
    }

    /// What came back is copied as a push is, unless it is in the archive.
    fn copied(&mut self, index: u64, home: &Home, digest: &str, tag: &str) -> u32 {
        if self.is_archived(home, digest) {
            return 0;
        }
        let pushed = PutManifest {
            digest: digest.to_owned(),
            ..PutManifest::default()
        };
        self.enqueue(index, home, &pushed, tag, false)
    }

    /// The image and the deleted manifests that it names, directly or not.
    fn put_back(
        &mut self,
        home: &Home,
        image: Deleted,
    ) -> Result<BTreeMap<String, Deleted>, Refused> {
        let mut all = BTreeMap::from([(image.manifest.digest.clone(), image)]);
        let mut gone = Vec::new();
        loop {
            let mut found = Vec::new();
            for parent in all.values() {
                for child in &parent.manifest.children {
                    let key = (home.clone(), child.clone());
                    if all.contains_key(child) || self.manifests.contains_key(&key) {
                        continue;
                    }
                    match self.deleted.get(&key) {
                        Some(deleted) => found.push(deleted.clone()),
                        None if parent.absent.contains(child) => {}
                        None => gone.push(child.clone()),
                    }
                }
            }
            if found.is_empty() {
                break;
            }
            all.extend(found.into_iter().map(|it| (it.manifest.digest.clone(), it)));
        }
        if !gone.is_empty() {
            return Err(Refused::ChildrenGone(digests(gone)));
        }
        // Their bytes have been held all the while.
        for more in 0..all.len() as u64 {
            self.takes_number(home, more)?;
        }
        for (digest, image) in &all {
            let key = (home.clone(), digest.clone());
            self.deleted.remove(&key);
            let entry = |child: &String| (home.clone(), digest.clone(), child.clone());
            self.absent.extend(image.absent.iter().map(entry));
            self.manifests.insert(key, image.manifest.clone());
        }
        Ok(all)
    }
}

/// Whether the state shows what the model holds.
pub(crate) fn compare(
    state: &MemoryState,
    oracle: &Oracle,
    (account, repository): (&AccountId, &RepositoryName),
) {
    let home: Home = (account.to_string(), repository.to_string());
    let found = query::deleted_images(state, account, repository, None, usize::MAX).unwrap();
    let found = found.into_iter().map(|it| {
        let tags = it.tags.iter().map(ToString::to_string).collect();
        let digest = it.manifest.digest.to_string();
        (digest, tags, it.until_ms, it.index, it.cost)
    });
    let mut found: Vec<(String, Vec<String>, i64, u64, u64)> = found.collect();
    found.sort();
    let expected = oracle.deleted.iter().filter(|((at, _), _)| *at == home);
    let expected = expected.map(|((_, digest), it)| {
        let it = it.clone();
        let tags: usize = it.tags.iter().map(String::len).sum();
        let cost = KEPT_IMAGE_BYTES + (it.manifest.content.len() + tags) as u64;
        (digest.clone(), it.tags, it.until_ms, it.index, cost)
    });
    let mut expected: Vec<_> = expected.collect();
    expected.sort();
    assert_eq!(found, expected, "deleted images");
    let kept = query::repository_kept(state, account, repository).unwrap();
    let of_home = |(at, _): &(Home, String)| *at == home;
    assert_eq!((kept.images, kept.bytes), oracle.kept(of_home));
    let kept = query::kept(state, account).unwrap();
    let of_account = |(at, _): &(Home, String)| at.0 == home.0;
    assert_eq!((kept.images, kept.bytes), oracle.kept(of_account));
}
