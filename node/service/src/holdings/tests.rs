//! What is told of registries, and of how many.

use std::collections::BTreeSet;

use entrepot_metadata::MemoryState;
use entrepot_metadata::command::{
    Author, Command, CreateRepository, DeleteManifest, Envelope, LinkBlob, PutManifest,
    PutRegistrySettings, QuotasChange,
};
use entrepot_metadata::query::{Blob, Cause};
use entrepot_oci::{AccountId, Algorithm, Digest, media_type};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry as Numbers;

use super::{HoldingMetrics, Holdings, REGISTRIES_TOLD_MAX};

/// A region's state.
#[derive(Default)]
struct Region {
    state: MemoryState,
    index: u64,
}

impl Region {
    fn done(&mut self, command: impl Into<Command>) {
        self.index += 1;
        let id = u128::from(self.index).to_be_bytes();
        let envelope = Envelope::new(id, command.into()).to_bytes();
        let applied = entrepot_metadata::apply(&self.state, self.index, &envelope);
        let (writes, response) = applied.unwrap();
        response.into_result().unwrap();
        self.state.apply_writes(&writes);
    }

    /// With a repository of one blob, and a quota of so many bytes, if any.
    fn registry(&mut self, number: u64, size: u64, quota: u64) {
        let (account, app) = (account(number), "app".parse().unwrap());
        self.done(CreateRepository::new(&account, &app, 1));
        if quota > 0 {
            self.done(PutRegistrySettings {
                quotas: Some(QuotasChange {
                    bytes: Some(quota),
                    ..QuotasChange::default()
                }),
                ..PutRegistrySettings::new(&account)
            });
        }
        let blob = Blob {
            digest: Digest::of(Algorithm::Sha256, &number.to_be_bytes()),
            size,
            root: [1; 32],
            holders: vec![1],
            content: None,
        };
        self.done(LinkBlob::new(&account, &app, &blob, 1));
    }

    /// An image of 10 bytes is pushed and deleted.
    fn delete_one(&mut self, number: u64) {
        let (account, app) = (account(number), "app".parse().unwrap());
        let digest = Digest::of(Algorithm::Sha256, b"image");
        self.done(PutManifest {
            account: account.to_string(),
            repository: "app".to_owned(),
            digest: digest.to_string(),
            media_type: media_type::OCI_MANIFEST.to_owned(),
            content: vec![1; 10].into(),
            ..PutManifest::default()
        });
        self.done(DeleteManifest {
            author: Some(Author::new("root", Cause::Client)),
            ..DeleteManifest::new(&account, &app, &digest)
        });
    }

    fn tell(&self, metrics: &HoldingMetrics) {
        metrics.tell(
            &"us-east-1".parse().unwrap(),
            &Holdings::of(&self.state).unwrap(),
        );
    }
}

fn account(number: u64) -> AccountId {
    format!("{number:012}").parse().unwrap()
}

fn text(metrics: &HoldingMetrics) -> String {
    let mut numbers = Numbers::with_prefix("entrepot");
    metrics.register(&mut numbers);
    let mut text = String::new();
    encode(&mut text, &numbers).unwrap();
    text
}

#[test]
fn what_registries_hold_and_may_is_told_until_it_is_not() {
    let metrics = HoldingMetrics::default();
    let mut region = Region::default();
    region.registry(1, 80, 100);
    region.registry(2, 80, 0);
    region.delete_one(1);
    region.delete_one(2);
    region.tell(&metrics);
    let found = text(&metrics);
    for line in [
        "entrepot_registry_held_bytes{region=\"us-east-1\",account=\"000000000001\",registry=\"private\"} 90\n",
        "entrepot_registry_quota_bytes{region=\"us-east-1\",account=\"000000000001\",registry=\"private\"} 100\n",
        "entrepot_registry_deleted_images{region=\"us-east-1\",account=\"000000000001\",registry=\"private\"} 1\n",
        "entrepot_registry_deleted_images{region=\"us-east-1\",account=\"000000000002\",registry=\"private\"} 1\n",
        "entrepot_deleted_images{region=\"us-east-1\"} 2\n",
        "entrepot_deleted_manifest_bytes{region=\"us-east-1\"} 20\n",
        "entrepot_registries_not_told{region=\"us-east-1\"} 0\n",
    ] {
        assert!(found.contains(line), "{line} of {found}");
    }
    let unlimited = "registry_held_bytes{region=\"us-east-1\",account=\"000000000002\"";
    assert!(!found.contains(unlimited), "{found}");
    assert!(!found.contains("registry_quota_images{"), "{found}");
    Region::default().tell(&metrics);
    let found = text(&metrics);
    assert!(!found.contains("account="), "{found}");
    assert!(
        found.contains("entrepot_deleted_images{region=\"us-east-1\"} 0\n"),
        "{found}"
    );
}

#[test]
fn of_many_registries_the_fullest_are_told() {
    let metrics = HoldingMetrics::default();
    let mut region = Region::default();
    let all = REGISTRIES_TOLD_MAX as u64 + 20;
    for number in 1..=all {
        // The last are the fullest, and have the smallest quotas.
        region.registry(number, 100, 100 + 10 * (all - number));
    }
    region.delete_one(1);
    region.tell(&metrics);
    let found = text(&metrics);
    let lines = found.lines();
    let told = lines.filter(|line| line.starts_with("entrepot_registry_held_bytes{"));
    assert_eq!(told.count(), REGISTRIES_TOLD_MAX);
    let has = |number: u64| {
        found.contains(&format!(
            "held_bytes{{region=\"us-east-1\",account=\"{number:012}\""
        ))
    };
    assert!(has(all) && has(21) && !has(20), "{found}");
    assert!(found.contains("entrepot_registries_not_told{region=\"us-east-1\"} 20\n"));
    // In the sum are those that are not told, too.
    assert!(found.contains("entrepot_deleted_images{region=\"us-east-1\"} 1\n"));
}

/// Names of the numbers that are told here.
fn names_in(text: &str) -> BTreeSet<&str> {
    let is_sign = |sign: char| sign.is_ascii_lowercase() || sign == '_';
    let words = text.split(|sign| !is_sign(sign));
    let is_one = |word: &&str| {
        let starts = [
            "entrepot_registry_",
            "entrepot_deleted_",
            "entrepot_registries_",
        ];
        starts.iter().any(|start| word.starts_with(start))
    };
    words.filter(is_one).collect()
}

#[test]
fn what_dashboards_and_alerts_name_is_there() {
    let metrics = HoldingMetrics::default();
    let mut region = Region::default();
    region.registry(1, 80, 100);
    region.done(PutRegistrySettings {
        quotas: Some(QuotasChange {
            registry_images: Some(3),
            ..QuotasChange::default()
        }),
        ..PutRegistrySettings::new(&account(1))
    });
    region.delete_one(1);
    region.tell(&metrics);
    let text = text(&metrics);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.collect::<Vec<_>>().join("\n");
    let known = names_in(&samples);
    let dashboard = include_str!("../../../../deploy/monitoring/registry-dashboard.json");
    let rules = include_str!("../../../../deploy/monitoring/registry-rules.yaml");
    for (file, least) in [(dashboard, 6), (rules, 4)] {
        let named = names_in(file);
        assert!(named.len() >= least, "{named:?}");
        let missing: Vec<_> = named.difference(&known).collect();
        assert!(missing.is_empty(), "{missing:?} of {known:?}");
    }
}
