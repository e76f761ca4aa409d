//! The network between the nodes of a cluster, in the tests' own hands: each
//! node's peer address is a listener here, which passes bytes on to the node's
//! real peer port, or does not.
//!
//! A link is one direction from one node to another. A cut link holds bytes
//! back, as a network does that loses packets: the connection stays, nobody is
//! told, and what was sent arrives after all once the link is whole again, if
//! anybody still waits for it. Who connects is found by the process that owns
//! the socket, so the nodes need not know of any of this.

mod owner;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::random::Random;
use crate::wan::Line;

const PIECE_BYTES: usize = 64 * 1024;
/// Pieces of one connection that may be under way: at a Gbit/s, 0.25 s of them.
const PIECES_MAX: usize = 512;
/// A process may connect before anybody has noted its id.
const OWNER_TRIES: usize = 50;
const OWNER_PAUSE: Duration = Duration::from_millis(20);

/// What becomes of bytes in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Whole,
    /// Nothing passes.
    Cut,
    /// Each piece comes this much later, and up to `jitter` more.
    Slow {
        delay: Duration,
        jitter: Duration,
    },
    /// One piece in so many breaks its connection.
    Breaks {
        one_in: usize,
    },
    /// One full piece in so many arrives with a wrong bit.
    Spoils {
        one_in: usize,
    },
}

/// All links of a cluster. Dropped, it passes nothing any more.
#[derive(Debug)]
pub struct Links {
    shared: Arc<Shared>,
    _listeners: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    /// By sender and receiver.
    links: BTreeMap<(u64, u64), watch::Sender<Link>>,
    /// What is between two nodes, by the same; none: nothing that takes time.
    lines: watch::Sender<BTreeMap<(u64, u64), Arc<Line>>>,
    /// The process of each node.
    processes: Mutex<BTreeMap<u64, u32>>,
    /// Those who are no nodes; until then, no link holds them up.
    refuses_strangers: AtomicBool,
    random: Mutex<Random>,
}

/// One direction of a connection.
struct Flow {
    shared: Arc<Shared>,
    way: (u64, u64),
    link: watch::Receiver<Link>,
    lines: watch::Receiver<BTreeMap<(u64, u64), Arc<Line>>>,
}

/// A piece on its way, and when it arrives.
type Piece = (Instant, Vec<u8>);

// === impl Links ===

impl Links {
    /// `nodes`: the id of each, the port that its peers are told, and its real
    /// peer port.
    pub(crate) fn open(nodes: &[(u64, u16, u16)], seed: u64) -> Result<Self> {
        let mut links = BTreeMap::new();
        for (from, ..) in nodes {
            for (to, ..) in nodes.iter().filter(|(to, ..)| to != from) {
                links.insert((*from, *to), watch::Sender::new(Link::Whole));
            }
        }
        let shared = Arc::new(Shared {
            links,
            lines: watch::Sender::default(),
            processes: Mutex::default(),
            refuses_strangers: AtomicBool::new(false),
            random: Mutex::new(Random::new(seed)),
        });
        let mut listeners = JoinSet::new();
        for (id, told, real) in nodes {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, *told));
            let listener = listener.with_context(|| format!("listen for node {id}"))?;
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let real = SocketAddr::from((Ipv4Addr::LOCALHOST, *real));
            listeners.spawn(listen(Arc::clone(&shared), *id, listener, real));
        }
        Ok(Self {
            shared,
            _listeners: listeners,
        })
    }

    /// All nodes have joined: nobody else has to reach one.
    pub(crate) fn refuse_strangers(&self) {
        self.shared.refuses_strangers.store(true, Ordering::SeqCst);
    }

    /// Node `id` is this process from now on.
    pub(crate) fn note_process(&self, id: u64, pid: u32) {
        let processes = self.shared.processes.lock();
        let mut processes = processes.unwrap_or_else(PoisonError::into_inner);
        processes.insert(id, pid);
    }

    /// Sets one direction.
    pub fn set(&self, from: u64, to: u64, link: Link) {
        if let Some(sender) = self.shared.links.get(&(from, to)) {
            sender.send_replace(link);
        }
    }

    /// What `from` says to `to` goes along `line` from now on.
    pub(crate) fn lay(&self, from: u64, to: u64, line: &Arc<Line>) {
        let lines = &self.shared.lines;
        lines.send_modify(|lines| {
            lines.insert((from, to), Arc::clone(line));
        });
    }

    /// Sets both directions between `id` and every other node.
    pub fn set_around(&self, id: u64, link: Link) {
        for ((from, to), sender) in &self.shared.links {
            if *from == id || *to == id {
                sender.send_replace(link);
            }
        }
    }

    pub fn set_all(&self, link: Link) {
        for sender in self.shared.links.values() {
            sender.send_replace(link);
        }
    }
}

/// Takes the connections that are meant for node `to`.
async fn listen(shared: Arc<Shared>, to: u64, listener: TcpListener, real: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        // Those that ended are let go.
        while connections.try_join_next().is_some() {}
        if let Ok((stream, caller)) = listener.accept().await {
            let told = listener.local_addr().map_or(0, |address| address.port());
            let shared = Arc::clone(&shared);
            connections.spawn(async move {
                // It ends as the connection does; the peers see that.
                let _ = pass_on(&shared, to, stream, (caller.port(), told), real).await;
            });
        }
    }
}

async fn pass_on(
    shared: &Arc<Shared>,
    to: u64,
    stream: TcpStream,
    ports: (u16, u16),
    real: SocketAddr,
) -> std::io::Result<()> {
    let Some(from) = shared.caller(ports).await else {
        if shared.refuses_strangers.load(Ordering::SeqCst) {
            return Err(ErrorKind::NotFound.into());
        }
        let (mut stream, mut node) = (stream, TcpStream::connect(real).await?);
        return copy_bidirectional(&mut stream, &mut node).await.map(drop);
    };
    let there = shared.flow(from, to)?;
    let back = shared.flow(to, from)?;
    there.until_open().await;
    back.until_open().await;
    let node = TcpStream::connect(real).await?;
    stream.set_nodelay(true)?;
    node.set_nodelay(true)?;
    let (from_read, from_write) = stream.into_split();
    let (to_read, to_write) = node.into_split();
    // The first direction that breaks takes the other one with it.
    tokio::try_join!(
        there.carry(from_read, to_write),
        back.carry(to_read, from_write)
    )?;
    Ok(())
}

// === impl Shared ===

impl Shared {
    /// The node whose process holds the other end of a connection.
    async fn caller(&self, (caller, listener): (u16, u16)) -> Option<u64> {
        for _ in 0..OWNER_TRIES {
            let processes = self.processes.lock();
            let processes = processes.unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(id) = owner::owner_of(caller, listener, &processes) {
                return Some(id);
            }
            tokio::time::sleep(OWNER_PAUSE).await;
        }
        None
    }

    fn flow(self: &Arc<Self>, from: u64, to: u64) -> std::io::Result<Flow> {
        let link = self.links.get(&(from, to));
        let link = link.ok_or(ErrorKind::NotFound)?.subscribe();
        Ok(Flow {
            shared: Arc::clone(self),
            way: (from, to),
            link,
            lines: self.lines.subscribe(),
        })
    }

    fn below(&self, end: usize) -> usize {
        let random = self.random.lock();
        random.unwrap_or_else(PoisonError::into_inner).below(end)
    }
}

// === impl Flow ===

impl Flow {
    async fn until_open(&self) -> Link {
        let mut link = self.link.clone();
        let open = link.wait_for(|link| *link != Link::Cut).await;
        let open = open.map(|link| *link).ok();
        match open {
            Some(link) => link,
            // The links are gone: nothing passes any more.
            None => std::future::pending().await,
        }
    }

    async fn carry(&self, source: OwnedReadHalf, target: OwnedWriteHalf) -> std::io::Result<()> {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        tokio::try_join!(self.take(source, sender), give(receiver, target)).map(drop)
    }

    /// Takes what is sent, as fast as the line does.
    async fn take(
        &self,
        mut source: OwnedReadHalf,
        pieces: mpsc::Sender<Piece>,
    ) -> std::io::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = source.read(&mut piece).await;
            match self.until_open().await {
                Link::Slow { delay, jitter } => {
                    let jitter_ms = usize::try_from(jitter.as_millis()).unwrap_or(0);
                    let more = self.shared.below(jitter_ms + 1);
                    tokio::time::sleep(delay + Duration::from_millis(more as u64)).await;
                }
                Link::Breaks { one_in } if self.shared.below(one_in) == 0 => {
                    return Err(ErrorKind::ConnectionReset.into());
                }
                // Full ones are those of blobs, between the heads of their frames.
                Link::Spoils { one_in }
                    if matches!(read, Ok(PIECE_BYTES)) && self.shared.below(one_in) == 0 =>
                {
                    piece[PIECE_BYTES / 2] ^= 4;
                }
                Link::Whole | Link::Cut | Link::Breaks { .. } | Link::Spoils { .. } => {}
            }
            let read = read?;
            let line = self.lines.borrow().get(&self.way).cloned();
            let due = match line {
                Some(line) => {
                    if let Some(room_at) = line.room_at() {
                        tokio::time::sleep_until(room_at).await;
                    }
                    line.send(read, Instant::now())
                }
                None => Instant::now(),
            };
            // An empty piece is the end.
            let sent = pieces.send((due, piece[..read].to_vec())).await;
            if read == 0 || sent.is_err() {
                return Ok(());
            }
        }
    }
}

/// Hands out what has arrived.
async fn give(
    mut pieces: mpsc::Receiver<Piece>,
    mut target: OwnedWriteHalf,
) -> std::io::Result<()> {
    while let Some((due, piece)) = pieces.recv().await {
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        if piece.is_empty() {
            return target.shutdown().await;
        }
        target.write_all(&piece).await?;
    }
    Ok(())
}
