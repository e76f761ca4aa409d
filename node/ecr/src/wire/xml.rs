//! Answers of AWS Query: XML, written by the model.

use std::fmt::Write as _;

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Iso8601;
use time::format_description::well_known::iso8601::{Config, EncodedConfig, TimePrecision};

use crate::error::ApiError;
use crate::model::{Kind, Operation, Service, ShapeId};

pub(crate) const MEDIA_TYPE: &str = "text/xml";

/// `2026-01-31T12:00:00Z`
const SECONDS: EncodedConfig = Config::DEFAULT
    .set_time_precision(TimePrecision::Second {
        decimal_digits: None,
    })
    .encode();

/// What an operation answers.
pub(crate) fn answer(
    service: &Service,
    operation: &Operation,
    output: &Value,
    request_id: &str,
) -> String {
    let name = &operation.name;
    let mut text = String::with_capacity(512);
    open(&mut text, &format!("{name}Response"), service);
    if let Some(shape) = operation.output {
        let wrapper = operation.result_wrapper.as_deref();
        element(
            &mut text,
            service,
            wrapper.unwrap_or("Result"),
            shape,
            output,
        );
    }
    text.push_str("<ResponseMetadata>");
    leaf(&mut text, "RequestId", request_id);
    let _ = write!(text, "</ResponseMetadata></{name}Response>");
    text
}

/// What a refused request is answered with.
pub(crate) fn error(service: &Service, error: &ApiError, request_id: &str) -> String {
    let mut text = String::with_capacity(512);
    open(&mut text, "ErrorResponse", service);
    text.push_str("<Error>");
    let side = if error.status.is_server_error() {
        "Receiver"
    } else {
        "Sender"
    };
    leaf(&mut text, "Type", side);
    leaf(&mut text, "Code", &error.code);
    leaf(&mut text, "Message", &error.message);
    text.push_str("</Error>");
    leaf(&mut text, "RequestId", request_id);
    text.push_str("</ErrorResponse>");
    text
}

fn open(text: &mut String, name: &str, service: &Service) {
    match &service.xml_namespace {
        Some(namespace) => {
            let _ = write!(text, "<{name} xmlns=\"{namespace}\">");
        }
        None => {
            let _ = write!(text, "<{name}>");
        }
    }
}

fn element(text: &mut String, service: &Service, name: &str, shape: ShapeId, value: &Value) {
    let _ = write!(text, "<{name}>");
    match (&service.shape(shape).kind, value) {
        (Kind::Structure(structure), Value::Object(members)) => {
            for member in &structure.members {
                if let Some(value) = members.get(&member.name).filter(|it| !it.is_null()) {
                    element(text, service, &member.name, member.shape, value);
                }
            }
        }
        (Kind::List { member, .. }, Value::Array(items)) => {
            for item in items {
                element(text, service, "member", *member, item);
            }
        }
        (Kind::Map { value: shape, .. }, Value::Object(entries)) => {
            for (key, value) in entries {
                text.push_str("<entry>");
                leaf(text, "key", key);
                element(text, service, "value", *shape, value);
                text.push_str("</entry>");
            }
        }
        (Kind::Timestamp, Value::Number(seconds)) => {
            escape(text, &date(seconds.as_f64().unwrap_or_default()));
        }
        (_, Value::String(value)) => escape(text, value),
        (_, value) => escape(text, &value.to_string()),
    }
    let _ = write!(text, "</{name}>");
}

fn leaf(text: &mut String, name: &str, value: &str) {
    let _ = write!(text, "<{name}>");
    escape(text, value);
    let _ = write!(text, "</{name}>");
}

/// What XML 1.0 cannot have in any form is left out (section 2.2).
fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            // A parser would read it as a line feed.
            '\r' => text.push_str("&#13;"),
            '\t' | '\n' => text.push(character),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            character => text.push(character),
        }
    }
}

/// Of seconds since 1970. What no calendar has is 1970.
fn date(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds are meant")]
    let at = OffsetDateTime::from_unix_timestamp(seconds as i64);
    at.unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .format(&Iso8601::<SECONDS>)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use serde_json::json;

    use super::{answer, error};
    use crate::api::Api;
    use crate::error::ApiError;
    use crate::model::Models;

    #[test]
    fn an_answer_is_written_as_the_model_has_it() {
        let models = Models::load().unwrap();
        let service = models.service(Api::Iam);
        let operation = service.operation("ListUsers").unwrap();
        let user = json!({"Path": "/", "UserName": "a<b", "UserId": "AIDA", "Arn": "arn",
            "CreateDate": 1_700_000_000.5});
        let output = json!({"Users": [user], "IsTruncated": false});
        assert_eq!(
            answer(service, operation, &output, "id-1"),
            "<ListUsersResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">\
             <ListUsersResult><IsTruncated>false</IsTruncated><Users><member>\
             <Arn>arn</Arn><CreateDate>2023-11-14T22:13:20Z</CreateDate><Path>/</Path>\
             <UserId>AIDA</UserId><UserName>a&lt;b</UserName></member></Users>\
             </ListUsersResult><ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata>\
             </ListUsersResponse>"
        );
    }

    #[test]
    fn an_operation_without_output_has_no_result() {
        let models = Models::load().unwrap();
        let service = models.service(Api::Iam);
        let operation = service.operation("DeleteUser").unwrap();
        assert_eq!(
            answer(service, operation, &json!({}), "id-1"),
            "<DeleteUserResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">\
             <ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></DeleteUserResponse>"
        );
    }

    #[test]
    fn an_error_says_whose_it_is() {
        let models = Models::load().unwrap();
        let refused =
            ApiError::with_status(StatusCode::NOT_FOUND, "NoSuchEntity", "no \u{1}& none");
        assert_eq!(
            error(models.service(Api::Sts), &refused, "id-1"),
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>\
             <Type>Sender</Type><Code>NoSuchEntity</Code><Message>no &amp; none</Message></Error>\
             <RequestId>id-1</RequestId></ErrorResponse>"
        );
    }
}
