//! The services that this front end speaks, and which operation of which of
//! them a request is for.
//!
//! Must never look at a body that is not a form: JSON says it all in the head.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, Method};

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const FORM: &str = "application/x-www-form-urlencoded";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Api {
    Ecr = 0,
    EcrPublic = 1,
    Iam = 2,
    Sts = 3,
}

/// The form in which a service is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// AWS JSON 1.1: one path, the operation in a header.
    Json,
    /// AWS Query: forms in, XML out.
    Query,
}

/// What the head of a request says that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `X-Amz-Target` names both.
    Json { api: Api, operation: String },
    /// `X-Amz-Target` names a service that is none of these, or is no text.
    JsonUnknown,
    /// The operation is in the form: the query's, or the body's.
    Query,
}

// === impl Api ===

impl Api {
    pub(crate) const ALL: [Self; 4] = [Self::Ecr, Self::EcrPublic, Self::Iam, Self::Sts];

    /// As requests are signed for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ecr => "ecr",
            Self::EcrPublic => "ecr-public",
            Self::Iam => "iam",
            Self::Sts => "sts",
        }
    }

    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Ecr | Self::EcrPublic => Protocol::Json,
            Self::Iam | Self::Sts => Protocol::Query,
        }
    }

    pub(crate) fn model(self) -> &'static str {
        match self {
            Self::Ecr => include_str!("../model/ecr.json"),
            Self::EcrPublic => include_str!("../model/ecr-public.json"),
            Self::Iam => include_str!("../model/iam.json"),
            Self::Sts => include_str!("../model/sts.json"),
        }
    }

    fn of_target(prefix: &str) -> Option<Self> {
        match prefix {
            "AmazonEC2ContainerRegistry_V20150921" => Some(Self::Ecr),
            "SpencerFrontendService" => Some(Self::EcrPublic),
            _ => None,
        }
    }

    /// By the version that a form names: each service has one.
    pub(crate) fn of_version(version: &str) -> Option<Self> {
        match version {
            "2010-05-08" => Some(Self::Iam),
            "2011-06-15" => Some(Self::Sts),
            _ => None,
        }
    }
}

// === impl Target ===

impl Target {
    /// What a request is for; none: for another front end.
    pub(crate) fn of(
        method: &Method,
        path: &str,
        query: Option<&str>,
        headers: &HeaderMap,
    ) -> Option<Self> {
        if path != "/" && !path.is_empty() {
            return None;
        }
        if method == Method::GET {
            let names_action = |query: &str| {
                form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "Action")
            };
            return query.is_some_and(names_action).then_some(Self::Query);
        }
        if method != Method::POST {
            return None;
        }
        let mut targets = headers.get_all(TARGET).iter();
        match (targets.next(), targets.next()) {
            (None, _) => is_form(headers).then_some(Self::Query),
            (Some(target), None) => {
                let named = target.to_str().ok().and_then(|text| text.split_once('.'));
                let known = named.and_then(|(prefix, operation)| {
                    let api = Api::of_target(prefix)?;
                    let operation = operation.to_owned();
                    Some(Self::Json { api, operation })
                });
                Some(known.unwrap_or(Self::JsonUnknown))
            }
            (Some(_), Some(_)) => Some(Self::JsonUnknown),
        }
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let media_type = value.map(|value| value.split(';').next().unwrap_or_default().trim());
    media_type.is_some_and(|it| it.eq_ignore_ascii_case(FORM))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, Method};

    use super::{Api, Target};

    fn target(method: &Method, path: &str, headers: &[(&'static str, &str)]) -> Option<Target> {
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Target::of(method, path, query, &map)
    }

    fn json(api: Api, operation: &str) -> Target {
        let operation = operation.to_owned();
        Target::Json { api, operation }
    }

    #[test]
    fn the_head_says_what_a_request_is_for() {
        let ecr = "AmazonEC2ContainerRegistry_V20150921.ListImages";
        let public = "SpencerFrontendService.PutImage";
        let form = (
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        );
        let post = &Method::POST;
        for (found, expected) in [
            (
                target(post, "/", &[("x-amz-target", ecr)]),
                Some(json(Api::Ecr, "ListImages")),
            ),
            (
                target(post, "/", &[("x-amz-target", public)]),
                Some(json(Api::EcrPublic, "PutImage")),
            ),
            (
                target(post, "/", &[("x-amz-target", "DynamoDB_20120810.PutItem")]),
                Some(Target::JsonUnknown),
            ),
            (
                target(
                    post,
                    "/",
                    &[("x-amz-target", ecr), ("x-amz-target", public)],
                ),
                Some(Target::JsonUnknown),
            ),
            (target(post, "/", &[form]), Some(Target::Query)),
            (
                target(
                    &Method::GET,
                    "/?Version=2011-06-15&Action=GetCallerIdentity",
                    &[],
                ),
                Some(Target::Query),
            ),
            (target(&Method::GET, "/", &[]), None),
            (target(post, "/v2/", &[form]), None),
            (target(&Method::PUT, "/", &[form]), None),
        ] {
            assert_eq!(found, expected);
        }
    }
}
