//! AWS JSON 1.1: a body is one object, an empty one says nothing.

use serde_json::{Map, Value};

use crate::error::ApiError;

pub(crate) const MEDIA_TYPE: &str = "application/x-amz-json-1.1";

/// Values of one body. The largest input that a model allows has a third of them;
/// each takes up to a hundred times its length in memory.
const VALUES_MAX: usize = 50_000;

/// The value of a request's body.
///
/// # Errors
/// `SerializationException` when it is no JSON, no object, or has too many values.
pub(crate) fn parse(body: &[u8]) -> Result<Value, ApiError> {
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    if has_too_many_values(body) {
        let message = format!("the body has more than {VALUES_MAX} values");
        return Err(ApiError::serialization(message));
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

/// Before any of them is made: each but the first follows a comma or begins a
/// container. What is no JSON may be counted as anything.
fn has_too_many_values(body: &[u8]) -> bool {
    let (mut values, mut in_text, mut is_escaped) = (0, false, false);
    for byte in body {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_text => is_escaped = true,
            b'"' => in_text = !in_text,
            b',' | b'{' | b'[' if !in_text => values += 1,
            _ => {}
        }
    }
    values > VALUES_MAX
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

    use super::{VALUES_MAX, error, parse};
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
    fn a_body_has_a_limited_number_of_values() {
        let of = |item: &str| {
            let items = vec![item; VALUES_MAX - 2].join(",");
            format!(r#"{{"a":[{items}]}}"#)
        };
        assert!(parse(of("1").as_bytes()).is_ok());
        assert!(parse(of(r#""\",,,{[""#).as_bytes()).is_ok());
        for item in ["{}", "[]", r#"{"":0}"#, "1,1", r#""\\",1"#] {
            let refused = parse(of(item).as_bytes()).unwrap_err();
            assert!(refused.message.contains("more than 50000 values"), "{item}");
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
