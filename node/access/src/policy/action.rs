//! Which actions a statement is about: `service:Name`, without regard to case.

use super::error::{Problem, excerpt};
use super::pattern::{Pattern, Signs};

const SIGNS: Signs = Signs {
    wildcards: true,
    // IAM knows no variables here.
    variables: false,
};

/// `Action` or `NotAction`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Actions {
    negated: bool,
    patterns: Vec<Pattern>,
}

// === impl Actions ===

impl Actions {
    pub(super) fn parse(texts: &[String], negated: bool) -> Result<Self, Problem> {
        if texts.is_empty() {
            return Err(Problem::NoActions);
        }
        let patterns: Result<_, Problem> = texts.iter().map(|text| pattern(text)).collect();
        Ok(Self {
            negated,
            patterns: patterns?,
        })
    }

    /// `action` is in lower case.
    pub(super) fn matches(&self, action: &str) -> bool {
        let any = |pattern: &Pattern| pattern.matches_plainly(action);
        self.patterns.iter().any(any) != self.negated
    }
}

fn pattern(text: &str) -> Result<Pattern, Problem> {
    let mut parts = text.split(':');
    let vendor = parts.next().unwrap_or_default();
    match parts.count() {
        0 if vendor != "*" => return Err(Problem::Vendor),
        0 | 1 => {}
        _ => return Err(Problem::Colons),
    }
    if vendor != "*" && !is_vendor(vendor) {
        return Err(Problem::VendorName(excerpt(vendor)));
    }
    Pattern::parse(&text.to_ascii_lowercase(), SIGNS)
}

/// The short name of a service.
pub(super) fn is_vendor(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}
