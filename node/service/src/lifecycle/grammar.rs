//! The grammar of lifecycle policies: first what the schema says of each member,
//! then what its rules say of each other. Beyond ECR's it has the action `retain`
//! and `countPer`, lets images expire by when they were last pulled, and says with
//! `undeleteWindow` for how long they can be restored.
//!
//! The work is bounded by the text's length, which is bounded first.

use std::collections::{BTreeSet, HashSet};

use entrepot_metadata::limits::LIFECYCLE_TEXT_BYTES_MAX;
use serde_json::{Map, Value};

use super::rule::{
    Action, ActionKind, CountPer, CountType, CountUnit, Policy, Rule, Selection, StorageClass,
    TagStatus, UndeleteWindow,
};

/// As ECR has them.
pub(super) const RULES_MAX: usize = 50;
const STARS_MAX: usize = 4;
const ARCHIVED_DAYS_MIN: i64 = 90;

/// What no shape of a rule allows: the schema tries two of them.
const NO_SHAPE: &str = "instance failed to match exactly one schema (matched 0 out of 2)";

// What each member may be, in the order in which the schema's messages have them.
const TAG_STATUSES: [(&str, TagStatus); 3] = [
    ("any", TagStatus::Any),
    ("tagged", TagStatus::Tagged),
    ("untagged", TagStatus::Untagged),
];
const CLASSES: [(&str, StorageClass); 2] = [
    ("archive", StorageClass::Archive),
    ("standard", StorageClass::Standard),
];
const COUNT_TYPES: [(&str, CountType); 4] = [
    ("imageCountMoreThan", CountType::ImageCountMoreThan),
    ("sinceImagePulled", CountType::SinceImagePulled),
    ("sinceImagePushed", CountType::SinceImagePushed),
    ("sinceImageTransitioned", CountType::SinceImageTransitioned),
];
const KINDS: [(&str, ActionKind); 3] = [
    ("expire", ActionKind::Expire),
    ("retain", ActionKind::Retain),
    ("transition", ActionKind::Transition),
];

type Object = Map<String, Value>;

/// # Errors
/// What is wrong with it, in the words of ECR's schema.
pub(super) fn parse(text: &str) -> Result<Policy, String> {
    let unmapped = || "Could not map policyString into LifecyclePolicy.".to_owned();
    if text.len() > LIFECYCLE_TEXT_BYTES_MAX {
        return Err(format!(
            "the text has more than {LIFECYCLE_TEXT_BYTES_MAX} bytes"
        ));
    }
    let Ok(Value::Object(policy)) = serde_json::from_str(text) else {
        return Err(unmapped());
    };
    required(&policy, &["rules"])?;
    only(&policy, &["rules"])?;
    let rules = array(&policy["rules"])?;
    between(rules.len(), 1, RULES_MAX)?;
    let rules: Result<Vec<Rule>, String> = rules.iter().map(rule).collect();
    let mut rules = rules?;
    rules.sort_by_key(|rule| rule.priority);
    together(&rules)?;
    Ok(Policy { rules })
}

fn rule(value: &Value) -> Result<Rule, String> {
    let rule = object(value)?;
    required(rule, &["action", "rulePriority", "selection"])?;
    only(
        rule,
        &["rulePriority", "description", "selection", "action"],
    )?;
    let selection = selection(&rule["selection"])?;
    let action = action(&rule["action"])?;
    let is_wrong = match action.kind {
        ActionKind::Transition => selection.is_of_the_archive(),
        ActionKind::Expire | ActionKind::Retain => false,
    };
    if is_wrong {
        return Err(NO_SHAPE.to_owned());
    }
    Ok(Rule {
        priority: at_least(&rule["rulePriority"], 1)?,
        description: rule.get("description").map(string).transpose()?,
        selection,
        action,
    })
}

fn action(value: &Value) -> Result<Action, String> {
    let action = object(value)?;
    required(action, &["type"])?;
    only(action, &["type", "targetStorageClass", "undeleteWindow"])?;
    let kind = one_of(&action["type"], &KINDS)?;
    let target = action.get("targetStorageClass");
    let target = target
        .map(|it| one_of(it, &[("archive", StorageClass::Archive)]))
        .transpose()?;
    let window = action.get("undeleteWindow");
    let window = window
        .map(|it| string(it).and_then(UndeleteWindow::parse))
        .transpose()?;
    let has_other = kind != ActionKind::Expire && window.is_some();
    if (kind == ActionKind::Transition) != target.is_some() || has_other {
        return Err(NO_SHAPE.to_owned());
    }
    Ok(Action {
        kind,
        target_storage_class: target,
        undelete_window: window,
    })
}

fn selection(value: &Value) -> Result<Selection, String> {
    let selection = object(value)?;
    required(selection, &["countNumber", "countType", "tagStatus"])?;
    only(
        selection,
        &[
            "tagStatus",
            "tagPrefixList",
            "tagPatternList",
            "storageClass",
            "countType",
            "countUnit",
            "countNumber",
            "countPer",
        ],
    )?;
    let class = selection.get("storageClass");
    let unit = selection.get("countUnit");
    let per = selection.get("countPer");
    let selection = Selection {
        tag_status: one_of(&selection["tagStatus"], &TAG_STATUSES)?,
        tag_prefix_list: list(selection.get("tagPrefixList"))?,
        tag_pattern_list: list(selection.get("tagPatternList"))?,
        storage_class: class.map(|it| one_of(it, &CLASSES)).transpose()?,
        count_type: one_of(&selection["countType"], &COUNT_TYPES)?,
        count_unit: unit
            .map(|it| one_of(it, &[("days", CountUnit::Days)]))
            .transpose()?,
        count_number: at_least(&selection["countNumber"], 1)?,
        count_per: per
            .map(|it| one_of(it, &[("pattern", CountPer::Pattern)]))
            .transpose()?,
    };
    check_selection(&selection)?;
    Ok(selection)
}

/// What members of a selection say of each other.
fn check_selection(selection: &Selection) -> Result<(), String> {
    let lists = [&selection.tag_prefix_list, &selection.tag_pattern_list];
    let lists = lists.into_iter().flatten().count();
    let wanted = usize::from(selection.tag_status == TagStatus::Tagged);
    let counts = selection.count_type == CountType::ImageCountMoreThan;
    let transitioned = selection.count_type == CountType::SinceImageTransitioned;
    if lists != wanted
        || counts == selection.count_unit.is_some()
        || transitioned != selection.is_of_the_archive()
        || selection.count_per.is_some() && lists == 0
    {
        return Err(NO_SHAPE.to_owned());
    }
    if transitioned {
        minimum(selection.count_number, ARCHIVED_DAYS_MIN)?;
    }
    let patterns = selection.tag_pattern_list.iter().flatten();
    for pattern in patterns {
        if pattern.matches('*').count() > STARS_MAX {
            return Err(format!(
                "the tag pattern \"{pattern}\" has more than {STARS_MAX} wildcards"
            ));
        }
    }
    Ok(())
}

/// What rules say of each other; they are in order.
fn together(rules: &[Rule]) -> Result<(), String> {
    let priorities: BTreeSet<i64> = rules.iter().map(|rule| rule.priority).collect();
    if priorities.len() < rules.len() {
        return Err("rulePriority must be unique within a lifecycle policy".to_owned());
    }
    let mut seen = HashSet::new();
    for (at, Rule { selection, .. }) in rules.iter().enumerate() {
        let is_archive = selection.is_of_the_archive();
        let behind = &rules[at + 1..];
        let others = |it: &Rule| it.selection.is_of_the_archive() == is_archive;
        let status = selection.tag_status;
        let is_new = status == TagStatus::Any || seen.insert((is_archive, selection.tags()));
        match status {
            TagStatus::Any if behind.iter().any(others) => {
                return Err(
                    "a rule with tagStatus \"any\" must have the highest rulePriority".to_owned(),
                );
            }
            TagStatus::Untagged if !is_new => {
                return Err("there can be one rule with tagStatus \"untagged\"".to_owned());
            }
            _ if !is_new => {
                return Err("tag prefixes and patterns must be unique among the rules".to_owned());
            }
            _ => {}
        }
    }
    Ok(())
}

// === one value, as the schema says it ===

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn mistyped(value: &Value, allowed: &str) -> String {
    format!(
        "instance type ({}) does not match any allowed primitive type (allowed: [\"{allowed}\"])",
        kind(value)
    )
}

fn object(value: &Value) -> Result<&Object, String> {
    value.as_object().ok_or_else(|| mistyped(value, "object"))
}

fn array(value: &Value) -> Result<&Vec<Value>, String> {
    value.as_array().ok_or_else(|| mistyped(value, "array"))
}

fn string(value: &Value) -> Result<String, String> {
    let text = value.as_str().ok_or_else(|| mistyped(value, "string"))?;
    Ok(text.to_owned())
}

fn at_least(value: &Value, min: i64) -> Result<i64, String> {
    let number = value.as_i64().ok_or_else(|| mistyped(value, "integer"))?;
    minimum(number, min)
}

fn minimum(number: i64, min: i64) -> Result<i64, String> {
    if number < min {
        return Err(format!(
            "numeric instance is lower than the required minimum (minimum: {min}, found: {number})"
        ));
    }
    Ok(number)
}

fn one_of<T: Copy>(value: &Value, values: &[(&str, T)]) -> Result<T, String> {
    let text = string(value)?;
    if let Some((_, found)) = values.iter().find(|(name, _)| *name == text) {
        return Ok(*found);
    }
    let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
    Err(format!(
        "instance value (\"{text}\") not found in enum (possible values: {})",
        quoted(&names)
    ))
}

fn list(value: Option<&Value>) -> Result<Option<Vec<String>>, String> {
    let Some(value) = value else { return Ok(None) };
    let items = array(value)?;
    between(items.len(), 1, usize::MAX)?;
    let items: Result<Vec<String>, String> = items.iter().map(string).collect();
    let items = items?;
    if items.iter().any(String::is_empty) {
        return Err("string \"\" is too short (length: 0, required minimum: 1)".to_owned());
    }
    Ok(Some(items))
}

fn between(length: usize, min: usize, max: usize) -> Result<(), String> {
    if length < min {
        return Err(format!(
            "array is too short: must have at least {min} elements but instance has {length} \
             elements"
        ));
    }
    if length > max {
        return Err(format!(
            "array is too long: must have at most {max} elements but instance has {length} elements"
        ));
    }
    Ok(())
}

/// `names` are sorted.
fn required(object: &Object, names: &[&str]) -> Result<(), String> {
    let lacks = |name: &&&str| !object.contains_key(**name);
    let missing: Vec<&str> = names.iter().filter(lacks).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "object has missing required properties ({})",
        quoted(&missing)
    ))
}

fn only(object: &Object, names: &[&str]) -> Result<(), String> {
    let unknown = object.keys().map(String::as_str);
    let unknown: Vec<&str> = unknown.filter(|name| !names.contains(name)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(format!(
        "object instance has properties which are not allowed by the schema: {}",
        quoted(&unknown)
    ))
}

fn quoted(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    format!("[{}]", quoted.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::parse;

    /// A policy of one rule, with other members in it.
    fn one(selection: &Value, action: &Value) -> String {
        let rule = json!({"rulePriority": 1, "selection": selection, "action": action});
        json!({"rules": [rule]}).to_string()
    }

    fn expire() -> Value {
        json!({"type": "expire"})
    }

    fn untagged(priority: i64) -> Value {
        json!({"rulePriority": priority, "action": {"type": "expire"}, "selection":
            {"tagStatus": "untagged", "countType": "imageCountMoreThan", "countNumber": 1}})
    }

    #[test]
    fn a_policy_is_kept_in_the_order_of_its_rules() {
        let prefixed = json!({"rulePriority": 2, "description": "d", "action": {"type": "expire"},
            "selection": {"tagStatus": "tagged", "tagPrefixList": ["v"], "countUnit": "days",
                "countType": "sinceImagePushed", "countNumber": 14}});
        let text = json!({"rules": [prefixed, untagged(1)]}).to_string();
        let policy = parse(&text).unwrap();
        assert_eq!(
            serde_json::to_string(&policy).unwrap(),
            "{\"rules\":[{\"rulePriority\":1,\"selection\":{\"tagStatus\":\"untagged\",\
             \"countType\":\"imageCountMoreThan\",\"countNumber\":1},\"action\":{\"type\":\
             \"expire\"}},{\"rulePriority\":2,\"description\":\"d\",\"selection\":{\"tagStatus\":\
             \"tagged\",\"tagPrefixList\":[\"v\"],\"countType\":\"sinceImagePushed\",\
             \"countUnit\":\"days\",\"countNumber\":14},\"action\":{\"type\":\"expire\"}}]}"
        );
    }

    #[test]
    fn what_the_schema_does_not_allow_is_said_in_its_words() {
        let no_shape = super::NO_SHAPE;
        let count = |more: Value| {
            let mut selection = json!({"tagStatus": "any", "countType": "imageCountMoreThan",
                "countNumber": 1});
            let members = more.as_object().unwrap().clone();
            selection.as_object_mut().unwrap().extend(members);
            one(&selection, &expire())
        };
        let archived = json!({"tagStatus": "any", "storageClass": "archive", "countUnit": "days",
            "countType": "sinceImageTransitioned", "countNumber": 89});
        for (text, expected) in [
            (
                "x".to_owned(),
                "Could not map policyString into LifecyclePolicy.",
            ),
            (
                "[]".to_owned(),
                "Could not map policyString into LifecyclePolicy.",
            ),
            (
                "{}".to_owned(),
                "object has missing required properties ([\"rules\"])",
            ),
            (
                json!({"rules": []}).to_string(),
                "array is too short: must have at least 1 elements but instance has 0 elements",
            ),
            (
                json!({"rules": [{}]}).to_string(),
                "object has missing required properties ([\"action\",\"rulePriority\",\
                 \"selection\"])",
            ),
            (
                json!({"rules": [], "x": 1}).to_string(),
                "object instance has properties which are not allowed by the schema: [\"x\"]",
            ),
            (
                count(json!({"countNumber": 0})),
                "numeric instance is lower than the required minimum (minimum: 1, found: 0)",
            ),
            (
                count(json!({"countNumber": "1"})),
                "instance type (string) does not match any allowed primitive type (allowed: \
                 [\"integer\"])",
            ),
            (
                count(json!({"tagStatus": "all"})),
                "instance value (\"all\") not found in enum (possible values: \
                 [\"any\",\"tagged\",\"untagged\"])",
            ),
            (count(json!({"tagStatus": "tagged"})), no_shape),
            (count(json!({"tagPrefixList": ["a"]})), no_shape),
            (count(json!({"countUnit": "days"})), no_shape),
            (count(json!({"countType": "sinceImagePushed"})), no_shape),
            (count(json!({"storageClass": "archive"})), no_shape),
            (count(json!({"countPer": "pattern"})), no_shape),
            (
                one(&archived, &expire()),
                "numeric instance is lower than the required minimum (minimum: 90, found: 89)",
            ),
            (
                count(json!({"tagStatus": "tagged", "tagPatternList": ["a*b*c*d*e*"]})),
                "the tag pattern \"a*b*c*d*e*\" has more than 4 wildcards",
            ),
        ] {
            assert_eq!(parse(&text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn transitions_name_where_to_and_what_is_not_pulled_may_go() {
        let pulled = json!({"tagStatus": "any", "countType": "sinceImagePulled",
            "countUnit": "days", "countNumber": 30});
        let archive = json!({"type": "transition", "targetStorageClass": "archive"});
        assert!(parse(&one(&pulled, &archive)).is_ok());
        assert!(parse(&one(&pulled, &json!({"type": "transition"}))).is_err());
        assert!(parse(&one(&pulled, &expire())).is_ok());
        let archived = json!({"tagStatus": "any", "storageClass": "archive", "countUnit": "days",
            "countType": "sinceImageTransitioned", "countNumber": 90});
        assert!(parse(&one(&archived, &expire())).is_ok());
    }

    #[test]
    fn what_expires_can_be_restored_for_as_long_as_its_rule_says() {
        let any = json!({"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 1});
        let expire =
            |window: &Value| one(&any, &json!({"type": "expire", "undeleteWindow": window}));
        for window in ["0", "36h", "3d"] {
            let policy = parse(&expire(&json!(window))).unwrap();
            let text = serde_json::to_string(&policy).unwrap();
            let kept =
                format!("\"action\":{{\"type\":\"expire\",\"undeleteWindow\":\"{window}\"}}");
            assert!(text.contains(&kept), "{text}");
            assert_eq!(parse(&text).unwrap(), policy);
        }
        let windows = parse(&expire(&json!("36h"))).unwrap().windows_ms();
        assert_eq!(
            windows.into_iter().collect::<Vec<_>>(),
            [(1, 36 * 3_600_000)]
        );
        let error = parse(&expire(&json!(3))).unwrap_err();
        assert!(error.starts_with("instance type (integer)"), "{error}");
        let error = parse(&expire(&json!("3 days"))).unwrap_err();
        assert!(error.starts_with("ECMA 262 regex"), "{error}");
        for action in [
            json!({"type": "retain", "undeleteWindow": "3d"}),
            json!({"type": "transition", "targetStorageClass": "archive", "undeleteWindow": "3d"}),
        ] {
            assert_eq!(parse(&one(&any, &action)).unwrap_err(), super::NO_SHAPE);
        }
    }

    #[test]
    fn rules_have_their_own_priorities_and_selections() {
        let any = |priority: i64| {
            let mut rule = untagged(priority);
            rule["selection"]["tagStatus"] = json!("any");
            rule
        };
        let tagged = |priority: i64, prefixes: &[&str]| {
            let mut rule = any(priority);
            rule["selection"]["tagStatus"] = json!("tagged");
            rule["selection"]["tagPrefixList"] = json!(prefixes);
            rule
        };
        let parsed = |rules: &[Value]| parse(&json!({"rules": rules}).to_string());
        assert!(parsed(&[any(3), untagged(1), tagged(2, &["a"])]).is_ok());
        for rules in [
            [untagged(1), tagged(1, &["a"])],
            [untagged(1), untagged(2)],
            [any(1), untagged(2)],
            [tagged(1, &["a", "b"]), tagged(2, &["b", "a"])],
        ] {
            assert!(parsed(&rules).is_err(), "{rules:?}");
        }
        let many: Vec<Value> = (1..=51).map(|n| tagged(n, &[&n.to_string()])).collect();
        assert!(parsed(&many).unwrap_err().starts_with("array is too long"));
        assert!(parsed(&many[1..]).is_ok());
    }
}
