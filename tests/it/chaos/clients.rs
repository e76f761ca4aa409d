//! Clients that push, move, delete and read tags through every node, and record
//! what they asked and were told.
//!
//! A client that waited in vain goes on with something else: what it had asked
//! for is unknown, and may still happen. Only where no connection was made has
//! nothing happened for sure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use entrepot_harness::{
    Action, Blob, Condition, Operation, Outcome, Random, Registry, Reply, Request, State,
    digest_of, media,
};
use serde_json::json;
use tokio::task::JoinSet;

use super::record::{Key, Record};

pub(crate) const REPOSITORY: &str = "chaos/tags";
/// Longer than an election, shorter than a node tries by itself.
const ANSWER: Duration = Duration::from_secs(3);
/// After a connection was refused: the node is down.
const REFUSED: Duration = Duration::from_millis(30);
/// Final reads: everything is whole again.
const LAST_ANSWER: Duration = Duration::from_secs(20);

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Clients {
    record: Arc<Record>,
    tasks: JoinSet<Result<()>>,
}

/// One client.
#[derive(Debug)]
struct Client {
    number: usize,
    /// By id of the node.
    nodes: Vec<(u64, Registry)>,
    random: Random,
    record: Arc<Record>,
    /// What it last knew of a tag.
    known: HashMap<Key, State>,
}

/// What a client does next.
#[derive(Debug, Clone, Copy)]
enum Wish {
    Get,
    Head,
    Put(u64, Condition),
    Delete(Condition),
}

/// What came back.
#[derive(Debug)]
enum Told {
    Answer(Reply),
    /// No connection: nothing happened.
    Nothing,
    Silence,
}

/// What all manifests name.
pub(crate) fn config() -> Blob {
    Blob::new(media::EMPTY, "{}")
}

/// The manifest that stands for a value.
fn manifest(round: u64, value: u64) -> Blob {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::MANIFEST,
        "artifactType": "application/vnd.entrepot.test",
        "config": config().descriptor(),
        "layers": [config().descriptor()],
        "annotations": {"round": round.to_string(), "value": value.to_string()},
    });
    Blob::new(media::MANIFEST, manifest.to_string())
}

// === impl Clients ===

impl Clients {
    /// `nodes`: for each client, its own connections to all of them.
    pub(crate) fn start(record: Arc<Record>, seed: u64, nodes: Vec<Vec<(u64, Registry)>>) -> Self {
        let mut tasks = JoinSet::new();
        for (number, nodes) in nodes.into_iter().enumerate() {
            let client = Client {
                number,
                nodes,
                random: Random::new(seed.wrapping_mul(1_000).wrapping_add(number as u64)),
                record: Arc::clone(&record),
                known: HashMap::new(),
            };
            tasks.spawn(client.work());
        }
        Self { record, tasks }
    }

    /// # Errors
    /// When a client was told what it must never be told.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.record.stop();
        while let Some(ended) = self.tasks.join_next().await {
            ended.context("a client panicked")??;
        }
        Ok(())
    }
}

/// Reads every tag once through each node; all of them have to answer.
pub(crate) async fn read_all(record: &Arc<Record>, nodes: &[(u64, Registry)]) -> Result<()> {
    for (id, registry) in nodes {
        let mut client = Client {
            number: 100,
            nodes: vec![(*id, registry.clone())],
            random: Random::new(*id),
            record: Arc::clone(record),
            known: HashMap::new(),
        };
        for key in record.keys() {
            let told = client.ask(key, Wish::Head, 0, LAST_ANSWER).await?;
            ensure!(told, "node {id} does not say what {key} is");
        }
    }
    Ok(())
}

// === impl Client ===

impl Client {
    async fn work(mut self) -> Result<()> {
        while !self.record.is_stopped() {
            let key = self.record.next_key(self.random.next_u64());
            let wish = self.wish(key);
            let node = self.random.below(self.nodes.len());
            self.ask(key, wish, node, ANSWER).await?;
        }
        Ok(())
    }

    fn wish(&mut self, key: Key) -> Wish {
        let known = self.known.get(&key).copied().flatten();
        let is_known = known.map_or(Condition::Absent, Condition::Is);
        match self.random.below(100) {
            0..30 => Wish::Get,
            30..50 => Wish::Head,
            50..72 => Wish::Put(self.record.new_value(), Condition::None),
            72..84 => Wish::Put(self.record.new_value(), is_known),
            84..88 => Wish::Put(self.record.new_value(), Condition::Absent),
            88..90 => Wish::Put(self.record.new_value(), Condition::Present),
            90..96 => Wish::Delete(Condition::Present),
            _ => Wish::Delete(known.map_or(Condition::Present, Condition::Is)),
        }
    }

    /// Asks one node and records what it told; `false`: it told nothing.
    async fn ask(&mut self, key: Key, wish: Wish, node: usize, wait: Duration) -> Result<bool> {
        let (id, registry) = &self.nodes[node];
        let request = self.request(registry, key, wish);
        let call_ns = self.record.now_ns();
        let told = hear(request, wait).await;
        let return_ns = self.record.now_ns();
        let action = match (&told, wish) {
            (Told::Answer(reply), _) if reply.status < 500 => Some(self.read(wish, reply)?),
            (Told::Nothing, _) | (_, Wish::Get | Wish::Head) => None,
            (_, Wish::Put(value, condition)) => {
                Some(write(Some(value), condition, Outcome::Unknown))
            }
            (_, Wish::Delete(condition)) => Some(write(None, condition, Outcome::Unknown)),
        };
        self.record.count(&told_of(&told));
        let Some(action) = action else {
            if matches!(told, Told::Nothing) {
                tokio::time::sleep(REFUSED).await;
            }
            return Ok(false);
        };
        let operation = Operation {
            client: self.number,
            node: *id,
            call_ns,
            return_ns,
            action,
        };
        self.learn(key, action);
        self.record.add(key, operation);
        Ok(!operation.is_unknown())
    }

    fn request(&self, registry: &Registry, key: Key, wish: Wish) -> Request {
        let path = format!("/v2/{REPOSITORY}/manifests/{key}");
        let (request, condition) = match wish {
            Wish::Get => return registry.get(&path),
            Wish::Head => return registry.head(&path),
            Wish::Put(value, condition) => {
                let manifest = manifest(self.record.round(), value);
                self.record.note_digest(&manifest.digest, value);
                let request = registry
                    .put(&path)
                    .header("content-type", &manifest.media_type)
                    .body(manifest.content);
                (request, condition)
            }
            Wish::Delete(condition) => (registry.delete(&path), condition),
        };
        match condition {
            Condition::None => request,
            Condition::Absent => request.header("if-none-match", "*"),
            // A delete needs something to delete anyway.
            Condition::Present if matches!(wish, Wish::Delete(_)) => request,
            Condition::Present => request.header("if-match", "*"),
            Condition::Is(value) => {
                let digest = manifest(self.record.round(), value).digest;
                request.header("if-match", &format!("\"{digest}\""))
            }
        }
    }

    /// What an answer says.
    ///
    /// # Errors
    /// When it is none that this request may get.
    fn read(&self, wish: Wish, reply: &Reply) -> Result<Action> {
        let digest = || self.record.value_of(reply.header("docker-content-digest")?);
        Ok(match (wish, reply.status) {
            (Wish::Get, 200) => {
                let named = reply.header("docker-content-digest")?;
                ensure!(
                    digest_of(&reply.body) == named,
                    "{}: other bytes than {named}",
                    reply.what
                );
                Action::Read(Some(digest()?))
            }
            (Wish::Head, 200) => Action::Read(Some(digest()?)),
            (Wish::Get | Wish::Head, 404) => Action::Read(None),
            (Wish::Put(value, condition), 201) => {
                ensure!(digest()? == value, "{}: another digest", reply.what);
                write(Some(value), condition, Outcome::Applied)
            }
            (Wish::Delete(condition), 202) => write(None, condition, Outcome::Applied),
            (Wish::Delete(condition), 404) => write(None, condition, Outcome::Refused(None)),
            (Wish::Put(value, condition), 412) => {
                write(Some(value), condition, self.refused(reply)?)
            }
            (Wish::Delete(condition), 412) => write(None, condition, self.refused(reply)?),
            _ => bail!(
                "{} was answered with {}: {}",
                reply.what,
                reply.status,
                String::from_utf8_lossy(&reply.body)
            ),
        })
    }

    /// A 412 says what the tag is.
    fn refused(&self, reply: &Reply) -> Result<Outcome> {
        let error = reply.first_error()?;
        let state = match error["detail"]["digest"].as_str() {
            Some(digest) => Some(self.record.value_of(digest)?),
            None => None,
        };
        Ok(Outcome::Refused(state))
    }

    fn learn(&mut self, key: Key, action: Action) {
        let state = match action {
            Action::Read(state) => state,
            Action::Write { value, outcome, .. } => match outcome {
                Outcome::Applied => value,
                Outcome::Refused(state) => state,
                Outcome::Unknown => return,
            },
        };
        self.known.insert(key, state);
    }
}

fn write(value: State, condition: Condition, outcome: Outcome) -> Action {
    Action::Write {
        value,
        condition,
        outcome,
    }
}

async fn hear(request: Request, wait: Duration) -> Told {
    match tokio::time::timeout(wait, request.send()).await {
        Ok(Ok(reply)) => Told::Answer(reply),
        Ok(Err(error)) if is_unconnected(&error) => Told::Nothing,
        Ok(Err(_)) | Err(_) => Told::Silence,
    }
}

/// Whether there was never a connection to send anything on.
fn is_unconnected(error: &anyhow::Error) -> bool {
    let found = error.downcast_ref::<reqwest::Error>();
    found.is_some_and(reqwest::Error::is_connect)
}

fn told_of(told: &Told) -> String {
    match told {
        Told::Answer(reply) => reply.status.to_string(),
        Told::Nothing => "no connection".to_owned(),
        Told::Silence => "no answer".to_owned(),
    }
}
