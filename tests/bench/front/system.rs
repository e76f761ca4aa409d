//! The systems that are compared, each started on an empty folder.

use std::time::Duration;

use anyhow::{Context, Result};
use entrepot_harness::{Cluster, DockerRegistry, Registry, usage, wait_until};

use crate::nginx::Nginx;
use crate::tls::Tls;

const CERTIFICATE_SHOWN: Duration = Duration::from_secs(10);

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Known,
    Entrepot,
    /// Files alone: the floor for blobs.
    Nginx,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Known, Self::Entrepot, Self::Nginx];
    pub(crate) const REGISTRIES: [Self; 2] = [Self::Known, Self::Entrepot];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Known => "docker-registry",
            Self::Entrepot => "Entrepot, 1 node",
            Self::Nginx => "nginx",
        }
    }
}

/// A running system.
#[derive(Debug)]
pub(crate) enum System {
    Known(DockerRegistry),
    Entrepot(Box<Cluster>, Registry),
    Nginx(Nginx),
}

impl System {
    /// It speaks plain HTTP.
    pub(crate) async fn start(kind: Kind) -> Result<Self> {
        Ok(match kind {
            Kind::Known => Self::Known(DockerRegistry::start().await?),
            Kind::Entrepot => {
                let cluster = Cluster::builder().nodes(1).start().await?;
                let registry = cluster.registry(1)?;
                Self::Entrepot(Box::new(cluster), registry)
            }
            Kind::Nginx => Self::Nginx(Nginx::start(None).await?),
        })
    }

    /// It speaks TLS; none: it is not compared in that.
    pub(crate) async fn start_tls(kind: Kind, tls: &Tls) -> Result<Option<Self>> {
        Ok(match kind {
            Kind::Known => None,
            Kind::Entrepot => Some(entrepot_tls(tls).await?),
            Kind::Nginx => Some(Self::Nginx(Nginx::start(Some(tls)).await?)),
        })
    }

    /// None: it is no registry.
    pub(crate) fn registry(&self) -> Result<Option<Registry>> {
        Ok(match self {
            Self::Known(known) => Some(known.registry()?),
            Self::Entrepot(_, registry) => Some(registry.clone()),
            Self::Nginx(_) => None,
        })
    }

    /// `http://host:port`, or `https://`.
    pub(crate) fn endpoint(&self) -> Result<String> {
        Ok(match self {
            Self::Known(known) => format!("http://{}", known.registry()?.address()),
            Self::Entrepot(cluster, _) => cluster.node(1)?.endpoint(),
            Self::Nginx(nginx) => nginx.endpoint(),
        })
    }

    /// User and password, where it asks for them.
    pub(crate) fn credentials(&self) -> Option<(&str, &str)> {
        match self {
            Self::Entrepot(cluster, _) => Some((cluster.user(), cluster.password())),
            Self::Known(_) | Self::Nginx(_) => None,
        }
    }

    /// User and system time of all its processes so far.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        match self {
            Self::Nginx(nginx) => nginx.cpu_s(),
            Self::Known(_) | Self::Entrepot(..) => Ok(usage(self.pid()?)?.cpu_s),
        }
    }

    /// Its process; nginx's first.
    pub(crate) fn pid(&self) -> Result<u32> {
        match self {
            Self::Known(known) => Ok(known.pid()),
            Self::Entrepot(cluster, _) => cluster.node(1)?.pid(),
            Self::Nginx(nginx) => Ok(nginx.pid()),
        }
    }

    pub(crate) async fn stop(self) -> Result<()> {
        match self {
            Self::Known(known) => drop(known),
            Self::Entrepot(cluster, _) => cluster.finish().await?,
            Self::Nginx(nginx) => drop(nginx),
        }
        Ok(())
    }
}

/// A node that shows the certificate of `tls`.
async fn entrepot_tls(tls: &Tls) -> Result<System> {
    let cluster = Cluster::builder().nodes(1).tls().start().await?;
    cluster.replace_certificate(tls.certificate())?;
    let address = cluster.node(1)?.client_address();
    let credentials = Some((cluster.user(), cluster.password()));
    // It trusts no other certificate.
    let registry = Registry::new_tls(address, credentials, tls.authority())?;
    wait_until("the certificate", CERTIFICATE_SHOWN, async || {
        registry.get("/v2/").send().await?.expect(200)?;
        Ok(Some(()))
    })
    .await
    .context("a node whose certificate was replaced")?;
    Ok(System::Entrepot(Box::new(cluster), registry))
}
