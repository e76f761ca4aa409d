//! ECR's `GetAuthorizationToken`, signed (AWS Signature Version 4), over HTTP.
//!
//! No redirection is followed: the signature is for the registry alone.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use entrepot_oci::RegionName;
use rustls::crypto::ring;
use ureq::Agent;
use ureq::tls::TlsConfig;

use crate::authorities;
use crate::failure::Failure;
use crate::key::AccessKey;
use crate::server::{Scheme, Server};

const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
const SERVICE: &str = "ecr";

/// Names no registry: the caller's own is meant.
const BODY: &[u8] = b"{}";

/// A token has some three kilobytes.
const ANSWER_BYTES_MAX: u64 = 256 * 1024;

/// Names and values.
type Headers = Vec<(String, String)>;

/// What a server answered with.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Asks `server` for a token for the user whose key it is.
pub(crate) fn send(
    server: &Server,
    region: &RegionName,
    key: &AccessKey,
    timeout: Duration,
) -> Result<Answer, Failure> {
    let schemes = server.schemes();
    let mut answer = send_by(schemes[0], server, region, key, timeout);
    for scheme in &schemes[1..] {
        if !answer.as_ref().is_err_and(Failure::may_speak_no_tls) {
            break;
        }
        answer = send_by(*scheme, server, region, key, timeout);
    }
    answer
}

fn send_by(
    scheme: Scheme,
    server: &Server,
    region: &RegionName,
    key: &AccessKey,
    timeout: Duration,
) -> Result<Answer, Failure> {
    let url = server.url(scheme);
    let agent = agent(scheme, server, timeout)?;
    let mut request = agent.post(&url);
    for (name, value) in headers(&url, server, region, key)? {
        request = request.header(name, value);
    }
    let asked = request.send(BODY).and_then(|mut response| {
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let body = body.read_to_vec()?;
        Ok(Answer { status, body })
    });
    asked.map_err(|error| Failure::from_request(&error, server, timeout))
}

/// All headers of the request, its signature among them.
fn headers(
    url: &str,
    server: &Server,
    region: &RegionName,
    key: &AccessKey,
) -> Result<Headers, Failure> {
    let authority = server.authority();
    let own = [
        ("host", authority.as_str()),
        ("content-type", CONTENT_TYPE),
        ("x-amz-target", TARGET),
    ];
    let unsigned = |_| Failure::Unsigned;
    let identity = key.credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region.as_str())
        .name(SERVICE)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| Failure::Unsigned)?
        .into();
    let body = SignableBody::Bytes(BODY);
    let request = SignableRequest::new("POST", url, own.into_iter(), body).map_err(unsigned)?;
    let (added, _) = sign(request, &params).map_err(unsigned)?.into_parts();
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Ok(own.into_iter().chain(added.headers()).map(owned).collect())
}

fn agent(scheme: Scheme, server: &Server, timeout: Duration) -> Result<Agent, Failure> {
    let mut config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!(
            "docker-credential-entrepot/",
            env!("CARGO_PKG_VERSION")
        ));
    if server.is_loopback() {
        // A proxy, which the environment may name, has another localhost.
        config = config.proxy(None);
    }
    if scheme == Scheme::Https {
        let tls = TlsConfig::builder()
            .root_certs(authorities::read()?)
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()));
        config = config.tls_config(tls.build());
    }
    Ok(config.build().new_agent())
}
