//! JSON as policies are written in it: in the order of the text, and with no
//! member twice. Of two members with one name, readers disagree which one counts;
//! a policy that says two things says none.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// As written; a policy's numbers are compared, never calculated with.
    Number(serde_json::Number),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Reads one value that takes all of `text`; nesting is bounded by `serde_json`.
pub(super) fn parse(text: &str) -> Option<Json> {
    serde_json::from_str(text).ok()
}

/// `text`, which is JSON, without the blanks between its signs: what quotas count,
/// and what a token carries.
pub fn without_blanks(text: &str) -> String {
    let (mut is_text, mut is_escaped) = (false, false);
    let is_kept = |character: &char| {
        let was_text = is_text;
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = is_text,
            '"' => is_text = !is_text,
            _ => {}
        }
        was_text || !character.is_ascii_whitespace()
    };
    text.chars().filter(is_kept).collect()
}

// === impl Json ===

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        serde_json::Number::from_f64(value)
            .map(Json::Number)
            .ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Json::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut names = HashSet::new();
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom("a member twice"));
            }
            members.push((name, map.next_value()?));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{Json, parse, without_blanks};

    #[test]
    fn keeps_order_and_kinds() {
        let value = parse(r#"{"b": [1, "x", true, null], "a": {}}"#);
        let list = vec![
            Json::Number(1.into()),
            Json::Text("x".to_owned()),
            Json::Bool(true),
            Json::Null,
        ];
        let members = vec![
            ("b".to_owned(), Json::List(list)),
            ("a".to_owned(), Json::Object(Vec::new())),
        ];
        assert_eq!(value, Some(Json::Object(members)));
    }

    #[test]
    fn refuses_what_says_two_things_or_none() {
        let deep = "[".repeat(100_000);
        for text in [
            r#"{"a": 1, "a": 2}"#,
            r#"{"a": 1, "\u0061": 2}"#,
            r#"{"a": 1} x"#,
            r#"{"a": 1e999}"#,
            "",
            &deep,
        ] {
            assert_eq!(parse(text), None);
        }
    }

    #[test]
    fn blanks_go_where_they_mean_nothing() {
        let text = "{ \"a b\" :\t[ \"\\\" c\" , 1 ],\r\n \"d\\\\\": \"e f\" }";
        let short = "{\"a b\":[\"\\\" c\",1],\"d\\\\\":\"e f\"}";
        assert_eq!(without_blanks(text), short);
        assert_eq!(parse(text), parse(short));
    }

    proptest! {
        #[test]
        fn without_blanks_it_is_the_same_value(text in "[ \\[\\]{},:\"\\\\ab1]{0,24}") {
            if let Some(value) = parse(&text) {
                let short = without_blanks(&text);
                prop_assert!(short.len() <= text.len());
                prop_assert_eq!(parse(&short), Some(value));
            }
        }
    }
}
