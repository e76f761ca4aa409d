//! A client's requests over the simulated network: one connection each.

use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;

use crate::machine::{self, PASSWORD, USER};
use crate::net::{self, CLIENT_PORT};

/// For an answer; what takes longer is unknown.
const DEADLINE: Duration = Duration::from_secs(6);

/// What a client asks of a node.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

// === impl Ask ===

impl Ask {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            content_type: "application/octet-stream",
            body: Bytes::new(),
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn with(self, content_type: &'static str, body: Bytes) -> Self {
        Self {
            content_type,
            body,
            ..self
        }
    }

    /// Asks a node. Without an answer, it may have done it or not.
    pub(crate) async fn of(self, node: u64) -> anyhow::Result<Answer> {
        let asked = tokio::time::timeout(DEADLINE, self.asked(node)).await;
        asked.context("no answer in time")?
    }

    async fn asked(self, node: u64) -> anyhow::Result<Answer> {
        let host = format!("{}:{CLIENT_PORT}", machine::name(node));
        let stream = TokioIo::new(net::connect(&host).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let connection = tokio::spawn(connection);
        let credentials = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let request = Request::builder()
            .method(self.method)
            .uri(self.path)
            .header(header::HOST, host)
            .header(header::AUTHORIZATION, format!("Basic {credentials}"))
            .header(header::CONTENT_TYPE, self.content_type)
            .body(Full::new(self.body))?;
        let answered = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            anyhow::Ok((head, body))
        };
        let answered = answered.await;
        connection.abort();
        let (head, body) = answered?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

// === impl Answer ===

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
