//! The network between the nodes: TCP on loopback, which a test can cut and
//! freeze.
//!
//! What is cut is broken at once, as by a node that dies. What is frozen stays
//! connected and carries nothing, as with a node that hangs.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use entrepot_proto::peers::{Dial, Io};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How two nodes are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Link {
    #[default]
    Up,
    Cut,
    Frozen,
}

/// Every connection between the nodes of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Network {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    addresses: HashMap<String, u64>,
    /// By pair, the smaller id first.
    links: HashMap<(u64, u64), Link>,
    waiting: Vec<Waker>,
    /// Connections that were refused because their link is cut.
    refused: u64,
    /// Connections that were made, by who made them and to whom.
    made: HashMap<(u64, u64), u64>,
}

/// The network as one node reaches it.
#[derive(Debug)]
pub(crate) struct NodeDial {
    network: Arc<Network>,
    from: u64,
}

struct Wire {
    network: Arc<Network>,
    pair: (u64, u64),
    stream: TcpStream,
}

// === impl Network ===

impl Network {
    pub(crate) fn add(&self, node: u64, address: &str) {
        let mut state = self.state.lock().unwrap();
        state.addresses.insert(address.to_owned(), node);
    }

    pub(crate) fn dial_from(self: &Arc<Self>, from: u64) -> Arc<dyn Dial> {
        Arc::new(NodeDial {
            network: Arc::clone(self),
            from,
        })
    }

    /// Sets the links between `node` and every other.
    pub(crate) fn set(&self, node: u64, link: Link) {
        let others: Vec<u64> = {
            let state = self.state.lock().unwrap();
            state.addresses.values().copied().collect()
        };
        for other in others {
            self.set_between(node, other, link);
        }
    }

    pub(crate) fn set_between(&self, one: u64, other: u64, link: Link) {
        let mut state = self.state.lock().unwrap();
        state.links.insert(pair(one, other), link);
        for waker in state.waiting.drain(..) {
            waker.wake();
        }
    }

    /// How many connections were refused because their link was cut.
    pub(crate) fn refused(&self) -> u64 {
        self.state.lock().unwrap().refused
    }

    /// How many connections `from` has made to `to`.
    pub(crate) fn made(&self, from: u64, to: u64) -> u64 {
        let state = self.state.lock().unwrap();
        state.made.get(&(from, to)).copied().unwrap_or_default()
    }

    fn link(&self, pair: (u64, u64)) -> Link {
        let state = self.state.lock().unwrap();
        state.links.get(&pair).copied().unwrap_or_default()
    }

    /// Waits while the link is frozen; wakes whoever asked when it changes.
    fn poll_open(&self, pair: (u64, u64), cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state.lock().unwrap();
        if !state
            .waiting
            .iter()
            .any(|waker| waker.will_wake(cx.waker()))
        {
            state.waiting.push(cx.waker().clone());
        }
        match state.links.get(&pair).copied().unwrap_or_default() {
            Link::Up => Poll::Ready(Ok(())),
            Link::Cut => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Link::Frozen => Poll::Pending,
        }
    }
}

fn pair(one: u64, other: u64) -> (u64, u64) {
    (one.min(other), one.max(other))
}

// === impl NodeDial ===

impl Dial for NodeDial {
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let (network, from) = (Arc::clone(&self.network), self.from);
        Box::pin(async move {
            let to = network.state.lock().unwrap().addresses[&address];
            let pair = pair(from, to);
            if network.link(pair) == Link::Cut {
                network.state.lock().unwrap().refused += 1;
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            *network
                .state
                .lock()
                .unwrap()
                .made
                .entry((from, to))
                .or_default() += 1;
            Ok(Box::new(Wire {
                network,
                pair,
                stream,
            }) as Box<dyn Io>)
        })
    }
}

// === impl Wire ===

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.network.poll_open(self.pair, cx))?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.network.poll_open(self.pair, cx))?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.network.poll_open(self.pair, cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
