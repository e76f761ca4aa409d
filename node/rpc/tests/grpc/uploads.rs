//! Uploads: in pieces, broken and resumed, and what is refused.

use std::time::Duration;

use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest};
use entrepot_proto::registry::append_upload_request::Part;
use entrepot_proto::registry::{
    AppendUploadHeader, AppendUploadRequest, CancelUploadRequest, DigestAlgorithm,
    FinishUploadRequest, OpenUploadRequest, ReadBlobRequest, UploadStatusRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::blobs::read;
use crate::server::{REPOSITORY, Server, append, authorized, content, refused, sha256, trailer};

const DEADLINE: Duration = Duration::from_secs(30);

// === impl Server ===

impl Server {
    async fn open(&mut self, algorithm: DigestAlgorithm) -> String {
        let opened = self
            .client
            .open_upload(authorized(OpenUploadRequest {
                repository: REPOSITORY.to_owned(),
                algorithm: algorithm.into(),
            }))
            .await;
        opened.unwrap().into_inner().session
    }

    async fn send(&mut self, messages: Vec<AppendUploadRequest>) -> Result<u64, Status> {
        let call = authorized(tokio_stream::iter(messages));
        let appended = self.client.append_upload(call).await;
        appended.map(|reply| reply.into_inner().received)
    }

    async fn received(&mut self, session: &str) -> Result<u64, Status> {
        let status = self
            .client
            .upload_status(authorized(UploadStatusRequest {
                repository: REPOSITORY.to_owned(),
                session: session.to_owned(),
            }))
            .await;
        status.map(|reply| reply.into_inner().received)
    }

    async fn finish(
        &mut self,
        session: &str,
        digest: &str,
        size: Option<u64>,
    ) -> Result<u64, Status> {
        let finished = self
            .client
            .finish_upload(authorized(FinishUploadRequest {
                repository: REPOSITORY.to_owned(),
                session: session.to_owned(),
                digest: digest.to_owned(),
                size,
            }))
            .await;
        finished.map(|reply| reply.into_inner().blob.unwrap().size)
    }

    async fn read_all(&mut self, digest: &str) -> Bytes {
        let request = ReadBlobRequest {
            repository: REPOSITORY.to_owned(),
            digest: digest.to_owned(),
            ..ReadBlobRequest::default()
        };
        read(&mut self.client, request).await.unwrap().1
    }
}

#[tokio::test]
async fn a_blob_that_comes_in_pieces_is_the_same_afterwards() {
    let mut server = Server::start().await;
    let content = content(1, 3_000_000);
    let session = server.open(DigestAlgorithm::Unspecified).await;
    assert!(session.len() <= 128);
    assert_eq!(server.received(&session).await.unwrap(), 0);
    let first = append(&session, 0, &content[..1_000_000]);
    assert_eq!(server.send(first).await.unwrap(), 1_000_000);
    assert_eq!(server.received(&session).await.unwrap(), 1_000_000);
    let second = append(&session, 1_000_000, &content[1_000_000..]);
    assert_eq!(server.send(second).await.unwrap(), 3_000_000);
    let digest = sha256(&content);
    let size = server.finish(&session, &digest, Some(3_000_000)).await;
    assert_eq!(size.unwrap(), 3_000_000);
    assert_eq!(server.read_all(&digest).await, content);
    // It is over.
    refused(
        server.received(&session).await,
        Code::NotFound,
        "BLOB_UPLOAD_UNKNOWN",
    );
}

#[tokio::test]
async fn a_stream_that_breaks_is_resumed_from_what_has_arrived() {
    let mut server = Server::start().await;
    let content = content(2, 2_000_000);
    let session = server.open(DigestAlgorithm::Sha256).await;
    let (pieces, messages) = mpsc::channel(16);
    for message in append(&session, 0, &content[..1_200_000]) {
        pieces.send(message).await.unwrap();
    }
    let mut client = server.client.clone();
    let call = tokio::spawn(async move {
        let call = authorized(ReceiverStream::new(messages));
        client.append_upload(call).await
    });
    // As a client that is killed: the stream has no end.
    let sent = async {
        while !pieces.is_closed() && pieces.capacity() < pieces.max_capacity() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, sent).await.unwrap();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());

    // The node finds out by itself; whoever comes before that is told to wait.
    let received = server.received(&session).await.unwrap();
    assert!(received <= 1_200_000);
    let mut from = received;
    let resumed = async {
        loop {
            let at = usize::try_from(from).unwrap();
            match server.send(append(&session, from, &content[at..])).await {
                Ok(received) => return received,
                Err(status) => from = trailer(&status, "entrepot-received").parse().unwrap(),
            }
        }
    };
    let all = tokio::time::timeout(DEADLINE, resumed).await.unwrap();
    assert_eq!(all, 2_000_000);
    let digest = sha256(&content);
    server.finish(&session, &digest, None).await.unwrap();
    assert_eq!(server.read_all(&digest).await, content);
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_given_up_and_what_came_stays() {
    let mut server = Server::start_with(Duration::from_millis(200)).await;
    let session = server.open(DigestAlgorithm::Sha256).await;
    // One without a header, one that brings three bytes.
    for sent in [0, 2] {
        let (pieces, messages) = mpsc::channel(16);
        for message in append(&session, 0, b"abc").into_iter().take(sent) {
            pieces.send(message).await.unwrap();
        }
        let call = authorized(ReceiverStream::new(messages));
        let result = server.client.append_upload(call).await;
        refused(result, Code::DeadlineExceeded, "BLOB_UPLOAD_INVALID");
    }
    assert_eq!(server.received(&session).await.unwrap(), 3);
}

#[tokio::test]
async fn an_append_elsewhere_than_at_the_end_adds_nothing_and_says_where_that_is() {
    let mut server = Server::start().await;
    let large = content(3, 20_000_000);
    let session = server.open(DigestAlgorithm::Sha256).await;
    server.send(append(&session, 0, b"abcd")).await.unwrap();
    // Large enough that it cannot all be on its way when the answer comes.
    for (offset, content) in [(0, &large[..]), (3, b"d"), (5, b"f"), (5, &large[..])] {
        let result = server.send(append(&session, offset, content)).await;
        let status = refused(result, Code::OutOfRange, "BLOB_UPLOAD_INVALID");
        assert_eq!(trailer(&status, "entrepot-received"), "4");
    }
    let result = server.finish(&session, &sha256(b"abcd"), Some(5)).await;
    let status = refused(result, Code::OutOfRange, "BLOB_UPLOAD_INVALID");
    assert_eq!(trailer(&status, "entrepot-received"), "4");
    server
        .finish(&session, &sha256(b"abcd"), Some(4))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_declared_length_is_held_against_what_comes() {
    let mut server = Server::start().await;
    let session = server.open(DigestAlgorithm::Sha256).await;
    let with_length = |offset, length, content: &[u8]| {
        let mut messages = append(&session, offset, content);
        if let Some(Part::Header(header)) = &mut messages[0].part {
            header.length = Some(length);
        }
        messages
    };
    for (length, content) in [(4, b"abc"), (2, b"abc")] {
        let from = server.received(&session).await.unwrap();
        let result = server.send(with_length(from, length, content)).await;
        refused(result, Code::InvalidArgument, "SIZE_INVALID");
    }
    // The first one was short, and is there.
    assert_eq!(server.received(&session).await.unwrap(), 3);
    let more = with_length(3, 2, b"de");
    assert_eq!(server.send(more).await.unwrap(), 5);
}

#[tokio::test]
async fn a_stream_begins_with_its_header_and_goes_on_with_small_pieces() {
    let mut server = Server::start().await;
    let session = server.open(DigestAlgorithm::Sha256).await;
    let message = |part| AppendUploadRequest { part: Some(part) };
    let header = || {
        Part::Header(AppendUploadHeader {
            repository: REPOSITORY.to_owned(),
            session: session.clone(),
            ..AppendUploadHeader::default()
        })
    };
    let data = |size| Part::Data(Bytes::from(vec![7; size]));
    let max = 1024 * 1024;
    for (messages, name) in [
        (vec![], "UNSUPPORTED"),
        (vec![message(data(1))], "UNSUPPORTED"),
        (vec![AppendUploadRequest { part: None }], "UNSUPPORTED"),
        (vec![message(header()), message(header())], "UNSUPPORTED"),
        (
            vec![message(header()), AppendUploadRequest { part: None }],
            "UNSUPPORTED",
        ),
        (
            vec![message(header()), message(data(max + 1))],
            "BLOB_UPLOAD_INVALID",
        ),
    ] {
        refused(server.send(messages).await, Code::InvalidArgument, name);
    }
    // However large: not even a piece of it is held.
    for size in [max + 100_000, 6 * max] {
        let messages = vec![message(header()), message(data(size))];
        let status = refused(
            server.send(messages).await,
            Code::InvalidArgument,
            "BLOB_UPLOAD_INVALID",
        );
        assert!(status.message().contains("too large"), "{status:?}");
    }
    let largest = vec![message(header()), message(data(max))];
    assert_eq!(server.send(largest).await.unwrap(), max as u64);
}

#[tokio::test]
async fn an_upload_is_of_its_repository_and_its_cluster() {
    let mut server = Server::start().await;
    let session = server.open(DigestAlgorithm::Sha256).await;
    let other = server
        .client
        .upload_status(authorized(UploadStatusRequest {
            repository: "team/other".to_owned(),
            session: session.clone(),
        }))
        .await;
    refused(other, Code::NotFound, "BLOB_UPLOAD_UNKNOWN");
    for session in ["", "x", &session[1..]] {
        let result = server.send(append(session, 0, b"abc")).await;
        refused(result, Code::NotFound, "BLOB_UPLOAD_UNKNOWN");
    }
    let cancel = CancelUploadRequest {
        repository: REPOSITORY.to_owned(),
        session: session.clone(),
    };
    server
        .client
        .cancel_upload(authorized(cancel.clone()))
        .await
        .unwrap();
    refused(
        server.client.cancel_upload(authorized(cancel)).await,
        Code::NotFound,
        "BLOB_UPLOAD_UNKNOWN",
    );
}

#[tokio::test]
async fn content_that_does_not_match_its_digest_is_discarded() {
    let mut server = Server::start().await;
    let session = server.open(DigestAlgorithm::Sha256).await;
    server.send(append(&session, 0, b"abc")).await.unwrap();
    let result = server.finish(&session, "sha256:1", None).await;
    refused(result, Code::InvalidArgument, "DIGEST_INVALID");
    let result = server.finish(&session, &sha256(b"abd"), None).await;
    refused(result, Code::InvalidArgument, "DIGEST_INVALID");
    refused(
        server.received(&session).await,
        Code::NotFound,
        "BLOB_UPLOAD_UNKNOWN",
    );
}

#[tokio::test]
async fn a_blob_may_be_named_by_its_sha512() {
    let mut server = Server::start().await;
    let session = server.open(DigestAlgorithm::Sha512).await;
    server.send(append(&session, 0, b"abc")).await.unwrap();
    let digest = Digest::of(Algorithm::Sha512, b"abc").to_string();
    server.finish(&session, &digest, None).await.unwrap();
    assert_eq!(server.read_all(&digest).await, "abc");
    let unknown = OpenUploadRequest {
        repository: REPOSITORY.to_owned(),
        algorithm: 99,
    };
    let result = server.client.open_upload(authorized(unknown)).await;
    refused(result, Code::InvalidArgument, "UNSUPPORTED");
}
