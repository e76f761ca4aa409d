//! Conditions of a GET: which part of the content is wanted, and whether the
//! client has it already (RFC 9110, 13 and 14).
//!
//! Content is named by its digest and never changes, so the digest is its
//! strong entity tag. A `Range` is answered with a part where the RFC leaves no
//! choice, and where it does:
//!
//! - one that ends before it begins is refused (416), as the next conformance
//!   suite has it; the RFC allows that and to ignore it;
//! - several ranges at once are ignored: the whole content is always a right
//!   answer, which lazily pulling clients take, while they take a refusal for a
//!   failure, and 416 would say that bytes are missing that are not;
//! - of empty content any range is ignored: no `Content-Range` could name the
//!   part, and clients that pull in parallel ask for `bytes=0-` before they know
//!   the size;
//! - what cannot be read, and other units, are ignored; so are two lines.
//!
//! `If-Modified-Since` and its like are ignored: there is no date to hold them
//! against.

use std::ops::Range;

use axum::http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use axum::http::{HeaderMap, Method};
use entrepot_oci::{Digest, RangeError, RangeHeader};

use crate::entity_tag::{EntityTags, entity_tag};
use crate::error::RequestError;

/// What a GET or HEAD asks for besides the content itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    only_if: Option<EntityTags>,
    unless: Option<EntityTags>,
    range: Wanted,
    /// The range is meant only if this is still the content.
    if_range: Option<String>,
    /// A GET: the content itself is wanted.
    is_get: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wanted {
    #[default]
    Everything,
    Part(RangeHeader),
    /// A range that ends before it begins.
    Nothing,
}

// === impl Conditions ===

impl Conditions {
    pub(crate) fn parse(method: &Method, headers: &HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        // A range is defined for GET alone (RFC 9110, 14.2).
        let range = match *method {
            Method::GET if headers.get_all(RANGE).iter().count() > 1 => Wanted::Everything,
            Method::GET => text(RANGE).map_or(Wanted::Everything, Wanted::parse),
            _ => Wanted::Everything,
        };
        Self {
            only_if: EntityTags::parse(headers, &IF_MATCH),
            unless: EntityTags::parse(headers, &IF_NONE_MATCH),
            range,
            if_range: text(IF_RANGE).map(str::to_owned),
            is_get: *method == Method::GET,
        }
    }

    pub(crate) fn are_of_a_get(&self) -> bool {
        self.is_get
    }

    /// Whether there are any, so that something has to be known of the content
    /// before it is opened.
    pub(crate) fn are_any(&self) -> bool {
        self.only_if.is_some() || self.unless.is_some() || self.range != Wanted::Everything
    }

    /// Whether the client has the content of `digest` already: 304 then.
    ///
    /// # Errors
    /// [`RequestError::NotThatContent`] when it wants other content or none.
    pub(crate) fn has(&self, digest: &Digest) -> Result<bool, RequestError> {
        let excluded = |tags: &EntityTags| !tags.name_strongly(digest);
        if self.only_if.as_ref().is_some_and(excluded) {
            return Err(RequestError::NotThatContent);
        }
        Ok(self.unless.as_ref().is_some_and(|tags| tags.name(digest)))
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
        let is_own = |tag: &String| *tag == entity_tag(digest);
        let meant = self.if_range.as_ref().is_none_or(is_own);
        match self.range {
            _ if size == 0 || !meant => Ok(None),
            Wanted::Everything => Ok(None),
            Wanted::Part(range) => range
                .resolve(size)
                .map(Some)
                .map_err(|_| RequestError::RangeNotSatisfiable { size }),
            Wanted::Nothing => Err(RequestError::RangeNotSatisfiable { size }),
        }
    }
}

// === impl Wanted ===

impl Wanted {
    fn parse(header: &str) -> Self {
        match header.parse() {
            Ok(range) => Self::Part(range),
            Err(RangeError::Backwards { .. }) => Self::Nothing,
            Err(_) => Self::Everything,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
    use entrepot_oci::{Algorithm, Digest};

    use super::{Conditions, entity_tag};
    use crate::error::RequestError;

    fn digest() -> Digest {
        Digest::of(Algorithm::Sha256, b"content")
    }

    fn of(method: &Method, headers: &[(&'static str, &str)]) -> Conditions {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        Conditions::parse(method, &headers)
    }

    fn conditions(headers: &[(&'static str, &str)]) -> Conditions {
        of(&Method::GET, headers)
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
            ("bytes=4-2", 10, Err(10)),
            // Of nothing, everything.
            ("bytes=0-", 0, Ok(None)),
            ("bytes=-5", 0, Ok(None)),
            ("bytes=5-9", 0, Ok(None)),
            ("bytes=4-2", 0, Ok(None)),
            // Ignored.
            ("bytes=0-1,4-5", 10, Ok(None)),
            ("bytes=4-2,4-5", 10, Ok(None)),
            ("bytes=99-,-0", 10, Ok(None)),
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
    fn of_two_ranges_none_counts() {
        let twice = [("range", "bytes=0-1"), ("range", "bytes=4-5")];
        let mut headers = HeaderMap::new();
        for (name, value) in twice {
            headers.append(name, HeaderValue::from_static(value));
        }
        let found = Conditions::parse(&Method::GET, &headers);
        assert_eq!(found.part(&digest(), 10).unwrap(), None);
    }

    #[test]
    fn a_range_is_for_get_alone() {
        let head = of(&Method::HEAD, &[("range", "bytes=0-1")]);
        assert_eq!(head, Conditions::default());
        assert!(!head.are_any());
        assert!(conditions(&[("range", "bytes=0-1")]).are_any());
    }

    #[test]
    fn if_range_of_other_content_means_everything() {
        let own = entity_tag(&digest());
        let part = |range, if_range: &str| {
            let headers = [("range", range), ("if-range", if_range)];
            conditions(&headers).part(&digest(), 9).unwrap()
        };
        assert_eq!(part("bytes=1-2", &own), Some(1..3));
        for other in [
            "\"sha256:0\"",
            &format!("W/{own}"),
            "Wed, 21 Oct 2015 07:28:00 GMT",
        ] {
            assert_eq!(part("bytes=1-2", other), None, "{other}");
            assert_eq!(part("bytes=2-1", other), None, "{other}");
            assert_eq!(part("bytes=99-", other), None, "{other}");
        }
    }

    #[test]
    fn a_client_that_has_the_content_is_recognised() {
        let own = entity_tag(&digest());
        let has = |header: &str| conditions(&[("if-none-match", header)]).has(&digest());
        for header in [&own, &format!("W/{own}"), &format!("\"x\", {own}"), "*"] {
            assert!(has(header).unwrap(), "{header}");
        }
        assert!(!has("\"x\"").unwrap());
        assert!(!conditions(&[]).has(&digest()).unwrap());
        let head = of(&Method::HEAD, &[("if-none-match", &own)]);
        assert!(head.has(&digest()).unwrap() && head.are_any());
        assert!(conditions(&[]).are_of_a_get() && !head.are_of_a_get());
    }

    #[test]
    fn who_wants_other_content_gets_none() {
        let own = entity_tag(&digest());
        let has = |headers: &[(&'static str, &str)]| conditions(headers).has(&digest());
        assert!(!has(&[("if-match", &own)]).unwrap());
        assert!(!has(&[("if-match", "*")]).unwrap());
        for other in ["\"x\"", &format!("W/{own}"), "nonsense"] {
            let refused = has(&[("if-match", other), ("if-none-match", &own)]);
            assert!(
                matches!(refused, Err(RequestError::NotThatContent)),
                "{other}"
            );
        }
        // The one that is met leaves the other to be looked at.
        assert!(has(&[("if-match", "*"), ("if-none-match", &own)]).unwrap());
    }
}
