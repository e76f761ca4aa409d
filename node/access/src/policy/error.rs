//! Why a document is refused, in AWS's words: these texts are what clients read
//! and what tools look for, so they keep AWS's case and full stops.

use super::document::DocumentKind;

/// A message shows at most so many characters of the document.
const EXCERPT_CHARS_MAX: usize = 100;

/// A document that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the policy document is refused: {problem}")]
pub struct PolicyError {
    pub kind: DocumentKind,
    pub problem: Problem,
}

/// What is wrong with it. `Display` is the message IAM gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No JSON, a member that does not belong there, or one of the wrong type.
    #[error("Syntax errors in policy.")]
    Syntax,
    #[error("Policy document must be version 2012-10-17 or greater.")]
    Version,
    /// A value that has the right type and makes no sense.
    #[error("The policy failed legacy parsing")]
    Legacy,
    #[error("Statement IDs (SID) in a single policy must be unique.")]
    SidTwice,
    #[error(
        "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular \
         expression [0-9A-Za-z]*"
    )]
    Sid,
    #[error("Policy statement must contain actions.")]
    NoActions,
    #[error("Policy statement must contain resources.")]
    NoResources,
    #[error("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")]
    Vendor,
    #[error("Actions/Condition can contain only one colon.")]
    Colons,
    #[error("Vendor {0} is not valid")]
    VendorName(String),
    #[error("Resource {0} must be in ARN format or \"*\".")]
    Resource(String),
    #[error("Partition \"{partition}\" is not valid for resource \"{resource}\".")]
    Partition { partition: String, resource: String },
    #[error("Resource vendor must be fully qualified and cannot contain regexes.")]
    ResourceVendor,
    #[error("Policy document should not specify a principal.")]
    HasPrincipal,
    #[error("Missing required field Principal")]
    NoPrincipal,
    #[error("Invalid principal in policy: \"{kind}\":\"{value}\"")]
    Principal { kind: String, value: String },
    #[error("Has prohibited field Resource")]
    TrustResource,
    #[error("AssumeRole policy may only specify STS AssumeRole actions.")]
    TrustAction,
    #[error("Cannot exceed quota for PolicySize: {max}")]
    TooLong { max: usize },
}

// === impl PolicyError ===

impl PolicyError {
    /// The error code of the API that takes documents of this kind.
    pub fn code(&self) -> &'static str {
        match (self.kind, &self.problem) {
            (DocumentKind::Repository | DocumentKind::Registry, _) => "InvalidParameterException",
            (DocumentKind::Session, Problem::TooLong { .. }) => "PackedPolicyTooLarge",
            (_, Problem::TooLong { .. }) => "LimitExceeded",
            _ => "MalformedPolicyDocument",
        }
    }

    /// What the client reads. ECR says no more than that it is invalid.
    pub fn message(&self) -> String {
        let invalid = |what: &str| {
            format!(
                "Invalid parameter at 'PolicyText' failed to satisfy constraint: \
                 'Invalid {what} policy provided'"
            )
        };
        match self.kind {
            DocumentKind::Repository => invalid("repository"),
            DocumentKind::Registry => invalid("registry"),
            _ => self.problem.to_string(),
        }
    }
}

/// The beginning of a value, for a message.
pub(super) fn excerpt(value: &str) -> String {
    value.chars().take(EXCERPT_CHARS_MAX).collect()
}
