//! No call is answered without the right credentials.

use entrepot_proto::registry as wire;
use tonic::{Code, Request, Status};

use crate::server::{Server, append, authorized, called_by, refused};

/// What each call says to a caller like `request` makes one.
async fn every_call(
    server: &mut Server,
    caller: impl Fn() -> Request<()>,
) -> Vec<(&'static str, Result<(), Status>)> {
    let mut results = Vec::new();
    macro_rules! call {
        ($name:ident, $message:expr) => {
            let (metadata, extensions, ()) = caller().into_parts();
            let request = Request::from_parts(metadata, extensions, $message);
            let result = server.client.$name(request).await;
            results.push((stringify!($name), result.map(drop)));
        };
    }
    call!(open_upload, wire::OpenUploadRequest::default());
    call!(append_upload, tokio_stream::iter(append("x", 0, b"abc")));
    call!(upload_status, wire::UploadStatusRequest::default());
    call!(finish_upload, wire::FinishUploadRequest::default());
    call!(cancel_upload, wire::CancelUploadRequest::default());
    call!(
        push_blob,
        tokio_stream::iter([wire::PushBlobRequest::default()])
    );
    call!(read_blob, wire::ReadBlobRequest::default());
    call!(stat_blob, wire::StatBlobRequest::default());
    call!(delete_blob, wire::DeleteBlobRequest::default());
    call!(mount_blob, wire::MountBlobRequest::default());
    call!(put_manifest, wire::PutManifestRequest::default());
    call!(get_manifest, wire::GetManifestRequest::default());
    call!(delete_manifest, wire::DeleteManifestRequest::default());
    call!(delete_tag, wire::DeleteTagRequest::default());
    call!(list_tags, wire::ListTagsRequest::default());
    call!(list_referrers, wire::ListReferrersRequest::default());
    call!(list_repositories, wire::ListRepositoriesRequest::default());
    call!(watch_repository, wire::WatchRepositoryRequest::default());
    results
}

#[tokio::test]
async fn an_answer_has_the_id_of_its_request() {
    let mut server = Server::start().await;
    let list = || authorized(wire::ListRepositoriesRequest::default());
    let mut own = list();
    own.metadata_mut()
        .insert("x-request-id", "a-1".parse().unwrap());
    let reply = server.client.list_repositories(own).await.unwrap();
    assert_eq!(reply.metadata().get("x-request-id").unwrap(), "a-1");
    let mut odd = list();
    odd.metadata_mut()
        .insert("x-request-id", "a b".parse().unwrap());
    let reply = server.client.list_repositories(odd).await.unwrap();
    assert_eq!(reply.metadata().get("x-request-id").unwrap().len(), 16);
    let stranger = Request::new(wire::ListRepositoriesRequest::default());
    let refused = server.client.list_repositories(stranger).await.unwrap_err();
    assert_eq!(refused.metadata().get("x-request-id").unwrap().len(), 16);
}

#[tokio::test]
async fn of_two_credentials_none_counts() {
    let mut server = Server::start().await;
    let mut twice = authorized(wire::ListRepositoriesRequest::default());
    let again = twice.metadata().get("authorization").unwrap().clone();
    twice.metadata_mut().append("authorization", again);
    let result = server.client.list_repositories(twice).await;
    refused(result, Code::Unauthenticated, "UNAUTHORIZED");
}

#[tokio::test]
async fn every_call_needs_the_right_credentials() {
    let mut server = Server::start().await;
    let strangers: [fn() -> Request<()>; 3] = [
        || Request::new(()),
        || called_by((), "root", "wrong"),
        || called_by((), "someone", "secret"),
    ];
    for stranger in strangers {
        let results = every_call(&mut server, stranger).await;
        assert_eq!(results.len(), 18);
        for (_, result) in results {
            refused(result, Code::Unauthenticated, "UNAUTHORIZED");
        }
    }
    // They are let in, and refused for what they say.
    for (call, result) in every_call(&mut server, || authorized(())).await {
        match result {
            Ok(()) => assert_eq!(call, "list_repositories"),
            Err(status) => assert_ne!(status.code(), Code::Unauthenticated, "{call}"),
        }
    }
}

#[tokio::test]
async fn a_header_that_is_no_basic_authentication_is_refused() {
    let mut server = Server::start().await;
    for value in ["Basic", "Basic !!!", "Bearer abc", ""] {
        let mut request = Request::new(wire::ListRepositoriesRequest::default());
        let metadata = request.metadata_mut();
        metadata.insert("authorization", value.parse().unwrap());
        let result = server.client.list_repositories(request).await;
        refused(result, Code::Unauthenticated, "UNAUTHORIZED");
    }
}

#[tokio::test]
async fn nothing_of_a_call_is_read_before_its_caller_is_known() {
    let mut server = Server::start().await;
    // Too large to be read at all.
    let put = wire::PutManifestRequest {
        content: vec![b' '; 20_000_000].into(),
        ..wire::PutManifestRequest::default()
    };
    let result = server.client.put_manifest(Request::new(put.clone())).await;
    refused(result, Code::Unauthenticated, "UNAUTHORIZED");
    let result = server.client.put_manifest(authorized(put)).await;
    assert_ne!(result.unwrap_err().code(), Code::Unauthenticated);
}
