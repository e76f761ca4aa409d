//! Accepting connections. Everything that a port needs of the outside world
//! goes through [`Listen`], so that a simulation can replace it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use entrepot_proto::peers::Io;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tracing::warn;

use crate::stop::Stop;

/// After an accept that failed, typically for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Says so again that a port is full.
const FULL_LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Accepts connections.
#[async_trait]
pub trait Listen: Send + Sync + std::fmt::Debug {
    async fn accept(&self) -> io::Result<Box<dyn Io>>;

    /// The same, and who is at the other end, where that can be told.
    async fn accept_from(&self) -> io::Result<(Box<dyn Io>, Option<IpAddr>)> {
        Ok((self.accept().await?, None))
    }
}

/// The listeners of one node.
#[derive(Debug)]
pub struct Listeners {
    pub client: Box<dyn Listen>,
    pub peer: Box<dyn Listen>,
    pub ops: Option<Box<dyn Listen>>,
}

#[async_trait]
impl Listen for TcpListener {
    async fn accept(&self) -> io::Result<Box<dyn Io>> {
        Ok(self.accept_from().await?.0)
    }

    async fn accept_from(&self) -> io::Result<(Box<dyn Io>, Option<IpAddr>)> {
        let (stream, address) = TcpListener::accept(self).await?;
        // Fails for a client that has gone away, which shows soon enough.
        let _ = stream.set_nodelay(true);
        Ok((Box::new(stream), Some(address.ip())))
    }
}

/// Binds a port.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<Box<dyn Listen>> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    Ok(Box::new(listener))
}

/// The next connection, however often it takes.
pub(crate) async fn accept(listener: &dyn Listen) -> (Box<dyn Io>, Option<IpAddr>) {
    loop {
        match listener.accept_from().await {
            Ok(connection) => return connection,
            Err(error) => {
                warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Serves every connection by `serve` until `stop`, then waits for those that
/// are open. With `connections_max` of them, the next ones wait unaccepted.
pub(crate) async fn serve<F, S>(
    listener: Box<dyn Listen>,
    connections_max: usize,
    stop: Stop,
    serve: F,
) where
    F: Fn(Box<dyn Io>, Option<IpAddr>) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let places = Places::new(connections_max);
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let place = places.take().await;
            (place, accept(listener.as_ref()).await)
        };
        let (place, (connection, from)) = tokio::select! {
            accepted = accepted => accepted,
            () = stop.wait() => break,
        };
        let served = serve(connection, from);
        connections.spawn(async move {
            served.await;
            drop(place);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// One for each connection that a port may have.
struct Places {
    free: Arc<Semaphore>,
    max: usize,
    said_full: Mutex<Option<Instant>>,
}

// === impl Places ===

impl Places {
    fn new(max: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(max)),
            max,
            said_full: Mutex::new(None),
        }
    }

    /// The next free place; logs when that takes a while. None: never, for
    /// nobody closes the semaphore.
    async fn take(&self) -> Option<OwnedSemaphorePermit> {
        let free = Arc::clone(&self.free);
        if self.free.available_permits() == 0 && self.say_full() {
            warn!(
                connections = self.max,
                "a port has as many connections as it may: more have to wait"
            );
        }
        free.acquire_owned().await.ok()
    }

    fn say_full(&self) -> bool {
        let mut said = self
            .said_full
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_due = said.is_none_or(|at| at.elapsed() >= FULL_LOG_INTERVAL);
        if is_due {
            *said = Some(Instant::now());
        }
        is_due
    }
}
