//! Accepting connections. Everything that a port needs of the outside world
//! goes through [`Listen`], so that a simulation can replace it.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use entrepot_proto::peers::Io;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::stop::Stop;

/// Connections that one port serves at the same time; more have to wait.
const CONNECTIONS_MAX: usize = 8_192;
/// After an accept that failed, typically for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Accepts connections.
#[async_trait]
pub(crate) trait Listen: Send + Sync + std::fmt::Debug {
    async fn accept(&self) -> io::Result<Box<dyn Io>>;
}

/// The listeners of one node.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) client: Box<dyn Listen>,
    pub(crate) peer: Box<dyn Listen>,
    pub(crate) ops: Option<Box<dyn Listen>>,
}

#[async_trait]
impl Listen for TcpListener {
    async fn accept(&self) -> io::Result<Box<dyn Io>> {
        let (stream, _) = TcpListener::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok(Box::new(stream))
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
pub(crate) async fn accept(listener: &dyn Listen) -> Box<dyn Io> {
    loop {
        match listener.accept().await {
            Ok(connection) => return connection,
            Err(error) => {
                warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Serves every connection by `serve` until `stop`, then waits for those that
/// are open.
pub(crate) async fn serve<F, S>(listener: Box<dyn Listen>, stop: Stop, serve: F)
where
    F: Fn(Box<dyn Io>) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            break;
        };
        let connection = tokio::select! {
            connection = accept(listener.as_ref()) => connection,
            () = stop.wait() => break,
        };
        let served = serve(connection);
        connections.spawn(async move {
            served.await;
            drop(place);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
