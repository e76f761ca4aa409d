//! What messages to webhooks go to: an HTTP server that keeps what it is sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::wait::wait_until;

const BODY_BYTES_MAX: usize = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// Their names in small letters.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// A server on this machine; dropped, it is gone.
#[derive(Debug)]
pub struct Receiver {
    port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    task: AbortHandle,
}

// === impl Receiver ===

impl Receiver {
    /// # Errors
    /// When no port can be listened to.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let kept = Arc::clone(&received);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    if let Err(error) = serve(stream, &kept).await {
                        eprintln!("  a message was torn: {error:#}");
                    }
                });
            }
        });
        Ok(Self {
            port,
            received,
            task: task.abort_handle(),
        })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    pub fn all(&self) -> Vec<Received> {
        let received = self.received.lock();
        received.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first message for which `wanted` holds, once it is there.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn first(&self, wanted: impl Fn(&Value) -> bool) -> Result<Received> {
        wait_until("a message to a webhook", PATIENCE, async || {
            let mut all = self.all().into_iter();
            Ok(all.find(|it| it.json().is_ok_and(|json| wanted(&json))))
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// As many messages as the connection brings.
async fn serve(stream: TcpStream, kept: &Mutex<Vec<Received>>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length: usize = headers
            .get("content-length")
            .context("no length")?
            .parse()?;
        ensure!(length <= BODY_BYTES_MAX, "{length} bytes");
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        let received = Received { headers, body };
        kept.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(received);
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    }
}

// === impl Received ===

impl Received {
    /// # Errors
    /// When the body is no JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).context("a message that is no JSON")
    }

    /// That whoever has the secret has signed it.
    ///
    /// # Errors
    /// When they have not.
    pub fn verify(&self, secret: &str) -> Result<()> {
        let header = |name: &str| self.headers.get(name).with_context(|| format!("no {name}"));
        let key = STANDARD.decode(secret.strip_prefix("whsec_").context("no secret")?)?;
        let (id, at) = (header("webhook-id")?, header("webhook-timestamp")?);
        let signed = [format!("{id}.{at}.").as_bytes(), &self.body].concat();
        let mac = header("webhook-signature")?
            .strip_prefix("v1,")
            .context("another version")?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let verified = hmac::verify(&key, &signed, &STANDARD.decode(mac)?);
        ensure!(
            verified.is_ok(),
            "a message that is signed by somebody else"
        );
        Ok(())
    }
}
