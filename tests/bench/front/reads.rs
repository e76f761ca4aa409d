//! Reads, each loaded by `wrk` the same way for every system.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use entrepot_harness::{Blob, Image, Random, Registry};

use crate::pushes::LAYER;
use crate::system::System;
use crate::tls;
use crate::work::{Found, Units, Work};
use crate::wrk;

pub(crate) const REPOSITORY: &str = "bench/front";
pub(crate) const MIB: u64 = 1024 * 1024;

const MANIFEST_GETS: Work = Work {
    name: "manifest GET by tag, 32 connections",
    units: Units::Requests,
};
const BLOB_GETS: Work = Work {
    name: "1 MiB blob GET, 8 connections",
    units: Units::Bytes,
};
const TLS_BLOB_GETS: Work = Work {
    name: "1 MiB blob GET over TLS 1.3, 8 connections",
    units: Units::Bytes,
};

pub(crate) async fn manifest_gets(
    system: &System,
    registry: &Registry,
    seconds: u64,
) -> Result<Found> {
    let image = Image::random(1, 1, 4096);
    registry.push_image(REPOSITORY, "v1", &image).await?;
    let url = format!("{}/v2/{REPOSITORY}/manifests/v1", system.endpoint()?);
    load(system, &MANIFEST_GETS, &url, 32, 1, seconds).await
}

pub(crate) async fn blob_gets(system: &System, seconds: u64) -> Result<Found> {
    let url = place_blob(system).await?;
    load(system, &BLOB_GETS, &url, 8, MIB, seconds).await
}

/// The same of a system that speaks TLS.
pub(crate) async fn tls_blob_gets(system: &System, seconds: u64) -> Result<Found> {
    let url = place_blob(system).await?;
    load(system, &TLS_BLOB_GETS, &url, 8, MIB, seconds).await
}

/// Makes the system serve a blob of 1 MiB; its URL.
async fn place_blob(system: &System) -> Result<String> {
    let blob = Blob::new(LAYER, Random::new(1).bytes(usize::try_from(MIB)?));
    if let System::Nginx(nginx) = system {
        return nginx.place(&blob.content);
    }
    let registry = system.registry()?.context("a system without files")?;
    registry.push_blob(REPOSITORY, &blob).await?;
    let endpoint = system.endpoint()?;
    Ok(format!("{endpoint}/v2/{REPOSITORY}/blobs/{}", blob.digest))
}

/// `amount`: what one request counts for.
async fn load(
    system: &System,
    work: &'static Work,
    url: &str,
    connections: usize,
    amount: u64,
    seconds: u64,
) -> Result<Found> {
    let before = system.cpu_s()?;
    let folder = tempfile::tempdir().context("make a folder for a configuration")?;
    let set = Some(tls::restricted(folder.path())?);
    let authorization = authorization(system);
    let seen = wrk::load(url, authorization.as_deref(), connections, seconds, set).await?;
    let cpu_s = system.cpu_s()? - before;
    #[allow(clippy::cast_precision_loss, reason = "one MiB at most")]
    let amount = seen.requests * amount as f64;
    Ok(work.sample(amount, seen.timed, cpu_s))
}

fn authorization(system: &System) -> Option<String> {
    let (user, password) = system.credentials()?;
    let pair = STANDARD.encode(format!("{user}:{password}"));
    Some(format!("Basic {pair}"))
}
