//! Watches over the wire.

use std::time::Duration;

use entrepot_proto::registry::change::Kind;
use entrepot_proto::registry::{
    ManifestPut, TagDeleted, TagMoved, WatchRepositoryReply, WatchRepositoryRequest,
};
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::server::{LOG, REPOSITORY, Server, authorized, manifest_of, refused, sha256, trailer};

const DEADLINE: Duration = Duration::from_secs(30);

// === impl Server ===

impl Server {
    async fn watch(
        &mut self,
        after: Option<u64>,
        log: &str,
    ) -> Result<Streaming<WatchRepositoryReply>, Status> {
        let request = WatchRepositoryRequest {
            repository: REPOSITORY.to_owned(),
            after,
            log: log.to_owned(),
        };
        let watch = self.client.watch_repository(authorized(request)).await;
        watch.map(tonic::Response::into_inner)
    }
}

async fn next(watch: &mut Streaming<WatchRepositoryReply>) -> WatchRepositoryReply {
    let next = timeout(DEADLINE, watch.message()).await.expect("in time");
    next.unwrap().expect("not the end")
}

fn put(number: u32) -> Kind {
    Kind::ManifestPut(ManifestPut {
        digest: sha256(&manifest_of(number)),
        media_type: entrepot_oci::media_type::OCI_INDEX.to_owned(),
        ..ManifestPut::default()
    })
}

fn moved(tag: &str, number: u32, previous: Option<u32>) -> Kind {
    Kind::TagMoved(TagMoved {
        tag: tag.to_owned(),
        digest: sha256(&manifest_of(number)),
        previous_digest: previous.map_or_else(String::new, |it| sha256(&manifest_of(it))),
    })
}

fn kinds(message: &WatchRepositoryReply) -> Vec<Kind> {
    let kinds = message.changes.iter().map(|it| it.kind.clone().unwrap());
    kinds.collect()
}

#[tokio::test]
async fn changes_are_told_as_they_happen_and_again_to_who_asks_for_them() {
    let mut server = Server::start().await;
    server.put(1, "v1").await;
    let mut watch = server.watch(None, "").await.unwrap();
    let start = next(&mut watch).await;
    assert_eq!((&start.changes[..], &start.log[..]), (&[][..], LOG));
    server.put(2, "v1").await;
    server.put(2, "v2").await;
    server
        .client
        .delete_tag(authorized(entrepot_proto::registry::DeleteTagRequest {
            repository: REPOSITORY.to_owned(),
            tag: "v1".to_owned(),
            ..Default::default()
        }))
        .await
        .unwrap();
    let deleted = Kind::TagDeleted(TagDeleted {
        tag: "v1".to_owned(),
        previous_digest: sha256(&manifest_of(2)),
    });
    let expected = [
        vec![put(2), moved("v1", 2, Some(1))],
        vec![moved("v2", 2, None)],
        vec![deleted],
    ];
    let mut index = start.index;
    for expected in &expected {
        let message = next(&mut watch).await;
        assert_eq!(kinds(&message), *expected);
        assert!(message.index > index && !message.truncated);
        index = message.index;
    }
    let mut again = server.watch(Some(start.index), LOG).await.unwrap();
    assert_eq!(next(&mut again).await.index, start.index);
    for expected in &expected {
        assert_eq!(kinds(&next(&mut again).await), *expected);
    }
}

#[tokio::test]
async fn a_watch_that_cannot_be_says_what_can() {
    let mut server = Server::start().await;
    let unknown = server.watch(None, "").await;
    refused(unknown, Code::NotFound, "NAME_UNKNOWN");
    server.put(1, "v1").await;
    let later = server.watch(Some(99), "").await;
    let status = refused(later, Code::OutOfRange, "WATCH_OUT_OF_RANGE");
    assert_eq!(trailer(&status, "entrepot-oldest"), "0");
    assert_eq!(trailer(&status, "entrepot-newest"), "2");
    let elsewhere = server.watch(Some(1), "region/eu-west-1/0").await;
    let status = refused(elsewhere, Code::FailedPrecondition, "WATCH_OTHER_LOG");
    assert_eq!(trailer(&status, "entrepot-log"), LOG);
}
