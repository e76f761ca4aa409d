//! Whether callers may: by which policies, from when on, and what those who may
//! not hear of it.

mod asked;
mod refused;
pub(crate) mod world;

use std::sync::Arc;

use entrepot_access::policy::Context;
use entrepot_metadata::command::{
    CreatePolicy, CreatePolicyVersion, DetachPolicy, PutRegistryItem, SetBoundary, SetGroupMember,
    TagEntity, TagRepository,
};
use entrepot_metadata::query::{EntityKind, ItemKind};
use entrepot_oci::RepositoryName;
use entrepot_service::{
    AccountState, Caller, Origin, Principal, Proof, Registry, Removal, ServiceError, Target,
};

use crate::cluster::app;
use world::{ANY, World, allow, attach, deny, first, inline, other, policy, root_of, service};

const PULL: &str = "ecr:BatchGetImage";
const PUSH: &str = "ecr:PutImage";
const READ_ONLY: &str = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly";

impl World {
    fn may(&self, who: &Caller, action: &str) -> bool {
        match self.ask(who, action, Target::Repository(&app())) {
            Ok(()) => true,
            Err(ServiceError::Denied(_) | ServiceError::Unauthorized) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// The same twice: what is remembered says the same.
    fn may_now(&self, who: &Caller, action: &str) -> bool {
        let first = self.may(who, action);
        assert_eq!(self.may(who, action), first, "{action} again");
        first
    }
}

#[tokio::test]
async fn an_identity_may_what_its_policies_allow_from_then_on_until_they_change() {
    let world = World::new().await;
    let ann = world.user(&first(), "ann").await;
    assert!(!world.may_now(&ann, PULL));
    let put = |document: String| inline(&first(), "ann", &document);
    world.global(put(policy(&[allow(PULL, ANY)]))).await;
    assert!(world.may_now(&ann, PULL) && !world.may_now(&ann, PUSH));
    world
        .global(put(policy(&[allow("ecr:*", ANY), deny(PULL, ANY)])))
        .await;
    assert!(!world.may_now(&ann, PULL) && world.may_now(&ann, PUSH));

    let bob = world.user(&first(), "bob").await;
    world
        .global(attach(&first(), EntityKind::User, "bob", READ_ONLY))
        .await;
    assert!(world.may_now(&bob, PULL) && !world.may_now(&bob, PUSH));
    world
        .global(DetachPolicy {
            account: first().to_string(),
            kind: EntityKind::User.into(),
            name: "bob".to_owned(),
            policy_arn: READ_ONLY.to_owned(),
        })
        .await;
    assert!(!world.may_now(&bob, PULL));

    // Of a group, while one is in it.
    world.group(&first(), "team").await;
    let policy = attach(&first(), EntityKind::Group, "team", READ_ONLY);
    world.global(policy).await;
    for (is_member, may) in [(true, true), (false, false)] {
        world
            .global(SetGroupMember {
                account: first().to_string(),
                group: "team".to_owned(),
                user: "bob".to_owned(),
                is_member,
            })
            .await;
        assert_eq!(world.may_now(&bob, PULL), may);
    }
}

#[tokio::test]
async fn a_version_that_becomes_the_default_counts_at_once() {
    let world = World::new().await;
    let ann = world.user(&first(), "ann").await;
    let arn = "arn:aws:iam::123456789012:policy/mine";
    let pull = policy(&[allow(PULL, ANY)]);
    world
        .global(CreatePolicy {
            account: first().to_string(),
            name: "mine".to_owned(),
            path: "/".to_owned(),
            id: "ANPAMINEMINEMINE".to_owned(),
            document: pull,
            at_ms: 1,
            ..CreatePolicy::default()
        })
        .await;
    world
        .global(attach(&first(), EntityKind::User, "ann", arn))
        .await;
    assert!(world.may_now(&ann, PULL) && !world.may_now(&ann, PUSH));
    let push = policy(&[allow(PUSH, ANY)]);
    let version = CreatePolicyVersion {
        account: first().to_string(),
        name: "mine".to_owned(),
        document: push,
        set_as_default: true,
        at_ms: 2,
    };
    world.global(version).await;
    assert!(!world.may_now(&ann, PULL) && world.may_now(&ann, PUSH));
}

#[tokio::test]
async fn boundaries_and_session_policies_take_away() {
    let world = World::new().await;
    let ann = world.admin(&first(), "ann").await;
    assert!(world.may_now(&ann, PULL) && world.may_now(&ann, PUSH));
    let limited = Caller {
        proof: Proof {
            session_policy: Some(policy(&[allow(PULL, ANY)]).into()),
            ..Proof::default()
        },
        ..ann.clone()
    };
    assert!(world.may_now(&limited, PULL) && !world.may_now(&limited, PUSH));
    // The root user's sessions, too.
    let root = Caller {
        proof: limited.proof.clone(),
        ..Caller::of(Principal::root(first()))
    };
    assert!(world.may_now(&root, PULL) && !world.may_now(&root, PUSH));
    let broken = Caller {
        proof: Proof {
            session_policy: Some("{".into()),
            ..Proof::default()
        },
        ..ann.clone()
    };
    assert!(!world.may_now(&broken, PULL));

    world
        .global(SetBoundary {
            account: first().to_string(),
            kind: EntityKind::User.into(),
            name: "ann".to_owned(),
            policy_arn: READ_ONLY.to_owned(),
        })
        .await;
    assert!(world.may_now(&ann, PULL) && !world.may_now(&ann, PUSH));
}

#[tokio::test]
async fn whoever_has_gone_or_is_another_of_that_name_may_nothing() {
    let world = World::new().await;
    let ann = world.admin(&first(), "ann").await;
    let mut impostor = ann.clone();
    if let entrepot_service::Identity::User(user) = &mut impostor.principal.identity {
        user.id = "AIDAOTHEROTHEROTHER".to_owned();
    }
    let nobody = world::user_of(&first(), "nobody");
    assert!(world.may_now(&ann, PULL));
    assert!(!world.may_now(&impostor, PULL) && !world.may_now(&nobody, PULL));
    // What is given to the name is not given to them either.
    let arns = "arn:aws:iam::123456789012:user/ann\", \"arn:aws:iam::123456789012:user/nobody";
    world
        .repository_policy(&first(), &policy(&[world::to(arns, "ecr:*")]))
        .await;
    assert!(!world.may_now(&impostor, PULL) && !world.may_now(&nobody, PULL));
}

#[tokio::test]
async fn a_repositorys_policy_gives_and_takes_within_its_account() {
    let world = World::new().await;
    let (ann, root) = (world.user(&first(), "ann").await, root_of(&first()));
    let arn = "arn:aws:iam::123456789012:user/ann";
    world
        .repository_policy(&first(), &policy(&[world::to(arn, PULL)]))
        .await;
    assert!(world.may_now(&ann, PULL) && !world.may_now(&ann, PUSH));
    let closed = policy(&[world::to(arn, PULL), world::denied_to("*", PULL)]);
    world.repository_policy(&first(), &closed).await;
    assert!(!world.may_now(&ann, PULL) && !world.may_now(&root, PULL));
    assert!(world.may_now(&root, PUSH));
    world.repository_policy(&first(), "").await;
    assert!(!world.may_now(&ann, PULL) && world.may_now(&root, PULL));
}

#[tokio::test]
async fn across_accounts_both_sides_have_to_allow() {
    let world = World::new().await;
    let theirs = |who: Caller| who.meaning(first());
    let root = theirs(root_of(&other()));
    let user = theirs(world.user(&other(), "eve").await);
    let admin = theirs(world.admin(&other(), "boss").await);
    for who in [&root, &user, &admin] {
        assert!(!world.may_now(who, PULL), "{who:?}");
    }
    let shared = policy(&[world::to("arn:aws:iam::210987654321:root", PULL)]);
    world.repository_policy(&first(), &shared).await;
    assert!(world.may_now(&root, PULL) && world.may_now(&admin, PULL));
    assert!(
        !world.may_now(&user, PULL),
        "its own account does not let it"
    );
    assert!(!world.may_now(&root, PUSH) && !world.may_now(&admin, PUSH));
    // Nor is there anything without a name that they may ask of that registry.
    let all = world.ask(&admin, "ecr:DescribeRepositories", Target::Any);
    let Err(ServiceError::Denied(text)) = all else {
        panic!("{all:?}")
    };
    assert!(text.ends_with("no resource-based policy allows the ecr:DescribeRepositories action"));
    // Of another repository nothing was said.
    let secret: RepositoryName = "secret".parse().unwrap();
    assert!(
        world
            .ask(&admin, PULL, Target::Repository(&secret))
            .is_err()
    );

    let ann = world.admin(&first(), "ann").await.meaning(other());
    let shared = policy(&[world::to("123456789012", PULL)]);
    world.repository_policy(&other(), &shared).await;
    assert!(world.may_now(&ann, PULL));
    world.disable(&other()).await;
    assert!(
        !world.may_now(&ann, PULL),
        "the registry's account is closed"
    );
}

#[tokio::test]
async fn nobody_and_services_may_what_a_resource_says_alone() {
    let world = World::new().await;
    let nobody = Caller::of(Principal::anonymous(first()));
    let replication = service(&first(), "replication.ecr.amazonaws.com");
    assert!(!world.may_now(&nobody, PULL) && !world.may_now(&replication, PULL));
    let unauthorized = world.ask(&nobody, PULL, Target::Repository(&app()));
    assert_eq!(unauthorized, Err(ServiceError::Unauthorized));
    world
        .repository_policy(&first(), &policy(&[world::to("*", PULL)]))
        .await;
    assert!(world.may_now(&nobody, PULL) && !world.may_now(&nobody, PUSH));
    assert!(
        world
            .ask(&nobody, "ecr:DescribeRepositories", Target::Any)
            .is_err()
    );
}

#[tokio::test]
async fn a_registrys_policy_speaks_of_every_action_unless_its_scope_is_the_old_one() {
    let world = World::new().await;
    let admin = world.admin(&other(), "boss").await.meaning(first());
    let to_all = policy(&[world::to("210987654321", "ecr:*")]);
    let put = |kind, name: &str, body: &str| {
        PutRegistryItem::new(&first(), kind, name, body.to_owned(), 1)
    };
    world.region(put(ItemKind::Policy, "", &to_all)).await;
    assert!(world.may_now(&admin, PULL));
    assert!(
        world
            .ask(&admin, "ecr:DescribeRepositories", Target::Any)
            .is_ok()
    );
    let scope = |value| put(ItemKind::AccountSetting, "REGISTRY_POLICY_SCOPE", value);
    world.region(scope("V1")).await;
    assert!(!world.may_now(&admin, PULL) && world.may_now(&admin, "ecr:CreateRepository"));
    world.region(scope("V2")).await;
    assert!(world.may_now(&admin, PULL));
}

#[tokio::test]
async fn what_conditions_ask_for_is_looked_up_each_time() {
    let world = World::new().await;
    let ann = world.user(&first(), "ann").await;
    let put = |condition: &str| {
        let statement =
            allow("ecr:*", ANY).replace('}', &format!(", \"Condition\": {condition}}}"));
        inline(&first(), "ann", &policy(&[statement]))
    };
    let from = |address: &str, is_secure| {
        let origin = Origin {
            address: Some(address.parse().unwrap()),
            is_secure,
            user_agent: Some("docker/28".into()),
            ..Origin::default()
        };
        ann.clone().from_origin(Arc::new(origin))
    };
    world
        .global(put(r#"{"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}"#))
        .await;
    for (address, may) in [
        ("192.0.2.7", true),
        ("::ffff:192.0.2.7", true),
        ("198.51.100.7", false),
        ("2001:db8::1", false),
    ] {
        assert_eq!(world.may_now(&from(address, false), PULL), may, "{address}");
    }
    assert!(!world.may_now(&ann, PULL), "from nowhere");

    world
        .global(put(r#"{"Bool": {"aws:SecureTransport": "true"}}"#))
        .await;
    assert!(world.may_now(&from("192.0.2.7", true), PULL));
    assert!(!world.may_now(&from("192.0.2.7", false), PULL));
    world
        .global(put(r#"{"StringLike": {"aws:UserAgent": "docker/*"}}"#))
        .await;
    assert!(world.may_now(&from("192.0.2.7", true), PULL) && !world.may_now(&ann, PULL));
    for (condition, may) in [
        (
            r#"{"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}"#,
            true,
        ),
        (
            r#"{"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}"#,
            false,
        ),
        (
            r#"{"NumericGreaterThan": {"aws:EpochTime": "1500000000"}}"#,
            true,
        ),
        (r#"{"StringEquals": {"aws:username": "ann"}}"#, true),
        (
            r#"{"StringEquals": {"aws:userid": "AIDAANNXXXXXXXXX"}}"#,
            true,
        ),
        (
            r#"{"StringEquals": {"aws:PrincipalAccount": "123456789012"}}"#,
            true,
        ),
        (
            r#"{"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/bob"}}"#,
            false,
        ),
    ] {
        world.global(put(condition)).await;
        assert_eq!(world.may_now(&ann, PULL), may, "{condition}");
    }
}

#[tokio::test]
async fn tags_of_the_caller_the_repository_and_the_request_count() {
    let world = World::new().await;
    let ann = world.user(&first(), "ann").await;
    let put = |condition: &str| {
        let statement =
            allow("ecr:*", ANY).replace('}', &format!(", \"Condition\": {condition}}}"));
        inline(&first(), "ann", &policy(&[statement]))
    };
    for key in ["aws:ResourceTag/team", "ecr:ResourceTag/team"] {
        let mine = format!(r#"{{"StringEquals": {{"{key}": "${{aws:PrincipalTag/team}}"}}}}"#);
        world.global(put(&mine)).await;
        let team = |value: &str| [("team".to_owned(), value.to_owned())].into();
        for (own, theirs, may) in [("a", "a", true), ("a", "b", false), ("b", "b", true)] {
            let tag = TagEntity {
                set: team(own),
                account: first().to_string(),
                kind: EntityKind::User.into(),
                name: "ann".to_owned(),
                remove: Vec::new(),
            };
            world.global(tag).await;
            let tag = TagRepository {
                set: team(theirs),
                ..TagRepository::new(&first(), &app())
            };
            world.region(tag).await;
            assert_eq!(world.may_now(&ann, PULL), may, "{key} {own} {theirs}");
        }
    }
    let asked = r#"{"StringEquals": {"aws:RequestTag/team": "a"}, "ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}"#;
    world.global(put(asked)).await;
    let with = |tags: &[(&str, &str)]| {
        let mut context = Context::new();
        for (key, value) in tags {
            context.insert(&format!("aws:RequestTag/{key}"), *value);
            context.insert("aws:TagKeys", *key);
        }
        let target = app();
        let target = Target::Repository(&target);
        world
            .registry()
            .authorize_with(&ann, "ecr:TagResource", target, &context)
    };
    assert!(with(&[("team", "a")]).is_ok());
    assert!(with(&[("team", "b")]).is_err());
    assert!(with(&[("team", "a"), ("more", "a")]).is_err());
    assert!(with(&[]).is_err());
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_denies_and_can_be_mended() {
    let world = World::new().await;
    let (ann, root) = (world.admin(&first(), "ann").await, root_of(&first()));
    world
        .repository_policy(&first(), r#"{"Version": "2030-01-01"}"#)
        .await;
    assert!(!world.may_now(&ann, PULL) && !world.may_now(&root, PULL));
    assert!(world.may_now(&root, "ecr:SetRepositoryPolicy"));
    assert!(world.may_now(&root, "ecr:DeleteRepositoryPolicy"));
    assert!(!world.may_now(&ann, "ecr:SetRepositoryPolicy"));
    world.repository_policy(&first(), "").await;
    assert!(world.may_now(&ann, PULL) && world.may_now(&root, PULL));

    let broken = inline(&first(), "ann", "{}");
    world.global(broken).await;
    assert!(!world.may_now(&ann, PULL));
}

/// What each answers that is for those who operate the cluster, and then what only
/// looks at it. Where it goes on, it is refused for other reasons.
async fn of_the_cluster(registry: &Arc<Registry>, who: &Caller) -> [Vec<bool>; 2] {
    let region = "eu-west-1".parse().unwrap();
    let removal = Removal {
        node: 9,
        force: false,
        successor: None,
    };
    let denied = |error: Option<ServiceError>| matches!(error, Some(ServiceError::Denied(_)));
    let account = other();
    let state = AccountState::Active;
    let operates = vec![
        denied(registry.drain(who, 9, false).await.err()),
        denied(registry.remove_member(who, &removal, None).await.err()),
        denied(registry.add_region(who, &region).await.err()),
        denied(registry.remove_region(who, &region).await.err()),
        denied(registry.create_join_token(who, None, None).await.err()),
        denied(registry.revoke_node(who, 9).await.err()),
        denied(registry.start_scrub(who, None).await.err()),
        denied(registry.set_account_state(who, &account, state).await.err()),
    ];
    let looks = vec![
        denied(registry.members(who).await.err()),
        denied(registry.departure(who, 9, None).await.err()),
        denied(registry.regions(who).await.err()),
        denied(registry.upkeep(who).await.err()),
        denied(registry.cluster(who).err()),
        denied(registry.accounts(who, None, None).await.err()),
    ];
    [operates, looks]
}

#[tokio::test]
async fn every_use_case_of_the_cluster_asks_whose_it_is() {
    let world = World::new().await;
    let registry = world.registry();
    let looker = world.user(&first(), "ann").await;
    let may_look = allow("entrepot:DescribeCluster", ANY);
    let document = inline(&first(), "ann", &policy(&[may_look]));
    world.global(document).await;
    let strangers = [
        world.user(&first(), "bob").await,
        world.admin(&other(), "boss").await,
        root_of(&other()),
        root_of(&other()).meaning(first()),
        Caller::of(Principal::anonymous(first())),
    ];
    for who in strangers {
        let found = of_the_cluster(registry, &who).await;
        assert!(found.iter().flatten().all(|it| *it), "{who:?}: {found:?}");
    }
    let [operates, looks] = of_the_cluster(registry, &looker).await;
    assert!(operates.iter().all(|it| *it) && !looks.contains(&true));
    let found = of_the_cluster(registry, &root_of(&first())).await;
    assert!(!found.iter().flatten().any(|it| *it), "{found:?}");
}

#[tokio::test]
async fn who_operates_the_cluster_is_the_first_accounts_to_say() {
    let world = World::new().await;
    let registry = world.registry();
    assert_eq!(registry.operates(&root_of(&first())), Ok(()));
    assert_eq!(
        registry.operates(&world.admin(&first(), "ann").await),
        Ok(())
    );
    for who in [
        world.user(&first(), "bob").await,
        world.admin(&other(), "boss").await,
        root_of(&other()),
        root_of(&other()).meaning(first()),
        Caller::of(Principal::anonymous(first())),
    ] {
        assert!(registry.operates(&who).is_err(), "{who:?}");
    }
}
