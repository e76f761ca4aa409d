//! What policies want done: the examples of ECR's guide, what goes beyond them, and
//! random ones against the naive evaluation.

use std::collections::BTreeMap;

use entrepot_oci::{Algorithm, Digest, Tag};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use super::{Candidate, DAY_MS, Doing, evaluate, naive};
use crate::lifecycle::grammar;
use crate::lifecycle::rule::Policy;

const NOW_MS: i64 = 1_000 * DAY_MS;

fn digest(name: &str) -> Digest {
    Digest::of(Algorithm::Sha256, name.as_bytes())
}

/// An image of so many days.
fn image(name: &str, tags: &[&str], days: i64) -> Candidate {
    Candidate {
        digest: digest(name),
        index: u64::try_from(1_000 - days).unwrap(),
        age_index: u64::try_from(1_000 - days).unwrap(),
        tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
        pushed_at_ms: NOW_MS - days * DAY_MS,
        pulled_at_ms: None,
        activated_at_ms: None,
        archived_at_ms: None,
        children: Vec::new(),
        subject: None,
    }
}

fn index(name: &str, tags: &[&str], days: i64, children: &[&str]) -> Candidate {
    Candidate {
        children: children.iter().map(|child| digest(child)).collect(),
        ..image(name, tags, days)
    }
}

fn referrer(name: &str, days: i64, subject: &str) -> Candidate {
    Candidate {
        subject: Some(digest(subject)),
        ..image(name, &[], days)
    }
}

/// A policy whose rules have the priorities 1, 2, …
fn policy(rules: &[(Value, &str)]) -> Policy {
    let rules = rules.iter().enumerate().map(|(at, (selection, kind))| {
        let mut action = json!({ "type": kind });
        if *kind == "transition" {
            action["targetStorageClass"] = json!("archive");
        }
        json!({"rulePriority": at + 1, "selection": selection, "action": action})
    });
    let rules: Vec<Value> = rules.collect();
    grammar::parse(&json!({ "rules": rules }).to_string()).unwrap()
}

fn count(prefixes: &[&str], count: i64) -> Value {
    json!({"tagStatus": "tagged", "tagPrefixList": prefixes,
        "countType": "imageCountMoreThan", "countNumber": count})
}

fn count_any(count: i64) -> Value {
    json!({"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": count})
}

fn days(status: &str, since: &str, days: i64) -> Value {
    json!({"tagStatus": status, "countType": since, "countUnit": "days", "countNumber": days})
}

/// The names of the images that go, in order.
fn expired(rules: &[(Value, &str)], images: &[(&str, Candidate)]) -> Vec<String> {
    done(Doing::Expire, rules, images)
}

fn archived(rules: &[(Value, &str)], images: &[(&str, Candidate)]) -> Vec<String> {
    done(Doing::Archive, rules, images)
}

fn done(action: Doing, rules: &[(Value, &str)], images: &[(&str, Candidate)]) -> Vec<String> {
    let candidates: Vec<Candidate> = images.iter().map(|(_, image)| image.clone()).collect();
    let verdicts = evaluate(&policy(rules), &candidates, NOW_MS);
    let done = verdicts.iter().filter(|it| it.action == action);
    done.map(|it| images[it.image].0.to_owned()).collect()
}

/// What goes of images that are given by name, tags and days.
fn going(rules: &[Value], images: &[(&'static str, &[&str], i64)]) -> String {
    let images = images.iter();
    let images = images.map(|(name, tags, days)| (*name, image(name, tags, *days)));
    let rules: Vec<(Value, &str)> = rules.iter().map(|it| (it.clone(), "expire")).collect();
    let mut gone = expired(&rules, &images.collect::<Vec<_>>());
    gone.sort();
    gone.concat()
}

/// Amazon ECR User Guide, "Examples of lifecycle policies".
#[test]
fn the_examples_of_ecrs_guide_expire_what_it_says() {
    let first: [(&str, &[&str], i64); 3] = [
        ("A", &["beta-1", "prod-1"], 10),
        ("B", &["beta-2", "prod-2"], 9),
        ("C", &["beta-3"], 8),
    ];
    assert_eq!(
        going(&[count(&["prod"], 1), count(&["beta"], 1)], &first),
        "A"
    );
    assert_eq!(
        going(&[count(&["beta"], 1), count(&["prod"], 1)], &first),
        "AB"
    );
    let mut both = days("tagged", "sinceImagePushed", 5);
    both["tagPrefixList"] = json!(["alpha", "beta"]);
    let third: [(&str, &[&str], i64); 6] = [
        ("A", &["alpha-1"], 12),
        ("B", &["beta-1"], 11),
        ("C", &["alpha-2", "beta-2"], 10),
        ("D", &["alpha-3"], 4),
        ("E", &["beta-3"], 3),
        ("F", &["alpha-4", "beta-4"], 2),
    ];
    assert_eq!(going(&[both], &third), "C");
    let fourth: [(&str, &[&str], i64); 3] = [
        ("A", &["alpha-1", "beta-1", "gamma-1"], 10),
        ("B", &["alpha-2", "beta-2"], 9),
        ("C", &["alpha-3", "beta-3", "gamma-2"], 8),
    ];
    assert_eq!(going(&[count(&["alpha", "beta"], 1)], &fourth), "AB");
    let fifth: [(&str, &[&str], i64); 4] = [
        ("A", &["alpha-1"], 4),
        ("B", &["beta-1"], 3),
        ("C", &[], 2),
        ("D", &["alpha-2"], 1),
    ];
    assert_eq!(going(&[count_any(1)], &fifth), "ABC");
    let sixth: [(&str, &[&str], i64); 5] = [
        ("A", &["alpha-1", "beta-1"], 4),
        ("B", &[], 3),
        ("C", &["alpha-2"], 2),
        ("D", &["git-hash"], 1),
        ("E", &[], 1),
    ];
    let untagged = days("untagged", "sinceImagePushed", 1);
    assert_eq!(
        going(&[count(&["alpha"], 1), untagged, count_any(1)], &sixth),
        "ABD"
    );
}

#[test]
fn what_an_index_names_stays_with_it_and_what_refers_goes_with_its_subject() {
    let images = [
        ("old", index("old", &["v1"], 9, &["amd", "arm"])),
        ("amd", image("amd", &[], 9)),
        ("arm", image("arm", &["arm-only"], 9)),
        ("seal", referrer("seal", 8, "old")),
        ("seal2", referrer("seal2", 1, "seal")),
        ("sbom", referrer("sbom", 8, "amd")),
        ("loose", image("loose", &[], 8)),
        ("new", image("new", &["v2"], 1)),
    ];
    let untagged = days("untagged", "sinceImagePushed", 3);
    assert_eq!(expired(&[(untagged.clone(), "expire")], &images), ["loose"]);
    let gone = expired(&[(untagged, "expire"), (count_any(1), "expire")], &images);
    assert_eq!(gone, ["loose", "old", "seal", "seal2"]);
    let left: Vec<(&str, Candidate)> = images
        .into_iter()
        .filter(|(name, _)| !gone.contains(&(*name).to_owned()))
        .collect();
    let gone = expired(&[(count_any(1), "expire")], &left);
    assert_eq!(gone, ["amd", "arm", "sbom"], "the next time");
}

#[test]
fn what_is_retained_is_out_of_reach_of_the_rules_below() {
    let images = [
        ("a", image("a", &["release-1"], 40)),
        ("b", image("b", &["release-2"], 30)),
        ("c", image("c", &["nightly"], 20)),
        ("d", image("d", &["release-3"], 10)),
    ];
    let old = days("any", "sinceImagePushed", 5);
    let rules = [(count(&["release"], 2), "retain"), (old, "expire")];
    assert_eq!(expired(&rules, &images), ["a", "c"]);
}

#[test]
fn the_newest_of_each_pattern_stay() {
    let images = [
        ("a", image("a", &["x-1"], 40)),
        ("b", image("b", &["y-1"], 30)),
        ("c", image("c", &["x-2"], 20)),
        ("d", image("d", &["x-3", "y-2"], 10)),
        ("e", image("e", &["z"], 9)),
    ];
    let mut newest = count(&["x-", "y-"], 1);
    newest["countPer"] = json!("pattern");
    assert_eq!(
        expired(&[(newest.clone(), "expire")], &images),
        ["a", "b", "c"]
    );
    newest["countNumber"] = json!(2);
    assert_eq!(expired(&[(newest, "expire")], &images), ["a"]);
}

#[test]
fn a_pull_keeps_an_image_and_one_that_came_back_is_as_young_as_its_return() {
    let pulled = Candidate {
        pulled_at_ms: Some(NOW_MS - 2 * DAY_MS),
        ..image("pulled", &["a"], 90)
    };
    let back = Candidate {
        pulled_at_ms: Some(NOW_MS - 80 * DAY_MS),
        activated_at_ms: Some(NOW_MS - 5 * DAY_MS),
        age_index: 995,
        ..image("back", &["b"], 90)
    };
    let images = [
        ("pulled", pulled),
        ("back", back),
        ("idle", image("idle", &["c"], 20)),
    ];
    let since = |count| (days("any", "sinceImagePulled", count), "transition");
    assert_eq!(archived(&[since(10)], &images), ["idle"]);
    assert_eq!(archived(&[since(3)], &images), ["idle", "back"]);
    let pushed = (days("any", "sinceImagePushed", 10), "expire");
    assert_eq!(expired(&[pushed], &images), ["pulled", "idle"]);
}

#[test]
fn the_log_says_which_is_the_newest() {
    let mut behind = image("behind", &["v2"], 10);
    behind.age_index = 1_000;
    let images = [("behind", behind), ("first", image("first", &["v1"], 1))];
    assert_eq!(expired(&[(count(&["v"], 1), "expire")], &images), ["first"]);
}

#[test]
fn a_span_must_have_passed() {
    let due = |more_ms: i64| {
        let mut exact = image("a", &[], 3);
        exact.pushed_at_ms -= more_ms;
        let rule = (days("any", "sinceImagePushed", 3), "expire");
        !expired(&[rule], &[("a", exact)]).is_empty()
    };
    assert!(!due(0) && due(1));
}

// === against the naive one ===

const TAGS: [&str; 8] = ["a", "a-1", "a-2", "b", "b-1", "ab-1", "c", "c-a-1"];
const PREFIXES: [&str; 4] = ["a", "b", "ab", "c-"];
const PATTERNS: [&str; 5] = ["*", "a*", "*-1", "c*a*", "b"];

fn images() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::vec(any_image(), 0..14).prop_map(|parts| {
        let mut images: Vec<Candidate> = Vec::new();
        for (at, (tags, [pushed, pulled, activated, archived], links, subject)) in
            parts.into_iter().enumerate()
        {
            let earlier: Vec<Digest> = images.iter().map(|image| image.digest).collect();
            let mut children: Vec<Digest> = links
                .iter()
                .filter_map(|at| earlier.get(*at).copied())
                .collect();
            children.sort_unstable();
            children.dedup();
            let some = |days: i64| (days > 0).then_some(NOW_MS - days * DAY_MS);
            images.push(Candidate {
                tags,
                pulled_at_ms: some(pulled),
                // As the log has it, whatever the clocks said.
                index: at as u64,
                age_index: at as u64,
                activated_at_ms: some(activated),
                archived_at_ms: some(archived - 200),
                children,
                subject: subject.and_then(|at| earlier.get(at).copied()),
                ..image(&at.to_string(), &[], pushed)
            });
        }
        images
    })
}

type Parts = (Vec<Tag>, [i64; 4], Vec<usize>, Option<usize>);

fn any_image() -> impl Strategy<Value = Parts> {
    let tags = subsequence(TAGS.to_vec(), 0..4);
    let tags = tags.prop_map(|tags| tags.into_iter().map(|it| it.parse().unwrap()).collect());
    let days = (0..12_i64, -6..12_i64, -20..12_i64, 0..400_i64);
    let days = days.prop_map(|(a, b, c, d)| [a, b, c, d]);
    let links = prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::vec(0..14_usize, 1..3)];
    (tags, days, links, prop::option::weighted(0.2, 0..14_usize))
}

/// One rule: its selection and what it does.
fn rule() -> impl Strategy<Value = (Value, String)> {
    let tags = prop_oneof![
        subsequence(PREFIXES.to_vec(), 1..3).prop_map(|list| json!({"tagPrefixList": list})),
        subsequence(PATTERNS.to_vec(), 1..3).prop_map(|list| json!({"tagPatternList": list})),
        Just(json!({"tagStatus": "untagged"})),
        Just(json!({"tagStatus": "any"})),
    ];
    let since = select(vec![
        "imageCountMoreThan",
        "sinceImagePushed",
        "sinceImagePulled",
        "sinceImageTransitioned",
    ]);
    let kind = select(vec!["expire", "retain", "transition"]);
    (tags, since, 1..8_i64, kind, any::<bool>()).prop_map(|(tags, since, number, kind, per)| {
        let mut selection = tags;
        let is_tagged = selection.get("tagStatus").is_none();
        if is_tagged {
            selection["tagStatus"] = json!("tagged");
        }
        if is_tagged && per {
            selection["countPer"] = json!("pattern");
        }
        selection["countType"] = json!(since);
        selection["countNumber"] = json!(number);
        if since != "imageCountMoreThan" {
            selection["countUnit"] = json!("days");
        }
        if since == "sinceImageTransitioned" {
            selection["storageClass"] = json!("archive");
            selection["countNumber"] = json!(90 + 10 * number);
        }
        (selection, kind.to_owned())
    })
}

/// The policy of those of these rules that the grammar lets be together.
fn allowed(mut rules: Vec<(Value, String)>) -> Option<Policy> {
    rules.sort_by_key(|(selection, _)| selection["tagStatus"] == "any");
    let mut kept: Vec<Value> = Vec::new();
    let mut policy = None;
    for (selection, kind) in rules {
        let mut action = json!({ "type": kind });
        if kind == "transition" {
            action["targetStorageClass"] = json!("archive");
        }
        let priority = kept.len() + 1;
        kept.push(json!({"rulePriority": priority, "selection": selection, "action": action}));
        match grammar::parse(&json!({ "rules": kept }).to_string()) {
            Ok(parsed) => policy = Some(parsed),
            Err(_) => drop(kept.pop()),
        }
    }
    policy
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn it_does_what_the_naive_one_does(
        rules in prop::collection::vec(rule(), 1..6),
        images in images(),
    ) {
        let policy = allowed(rules);
        prop_assume!(policy.is_some());
        let policy = policy.unwrap();
        let verdicts = evaluate(&policy, &images, NOW_MS);
        let mut found = BTreeMap::new();
        for verdict in &verdicts {
            let digest = images[verdict.image].digest;
            let earlier = found.insert(digest, (verdict.priority, verdict.action));
            prop_assert!(earlier.is_none(), "decided twice");
        }
        prop_assert_eq!(&found, &naive::evaluate(&policy, &images, NOW_MS));
        for (at, verdict) in verdicts.iter().enumerate() {
            let digest = images[verdict.image].digest;
            let held = images.iter().enumerate().any(|(other, it)| {
                let mut before = verdicts[..at].iter();
                it.children.contains(&digest)
                    && !before.any(|done| done.image == other && done.action == Doing::Expire)
            });
            prop_assert!(!held, "{digest} goes before its index");
        }
    }
}
