//! TLS that is the same on every side: one certificate for both servers, and
//! a client that offers one version and one cipher suite, so that there is
//! nothing to choose.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use entrepot_harness::{Authority, Certificate};
use tempfile::TempDir;

/// What Go's clients (docker, podman, containerd) offer first.
const SUITE: &str = "TLS_AES_128_GCM_SHA256";

/// For the reader of the table.
pub(crate) const DESCRIBED: &str =
    "version 1.3 with TLS_AES_128_GCM_SHA256 and one ECDSA P-256 certificate for both";

/// The certificate.
#[derive(Debug)]
pub(crate) struct Tls {
    authority: Authority,
    certificate: Certificate,
    _folder: TempDir,
}

// === impl Tls ===

impl Tls {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder for an authority")?;
        let authority = Authority::create(folder.path())?;
        Ok(Self {
            certificate: authority.issue()?,
            authority,
            _folder: folder,
        })
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

/// Tells `OpenSSL`, by a configuration file in `folder`, to offer one thing
/// alone; what has to be in the environment of its program.
pub(crate) fn restricted(folder: &Path) -> Result<(&'static str, PathBuf)> {
    let path = folder.join("openssl.cnf");
    let text = format!(
        "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = only\n\
         [only]\nMinProtocol = TLSv1.3\nCiphersuites = {SUITE}\n"
    );
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    Ok(("OPENSSL_CONF", path))
}
