//! Whether the state machine's queries show what the model holds.

use std::collections::BTreeSet;
use std::fmt::Debug;

use entrepot_metadata::MemoryState;
use entrepot_metadata::invariants::Summary;
use entrepot_metadata::query::{self, TaskKey, TaskKind, TaskState};
use entrepot_oci::{AccountId, Digest, RepositoryName};

use crate::oracle::{Home, Oracle};

const ALL: usize = usize::MAX;

pub(crate) fn all(state: &MemoryState, summary: &Summary, oracle: &Oracle) {
    let account = query::first_account(state).unwrap();
    assert_eq!(
        account.map(|account| account.id.to_string()),
        oracle.account
    );
    blobs(state, oracle);
    candidates(state, oracle);
    for account in crate::steps::ACCOUNTS {
        registry(state, oracle, account);
    }
    let open = query::open_tasks(state, 0, ALL).unwrap();
    // As their keys are: a destination by its name among those of its source.
    assert!(open.is_sorted_by_key(|task| {
        let TaskKey {
            account,
            repository,
            digest,
            tag,
            destination,
        } = task.key.clone();
        let place = destination.name(&account);
        (task.sequence, account, repository, digest, tag, place)
    }));
    same(
        "open tasks",
        open.into_iter()
            .map(|task| (task.key.to_string(), task.sequence)),
        oracle
            .tasks
            .iter()
            .filter(|(_, task)| task.state == TaskState::InProgress)
            .map(|(id, task)| (task_text(id), task.sequence)),
    );
    let counts = [
        (summary.envelopes, oracle.envelopes()),
        (summary.rules, oracle.rules.len()),
        (summary.repositories, oracle.repositories.len()),
        (summary.blobs, oracle.blobs.len()),
        (summary.links, oracle.links.len()),
        (summary.manifests, oracle.manifests.len()),
        (summary.tags, oracle.tags.len()),
        (summary.tasks, oracle.tasks.len()),
        (summary.deleted, oracle.deleted.len()),
    ];
    assert!(
        counts.iter().all(|(found, expected)| found == expected),
        "{counts:?}"
    );
}

fn blobs(state: &MemoryState, oracle: &Oracle) {
    let found = query::blobs(state, None, ALL).unwrap();
    for blob in &found {
        assert_eq!(
            query::blob(state, &blob.digest).unwrap().as_ref(),
            Some(blob)
        );
        let mut homes: Vec<&Home> = oracle
            .links
            .iter()
            .filter(|(_, digest)| *digest == blob.digest.to_string())
            .map(|(home, _)| home)
            .collect();
        homes.sort();
        let first = query::link_any(state, &blob.digest).unwrap();
        let first = first.map(|(account, name)| (account.to_string(), name.to_string()));
        assert_eq!(first.as_ref(), homes.first().copied());
        links(state, &blob.digest, &homes);
    }
    same(
        "blobs",
        found.into_iter().map(|blob| {
            (
                blob.digest.to_string(),
                blob.size,
                blob.root.to_vec(),
                blob.holders,
                blob.content,
            )
        }),
        oracle
            .blobs
            .iter()
            .map(|(digest, (size, root, holders, content))| {
                let holders: BTreeSet<u64> = holders.iter().copied().collect();
                (
                    digest.clone(),
                    *size,
                    root.to_vec(),
                    holders.into_iter().collect(),
                    content.clone(),
                )
            }),
    );
}

/// Whatever is not in use is found by who looks for it, and what was collected is
/// remembered.
fn candidates(state: &MemoryState, oracle: &Oracle) {
    if oracle.collects {
        let found = query::unused_links(state, i64::MAX, None, ALL).unwrap();
        for (home, digest) in &oracle.links {
            let since_ms = oracle.since_ms(home, digest);
            let is_found = found.iter().any(|it| {
                (&it.account, &it.repository) == (&home.0, &home.1)
                    && (&it.digest, it.since_ms) == (digest, since_ms)
            });
            assert!(
                is_found || oracle.is_used(home, digest),
                "{home:?} {digest}"
            );
        }
        let found = query::unlinked_blobs(state, ALL).unwrap();
        for digest in oracle.blobs.keys() {
            let is_linked = oracle.links.iter().any(|(_, linked)| linked == digest);
            let is_found = found.iter().any(|it| it.to_string() == *digest);
            assert!(is_found || is_linked, "{digest}");
        }
    }
    same(
        "collections",
        query::collections(state, None, ALL)
            .unwrap()
            .into_iter()
            .map(|it| (it.digest.to_string(), it.index, it.pending)),
        oracle.collected.iter().map(|(digest, (index, pending))| {
            let pending: BTreeSet<u64> = pending.iter().copied().collect();
            (digest.clone(), *index, pending.into_iter().collect())
        }),
    );
}

/// The repositories that have a blob.
fn links(state: &MemoryState, digest: &Digest, homes: &[&Home]) {
    for text in crate::steps::ACCOUNTS {
        let account: AccountId = text.parse().unwrap();
        let expected: Vec<&String> = homes
            .iter()
            .filter(|(at, _)| at == text)
            .map(|(_, name)| name)
            .collect();
        for limit in [1, ALL] {
            let found = query::links(state, &account, digest, limit).unwrap();
            let expected = expected.iter().copied().take(limit);
            assert!(found.iter().map(RepositoryName::as_str).eq(expected));
        }
    }
}

fn registry(state: &MemoryState, oracle: &Oracle, text: &str) {
    let account: AccountId = text.parse().unwrap();
    let settings = query::registry_settings(state, &account).unwrap();
    assert_eq!(
        settings.create_on_push,
        oracle.creates_on_push.get(text).is_none_or(|on| *on)
    );
    same(
        "rules",
        query::rules(state, &account)
            .unwrap()
            .into_iter()
            .map(|rule| {
                let to = rule.destinations.iter().map(|it| it.name(&account));
                let mut to: Vec<String> = to.collect();
                to.sort();
                (rule.id, rule.prefixes, to, rule.updated_at_ms)
            }),
        oracle
            .rules
            .values()
            .filter(|rule| rule.account == text)
            .map(|rule| {
                let rule = rule.clone();
                let destinations = crate::oracle::destinations(&rule);
                (rule.id, rule.prefixes, destinations, rule.at_ms)
            }),
    );
    let repositories = query::repositories(state, &account, None, ALL).unwrap();
    same(
        "repositories",
        repositories.iter().map(|it| {
            let home = (text.to_owned(), it.name.to_string());
            (home, it.index, it.settings.sparse_indexes)
        }),
        oracle
            .repositories
            .iter()
            .filter(|((account, _), _)| account == text)
            .map(|(home, index)| (home.clone(), *index, oracle.sparse.contains(home))),
    );
    for repository in &repositories {
        images(state, oracle, &account, &repository.name);
    }
    same(
        "tasks",
        query::tasks(state, &account, None, None, ALL)
            .unwrap()
            .into_iter()
            .map(|task| {
                (
                    task.key.to_string(),
                    task.sequence,
                    task.state,
                    task.ended_at_ms,
                    task.reason,
                    task.denied,
                    (task.kind == TaskKind::Delete, task.deleted_before),
                )
            }),
        oracle
            .tasks
            .iter()
            .filter(|((home, ..), _)| home.0 == text)
            .map(|(id, task)| {
                let task = task.clone();
                (
                    task_text(id),
                    task.sequence,
                    task.state,
                    task.ended_at_ms,
                    task.reason,
                    task.denied,
                    (task.deletes, task.deleted_before),
                )
            }),
    );
}

fn images(state: &MemoryState, oracle: &Oracle, account: &AccountId, name: &RepositoryName) {
    let home: Home = (account.to_string(), name.to_string());
    let tags = query::tags(state, account, name, None, ALL).unwrap();
    let texts = |digests: &[entrepot_oci::Digest]| -> BTreeSet<String> {
        digests.iter().map(ToString::to_string).collect()
    };
    let entries = query::manifests(state, account, name, None, ALL).unwrap();
    for entry in &entries {
        let found = query::tags_of(state, account, name, &entry.digest, ALL).unwrap();
        let expected = tags.iter().filter(|tag| tag.digest == entry.digest);
        assert!(found.iter().eq(expected.map(|tag| &tag.tag)));
        for digest in &entry.blobs {
            assert!(query::linked(state, account, name, digest).unwrap());
        }
        let referrers = query::referrers(state, account, name, &entry.digest, None, ALL).unwrap();
        let expected = entries.iter().filter(|it| it.subject == Some(entry.digest));
        assert!(referrers.iter().eq(expected));
    }
    crate::archive::compare(&entries, oracle, &home);
    same(
        "manifests",
        entries.iter().map(|entry| {
            let stored = query::manifest(state, account, name, &entry.digest)
                .unwrap()
                .unwrap();
            let subject = entry.subject.map(|digest| digest.to_string());
            let children = (texts(&entry.children), texts(&entry.absent));
            let references = (texts(&entry.blobs), children, subject);
            (
                entry.digest.to_string(),
                references,
                stored.content,
                entry.pushed_at_ms,
            )
        }),
        oracle
            .manifests
            .iter()
            .filter(|((at, _), _)| *at == home)
            .map(|((_, digest), it)| {
                let it = it.clone();
                let blobs = it.blobs.into_iter().collect();
                let absent = oracle
                    .absent
                    .iter()
                    .filter(|(at, index, _)| (at, index) == (&home, digest))
                    .map(|(_, _, child)| child.clone());
                let children = (it.children.into_iter().collect(), absent.collect());
                let references = (blobs, children, it.subject);
                (digest.clone(), references, it.content, it.at_ms)
            }),
    );
    crate::history::compare(state, oracle, (account, name));
    crate::undelete::compare(state, oracle, (account, name));
    same(
        "tags",
        tags.into_iter().map(|tag| {
            (
                tag.tag.to_string(),
                tag.digest.to_string(),
                tag.origin.map(|it| (it.source.to_string(), it.sequence)),
            )
        }),
        oracle.tags.iter().filter(|((at, _), _)| *at == home).map(
            |((_, tag), (digest, origin))| {
                let origin = origin.clone();
                let origin = origin.map(|it| (crate::oracle::source(&home, &it), it.sequence));
                (tag.clone(), digest.clone(), origin)
            },
        ),
    );
}

/// The same items, whatever their order.
fn same<T: Ord + Debug>(
    what: &str,
    found: impl Iterator<Item = T>,
    expected: impl Iterator<Item = T>,
) {
    let mut found: Vec<T> = found.collect();
    let mut expected: Vec<T> = expected.collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "{what}");
}

fn task_text((home, digest, tag, destination): &crate::oracle::TaskId) -> String {
    let tag = if tag.is_empty() { "-" } else { tag };
    format!("{} {} {digest} {tag} {destination}", home.0, home.1)
}
