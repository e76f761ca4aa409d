//! A registry that answers every request alike and keeps what it was sent, and
//! the check of a signature: our own reading of AWS's documentation, apart from
//! the library that signs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub(crate) const PASSWORD: &str = "a-long.password_of/a+token==";

/// First byte of TLS's handshake: an HTTP server takes it for nonsense.
const TLS_HANDSHAKE: u8 = 0x16;

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    /// `POST / HTTP/1.1`
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// What every request is answered with.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: String,
    pub(crate) body: String,
}

pub(crate) struct FakeRegistry {
    /// `127.0.0.1:port`
    pub(crate) authority: String,
    sent: Arc<Mutex<Vec<Sent>>>,
}

// === impl Answer ===

impl Answer {
    pub(crate) fn token() -> Self {
        let token = STANDARD.encode(format!("AWS:{PASSWORD}"));
        let body = serde_json::json!({"authorizationData": [{
            "authorizationToken": token,
            "expiresAt": 1_800_000_000.5,
            "proxyEndpoint": "https://111122223333.dkr.ecr.eu-west-1.example.com",
        }]});
        Self::new(200, body.to_string())
    }

    pub(crate) fn new(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            headers: String::new(),
            body: body.into(),
        }
    }

    /// AWS's error of JSON 1.1.
    pub(crate) fn error(status: u16, kind: &str, message: &str) -> Self {
        let body = serde_json::json!({"__type": kind, "message": message});
        Self::new(status, body.to_string())
    }

    fn bytes(&self) -> Vec<u8> {
        let Self {
            status,
            headers,
            body,
        } = self;
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{headers}\r\n");
        [head.as_bytes(), body.as_bytes()].concat()
    }
}

// === impl FakeRegistry ===

impl FakeRegistry {
    pub(crate) fn start(answer: Answer) -> Self {
        Self::start_with(move |stream, sent| {
            let mut first = [0];
            let peeked = stream.peek(&mut first).unwrap_or_default();
            if peeked == 1 && first[0] == TLS_HANDSHAKE {
                serve_nonsense(stream);
            } else {
                serve(stream, sent, &answer);
            }
        })
    }

    pub(crate) fn start_tls(answer: Answer, config: ServerConfig) -> Self {
        let config = Arc::new(config);
        Self::start_with(move |stream, sent| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            serve(StreamOwned::new(connection, stream), sent, &answer);
        })
    }

    fn start_with(mut serve: impl FnMut(TcpStream, &Mutex<Vec<Sent>>) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let sent = Arc::default();
        let served = Arc::clone(&sent);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &served);
            }
        });
        Self { authority, sent }
    }

    /// The name that says to ask without TLS.
    pub(crate) fn http(&self) -> String {
        format!("http://{}", self.authority)
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }

    /// The one request there was.
    pub(crate) fn only(&self) -> Sent {
        let sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent[0].clone()
    }
}

/// One request and its answer. A client that goes away is the client's affair.
fn serve(stream: impl Read + Write, sent: &Mutex<Vec<Sent>>, answer: &Answer) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or_default() == 0 {
        return;
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        match header.trim_end().split_once(": ") {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.to_owned());
            }
            None => break,
        }
    }
    let length = headers.get("content-length").map_or("0", String::as_str);
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    sent.lock().unwrap().push(Sent {
        line: line.trim_end().to_owned(),
        headers,
        body,
    });
    let _ = reader.get_mut().write_all(&answer.bytes());
    let _ = reader.get_mut().flush();
}

/// What HTTP servers say to a client that speaks TLS.
fn serve_nonsense(mut stream: TcpStream) {
    let _ = stream.read(&mut [0; 4096]);
    let _ = stream.write_all(&Answer::new(400, "").bytes());
}

// === impl Sent ===

impl Sent {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// `name=value` of the `Authorization` header.
    pub(crate) fn signed(&self, name: &str) -> &str {
        let authorization = self.header("authorization");
        let parts = authorization
            .strip_prefix("AWS4-HMAC-SHA256 ")
            .unwrap_or_default();
        let mut pairs = parts
            .split(',')
            .filter_map(|part| part.trim().split_once('='));
        pairs.find(|(own, _)| *own == name).unwrap().1
    }

    /// The ID of the access key, and the region.
    pub(crate) fn key_and_region(&self) -> (&str, &str) {
        let parts: Vec<&str> = self.signed("Credential").split('/').collect();
        (parts[0], parts[2])
    }

    /// Whether the signature is one over this request, by the secret.
    pub(crate) fn is_signed_by(&self, secret: &str) -> bool {
        let (_, scope) = self.signed("Credential").split_once('/').unwrap();
        let names = self.signed("SignedHeaders");
        let mut canonical = "POST\n/\n\n".to_owned();
        for name in names.split(';') {
            let _ = writeln!(canonical, "{name}:{}", self.header(name).trim());
        }
        let _ = write!(canonical, "\n{names}\n{}", hex_sha256(&self.body));
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
            self.header("x-amz-date"),
            hex_sha256(canonical.as_bytes())
        );
        let first = format!("AWS4{secret}").into_bytes();
        let key = scope.split('/').fold(first, |key, part| mac(&key, part));
        self.signed("Signature") == hex(&mac(&key, &to_sign))
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex_sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
