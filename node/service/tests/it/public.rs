//! Public registries: who may do what in them, and that nothing of a private one
//! is to be had there.

use bytes::Bytes;
use entrepot_metadata::command::{CreateRepository, PutRepositoryText};
use entrepot_metadata::query::TextKind;
use entrepot_oci::{AccountId, Reference, RegistryId, RepositoryName};
use entrepot_service::{
    Caller, Catalog, ManifestPush, NewRepository, Principal, ServiceError, TagCondition, Target,
};

use crate::authorize::world::{World, allow, deny, first, inline, other, policy, root_of, to};
use crate::cluster::app;
use crate::content::{body, content, image, sha256};

fn public(account: &AccountId) -> RegistryId {
    RegistryId::public(account)
}

fn arn(name: &str) -> String {
    format!("arn:aws:ecr-public::{}:repository/{name}", first())
}

/// With a public repository of the same name as the private one, and an image of
/// one blob in each; the blobs.
async fn both() -> (World, [Bytes; 2]) {
    let world = World::new().await;
    world
        .region(CreateRepository::new(&public(&first()), &app(), 1))
        .await;
    let root = root_of(&first());
    let blobs = [content(1, 10), content(2, 20)];
    for (blob, who) in blobs
        .iter()
        .zip([root.clone(), root.clone().meaning(public(&first()))])
    {
        push(&world, &who, "v1", blob).await.unwrap();
    }
    (world, blobs)
}

async fn push(world: &World, who: &Caller, tag: &str, blob: &Bytes) -> Result<(), ServiceError> {
    let (registry, digest) = (world.registry(), sha256(blob));
    registry
        .push_blob(who, &app(), digest, None, body(blob))
        .await?;
    let manifest = image(&[(digest, blob.len())]);
    let push = ManifestPush::new(&tag.parse().unwrap(), manifest);
    registry.put_manifest(who, &app(), push).await.map(drop)
}

fn denied<T: std::fmt::Debug>(said: Result<T, ServiceError>, action: &str) {
    let Err(ServiceError::Denied(text)) = said else {
        panic!("{action}: {said:?}")
    };
    assert!(text.contains(&format!("perform: {action} on")), "{text}");
}

#[tokio::test]
async fn everybody_pulls_and_what_is_private_is_not_there() {
    let (world, [private, open]) = both().await;
    let registry = world.registry();
    let ann = world.user(&other(), "ann").await;
    let nobody = Caller::of(Principal::anonymous(first()));
    for who in [nobody, ann] {
        let who = who.meaning(public(&first()));
        let found = registry
            .stat_for_download(&who, &app(), &sha256(&open))
            .await;
        assert_eq!(found.unwrap().size, 20);
        let tag: Reference = "v1".parse().unwrap();
        assert!(registry.get_manifest(&who, &app(), &tag).await.is_ok());
        let tags = registry.list_tags(&who, &app(), None, 10).await;
        assert_eq!(tags.unwrap().tags.len(), 1);
        let digest = sha256(&private);
        let hidden = registry.stat_for_download(&who, &app(), &digest).await;
        assert_eq!(hidden, Err(ServiceError::BlobUnknown(digest)));
        let manifest = Reference::Digest(sha256(&image(&[(digest, 10)])));
        let hidden = registry.get_manifest(&who, &app(), &manifest).await;
        assert!(matches!(hidden, Err(ServiceError::ManifestUnknown(_))));
    }
    let root = root_of(&first());
    let digest = sha256(&open);
    let hidden = registry.stat_blob(&root, &app(), &digest).await;
    assert_eq!(hidden, Err(ServiceError::BlobUnknown(digest)));
}

#[tokio::test]
async fn nobody_may_more_whatever_a_policy_says() {
    let (world, [_, open]) = both().await;
    let everyone = r#"{"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "*"}]}"#;
    let put = PutRepositoryText::new(&public(&first()), &app(), TextKind::Policy, everyone, 1);
    world.region(put).await;
    let nobody = Caller::of(Principal::anonymous(first())).meaning(public(&first()));
    let registry = world.registry();
    let app = app();
    let said = [
        push(&world, &nobody, "v2", &open).await,
        registry.open_upload(&nobody, &app, None).await.map(drop),
        registry
            .stat_blob(&nobody, &app, &sha256(&open))
            .await
            .map(drop),
        registry
            .list_images(&nobody, &app, None, None)
            .await
            .map(drop),
        registry
            .describe_repositories(&nobody, None, None)
            .await
            .map(drop),
        registry
            .tagged_images(&nobody, &app, None, 10)
            .await
            .map(drop),
        registry.repository_policy(&nobody, &app).await.map(drop),
        registry.repository_catalog(&nobody, &app).await.map(drop),
        registry.display_name(&nobody).await.map(drop),
        registry.describe_public_registry(&nobody),
        registry
            .delete_manifest(&nobody, &app, &"v1".parse().unwrap(), TagCondition::None)
            .await,
    ];
    for (nth, said) in said.into_iter().enumerate() {
        assert_eq!(said, Err(ServiceError::Unauthorized), "{nth}");
    }
}

#[tokio::test]
async fn actions_are_those_of_ecr_public() {
    let (world, [_, open]) = both().await;
    let ann = world.user(&first(), "ann").await.meaning(public(&first()));
    let may = async |statements: &[String]| {
        let document = policy(statements);
        world.global(inline(&first(), "ann", &document)).await;
    };
    may(&[allow("ecr:*", "*")]).await;
    denied(
        push(&world, &ann, "v2", &open).await,
        "ecr-public:InitiateLayerUpload",
    );
    may(&[allow("ecr-public:*", &arn("other"))]).await;
    denied(
        push(&world, &ann, "v2", &open).await,
        "ecr-public:InitiateLayerUpload",
    );
    may(&[
        allow("ecr-public:*", &arn("team/*")),
        deny("ecr-public:PutImage", "*"),
    ])
    .await;
    denied(push(&world, &ann, "v2", &open).await, "ecr-public:PutImage");
    may(&[allow("ecr-public:*", &arn("team/*"))]).await;
    assert_eq!(push(&world, &ann, "v2", &open).await, Ok(()));
    // What ECR Public does not have, nobody does there.
    may(&[allow("*", "*")]).await;
    let root = root_of(&first()).meaning(public(&first()));
    let registry = world.registry();
    for who in [&ann, &root] {
        let said = registry.list_rules(who).await;
        assert!(matches!(said, Err(ServiceError::Denied(_))), "{said:?}");
        let said = registry.put_account_setting(who, "BLOB_MOUNTING", "DISABLED");
        let said = said.await;
        assert!(matches!(said, Err(ServiceError::Denied(_))), "{said:?}");
        let said = world.ask(who, "ecr:PutLifecyclePolicy", Target::Repository(&app()));
        assert!(matches!(said, Err(ServiceError::Denied(_))), "{said:?}");
    }
}

#[tokio::test]
async fn another_account_pushes_where_both_sides_allow_it() {
    let (world, [_, open]) = both().await;
    let eve = world.admin(&other(), "eve").await.meaning(public(&first()));
    denied(
        push(&world, &eve, "v2", &open).await,
        "ecr-public:InitiateLayerUpload",
    );
    let put = |registry: &RegistryId, action: &str| {
        let text = policy(&[to(&format!("arn:aws:iam::{}:user/eve", other()), action)]);
        PutRepositoryText::new(registry, &app(), TextKind::Policy, &text, 1)
    };
    // What the private repository of that name allows is nothing here.
    world.region(put(&first(), "*")).await;
    denied(
        push(&world, &eve, "v2", &open).await,
        "ecr-public:InitiateLayerUpload",
    );
    world.region(put(&public(&first()), "ecr-public:*")).await;
    assert_eq!(push(&world, &eve, "v2", &open).await, Ok(()));
    let private = eve.clone().meaning(first());
    world.repository_policy(&first(), "").await;
    denied(
        push(&world, &private, "v2", &open).await,
        "ecr:InitiateLayerUpload",
    );
}

#[tokio::test]
async fn an_account_that_is_not_there_or_disabled_looks_empty() {
    let (world, _) = both().await;
    world
        .region(CreateRepository::new(&public(&other()), &app(), 1))
        .await;
    let registry = world.registry();
    let tag: Reference = "v1".parse().unwrap();
    let third: AccountId = "333333333333".parse().unwrap();
    let look = async |account: &AccountId| {
        let nobody = Caller::of(Principal::anonymous(account.clone()));
        let nobody = nobody.meaning(public(account));
        registry.get_manifest(&nobody, &app(), &tag).await.map(drop)
    };
    let active = look(&other()).await;
    assert!(matches!(active, Err(ServiceError::ManifestUnknown(_))));
    let absent = Err(ServiceError::NameUnknown(app()));
    assert_eq!(look(&third).await, absent);
    world.disable(&other()).await;
    assert_eq!(look(&other()).await, absent);
}

#[tokio::test]
async fn people_are_told_of_a_repository_and_see_its_logo() {
    let (world, _) = both().await;
    let registry = world.registry();
    let root = root_of(&first()).meaning(public(&first()));
    let new: RepositoryName = "new".parse().unwrap();
    let logo = content(7, 9_000);
    let catalog = Catalog {
        description: Some("an app".to_owned()),
        architectures: vec!["ARM 64".to_owned()],
        ..Catalog::default()
    };
    let made = NewRepository {
        catalog: Some(catalog.clone().with_logo(Some(&logo))),
        ..NewRepository::default()
    };
    let made = registry.create_public(&root, &new, made, Some(logo.clone()));
    made.await.unwrap();
    let found = registry.repository_catalog(&root, &new).await.unwrap();
    assert_eq!(found, catalog.clone().with_logo(Some(&logo)));
    let nobody = Caller::of(Principal::anonymous(first())).meaning(public(&first()));
    let kept = sha256(&logo);
    let shown = registry.stat_for_download(&nobody, &new, &kept);
    assert_eq!(shown.await.unwrap().size, 9_000);
    // Nothing of it is in the private registry.
    let private = root_of(&first());
    let found = registry.describe_repository(&private, &new).await;
    assert_eq!(found, Err(ServiceError::NameUnknown(new.clone())));
    let none = registry.repository_catalog(&root, &app()).await;
    assert!(matches!(none, Err(ServiceError::NotFound(_))), "{none:?}");
    let other = Catalog::default();
    let put = registry.put_repository_catalog(&root, &new, other.clone(), None);
    assert_eq!(put.await, Ok(other.clone()));
    let found = registry.repository_catalog(&root, &new).await;
    assert_eq!(found, Ok(other));
    let ann = world.user(&first(), "ann").await.meaning(public(&first()));
    let said = registry.repository_catalog(&ann, &new).await;
    denied(said, "ecr-public:GetRepositoryCatalogData");
}

#[tokio::test]
async fn a_password_for_public_registries_takes_two_permissions() {
    let world = World::new().await;
    let ann = world.user(&first(), "ann").await;
    let registry = world.registry();
    let actions = [
        "ecr-public:GetAuthorizationToken",
        "sts:GetServiceBearerToken",
    ];
    for (given, missing) in [(0, 1), (1, 0)] {
        let document = policy(&[allow(actions[given], "*")]);
        world.global(inline(&first(), "ann", &document)).await;
        let given = registry.public_authorization_token(&ann).map(drop);
        denied(given, actions[missing]);
    }
    let document = policy(&actions.map(|action| allow(action, "*")));
    world.global(inline(&first(), "ann", &document)).await;
    assert!(registry.public_authorization_token(&ann).is_ok());
    let private = registry.authorization_token(&ann).map(drop);
    denied(private, "ecr:GetAuthorizationToken");
}
