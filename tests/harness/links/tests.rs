//! Links between this process and an echo.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::{Link, Links};
use crate::ports::Ports;

const CALLER: u64 = 1;
const ECHO: u64 = 2;
const SOON: Duration = Duration::from_secs(10);
/// Nothing arrives for this long.
const NOTHING: Duration = Duration::from_millis(200);

/// A connection of node 1, which is this process, to node 2, which sends back
/// what it gets.
async fn connect() -> Result<(Links, TcpStream, Ports)> {
    let echo = TcpListener::bind(("127.0.0.1", 0)).await?;
    let real = echo.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = echo.accept().await {
            tokio::spawn(async move {
                let (mut heard, mut said) = stream.split();
                let _ = tokio::io::copy(&mut heard, &mut said).await;
            });
        }
    });
    let ports = Ports::take(2)?;
    let [first, second] = [ports.numbers()[0], ports.numbers()[1]];
    let links = Links::open(&[(CALLER, first, first), (ECHO, second, real)], 1)?;
    links.note_process(CALLER, std::process::id());
    let stream = TcpStream::connect(("127.0.0.1", second)).await?;
    Ok((links, stream, ports))
}

async fn answer(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut answer = vec![0; 4];
    tokio::time::timeout(SOON, stream.read_exact(&mut answer)).await??;
    Ok(answer)
}

#[tokio::test]
async fn a_whole_link_carries() -> Result<()> {
    let (_links, mut stream, _ports) = connect().await?;
    stream.write_all(b"ping").await?;
    ensure!(answer(&mut stream).await? == b"ping");
    Ok(())
}

#[tokio::test]
async fn what_a_cut_link_holds_back_arrives_once_it_is_whole() -> Result<()> {
    for (from, to) in [(CALLER, ECHO), (ECHO, CALLER)] {
        let (links, mut stream, _ports) = connect().await?;
        stream.write_all(b"ping").await?;
        ensure!(answer(&mut stream).await? == b"ping");
        links.set(from, to, Link::Cut);
        stream.write_all(b"held").await?;
        let mut byte = [0];
        let nothing = tokio::time::timeout(NOTHING, stream.read(&mut byte)).await;
        ensure!(nothing.is_err(), "{from} to {to}: {nothing:?}");
        links.set_all(Link::Whole);
        ensure!(answer(&mut stream).await? == b"held");
    }
    Ok(())
}

#[tokio::test]
async fn a_slow_link_is_late() -> Result<()> {
    let (links, mut stream, _ports) = connect().await?;
    links.set_around(
        ECHO,
        Link::Slow {
            delay: NOTHING,
            jitter: Duration::from_millis(5),
        },
    );
    let sent = std::time::Instant::now();
    stream.write_all(b"ping").await?;
    ensure!(answer(&mut stream).await? == b"ping");
    ensure!(sent.elapsed() >= 2 * NOTHING, "{:?}", sent.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_link_that_breaks_ends_its_connections() -> Result<()> {
    let (links, mut stream, _ports) = connect().await?;
    stream.write_all(b"ping").await?;
    ensure!(answer(&mut stream).await? == b"ping");
    links.set_all(Link::Breaks { one_in: 1 });
    stream.write_all(b"lost").await?;
    let mut byte = [0];
    let read = tokio::time::timeout(SOON, stream.read(&mut byte)).await?;
    ensure!(!matches!(read, Ok(1..)), "{read:?}");
    Ok(())
}

#[tokio::test]
async fn a_stranger_is_connected_until_strangers_are_refused() -> Result<()> {
    let (links, mut stream, _ports) = connect().await?;
    links.note_process(CALLER, 1);
    links.set_all(Link::Cut);
    stream.write_all(b"ping").await?;
    ensure!(answer(&mut stream).await? == b"ping");
    let (links, mut stream, _ports) = connect().await?;
    links.note_process(CALLER, 1);
    links.refuse_strangers();
    stream.write_all(b"ping").await?;
    let mut byte = [0];
    let read = tokio::time::timeout(SOON, stream.read(&mut byte)).await?;
    ensure!(!matches!(read, Ok(1..)), "{read:?}");
    Ok(())
}
