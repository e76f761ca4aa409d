//! `dev --demo`: a rule is made, an image pushed into the first region, waited
//! for in the second and pulled there. Over HTTP and gRPC, as any client would.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use entrepot_proto::admin::admin_client::AdminClient;
use entrepot_proto::admin::{PutRuleRequest, ReplicationStatusRequest, Rule, TaskState};
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use super::image::Image;
use super::{Cluster, DevNode};

const REPOSITORY: &str = "demo/hello";
const TAG: &str = "v1";
const RULE: &str = "demo";
const WAIT_MAX: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(2);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Speaks `/v2/` to one node.
struct RegistryClient {
    http: Client<HttpConnector, Full<Bytes>>,
    address: SocketAddr,
    authorization: String,
}

/// Shows the main job of the cluster; an error says what did not work.
pub(super) async fn run(cluster: &Cluster) -> anyhow::Result<()> {
    let source = cluster.first_node_of(0).context("no first region")?;
    let destination = cluster.first_node_of(1).context("no second region")?;
    let authorization = format!(
        "Basic {}",
        STANDARD.encode(format!("{}:{}", cluster.user, cluster.password))
    );
    println!("\nDemonstration");
    put_rule(source, destination, &authorization).await?;
    say(&format!(
        "rule: every push to demo/ in {} goes to {}",
        source.region, destination.region
    ));

    let image = Image::generate()?;
    let from = RegistryClient::new(source, &authorization);
    let to = RegistryClient::new(destination, &authorization);
    let started = Instant::now();
    from.push(&image).await.context("push")?;
    let pushed = Instant::now();
    say(&format!(
        "pushed {REPOSITORY}:{TAG} ({}) to node {} in {}: {}",
        bytes(image.size()),
        source.id,
        source.region,
        milliseconds(pushed - started)
    ));
    to.wait(&image).await?;
    let arrived = Instant::now();
    say(&format!(
        "there in {} after the push had returned: {}",
        destination.region,
        milliseconds(arrived - pushed)
    ));
    to.pull(&image).await.context("pull")?;
    say(&format!(
        "pulled from node {} in {}, byte for byte the same: {}",
        destination.id,
        destination.region,
        milliseconds(arrived.elapsed())
    ));
    let lag_ms = wait_complete(source, &authorization, &image).await?;
    say(&format!(
        "the source says COMPLETE, {lag_ms} ms after its commit: the lag that `entrepot replication \
         status` and the metrics show"
    ));
    Ok(())
}

fn say(text: &str) {
    println!("  {text}");
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn bytes(count: usize) -> String {
    format!("{} KiB", count / 1024)
}

// === Admin ===

async fn admin(node: &DevNode) -> anyhow::Result<AdminClient<Channel>> {
    let channel = Endpoint::from_shared(format!("http://{}", node.client))?
        .timeout(CALL_TIMEOUT)
        .connect()
        .await?;
    Ok(AdminClient::new(channel))
}

fn signed<T>(message: T, authorization: &str) -> anyhow::Result<tonic::Request<T>> {
    let value: MetadataValue<Ascii> = authorization.parse()?;
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

async fn put_rule(
    source: &DevNode,
    destination: &DevNode,
    authorization: &str,
) -> anyhow::Result<()> {
    let rule = Rule {
        id: RULE.to_owned(),
        prefixes: vec!["demo/".to_owned()],
        destination_region: destination.region.to_string(),
        ..Rule::default()
    };
    let request = signed(PutRuleRequest { rule: Some(rule) }, authorization)?;
    admin(source).await?.put_rule(request).await?;
    Ok(())
}

/// How long it took from the commit at the source, by the source's clock.
async fn wait_complete(
    source: &DevNode,
    authorization: &str,
    image: &Image,
) -> anyhow::Result<i64> {
    let mut admin = admin(source).await?;
    let digest = image.manifest_digest.to_string();
    let started = Instant::now();
    while started.elapsed() < WAIT_MAX {
        let request = ReplicationStatusRequest {
            repository: REPOSITORY.to_owned(),
            after: String::new(),
            limit: 1_000,
        };
        let status = admin
            .replication_status(signed(request, authorization)?)
            .await?;
        let tasks = status.into_inner().tasks;
        if let Some(task) = tasks.iter().find(|task| task.digest == digest) {
            match task.state() {
                TaskState::Complete => return Ok(task.ended_at_ms - task.created_at_ms),
                TaskState::Failed => bail!("the replication FAILED: {}", task.reason),
                _ => {}
            }
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("the source did not say COMPLETE within {WAIT_MAX:?}")
}

// === impl RegistryClient ===

impl RegistryClient {
    fn new(node: &DevNode, authorization: &str) -> Self {
        Self {
            http: Client::builder(TokioExecutor::new()).build_http(),
            address: node.client,
            authorization: authorization.to_owned(),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> anyhow::Result<Response<Bytes>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header(AUTHORIZATION, &self.authorization)
            .header(CONTENT_TYPE, content_type)
            .body(Full::new(body))?;
        let response = tokio::time::timeout(CALL_TIMEOUT, self.http.request(request))
            .await
            .context("no answer in time")??;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }

    async fn push(&self, image: &Image) -> anyhow::Result<()> {
        for (digest, content) in &image.blobs {
            let path = format!("/v2/{REPOSITORY}/blobs/uploads/");
            let opened = self.call(Method::POST, &path, OCTETS, Bytes::new()).await?;
            expect(&opened, StatusCode::ACCEPTED)?;
            let location = opened
                .headers()
                .get(LOCATION)
                .context("no Location")?
                .to_str()?;
            let path = format!("{location}?digest={digest}");
            let put = self.call(Method::PUT, &path, OCTETS, content.clone());
            expect(&put.await?, StatusCode::CREATED)?;
        }
        let path = format!("/v2/{REPOSITORY}/manifests/{TAG}");
        let manifest = image.manifest.clone();
        let put = self.call(Method::PUT, &path, Image::MEDIA_TYPE, manifest);
        expect(&put.await?, StatusCode::CREATED)
    }

    async fn wait(&self, image: &Image) -> anyhow::Result<()> {
        let path = format!("/v2/{REPOSITORY}/manifests/{TAG}");
        let started = Instant::now();
        while started.elapsed() < WAIT_MAX {
            let got = self.call(Method::GET, &path, OCTETS, Bytes::new()).await?;
            if got.status() == StatusCode::OK && *got.body() == image.manifest {
                return Ok(());
            }
            // An older run's image may still stand there.
            ensure!(
                matches!(got.status(), StatusCode::NOT_FOUND | StatusCode::OK),
                "{path} answered {}",
                got.status()
            );
            tokio::time::sleep(POLL).await;
        }
        bail!("the image did not arrive within {WAIT_MAX:?}")
    }

    async fn pull(&self, image: &Image) -> anyhow::Result<()> {
        for (digest, content) in &image.blobs {
            let path = format!("/v2/{REPOSITORY}/blobs/{digest}");
            let got = self.call(Method::GET, &path, OCTETS, Bytes::new()).await?;
            expect(&got, StatusCode::OK)?;
            ensure!(got.body() == content, "blob {digest} came back different");
        }
        Ok(())
    }
}

const OCTETS: &str = "application/octet-stream";

fn expect(response: &Response<Bytes>, status: StatusCode) -> anyhow::Result<()> {
    ensure!(
        response.status() == status,
        "answered {} instead of {status}: {}",
        response.status(),
        String::from_utf8_lossy(response.body())
    );
    Ok(())
}
