//! Nodes and regions: ids, addresses, states.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{collection, proptest};

use super::{Machine, region};
use crate::command::{
    AddMember, AddRegion, Command, FormCluster, MemberSpec, RemoveMember, RemoveRegion,
    SetMemberState, UpdateMember,
};
use crate::limits::MEMBERS_ACTIVE_MAX;
use crate::query::{self, Member, MemberState};
use crate::response::{AddressInUse, ClusterFormed, Done, MemberAdded, Outcome, Refused};

fn spec(node: u64, region_name: &str, port: u16) -> MemberSpec {
    MemberSpec::new(node, &region(region_name), &format!("10.0.0.1:{port}"))
}

fn form(members: &[(u64, &str)]) -> FormCluster {
    FormCluster {
        members: members
            .iter()
            .map(|(node, region)| spec(*node, region, u16::try_from(*node).unwrap()))
            .collect(),
        at_ms: 1,
    }
}

fn join(region_name: &str, port: u16) -> AddMember {
    AddMember::new(spec(0, region_name, port), false, 2)
}

fn leave(node: u64) -> RemoveMember {
    RemoveMember {
        node,
        at_ms: 9,
        force: false,
    }
}

fn machine() -> Machine {
    let mut machine = Machine::default();
    machine.done(form(&[(1, "us-east-1"), (2, "us-east-1")]));
    machine
}

fn added(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::MemberAdded(added) => added.node,
        other => panic!("{other:?}"),
    }
}

fn state(machine: &Machine, node: u64) -> MemberState {
    found(machine, node).state
}

fn found(machine: &Machine, node: u64) -> Member {
    query::member(&machine.state, node).unwrap().unwrap()
}

#[test]
fn a_cluster_is_formed_once() {
    let mut machine = Machine::default();
    assert!(!query::is_formed(&machine.state).unwrap());
    let formed = |formed| Outcome::ClusterFormed(ClusterFormed { formed });
    let nodes = form(&[(7, "us-east-1"), (3, "us-east-1"), (4, "eu-west-1")]);
    assert_eq!(machine.done(nodes), formed(true));
    assert_eq!(machine.done(form(&[(1, "ap-south-1")])), formed(false));

    let members = query::members(&machine.state).unwrap();
    let ids: Vec<_> = members.iter().map(|member| member.node).collect();
    assert_eq!(ids, [3, 4, 7]);
    assert!(members.iter().all(Member::is_active));
    let regions = query::regions(&machine.state).unwrap();
    let founders: Vec<_> = regions
        .iter()
        .map(|region| (region.name.as_str(), region.founder))
        .collect();
    assert_eq!(founders, [("eu-west-1", Some(4)), ("us-east-1", Some(3))]);
    // The next id is above all that there were.
    assert_eq!(added(&machine.done(join("us-east-1", 90))), 8);
}

#[test]
fn nothing_joins_before_the_cluster_is_formed() {
    let mut machine = Machine::default();
    let not_formed = Refused::ClusterNotFormed(Done {});
    assert_eq!(machine.refused(join("us-east-1", 1)), not_formed);
    let region = AddRegion::new(&region("eu-west-1"), 1);
    assert_eq!(machine.refused(region), not_formed);
    let of = |members: &[(u64, &str)]| FormCluster {
        members: (1..)
            .zip(members)
            .map(|(port, (node, region))| spec(*node, region, port))
            .collect(),
        at_ms: 1,
    };
    let mut nowhere = of(&[(1, "us-east-1")]);
    nowhere.members[0].region = "US".to_owned();
    for bad in [
        of(&[]),
        of(&[(0, "us-east-1")]),
        of(&[(1, "us-east-1"), (u64::MAX, "us-east-1")]),
        of(&[(1, "us-east-1"), (1, "us-east-1")]),
        nowhere,
    ] {
        assert!(matches!(machine.refused(bad), Refused::Invalid(_)));
    }
}

#[test]
fn an_id_is_never_used_again() {
    let mut machine = machine();
    let third = added(&machine.done(join("us-east-1", 3)));
    assert_eq!(third, 3);
    assert_eq!(state(&machine, third), MemberState::Joining);
    machine.done(leave(third));
    assert_eq!(state(&machine, third), MemberState::Removed);
    assert_eq!(found(&machine, third).removed_at_ms, Some(9));
    let mut again = join("us-east-1", 3);
    again.member.as_mut().unwrap().node = third;
    let refused = machine.refused(again).to_string();
    assert!(refused.contains("the next is 4"), "{refused}");
    // Its address is free, its id is not.
    assert_eq!(added(&machine.done(join("us-east-1", 3))), 4);
    assert_eq!(query::members(&machine.state).unwrap().len(), 3);
    assert_eq!(query::all_members(&machine.state).unwrap().len(), 4);
}

#[test]
fn the_cluster_understands_what_all_of_its_nodes_do() {
    let mut machine = machine();
    let level = |machine: &Machine| query::level(&machine.state).unwrap();
    let tells = |node, level| UpdateMember {
        level: Some(level),
        ..UpdateMember::new(node)
    };
    assert_eq!(level(&machine), 0);
    machine.done(tells(1, 3));
    assert_eq!(level(&machine), 0);
    machine.done(tells(2, 2));
    assert_eq!(level(&machine), 2);
    // What the others do does not stop until the new one has told.
    let third = added(&machine.done(join("us-east-1", 3)));
    assert_eq!(level(&machine), 2);
    machine.done(tells(third, 1));
    assert_eq!(level(&machine), 1);
    machine.done(leave(third));
    assert_eq!(level(&machine), 2);
}

#[test]
fn two_nodes_have_two_addresses() {
    let mut machine = machine();
    let used = |address: &str, node| {
        let address = address.to_owned();
        Refused::AddressInUse(AddressInUse { address, node })
    };
    let taken = used("10.0.0.1:2", 2);
    assert_eq!(machine.refused(join("us-east-1", 2)), taken);
    assert_eq!(taken.to_string(), "the address 10.0.0.1:2 is node 2's");
    let mut update = UpdateMember {
        peer_address: Some("10.0.0.1:2".to_owned()),
        ..UpdateMember::new(1)
    };
    assert_eq!(machine.refused(update.clone()), taken);
    update.node = 2;
    machine.done(update);

    let client = |node| UpdateMember {
        client_address: Some("registry:443".to_owned()),
        ..UpdateMember::new(node)
    };
    machine.done(client(1));
    assert_eq!(machine.refused(client(2)), used("registry:443", 1));
    for address in [
        "", "h", "h:", ":1", "h:0", "h:65536", "a b:1", "h/x:1", "u@h:1",
    ] {
        let update = UpdateMember {
            peer_address: Some(address.to_owned()),
            ..UpdateMember::new(1)
        };
        assert!(
            matches!(machine.refused(update), Refused::Invalid(_)),
            "{address}"
        );
    }
}

#[test]
fn a_folder_joins_once_and_never_changes() {
    let mut machine = machine();
    let folder = Bytes::from_static(&[7; 16]);
    let mut joining = join("us-east-1", 3);
    joining.member.as_mut().unwrap().folder = folder.clone();
    let again = Outcome::MemberAdded(MemberAdded {
        node: 3,
        region_created: false,
    });
    assert_eq!(machine.done(joining.clone()), again);
    assert_eq!(machine.done(joining.clone()), again);
    assert_eq!(found(&machine, 3).folder, Some([7; 16]));

    let claim = |node, folder: &Bytes| UpdateMember {
        folder: Some(folder.clone()),
        ..UpdateMember::new(node)
    };
    machine.done(claim(3, &folder));
    let other = Bytes::from_static(&[8; 16]);
    assert_eq!(machine.refused(claim(3, &other)), Refused::FolderDiffers(3));
    assert_eq!(
        machine.refused(claim(1, &folder)),
        Refused::FolderDiffers(3)
    );
    machine.done(claim(1, &other));
    let short = machine.refused(claim(2, &Bytes::from_static(b"short")));
    assert!(matches!(short, Refused::Invalid(_)));

    // What was removed does not come back as itself, nor as another.
    machine.done(leave(3));
    let gone = machine.refused(joining);
    assert_eq!(gone.to_string(), "node 3 is removed");
}

#[test]
fn a_node_moves_through_its_states() {
    use MemberState::{Active, Draining, Joining, Removed};

    let mut machine = machine();
    let node = added(&machine.done(join("us-east-1", 3)));
    let set = |state| SetMemberState::new(node, state);
    machine.done(set(Active).only_from(Joining));
    machine.done(set(Active).only_from(Joining));
    machine.done(set(Draining));
    // Late news of a start does not end a drain.
    let late = machine.refused(set(Active).only_from(Joining));
    assert_eq!(late.to_string(), format!("node {node} is draining"));
    machine.done(set(Active));
    for wrong in [set(Joining), set(Removed)] {
        assert!(matches!(machine.refused(wrong), Refused::MemberInState(_)));
    }
    // An active node does not go unless it has to.
    assert!(matches!(
        machine.refused(leave(node)),
        Refused::MemberInState(_)
    ));
    machine.done(RemoveMember {
        force: true,
        ..leave(node)
    });
    machine.done(leave(node));
    assert!(matches!(
        machine.refused(set(Active)),
        Refused::MemberInState(_)
    ));
    assert!(matches!(
        machine.refused(UpdateMember::new(node)),
        Refused::MemberInState(_)
    ));
    assert_eq!(machine.refused(leave(99)), Refused::MemberUnknown(99));
}

#[test]
fn somebody_stays() {
    let mut machine = machine();
    let force = |node| RemoveMember {
        force: true,
        ..leave(node)
    };
    machine.done(force(1));
    assert_eq!(machine.refused(force(2)), Refused::LastMember(2));
}

#[test]
fn regions_come_with_their_first_node_or_before_it() {
    let mut machine = machine();
    let eu = region("eu-west-1");
    let unknown = Refused::RegionUnknown(eu.to_string());
    assert_eq!(machine.refused(join("eu-west-1", 3)), unknown);
    assert_eq!(machine.refused(RemoveRegion::new(&eu)), unknown);
    machine.done(AddRegion::new(&eu, 4));
    machine.done(AddRegion::new(&eu, 5));
    let found = query::region(&machine.state, &eu).unwrap().unwrap();
    assert_eq!((found.created_at_ms, found.founder), (4, None));

    let first = added(&machine.done(join("eu-west-1", 3)));
    let second = added(&machine.done(join("eu-west-1", 4)));
    let founder = |machine: &Machine| {
        let region = query::region(&machine.state, &eu).unwrap();
        region.and_then(|region| region.founder)
    };
    assert_eq!(founder(&machine), Some(first));
    let in_use = Refused::RegionInUse(eu.to_string());
    assert_eq!(machine.refused(RemoveRegion::new(&eu)), in_use);
    machine.done(leave(first));
    assert_eq!(founder(&machine), Some(first));
    machine.done(leave(second));
    // Nobody is left who knows what the region's group held.
    let third = added(&machine.done(join("eu-west-1", 3)));
    assert_eq!(founder(&machine), Some(third));
    machine.done(leave(third));
    machine.done(RemoveRegion::new(&eu));

    let new = AddMember {
        create_region: true,
        ..join("ap-south-1", 5)
    };
    assert!(matches!(
        machine.done(new),
        Outcome::MemberAdded(MemberAdded {
            region_created: true,
            ..
        })
    ));
}

#[test]
fn a_cluster_is_of_a_bearable_size() {
    let mut machine = machine();
    for port in 3..=u16::try_from(MEMBERS_ACTIVE_MAX).unwrap() {
        machine.done(join("us-east-1", port));
    }
    let full = machine.refused(join("us-east-1", 9_000));
    assert_eq!(full, Refused::MemberLimit(256));
    machine.done(leave(100));
    machine.done(join("us-east-1", 9_000));
}

/// A step of the property, with small numbers so that they meet.
fn step() -> impl Strategy<Value = Command> {
    let node = 1..6_u64;
    let region_name = prop_oneof![Just("us-east-1"), Just("eu-west-1")];
    prop_oneof![
        (region_name, 1..6_u16, any::<bool>()).prop_map(|(region, port, create_region)| {
            let join = AddMember {
                create_region,
                ..join(region, port)
            };
            join.into()
        }),
        (node.clone(), 1..5_i32).prop_map(|(node, state)| {
            let set = SetMemberState {
                node,
                state,
                expected: None,
            };
            set.into()
        }),
        (node.clone(), 1..6_u16).prop_map(|(node, port)| {
            let update = UpdateMember {
                peer_address: Some(format!("10.0.0.1:{port}")),
                ..UpdateMember::new(node)
            };
            update.into()
        }),
        (node, any::<bool>()).prop_map(|(node, force)| {
            RemoveMember {
                force,
                ..leave(node)
            }
            .into()
        }),
        Just(RemoveRegion::new(&region("eu-west-1")).into()),
        Just(AddRegion::new(&region("eu-west-1"), 1).into()),
    ]
}

proptest! {
    /// Ids rise, what is removed stays so, and somebody is always left; the
    /// machine checks the invariants of the state after every step.
    #[test]
    fn whatever_is_done_ids_are_not_used_again(steps in collection::vec(step(), 1..40)) {
        let mut machine = machine();
        let mut known: BTreeMap<u64, MemberState> = BTreeMap::new();
        for step in steps {
            let _ = machine.run(step);
            let members = query::all_members(&machine.state).unwrap();
            assert!(members.iter().any(|member| !member.is_removed()));
            let now: BTreeMap<_, _> = members.iter().map(|it| (it.node, it.state)).collect();
            for (node, before) in &known {
                let gone = *before == MemberState::Removed;
                assert!(!gone || now.get(node) == Some(before), "node {node}");
            }
            let last = known.last_key_value().map_or(0, |(node, _)| *node);
            assert!(now.keys().all(|node| known.contains_key(node) || *node > last));
            known = now;
        }
    }
}
