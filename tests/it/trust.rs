//! Nodes that know each other by certificates: how machines become nodes, who
//! is refused, and how a node is shut out.

mod attacks;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use entrepot_harness::{Authority, Cluster, Image, Registry, wait_until};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::{EU, US, US_GROUP, step};

const SETTLED: Duration = Duration::from_mins(1);
const CUT_OFF: Duration = Duration::from_secs(20);
const REFUSED: Duration = Duration::from_secs(10);
/// Renewed after ten seconds.
const SHORT_LIFE_S: u64 = 15;
/// HTTP/2 without TLS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_join_by_tokens_and_strangers_are_refused() -> Result<()> {
    let mut cluster = Cluster::builder()
        .regions([US])
        .nodes(3)
        .spare(EU)
        .start()
        .await?;
    step("the three vote, and serve what one took", async {
        wait_voters(&cluster, US_GROUP, &[1, 2, 3]).await?;
        push_and_pull(&cluster, "first", &[1, 2, 3]).await
    })
    .await?;
    step(
        "a token lets in one machine, of its region, in time",
        async { refused_tokens(&cluster).await },
    )
    .await?;
    step("a folder that is a node's is left alone", async {
        let again = cluster.node(2)?.command(&["init", "--region", US]).await?;
        one_line(&again.failure()?.stderr, "node 2 of cluster")
    })
    .await?;
    step(
        "strangers are refused at the peer port",
        strangers(&cluster),
    )
    .await?;
    step("the first node of a region makes it", async {
        cluster.start(&[4]).await?;
        wait_voters(&cluster, "global/0", &[1, 2, 3]).await?;
        push_and_pull(&cluster, "second", &[4]).await
    })
    .await?;
    step("all of them restart", async {
        cluster.stop(&[1, 2, 3, 4]).await?;
        cluster.start(&[1, 2, 3, 4]).await?;
        push_and_pull(&cluster, "third", &[3, 2, 1]).await
    })
    .await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_node_is_cut_off_and_the_others_go_on() -> Result<()> {
    let mut cluster = Cluster::builder().nodes(3).start().await?;
    wait_voters(&cluster, US_GROUP, &[1, 2, 3]).await?;
    push_and_pull(&cluster, "before", &[3, 1]).await?;
    let admin = cluster.admin(1)?;
    let unsure = admin.try_run(&["node", "revoke", "3"]).await?.failure()?;
    ensure!(unsure.stderr.contains("--yes"), "{}", unsure.stderr);
    let own = admin.try_run(&["node", "revoke", "1", "--yes"]).await?;
    one_line(&own.failure()?.stderr, "ask another one")?;
    let revoked = admin.json(&["node", "revoke", "3", "--yes"]).await?;
    ensure!(revoked["revoked"] == 3, "{revoked}");
    let third = cluster.registry(3)?;
    wait_until("node 3 to be cut off", CUT_OFF, async || {
        let reply = third.post("/v2/late/blobs/uploads/").send().await?;
        ensure!(reply.status == 503, "{}", reply.status);
        Ok(Some(()))
    })
    .await?;
    wait_until("the others to say so", CUT_OFF, async || {
        let said = cluster.node(1)?.log_contains("of node 3 was revoked");
        Ok(said.then_some(()))
    })
    .await?;
    push_and_pull(&cluster, "after", &[1, 2]).await?;
    step("a new start lets it in no more", async {
        cluster.kill9(3)?;
        cluster.spawn(3)?;
        let third = cluster.registry(3)?;
        wait_until("node 3 to answer that it cannot", CUT_OFF, async || {
            let reply = third.post("/v2/late/blobs/uploads/").send().await?;
            ensure!(reply.status == 503, "{}", reply.status);
            Ok(Some(()))
        })
        .await?;
        push_and_pull(&cluster, "later", &[2, 1]).await
    })
    .await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_renewed_while_the_nodes_serve() -> Result<()> {
    let cluster = Cluster::builder()
        .certificate_life_s(SHORT_LIFE_S)
        .nodes(2)
        .start()
        .await?;
    let first = [certificate(&cluster, 1)?, certificate(&cluster, 2)?];
    wait_until("two new certificates", SETTLED, async || {
        let now = [certificate(&cluster, 1)?, certificate(&cluster, 2)?];
        Ok((now[0] != first[0] && now[1] != first[1]).then_some(()))
    })
    .await?;
    let second = certificate(&cluster, 1)?;
    wait_until("one more", SETTLED, async || {
        // Those that the connections began with have expired by then.
        Ok((certificate(&cluster, 1)? != second).then_some(()))
    })
    .await?;
    push_and_pull(&cluster, "renewed", &[1, 2]).await?;
    cluster.finish().await
}

fn certificate(cluster: &Cluster, node: u64) -> Result<String> {
    let path = cluster.node(node)?.data().join("trust/node.crt");
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

async fn wait_voters(cluster: &Cluster, group: &str, voters: &[u64]) -> Result<()> {
    let admin = cluster.admin(1)?;
    wait_until("the voters to be as they should", SETTLED, async || {
        let groups = admin.list(&["cluster", "status"], "groups").await?;
        let found = groups.iter().find(|it| it["group"] == group);
        let found = found.with_context(|| format!("no group {group}"))?;
        let found: Vec<u64> = found["voters"]
            .as_array()
            .map(|voters| voters.iter().filter_map(Value::as_u64).collect())
            .unwrap_or_default();
        ensure!(voters.iter().all(|it| found.contains(it)), "{found:?}");
        Ok(Some(()))
    })
    .await
}

/// Through the first of `nodes`, and from each of them.
async fn push_and_pull(cluster: &Cluster, repository: &str, nodes: &[u64]) -> Result<()> {
    let image = Image::random(nodes[0], 1, 200_000);
    let first: Registry = cluster.registry(nodes[0])?;
    first.push_image(repository, "v1", &image).await?;
    for node in nodes {
        let registry = cluster.registry(*node)?;
        registry.verify_image(repository, "v1", &image).await?;
    }
    Ok(())
}

async fn refused_tokens(cluster: &Cluster) -> Result<()> {
    let join = async |token: &str, more: &[&str]| {
        let folder = cluster.scratch("nobody")?;
        let folder = folder.display().to_string();
        let arguments = ["join", "--token", token, "--data", &folder];
        let spare = cluster.node(4)?;
        let refused = spare.command(&[&arguments, more].concat()).await?;
        anyhow::Ok(refused.failure()?.stderr)
    };
    let token = cluster.token(&["--region", EU]).await?;
    one_line(&join(&token, &["--region", US]).await?, EU)?;
    let torn = &token[..token.len() - 4];
    one_line(&join(torn, &[]).await?, "missing or was changed")?;
    one_line(&join("hunter2", &[]).await?, "not a join token")?;
    let any = cluster.token(&[]).await?;
    one_line(&join(&any, &[]).await?, "--region")?;

    let short = ["node", "token", "--region", EU, "--ttl", "1s"];
    let short = cluster.admin(1)?.json(&short).await?;
    let expires = short["expires_at_ms"].as_u64().context("a time")?;
    wait_until("a token to expire", REFUSED, async || {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        Ok((now.as_millis() > u128::from(expires)).then_some(()))
    })
    .await?;
    let short = short["token"].as_str().context("a token")?;
    one_line(&join(short, &[]).await?, "expired")?;

    let used = cluster.token(&["--region", EU]).await?;
    // Started in a later step.
    let first = cluster
        .node(4)?
        .command(&["join", "--token", &used])
        .await?;
    first.success()?;
    one_line(&join(&used, &[]).await?, "used by node 4")
}

/// What cannot be reached is retried elsewhere; what is refused is one line.
fn one_line(stderr: &str, says: &str) -> Result<()> {
    let said = stderr.trim();
    ensure!(said.contains(says), "{says:?} is not in {said:?}");
    ensure!(said.lines().count() == 1, "{said}");
    Ok(())
}

/// Without TLS, with a certificate of another authority, with none.
async fn strangers(cluster: &Cluster) -> Result<()> {
    let address = cluster.node(1)?.peer_address();
    let mut plain = TcpStream::connect(address).await?;
    plain.write_all(PREFACE).await?;
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(REFUSED, plain.read_to_end(&mut answer)).await;
    ensure!(ended.is_ok(), "a peer without TLS was kept");
    // An alert of TLS, or nothing; no frame of HTTP/2.
    ensure!(answer.len() <= 7, "it was answered: {answer:?}");

    let mut silent = TcpStream::connect(address).await?;
    let ended = tokio::time::timeout(REFUSED, silent.read_to_end(&mut answer)).await;
    ensure!(ended.is_ok(), "a peer that says nothing was kept");

    let foreign = Authority::create(&cluster.scratch("foreign")?)?;
    let foreign = foreign.issue()?;
    let chain = vec![foreign.der.clone()];
    let key = PrivateKeyDer::from_pem_slice(foreign.key_pem.as_bytes())?;
    let config = as_anybody()?.with_client_auth_cert(chain, key)?;
    let ended = spoken_to(address, config).await;
    ensure!(ended.is_err(), "a foreign certificate was taken: {ended:?}");

    let other = Cluster::builder().nodes(1).start().await?;
    let trust = other.node(1)?.data().join("trust");
    let chain = vec![CertificateDer::from_pem_slice(&read(
        &trust.join("node.crt"),
    )?)?];
    let key = PrivateKeyDer::from_pem_slice(&read(&trust.join("node.key"))?)?;
    let ended = spoken_to(address, as_anybody()?.with_client_auth_cert(chain, key)?).await;
    ensure!(
        ended.is_err(),
        "another cluster's node was taken: {ended:?}"
    );
    other.finish().await?;

    // It is listened to, for it may want to join.
    let config = as_anybody()?.with_no_client_auth();
    let answer = spoken_to(address, config).await?;
    ensure!(!answer.is_empty(), "who may join was not answered");
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

fn as_anybody() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let any = Arc::new(Anybody);
    Ok(config.dangerous().with_custom_certificate_verifier(any))
}

/// What the peer port answers to a preface, if it does.
async fn spoken_to(address: std::net::SocketAddr, mut config: ClientConfig) -> Result<Vec<u8>> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("node.example")?;
    let connection = TcpStream::connect(address).await?;
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(name, connection).await?;
    stream.write_all(PREFACE).await?;
    stream.flush().await?;
    let mut answer = vec![0; 64];
    let read = tokio::time::timeout(REFUSED, stream.read(&mut answer)).await??;
    ensure!(read > 0, "the connection was ended");
    answer.truncate(read);
    Ok(answer)
}

/// Believes whatever a server shows: it is the server that is tested.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
        ]
    }
}
