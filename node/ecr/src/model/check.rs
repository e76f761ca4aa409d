//! Holds values against shapes: what clients send, and, where assertions are
//! on, what this front end answers.
//!
//! Must never change a value. A member that is null is one that is not there,
//! and one that the model does not have is passed over, as AWS does it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Service;
use super::shape::{Kind, Pattern, ShapeId};

/// The most that one request is told of at once.
const VIOLATIONS_MAX: usize = 16;

/// What a value has to be, and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The way to the value: `imageIds.3.member.imageTag`, as AWS writes it.
    pub(crate) at: String,
    /// The value itself, where that is a text or a number.
    pub(crate) found: Option<String>,
    pub(crate) expected: Expected,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    Present,
    /// Another type altogether: the request was not understood.
    Type(&'static str),
    LengthMin(u64),
    LengthMax(u64),
    ValueMin(i64),
    ValueMax(i64),
    Pattern(String),
    OneOf(Vec<String>),
    /// Nothing: the model does not have it. Of answers alone.
    Absent,
}

/// One look at one value.
struct Check<'a> {
    service: &'a Service,
    /// Whether members that the model does not have are violations.
    exact: bool,
    violations: Vec<Violation>,
}

// === impl Service ===

impl Service {
    /// What is wrong with `value`, which a client sent; nothing: nothing is.
    pub(crate) fn violations(&self, shape: ShapeId, value: &Value) -> Vec<Violation> {
        self.checked(shape, value, false)
    }

    /// What is wrong with `value`, which is to be answered.
    pub(crate) fn violations_of_answer(&self, shape: ShapeId, value: &Value) -> Vec<Violation> {
        self.checked(shape, value, true)
    }

    fn checked(&self, shape: ShapeId, value: &Value, exact: bool) -> Vec<Violation> {
        let mut check = Check {
            service: self,
            exact,
            violations: Vec::new(),
        };
        check.value(shape, value, &mut String::new());
        check.violations
    }
}

// === impl Check ===

impl Check<'_> {
    fn value(&mut self, shape: ShapeId, value: &Value, at: &mut String) {
        let service = self.service;
        match (&service.shape(shape).kind, value) {
            (Kind::Structure(structure), Value::Object(members)) => {
                for member in &structure.members {
                    let found = members.get(&member.name).filter(|it| !it.is_null());
                    self.within(at, &member.name, |check, at| match found {
                        Some(found) => check.value(member.shape, found, at),
                        None if member.required => check.add(at, None, Expected::Present),
                        None => {}
                    });
                }
                if self.exact {
                    let known = |name: &str| structure.members.iter().any(|it| it.name == name);
                    for name in members.keys().filter(|name| !known(name)) {
                        self.within(at, name, |check, at| check.add(at, None, Expected::Absent));
                    }
                }
            }
            (Kind::List { member, min, max }, Value::Array(items)) => {
                // A shape may be a request's and an answer's, which AWS leaves empty.
                let min = min.filter(|_| !self.exact);
                self.length(at, None, items.len(), min, *max);
                // A list that is too long is not looked through.
                if max.is_none_or(|max| items.len() as u64 <= max) {
                    for (index, item) in items.iter().enumerate() {
                        let name = format!("{}.member", index + 1);
                        self.within(at, &name, |check, at| check.value(*member, item, at));
                    }
                }
            }
            (Kind::Map { key, value }, Value::Object(entries)) => {
                for (name, entry) in entries {
                    let name_value = Value::String(name.clone());
                    self.value(*key, &name_value, at);
                    self.within(at, name, |check, at| check.value(*value, entry, at));
                }
            }
            (kind, value) => self.scalar(kind, value, at),
        }
    }

    fn scalar(&mut self, kind: &Kind, value: &Value, at: &str) {
        match (kind, value) {
            (
                Kind::String {
                    min,
                    max,
                    pattern,
                    values,
                },
                Value::String(text),
            ) => {
                let characters = text.chars().count();
                // No client minds an answer that is shorter, and AWS's own are: the
                // id of a root user has twelve digits.
                let min = min.filter(|_| !self.exact);
                self.length(at, Some(text), characters, min, *max);
                if let Some(pattern) = pattern {
                    self.pattern(at, text, pattern);
                }
                if !values.is_empty() && !values.contains(text) {
                    self.add(at, Some(text), Expected::OneOf(values.clone()));
                }
            }
            (Kind::Integer { min, max }, Value::Number(number)) if number.is_i64() => {
                let found = number.as_i64().unwrap_or_default();
                let text = found.to_string();
                if let Some(min) = min.filter(|min| found < *min) {
                    self.add(at, Some(&text), Expected::ValueMin(min));
                }
                if let Some(max) = max.filter(|max| found > *max) {
                    self.add(at, Some(&text), Expected::ValueMax(max));
                }
            }
            (Kind::Blob { min, max }, Value::String(text)) => match STANDARD.decode(text) {
                Ok(bytes) => self.length(at, None, bytes.len(), *min, *max),
                Err(_) => self.add(at, None, Expected::Type("base64")),
            },
            (Kind::Double | Kind::Timestamp, Value::Number(_))
            | (Kind::Boolean, Value::Bool(_)) => {}
            (kind, _) => self.add(at, None, Expected::Type(kind.article())),
        }
    }

    fn pattern(&mut self, at: &str, text: &str, pattern: &Pattern) {
        if !pattern.matches(text) {
            let expected = Expected::Pattern(pattern.text.clone());
            self.add(at, Some(text), expected);
        }
    }

    fn length(
        &mut self,
        at: &str,
        found: Option<&str>,
        length: usize,
        min: Option<u64>,
        max: Option<u64>,
    ) {
        let length = length as u64;
        if let Some(min) = min.filter(|min| length < *min) {
            self.add(at, found, Expected::LengthMin(min));
        }
        if let Some(max) = max.filter(|max| length > *max) {
            self.add(at, found, Expected::LengthMax(max));
        }
    }

    /// One step down, and back up.
    fn within(&mut self, at: &mut String, name: &str, look: impl FnOnce(&mut Self, &mut String)) {
        let before = at.len();
        if !at.is_empty() {
            at.push('.');
        }
        at.push_str(name);
        look(self, at);
        at.truncate(before);
    }

    fn add(&mut self, at: &str, found: Option<&str>, expected: Expected) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation {
                at: at.to_owned(),
                found: found.map(str::to_owned),
                expected,
            });
        }
    }
}

// === impl Kind ===

impl Kind {
    /// What a value of it is, for a message.
    fn article(&self) -> &'static str {
        match self {
            Self::Structure(_) | Self::Map { .. } => "a structure",
            Self::List { .. } => "a list",
            Self::String { .. } => "a string",
            Self::Integer { .. } => "an integer",
            Self::Double => "a number",
            Self::Boolean => "true or false",
            Self::Timestamp => "a time",
            Self::Blob { .. } => "base64",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Expected, Violation};
    use crate::api::Api;
    use crate::model::Models;

    fn violations(api: Api, operation: &str, value: &serde_json::Value) -> Vec<Violation> {
        let models = Models::load().unwrap();
        let service = models.service(api);
        let input = service.operation(operation).unwrap().input.unwrap();
        service.violations(input, value)
    }

    fn one(at: &str, found: Option<&str>, expected: Expected) -> Vec<Violation> {
        vec![Violation {
            at: at.to_owned(),
            found: found.map(str::to_owned),
            expected,
        }]
    }

    #[test]
    fn what_the_model_allows_passes() {
        for (operation, value) in [
            (
                "CreateRepository",
                json!({"repositoryName": "team/app", "extension": 1}),
            ),
            (
                "CreateRepository",
                json!({"repositoryName": "a0", "tags": null}),
            ),
            (
                "DescribeRepositories",
                json!({"repositoryNames": ["a0"], "maxResults": 1000}),
            ),
            (
                "UploadLayerPart",
                json!({"repositoryName": "a0", "uploadId": "0123abcd-0123-0123-0123-0123456789ab",
                    "partFirstByte": 0, "partLastByte": 2, "layerPartBlob": "YWJj"}),
            ),
        ] {
            assert_eq!(violations(Api::Ecr, operation, &value), [], "{operation}");
        }
    }

    #[test]
    fn what_it_does_not_is_named_with_its_place() {
        let one_of = |values: &[&str]| {
            Expected::OneOf(values.iter().map(|&value| value.to_owned()).collect())
        };
        for (operation, value, expected) in [
            (
                "CreateRepository",
                json!({}),
                one("repositoryName", None, Expected::Present),
            ),
            (
                "CreateRepository",
                json!({"repositoryName": 7}),
                one("repositoryName", None, Expected::Type("a string")),
            ),
            (
                "CreateRepository",
                json!({"repositoryName": "a0", "imageTagMutability": "NO"}),
                one(
                    "imageTagMutability",
                    Some("NO"),
                    one_of(&[
                        "MUTABLE",
                        "IMMUTABLE",
                        "IMMUTABLE_WITH_EXCLUSION",
                        "MUTABLE_WITH_EXCLUSION",
                    ]),
                ),
            ),
            (
                "DescribeRepositories",
                json!({"maxResults": 1001}),
                one("maxResults", Some("1001"), Expected::ValueMax(1000)),
            ),
            (
                "BatchGetImage",
                json!({"repositoryName": "a0", "imageIds": []}),
                one("imageIds", None, Expected::LengthMin(1)),
            ),
            (
                "BatchGetImage",
                json!({"repositoryName": "a0", "imageIds": [{"imageTag": ""}]}),
                one(
                    "imageIds.1.member.imageTag",
                    Some(""),
                    Expected::LengthMin(1),
                ),
            ),
        ] {
            let found = violations(Api::Ecr, operation, &value);
            assert_eq!(found, expected, "{operation} {value}");
        }
    }

    #[test]
    fn a_pattern_has_to_match_all_of_a_text() {
        for name in ["a0", "team/app", "a0\n", "A0", "a0/", "x a0"] {
            let value = json!({"repositoryName": name});
            let found = violations(Api::Ecr, "CreateRepository", &value);
            let is_name = matches!(name, "a0" | "team/app");
            assert_eq!(found.is_empty(), is_name, "{name:?}");
        }
    }

    #[test]
    fn what_one_request_is_told_of_is_limited() {
        let images: Vec<_> = (0..100).map(|_| json!({"imageTag": ""})).collect();
        let value = json!({"repositoryName": "a0", "imageIds": images});
        let found = violations(Api::Ecr, "BatchGetImage", &value);
        assert_eq!(found.len(), super::VIOLATIONS_MAX);
    }
}
