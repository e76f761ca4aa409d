//! A lifecycle policy, once it is right: written in the order in which ECR writes
//! it.

use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Policy {
    pub(super) rules: Vec<Rule>,
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
    /// `tagged`, `untagged` or `any`.
    pub(super) tag_status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tag_prefix_list: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tag_pattern_list: Option<Vec<String>>,
    /// None: `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) storage_class: Option<String>,
    pub(super) count_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count_unit: Option<String>,
    pub(super) count_number: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Action {
    /// `expire` or `transition`.
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target_storage_class: Option<String>,
}

// === impl Selection ===

impl Selection {
    pub(super) fn is_of_the_archive(&self) -> bool {
        self.storage_class.as_deref() == Some("archive")
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
}
