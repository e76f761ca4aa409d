//! A proxy as clients know it from `HTTPS_PROXY`: whatever host they ask for, they
//! get to one node. So a registry's own host needs no name server.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Of what a client says to a proxy.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Dropped, it takes no more connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    listens: JoinHandle<()>,
}

impl Proxy {
    /// What clients call it in their environment.
    pub const VARIABLE: &'static str = "HTTPS_PROXY";

    /// To `node`.
    pub fn open(node: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("open a proxy")?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let listens = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, node));
            }
        });
        Ok(Self { address, listens })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listens.abort();
    }
}

/// Takes `CONNECT` alone (RFC 9110, 9.3.6).
async fn pass_on(mut client: TcpStream, node: SocketAddr) -> Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < HEAD_BYTES_MAX, "too long a head");
        head.push(client.read_u8().await?);
    }
    ensure!(head.starts_with(b"CONNECT "), "not CONNECT");
    let mut node = TcpStream::connect(node).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut client, &mut node).await?;
    Ok(())
}
