//! The way in: a port of a node inside a namespace, on loopback outside of it.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::namespace::Namespace;

/// Dropped, it takes no more connections.
#[derive(Debug)]
pub(super) struct Door {
    listens: JoinHandle<()>,
}

impl Door {
    /// The port has the same number on both sides.
    pub(super) fn open(port: u16, inside: &Arc<Namespace>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = listener.with_context(|| format!("listen on port {port}"))?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let inside = Arc::clone(inside);
        let listens = tokio::spawn(async move {
            while let Ok((outer, _)) = listener.accept().await {
                tokio::spawn(pass_on(outer, port, Arc::clone(&inside)));
            }
        });
        Ok(Self { listens })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.listens.abort();
    }
}

/// The client sees what becomes of it: its connection ends with the node's.
async fn pass_on(mut outer: TcpStream, port: u16, inside: Arc<Namespace>) -> Result<()> {
    let inner = inside.connect(port).await?;
    drop(inside);
    inner.set_nonblocking(true)?;
    let mut inner = TcpStream::from_std(inner)?;
    inner.set_nodelay(true)?;
    outer.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut outer, &mut inner).await?;
    Ok(())
}
