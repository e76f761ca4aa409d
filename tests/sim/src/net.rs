//! The network of a simulation, as nodes and clients see it: turmoil's, with a
//! trace of what goes over it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use entrepot_node::Listen;
use entrepot_proto::peers::{Dial, Io};
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use crate::trace;

/// Of every node.
pub(crate) const CLIENT_PORT: u16 = 5000;
pub(crate) const PEER_PORT: u16 = 6000;

/// Connections to peers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SimDial;

/// A port of a node.
pub(crate) struct SimListen(TcpListener);

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Traced {
    stream: TcpStream,
    ends: [u8; 12],
}

// === impl SimDial ===

impl Dial for SimDial {
    fn dial(&self, address: String) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        Box::pin(async move { Ok(Box::new(connect(&address).await?) as Box<dyn Io>) })
    }
}

/// Connects to `host:port`.
pub(crate) async fn connect(address: &str) -> io::Result<Traced> {
    Traced::new(TcpStream::connect(address).await?)
}

// === impl SimListen ===

impl SimListen {
    pub(crate) async fn bind(port: u16) -> io::Result<Box<dyn Listen>> {
        let listener = TcpListener::bind(("0.0.0.0", port)).await?;
        Ok(Box::new(Self(listener)))
    }
}

#[async_trait]
impl Listen for SimListen {
    async fn accept(&self) -> io::Result<Box<dyn Io>> {
        let (stream, _) = self.0.accept().await?;
        Ok(Box::new(Traced::new(stream)?))
    }
}

impl fmt::Debug for SimListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimListen")
            .field(&self.0.local_addr().ok())
            .finish()
    }
}

// === impl Traced ===

impl Traced {
    fn new(stream: TcpStream) -> io::Result<Self> {
        let mut ends = [0; 12];
        for (part, end) in ends
            .chunks_mut(6)
            .zip([stream.local_addr()?, stream.peer_addr()?])
        {
            if let SocketAddr::V4(end) = end {
                part[..4].copy_from_slice(&end.ip().octets());
                part[4..].copy_from_slice(&end.port().to_le_bytes());
            }
        }
        Ok(Self { stream, ends })
    }
}

impl AsyncRead for Traced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Traced {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let (Poll::Ready(Ok(written)), Some(at)) = (&written, turmoil::sim_elapsed()) {
            trace::note(at, &[&self.ends, buf.get(..*written).unwrap_or_default()]);
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
