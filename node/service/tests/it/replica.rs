//! The receiving end of replication, called as a source would, honest or not.

use bytes::Bytes;
use entrepot_oci::{Digest, media_type};
use entrepot_proto::peer::replica_blob::Part;
use entrepot_proto::peer::replica_reply::Result as Reply;
use entrepot_proto::peer::replication_client::ReplicationClient;
use entrepot_proto::peer::{MissingRequest, ReplicaBlob, ReplicaBlobHeader, ReplicaManifest};
use entrepot_proto::peers::PeerChannel;
use entrepot_service::TagCondition;
use futures::stream;
use tonic::Code;

use crate::cluster::{Cluster, EAST, Plan, WEST, app, root};
use crate::content::{MIB, content, eventually, image, index, sha256, variant};

/// One node in each region; node 1 calls node 2.
struct Regions {
    cluster: Cluster,
    client: ReplicationClient<PeerChannel>,
}

impl Regions {
    async fn new() -> Self {
        let cluster = Plan::new(&[(EAST, 1), (WEST, 1)]).start().await;
        let client = ReplicationClient::new(cluster.node(1).peers.channel(2).unwrap());
        Self { cluster, client }
    }

    async fn missing(&self, blobs: &[Digest], manifests: &[Digest]) -> (Vec<String>, Vec<String>) {
        let texts = |digests: &[Digest]| digests.iter().map(ToString::to_string).collect();
        let request = MissingRequest {
            account: root().account.to_string(),
            repository: app().to_string(),
            blobs: texts(blobs),
            manifests: texts(manifests),
            source_account: String::new(),
        };
        let reply = self
            .client
            .clone()
            .missing(request)
            .await
            .unwrap()
            .into_inner();
        (reply.blobs, reply.manifests)
    }

    async fn put_blob(
        &self,
        digest: &Digest,
        size: usize,
        pieces: Vec<Bytes>,
    ) -> Result<(), String> {
        let header = Part::Header(ReplicaBlobHeader {
            account: root().account.to_string(),
            repository: app().to_string(),
            digest: digest.to_string(),
            size: size as u64,
            source_account: String::new(),
        });
        let parts: Vec<_> = std::iter::once(header)
            .chain(pieces.into_iter().map(Part::Data))
            .map(|part| ReplicaBlob { part: Some(part) })
            .collect();
        match self.client.clone().put_blob(stream::iter(parts)).await {
            Ok(reply) => outcome(reply.into_inner().result),
            Err(status) => Err(format!("{:?}", status.code())),
        }
    }

    async fn put_manifest(&self, manifest: &Bytes, tag: &str, sequence: u64) -> Result<(), String> {
        let kind = media_type::OCI_MANIFEST;
        self.put(manifest, kind, tag, sequence, &[]).await
    }

    async fn put(
        &self,
        manifest: &Bytes,
        kind: &str,
        tag: &str,
        sequence: u64,
        absent: &[Digest],
    ) -> Result<(), String> {
        let request = ReplicaManifest {
            account: root().account.to_string(),
            repository: app().to_string(),
            digest: sha256(manifest).to_string(),
            media_type: kind.to_owned(),
            content: manifest.clone(),
            tag: tag.to_owned(),
            source_region: EAST.to_owned(),
            source_sequence: sequence,
            absent: absent.iter().map(ToString::to_string).collect(),
            source_account: String::new(),
            source_repository: String::new(),
        };
        match self.client.clone().put_manifest(request).await {
            Ok(reply) => outcome(reply.into_inner().result),
            Err(status) => Err(format!("{:?}", status.code())),
        }
    }

    async fn tagged(&self, name: &str) -> Option<Digest> {
        self.cluster.node(2).tagged(name).await
    }
}

fn outcome(result: Option<Reply>) -> Result<(), String> {
    match result.unwrap() {
        Reply::Done(_) => Ok(()),
        Reply::Refusal(refusal) => Err(format!("refused: {}", refusal.message)),
    }
}

#[tokio::test]
async fn a_blob_that_is_not_what_it_should_be_is_not_kept() {
    let regions = Regions::new().await;
    let content = content(1, MIB);
    let digest = sha256(&content);
    let half = content.slice(..MIB / 2);
    let code = |code: Code| Err(format!("{code:?}"));

    let torn = regions.put_blob(&digest, MIB, vec![half.clone()]).await;
    assert_eq!(torn, code(Code::Unavailable));
    let wrong = crate::content::content(2, MIB);
    let wrong = regions.put_blob(&digest, MIB, vec![wrong]).await;
    assert_eq!(wrong, code(Code::DataLoss));
    let long = regions
        .put_blob(&digest, MIB / 2, vec![content.clone()])
        .await;
    assert!(long.unwrap_err().starts_with("refused"));
    let long = regions
        .put_blob(&digest, MIB - 1, vec![half.clone(), half])
        .await;
    assert!(long.unwrap_err().starts_with("refused"));

    regions.cluster.keeps_nothing().await;
    assert_eq!(regions.cluster.node(2).known(&digest), None);
    let (missing, _) = regions.missing(&[digest], &[]).await;
    assert_eq!(missing, [digest.to_string()]);

    assert_eq!(
        regions.put_blob(&digest, MIB, vec![content.clone()]).await,
        Ok(())
    );
    assert_eq!(
        regions.put_blob(&digest, MIB, vec![content.clone()]).await,
        Ok(())
    );
    assert!(regions.cluster.node(2).pull(&digest).await.unwrap() == content);
    assert_eq!(regions.missing(&[digest], &[]).await.0, [""; 0]);
}

#[tokio::test]
async fn a_blob_that_another_repository_has_is_not_sent_again() {
    let regions = Regions::new().await;
    let content = content(3, 1000);
    let digest = sha256(&content);
    let there = regions.cluster.node(2);
    let other = "team/other".parse().unwrap();
    let body = crate::content::body(&content);
    let pushed = there
        .registry
        .push_blob(&root(), &other, digest, None, body)
        .await;
    pushed.unwrap();
    assert_eq!(regions.missing(&[digest], &[]).await.0, [""; 0]);
    assert_eq!(there.pull(&digest).await.unwrap(), content);
}

#[tokio::test]
async fn a_manifest_waits_for_what_it_names() {
    let regions = Regions::new().await;
    let content = content(4, 1000);
    let manifest = image(&[(sha256(&content), 1000)]);
    let early = regions.put_manifest(&manifest, "v1", 1).await;
    assert_eq!(early, Err(format!("{:?}", Code::Unavailable)));
    assert_eq!(regions.tagged("v1").await, None);
    regions
        .put_blob(&sha256(&content), 1000, vec![content])
        .await
        .unwrap();
    regions.put_manifest(&manifest, "v1", 1).await.unwrap();
    assert_eq!(regions.tagged("v1").await, Some(sha256(&manifest)));
}

#[tokio::test]
async fn an_index_waits_for_what_its_source_has_and_for_nothing_else() {
    let regions = Regions::new().await;
    let config = content(4, 1000);
    let here = image(&[(sha256(&config), 1000)]);
    let there = variant((sha256(&config), 1000), 1);
    let kind = media_type::OCI_INDEX;
    let sparse = index(&[here.clone(), there.clone()]);
    let put = async |absent: &[Digest]| regions.put(&sparse, kind, "all", 1, absent).await;
    let early = Err(format!("{:?}", Code::Unavailable));
    assert_eq!(put(&[]).await, early);
    assert_eq!(put(&[sha256(&there)]).await, early);
    let digest = sha256(&config);
    regions.put_blob(&digest, 1000, vec![config]).await.unwrap();
    regions.put_manifest(&here, "", 1).await.unwrap();
    assert_eq!(put(&[]).await, early);
    assert_eq!(put(&[sha256(&there)]).await, Ok(()));
    assert_eq!(regions.tagged("all").await, Some(sha256(&sparse)));
    let missing = regions.missing(&[], &[sha256(&there)]).await.1;
    assert_eq!(missing, [sha256(&there).to_string()]);
    regions.cluster.check(WEST);
}

#[tokio::test]
async fn an_older_push_never_moves_a_tag_back() {
    let regions = Regions::new().await;
    let content = content(5, 1000);
    let digest = sha256(&content);
    regions
        .put_blob(&digest, 1000, vec![content])
        .await
        .unwrap();
    let [old, middle, new] = [1, 2, 3].map(|number| variant((digest, 1000), number));
    regions.put_manifest(&new, "latest", 30).await.unwrap();
    regions.put_manifest(&old, "latest", 10).await.unwrap();
    assert_eq!(regions.tagged("latest").await, Some(sha256(&new)));
    // Not even after it was deleted here.
    let node = regions.cluster.node(2);
    let latest = crate::cluster::tag("latest");
    node.registry
        .delete_manifest(&root(), &app(), &latest, TagCondition::None)
        .await
        .unwrap();
    regions.put_manifest(&middle, "latest", 20).await.unwrap();
    regions.put_manifest(&new, "latest", 30).await.unwrap();
    assert_eq!(regions.tagged("latest").await, None);
    regions.put_manifest(&middle, "latest", 31).await.unwrap();
    assert_eq!(regions.tagged("latest").await, Some(sha256(&middle)));
    let all = [old, middle, new].map(|manifest| sha256(&manifest));
    assert_eq!(regions.missing(&[], &all).await.1, [""; 0]);
}

#[tokio::test]
async fn a_source_that_dies_leaves_nothing_staged() {
    let regions = Regions::new().await;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut client = regions.client.clone();
    let putting = tokio::spawn(async move {
        let parts = tokio_stream::wrappers::ReceiverStream::new(receiver);
        client.put_blob(parts).await.map(drop)
    });
    let header = Part::Header(ReplicaBlobHeader {
        account: root().account.to_string(),
        repository: app().to_string(),
        digest: sha256(b"never").to_string(),
        size: 10 * MIB as u64,
        source_account: String::new(),
    });
    for part in [header, Part::Data(content(6, MIB))] {
        sender.send(ReplicaBlob { part: Some(part) }).await.unwrap();
    }
    eventually("the blob arrives", async || {
        regions.cluster.node(2).memory.staged() == 1
    })
    .await;
    regions.cluster.network.set(1, crate::network::Link::Cut);
    assert!(putting.await.unwrap().is_err());
    regions.cluster.keeps_nothing().await;
}

#[tokio::test]
async fn a_stranger_is_not_served() {
    let regions = Regions::new().await;
    let address = regions.cluster.node(2).peers.own().address.clone();
    let channel = tonic::transport::Endpoint::new(format!("http://{address}")).unwrap();
    let mut client = ReplicationClient::new(channel.connect().await.unwrap());
    let status = client.missing(MissingRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}
