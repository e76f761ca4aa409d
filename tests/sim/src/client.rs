//! One client: it pushes images, moves and deletes tags, reads them and pulls,
//! at whatever node it comes to, and tells the oracle what it was told.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use entrepot_harness::{Action, Condition, Operation, Outcome, State};
use entrepot_oci::{Algorithm, Hasher};
use http::{Method, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use crate::draw::Draw;
use crate::http::{Answer, Ask};
use crate::machine::Machine;
use crate::oracle::{Kind, Stored, TagName};
use crate::world::Shared;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCTETS: &str = "application/octet-stream";
const TAGS: [&str; 2] = ["latest", "v1"];
/// As many times what a client does else, at most.
const LONGER: usize = 4;
/// Attempts at one blob.
const ATTEMPTS: usize = 3;

/// Where a client works.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) region: String,
    /// All of the region.
    pub(crate) machines: Vec<Machine>,
    pub(crate) repository: &'static str,
}

#[derive(Debug)]
pub(crate) struct Client {
    number: usize,
    draw: Draw,
    place: Place,
    shared: Rc<Shared>,
    /// When time began for all clients.
    began: Instant,
    pushed: usize,
}

// === impl Place ===

impl Place {
    /// The nodes that are there now, and those that are on their way.
    pub(crate) fn nodes(&self) -> Vec<u64> {
        let own = self.machines.iter().filter(|machine| machine.is_in());
        own.map(|machine| machine.id).collect()
    }
}

// === impl Client ===

impl Client {
    pub(crate) fn new(number: usize, draw: Draw, place: Place, shared: &Rc<Shared>) -> Self {
        Self {
            number,
            draw,
            place,
            shared: Rc::clone(shared),
            began: shared.began(),
            pushed: 0,
        }
    }

    /// For as long as nodes come and go, there is more to do.
    pub(crate) async fn run(mut self, operations: usize) {
        for number in 0..operations * LONGER {
            if number >= operations && !self.shared.is_changing() {
                break;
            }
            tokio::time::sleep(self.draw.ms(0..400)).await;
            match self.draw.below(100) {
                0..45 => self.push().await,
                45..75 => self.read_some_tag().await,
                75..85 => self.delete_tag().await,
                _ => self.pull().await,
            }
        }
    }

    /// Reads everything that anybody was told is stored, at `node`, until it is
    /// there or `deadline` is over; and every tag.
    pub(crate) async fn verify(&mut self, node: u64, deadline: Duration) {
        let until = Instant::now() + deadline;
        let stored = self.shared.oracle().acknowledged.clone();
        let own = |stored: &&Stored| stored.region == self.place.region;
        let stored: Vec<Stored> = stored.iter().filter(own).cloned().collect();
        for stored in &stored {
            while !self.check(node, stored).await {
                if Instant::now() > until {
                    self.violation(&format!(
                        "node {node} does not serve the acknowledged {:?} {} after everything was repaired",
                        stored.kind, stored.digest
                    ));
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        for tag in TAGS {
            while !self.read_tag(node, tag).await {
                if Instant::now() > until {
                    self.violation(&format!(
                        "node {node} cannot say what {tag} is after everything was repaired"
                    ));
                    return;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    // === operations ===

    async fn push(&mut self) {
        let config = self.draw.bytes(200);
        let size = if self.draw.percent(30) {
            self.draw.within(1..4_000)
        } else {
            self.draw.within(7_000..60_000)
        };
        let layer = self.draw.bytes(size);
        let mut descriptors = Vec::new();
        for (content, kind) in [
            (config, "application/vnd.oci.image.config.v1+json"),
            (layer, "application/vnd.oci.image.layer.v1.tar"),
        ] {
            let content = Bytes::from(content);
            let Some(digest) = self.push_blob(&content).await else {
                return;
            };
            let size = content.len();
            descriptors.push(json!({ "mediaType": kind, "digest": digest, "size": size }));
        }
        self.pushed += 1;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptors[0],
            "layers": [descriptors[1]],
            "annotations": { "client": format!("{} {}", self.number, self.pushed) },
        });
        self.put_manifest(Bytes::from(manifest.to_string())).await;
    }

    /// The digest, if it was acknowledged.
    async fn push_blob(&mut self, content: &Bytes) -> Option<String> {
        let digest = digest_of(content);
        for _ in 0..ATTEMPTS {
            let pushed = if self.draw.percent(60) {
                self.push_at_once(&digest, content).await
            } else {
                self.push_in_pieces(&digest, content).await
            };
            match pushed {
                Some(answer) if answer.status == StatusCode::CREATED => {
                    self.acknowledge(Kind::Blob, &digest, content);
                    return Some(digest);
                }
                // A session may be gone with its node.
                Some(answer) if is_refusal(&answer) && answer.status != StatusCode::NOT_FOUND => {
                    self.unexpected("a blob was refused", &answer);
                }
                _ => {}
            }
            tokio::time::sleep(self.draw.ms(50..300)).await;
        }
        None
    }

    async fn push_at_once(&mut self, digest: &str, content: &Bytes) -> Option<Answer> {
        let path = format!("{}?digest={digest}", self.path("blobs/uploads/"));
        let ask = Ask::new(Method::POST, path).with(OCTETS, content.clone());
        ask.of(self.node()).await.ok()
    }

    /// Every request at another node.
    async fn push_in_pieces(&mut self, digest: &str, content: &Bytes) -> Option<Answer> {
        let open = Ask::new(Method::POST, self.path("blobs/uploads/"));
        let opened = open.of(self.node()).await.ok()?;
        let middle = self.draw.below(content.len());
        let patch = Ask::new(Method::PATCH, opened.header("location")?);
        let patch = patch.with(OCTETS, content.slice(..middle));
        let patched = patch.of(self.node()).await.ok()?;
        if patched.status != StatusCode::ACCEPTED {
            return Some(patched);
        }
        let location = patched.header("location")?;
        let separator = if location.contains('?') { '&' } else { '?' };
        let put = Ask::new(Method::PUT, format!("{location}{separator}digest={digest}"));
        put.with(OCTETS, content.slice(middle..))
            .of(self.node())
            .await
            .ok()
    }

    async fn put_manifest(&mut self, content: Bytes) {
        let digest = digest_of(&content);
        let tag = self.tag();
        let value = self.shared.oracle_mut().value(&digest);
        let (node, call_ns) = (self.node(), self.now_ns());
        let put = Ask::new(Method::PUT, self.path(&format!("manifests/{tag}")));
        let answer = put.with(MANIFEST, content.clone()).of(node).await;
        let outcome = match answer {
            Ok(answer) if answer.status == StatusCode::CREATED => {
                self.acknowledge(Kind::Manifest, &digest, &content);
                Outcome::Applied
            }
            Ok(answer) if is_refusal(&answer) => {
                self.unexpected(
                    "a manifest was refused whose blobs were acknowledged",
                    &answer,
                );
                return;
            }
            _ => Outcome::Unknown,
        };
        let action = Action::Write {
            value: Some(value),
            condition: Condition::None,
            outcome,
        };
        self.record(&tag, node, call_ns, action);
    }

    async fn delete_tag(&mut self) {
        let tag = self.tag();
        let (node, call_ns) = (self.node(), self.now_ns());
        let delete = Ask::new(Method::DELETE, self.path(&format!("manifests/{tag}")));
        let outcome = match delete.of(node).await {
            Ok(answer) if answer.status == StatusCode::ACCEPTED => Outcome::Applied,
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => Outcome::Refused(None),
            Ok(answer) if is_refusal(&answer) => {
                return self.unexpected("a delete was refused", &answer);
            }
            _ => Outcome::Unknown,
        };
        let action = Action::Write {
            value: None,
            condition: Condition::Present,
            outcome,
        };
        self.record(&tag, node, call_ns, action);
    }

    async fn read_some_tag(&mut self) {
        let (node, tag) = (self.node(), self.tag());
        self.read_tag(node, &tag).await;
    }

    /// Whether the node knew.
    async fn read_tag(&mut self, node: u64, tag: &str) -> bool {
        let call_ns = self.now_ns();
        let get = Ask::get(self.path(&format!("manifests/{tag}")));
        let Ok(answer) = get.of(node).await else {
            return false;
        };
        let state: State = match answer.status {
            StatusCode::OK => {
                let digest = digest_of(&answer.body);
                let known = self.shared.oracle().known(&digest);
                if known.is_none() {
                    self.unexpected("a tag names what nobody pushed", &answer);
                    return true;
                }
                known
            }
            StatusCode::NOT_FOUND => None,
            _ => return false,
        };
        self.record(tag, node, call_ns, Action::Read(state));
        true
    }

    async fn pull(&mut self) {
        let stored = {
            let oracle = self.shared.oracle();
            let own = |stored: &&Stored| {
                stored.region == self.place.region && stored.repository == self.place.repository
            };
            let own: Vec<&Stored> = oracle.acknowledged.iter().filter(own).collect();
            self.draw.pick(&own).map(|stored| (*stored).clone())
        };
        if let Some(stored) = stored {
            let node = self.node();
            self.check(node, &stored).await;
        }
    }

    /// Whether a node serves it, as it was. That there is no such thing is a
    /// lie; that the node cannot say is none.
    async fn check(&self, node: u64, stored: &Stored) -> bool {
        let kind = match stored.kind {
            Kind::Blob => "blobs",
            Kind::Manifest => "manifests",
        };
        let path = format!("/v2/{}/{kind}/{}", stored.repository, stored.digest);
        let Ok(answer) = Ask::get(path).of(node).await else {
            return false;
        };
        if answer.status == StatusCode::OK && answer.body != stored.content {
            self.unexpected("other bytes were served than were acknowledged", &answer);
        }
        if is_refusal(&answer) {
            let what = format!(
                "node {node} denies the acknowledged {:?} {}",
                stored.kind, stored.digest
            );
            self.unexpected(&what, &answer);
        }
        answer.status == StatusCode::OK
    }

    // === what it knows ===

    fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.place.repository)
    }

    fn node(&mut self) -> u64 {
        self.draw.pick(&self.place.nodes()).copied().unwrap_or(1)
    }

    fn tag(&mut self) -> String {
        (*self.draw.pick(&TAGS).unwrap_or(&TAGS[0])).to_owned()
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn record(&self, tag: &str, node: u64, call_ns: u64, action: Action) {
        let Place {
            region, repository, ..
        } = &self.place;
        let tag: TagName = (region.clone(), (*repository).to_owned(), tag.to_owned());
        let operation = Operation {
            client: self.number,
            node,
            call_ns,
            return_ns: self.now_ns(),
            action,
        };
        self.shared.oracle_mut().record(&tag, operation);
    }

    fn acknowledge(&self, kind: Kind, digest: &str, content: &Bytes) {
        self.shared.oracle_mut().acknowledge(Stored {
            region: self.place.region.clone(),
            repository: self.place.repository.to_owned(),
            kind,
            digest: digest.to_owned(),
            content: content.clone(),
        });
    }

    fn unexpected(&self, what: &str, answer: &Answer) {
        let body = String::from_utf8_lossy(&answer.body);
        let body: String = body.chars().take(300).collect();
        self.violation(&format!("{what}: {} {body}", answer.status));
    }

    fn violation(&self, what: &str) {
        let at = self.began.elapsed().as_millis();
        let what = format!("client {} at {at} ms: {what}", self.number);
        self.shared.oracle_mut().violation(what);
    }
}

/// An answer that says no, and not "try again".
fn is_refusal(answer: &Answer) -> bool {
    let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
    answer.status.is_client_error() && !again.contains(&answer.status)
}

fn digest_of(content: &[u8]) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(content);
    hasher.finish().to_string()
}
