//! An endpoint that speaks TLS: whose certificate is believed, and what is said
//! when it is not.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;
use tonic::transport::{Identity, ServerTlsConfig};

use crate::fake::{Fake, sample};
use crate::run::{Run, entrepot};

/// An authority of the test's own.
pub(crate) struct Authority {
    file: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let file = dir.join(name);
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Self { file, issuer }
    }

    /// The authority, to be trusted.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The authority, to sign with.
    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// A fake node with a certificate for `host`.
    async fn node(&self, host: &str) -> Fake {
        let params = CertificateParams::new([host.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let identity = Identity::from_pem(certificate.pem(), key.serialize_pem());
        Fake::start_tls(sample(), ServerTlsConfig::new().identity(identity)).await
    }
}

/// `rule list`, asked of `url` with the authorities in `file`.
fn list(url: &str, file: &Path) -> Run {
    let file = file.display().to_string();
    entrepot("rule list")
        .asking_at(url)
        .env("ENTREPOT_CA_FILE", &file)
}

#[tokio::test]
async fn a_certificate_of_the_named_authority_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca.pem");
    let fake = ca.node("127.0.0.1").await;
    let answer = list(&fake.url(), &ca.file).answer().await;
    assert!(answer.contains("nightly"), "{answer}");
    let flag = entrepot("rule list --ca-file").argument(&ca.file);
    let answer = flag.asking(&fake).answer().await;
    assert!(answer.contains("nightly"), "{answer}");
}

#[tokio::test]
async fn an_authority_that_the_machine_trusts_needs_no_file() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca.pem");
    let fake = ca.node("127.0.0.1").await;
    let file = ca.file.display().to_string();
    let run = entrepot("rule list").asking(&fake);
    let answer = run.env("SSL_CERT_FILE", &file).answer().await;
    assert!(answer.contains("nightly"), "{answer}");
}

#[tokio::test]
async fn any_other_certificate_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca.pem");
    let other = Authority::new(dir.path(), "other.pem");
    let fake = ca.node("127.0.0.1").await;
    let advice = "check that --ca-file or ENTREPOT_CA_FILE names the authority that signed the \
                  node's certificate, and that the certificate names the host of --endpoint";
    let complaint = list(&fake.url(), &other.file).complaint().await;
    assert!(complaint.contains("does not prove"), "{complaint}");
    assert!(complaint.ends_with(advice), "{complaint}");
    let elsewhere = ca.node("node-1.example").await;
    let complaint = list(&elsewhere.url(), &ca.file).complaint().await;
    assert!(complaint.ends_with(advice), "{complaint}");
    assert_eq!(
        fake.state.lock().unwrap().deadlines.len(),
        0,
        "it was asked"
    );
}

/// What curl takes: it stands for itself.
#[tokio::test]
async fn the_certificate_of_an_authority_is_no_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.pem");
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    std::fs::write(&file, &certificate).unwrap();
    let identity = Identity::from_pem(certificate, key.serialize_pem());
    let fake = Fake::start_tls(sample(), ServerTlsConfig::new().identity(identity)).await;
    let complaint = list(&fake.url(), &file).complaint().await;
    let advice = "which cannot stand for a node: make one for the node, with \
                  basicConstraints=CA:FALSE";
    assert!(complaint.ends_with(advice), "{complaint}");
}

#[tokio::test]
async fn files_that_hold_no_authority_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let url = "https://127.0.0.1:1";
    let absent = list(url, Path::new("/no/such.pem")).complaint().await;
    assert!(
        absent.starts_with("cannot read the certificate authorities from /no/such.pem: "),
        "{absent}"
    );
    let file = dir.path().join("empty.pem");
    for content in ["", "-----BEGIN CERTIFICATE-----\nbroken"] {
        std::fs::write(&file, content).unwrap();
        let complaint = list(url, &file).complaint().await;
        let place = file.display();
        assert_eq!(
            complaint,
            format!("{place} does not hold certificate authorities: PEM is expected")
        );
    }
}

#[tokio::test]
async fn a_node_without_tls_is_not_asked_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let ca = Authority::new(dir.path(), "ca.pem");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer)
            .await
            .unwrap();
    });
    let complaint = list(&url, &ca.file).complaint().await;
    assert!(
        complaint.starts_with(&format!("what answers at {url} does not speak TLS: ")),
        "{complaint}"
    );
}
