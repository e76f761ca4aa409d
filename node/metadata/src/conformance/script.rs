//! A fixed history with every command in it, refusals and a repeat included.

use std::collections::BTreeMap;

use bytes::Bytes;
use entrepot_oci::{Algorithm, Digest};

use crate::command::{
    AddMember, AddRegion, AttachPolicy, Command, CreateAccessKey, CreateAccount, CreateEntity,
    CreatePolicy, CreatePolicyVersion, CreateRepository, DeleteAccessKey, DeleteEntity,
    DeleteManifest, DeletePolicy, DeletePolicyVersion, DeleteRegistryItem, DeleteRepository,
    DeleteRule, DeleteTag, DetachPolicy, EndTask, Envelope, FormCluster, ImageState, LinkBlob,
    MemberSpec, MountBlob, NewAccessKey, PutManifest, PutRegistryItem, PutRegistrySettings,
    PutRepositorySettings, PutRepositoryText, PutRule, QuotasChange, RemoveMember, RemoveRegion,
    ReplaceRules, RepositorySpec, RuleSpec, SetAccessKeyState, SetAccountState, SetGroupMember,
    SetMemberState, TagRepository, TagState, UnlinkBlob, UpdateMember,
};
use crate::query::{
    AccessKeyState, AccountState, EntityKind, ItemKind, MemberState, MutabilityMode, TextKind,
};
use crate::records::settings::MutabilityRecord;

const ACCOUNT: &str = "123456789012";

pub(super) fn envelopes() -> Vec<Bytes> {
    let mut envelopes: Vec<Bytes> = (1_u128..)
        .zip(commands())
        .map(|(id, command)| Envelope::new(id.to_be_bytes(), command).to_bytes())
        .collect();
    envelopes.push(envelopes[4].clone());
    envelopes.push(Bytes::from_static(b"not an envelope"));
    envelopes
}

fn delete_image(repository: &str, expected: Option<ImageState>) -> DeleteManifest {
    DeleteManifest {
        account: ACCOUNT.to_owned(),
        repository: repository.to_owned(),
        digest: digest(10),
        expected,
        ..DeleteManifest::default()
    }
}

fn commands() -> Vec<Command> {
    vec![
        CreateAccount {
            account: ACCOUNT.to_owned(),
            root_user: "root".to_owned(),
            password_hash: "$argon2id$".to_owned(),
            at_ms: 1,
            ..CreateAccount::default()
        }
        .into(),
        PutRegistrySettings {
            account: ACCOUNT.to_owned(),
            create_on_push: Some(false),
            quotas: Some(QuotasChange {
                bytes: Some(1 << 20),
                ..QuotasChange::default()
            }),
            is_granted: true,
            undelete_window_ms: None,
        }
        .into(),
        rule("all", &[], "eu-west-1").into(),
        rule("some", &["team/"], "ap-south-1").into(),
        link("team/app", 1, true).into(),
        link("team/app", 2, false).into(),
        link("nowhere", 2, false).into(),
        CreateRepository {
            account: ACCOUNT.to_owned(),
            repository: "base".to_owned(),
            at_ms: 2,
            ..CreateRepository::default()
        }
        .into(),
        MountBlob {
            account: ACCOUNT.to_owned(),
            from: "team/app".to_owned(),
            repository: "base".to_owned(),
            digest: digest(1),
            at_ms: 3,
            create_repository: false,
        }
        .into(),
        push("team/app", 10, &[1, 2], &[], &["v1", "latest"]).into(),
        push("team/app", 11, &[1], &[], &["latest"]).into(),
        push("team/app", 12, &[], &[10, 11], &[]).into(),
        push("team/app", 13, &[3], &[], &[]).into(),
        push("team/app", 14, &[], &[11, 15], &["sparse"]).into(),
        PutRepositorySettings {
            account: ACCOUNT.to_owned(),
            repository: "team/app".to_owned(),
            sparse_indexes: Some(true),
            ..PutRepositorySettings::default()
        }
        .into(),
        push("team/app", 14, &[], &[11, 15], &["sparse"]).into(),
        push("team/app", 15, &[2], &[], &[]).into(),
        push("base", 10, &[1], &[], &["v1"]).into(),
        EndTask {
            account: ACCOUNT.to_owned(),
            repository: "team/app".to_owned(),
            digest: digest(10),
            tag: "v1".to_owned(),
            destination: "eu-west-1".to_owned(),
            sequence: 10,
            failed_reason: Some("denied".to_owned()),
            at_ms: 5,
            ..EndTask::default()
        }
        .into(),
        untag("v1").into(),
        only_if("latest", 10).into(),
        only_if("latest", 11).into(),
        delete_image("team/app", Some(ImageState::default())).into(),
        delete_image("team/app", None).into(),
        delete_image("base", None).into(),
        UnlinkBlob {
            account: ACCOUNT.to_owned(),
            repository: "base".to_owned(),
            digest: digest(1),
        }
        .into(),
        DeleteRule {
            account: ACCOUNT.to_owned(),
            id: "some".to_owned(),
        }
        .into(),
    ]
    .into_iter()
    .chain(deletions())
    .chain(of_members())
    .chain(of_accounts())
    .chain(of_settings())
    .collect()
}

fn deletions() -> Vec<Command> {
    vec![
        delete("base", false, 8).into(),
        delete("team/app", false, 5).into(),
        delete("team/app", true, 4).into(),
        PutManifest {
            create_repository: true,
            ..push("short", 10, &[], &[], &["v1"])
        }
        .into(),
        delete("short", true, 30).into(),
    ]
}

/// A repository whose tags stay where they are, and what goes with it.
fn of_settings() -> Vec<Command> {
    let account = || ACCOUNT.to_owned();
    let spec = RepositorySpec {
        mutability: Some(MutabilityRecord {
            mode: MutabilityMode::Immutable.into(),
            filters: Vec::new(),
        }),
        tags: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
        policy: "{}".to_owned(),
        ..RepositorySpec::default()
    };
    let item = |name: &str| PutRegistryItem {
        account: account(),
        kind: ItemKind::CreationTemplate.into(),
        name: name.to_owned(),
        body: Bytes::from_static(b"{}"),
        at_ms: 20,
        ..PutRegistryItem::default()
    };
    vec![
        CreateRepository {
            account: account(),
            repository: "fixed".to_owned(),
            at_ms: 20,
            spec: Some(spec),
            must_be_new: true,
        }
        .into(),
        push("fixed", 10, &[], &[], &["v1"]).into(),
        push("fixed", 11, &[], &[], &["v1"]).into(),
        PutRepositoryText {
            account: account(),
            repository: "fixed".to_owned(),
            kind: TextKind::Lifecycle.into(),
            text: "{}".to_owned(),
            at_ms: 21,
        }
        .into(),
        TagRepository {
            account: account(),
            repository: "fixed".to_owned(),
            remove: vec!["team".to_owned()],
            distinct: true,
            ..TagRepository::default()
        }
        .into(),
        item("team/").into(),
        item("ROOT").into(),
        ReplaceRules {
            account: "210987654321".to_owned(),
            rules: vec![RuleSpec {
                id: "new".to_owned(),
                prefixes: vec!["team/".to_owned()],
                destination_region: "us-east-1".to_owned(),
                ..RuleSpec::default()
            }],
            document: Bytes::from_static(b"{}"),
            at_ms: 21,
        }
        .into(),
        DeleteRegistryItem {
            account: account(),
            kind: ItemKind::CreationTemplate.into(),
            name: "team/".to_owned(),
        }
        .into(),
    ]
}

/// Another account comes, gets a key more than it may have, and goes to sleep.
fn of_accounts() -> Vec<Command> {
    const OTHER: &str = "210987654321";
    let key = |id: &str| NewAccessKey::new(id, &b"sealed"[..]);
    let create = |id: &str| CreateAccessKey {
        account: OTHER.to_owned(),
        owner: String::new(),
        key: Some(key(id)),
        at_ms: 12,
    };
    vec![
        CreateAccount {
            account: OTHER.to_owned(),
            root_user: "root".to_owned(),
            at_ms: 11,
            additional: true,
            name: "other".to_owned(),
            root_key: Some(key("AKIA1")),
            ..CreateAccount::default()
        }
        .into(),
        create("AKIA2").into(),
        create("AKIA3").into(),
        SetAccessKeyState {
            account: OTHER.to_owned(),
            owner: String::new(),
            id: "AKIA2".to_owned(),
            state: AccessKeyState::Inactive.into(),
        }
        .into(),
        DeleteAccessKey {
            account: OTHER.to_owned(),
            owner: String::new(),
            id: "AKIA1".to_owned(),
        }
        .into(),
        SetAccountState {
            account: OTHER.to_owned(),
            state: AccountState::Disabled.into(),
        }
        .into(),
        SetAccountState {
            account: ACCOUNT.to_owned(),
            state: AccountState::Disabled.into(),
        }
        .into(),
    ]
    .into_iter()
    .chain(of_identities())
    .collect()
}

/// A user in a group with a policy, which cannot go before that is undone.
fn of_identities() -> Vec<Command> {
    const ARN: &str = "arn:aws:iam::123456789012:policy/p";
    let account = || ACCOUNT.to_owned();
    let create = |kind, name: &str, id: &str| CreateEntity {
        account: account(),
        kind,
        name: name.to_owned(),
        path: "/".to_owned(),
        id: id.to_owned(),
        at_ms: 13,
        ..CreateEntity::default()
    };
    let (group, user) = (i32::from(EntityKind::Group), i32::from(EntityKind::User));
    let delete = |kind, name: &str| DeleteEntity {
        account: account(),
        kind,
        name: name.to_owned(),
    };
    let member = |is_member| SetGroupMember {
        account: account(),
        group: "devs".to_owned(),
        user: "Ann".to_owned(),
        is_member,
    };
    let delete_policy = || DeletePolicy {
        account: account(),
        name: "p".to_owned(),
    };
    vec![
        create(user, "ann", "AIDA0000000000000").into(),
        create(user, "ANN", "AIDA0000000000001").into(),
        create(group, "devs", "AGPA0000000000000").into(),
        CreatePolicy {
            account: account(),
            name: "p".to_owned(),
            path: "/".to_owned(),
            id: "ANPA0000000000000".to_owned(),
            document: "{}".to_owned(),
            at_ms: 14,
            ..CreatePolicy::default()
        }
        .into(),
        CreatePolicyVersion {
            account: account(),
            name: "p".to_owned(),
            document: "{ }".to_owned(),
            set_as_default: true,
            at_ms: 15,
        }
        .into(),
        DeletePolicyVersion {
            account: account(),
            name: "p".to_owned(),
            version: 1,
        }
        .into(),
        AttachPolicy {
            account: account(),
            kind: group,
            name: "devs".to_owned(),
            policy_arn: ARN.to_owned(),
        }
        .into(),
        member(true).into(),
        delete(user, "ann").into(),
        delete(group, "devs").into(),
        delete_policy().into(),
        member(false).into(),
        DetachPolicy {
            account: account(),
            kind: group,
            name: "devs".to_owned(),
            policy_arn: ARN.to_owned(),
        }
        .into(),
        delete(user, "ann").into(),
        delete(group, "devs").into(),
        delete_policy().into(),
    ]
}

fn of_members() -> Vec<Command> {
    let member = |node: u64| MemberSpec {
        node,
        region: "us-east-1".to_owned(),
        peer_address: format!("node-{node}:6000"),
        ..MemberSpec::default()
    };
    let newcomer = MemberSpec {
        node: 0,
        region: "eu-west-1".to_owned(),
        ..member(3)
    };
    vec![
        FormCluster {
            members: vec![member(1), member(2)],
            at_ms: 6,
        }
        .into(),
        AddMember::new(newcomer.clone(), true, 7).into(),
        AddMember::new(newcomer, true, 8).into(),
        SetMemberState::new(3, MemberState::Active).into(),
        UpdateMember {
            capacity_bytes: Some(1 << 40),
            ..UpdateMember::new(3)
        }
        .into(),
        SetMemberState::new(2, MemberState::Draining).into(),
        RemoveMember {
            node: 2,
            at_ms: 9,
            force: false,
        }
        .into(),
        AddRegion {
            region: "ap-south-1".to_owned(),
            at_ms: 10,
        }
        .into(),
        RemoveRegion {
            region: "ap-south-1".to_owned(),
        }
        .into(),
    ]
}

fn digest(number: u8) -> String {
    Digest::of(Algorithm::Sha256, &[number]).to_string()
}

fn rule(id: &str, prefixes: &[&str], destination: &str) -> PutRule {
    PutRule {
        account: ACCOUNT.to_owned(),
        id: id.to_owned(),
        prefixes: prefixes.iter().map(ToString::to_string).collect(),
        destination_region: destination.to_owned(),
        at_ms: 1,
        ..PutRule::default()
    }
}

/// `index`: of the entry that made the repository.
fn delete(repository: &str, force: bool, index: u64) -> DeleteRepository {
    DeleteRepository {
        account: ACCOUNT.to_owned(),
        repository: repository.to_owned(),
        force,
        index,
    }
}

fn link(repository: &str, blob: u8, create_repository: bool) -> LinkBlob {
    LinkBlob {
        account: ACCOUNT.to_owned(),
        repository: repository.to_owned(),
        digest: digest(blob),
        size: 100,
        root: Bytes::from(vec![blob; 32]),
        holders: vec![3, 1],
        at_ms: 2,
        create_repository,
        ..LinkBlob::default()
    }
}

fn push(
    repository: &str,
    manifest: u8,
    blobs: &[u8],
    children: &[u8],
    tags: &[&str],
) -> PutManifest {
    let digests = |numbers: &[u8]| numbers.iter().copied().map(digest).collect();
    PutManifest {
        account: ACCOUNT.to_owned(),
        repository: repository.to_owned(),
        digest: digest(manifest),
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        content: Bytes::from(vec![manifest; 100]),
        artifact_type: None,
        subject: Some(digest(99)),
        blobs: digests(blobs),
        children: digests(children),
        size: 100,
        tags: tags.iter().map(ToString::to_string).collect(),
        at_ms: 4,
        create_repository: false,
        origin: None,
        condition: None,
        absent: Vec::new(),
        ..PutManifest::default()
    }
}

/// Deletes a tag of `team/app` that points to a certain manifest.
/// The tag goes, and its manifest with it if that was the last.
fn untag(tag: &str) -> DeleteTag {
    DeleteTag {
        account: ACCOUNT.to_owned(),
        repository: "team/app".to_owned(),
        tag: tag.to_owned(),
        condition: None,
        with_manifest: true,
        ..DeleteTag::default()
    }
}

fn only_if(tag: &str, manifest: u8) -> DeleteTag {
    DeleteTag {
        account: ACCOUNT.to_owned(),
        repository: "team/app".to_owned(),
        tag: tag.to_owned(),
        condition: Some(TagState::Is(digest(manifest)).into()),
        with_manifest: false,
        ..DeleteTag::default()
    }
}
