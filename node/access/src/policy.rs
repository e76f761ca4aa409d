//! Policies in IAM's language, and what they decide.
//!
//! Owns: the grammar and limits of a document, the conditions, the variables, and
//! the order in which documents of several kinds make one decision. A document is
//! parsed once and kept compiled. Decides over what is passed in: no I/O, no
//! clock. The invariants: an explicit deny wins over everything, what nothing
//! allows is denied, and the work of a decision is bounded by the size of the
//! documents times the length of the request's values.

mod action;
mod combined;
mod condition;
mod context;

mod document;
mod error;
mod evaluate;
mod json;
mod managed;
mod operator;
mod pattern;
mod principals;
mod resources;
mod statement;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod naive;
#[cfg(test)]
mod property;
#[cfg(test)]
mod rules;

pub use combined::combined;
pub use context::Context;
pub use document::{
    Document, DocumentKind, INLINE_GROUP_CHARS_MAX, INLINE_ROLE_CHARS_MAX, INLINE_USER_CHARS_MAX,
    Version,
};
pub use error::{PolicyError, Problem};
pub use evaluate::{Decision, Policies, Reason, Request, Resource, Source, denial, evaluate};
pub use json::without_blanks;
pub use managed::{MANAGED_POLICIES, ManagedPolicy, managed_policy};
