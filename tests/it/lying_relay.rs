//! A region that others get their layers by way of, and that is not to be trusted: its
//! bytes arrive as others, or it says that it has passed on what it has not. The
//! destination ends with the right bytes, from the source.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use entrepot_harness::{Blob, Cluster, Image, Link, Random, Wan, media, wait_until};
use entrepot_proto::peer::node_server::{Node, NodeServer};
use entrepot_proto::peer::replica_reply::Result as Replied;
use entrepot_proto::peer::replication_server::{Replication, ReplicationServer};
use entrepot_proto::peer::{
    AdmitReply, AdmitRequest, Blank, DepositName, DepositPart, DepositReply, MissingReply,
    MissingRequest, OfferedBlobReply, OfferedBlobRequest, OfferedImageReply, OfferedImageRequest,
    OffersReply, OffersRequest, PassOnRequest, PingReply, PingRequest, ReplicaBlob,
    ReplicaDeletion, ReplicaImageReply, ReplicaImages, ReplicaManifest, ReplicaReply,
    ReplicaSettings, SettledReply, SettledRequest,
};
use futures::stream::Empty;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::support::{EU, REPLICATED, US, step};

const EU_2: &str = "eu-west-2";
/// Of the one node of each region.
const RELAY: u64 = 2;
const BEYOND: u64 = 3;
const MIB: usize = 1 << 20;
const LAYER_BYTES: usize = 3 * MIB;
const LAYERS: usize = 3;
const DELAY: Duration = Duration::from_millis(5);
/// One piece in so many arrives with a wrong bit: some in each layer.
const SPOILT_ONE_IN: usize = 8;
const STARTED: Duration = Duration::from_secs(10);
/// For the tries that the source makes before it does without.
const PATIENCE: &str = "60s";

type Answer<T> = Result<Response<T>, Status>;

/// In the place of the relay's node: it is there, and says that it has passed on
/// whatever it is asked to.
#[derive(Debug, Clone, Default)]
struct Liar {
    asked: Arc<AtomicUsize>,
}

/// Dropped, it is gone, with the connections to it.
struct Running(Option<Runtime>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn image(seed: u64) -> Image {
    let layers = (0..LAYERS as u64).map(|nth| {
        let content = Random::new(seed * LAYERS as u64 + nth).bytes(LAYER_BYTES);
        Blob::new(media::LAYER, content)
    });
    let config = Blob::new(media::CONFIG, format!("{{\"author\":\"{seed}\"}}"));
    Image::of(media::MANIFEST, config, layers.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_region_that_lies_keeps_no_other_from_the_right_bytes() -> Result<()> {
    // Without TLS, which would show a spoilt byte for what it is.
    let builder = Cluster::builder().regions([US, EU, EU_2]).nodes(1);
    let mut cluster = builder.listed().links(9).start().await?;
    let rule = ["rule", "put", "both", "--to", EU, "--to", EU_2];
    let near = ["--near", "eu-west-1,eu-west-2"];
    let admin = cluster.admin(1)?;
    admin.run(&[&rule[..], &near[..]].concat()).await?;
    let straight = Wan::between(&cluster, (US, EU_2), DELAY, None)?;
    let source = cluster.registry(1)?;
    let size = (LAYERS * LAYER_BYTES) as u64;

    step("what is spoilt on its way comes from the source", async {
        let spoils = Link::Spoils {
            one_in: SPOILT_ONE_IN,
        };
        cluster.links()?.set(RELAY, BEYOND, spoils);
        let before = straight.there_bytes();
        let pushed = image(1);
        source.push_image("near/spoilt", "v1", &pushed).await?;
        admin
            .wait_replicated(Some("near/spoilt"), 2, REPLICATED)
            .await?;
        cluster.links()?.set(RELAY, BEYOND, Link::Whole);
        let sent = straight.there_bytes() - before;
        ensure!(sent >= size, "{sent} bytes from the source, for {size}");
        ensure!(passed_on(&cluster).await? == 0, "wrong bytes were taken");
        let there = cluster.registry(BEYOND)?;
        there.verify_image("near/spoilt", "v1", &pushed).await
    })
    .await?;
    step("what is said to be there, and is not, does too", async {
        let before = straight.there_bytes();
        cluster.kill9(RELAY)?;
        let liar = Liar::default();
        let running = liar.start(&cluster).await?;
        let pushed = image(2);
        source.push_image("near/said", "v1", &pushed).await?;
        let wait = ["replication", "wait", "near/said:v1", "--region", EU_2];
        let timeout = ["--timeout", PATIENCE];
        admin.run(&[&wait[..], &timeout[..]].concat()).await?;
        let sent = straight.there_bytes() - before;
        ensure!(sent >= size, "{sent} bytes from the source, for {size}");
        // Once for each layer: after that it is not believed any more.
        let asked = liar.asked.load(Ordering::Relaxed);
        ensure!((1..=LAYERS + 1).contains(&asked), "asked {asked} times");
        let there = cluster.registry(BEYOND)?;
        there.verify_image("near/said", "v1", &pushed).await?;
        drop(running);
        cluster.start(&[RELAY]).await?;
        admin.wait_replicated(None, 4, REPLICATED).await?;
        let there = cluster.registry(RELAY)?;
        there.verify_image("near/said", "v1", &pushed).await
    })
    .await?;
    cluster.finish().await
}

/// Bytes that the relay has passed on, by its own account.
async fn passed_on(cluster: &Cluster) -> Result<u64> {
    let text = cluster.node(RELAY)?.metrics().await?;
    let name = "entrepot_passed_on_bytes_total";
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.with_context(|| format!("no {name} in {text}"))?;
    Ok(line.trim().parse()?)
}

// === impl Liar ===

impl Liar {
    /// Where the relay's node was.
    async fn start(&self, cluster: &Cluster) -> Result<Running> {
        let address = cluster.node(RELAY)?.peer_address();
        let server = Server::builder()
            .add_service(NodeServer::new(self.clone()))
            .add_service(ReplicationServer::new(self.clone()));
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        runtime.spawn(async move {
            // That it does not listen shows below.
            let _ = server.serve(address).await;
        });
        let running = Running(Some(runtime));
        wait_until("the liar listens", STARTED, async || {
            Ok(TcpStream::connect(address).await.ok())
        })
        .await?;
        Ok(running)
    }
}

#[tonic::async_trait]
impl Node for Liar {
    async fn ping(&self, _: Request<PingRequest>) -> Answer<PingReply> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_ms = now.map_or(0, |now| now.as_millis());
        Ok(Response::new(PingReply {
            node: RELAY,
            region: EU.to_owned(),
            is_formed: true,
            now_ms: i64::try_from(now_ms).unwrap_or(0),
            ..PingReply::default()
        }))
    }
}

fn away<T>() -> Answer<T> {
    Err(Status::unavailable("not now"))
}

#[tonic::async_trait]
impl Replication for Liar {
    type PutImagesStream = Empty<Result<ReplicaImageReply, Status>>;
    type DepositStream = Empty<Result<DepositReply, Status>>;
    type ReadOfferedStream = Empty<Result<OfferedBlobReply, Status>>;

    async fn pass_on(&self, _: Request<PassOnRequest>) -> Answer<ReplicaReply> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let result = Some(Replied::Done(Blank::default()));
        Ok(Response::new(ReplicaReply { result }))
    }

    async fn missing(&self, _: Request<MissingRequest>) -> Answer<MissingReply> {
        away()
    }

    async fn put_blob(&self, _: Request<Streaming<ReplicaBlob>>) -> Answer<ReplicaReply> {
        away()
    }

    async fn put_manifest(&self, _: Request<ReplicaManifest>) -> Answer<ReplicaReply> {
        away()
    }

    async fn delete_image(&self, _: Request<ReplicaDeletion>) -> Answer<ReplicaReply> {
        away()
    }

    async fn put_settings(&self, _: Request<ReplicaSettings>) -> Answer<ReplicaReply> {
        away()
    }

    async fn admit(&self, _: Request<AdmitRequest>) -> Answer<AdmitReply> {
        away()
    }

    async fn settled(&self, _: Request<SettledRequest>) -> Answer<SettledReply> {
        away()
    }

    async fn put_images(&self, _: Request<ReplicaImages>) -> Answer<Self::PutImagesStream> {
        away()
    }

    async fn deposit(&self, _: Request<Streaming<DepositPart>>) -> Answer<Self::DepositStream> {
        away()
    }

    async fn name_deposit(&self, _: Request<DepositName>) -> Answer<Blank> {
        away()
    }

    async fn offers(&self, _: Request<OffersRequest>) -> Answer<OffersReply> {
        away()
    }

    async fn find_offered(&self, _: Request<OfferedImageRequest>) -> Answer<OfferedImageReply> {
        away()
    }

    async fn read_offered(
        &self,
        _: Request<OfferedBlobRequest>,
    ) -> Answer<Self::ReadOfferedStream> {
        away()
    }
}
