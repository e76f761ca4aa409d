//! What a request brings along for conditions: keys and their values.

use std::collections::BTreeMap;

use crate::clock::iso_8601;

/// The keys of a request and their values, beside those that follow from the
/// caller and the resource (`aws:PrincipalArn`, `aws:username`,
/// `aws:ResourceAccount` and the like), which nobody can set here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// By the key in lower case: IAM passes over its case.
    values: BTreeMap<String, Vec<String>>,
}

// === impl Context ===

impl Context {
    pub fn new() -> Self {
        Self::default()
    }

    /// One more value of `key`. Keys that differ by case alone are one.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.insert(key, value);
        self
    }

    /// As [`Context::with`].
    pub fn insert(&mut self, key: &str, value: impl Into<String>) {
        let values = self.values.entry(key.to_lowercase()).or_default();
        values.push(value.into());
    }

    /// What `other` has too; values of one key come together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for (key, values) in other.values {
            self.values.entry(key).or_default().extend(values);
        }
        self
    }

    /// The time of the request: `aws:CurrentTime` and `aws:EpochTime`.
    #[must_use]
    pub fn at(self, now_ms: i64) -> Self {
        self.with("aws:CurrentTime", iso_8601(now_ms))
            .with("aws:EpochTime", now_ms.div_euclid(1000).to_string())
    }

    /// `key` is in lower case; empty where it is missing.
    pub(super) fn values(&self, key: &str) -> &[String] {
        self.values.get(key).map_or(&[], Vec::as_slice)
    }
}
