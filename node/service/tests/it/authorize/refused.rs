//! Every use case asks before it looks at anything: who may nothing hears the
//! same of what is there and of what is not.

use bytes::Bytes;
use entrepot_metadata::query::AccountState;
use entrepot_oci::{Reference, RepositoryName};
use entrepot_service::{
    Caller, Destination, ManifestPush, NewAccount, RegistryChange, RepositoryChange, RuleInfo,
    ServiceError, TagCondition,
};

use super::world::{World, first, inline, other};
use crate::cluster::{app, region, root};
use crate::content::{body, chunk, content, image, sha256};

/// What each use case said, by its name.
type Said = Vec<(&'static str, Result<(), ServiceError>)>;

/// Asks for everything there is, in `repository`.
async fn everything(world: &World, who: &Caller, repository: &RepositoryName) -> Said {
    let registry = world.registry();
    let blob = content(1, 10);
    let digest = sha256(&blob);
    let manifest = image(&[(digest, blob.len())]);
    let (tag, session): (Reference, _) = ("v1".parse().unwrap(), "session");
    let of_digest = Reference::Digest(sha256(&manifest));
    let part = || chunk(None, None, body(&Bytes::new()));
    let push = || ManifestPush::new(&tag, manifest.clone());
    let other: RepositoryName = "other".parse().unwrap();
    let mut said: Said = Vec::new();
    macro_rules! ask {
        ($name:ident($($argument:expr),*)) => {
            said.push((stringify!($name), registry.$name(who, $($argument),*).await.map(drop)));
        };
    }
    ask!(open_upload(repository, None));
    ask!(open_part_upload(repository));
    ask!(append_upload(repository, session, part()));
    ask!(finish_upload(repository, session, part(), digest));
    ask!(upload_state(repository, session));
    ask!(cancel_upload(repository, session));
    ask!(push_blob(repository, digest, None, body(&blob)));
    ask!(stat_blob(repository, &digest));
    ask!(stat_for_download(repository, &digest));
    ask!(open_blob(repository, &digest, None));
    ask!(open_blob_from(repository, &digest, 0, None));
    ask!(mount_blob(repository, Some(&other), &digest));
    ask!(mount_blob(repository, None, &digest));
    ask!(delete_blob(repository, &digest));
    ask!(put_manifest(repository, push()));
    ask!(put_image(repository, push()));
    ask!(get_manifest(repository, &tag));
    ask!(get_manifest(repository, &of_digest));
    ask!(delete_manifest(repository, &tag, TagCondition::None));
    ask!(delete_manifest(repository, &of_digest, TagCondition::None));
    ask!(delete_image(repository, &sha256(&manifest), None));
    ask!(list_tags(repository, None, 10));
    ask!(list_referrers(repository, &digest, &[], None, 10));
    ask!(list_images(repository, None, None));
    ask!(image_info(repository, &tag));
    ask!(create_repository(repository));
    ask!(delete_repository(repository, true, false));
    ask!(repository_info(repository));
    ask!(put_repository_settings(
        repository,
        RepositoryChange::default()
    ));
    ask!(replication_status(Some(repository), None, None));
    ask!(watch_repository(repository, None, None));
    said
}

/// Asks for what is no repository's.
async fn all_else(world: &World, who: &Caller) -> Said {
    let registry = world.registry();
    let destination = Destination::new(&region("eu-west-1"), &who.account.account());
    let rule = RuleInfo::new("rule", vec![destination]);
    let account = NewAccount {
        id: "333333333333".parse().unwrap(),
        name: String::new(),
        key: None,
    };
    let mut said: Said = Vec::new();
    macro_rules! ask {
        ($name:ident($($argument:expr),*)) => {
            said.push((stringify!($name), registry.$name(who, $($argument),*).await.map(drop)));
        };
    }
    ask!(registry_info());
    ask!(put_registry_settings(RegistryChange::default()));
    ask!(list_repositories(None, None));
    ask!(put_rule(&rule));
    ask!(list_rules());
    ask!(delete_rule("rule"));
    ask!(replication_status(None, None, None));
    ask!(create_account(account));
    ask!(accounts(None, None));
    ask!(set_account_state(&other(), AccountState::Disabled));
    said
}

async fn with_image(world: &World) {
    let node = world.cluster.node(1);
    node.push_image("v1", &[content(1, 10)]).await;
}

#[tokio::test]
async fn who_may_nothing_is_denied_by_every_use_case() {
    let world = World::new().await;
    with_image(&world).await;
    let absent: RepositoryName = "absent".parse().unwrap();
    let ann = world.user(&first(), "ann").await;
    let eve = world.admin(&other(), "eve").await.meaning(first());
    for who in [&ann, &eve] {
        let there = everything(&world, who, &app()).await;
        let not_there = everything(&world, who, &absent).await;
        for ((name, there), (_, not_there)) in there.into_iter().zip(not_there) {
            let Err(ServiceError::Denied(text)) = there else {
                panic!("{name}: {there:?}")
            };
            let Err(ServiceError::Denied(other)) = not_there else {
                panic!("{name}: {not_there:?}")
            };
            // Nothing but the name that was asked for differs.
            assert_eq!(text.replace("team/app", "absent"), other, "{name}");
            assert!(text.starts_with(&format!("User: {} is not authorized", who.principal)));
        }
        for (name, said) in all_else(&world, who).await {
            assert!(
                matches!(said, Err(ServiceError::Denied(_))),
                "{name}: {said:?}"
            );
        }
    }
}

#[tokio::test]
async fn who_says_no_name_is_asked_for_it_by_every_use_case() {
    let world = World::new().await;
    with_image(&world).await;
    let nobody = Caller::of(entrepot_service::Principal::anonymous(first()));
    let repositories = [app(), "absent".parse().unwrap()];
    for repository in repositories {
        for (name, said) in everything(&world, &nobody, &repository).await {
            assert_eq!(said, Err(ServiceError::Unauthorized), "{name}");
        }
    }
}

#[tokio::test]
async fn a_mount_is_no_way_to_what_one_may_not_read() {
    let world = World::new().await;
    with_image(&world).await;
    let registry = world.registry();
    let digest = sha256(&content(1, 10));
    let ann = world.user(&first(), "ann").await;
    let own = "arn:aws:ecr:us-east-1:123456789012:repository/own";
    let document = super::policy(&[super::allow("ecr:*", own)]);
    let put = inline(&first(), "ann", &document);
    world.global(put).await;
    let target: RepositoryName = "own".parse().unwrap();
    assert_eq!(registry.create_repository(&ann, &target).await, Ok(true));
    let absent: RepositoryName = "absent".parse().unwrap();
    // Whether it is there or not: an upload has to follow.
    for from in [Some(&app()), Some(&absent), None] {
        let mounted = registry.mount_blob(&ann, &target, from, &digest).await;
        assert_eq!(mounted, Ok(None), "{from:?}");
    }
    for (repository, who) in [(&app(), &ann), (&target, &root())] {
        let found = registry.stat_blob(who, repository, &digest).await;
        assert!(found.is_err(), "{repository}");
    }
    let (root, app) = (root(), app());
    let mounted = registry.mount_blob(&root, &target, Some(&app), &digest);
    assert!(mounted.await.unwrap().is_some());
}

#[tokio::test]
async fn who_may_push_and_not_create_makes_no_repository() {
    let world = World::new().await;
    let ann = world.user(&first(), "ann").await;
    let document = super::policy(&[
        super::allow("ecr:*", super::ANY),
        super::deny("ecr:CreateRepository", super::ANY),
    ]);
    let put = inline(&first(), "ann", &document);
    world.global(put).await;
    let registry = world.registry();
    let new: RepositoryName = "new".parse().unwrap();
    let denied = |error: ServiceError| {
        assert!(
            matches!(&error, ServiceError::Denied(text) if text.contains("ecr:CreateRepository")),
            "{error}"
        );
    };
    let blob = content(1, 10);
    denied(registry.open_upload(&ann, &new, None).await.unwrap_err());
    let pushed = registry.push_blob(&ann, &new, sha256(&blob), None, body(&blob));
    denied(pushed.await.unwrap_err());
    let manifest = image(&[(sha256(&blob), blob.len())]);
    let push = ManifestPush::new(&"v1".parse().unwrap(), manifest);
    denied(registry.put_manifest(&ann, &new, push).await.unwrap_err());
    let digest = sha256(&blob);
    let mounted = registry.mount_blob(&ann, &new, None, &digest);
    denied(mounted.await.unwrap_err());
    assert!(registry.repository_info(&root(), &new).await.is_err());
    assert!(registry.open_upload(&ann, &app(), None).await.is_ok());
}
