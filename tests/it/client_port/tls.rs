//! TLS: real clients, a certificate that is replaced, and what is no handshake.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use entrepot_harness::{
    Certificate, Cluster, Finished, Image, Layout, Random, binary, digest_of, run, wait_until,
};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::raw::{ANSWERED, Raw};
use super::{head, serves};
use crate::support::step;

const CURL_DEADLINE: Duration = Duration::from_secs(30);
/// curl: the certificate cannot be checked.
const CURL_UNTRUSTED: i32 = 60;
/// curl: the handshake failed.
const CURL_HANDSHAKE: i32 = 35;
const SILENT: usize = 300;
/// The type of a record that says why a connection ends. (RFC 8446, 5.1)
const ALERT: u8 = 21;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_clients_push_and_pull_over_tls() -> Result<()> {
    let cluster = Cluster::builder().nodes(1).tls().start().await?;
    let authority = cluster.authority()?;
    let endpoint = cluster.node(1)?.endpoint();
    let host = endpoint.trim_start_matches("https://").to_owned();

    step("skopeo", async {
        let image = Image::random(1, 3, 300_000);
        let mut layout = Layout::create(&cluster.scratch("layout")?)?;
        layout.add_image("image", &image)?;
        let name = format!("{host}/tls/skopeo:latest");
        let skopeo = cluster.skopeo();
        skopeo.push(layout.folder(), "image", &name).await?;
        let pulled = skopeo.pull(&name, &cluster.scratch("pulled")?).await?;
        ensure!(pulled == image.digest(), "{pulled}");
        Ok(())
    })
    .await?;
    step("curl, HTTP/1.1 and HTTP/2, TLS 1.2 and 1.3", async {
        for (seed, options, version) in [
            (1, vec!["--http1.1", "--tlsv1.3"], "1.1"),
            (2, vec!["--http2", "--tlsv1.3"], "2"),
            (3, vec!["--http2", "--tls-max", "1.2"], "2"),
        ] {
            push_and_pull(&cluster, &options, version, seed).await?;
        }
        Ok(())
    })
    .await?;
    step("curl, whose body is refused while it sends", async {
        for (options, version) in [(["--http1.1"], "1.1"), (["--http2"], "2")] {
            refused_while_sending(&cluster, &options, version).await?;
        }
        Ok(())
    })
    .await?;
    step("curl without the authority, and with TLS 1.1", async {
        let url = format!("{endpoint}/v2/");
        let stranger = curl(&cluster, &[&url], None).await?;
        ensure!(stranger.code == Some(CURL_UNTRUSTED), "{stranger:?}");
        let old = ["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", &url];
        let old = curl(&cluster, &old, Some(&authority.file())).await?;
        ensure!(old.code == Some(CURL_HANDSHAKE), "{old:?}");
        Ok(())
    })
    .await?;
    step("the CLI, which speaks gRPC", async {
        let admin = cluster.admin(1)?;
        let repositories = admin.list(&["repository", "list"], "repositories").await?;
        ensure!(repositories.len() == 2, "{repositories:?}");
        Ok(())
    })
    .await?;
    step("a client that speaks no TLS is not answered", async {
        let mut plain = Raw::connect(cluster.node(1)?.client_address()).await?;
        plain.send_some(head(&cluster, "GET", "/v2/", "")).await;
        alerted(&mut plain).await
    })
    .await?;
    serves(&cluster.registry(1)?, 9).await?;
    cluster.finish().await
}

/// The node closes, with an alert at most.
async fn alerted(client: &mut Raw) -> Result<()> {
    let said = client.rest().await?;
    let is_alert = said.is_empty() || (said.len() == 7 && said[0] == ALERT);
    ensure!(is_alert, "{said:?}");
    Ok(())
}

/// A blob by way of a file, as a script would push it.
async fn push_and_pull(
    cluster: &Cluster,
    options: &[&str],
    version: &str,
    seed: u64,
) -> Result<()> {
    let authority = cluster.authority()?.file();
    let content = Random::new(seed).bytes(3_000_000);
    let scratch = cluster.scratch("curl")?;
    let (up, down) = (scratch.join("up"), scratch.join("down"));
    std::fs::write(&up, &content)?;
    let digest = digest_of(&content);
    let blobs = format!("{}/v2/tls/curl/blobs", cluster.node(1)?.endpoint());
    let show = ["--write-out", "%{http_code} %{http_version}", "--output"];
    let (up, down) = (format!("@{}", up.display()), down.display().to_string());
    let push = format!("{blobs}/uploads/?digest={digest}");
    let octets = "content-type: application/octet-stream";
    let mut arguments = [options, &show, &["/dev/null", "--header", octets]].concat();
    arguments.extend(["--data-binary", &up, &push]);
    let pushed = curl(cluster, &arguments, Some(&authority))
        .await?
        .success()?;
    ensure!(pushed.stdout == format!("201 {version}"), "{pushed:?}");
    let pull = format!("{blobs}/{digest}");
    let arguments = [options, &show, &[&down, &pull]].concat();
    let pulled = curl(cluster, &arguments, Some(&authority))
        .await?
        .success()?;
    ensure!(pulled.stdout == format!("200 {version}"), "{pulled:?}");
    ensure!(std::fs::read(&down)? == content, "other content");
    Ok(())
}

/// It hears the answer, and not that its stream, or connection, has broken.
async fn refused_while_sending(cluster: &Cluster, options: &[&str], version: &str) -> Result<()> {
    let authority = cluster.authority()?.file();
    let large = cluster.scratch("refused")?.join("large");
    std::fs::write(&large, vec![b' '; 6 << 20])?;
    let large = format!("@{}", large.display());
    let url = format!(
        "{}/v2/tls/curl/manifests/large",
        cluster.node(1)?.endpoint()
    );
    let put = ["--request", "PUT", "--header", "expect:", "--data-binary"];
    let show = [
        "--write-out",
        "%{http_code} %{http_version}",
        "--output",
        "/dev/null",
    ];
    let arguments = [options, &put, &[&large], &show, &[&url]].concat();
    let refused = curl(cluster, &arguments, Some(&authority)).await?;
    let refused = refused.success()?;
    ensure!(refused.stdout == format!("413 {version}"), "{refused:?}");
    Ok(())
}

async fn curl(cluster: &Cluster, arguments: &[&str], ca: Option<&Path>) -> Result<Finished> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--user"]);
    command.arg(format!("{}:{}", cluster.user(), cluster.password()));
    if let Some(ca) = ca {
        command.arg("--cacert").arg(ca);
    }
    command.args(arguments);
    run(command, CURL_DEADLINE).await
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections_alone() -> Result<()> {
    let cluster = Cluster::builder().nodes(1).tls().start().await?;
    let node = cluster.node(1)?;
    let (first, mut old) = connected(&cluster).await?;
    asks(&cluster, &mut old).await?;

    let new = cluster.authority()?.issue()?;
    step("a certificate with another's key is refused", async {
        let mixed = Certificate {
            key_pem: cluster.authority()?.issue()?.key_pem,
            ..new.clone()
        };
        cluster.replace_certificate(&mixed)?;
        wait_until("the node to say so", ANSWERED, async || {
            let refused = node.log_contains("the new certificate of the client port is refused");
            Ok(refused.then_some(()))
        })
        .await?;
        let (shown, mut fresh) = connected(&cluster).await?;
        ensure!(shown == first, "another certificate than before");
        asks(&cluster, &mut fresh).await
    })
    .await?;
    step("a whole one is shown to who connects", async {
        cluster.replace_certificate(&new)?;
        wait_until("the new certificate", ANSWERED, async || {
            let (shown, mut fresh) = connected(&cluster).await?;
            asks(&cluster, &mut fresh).await?;
            Ok((shown == new.der).then_some(()))
        })
        .await
    })
    .await?;
    step(
        "a connection that was there goes on",
        asks(&cluster, &mut old),
    )
    .await?;
    step("files that are gone change nothing", async {
        let gone = Certificate {
            pem: String::new(),
            ..new.clone()
        };
        cluster.replace_certificate(&gone)?;
        wait_until("the node to say so", ANSWERED, async || {
            Ok(node.log_contains("holds no certificate").then_some(()))
        })
        .await?;
        let (shown, mut fresh) = connected(&cluster).await?;
        ensure!(shown == new.der, "another certificate than before");
        asks(&cluster, &mut fresh).await
    })
    .await?;
    cluster.finish().await
}

/// A new connection, and the certificate that it was shown.
async fn connected(
    cluster: &Cluster,
) -> Result<(CertificateDer<'static>, Raw<TlsStream<TcpStream>>)> {
    let address = cluster.node(1)?.client_address();
    let config = cluster.authority()?.client(&["http/1.1"])?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::IpAddress(address.ip().into());
    let stream = connector.connect(name, stream).await.context("handshake")?;
    let shown = stream.get_ref().1.peer_certificates();
    let shown = shown.and_then(<[_]>::first).context("no certificate")?;
    Ok((shown.clone().into_owned(), Raw::over(stream)))
}

async fn asks(cluster: &Cluster, client: &mut Raw<TlsStream<TcpStream>>) -> Result<()> {
    client.send(head(cluster, "GET", "/v2/", "")).await?;
    client.answer().await?.expect(200)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_handshake_is_cut_off_and_keeps_nobody_out() -> Result<()> {
    let cluster = Cluster::builder()
        .nodes(1)
        .tls()
        .limit("handshake_timeout_s", 3)
        .limit("handshakes_max", 2)
        .start()
        .await?;
    let registry = cluster.registry(1)?;
    serves(&registry, 1).await?;
    let address = cluster.node(1)?.client_address();
    step("garbage is closed at once", async {
        let random = Random::new(1).bytes(100_000);
        let record = [&b"\x16\x03\x01\xff\xff"[..], &random].concat();
        let alert = b"\x15\x03\x03\0\x02\x02\x28".to_vec();
        for garbage in [random.to_vec(), record, alert, b"\r\n\r\n".to_vec()] {
            let mut client = Raw::connect(address).await?;
            client.send_some(&garbage).await;
            alerted(&mut client).await?;
        }
        Ok(())
    })
    .await?;
    step(
        "those that say nothing are closed in time, beside others",
        async {
            let mut silent = Vec::new();
            for number in 0..SILENT {
                let mut client = Raw::connect(address).await?;
                if number % 2 == 0 {
                    // The beginning of a hello.
                    client.send(b"\x16\x03\x01\x02\x00\x01").await?;
                }
                silent.push(client);
            }
            // On connections of its own: two places for all handshakes.
            for round in 2..5 {
                serves(&cluster.registry(1)?, round).await?;
            }
            for client in &mut silent {
                client.closed().await?;
            }
            Ok(())
        },
    )
    .await?;
    serves(&registry, 9).await?;
    cluster.finish().await
}

#[tokio::test]
async fn a_node_does_not_start_with_a_certificate_that_cannot_be_used() -> Result<()> {
    let mut cluster = Cluster::builder().nodes(1).tls().start().await?;
    cluster.stop(&[1]).await?;
    let new = cluster.authority()?.issue()?;
    let broken = cluster.scratch("broken")?;
    let (pem, key) = (broken.join("tls.crt"), broken.join("tls.key"));
    std::fs::write(&pem, &new.pem)?;
    for (key_pem, says) in [
        ("no key", "private key"),
        (
            cluster.authority()?.issue()?.key_pem.as_str(),
            "used together",
        ),
    ] {
        std::fs::write(&key, key_pem)?;
        let mut command = Command::new(binary("ENTREPOT_NODE", "entrepot-node")?);
        command.arg("run").arg("--config");
        command.arg(cluster.node(1)?.config_path());
        for listen in ["--listen-client", "--listen-peer", "--listen-ops"] {
            command.args([listen, "127.0.0.1:0"]);
        }
        command.arg("--tls-certificate").arg(&pem);
        command.env("ENTREPOT_TLS_KEY", &key);
        let finished = run(command, ANSWERED).await?.failure()?;
        let said = finished.stderr.trim();
        ensure!(said.contains("listen.tls") && said.contains(says), "{said}");
    }
    cluster.finish().await
}
