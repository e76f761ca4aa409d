//! Several documents as one, for what has room for one alone.

use serde_json::{Map, Value, json};

use super::document::Version;

const STATEMENT: &str = "Statement";

/// One document that says what all of `documents` say, without blanks. Each of
/// them was parsed before, with the version that stands beside it.
///
/// None: they cannot be one. A `${` means something else in each version.
pub fn combined(documents: &[(&str, Version)]) -> Option<String> {
    let is_old = |version: Version| version == Version::V2008;
    let all_old = documents.iter().all(|(_, version)| is_old(*version));
    let mut statements = Vec::new();
    for (text, version) in documents {
        if !all_old && is_old(*version) && text.contains("${") {
            return None;
        }
        let mut document: Map<String, Value> = serde_json::from_str(text).ok()?;
        match document.remove(STATEMENT)? {
            Value::Array(several) => statements.extend(several),
            one => statements.push(one),
        }
    }
    // Each had names of its own, which need not differ.
    for statement in &mut statements {
        statement.as_object_mut()?.remove("Sid");
    }
    let version = if all_old { "2008-10-17" } else { "2012-10-17" };
    Some(json!({ "Version": version, STATEMENT: statements }).to_string())
}

#[cfg(test)]
mod tests {
    use super::combined;
    use crate::policy::{Document, DocumentKind, Version};

    const OLD: &str = r#"{"Statement": {"Sid": "a", "Effect": "Allow", "Action": "ecr:GetX",
        "Resource": "*"}}"#;
    const NEW: &str = r#"{"Version": "2012-10-17", "Statement": [{"Sid": "a", "Effect": "Deny",
        "Action": "ecr:PutX", "Resource": "*"}, {"Sid": "b", "Effect": "Allow", "Action": "ecr:*",
        "Resource": "*"}]}"#;

    #[test]
    fn all_statements_are_in_one_document() {
        let both = [(OLD, Version::V2008), (NEW, Version::V2012)];
        let text = combined(&both).unwrap();
        let document = Document::parse(&text, DocumentKind::Session).unwrap();
        assert_eq!(document.version(), Version::V2012);
        assert_eq!(document.statements().len(), 3);
        let old = combined(&both[..1]).unwrap();
        let old = Document::parse(&old, DocumentKind::Session).unwrap();
        assert_eq!(old.version(), Version::V2008);
    }

    #[test]
    fn what_would_mean_something_else_is_no_document() {
        let literal = OLD.replace("\"*\"", "\"arn:aws:ecr:::${aws:username}\"");
        let documents = [(literal.as_str(), Version::V2008), (NEW, Version::V2012)];
        assert_eq!(combined(&documents), None);
        assert!(combined(&documents[..1]).is_some());
        assert_eq!(combined(&[("[]", Version::V2012)]), None);
    }
}
