//! All rules at once, and the templates of repositories that nobody makes by hand.

use prost::Message as _;

use super::{Machine, account, image, region, rule};
use crate::command::{
    Command, CreationTemplate, DeleteRegistryItem, PutRegistryItem, ReplaceRules, RepositorySpec,
    RuleSpec,
};
use crate::limits::{ITEM_BODY_BYTES_MAX, RULES_MAX};
use crate::query::{self, CreatedFor, ItemKind};
use crate::response::{Outcome, Refused, RulesChanged};

fn spec(id: &str, prefixes: &[&str], destination: &str) -> RuleSpec {
    RuleSpec {
        id: id.to_owned(),
        prefixes: prefixes.iter().map(ToString::to_string).collect(),
        destination_region: destination.to_owned(),
        ..RuleSpec::default()
    }
}

fn replace(rules: Vec<RuleSpec>) -> ReplaceRules {
    ReplaceRules::new(&account(), rules, &b"document"[..], 9)
}

/// Ids, prefixes and destinations.
fn rules(machine: &Machine) -> Vec<(String, Vec<String>, String)> {
    let rules = query::rules(&machine.state, &account()).unwrap();
    let rules = rules.into_iter();
    rules
        .map(|rule| {
            (
                rule.id,
                rule.prefixes,
                rule.destinations[0].name(&account()),
            )
        })
        .collect()
}

fn configuration(machine: &Machine) -> Option<query::RegistryItem> {
    let kind = ItemKind::ReplicationConfiguration;
    query::registry_item(&machine.state, &account(), kind, "").unwrap()
}

#[test]
fn rules_are_replaced_all_at_once_with_what_they_were_made_from() {
    let mut machine = Machine::with_app();
    machine.done(rule("old", &[], "eu-west-1"));
    machine.done(rule("kept", &["app"], "ap-south-1"));
    machine.done(image(10, &[1], &["v1"]));
    assert_eq!(machine.open_tasks().len(), 2);
    let new = vec![
        spec("kept", &["b", "app", "b"], "ap-south-1"),
        spec("new", &["other"], "eu-west-1"),
    ];
    let changed = Outcome::RulesChanged(RulesChanged {
        replaced: false,
        tasks_dropped: 1,
        tasks_left: false,
    });
    assert_eq!(machine.done(replace(new)), changed);
    let owned = |text: &str| text.to_owned();
    let expected = [
        (
            owned("kept"),
            vec![owned("app"), owned("b")],
            owned("ap-south-1"),
        ),
        (owned("new"), vec![owned("other")], owned("eu-west-1")),
    ];
    assert_eq!(rules(&machine), expected);
    let tasks = machine.open_tasks();
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].key.destination.region, region("ap-south-1"));
    assert_eq!(configuration(&machine).unwrap().body, "document");
    machine.done(replace(Vec::new()));
    assert_eq!(rules(&machine), []);
    assert_eq!(machine.open_tasks(), []);
}

#[test]
fn rules_that_cannot_be_are_refused_and_replace_nothing() {
    let mut machine = Machine::default();
    machine.done(rule("old", &[], "eu-west-1"));
    let many = (0..=RULES_MAX).map(|n| spec(&n.to_string(), &[], "eu-west-1"));
    let limit = machine.refused(replace(many.collect()));
    assert_eq!(limit, Refused::RuleLimit(10));
    for rules in [
        vec![spec("a", &[], "eu-west-1"), spec("a", &[], "ap-south-1")],
        vec![spec("", &[], "eu-west-1")],
        vec![spec("a", &["A"], "eu-west-1")],
        vec![spec("a", &[], "Nowhere!")],
    ] {
        let refused = machine.refused(replace(rules));
        assert!(matches!(refused, Refused::Invalid(_)), "{refused:?}");
    }
    let large = ReplaceRules {
        document: vec![0; ITEM_BODY_BYTES_MAX + 1].into(),
        ..replace(Vec::new())
    };
    assert!(matches!(machine.refused(large), Refused::Invalid(_)));
    assert_eq!(rules(&machine).len(), 1);
    assert_eq!(configuration(&machine), None);
}

#[test]
fn what_rules_were_made_from_is_changed_with_them_alone() {
    let mut machine = Machine::default();
    machine.done(replace(Vec::new()));
    let kind = ItemKind::ReplicationConfiguration;
    let put = PutRegistryItem::new(&account(), kind, "", &b"other"[..], 10);
    assert!(matches!(machine.refused(put), Refused::Invalid(_)));
    let delete = DeleteRegistryItem::new(&account(), kind, "");
    assert!(matches!(machine.refused(delete), Refused::Invalid(_)));
    assert_eq!(configuration(&machine).unwrap().body, "document");
}

/// A template whose repositories can be told by a tag.
fn template(prefix: &str, ways: &[CreatedFor]) -> PutRegistryItem {
    let spec = RepositorySpec {
        tags: [("from".to_owned(), prefix.to_owned())].into(),
        ..RepositorySpec::default()
    };
    let template = CreationTemplate {
        spec: Some(spec),
        applied_for: ways.iter().map(|way| i32::from(*way)).collect(),
        ..CreationTemplate::default()
    };
    let body = template.encode_to_vec();
    PutRegistryItem::new(&account(), ItemKind::CreationTemplate, prefix, body, 1)
}

#[test]
fn the_longest_prefix_that_is_for_it_has_the_template() {
    let mut machine = Machine::default();
    let both = [CreatedFor::Push, CreatedFor::Replication];
    machine.done(template("aa", &both));
    machine.done(template("aa/b/", &[CreatedFor::Push]));
    machine.done(template("ROOT", &[CreatedFor::Replication]));
    let found = |name: &str, way| {
        let name = name.parse().unwrap();
        let spec = query::template_for(&machine.state, &account(), &name, way).unwrap();
        spec.map(|spec| spec.tags["from"].clone())
    };
    for (name, push, replication) in [
        ("aa/b/c", Some("aa/b/"), Some("aa")),
        ("aa/b", Some("aa"), Some("aa")),
        ("aa", None, Some("ROOT")),
        ("aab/c", None, Some("ROOT")),
        ("aa/bc/d", Some("aa"), Some("aa")),
    ] {
        let found = [CreatedFor::Push, CreatedFor::Replication].map(|way| found(name, way));
        let expected = [push, replication].map(|it| it.map(str::to_owned));
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn templates_and_rules_at_once_are_proposed_where_all_nodes_know_them() {
    assert_eq!(Command::from(template("a", &[])).level(), 7);
    assert_eq!(Command::from(replace(Vec::new())).level(), 7);
    let kind = ItemKind::Policy;
    let item = PutRegistryItem::new(&account(), kind, "", &b"{}"[..], 1);
    assert_eq!(Command::from(item).level(), 5);
}
