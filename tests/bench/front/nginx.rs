//! `nginx` that serves one folder, by sendfile or over TLS.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use entrepot_harness::{Ports, usage, wait_until};

use crate::tls::Tls;

const STARTED: Duration = Duration::from_secs(10);

/// Ended when it is dropped.
#[derive(Debug)]
pub(crate) struct Nginx {
    master: Child,
    folder: tempfile::TempDir,
    scheme: &'static str,
    port: u16,
}

// === impl Nginx ===

impl Nginx {
    /// Without `tls` it speaks plain HTTP.
    pub(crate) async fn start(tls: Option<&Tls>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let ports = Ports::take(1)?;
        let port = ports.numbers()[0];
        drop(ports);
        let config = folder.path().join("nginx.conf");
        fs::write(&config, configuration(folder.path(), port, tls.is_some()))?;
        if let Some(tls) = tls {
            let certificate = tls.certificate();
            fs::write(folder.path().join("tls.crt"), &certificate.pem)?;
            fs::write(folder.path().join("tls.key"), &certificate.key_pem)?;
        }
        let master = Command::new("nginx")
            .arg("-c")
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .context("start nginx (is nginx-light installed?)")?;
        let nginx = Self {
            master,
            folder,
            scheme: if tls.is_some() { "https" } else { "http" },
            port,
        };
        wait_until("nginx to listen", STARTED, async || {
            let address = ("127.0.0.1", port);
            Ok(std::net::TcpStream::connect(address).is_ok().then_some(()))
        })
        .await?;
        Ok(nginx)
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Serves `content`; returns its URL.
    pub(crate) fn place(&self, content: &[u8]) -> Result<String> {
        fs::write(self.folder.path().join("blob"), content)?;
        Ok(format!("{}/blob", self.endpoint()))
    }

    /// Its first process.
    pub(crate) fn pid(&self) -> u32 {
        self.master.id()
    }

    /// User and system time of all its processes.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        let master = self.master.id();
        let children = format!("/proc/{master}/task/{master}/children");
        let mut sum = usage(master)?.cpu_s;
        for child in fs::read_to_string(children)?.split_whitespace() {
            sum += usage(child.parse()?)?.cpu_s;
        }
        Ok(sum)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it, as it hears of SIGTERM.
        let _ = entrepot_harness::interrupt(self.master.id());
        let _ = self.master.wait();
    }
}

fn configuration(folder: &Path, port: u16, tls: bool) -> String {
    let folder = folder.display();
    let (ssl, certificate) = if tls {
        let certificate = format!(
            "ssl_protocols TLSv1.3; ssl_certificate {folder}/tls.crt; \
             ssl_certificate_key {folder}/tls.key;"
        );
        (" ssl", certificate)
    } else {
        ("", String::new())
    };
    format!(
        "daemon off;\nuser root;\nworker_processes 2;\npid {folder}/pid;\nerror_log {folder}/errors;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;\n\
         server {{ listen 127.0.0.1:{port}{ssl}; root {folder}; {certificate} }} }}\n"
    )
}
