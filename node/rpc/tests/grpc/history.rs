//! What tags pointed to, and the way back to it.

use entrepot_proto::admin::{GetTagHistoryRequest, RestoreTagRequest, TagMove};
use tonic::Code;

use crate::server::{REPOSITORY, Server, authorized, called_by, refused};

const TAG: &str = "v1";

fn asked(after: &str, limit: u32) -> GetTagHistoryRequest {
    GetTagHistoryRequest {
        repository: REPOSITORY.to_owned(),
        tag: TAG.to_owned(),
        after: after.to_owned(),
        limit,
    }
}

fn wanted(at_ms: i64) -> RestoreTagRequest {
    RestoreTagRequest {
        repository: REPOSITORY.to_owned(),
        tag: TAG.to_owned(),
        at_ms,
        dry_run: false,
    }
}

async fn moves(server: &mut Server, limit: u32) -> Vec<TagMove> {
    let (mut moves, mut after) = (Vec::new(), String::new());
    loop {
        let page = server
            .history
            .get_tag_history(authorized(asked(&after, limit)));
        let page = page.await.unwrap().into_inner();
        moves.extend(page.moves);
        after = page.next;
        if after.is_empty() {
            return moves;
        }
    }
}

#[tokio::test]
async fn a_tags_moves_are_listed_in_pages_and_it_goes_back() {
    let mut server = Server::start().await;
    let unknown = server.history.get_tag_history(authorized(asked("", 0)));
    refused(unknown.await, Code::NotFound, "NAME_UNKNOWN");
    let mut digests = Vec::new();
    for number in 1..4 {
        digests.push(server.put(number, TAG).await);
    }
    let all = moves(&mut server, 0).await;
    for limit in [1, 2, 3, 1_000] {
        assert_eq!(moves(&mut server, limit).await, all);
    }
    let to: Vec<_> = all.iter().rev().map(|it| it.to.clone()).collect();
    assert_eq!(to, digests);
    assert_eq!((&all[0].from, &all[2].from[..]), (&digests[1], ""));
    assert!(
        all.iter()
            .all(|it| it.reason == "push" && it.by.ends_with(":root"))
    );
    assert!(all[0].log_index > all[1].log_index);

    let early = server.history.restore_tag(authorized(wanted(1)));
    refused(early.await, Code::NotFound, "NOT_FOUND");
    let dry = RestoreTagRequest {
        dry_run: true,
        ..wanted(all[0].at_ms)
    };
    // The last move but one may have been in the same millisecond.
    let back = server.history.restore_tag(authorized(dry)).await.unwrap();
    let back = back.into_inner();
    assert_eq!((&back.digest, &back.previous), (&digests[2], &digests[2]));
    assert_eq!(moves(&mut server, 0).await.len(), 3);
    let nobody = called_by(wanted(all[0].at_ms), "root", "wrong");
    refused(
        server.history.restore_tag(nobody).await,
        Code::Unauthenticated,
        "UNAUTHORIZED",
    );
    let bad = server.history.get_tag_history(authorized(asked("x", 0)));
    refused(bad.await, Code::InvalidArgument, "UNSUPPORTED");
}
