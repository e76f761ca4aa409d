//! What is asked of policies, and when: which action on which name, before what is
//! said.

use entrepot_metadata::query::EntityKind;
use entrepot_oci::AccountId;
use entrepot_service::{Caller, ServiceError, Target};

use super::PULL;
use super::world::{ANY, World, allow, attach, first, inline, other, policy};
use crate::cluster::{app, root};
use crate::content::{body, content, sha256};

#[tokio::test]
async fn all_repositories_have_a_name_for_policies() {
    let world = World::new().await;
    let ann = world.user(&first(), "ann").await;
    let all = "arn:aws:ecr:us-east-1:123456789012:repository/*";
    let some = "arn:aws:ecr:us-east-1:123456789012:repository/team/*";
    for (resource, may) in [(all, true), (some, false), (ANY, true)] {
        let allowed = policy(&[allow("ecr:DescribeRepositories", resource)]);
        world.global(inline(&first(), "ann", &allowed)).await;
        let listed = world.registry().list_repositories(&ann, None, None).await;
        assert_eq!(listed.is_ok(), may, "{resource}");
        let described = world
            .registry()
            .describe_repositories(&ann, None, None)
            .await;
        assert_eq!(described.is_ok(), may, "{resource}");
    }
}

#[tokio::test]
async fn whether_anothers_account_is_there_shows_in_no_denial() {
    let world = World::new().await;
    let eve = world.user(&first(), "eve").await.meaning(other());
    let said = |who: &Caller| {
        let said = world.ask(who, PULL, Target::Repository(&app()));
        let Err(ServiceError::Denied(text)) = said else {
            panic!("{said:?}")
        };
        text.replace(who.account.as_str(), "")
    };
    let active = said(&eve);
    let third: AccountId = "333333333333".parse().unwrap();
    let absent = eve.clone().meaning(third);
    assert_eq!(said(&absent), active);
    world.disable(&other()).await;
    assert_eq!(said(&eve), active);
}

#[tokio::test]
async fn a_blob_is_read_in_parts_by_whoever_may_pull_it() {
    let world = World::new().await;
    let ann = world.user(&first(), "ann").await;
    let pull_only = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly";
    let attached = attach(&first(), EntityKind::User, "ann", pull_only);
    world.global(attached).await;
    let blob = content(1, 10);
    let digest = sha256(&blob);
    let (root, registry, app) = (root(), world.registry(), app());
    let pushed = registry.push_blob(&root, &app, digest, None, body(&blob));
    pushed.await.unwrap();
    let asked = registry.stat_blob(&ann, &app, &digest).await;
    assert!(matches!(asked, Err(ServiceError::Denied(_))), "{asked:?}");
    let read = registry.stat_for_download(&ann, &app, &digest).await;
    assert_eq!(read.unwrap().size, 10);
}

#[tokio::test]
async fn a_watch_ends_when_its_caller_may_not_any_more() {
    let world = World::new().await;
    let ann = world.user(&first(), "ann").await;
    let put = |document: String| inline(&first(), "ann", &document);
    let allowed = policy(&[allow("ecr:DescribeImages", ANY)]);
    world.global(put(allowed)).await;
    let (registry, app) = (world.registry(), app());
    let watch = registry.watch_repository(&ann, &app, None, None).await;
    let mut watch = watch.unwrap();
    assert!(watch.next().await.unwrap().is_ok());
    let push = async |tag: &str| {
        world
            .cluster
            .node(1)
            .push_image(tag, &[content(1, 10)])
            .await;
    };
    push("v1").await;
    assert!(watch.next().await.unwrap().is_ok());
    world.global(put(policy(&[allow(PULL, ANY)]))).await;
    push("v2").await;
    let ended = watch.next().await;
    assert!(
        matches!(ended, Some(Err(ServiceError::Denied(_)))),
        "{ended:?}"
    );
    assert_eq!(watch.next().await, None);
}
