//! Which resources a statement is about.
//!
//! A pattern is compared with the whole ARN. The ARNs of this cluster have
//! exactly five colons, and so has a pattern with all six parts: its `*` cannot
//! reach over one. A pattern with fewer parts may end anywhere (AWS: a `*` at the
//! end of a part goes on beyond it), or at a whole part, after which everything
//! is meant (AWS completes what is missing).

use super::action::is_vendor;
use super::error::{Problem, excerpt};
use super::pattern::{Pattern, Signs, Unresolved, Variables, parts};

const ARN_PARTS: usize = 6;
const PARTITIONS: [&str; 4] = ["aws", "aws-cn", "aws-us-gov", "*"];

/// `Resource` or `NotResource`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resources {
    pub(super) negated: bool,
    patterns: Vec<Pattern>,
}

// === impl Resources ===

impl Resources {
    /// `variables`: whether the document's version knows them.
    pub(super) fn parse(texts: &[String], negated: bool, variables: bool) -> Result<Self, Problem> {
        if texts.is_empty() {
            return Err(Problem::NoResources);
        }
        let signs = Signs {
            wildcards: true,
            variables,
        };
        let mut patterns = Vec::new();
        for text in texts {
            patterns.push(Pattern::parse(text, signs)?);
            if let Some(text) = completed(text, variables)? {
                patterns.push(Pattern::parse(&text, signs)?);
            }
        }
        Ok(Self { negated, patterns })
    }

    pub(super) fn has_variables(&self) -> bool {
        self.patterns.iter().any(Pattern::has_variables)
    }

    /// Whether a pattern stands for `resource`, `NotResource` or not.
    ///
    /// # Errors
    /// [`Unresolved`] when none does and one could not be compared.
    pub(super) fn has(
        &self,
        resource: &str,
        variables: &impl Variables,
    ) -> Result<bool, Unresolved> {
        let mut has = Ok(false);
        for pattern in &self.patterns {
            match pattern.matches(resource, variables) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(unresolved) => has = Err(unresolved),
            }
        }
        has
    }
}

/// The pattern with the parts that it lacks.
fn completed(text: &str, variables: bool) -> Result<Option<String>, Problem> {
    if text == "*" {
        return Ok(None);
    }
    let parts = parts(text, ARN_PARTS, variables);
    if parts.len() == 1 || parts[0] != "arn" {
        return Err(Problem::Resource(excerpt(text)));
    }
    if !PARTITIONS.contains(&parts[1]) {
        return Err(Problem::Partition {
            partition: excerpt(parts[1]),
            resource: excerpt(text),
        });
    }
    if !parts.get(2).is_some_and(|vendor| is_vendor(vendor)) {
        return Err(Problem::ResourceVendor);
    }
    let missing = ARN_PARTS - parts.len();
    Ok((missing > 0).then(|| format!("{text}{}", ":*".repeat(missing))))
}
