//! What a value may be like.
//!
//! Owns the tree of shapes and their limits. Must never hold a value: it says
//! what they are checked against, and no more.

use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;

use super::ModelError;

/// Which shape of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShapeId(pub(super) usize);

#[derive(Debug)]
pub(crate) struct Shape {
    #[expect(dead_code, reason = "shown by `Debug`")]
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Structure(Structure),
    List {
        member: ShapeId,
        min: Option<u64>,
        max: Option<u64>,
    },
    Map {
        key: ShapeId,
        value: ShapeId,
    },
    String {
        /// Characters.
        min: Option<u64>,
        max: Option<u64>,
        pattern: Option<Pattern>,
        /// Empty: any.
        values: Vec<String>,
    },
    Integer {
        min: Option<i64>,
        max: Option<i64>,
    },
    Double,
    Boolean,
    /// Seconds since 1970 in JSON, a date in XML.
    Timestamp,
    /// Base64 of so many bytes.
    Blob {
        min: Option<u64>,
        max: Option<u64>,
    },
}

#[derive(Debug)]
pub(crate) struct Structure {
    pub(crate) members: Vec<Member>,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) shape: ShapeId,
    pub(crate) required: bool,
}

/// A pattern of the model, which has to match all of a text.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// As the model has it, and as messages say it.
    pub(crate) text: String,
    compiled: Regex,
}

/// A shape in a model's file.
#[derive(Deserialize)]
pub(super) struct Text {
    #[serde(rename = "type")]
    kind: KindText,
    #[serde(default)]
    members: BTreeMap<String, String>,
    #[serde(default)]
    required: Vec<String>,
    member: Option<String>,
    key: Option<String>,
    value: Option<String>,
    min: Option<i64>,
    max: Option<i64>,
    pattern: Option<String>,
    #[serde(rename = "enum", default)]
    values: Vec<String>,
    error: Option<ErrorText>,
}

/// How an error is called where its shape's name is not its code.
#[derive(Deserialize)]
struct ErrorText {
    code: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindText {
    Structure,
    List,
    Map,
    String,
    Integer,
    Long,
    Double,
    Boolean,
    Timestamp,
    Blob,
}

// === impl Text ===

impl Text {
    /// The code of an error, whose shape is called `name`.
    pub(super) fn code<'a>(&'a self, name: &'a str) -> &'a str {
        let code = self.error.as_ref().and_then(|error| error.code.as_deref());
        code.unwrap_or(name)
    }
}

// === impl Shape ===

impl Shape {
    pub(super) fn read(
        name: String,
        text: Text,
        service: &'static str,
        id: &impl Fn(&str) -> Result<ShapeId, ModelError>,
    ) -> Result<Self, ModelError> {
        let length = |limit: Option<i64>| limit.and_then(|limit| u64::try_from(limit).ok());
        let (min, max) = (length(text.min), length(text.max));
        // What is missing is looked for under no name, and not found.
        let named = |name: Option<String>| id(name.as_deref().unwrap_or_default());
        let kind = match text.kind {
            KindText::Structure => {
                let mut members = Vec::with_capacity(text.members.len());
                for (name, shape) in text.members {
                    members.push(Member {
                        required: text.required.contains(&name),
                        shape: id(&shape)?,
                        name,
                    });
                }
                Kind::Structure(Structure { members })
            }
            KindText::List => Kind::List {
                member: named(text.member)?,
                min,
                max,
            },
            KindText::Map => Kind::Map {
                key: named(text.key)?,
                value: named(text.value)?,
            },
            KindText::String => {
                let invalid = |source| ModelError::Pattern {
                    service,
                    shape: name.clone(),
                    source: Box::new(source),
                };
                let pattern = text.pattern.map(Pattern::new).transpose();
                Kind::String {
                    min,
                    max,
                    pattern: pattern.map_err(invalid)?,
                    values: text.values,
                }
            }
            KindText::Integer | KindText::Long => Kind::Integer {
                min: text.min,
                max: text.max,
            },
            KindText::Double => Kind::Double,
            KindText::Boolean => Kind::Boolean,
            KindText::Timestamp => Kind::Timestamp,
            KindText::Blob => Kind::Blob { min, max },
        };
        Ok(Self { name, kind })
    }
}

// === impl Pattern ===

impl Pattern {
    fn new(text: String) -> Result<Self, regex::Error> {
        // The models are Java's: there \w and \d are of ASCII.
        let ascii = text.replace(r"\w", "[0-9A-Za-z_]").replace(r"\d", "[0-9]");
        let compiled = Regex::new(&format!("^(?:{ascii})$"))?;
        Ok(Self { text, compiled })
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        // `$` stands before nothing but the end in this library.
        self.compiled.is_match(text)
    }
}
