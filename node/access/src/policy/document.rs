//! A policy document: its limits, its head, its statements.

use std::collections::HashSet;

use super::error::{PolicyError, Problem};
use super::json::{self, Json};
use super::statement::Statement;

/// The longest text that is looked at, in bytes; blanks count here and not in the
/// quotas (IAM's model: 131,072 characters).
const TEXT_BYTES_MAX: usize = 131_072;
/// Quotas, in characters (IAM and ECR). Those of inline policies are sums over
/// all that an identity has; one alone may have as much as the largest.
const MANAGED_CHARS_MAX: usize = 6_144;
/// Of all inline policies of a user together; see [`Document::size`].
pub const INLINE_USER_CHARS_MAX: usize = 2_048;
/// Of a group's.
pub const INLINE_GROUP_CHARS_MAX: usize = 5_120;
/// Of a role's.
pub const INLINE_ROLE_CHARS_MAX: usize = 10_240;
const SESSION_CHARS_MAX: usize = 2_048;
const TRUST_CHARS_MAX: usize = 2_048;
const ECR_CHARS_MAX: usize = 10_240;

/// What a document is for: decides what it must and must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    /// A managed policy of identities.
    Managed,
    /// One of a user, a group or a role itself.
    Inline,
    /// Limits what a session may.
    Session,
    /// Who may assume a role.
    Trust,
    /// Of a repository.
    Repository,
    /// Of an account's registry in a region.
    Registry,
}

/// The version of the language, which tells whether variables mean anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `2008-10-17`, also where none is given.
    V2008,
    /// `2012-10-17`
    V2012,
}

/// A document, parsed and compiled: keep it as long as its text does not change.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    kind: DocumentKind,
    version: Version,
    statements: Vec<Statement>,
    size: usize,
}

// === impl DocumentKind ===

impl DocumentKind {
    /// Such a document says who may; all others belong to those who may.
    pub(super) fn is_of_a_resource(self) -> bool {
        matches!(self, Self::Trust | Self::Repository | Self::Registry)
    }

    /// The quota of its size, in characters; see [`Document::size`].
    pub fn size_max(self) -> usize {
        match self {
            Self::Managed => MANAGED_CHARS_MAX,
            Self::Inline => INLINE_ROLE_CHARS_MAX,
            Self::Session => SESSION_CHARS_MAX,
            Self::Trust => TRUST_CHARS_MAX,
            Self::Repository | Self::Registry => ECR_CHARS_MAX,
        }
    }

    /// ECR counts every character; IAM passes over blanks.
    fn size(self, text: &str) -> usize {
        match self {
            Self::Repository | Self::Registry => text.chars().count(),
            _ => text.chars().filter(|c| !c.is_whitespace()).count(),
        }
    }
}

// === impl Document ===

impl Document {
    /// # Errors
    /// [`PolicyError`]: its code and message are those of AWS.
    pub fn parse(text: &str, kind: DocumentKind) -> Result<Self, PolicyError> {
        Self::compile(text, kind).map_err(|problem| PolicyError { kind, problem })
    }

    fn compile(text: &str, kind: DocumentKind) -> Result<Self, Problem> {
        let max = kind.size_max();
        let too_long = Err(Problem::TooLong { max });
        if text.len() > TEXT_BYTES_MAX {
            return too_long;
        }
        let size = kind.size(text);
        if size > max {
            return too_long;
        }
        let Some(Json::Object(members)) = json::parse(text) else {
            return Err(Problem::Syntax);
        };
        let (mut version, mut statements) = (Version::V2008, None);
        for (name, value) in &members {
            match (name.as_str(), value) {
                ("Version", Json::Text(text)) => version = version_of(text)?,
                ("Id", Json::Text(_)) => {}
                ("Statement", Json::List(values)) if !values.is_empty() => {
                    statements = Some(values.as_slice());
                }
                ("Statement", value @ Json::Object(_)) => {
                    statements = Some(std::slice::from_ref(value));
                }
                _ => return Err(Problem::Syntax),
            }
        }
        if kind == DocumentKind::Managed && version == Version::V2008 {
            return Err(Problem::Version);
        }
        let variables = version == Version::V2012;
        let statements: Result<Vec<Statement>, Problem> = statements
            .ok_or(Problem::Syntax)?
            .iter()
            .map(|value| Statement::parse(value, kind, variables))
            .collect();
        let statements = statements?;
        check_sids(&statements, kind)?;
        Ok(Self {
            kind,
            version,
            statements,
            size,
        })
    }

    pub fn kind(&self) -> DocumentKind {
        self.kind
    }

    pub fn version(&self) -> Version {
        self.version
    }

    /// In characters, as the quota counts them: without blanks in IAM's
    /// documents.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether anything counts for it besides principal, action and resource. If
    /// not, what it decides of these three is always the same.
    pub fn has_conditions(&self) -> bool {
        self.statements.iter().any(Statement::has_conditions)
    }

    /// The users and roles that a resource's document names by their ARNs, for
    /// whoever wants to know that they exist before it is kept.
    pub fn identities(&self) -> impl Iterator<Item = &str> {
        self.statements.iter().flat_map(Statement::identities)
    }

    pub(super) fn statements(&self) -> &[Statement] {
        &self.statements
    }
}

fn version_of(text: &str) -> Result<Version, Problem> {
    match text {
        "2008-10-17" => Ok(Version::V2008),
        "2012-10-17" => Ok(Version::V2012),
        _ => Err(Problem::Syntax),
    }
}

/// Repositories' policies may have what they like.
fn check_sids(statements: &[Statement], kind: DocumentKind) -> Result<(), Problem> {
    if kind.is_of_a_resource() && kind != DocumentKind::Trust {
        return Ok(());
    }
    let mut seen = HashSet::new();
    for sid in statements.iter().filter_map(|it| it.sid.as_deref()) {
        if !sid.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(Problem::Sid);
        }
        if !sid.is_empty() && !seen.insert(sid) {
            return Err(Problem::SidTwice);
        }
    }
    Ok(())
}
