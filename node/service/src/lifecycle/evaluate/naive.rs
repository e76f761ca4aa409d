//! The evaluation once more, image by image and word by word of ECR's
//! documentation, with no thought of its price: what the other one is held
//! against.

use std::collections::BTreeMap;

use entrepot_metadata::query::matches_wildcard;
use entrepot_oci::Digest;

use super::{Candidate, DAY_MS, Doing};
use crate::lifecycle::rule::{ActionKind, CountPer, CountType, Policy, Rule, TagStatus};

/// What is done with each image that something is done with, and which rule says
/// so.
pub(super) fn evaluate(
    policy: &Policy,
    images: &[Candidate],
    now_ms: i64,
) -> BTreeMap<Digest, (i64, Doing)> {
    let free: Vec<&Candidate> = images.iter().filter(|it| is_free(it, images)).collect();
    let mut fates = BTreeMap::new();
    for image in &free {
        for rule in &policy.rules {
            if !matches(rule, image) {
                continue;
            }
            let is_due = is_due(rule, image, &free, now_ms);
            let fate = match rule.action.kind {
                ActionKind::Retain if is_due => continue,
                ActionKind::Expire if is_due => Some(Doing::Expire),
                ActionKind::Transition if is_due => Some(Doing::Archive),
                _ => None,
            };
            if let Some(fate) = fate {
                fates.insert(image.digest, (rule.priority, fate));
            }
            break;
        }
    }
    // What has a subject goes with it, once no index is left that names it.
    loop {
        let going = fates.clone();
        for image in images {
            let with = image.subject.and_then(|subject| going.get(&subject));
            let gone = |it: &Candidate| matches!(going.get(&it.digest), Some((_, Doing::Expire)));
            let is_named = |it: &&Candidate| it.children.contains(&image.digest) && !gone(it);
            if let Some(with) = with
                && !images.iter().any(|it| is_named(&it))
                && (with.1 == Doing::Expire || image.archived_at_ms.is_none())
            {
                fates.entry(image.digest).or_insert(*with);
            }
        }
        if fates == going {
            return fates;
        }
    }
}

fn is_free(image: &Candidate, images: &[Candidate]) -> bool {
    !images
        .iter()
        .any(|other| other.children.contains(&image.digest) || image.subject == Some(other.digest))
}

/// How many of the rule's prefixes or patterns the image matches, of how many.
fn fits(rule: &Rule, image: &Candidate) -> Vec<bool> {
    let prefixes = rule.selection.tag_prefix_list.iter().flatten();
    let patterns = rule.selection.tag_pattern_list.iter().flatten();
    let prefixes = prefixes.map(|prefix| format!("{prefix}*"));
    let patterns = prefixes.chain(patterns.cloned());
    let one = |pattern: String| {
        let mut tags = image.tags.iter();
        tags.any(|tag| matches_wildcard(&pattern, tag.as_str()))
    };
    patterns.map(one).collect()
}

fn matches(rule: &Rule, image: &Candidate) -> bool {
    let fits = fits(rule, image);
    let class = rule.selection.is_of_the_archive() == image.archived_at_ms.is_some();
    class
        && match (rule.selection.tag_status, rule.selection.count_per) {
            (TagStatus::Any, _) => true,
            (TagStatus::Untagged, _) => image.tags.is_empty(),
            (TagStatus::Tagged, None) => !fits.contains(&false),
            (TagStatus::Tagged, Some(CountPer::Pattern)) => fits.contains(&true),
        }
}

fn is_due(rule: &Rule, image: &Candidate, free: &[&Candidate], now_ms: i64) -> bool {
    let selection = &rule.selection;
    let born = |it: &Candidate| it.activated_at_ms.unwrap_or(it.pushed_at_ms);
    let age = |it: &Candidate| it.age_index;
    let since_ms = match selection.count_type {
        CountType::ImageCountMoreThan => {
            let newer = |pattern: Option<usize>| {
                let others = free.iter().filter(|other| {
                    let in_pattern = pattern.is_none_or(|at| fits(rule, other)[at]);
                    matches(rule, other) && in_pattern && age(other) > age(image)
                });
                i64::try_from(others.count()).unwrap()
            };
            let Some(CountPer::Pattern) = selection.count_per else {
                return newer(None) >= selection.count_number;
            };
            let fits = fits(rule, image);
            let mut own = (0..fits.len()).filter(|&at| fits[at]);
            return own.all(|at| newer(Some(at)) >= selection.count_number);
        }
        CountType::SinceImagePushed => born(image),
        CountType::SinceImagePulled => image.pulled_at_ms.unwrap_or(born(image)).max(born(image)),
        CountType::SinceImageTransitioned => image.archived_at_ms.unwrap(),
    };
    now_ms - since_ms > selection.count_number * DAY_MS
}
