//! A raw OCI client: requests as the test writes them, answers with status,
//! headers and body, and errors that show the whole exchange.
//!
//! It follows no redirect, retries nothing and hides nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Body, Method};
use serde_json::Value;

use crate::authority::Authority;
use crate::tunnel::Tunnel;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// No byte for this long: the node hangs.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
const SHOWN_BODY_BYTES_MAX: usize = 2_000;

/// A registry at one address, with one identity.
#[derive(Debug, Clone)]
pub struct Registry {
    base: String,
    credentials: Option<(String, String)>,
    /// What requests say in `Host`, if that is not the address.
    host: Option<String>,
    http: reqwest::Client,
    /// Held, never read.
    tunnel: Option<Arc<Tunnel>>,
}

/// A client to be made, of the library that every test uses.
pub fn http_client() -> reqwest::ClientBuilder {
    // It wants a library for TLS, which nothing here speaks through it. Another
    // one may have been installed before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
}

impl Registry {
    /// `base` as `http://host:port`.
    pub fn new(base: impl Into<String>, credentials: Option<(&str, &str)>) -> Result<Self> {
        let http = http_client()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("make an HTTP client")?;
        Ok(Self {
            base: base.into(),
            credentials: credentials.map(|(user, password)| (user.into(), password.into())),
            host: None,
            http,
            tunnel: None,
        })
    }

    /// A node that speaks TLS with a certificate of `authority`.
    pub fn new_tls(
        node: SocketAddr,
        credentials: Option<(&str, &str)>,
        authority: &Authority,
    ) -> Result<Self> {
        let tunnel = Tunnel::open(node, authority)?;
        let mut registry = Self::new(format!("http://{}", tunnel.address()), credentials)?;
        registry.tunnel = Some(Arc::new(tunnel));
        Ok(registry)
    }

    /// The same registry for somebody else.
    #[must_use]
    pub fn with_credentials(&self, credentials: Option<(&str, &str)>) -> Self {
        let mut other = self.clone();
        other.credentials = credentials.map(|(user, password)| (user.into(), password.into()));
        other
    }

    /// The same address, asked as another host.
    #[must_use]
    pub fn with_host(&self, host: &str) -> Self {
        let mut other = self.clone();
        other.host = Some(host.to_owned());
        other
    }

    /// `host:port`, as clients write it before a repository's name.
    pub fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    pub fn head(&self, path: &str) -> Request {
        self.request(Method::HEAD, path)
    }

    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }

    pub fn put(&self, path: &str) -> Request {
        self.request(Method::PUT, path)
    }

    pub fn patch(&self, path: &str) -> Request {
        self.request(Method::PATCH, path)
    }

    pub fn delete(&self, path: &str) -> Request {
        self.request(Method::DELETE, path)
    }

    /// `path` starts with a slash.
    pub fn request(&self, method: Method, path: &str) -> Request {
        let what = format!("{method} {}{path}", self.base);
        let mut inner = self.http.request(method, format!("{}{path}", self.base));
        if let Some((user, password)) = &self.credentials {
            inner = inner.basic_auth(user, Some(password));
        }
        if let Some(host) = &self.host {
            inner = inner.header("host", host);
        }
        Request { inner, what }
    }
}

/// A request that has not been sent yet.
#[derive(Debug)]
pub struct Request {
    inner: reqwest::RequestBuilder,
    what: String,
}

impl Request {
    #[must_use]
    pub fn header(mut self, name: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.inner = self.inner.header(name, value.to_string());
        self
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.inner = self.inner.body(body);
        self
    }

    /// Sends it and reads the whole answer.
    pub async fn send(self) -> Result<Reply> {
        let response = self.inner.send().await;
        let response = response.with_context(|| self.what.clone())?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let body = response.bytes().await;
        let body = body.with_context(|| format!("{}: read the body after {status}", self.what))?;
        Ok(Reply {
            what: self.what,
            status,
            headers,
            body,
        })
    }

    /// Sends it and gives the answer's body as it comes.
    ///
    /// # Errors
    /// When the status is another than `status`.
    pub async fn stream(self, status: u16) -> Result<reqwest::Response> {
        let response = self.inner.send().await;
        let response = response.with_context(|| self.what.clone())?;
        ensure!(
            response.status().as_u16() == status,
            "{}: expected {status}, got {}",
            self.what,
            response.status()
        );
        Ok(response)
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Method and URL, for messages.
    pub what: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// # Errors
    /// When the status is another; shows the whole answer.
    pub fn expect(self, status: u16) -> Result<Self> {
        ensure!(
            self.status == status,
            "{}: expected status {status}, got {}",
            self.what,
            self.describe()
        );
        Ok(self)
    }

    /// Expects an OCI error body: `{"errors": [{"code", "message", "detail"}]}`
    /// with `code` first. (OCI distribution, "Error Codes")
    pub fn expect_error(self, status: u16, code: &str) -> Result<Self> {
        let reply = self.expect(status)?;
        let error = reply.first_error()?;
        ensure!(
            error["code"] == code,
            "{}: expected error code {code}, got {}",
            reply.what,
            reply.describe()
        );
        let message = error["message"].as_str().unwrap_or_default();
        ensure!(
            !message.is_empty() && message.lines().count() == 1,
            "{}: the error has no one-line message: {}",
            reply.what,
            reply.describe()
        );
        Ok(reply)
    }

    /// The first entry of an OCI error body.
    pub fn first_error(&self) -> Result<Value> {
        let body = self.json()?;
        let error = body["errors"].get(0).cloned();
        error.with_context(|| format!("{}: no OCI error body: {}", self.what, self.describe()))
    }

    /// # Errors
    /// When the header is missing or no text.
    pub fn header(&self, name: &str) -> Result<&str> {
        let value = self.headers.get(name);
        let value = value.and_then(|value| value.to_str().ok());
        value.with_context(|| format!("{}: no header {name}: {}", self.what, self.describe()))
    }

    /// # Errors
    /// When the header is missing or has another value.
    pub fn expect_header(self, name: &str, expected: &str) -> Result<Self> {
        let value = self.header(name)?;
        ensure!(
            value == expected,
            "{}: expected {name}: {expected}, got {value}",
            self.what
        );
        Ok(self)
    }

    /// The path (and query) of the `Location` header, which may be absolute or
    /// relative to the host.
    pub fn location(&self) -> Result<String> {
        let location = self.header("location")?;
        let path = match location.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("/", |start| &rest[start..]),
            None => location,
        };
        ensure!(path.starts_with('/'), "{}: Location: {location}", self.what);
        Ok(path.to_owned())
    }

    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{}: no JSON: {}", self.what, self.describe()))
    }

    fn describe(&self) -> String {
        let shown = &self.body[..self.body.len().min(SHOWN_BODY_BYTES_MAX)];
        let shown = match std::str::from_utf8(shown) {
            Ok(text) => text.to_owned(),
            Err(_) => format!("({} bytes that are no text)", self.body.len()),
        };
        format!("{} {:?}\n{shown}", self.status, self.headers)
    }
}
