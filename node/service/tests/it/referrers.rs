//! The manifests that refer to another one.

use bytes::Bytes;
use entrepot_oci::{Algorithm, Descriptor, Digest, Reference, media_type};
use entrepot_service::{ReferrerPage, TagCondition};

use crate::cluster::{Cluster, EAST, Node, Plan, app, root};
use crate::content::{KIB, content, sha256};

const SBOM: &str = "application/spdx+json";
const SIGNATURE: &str = "application/vnd.example.signature";

/// One node with a config that every image here uses.
async fn one_node() -> (Cluster, Digest) {
    let cluster = Plan::new(&[(EAST, 1)]).start().await;
    let config = cluster.node(1).push(&content(1, 100)).await;
    (cluster, config)
}

/// What refers to `subject`, with these further fields.
fn image(subject: &Digest, config: &Digest, more: &str) -> Bytes {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{}",{}{more},"layers":[],"config":{{"mediaType":"{}","digest":"{config}","size":100}}}}"#,
        media_type::OCI_MANIFEST,
        field(subject),
        media_type::OCI_CONFIG,
    )
    .into()
}

fn index(subject: &Digest, more: &str) -> Bytes {
    let kind = media_type::OCI_INDEX;
    let subject = field(subject);
    format!(r#"{{"schemaVersion":2,"mediaType":"{kind}",{subject}{more},"manifests":[]}}"#).into()
}

fn field(subject: &Digest) -> String {
    let kind = media_type::OCI_MANIFEST;
    format!(r#""subject":{{"mediaType":"{kind}","digest":"{subject}","size":7}}"#)
}

fn artifact_type(name: &str) -> String {
    format!(r#","artifactType":"{name}""#)
}

fn annotation(name: &str, value: &str) -> String {
    format!(r#","annotations":{{"{name}":"{value}"}}"#)
}

async fn put(node: &Node, manifest: &Bytes) -> Digest {
    let digest = sha256(manifest);
    node.put_manifest(&digest.to_string(), manifest).await
}

async fn page(
    node: &Node,
    subject: &Digest,
    types: &[&str],
    after: Option<Digest>,
    limit: usize,
) -> ReferrerPage {
    let types: Vec<String> = types.iter().map(ToString::to_string).collect();
    node.registry
        .list_referrers(&root(), &app(), subject, &types, after.as_ref(), limit)
        .await
        .unwrap()
}

async fn all(node: &Node, subject: &Digest, types: &[&str]) -> Vec<Descriptor> {
    let page = page(node, subject, types, None, 1_000).await;
    assert_eq!(page.next, None);
    page.referrers
}

/// Every page of at most `limit`, one after the other.
async fn pages(node: &Node, subject: &Digest, types: &[&str], limit: usize) -> Vec<Vec<Digest>> {
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = page(node, subject, types, after, limit).await;
        pages.push(page.referrers.iter().map(|found| found.digest).collect());
        after = page.next;
        if after.is_none() {
            return pages;
        }
    }
}

#[tokio::test]
async fn referrers_are_described_as_the_specification_wants_it() {
    let (cluster, config) = one_node().await;
    let node = cluster.node(1);
    let subject = sha256(b"not pushed yet, or never");
    let notes = annotation("org.example.note", "one");
    let typed = image(&subject, &config, &(artifact_type(SBOM) + &notes));
    let untyped = image(&subject, &config, "");
    let emptily = image(&subject, &config, &artifact_type(""));
    let typed_index = index(&subject, &(artifact_type(SBOM) + &notes));
    let untyped_index = index(&subject, "");
    let of_another = image(&sha256(b"another"), &config, "");
    let mut expected = Vec::new();
    for (manifest, kind, artifact_type, annotated) in [
        (&typed, media_type::OCI_MANIFEST, Some(SBOM), true),
        (
            &untyped,
            media_type::OCI_MANIFEST,
            Some(media_type::OCI_CONFIG),
            false,
        ),
        (
            &emptily,
            media_type::OCI_MANIFEST,
            Some(media_type::OCI_CONFIG),
            false,
        ),
        (&typed_index, media_type::OCI_INDEX, Some(SBOM), true),
        (&untyped_index, media_type::OCI_INDEX, None, false),
    ] {
        let annotation = ("org.example.note".to_owned(), "one".to_owned());
        expected.push(Descriptor {
            media_type: kind.parse().unwrap(),
            digest: put(node, manifest).await,
            size: manifest.len() as u64,
            artifact_type: artifact_type.map(|name| name.parse().unwrap()),
            annotations: annotated.then_some(annotation).into_iter().collect(),
        });
    }
    put(node, &of_another).await;
    expected.sort_by_key(|descriptor| descriptor.digest);
    assert_eq!(all(node, &subject, &[]).await, expected);

    let of = |name: &str| -> Vec<Descriptor> {
        let has = |found: &&Descriptor| found.artifact_type.as_ref().is_some_and(|t| *t == name);
        expected.iter().filter(has).cloned().collect()
    };
    assert_eq!(all(node, &subject, &[SBOM]).await, of(SBOM));
    let config_type = media_type::OCI_CONFIG;
    assert_eq!(all(node, &subject, &[config_type]).await, of(config_type));
    assert_eq!(
        all(node, &subject, &[SBOM, config_type]).await.len(),
        of(SBOM).len() + of(config_type).len()
    );
    assert_eq!(all(node, &subject, &[SIGNATURE]).await, []);
}

#[tokio::test]
async fn what_does_not_exist_has_no_referrers() {
    let (cluster, config) = one_node().await;
    let node = cluster.node(1);
    let subject = sha256(b"subject");
    assert_eq!(all(node, &subject, &[]).await, []);
    let elsewhere = "team/none".parse().unwrap();
    let found = node
        .registry
        .list_referrers(&root(), &elsewhere, &subject, &[], None, 10)
        .await
        .unwrap();
    assert_eq!((found.referrers, found.next), (Vec::new(), None));

    let referrer = put(node, &image(&subject, &config, "")).await;
    assert_eq!(all(node, &subject, &[]).await.len(), 1);
    let reference = Reference::Digest(referrer);
    node.registry
        .delete_manifest(&root(), &app(), &reference, TagCondition::None)
        .await
        .unwrap();
    assert_eq!(all(node, &subject, &[]).await, []);
}

#[tokio::test]
async fn a_subject_may_be_named_by_sha512_and_so_may_a_referrer() {
    let (cluster, config) = one_node().await;
    let node = cluster.node(1);
    let subject = Digest::of(Algorithm::Sha512, b"subject");
    let manifest = image(&subject, &config, "");
    let long = Digest::of(Algorithm::Sha512, &manifest);
    node.put_manifest(&long.to_string(), &manifest).await;
    let short = put(node, &manifest).await;
    // One content, two names, both of which refer.
    assert_eq!(pages(node, &subject, &[], 1).await, [[short], [long]]);
    assert_eq!(all(node, &sha256(b"subject"), &[]).await, []);
}

#[tokio::test]
async fn pages_follow_one_another_and_hold_everything_once() {
    let (cluster, config) = one_node().await;
    let node = cluster.node(1);
    let subject = sha256(b"subject");
    let (mut every, mut signatures) = (Vec::new(), Vec::new());
    // More than is read from the metadata at a time.
    for number in 0..300 {
        let kind = if number % 100 == 0 { SIGNATURE } else { SBOM };
        let more = artifact_type(kind) + &annotation("number", &number.to_string());
        let digest = put(node, &image(&subject, &config, &more)).await;
        every.push(digest);
        if kind == SIGNATURE {
            signatures.push(digest);
        }
    }
    every.sort();
    signatures.sort();
    for limit in [1, 7, 150, 300, 1_000] {
        let found = pages(node, &subject, &[], limit).await;
        assert!(found.iter().all(|page| page.len() <= limit), "{limit}");
        assert_eq!(found.concat(), every, "{limit}");
        let found = pages(node, &subject, &[SIGNATURE], limit).await;
        assert_eq!(found.concat(), signatures, "{limit}");
    }
    // After a digest that is no referrer, or none any more.
    let after = sha256(b"some digest");
    let found = page(node, &subject, &[], Some(after), 1_000).await;
    let rest = every.iter().filter(|digest| **digest > after).count();
    assert_eq!(found.referrers.len(), rest);
    let empty = page(node, &subject, &[], None, 0).await;
    assert_eq!((empty.referrers, empty.next), (Vec::new(), None));
}

#[tokio::test]
async fn a_page_is_no_larger_than_a_manifest_may_be() {
    let (cluster, config) = one_node().await;
    let node = cluster.node(1);
    let subject = sha256(b"subject");
    let large = "x".repeat(1_500 * KIB);
    let mut every = Vec::new();
    for number in 0..5 {
        let notes = format!(r#","annotations":{{"number":"{number}","large":"{large}"}}"#);
        every.push(put(node, &image(&subject, &config, &notes)).await);
    }
    let huge = "y".repeat(3_900 * KIB);
    every.push(put(node, &image(&subject, &config, &annotation("huge", &huge))).await);
    every.sort();
    let found = pages(node, &subject, &[], 1_000).await;
    assert_eq!(found.concat(), every);
    // Two large ones at the most, and the huge one alone.
    assert!((4..=5).contains(&found.len()), "{}", found.len());
}
