//! The workspace's dependency ladder, held against what Cargo says.
//!
//! A crate may depend on the crates below it and on nothing beside or above it,
//! in its dev- and build-dependencies too: a test that reaches up ties the two
//! crates together as surely as the code does. A crate's dev-dependency on
//! itself (to switch on a feature of its own) is no edge.
//!
//! This file reads manifests only. It must never need a crate to compile.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Each crate and the rungs right below it. What those may use, it may use.
const LADDER: &[(&str, &[&str])] = &[
    (
        "entrepot-node",
        &[
            "entrepot-distribution",
            "entrepot-ecr",
            "entrepot-rpc",
            "entrepot-consensus",
        ],
    ),
    ("entrepot-distribution", &["entrepot-service"]),
    ("entrepot-ecr", &["entrepot-service"]),
    ("entrepot-rpc", &["entrepot-service"]),
    (
        "entrepot-service",
        &[
            "entrepot-replication",
            "entrepot-access",
            "entrepot-blobs",
            "entrepot-metadata",
            "entrepot-proto",
        ],
    ),
    (
        "entrepot-replication",
        &["entrepot-blobs", "entrepot-metadata", "entrepot-proto"],
    ),
    ("entrepot-access", &["entrepot-oci"]),
    (
        "entrepot-consensus",
        &["entrepot-metadata", "entrepot-proto"],
    ),
    ("entrepot-blobs", &["entrepot-oci"]),
    ("entrepot-metadata", &["entrepot-oci"]),
    ("entrepot-proto", &["entrepot-oci"]),
    ("entrepot-oci", &["entrepot-fuzz"]),
    ("entrepot-fuzz", &[]),
    // These reach a node from outside, over the wire alone.
    ("entrepot-admin", &["entrepot-proto", "entrepot-oci"]),
    ("entrepot-front-end", &["entrepot-proto"]),
    ("entrepot-tests", &["entrepot-proto", "entrepot-oci"]),
    // Runs whole nodes in its own world, and judges them by the same checks as
    // the tests against processes.
    ("entrepot-sim", &["entrepot-node", "entrepot-tests"]),
];

/// Throws bytes at parsers, replaces the allocator: no part of a program.
const TESTS_ONLY: &str = "entrepot-fuzz";

/// `from` names `to` in its manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    from: String,
    to: String,
    /// Cargo's word: `normal`, `dev` or `build`.
    kind: String,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} ({})", self.from, self.to, self.kind)
    }
}

#[test]
fn the_workspace_keeps_to_the_ladder() {
    let (members, edges) = workspace(&metadata());
    let allowed = closure(LADDER);

    let known: BTreeSet<String> = allowed.keys().map(ToString::to_string).collect();
    assert_eq!(
        members, known,
        "the workspace's crates (left) are not the ladder's (right): give each its place in LADDER"
    );
    let forbidden = forbidden(&edges, &allowed);
    assert!(
        forbidden.is_empty(),
        "these dependencies do not go down the ladder:\n  {}",
        forbidden.join("\n  ")
    );
}

/// `unsafe` is denied; one file of the product may have it, one of the simulation
/// and one of the harness, and say why.
#[test]
fn unsafe_code_is_in_three_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = ["proto", "node", "admin", "tests"];
    let mut waiting: Vec<_> = folders.map(|folder| root.join(folder)).into();
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let entries = path.read_dir().expect("a readable folder");
            waiting.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a readable file");
            // An attribute may go over several lines. Spelt so that this file is
            // not one of them.
            let text: String = text.split_whitespace().collect();
            if text.contains(concat!("(unsafe", "_code")) {
                found.push(path);
            }
        }
    }
    found.sort();
    let only = [
        "node/blobs/src/file/mapping.rs",
        "tests/harness/network/tun.rs",
        "tests/sim/src/entropy.rs",
    ];
    assert_eq!(found, only.map(|path| root.join(path)));
}

#[test]
fn the_ladder_has_no_loop() {
    for (rung, below) in closure(LADDER) {
        assert!(!below.contains(rung), "{rung} stands below itself");
    }
}

#[test]
fn an_edge_beside_or_above_is_found_whatever_its_kind() {
    let document = serde_json::json!({ "packages": [
        package("entrepot-node", &[("entrepot-blobs", None), ("serde", None)]),
        package("entrepot-blobs", &[
            ("entrepot-metadata", Some("dev")),
            ("entrepot-oci", None),
            ("entrepot-service", Some("build")),
        ]),
        package("entrepot-metadata", &[("entrepot-metadata", Some("dev"))]),
        package("entrepot-oci", &[]),
        package("entrepot-service", &[]),
        package("entrepot-tests", &[("entrepot-node", Some("dev"))]),
        package("entrepot-access", &[("entrepot-fuzz", Some("dev"))]),
        package("entrepot-proto", &[("entrepot-fuzz", None)]),
        package("entrepot-fuzz", &[]),
    ]});
    let (_, edges) = workspace(&document);

    assert_eq!(
        forbidden(&edges, &closure(LADDER)),
        [
            "entrepot-blobs -> entrepot-metadata (dev)",
            "entrepot-blobs -> entrepot-service (build)",
            "entrepot-proto -> entrepot-fuzz (normal)",
            "entrepot-tests -> entrepot-node (dev)",
        ]
    );
}

/// A package as `cargo metadata` shows it; no kind means a normal dependency.
fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
    let dependencies: Vec<Value> = dependencies
        .iter()
        .map(|(name, kind)| serde_json::json!({ "name": name, "kind": kind }))
        .collect();
    serde_json::json!({ "name": name, "dependencies": dependencies })
}

/// What Cargo says of this workspace.
fn metadata() -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()
        .expect("cargo starts");
    assert!(
        output.status.success(),
        "cargo metadata failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata writes JSON")
}

/// The workspace's crates and the edges between them, in order.
fn workspace(document: &Value) -> (BTreeSet<String>, BTreeSet<Edge>) {
    let packages = document["packages"].as_array().expect("packages");
    let members: BTreeSet<String> = packages.iter().map(|p| text(&p["name"])).collect();
    let mut edges = BTreeSet::new();
    for package in packages {
        let from = text(&package["name"]);
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            // The package's own name, even where the manifest renames it.
            let to = text(&dependency["name"]);
            if to != from && members.contains(&to) {
                let kind = dependency["kind"].as_str().unwrap_or("normal").to_owned();
                let from = from.clone();
                edges.insert(Edge { from, to, kind });
            }
        }
    }
    (members, edges)
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

/// For each crate, everything below it.
fn closure<'a>(ladder: &[(&'a str, &[&'a str])]) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut below: BTreeMap<&str, BTreeSet<&str>> = ladder
        .iter()
        .map(|(rung, next)| (*rung, next.iter().copied().collect()))
        .collect();
    // Each round reaches at least one rung further down; there are no more
    // rungs than crates.
    for _ in 0..ladder.len() {
        let known = below.clone();
        for reached in below.values_mut() {
            let further: Vec<&str> = reached
                .iter()
                .filter_map(|rung| known.get(rung))
                .flatten()
                .copied()
                .collect();
            reached.extend(further);
        }
    }
    below
}

fn forbidden(edges: &BTreeSet<Edge>, allowed: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    edges
        .iter()
        .filter(|edge| {
            let reaches = allowed
                .get(edge.from.as_str())
                .is_some_and(|below| below.contains(edge.to.as_str()));
            !reaches || edge.to == TESTS_ONLY && edge.kind != "dev"
        })
        .map(ToString::to_string)
        .collect()
}
