//! Users, groups, roles, policies and access keys against a naive model of them:
//! maps that are searched from end to end, no indexes, no counts.

use std::collections::{BTreeMap, BTreeSet};

use entrepot_metadata::command::{
    AttachPolicy, CreateAccessKey, CreateAccount, CreateEntity, CreatePolicy, CreatePolicyVersion,
    DeleteAccessKey, DeleteEntity, DeleteInlinePolicy, DeletePolicy, DeletePolicyVersion,
    DetachPolicy, NewAccessKey, PutInlinePolicy, RoleSpec, SetBoundary, SetDefaultPolicyVersion,
    SetGroupMember, TagEntity, UpdateEntity,
};
use entrepot_metadata::limits::{ACCESS_KEYS_MAX, POLICY_VERSIONS_MAX};
use entrepot_metadata::query::{self, EntityKind};
use entrepot_metadata::response::{Done, Entity, EntityLimit, PolicyVersionMade};
use entrepot_metadata::{Command, Envelope, MemoryState, Outcome, Refused, apply, invariants};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::sample::select;

const ACCOUNT: &str = "111111111111";
const AWS: &str = "arn:aws:iam::aws:policy/ReadOnly";
const ALL: usize = usize::MAX;

#[derive(Clone, Debug, Default)]
struct Model {
    entities: BTreeMap<(EntityKind, String), Known>,
    policies: BTreeMap<String, KnownPolicy>,
    /// Owners by the ids of their keys.
    keys: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    name: String,
    id: String,
    path: String,
    tags: BTreeMap<String, String>,
    inline: BTreeMap<String, String>,
    attached: BTreeSet<String>,
    groups: BTreeSet<String>,
    boundary: Option<String>,
}

#[derive(Clone, Debug)]
struct KnownPolicy {
    name: String,
    path: String,
    id: String,
    versions: BTreeMap<u64, (String, i64)>,
    default: u64,
    last: u64,
}

// === impl KnownPolicy ===

impl KnownPolicy {
    fn arn(&self) -> String {
        format!("arn:aws:iam::{ACCOUNT}:policy{}{}", self.path, self.name)
    }
}

// === impl Model ===

impl Model {
    fn run(&mut self, command: Command) -> Result<Outcome, Refused> {
        match command {
            Command::CreateEntity(it) => self.create(it),
            Command::DeleteEntity(it) => self.delete(&it),
            Command::PutInlinePolicy(it) => {
                let found = self.find(it.kind, &it.name)?;
                found.inline.insert(it.policy, it.document);
                Ok(done())
            }
            Command::DeleteInlinePolicy(it) => {
                let found = self.find(it.kind, &it.name)?;
                match found.inline.remove(&it.policy) {
                    Some(_) => Ok(done()),
                    None => Err(unknown(EntityKind::InlinePolicy, &it.policy)),
                }
            }
            Command::AttachPolicy(it) => {
                self.find(it.kind, &it.name)?;
                self.require(&it.policy_arn)?;
                self.find(it.kind, &it.name)?.attached.insert(it.policy_arn);
                Ok(done())
            }
            Command::DetachPolicy(it) => {
                if self
                    .find(it.kind, &it.name)?
                    .attached
                    .remove(&it.policy_arn)
                {
                    return Ok(done());
                }
                Err(unknown(EntityKind::Attachment, &it.policy_arn))
            }
            Command::SetBoundary(it) => {
                let name = self.find(it.kind, &it.name)?.name.clone();
                if it.policy_arn.is_empty() {
                    let before = self.find(it.kind, &it.name)?.boundary.take();
                    let none = unknown(EntityKind::Boundary, &name);
                    return before.map(|_| done()).ok_or(none);
                }
                self.require(&it.policy_arn)?;
                self.find(it.kind, &it.name)?.boundary = Some(it.policy_arn);
                Ok(done())
            }
            Command::TagEntity(it) => {
                let found = self.find(it.kind, &it.name)?;
                found.tags.retain(|key, _| !it.remove.contains(key));
                found.tags.extend(it.set);
                Ok(done())
            }
            Command::SetGroupMember(it) => {
                let group = self.find(EntityKind::Group.into(), &it.group)?.name.clone();
                let user = self.find(EntityKind::User.into(), &it.user)?;
                if it.is_member {
                    user.groups.insert(group);
                } else {
                    user.groups.remove(&group);
                }
                Ok(done())
            }
            Command::UpdateEntity(it) => self.update(it),
            Command::CreateAccessKey(it) => self.create_key(it),
            Command::DeleteAccessKey(it) => {
                let owner = self.find(EntityKind::User.into(), &it.owner)?.name.clone();
                if self.keys.get(&it.id) != Some(&owner) {
                    return Err(unknown(EntityKind::AccessKey, &it.id));
                }
                self.keys.remove(&it.id);
                Ok(done())
            }
            other => self.run_policy(other),
        }
    }

    fn run_policy(&mut self, command: Command) -> Result<Outcome, Refused> {
        match command {
            Command::CreatePolicy(it) => {
                if let Some(known) = self.policies.get(&it.name.to_lowercase()) {
                    return if known.id == it.id {
                        Ok(done())
                    } else {
                        Err(Refused::EntityExists(Entity::new(
                            EntityKind::Policy,
                            &known.name,
                        )))
                    };
                }
                let known = KnownPolicy {
                    name: it.name.clone(),
                    path: it.path,
                    id: it.id,
                    versions: BTreeMap::from([(1, (it.document, it.at_ms))]),
                    default: 1,
                    last: 1,
                };
                self.policies.insert(it.name.to_lowercase(), known);
                Ok(done())
            }
            Command::CreatePolicyVersion(it) => {
                let policy = self.policy(&it.name)?;
                let made = |version| Ok(Outcome::PolicyVersionMade(PolicyVersionMade { version }));
                let newest = policy.versions.last_key_value();
                if let Some((version, known)) = newest
                    && *known == (it.document.clone(), it.at_ms)
                {
                    return made(*version);
                }
                if policy.versions.len() == POLICY_VERSIONS_MAX {
                    return Err(limit("VersionsPerPolicy", POLICY_VERSIONS_MAX));
                }
                policy.last += 1;
                policy.versions.insert(policy.last, (it.document, it.at_ms));
                if it.set_as_default {
                    policy.default = policy.last;
                }
                made(policy.last)
            }
            Command::SetDefaultPolicyVersion(it) => {
                self.version(&it.name, it.version)?.default = it.version;
                Ok(done())
            }
            Command::DeletePolicyVersion(it) => {
                let policy = self.version(&it.name, it.version)?;
                if policy.default == it.version {
                    return Err(conflict());
                }
                policy.versions.remove(&it.version);
                Ok(done())
            }
            Command::DeletePolicy(it) => {
                let policy = self.policy(&it.name)?;
                let (arn, versions) = (policy.arn(), policy.versions.len());
                let has = |known: &Known| {
                    known.attached.contains(&arn) || known.boundary.as_ref() == Some(&arn)
                };
                if versions > 1 || self.entities.values().any(has) {
                    return Err(conflict());
                }
                self.policies.remove(&it.name.to_lowercase());
                Ok(done())
            }
            other => unreachable!("no step proposes {other:?}"),
        }
    }

    fn create(&mut self, it: CreateEntity) -> Result<Outcome, Refused> {
        let kind = EntityKind::try_from(it.kind).unwrap();
        let key = (kind, it.name.to_lowercase());
        if let Some(known) = self.entities.get(&key) {
            return if known.id == it.id {
                Ok(done())
            } else {
                Err(Refused::EntityExists(Entity::new(kind, &known.name)))
            };
        }
        let boundary = Some(it.boundary).filter(|arn| !arn.is_empty());
        if let Some(arn) = &boundary {
            self.require(arn)?;
        }
        let attached: BTreeSet<String> = it.attached.into_iter().collect();
        for arn in &attached {
            self.require(arn)?;
        }
        let known = Known {
            name: it.name,
            id: it.id,
            path: it.path,
            tags: it.tags,
            boundary,
            attached,
            ..Known::default()
        };
        self.entities.insert(key, known);
        Ok(done())
    }

    fn update(&mut self, it: UpdateEntity) -> Result<Outcome, Refused> {
        let kind = EntityKind::try_from(it.kind).unwrap();
        let mut known = self.find(it.kind, &it.name)?.clone();
        let before = known.name.clone();
        let new = it.new_name.unwrap_or_else(|| before.clone());
        let (from, to) = (before.to_lowercase(), new.to_lowercase());
        if from != to
            && let Some(there) = self.entities.get(&(kind, to.clone()))
        {
            return Err(Refused::EntityExists(Entity::new(kind, &there.name)));
        }
        known.path = it.new_path.unwrap_or(known.path);
        known.name.clone_from(&new);
        self.entities.remove(&(kind, from));
        self.entities.insert((kind, to), known);
        for user in self.entities.values_mut() {
            if kind == EntityKind::Group && user.groups.remove(&before) {
                user.groups.insert(new.clone());
            }
        }
        for owner in self.keys.values_mut() {
            if kind == EntityKind::User && *owner == before {
                owner.clone_from(&new);
            }
        }
        Ok(done())
    }

    fn delete(&mut self, it: &DeleteEntity) -> Result<Outcome, Refused> {
        let known = self.find(it.kind, &it.name)?.clone();
        let is_group = it.kind == i32::from(EntityKind::Group);
        let is_user = it.kind == i32::from(EntityKind::User);
        let has_members = is_group
            && self
                .entities
                .values()
                .any(|user| user.groups.contains(&known.name));
        let has_keys = is_user && self.keys.values().any(|owner| *owner == known.name);
        let is_free =
            known.attached.is_empty() && known.inline.is_empty() && known.groups.is_empty();
        if !is_free || has_members || has_keys {
            return Err(conflict());
        }
        let kind = EntityKind::try_from(it.kind).unwrap();
        self.entities.remove(&(kind, it.name.to_lowercase()));
        Ok(done())
    }

    fn create_key(&mut self, it: CreateAccessKey) -> Result<Outcome, Refused> {
        let owner = self.find(EntityKind::User.into(), &it.owner)?.name.clone();
        let id = it.key.unwrap().id;
        if let Some(known) = self.keys.get(&id) {
            return if *known == owner {
                Ok(done())
            } else {
                Err(Refused::EntityExists(Entity::new(
                    EntityKind::AccessKey,
                    &id,
                )))
            };
        }
        let held = self.keys.values().filter(|known| **known == owner).count();
        if held == ACCESS_KEYS_MAX {
            return Err(limit("AccessKeysPerUser", ACCESS_KEYS_MAX));
        }
        self.keys.insert(id, owner);
        Ok(done())
    }

    fn find(&mut self, kind: i32, name: &str) -> Result<&mut Known, Refused> {
        let kind = EntityKind::try_from(kind).unwrap();
        let found = self.entities.get_mut(&(kind, name.to_lowercase()));
        found.ok_or_else(|| unknown(kind, name))
    }

    fn policy(&mut self, name: &str) -> Result<&mut KnownPolicy, Refused> {
        let found = self.policies.get_mut(&name.to_lowercase());
        found.ok_or_else(|| unknown(EntityKind::Policy, name))
    }

    fn version(&mut self, name: &str, version: u64) -> Result<&mut KnownPolicy, Refused> {
        let policy = self.policy(name)?;
        if policy.versions.contains_key(&version) {
            return Ok(policy);
        }
        Err(unknown(EntityKind::PolicyVersion, &format!("v{version}")))
    }

    fn require(&self, arn: &str) -> Result<(), Refused> {
        if arn == AWS || self.policies.values().any(|policy| policy.arn() == arn) {
            return Ok(());
        }
        Err(unknown(EntityKind::Policy, arn))
    }

    /// Everything, as the queries show it.
    fn compare(&self, state: &MemoryState) {
        let account = ACCOUNT.parse().unwrap();
        for kind in [EntityKind::User, EntityKind::Group, EntityKind::Role] {
            let found = query::entities(state, &account, kind, "", None, ALL).unwrap();
            let known: Vec<&Known> = self
                .entities
                .iter()
                .filter(|((of, _), _)| *of == kind)
                .map(|(_, known)| known)
                .collect();
            assert_eq!(found.len(), known.len());
            for (found, known) in found.iter().zip(known) {
                let strings = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
                assert_eq!((&found.name, &found.id), (&known.name, &known.id));
                assert_eq!((&found.path, &found.tags), (&known.path, &known.tags));
                assert_eq!(found.inline, known.inline);
                assert_eq!(found.attached, strings(&known.attached));
                assert_eq!(found.groups, strings(&known.groups));
                assert_eq!(found.boundary, known.boundary);
                self.compare_permissions(state, kind, known);
            }
        }
        let found = query::policies(state, &account, "", None, ALL).unwrap();
        assert_eq!(found.len(), self.policies.len());
        for (found, known) in found.iter().zip(self.policies.values()) {
            assert_eq!(
                (&found.name, found.default_version),
                (&known.name, known.default)
            );
            let versions = query::policy_versions(state, &account, &known.name).unwrap();
            let versions = versions
                .into_iter()
                .map(|it| (it.version, (it.document, it.created_at_ms)));
            assert_eq!(versions.collect::<BTreeMap<_, _>>(), known.versions);
            let users = query::policy_users(state, &account, &known.arn(), None, ALL).unwrap();
            let expected: usize = self
                .entities
                .values()
                .map(|it| {
                    usize::from(it.attached.contains(&known.arn()))
                        + usize::from(it.boundary == Some(known.arn()))
                })
                .sum();
            assert_eq!(users.len(), expected);
        }
    }

    fn compare_permissions(&self, state: &MemoryState, kind: EntityKind, known: &Known) {
        let account = ACCOUNT.parse().unwrap();
        let found = query::permissions(state, &account, kind, &known.name);
        let found = found.unwrap().unwrap();
        let groups: Vec<&Known> = known
            .groups
            .iter()
            .map(|group| &self.entities[&(EntityKind::Group, group.to_lowercase())])
            .collect();
        let all = || std::iter::once(known).chain(groups.iter().copied());
        let mut inline: Vec<&String> = all().flat_map(|it| it.inline.values()).collect();
        let mut given: Vec<&String> = found.inline.iter().collect();
        inline.sort();
        given.sort();
        assert_eq!(given, inline);
        let managed: BTreeSet<&String> = all().flat_map(|it| &it.attached).collect();
        assert!(found.managed.iter().map(|it| &it.arn).eq(managed));
        for managed in &found.managed {
            let policy = self.policies.values().find(|it| it.arn() == managed.arn);
            let document = policy.map(|it| it.versions[&it.default].0.clone());
            assert_eq!(managed.document, document);
        }
        if kind == EntityKind::User {
            let keys = query::access_keys(state, &account, &known.name).unwrap();
            let keys: Vec<String> = keys.into_iter().map(|key| key.id).collect();
            let held = self.keys.iter().filter(|(_, owner)| **owner == known.name);
            assert!(held.map(|(id, _)| id).eq(&keys));
        }
    }
}

fn done() -> Outcome {
    Outcome::Done(Done {})
}

fn unknown(kind: EntityKind, name: &str) -> Refused {
    Refused::NoSuchEntity(Entity::new(kind, name))
}

fn limit(quota: &str, max: usize) -> Refused {
    Refused::EntityLimit(EntityLimit::new(quota, max))
}

fn conflict() -> Refused {
    Refused::DeleteConflict(String::new())
}

/// Which of several reasons there are is no matter of the model.
fn plain(outcome: Result<Outcome, Refused>) -> Result<Outcome, Refused> {
    outcome.map_err(|refused| match refused {
        Refused::DeleteConflict(_) => conflict(),
        other => other,
    })
}

// === steps ===

fn history() -> impl Strategy<Value = Vec<Command>> {
    vec(
        prop_oneof![5 => of_entities(), 4 => of_policies(), 2 => of_keys()],
        0..60,
    )
}

fn of_entities() -> BoxedStrategy<Command> {
    let account = || ACCOUNT.to_owned();
    let create = (
        kind(),
        name(),
        path(),
        id("AIDA"),
        boundary(),
        vec(arn(), 0..2),
    );
    prop_oneof![
        4 => create.prop_map(move |(kind, name, path, id, boundary, attached)| {
            let is_group = kind == EntityKind::Group;
            let role = RoleSpec { trust: "{}".to_owned(), max_session_s: 3_600, ..RoleSpec::default() };
            CreateEntity {
                account: account(),
                kind: kind.into(),
                name,
                path,
                id,
                at_ms: 1,
                attached,
                boundary: if is_group { String::new() } else { boundary },
                role: (kind == EntityKind::Role).then_some(role),
                ..CreateEntity::default()
            }.into()
        }),
        2 => (kind(), name()).prop_map(move |(kind, name)| {
            DeleteEntity { account: account(), kind: kind.into(), name }.into()
        }),
        2 => (kind(), name(), name(), document()).prop_map(move |(kind, name, policy, document)| {
            PutInlinePolicy { account: account(), kind: kind.into(), name, policy, document }.into()
        }),
        1 => (kind(), name(), name()).prop_map(move |(kind, name, policy)| {
            DeleteInlinePolicy { account: account(), kind: kind.into(), name, policy }.into()
        }),
        1 => (tagged(), name(), name(), any::<bool>()).prop_map(move |(kind, name, tag, set)| {
            let tags = if set { BTreeMap::from([(tag.clone(), name.clone())]) } else { BTreeMap::new() };
            let remove = if set { Vec::new() } else { vec![tag] };
            TagEntity { account: account(), kind: kind.into(), name, set: tags, remove }.into()
        }),
        2 => (select(vec![EntityKind::User, EntityKind::Group]), name(), option::of(name()), option::of(path()))
            .prop_map(move |(kind, name, new_name, new_path)| {
                UpdateEntity { account: account(), kind: kind.into(), name, new_name, new_path }.into()
            }),
        3 => (name(), name(), any::<bool>()).prop_map(move |(group, user, is_member)| {
            SetGroupMember { account: account(), group, user, is_member }.into()
        }),
    ]
    .boxed()
}

fn of_policies() -> BoxedStrategy<Command> {
    let account = || ACCOUNT.to_owned();
    let version = 1_u64..9;
    prop_oneof![
        3 => (name(), path(), id("ANPA"), document()).prop_map(move |(name, path, id, document)| {
            CreatePolicy { account: account(), name, path, id, document, at_ms: 1, ..CreatePolicy::default() }.into()
        }),
        4 => (name(), document(), any::<bool>(), 0_i64..3).prop_map(
            move |(name, document, set_as_default, at_ms)| {
                CreatePolicyVersion { account: account(), name, document, set_as_default, at_ms }.into()
            }
        ),
        1 => (name(), version.clone()).prop_map(move |(name, version)| {
            SetDefaultPolicyVersion { account: account(), name, version }.into()
        }),
        2 => (name(), version).prop_map(move |(name, version)| {
            DeletePolicyVersion { account: account(), name, version }.into()
        }),
        2 => name().prop_map(move |name| DeletePolicy { account: account(), name }.into()),
        4 => (kind(), name(), arn()).prop_map(move |(kind, name, policy_arn)| {
            AttachPolicy { account: account(), kind: kind.into(), name, policy_arn }.into()
        }),
        2 => (kind(), name(), arn()).prop_map(move |(kind, name, policy_arn)| {
            DetachPolicy { account: account(), kind: kind.into(), name, policy_arn }.into()
        }),
        2 => (tagged(), name(), boundary()).prop_map(move |(kind, name, policy_arn)| {
            SetBoundary { account: account(), kind: kind.into(), name, policy_arn }.into()
        }),
    ]
    .boxed()
}

fn of_keys() -> BoxedStrategy<Command> {
    let id = || select(vec!["k1", "k2", "k3", "k4"]).prop_map(str::to_owned);
    prop_oneof![
        2 => (name(), id()).prop_map(|(owner, id)| {
            let key = Some(NewAccessKey::new(&id, &b"sealed"[..]));
            CreateAccessKey { account: ACCOUNT.to_owned(), owner, key, at_ms: 1 }.into()
        }),
        1 => (name(), id()).prop_map(|(owner, id)| {
            DeleteAccessKey { account: ACCOUNT.to_owned(), owner, id }.into()
        }),
    ]
    .boxed()
}

fn kind() -> impl Strategy<Value = EntityKind> {
    select(vec![EntityKind::User, EntityKind::Group, EntityKind::Role])
}

fn tagged() -> impl Strategy<Value = EntityKind> {
    select(vec![EntityKind::User, EntityKind::Role])
}

/// Two of them differ by case alone.
fn name() -> impl Strategy<Value = String> {
    select(vec!["ann", "Ann", "bob"]).prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = String> {
    select(vec!["/", "/team/"]).prop_map(str::to_owned)
}

fn id(prefix: &'static str) -> impl Strategy<Value = String> {
    (0_u8..3).prop_map(move |number| format!("{prefix}AAAAAAAAAAAAAAA{number}"))
}

fn document() -> impl Strategy<Value = String> {
    select(vec!["{}", "{ }", "{\"Version\":\"2012-10-17\"}"]).prop_map(str::to_owned)
}

fn arn() -> impl Strategy<Value = String> {
    let own = (path(), name())
        .prop_map(|(path, name)| format!("arn:aws:iam::{ACCOUNT}:policy{path}{name}"));
    prop_oneof![4 => own, 1 => Just(AWS.to_owned())]
}

fn boundary() -> impl Strategy<Value = String> {
    prop_oneof![2 => Just(String::new()), 1 => arn()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn identities_do_what_the_model_does(history in history()) {
        let (mut state, mut model) = (MemoryState::new(), Model::default());
        let first = CreateAccount::new(&ACCOUNT.parse().unwrap(), "root", "$", 1);
        let commands = std::iter::once(first.into()).chain(history);
        let mut generation = 0;
        for (index, command) in (1_u64..).zip(commands) {
            let id = u128::from(index).to_be_bytes();
            let envelope = Envelope::new(id, command.clone());
            let (writes, response) = apply(&state, index, &envelope.to_bytes()).unwrap();
            state.apply_writes(&writes);
            invariants::check(&state).unwrap();
            if index > 1 {
                let mut after = model.clone();
                let expected = after.run(command.clone());
                let is_refused = expected.is_err();
                assert_eq!(plain(response.into_result()), expected, "{command:?}");
                if !is_refused {
                    model = after;
                }
                model.compare(&state);
                let account = ACCOUNT.parse().unwrap();
                let now = query::generation(&state, &account).unwrap();
                assert!(now >= generation && (!is_refused || now == generation));
                generation = now;
            }
        }
    }
}
