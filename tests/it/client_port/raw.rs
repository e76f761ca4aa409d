//! A client that sends what the test says and nothing else.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// For anything that a node does at once, on a busy machine.
pub(super) const ANSWERED: Duration = Duration::from_secs(20);
/// Whoever has heard nothing for so long is waited for.
const UNANSWERED: Duration = Duration::from_secs(3);
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// One connection, plain or not.
pub(super) struct Raw<S = TcpStream> {
    pub(super) stream: S,
    /// Read, and not asked for yet.
    buffer: Vec<u8>,
}

/// An answer with its body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The status line and the headers, in lower case.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Raw {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    pub(super) fn over(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.stream.write_all(bytes.as_ref()).await.context("send")
    }

    /// Sends what the node takes: it may answer and close before the end.
    pub(super) async fn send_some(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// Nothing more will come.
    pub(super) async fn end(&mut self) -> Result<()> {
        self.stream.shutdown().await.context("end")
    }

    /// The next answer; not one to HEAD.
    pub(super) async fn answer(&mut self) -> Result<Answer> {
        let answer = async {
            let end = loop {
                if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                    break end + 4;
                }
                ensure!(self.buffer.len() < HEAD_BYTES_MAX, "an answer without end");
                ensure!(self.fill().await? > 0, "closed without an answer");
            };
            let head: Vec<u8> = self.buffer.drain(..end).collect();
            let head = String::from_utf8_lossy(&head).to_lowercase();
            let status = head.get(9..12).and_then(|status| status.parse().ok());
            let status = status.with_context(|| format!("no status: {head}"))?;
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(Ok(0), str::parse::<usize>)?;
            while self.buffer.len() < length {
                ensure!(self.fill().await? > 0, "closed within a body");
            }
            let body = self.buffer.drain(..length).collect();
            Ok(Answer { status, head, body })
        };
        tokio::time::timeout(ANSWERED, answer)
            .await
            .context("no answer in time")?
    }

    /// The next answer, unless the node goes on waiting for something.
    pub(super) async fn answer_if_any(&mut self) -> Option<Answer> {
        let answer = tokio::time::timeout(UNANSWERED, self.answer()).await;
        answer.ok().and_then(Result::ok)
    }

    /// Waits until the node closes; nothing more may come before.
    pub(super) async fn closed(&mut self) -> Result<()> {
        let rest = self.rest().await?;
        let shown = String::from_utf8_lossy(&rest);
        ensure!(rest.is_empty(), "there was more to come: {shown}");
        Ok(())
    }

    /// What comes until the node closes.
    pub(super) async fn rest(&mut self) -> Result<Vec<u8>> {
        // Closed with something unread is a reset.
        let end = async { while let Ok(1..) = self.fill().await {} };
        tokio::time::timeout(ANSWERED, end)
            .await
            .context("the connection is still open")?;
        Ok(std::mem::take(&mut self.buffer))
    }

    async fn fill(&mut self) -> Result<usize> {
        self.stream.read_buf(&mut self.buffer).await.context("read")
    }
}

impl Answer {
    /// Whether the node says that it closes.
    pub(super) fn closes(&self) -> bool {
        self.head.contains("\r\nconnection: close\r\n")
    }

    pub(super) fn expect(self, status: u16) -> Result<Self> {
        if self.status != status {
            let body = String::from_utf8_lossy(&self.body);
            bail!("expected {status}, got {}{body}", self.head);
        }
        Ok(self)
    }

    /// Expects an OCI error body with `code`.
    pub(super) fn expect_error(self, status: u16, code: &str) -> Result<Self> {
        let answer = self.expect(status)?;
        ensure!(
            answer.code().as_deref() == Some(code),
            "expected {code}, got {}",
            String::from_utf8_lossy(&answer.body)
        );
        Ok(answer)
    }

    /// The code of an OCI error body.
    pub(super) fn code(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        let error = &body["errors"][0];
        error["message"].as_str().filter(|text| !text.is_empty())?;
        error["code"].as_str().map(str::to_owned)
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
