//! A lifecycle policy, once it is right: written in the order in which ECR writes
//! it.

mod window;

use std::collections::{BTreeMap, BTreeSet};

use entrepot_metadata::query::matches_wildcard;
use entrepot_oci::Tag;
use serde::Serialize;

pub(super) use self::window::UndeleteWindow;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Policy {
    /// In the order of their priorities.
    pub(super) rules: Vec<Rule>,
}

impl Policy {
    /// The priorities of the rules that look at when images were pulled in this region.
    pub(super) fn by_pulls(&self) -> BTreeSet<i64> {
        let looks = |rule: &&Rule| rule.selection.count_type == CountType::SinceImagePulled;
        let rules = self.rules.iter().filter(looks);
        rules.map(|rule| rule.priority).collect()
    }

    /// For how long what a rule deletes can be restored, in ms, by the rule's
    /// priority, of those that say so.
    pub(super) fn windows_ms(&self) -> BTreeMap<i64, u64> {
        let windows = self.rules.iter().filter_map(|rule| {
            let window = rule.action.undelete_window.as_ref()?;
            Some((rule.priority, window.ms()))
        });
        windows.collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    #[serde(rename = "rulePriority")]
    pub(super) priority: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    pub(super) selection: Selection,
    pub(super) action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Selection {
    pub(super) tag_status: TagStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tag_prefix_list: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tag_pattern_list: Option<Vec<String>>,
    /// None: `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) storage_class: Option<StorageClass>,
    pub(super) count_type: CountType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count_unit: Option<CountUnit>,
    pub(super) count_number: i64,
    /// Beyond ECR. None: images have to match every prefix or pattern, and are
    /// counted together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count_per: Option<CountPer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum TagStatus {
    Any,
    Tagged,
    Untagged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum StorageClass {
    Archive,
    Standard,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum CountType {
    ImageCountMoreThan,
    SinceImagePulled,
    SinceImagePushed,
    SinceImageTransitioned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum CountUnit {
    Days,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum CountPer {
    /// Images have to match one of the prefixes or patterns, and those of each are
    /// counted by themselves.
    Pattern,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Action {
    #[serde(rename = "type")]
    pub(super) kind: ActionKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target_storage_class: Option<StorageClass>,
    /// Beyond ECR. None: what the registry's settings say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) undelete_window: Option<UndeleteWindow>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ActionKind {
    Expire,
    /// Beyond ECR: what an `expire` with this selection would leave stays,
    /// whatever rules of a lower priority say.
    Retain,
    Transition,
}

// === impl Selection ===

impl Selection {
    pub(super) fn is_of_the_archive(&self) -> bool {
        self.storage_class == Some(StorageClass::Archive)
    }

    /// The prefixes or patterns, in any order.
    pub(super) fn tags(&self) -> Option<Vec<&str>> {
        let list = self
            .tag_prefix_list
            .as_ref()
            .or(self.tag_pattern_list.as_ref())?;
        let mut tags: Vec<&str> = list.iter().map(String::as_str).collect();
        tags.sort_unstable();
        Some(tags)
    }

    /// How many prefixes or patterns there are.
    pub(super) fn patterns(&self) -> usize {
        let lists = [&self.tag_prefix_list, &self.tag_pattern_list];
        lists.into_iter().flatten().map(Vec::len).sum()
    }

    /// Whether a tag of these matches the prefix or pattern at `at`.
    pub(super) fn pattern_takes(&self, at: usize, tags: &[Tag]) -> bool {
        let mut tags = tags.iter().map(Tag::as_str);
        if let Some(prefixes) = &self.tag_prefix_list {
            return tags.any(|tag| tag.starts_with(&prefixes[at]));
        }
        if let Some(patterns) = &self.tag_pattern_list {
            return tags.any(|tag| matches_wildcard(&patterns[at], tag));
        }
        false
    }
}
