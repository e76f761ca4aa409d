//! What a lifecycle policy wants done with the images of a repository: a pure
//! function of the policy, of the images and of the time.
//!
//! All rules look at all images; then they are applied in order of priority. An
//! image that a rule selects is out of reach of the rules below it, also if that
//! rule leaves it; these count it all the same. The invariant: what an index names
//! never goes while that index is there, and what has a subject goes with its
//! subject and never before it. Neither is matched or counted by any rule.

use std::collections::HashMap;

use entrepot_oci::{Digest, Tag};

use super::rule::{ActionKind, CountPer, CountType, Policy, Rule, Selection, TagStatus};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// What a rule can look at. Times are in milliseconds since 1970.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) digest: Digest,
    /// Log index of its first push: images are as old as that says, whatever the
    /// clocks of the nodes that took them said.
    pub(super) index: u64,
    /// The least is the oldest.
    pub(super) age_index: u64,
    pub(super) tags: Vec<Tag>,
    pub(super) pushed_at_ms: i64,
    /// None: never, or not recorded.
    pub(super) pulled_at_ms: Option<i64>,
    /// When it last came back from the archive.
    pub(super) activated_at_ms: Option<i64>,
    /// Since when it is in the archive.
    pub(super) archived_at_ms: Option<i64>,
    /// An index's manifests.
    pub(super) children: Vec<Digest>,
    pub(super) subject: Option<Digest>,
}

/// What is to be done with the image at `image`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) image: usize,
    /// Of the rule that decided: the image's own, or its subject's.
    pub(super) priority: i64,
    pub(super) action: Doing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Expire,
    Archive,
}

/// The images of a repository and how they hang together.
struct Family<'a> {
    images: &'a [Candidate],
    at: HashMap<Digest, usize>,
    /// How many indexes name each.
    parents: Vec<usize>,
    /// The images whose subject each is.
    referrers: Vec<Vec<usize>>,
}

/// In the order in which it is to be done: an index before what it names, a subject
/// before what refers to it.
pub(super) fn evaluate(policy: &Policy, images: &[Candidate], now_ms: i64) -> Vec<Verdict> {
    let family = Family::of(images);
    let by_age = family.by_age();
    let mut settled = vec![false; images.len()];
    let mut verdicts = Vec::new();
    for rule in &policy.rules {
        let (selection, kind) = (&rule.selection, rule.action.kind);
        let selected: Vec<usize> = by_age
            .iter()
            .copied()
            .filter(|&at| selects(selection, &images[at]))
            .collect();
        for (image, is_due) in due(rule, &selected, images, now_ms) {
            let action = match kind {
                ActionKind::Retain if is_due => continue,
                ActionKind::Expire if is_due => Some(Doing::Expire),
                ActionKind::Transition if is_due => Some(Doing::Archive),
                _ => None,
            };
            if std::mem::replace(&mut settled[image], true) {
                continue;
            }
            verdicts.extend(action.map(|action| Verdict {
                image,
                priority: rule.priority,
                action,
            }));
        }
    }
    family.followed(verdicts)
}

/// Whether the rule's tags and class are those of the image.
fn selects(selection: &Selection, image: &Candidate) -> bool {
    if selection.is_of_the_archive() != image.archived_at_ms.is_some() {
        return false;
    }
    match selection.tag_status {
        TagStatus::Any => true,
        TagStatus::Untagged => image.tags.is_empty(),
        TagStatus::Tagged => {
            let mut patterns = 0..selection.patterns();
            let fits = |at| selection.pattern_takes(at, &image.tags);
            match selection.count_per {
                Some(CountPer::Pattern) => patterns.any(fits),
                None => patterns.all(fits),
            }
        }
    }
}

/// For each of `selected`, which are in order of age, whether the rule's time has
/// come.
fn due(rule: &Rule, selected: &[usize], images: &[Candidate], now_ms: i64) -> Vec<(usize, bool)> {
    let selection = &rule.selection;
    let count = usize::try_from(selection.count_number).unwrap_or(usize::MAX);
    if selection.count_type == CountType::ImageCountMoreThan {
        return match selection.count_per {
            None => {
                let old = selected.len().saturating_sub(count);
                let ranked = selected.iter().enumerate();
                ranked.map(|(rank, &at)| (at, rank < old)).collect()
            }
            Some(CountPer::Pattern) => due_per_pattern(selection, selected, images, count),
        };
    }
    let span_ms = selection.count_number.saturating_mul(DAY_MS);
    let since = |image: &Candidate| match selection.count_type {
        CountType::SinceImagePulled => image.last_use_ms(),
        CountType::SinceImageTransitioned => image.archived_at_ms.unwrap_or(image.pushed_at_ms),
        CountType::SinceImagePushed | CountType::ImageCountMoreThan => image.born_at_ms(),
    };
    let is_due = |at: usize| now_ms.saturating_sub(since(&images[at])) > span_ms;
    selected.iter().map(|&at| (at, is_due(at))).collect()
}

/// The newest of each pattern stay, so many of them.
fn due_per_pattern(
    selection: &Selection,
    selected: &[usize],
    images: &[Candidate],
    count: usize,
) -> Vec<(usize, bool)> {
    let mut stays = vec![false; selected.len()];
    for pattern in 0..selection.patterns() {
        let newest = selected.iter().enumerate().rev();
        newest
            .filter(|(_, at)| selection.pattern_takes(pattern, &images[**at].tags))
            .take(count)
            .for_each(|(rank, _)| stays[rank] = true);
    }
    let ranked = selected.iter().zip(stays);
    ranked.map(|(&at, stays)| (at, !stays)).collect()
}

// === impl Candidate ===

impl Candidate {
    /// Its age counts from here.
    fn born_at_ms(&self) -> i64 {
        self.activated_at_ms.unwrap_or(self.pushed_at_ms)
    }

    /// When it was last pulled, or came if it was not pulled since.
    fn last_use_ms(&self) -> i64 {
        let pulled_at_ms = self.pulled_at_ms.unwrap_or(i64::MIN);
        self.born_at_ms().max(pulled_at_ms)
    }
}

// === impl Family ===

impl<'a> Family<'a> {
    fn of(images: &'a [Candidate]) -> Self {
        let digests = images.iter().enumerate();
        let at: HashMap<Digest, usize> = digests.map(|(at, image)| (image.digest, at)).collect();
        let mut parents = vec![0; images.len()];
        let mut referrers = vec![Vec::new(); images.len()];
        for (referrer, image) in images.iter().enumerate() {
            for child in image.children.iter().filter_map(|child| at.get(child)) {
                parents[*child] += 1;
            }
            if let Some(subject) = image.subject.and_then(|subject| at.get(&subject)) {
                referrers[*subject].push(referrer);
            }
        }
        Self {
            images,
            at,
            parents,
            referrers,
        }
    }

    /// The image's subject, if the repository has it.
    fn subject(&self, image: usize) -> Option<usize> {
        let subject = self.images[image].subject?;
        self.at.get(&subject).copied()
    }

    /// What rules look at, the oldest first.
    fn by_age(&self) -> Vec<usize> {
        let is_free = |at: &usize| self.parents[*at] == 0 && self.subject(*at).is_none();
        let mut free: Vec<usize> = (0..self.images.len()).filter(is_free).collect();
        free.sort_unstable_by_key(|&at| self.images[at].age_index);
        free
    }

    /// The verdicts, and those on what goes with these images.
    fn followed(&self, mut verdicts: Vec<Verdict>) -> Vec<Verdict> {
        let mut done: Vec<Option<Verdict>> = vec![None; self.images.len()];
        let mut parents = self.parents.clone();
        for verdict in &verdicts {
            done[verdict.image] = Some(*verdict);
        }
        let mut next = 0;
        while let Some(&Verdict { image, action, .. }) = verdicts.get(next) {
            next += 1;
            let children = self.images[image].children.iter();
            let children: Vec<usize> = children.filter_map(|it| self.at.get(it).copied()).collect();
            if action == Doing::Expire {
                for &child in &children {
                    parents[child] -= 1;
                }
            }
            for &follower in children.iter().chain(&self.referrers[image]) {
                let with = self.subject(follower).and_then(|subject| done[subject]);
                let is_held = parents[follower] > 0 || done[follower].is_some();
                let is_there = self.images[follower].archived_at_ms.is_some();
                let Some(with) = with.filter(|_| !is_held) else {
                    continue;
                };
                if with.action == Doing::Archive && is_there {
                    continue;
                }
                let verdict = Verdict {
                    image: follower,
                    ..with
                };
                done[follower] = Some(verdict);
                verdicts.push(verdict);
            }
        }
        verdicts
    }
}

#[cfg(test)]
mod naive;
#[cfg(test)]
mod tests;
