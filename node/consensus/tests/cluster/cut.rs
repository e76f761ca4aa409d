//! Connections between nodes that can be cut, while both ends live on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use entrepot_proto::peers::{Dial, Io, PeerInfo, TcpDial};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The node that nobody reaches and that reaches nobody; 0: none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Isolated(Arc<AtomicU64>);

/// How much a connection carries before it breaks; 0: any amount.
#[derive(Debug, Clone, Default)]
pub(crate) struct Brittle(Arc<Breaking>);

#[derive(Debug, Default)]
struct Breaking {
    bytes_max: AtomicU64,
    broken: AtomicU64,
}

/// Dials for node `own`.
#[derive(Debug)]
pub(crate) struct CutDial {
    pub(crate) own: u64,
    pub(crate) peers: Vec<PeerInfo>,
    pub(crate) isolated: Isolated,
    pub(crate) brittle: Brittle,
}

struct Link {
    stream: Box<dyn Io>,
    carried: u64,
    brittle: Brittle,
    ends: [u64; 2],
    isolated: Isolated,
}

impl Isolated {
    pub(crate) fn set(&self, node: u64) {
        self.0.store(node, Ordering::SeqCst);
    }

    fn check(&self, ends: [u64; 2]) -> io::Result<()> {
        if ends.contains(&self.0.load(Ordering::SeqCst)) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl Brittle {
    pub(crate) fn set(&self, bytes_max: u64) {
        self.0.bytes_max.store(bytes_max, Ordering::SeqCst);
    }

    /// Connections that broke of it.
    pub(crate) fn broken(&self) -> u64 {
        self.0.broken.load(Ordering::SeqCst)
    }

    fn check(&self, carried: u64) -> io::Result<()> {
        let bytes_max = self.0.bytes_max.load(Ordering::SeqCst);
        if bytes_max == 0 || carried <= bytes_max {
            return Ok(());
        }
        self.0.broken.fetch_add(1, Ordering::SeqCst);
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

impl Dial for CutDial {
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let target = self.peers.iter().find(|peer| peer.address == address);
        let ends = [self.own, target.expect("a node's address").id];
        let (isolated, brittle) = (self.isolated.clone(), self.brittle.clone());
        async move {
            isolated.check(ends)?;
            let stream = TcpDial.dial(address).await?;
            Ok(Box::new(Link {
                stream,
                carried: 0,
                brittle,
                ends,
                isolated,
            }) as Box<dyn Io>)
        }
        .boxed()
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.isolated.check(self.ends)?;
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.isolated.check(self.ends)?;
        self.brittle.check(self.carried)?;
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = &written {
            self.carried += *written as u64;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
