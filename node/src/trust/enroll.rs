//! `entrepot-node init` and `entrepot-node join`: a data folder becomes a node's.
//!
//! Both end when the folder is ready; `entrepot-node run` starts the node. Both
//! refuse a folder that is a node's already. A join that was interrupted is
//! repeated by the same command: the folder's key is the proof that it is the
//! same machine.

use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use entrepot_access::trust::{
    Authority, ClusterKey, JoinToken, NodeCertificate, Root, Serial, SigningRequest, Usage,
};
use entrepot_oci::RegionName;
use entrepot_proto::environment::{Clock, SystemClock};
use entrepot_proto::peer::join_client::JoinClient;
use entrepot_proto::peer::{JoinReply, JoinRequest};
use entrepot_proto::peers::{Dial, PeerInfo, TcpDial};
use http::Uri;
use hyper_util::rt::TokioIo;
use tonic::Code;
use tonic::transport::Endpoint;

use super::folder::{Admitted, TrustFolder};
use super::tls::connect_pinned;
use crate::arguments::{InitArguments, JoinArguments};
use crate::config::Basics;
use crate::files;

/// For one node to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes a cluster whose first node this is.
pub(crate) fn init(arguments: &InitArguments) -> anyhow::Result<()> {
    let basics = Basics::load(&arguments.place)?;
    claimable(&basics)?;
    let own = basics.own(1, arguments.region.clone())?;
    let now_ms = SystemClock.now_ms();
    let authority = Authority::create(now_ms)?;
    let cluster_key = ClusterKey::generate()?;
    let key = TrustFolder::key(&basics.data)?;
    let request = SigningRequest::parse(&key.request()?)?;
    let serial = Serial::generate()?;
    let certificate =
        authority.issue(&request, own.id, &serial, now_ms, basics.certificate_life)?;
    let sealed = authority.sealed_key(&cluster_key)?;
    let admitted = Admitted {
        certificate: &certificate,
        region: &own.region,
        root: authority.root(),
        cluster_key: &cluster_key,
        sealed_key: Some(&sealed),
        peers: None,
    };
    TrustFolder::write(&basics.data, &admitted)?;
    println!(
        "Cluster {} was made; {} is its node 1, in region {}.\n\
         Start it:      entrepot-node run --config {}\n\
         Add a node:    entrepot node token, and on that machine: entrepot-node join --token ...",
        authority.root().cluster(),
        basics.data.display(),
        own.region,
        arguments.place.config.display()
    );
    Ok(())
}

/// Makes this machine a node of the token's cluster.
pub(crate) async fn join(arguments: &JoinArguments) -> anyhow::Result<()> {
    let basics = Basics::load(&arguments.place)?;
    let token: JoinToken = arguments.token()?.parse()?;
    claimable(&basics)?;
    let key = TrustFolder::key(&basics.data)?;
    let request = JoinRequest {
        token: token.secret.expose().to_vec().into(),
        signing_request: key.request()?.into(),
        region: arguments
            .region
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        peer_address: basics.peer_address()?,
        client_address: basics.client_address(),
    };
    let reply = ask_each(&token, &request).await?;
    let own = take(&basics, &token, &reply)?;
    println!(
        "{} is node {} now, in region {}.\nStart it: entrepot-node run --config {}",
        basics.data.display(),
        own.id,
        own.region,
        arguments.place.config.display()
    );
    Ok(())
}

/// The nodes that the token names, one after the other, until one has decided.
async fn ask_each(token: &JoinToken, request: &JoinRequest) -> anyhow::Result<JoinReply> {
    let mut last = anyhow!("the token names no node");
    for address in &token.addresses {
        match tokio::time::timeout(ANSWER_TIMEOUT, ask(token, address, request)).await {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(Asked::Refused(reason))) => {
                bail!("the cluster refused to let this node in: {reason}")
            }
            Ok(Err(Asked::Unreachable(error))) => last = error,
            Err(_) => last = anyhow!("node at {address} did not answer in time"),
        }
    }
    Err(last.context("no node of the cluster could be asked; the token is as it was"))
}

/// Why one node has not let this one in.
enum Asked {
    /// So would any other.
    Refused(String),
    Unreachable(anyhow::Error),
}

async fn ask(token: &JoinToken, address: &str, request: &JoinRequest) -> Result<JoinReply, Asked> {
    let unreachable =
        |error: anyhow::Error| Asked::Unreachable(error.context(format!("node at {address}")));
    let root = token.root;
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| unreachable(error.into()))?;
    let dialled = address.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let dialled = TcpDial.dial(dialled.clone());
        async move { connect_pinned(root, dialled.await?).await.map(TokioIo::new) }
    });
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|error| unreachable(anyhow::Error::new(error)))?;
    let reply = JoinClient::new(channel).join(request.clone()).await;
    reply
        .map(tonic::Response::into_inner)
        .map_err(|status| match status.code() {
            Code::PermissionDenied | Code::InvalidArgument | Code::FailedPrecondition => {
                Asked::Refused(status.message().to_owned())
            }
            _ => unreachable(anyhow!("{}", status.message().to_owned())),
        })
}

/// Holds what the cluster has answered against the token, and writes it down.
fn take(basics: &Basics, token: &JoinToken, reply: &JoinReply) -> anyhow::Result<PeerInfo> {
    let wrong = "the cluster's answer is wrong";
    let root = Root::parse(&reply.authority).context(wrong)?;
    ensure!(
        root.fingerprint() == token.root,
        "{wrong}: its certificate is not the token's"
    );
    let now_ms = SystemClock.now_ms();
    let certificate: NodeCertificate = root
        .verify(&reply.certificate, Usage::Server, now_ms)
        .context("the certificate that the cluster has issued")?;
    ensure!(
        certificate.name.node == reply.node,
        "{wrong}: it is of another node"
    );
    let region: RegionName = reply.region.parse().context(wrong)?;
    let own = basics.own(reply.node, region)?;
    let mut others = Vec::new();
    for member in reply.members.iter().filter(|it| it.node != own.id) {
        let other = PeerInfo {
            id: member.node,
            region: member.region.parse().context(wrong)?,
            address: member.address.clone(),
        };
        other.check().context(wrong)?;
        others.push(other);
    }
    let cluster_key = ClusterKey::from_bytes(&reply.cluster_key).context(wrong)?;
    let admitted = Admitted {
        certificate: &reply.certificate,
        region: &own.region,
        root: &root,
        cluster_key: &cluster_key,
        sealed_key: None,
        peers: Some(&others),
    };
    TrustFolder::write(&basics.data, &admitted)?;
    Ok(own)
}

/// Refuses a data folder that is somebody's.
fn claimable(basics: &Basics) -> anyhow::Result<()> {
    files::create_folder(&basics.data)?;
    let data = basics.data.display();
    if let Some(folder) = TrustFolder::read(&basics.data)? {
        let name = folder.says.name;
        bail!(
            "the data folder {data} is that of node {} of cluster {} already: start it by \
             entrepot-node run, or give the new node an empty folder",
            name.node,
            name.cluster
        );
    }
    for used in ["consensus", "blobs"] {
        ensure!(
            !basics.data.join(used).try_exists()?,
            "the data folder {data} holds the data of a node already: give the new node an empty \
             folder"
        );
    }
    Ok(())
}
