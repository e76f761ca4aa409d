//! Conditions of a GET: which part of the content is wanted, and whether the
//! client has it already (RFC 9110, 13 and 14).
//!
//! Content is named by its digest and never changes, so the digest is its
//! strong entity tag. A header that cannot be understood is ignored, as the RFC
//! wants it: the whole content is always a right answer.

use std::ops::Range;

use axum::http::HeaderMap;
use axum::http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};
use entrepot_oci::{Digest, RangeHeader};

use crate::error::RequestError;

/// What a GET asks for besides the content itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    range: Option<RangeHeader>,
    /// `If-Range`: the range is meant only if this is still the content.
    if_range: Option<String>,
    /// `If-None-Match`, every line of it.
    none_match: Vec<String>,
}

// === impl Conditions ===

impl Conditions {
    pub(crate) fn parse(headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            range: text(RANGE).and_then(|value| value.parse().ok()),
            if_range: text(IF_RANGE).map(str::to_owned),
            none_match: headers
                .get_all(IF_NONE_MATCH)
                .into_iter()
                .filter_map(|value| value.to_str().ok().map(str::to_owned))
                .collect(),
        }
    }

    /// Whether the client has the content of `digest` already: 304 then.
    pub(crate) fn has(&self, digest: &Digest) -> bool {
        let wanted = entity_tag(digest);
        self.none_match
            .iter()
            .flat_map(|line| line.split(','))
            .map(str::trim)
            .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == wanted)
    }

    /// Whether a part may be wanted, which takes the size to tell.
    pub(crate) fn wants_part(&self, digest: &Digest) -> bool {
        self.range.is_some()
            && self
                .if_range
                .as_ref()
                .is_none_or(|tag| *tag == entity_tag(digest))
    }

    /// The bytes wanted of content of `size` bytes; none: all of them.
    ///
    /// # Errors
    /// [`RequestError::RangeNotSatisfiable`] when the content has no such bytes.
    pub(crate) fn part(
        &self,
        digest: &Digest,
        size: u64,
    ) -> Result<Option<Range<u64>>, RequestError> {
        match self.range {
            Some(range) if self.wants_part(digest) => range
                .resolve(size)
                .map(Some)
                .map_err(|_| RequestError::RangeNotSatisfiable { size }),
            _ => Ok(None),
        }
    }
}

/// The strong entity tag of content: its digest, quoted.
pub(crate) fn entity_tag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};
    use entrepot_oci::{Algorithm, Digest};

    use super::{Conditions, entity_tag};
    use crate::error::RequestError;

    fn digest() -> Digest {
        Digest::of(Algorithm::Sha256, b"content")
    }

    fn conditions(headers: &[(&'static str, &str)]) -> Conditions {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        Conditions::parse(&headers)
    }

    #[test]
    fn ranges_are_resolved_against_the_size() {
        let cases = [
            ("bytes=0-0", 10, Ok(Some(0..1))),
            ("bytes=2-4", 10, Ok(Some(2..5))),
            ("bytes=2-99", 10, Ok(Some(2..10))),
            ("bytes=7-", 10, Ok(Some(7..10))),
            ("bytes=-3", 10, Ok(Some(7..10))),
            ("bytes=-99", 10, Ok(Some(0..10))),
            ("bytes=10-", 10, Err(10)),
            ("bytes=-0", 10, Err(10)),
            ("bytes=0-", 0, Err(0)),
            // Not understood, therefore ignored.
            ("bytes=4-2", 10, Ok(None)),
            ("bytes=0-1,4-5", 10, Ok(None)),
            ("lines=0-1", 10, Ok(None)),
            ("nonsense", 10, Ok(None)),
        ];
        for (header, size, expected) in cases {
            let part = conditions(&[("range", header)]).part(&digest(), size);
            let part = part.map_err(|error| match error {
                RequestError::RangeNotSatisfiable { size } => size,
                other => panic!("{header}: {other}"),
            });
            assert_eq!(part, expected, "{header} of {size}");
        }
    }

    #[test]
    fn if_range_of_other_content_means_everything() {
        let own = entity_tag(&digest());
        let same = conditions(&[("range", "bytes=1-2"), ("if-range", &own)]);
        let other = conditions(&[("range", "bytes=1-2"), ("if-range", "\"sha256:0\"")]);
        assert_eq!(same.part(&digest(), 9).unwrap(), Some(1..3));
        assert_eq!(other.part(&digest(), 9).unwrap(), None);
    }

    #[test]
    fn a_client_that_has_the_content_is_recognised() {
        let own = entity_tag(&digest());
        let cases = [
            (own.clone(), true),
            (format!("W/{own}"), true),
            (format!("\"x\", {own}"), true),
            ("*".to_owned(), true),
            ("\"x\"".to_owned(), false),
            (digest().to_string(), false),
        ];
        for (header, expected) in cases {
            assert_eq!(
                conditions(&[("if-none-match", &header)]).has(&digest()),
                expected,
                "{header}"
            );
        }
        assert!(!conditions(&[]).has(&digest()));
    }
}
