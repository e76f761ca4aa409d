//! AWS JSON 1.1: a body is one object, an empty one says nothing.

use serde_json::{Map, Value};

use crate::error::ApiError;

pub(crate) const MEDIA_TYPE: &str = "application/x-amz-json-1.1";

/// The value of a request's body.
///
/// # Errors
/// `SerializationException` when it is no JSON, or no object.
pub(crate) fn parse(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    // Depth is limited by the library, to 128.
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(ApiError::serialization("the body must be one JSON object")),
        Err(error) => Err(ApiError::serialization(format!(
            "the body is not JSON: line {}, column {}",
            error.line(),
            error.column()
        ))),
    }
}

/// As JSON 1.1 has times: seconds since 1970.
#[expect(clippy::cast_precision_loss, reason = "exact for 285,000 years")]
pub(crate) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// The body of an error.
pub(crate) fn error(error: &ApiError) -> Value {
    let mut members = error.details.clone();
    members.insert("__type".to_owned(), error.code.as_ref().into());
    members.insert("message".to_owned(), error.message.as_str().into());
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{error, parse};
    use crate::error::ApiError;

    #[test]
    fn a_body_is_one_object_or_nothing() {
        assert_eq!(parse(b"").unwrap(), json!({}));
        assert_eq!(parse(br#"{"a": [1]}"#).unwrap(), json!({"a": [1]}));
        let deep = [b"{\"a\":".repeat(200), b"1".to_vec(), b"}".repeat(200)].concat();
        for body in [&b"[]"[..], b"null", b"{", b"{} {}", b"\xff", &deep] {
            assert_eq!(parse(body).unwrap_err().code, "SerializationException");
        }
    }

    #[test]
    fn an_error_names_its_code_and_has_its_members() {
        let found = error(
            &ApiError::new("InvalidLayerPartException", "no")
                .with_detail("lastValidByteReceived", 7),
        );
        let expected = json!({"__type": "InvalidLayerPartException", "message": "no", "lastValidByteReceived": 7});
        assert_eq!(found, expected);
    }
}
