//! What a request of these protocols is refused with.
//!
//! Owns the codes, the messages for values that a model does not allow, and the
//! rule that an error of this node's own names the request and nothing else.

use std::borrow::Cow;

use axum::http::StatusCode;
use entrepot_service::SignedError;
use entrepot_service::sigv4::{self, SigV4Error};
use serde_json::{Map, Value};

use crate::api::{Api, Protocol};
use crate::model::{Expected, Violation};

/// What any operation may be refused with ("Common Errors" of each service).
const COMMON: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "InternalFailure",
    "InvalidAction",
    "InvalidParameterException",
    "MalformedQueryString",
    "NotImplemented",
    "RequestEntityTooLargeException",
    "RequestTimeoutException",
    "SerializationException",
    "ServerException",
    "ServiceFailure",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "UnknownOperationException",
    "UnsupportedCommandException",
    "ValidationError",
    "ValidationException",
];

/// A refusal, in the protocol's own terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
    /// Over Query; JSON 1.1 knows 400 and 500 alone.
    pub(crate) status: StatusCode,
    /// Members of the error's shape beside its message.
    pub(crate) details: Map<String, Value>,
}

// === impl ApiError ===

impl ApiError {
    /// The client is at fault.
    pub(crate) fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::with_status(StatusCode::BAD_REQUEST, code, message)
    }

    /// The same, with the status that IAM and STS have for it.
    pub(crate) fn with_status(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            status,
            details: Map::new(),
        }
    }

    pub(crate) fn with_detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// This node is at fault; the log knows why.
    pub(crate) fn internal(api: Api) -> Self {
        let code = match api.protocol() {
            Protocol::Json => "ServerException",
            Protocol::Query => "ServiceFailure",
        };
        let message =
            "the request failed at this node; its log has the reason under the request's id";
        Self::with_status(StatusCode::INTERNAL_SERVER_ERROR, code, message)
    }

    /// An operation that the model does not have.
    pub(crate) fn unknown_operation(api: Api, name: &str) -> Self {
        match api.protocol() {
            Protocol::Json => Self::new("UnknownOperationException", ""),
            Protocol::Query => Self::new(
                "InvalidAction",
                format!("Could not find operation {name} for this version"),
            ),
        }
    }

    /// A request that is not properly signed.
    pub(crate) fn unsigned(api: Api, error: &SigV4Error) -> Self {
        let protocol = match api.protocol() {
            Protocol::Json => sigv4::Protocol::Json,
            Protocol::Query => sigv4::Protocol::Query,
        };
        let status = StatusCode::from_u16(error.status(protocol));
        Self::with_status(
            status.unwrap_or(StatusCode::FORBIDDEN),
            error.code(protocol),
            error.to_string(),
        )
    }

    /// A request whose key is nobody's, or cannot be looked up.
    pub(crate) fn unproved(api: Api, error: SignedError) -> Self {
        match error {
            SignedError::Signature(error) => Self::unsigned(api, &error),
            SignedError::Failed(error) => Self::internal_of(api, &error),
        }
    }

    /// The same as [`internal`](Self::internal), with a reason for the log.
    pub(crate) fn internal_of(api: Api, reason: &dyn std::error::Error) -> Self {
        tracing::warn!(reason = %reason, "a request cannot be served");
        Self::internal(api)
    }

    /// The caller may not do that; `sentence` says what.
    pub(crate) fn denied(api: Api, sentence: impl Into<String>) -> Self {
        match api.protocol() {
            Protocol::Json => Self::new("AccessDeniedException", sentence),
            Protocol::Query => Self::with_status(StatusCode::FORBIDDEN, "AccessDenied", sentence),
        }
    }

    /// This node has enough to do.
    pub(crate) fn throttled(api: Api) -> Self {
        match api.protocol() {
            Protocol::Json => Self::new("ThrottlingException", "Rate exceeded"),
            Protocol::Query => Self::new("Throttling", "Rate exceeded"),
        }
    }

    /// An operation that cannot work here, and why.
    pub(crate) fn not_here(api: Api, reason: &str) -> Self {
        let code = match api {
            Api::Ecr => "ValidationException",
            Api::EcrPublic => "UnsupportedCommandException",
            Api::Iam | Api::Sts => "NotImplemented",
        };
        let message = format!("This operation is not supported: {reason}");
        match api.protocol() {
            Protocol::Json => Self::new(code, message),
            Protocol::Query => Self::with_status(StatusCode::NOT_IMPLEMENTED, code, message),
        }
    }

    /// Whether any operation may answer it, though no model lists it.
    pub(crate) fn is_common(&self) -> bool {
        COMMON.contains(&self.code.as_ref())
    }

    /// A body that is no value at all.
    pub(crate) fn serialization(message: impl Into<String>) -> Self {
        Self::new("SerializationException", message)
    }

    /// Values that the model does not allow; there has to be one.
    pub(crate) fn invalid(api: Api, violations: &[Violation]) -> Self {
        let mistyped = violations
            .iter()
            .find(|it| matches!(it.expected, Expected::Type(_)));
        if let (Some(it), Protocol::Json) = (mistyped, api.protocol()) {
            return Self::serialization(format!("{}: {}", it.at, it.expected.constraint()));
        }
        match api.protocol() {
            Protocol::Json => Self::new(
                "InvalidParameterException",
                violations.first().map(of_ecr).unwrap_or_default(),
            ),
            Protocol::Query => Self::new("ValidationError", of_iam(violations)),
        }
    }
}

/// ECR tells of one at a time.
fn of_ecr(violation: &Violation) -> String {
    let at = &violation.at;
    let member = at.rsplit('.').next().unwrap_or_default();
    let constraint = match &violation.expected {
        // These are checked by an older layer of it, which says it so.
        Expected::Pattern(pattern)
            if matches!(member, "repositoryName" | "imageTag" | "registryId") =>
        {
            format!("must satisfy regular expression '{pattern}'")
        }
        expected => expected.constraint(),
    };
    format!("Invalid parameter at '{at}' failed to satisfy constraint: '{constraint}'")
}

/// IAM and STS tell of all.
fn of_iam(violations: &[Violation]) -> String {
    let count = violations.len();
    let plural = if count == 1 { "" } else { "s" };
    let each: Vec<String> = violations
        .iter()
        .map(|violation| {
            let found = match &violation.found {
                Some(found) => format!("'{found}' "),
                None if violation.expected == Expected::Present => "null ".to_owned(),
                None => String::new(),
            };
            let at = lower_first(&violation.at);
            let constraint = violation.expected.constraint();
            format!("Value {found}at '{at}' failed to satisfy constraint: {constraint}")
        })
        .collect();
    format!(
        "{count} validation error{plural} detected: {}",
        each.join("; ")
    )
}

/// Members have capitals in these models, and none in their messages.
fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_lowercase().chain(characters).collect(),
        None => String::new(),
    }
}

// === impl Expected ===

impl Expected {
    /// In AWS's words.
    fn constraint(&self) -> String {
        match self {
            Self::Present => "Member must not be null".to_owned(),
            Self::Type(article) => format!("Member must be {article}"),
            Self::LengthMin(min) => {
                format!("Member must have length greater than or equal to {min}")
            }
            Self::LengthMax(max) => format!("Member must have length less than or equal to {max}"),
            Self::ValueMin(min) => format!("Member must have value greater than or equal to {min}"),
            Self::ValueMax(max) => format!("Member must have value less than or equal to {max}"),
            Self::Pattern(pattern) => {
                format!("Member must satisfy regular expression pattern: {pattern}")
            }
            Self::OneOf(values) => {
                let mut values: Vec<&str> = values.iter().map(String::as_str).collect();
                values.sort_unstable();
                format!(
                    "Member must satisfy enum value set: [{}]",
                    values.join(", ")
                )
            }
            Self::Absent => "Member is not known".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::ApiError;
    use crate::api::Api;
    use crate::model::Models;

    fn message(api: Api, operation: &str, value: &Value) -> String {
        let models = Models::load().unwrap();
        let service = models.service(api);
        let input = service.operation(operation).unwrap().input.unwrap();
        let error = ApiError::invalid(api, &service.violations(input, value));
        format!("{}: {}", error.code, error.message)
    }

    #[test]
    fn a_value_that_the_model_does_not_allow_is_refused_in_the_service_s_words() {
        let invalid = "InvalidParameterException: Invalid parameter at";
        for (operation, value, expected) in [
            (
                "CreateRepository",
                json!({"repositoryName": "Bad_Name!"}),
                r"'repositoryName' failed to satisfy constraint: 'must satisfy regular expression '[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*''",
            ),
            (
                "DescribeRepositories",
                json!({"maxResults": 1001}),
                "'maxResults' failed to satisfy constraint: 'Member must have value less than or equal to 1000'",
            ),
            (
                "CreateRepository",
                json!({"repositoryName": "a0", "tags": [{"Key": "a", "Value": "b"}, {"Key": "c"}]}),
                "'tags.2.member.Value' failed to satisfy constraint: 'Member must not be null'",
            ),
            (
                "PutImageTagMutability",
                json!({"repositoryName": "a0", "imageTagMutability": "invalid"}),
                "'imageTagMutability' failed to satisfy constraint: 'Member must satisfy enum value set: [IMMUTABLE, IMMUTABLE_WITH_EXCLUSION, MUTABLE, MUTABLE_WITH_EXCLUSION]'",
            ),
        ] {
            assert_eq!(
                message(Api::Ecr, operation, &value),
                format!("{invalid} {expected}")
            );
        }
        assert_eq!(
            message(Api::Ecr, "CreateRepository", &json!({"repositoryName": []})),
            "SerializationException: repositoryName: Member must be a string"
        );
    }

    #[test]
    fn iam_tells_of_all_that_is_wrong() {
        let value = json!({"UserName": "a b", "Path": ""});
        assert_eq!(
            message(Api::Iam, "CreateUser", &value),
            "ValidationError: 3 validation errors detected: \
             Value '' at 'path' failed to satisfy constraint: \
             Member must have length greater than or equal to 1; \
             Value '' at 'path' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: \
             (\\u002F)|(\\u002F[\\u0021-\\u007E]+\\u002F); \
             Value 'a b' at 'userName' failed to satisfy constraint: \
             Member must satisfy regular expression pattern: [\\w+=,.@-]+"
        );
    }
}
