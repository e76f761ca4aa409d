//! The list of the last start, and who makes the group of a region.

use entrepot_metadata::query::MemberState;

use super::*;

fn peer(id: u64, address: &str) -> PeerInfo {
    PeerInfo {
        id,
        region: "us-east-1".parse().unwrap(),
        address: address.to_owned(),
    }
}

fn known(id: u64, address: &str) -> KnownPeer {
    KnownPeer {
        info: peer(id, address),
        standing: Standing {
            takes_copies: id != 2,
            capacity_bytes: id << 40,
        },
    }
}

#[test]
fn the_list_is_read_back_with_the_addresses_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = MembersFile::new(folder.path());
    let configured = [peer(1, "a:1"), peer(2, "b:2")];
    let first = known_at_start(1, &configured, &file).unwrap();
    assert_eq!(first, configured.clone().map(KnownPeer::from));

    file.write(&[known(1, "a:1"), known(2, "b:1"), known(3, "c:1")])
        .unwrap();
    let later = known_at_start(1, &configured, &file).unwrap();
    assert_eq!(later, [known(1, "a:1"), known(2, "b:2"), known(3, "c:1")]);
}

#[test]
fn a_node_that_was_removed_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = MembersFile::new(folder.path());
    file.write(&[known(1, "a:1")]).unwrap();
    let refused = known_at_start(2, &[peer(2, "b:1")], &file).unwrap_err();
    assert!(
        refused.to_string().contains("node 2 was removed"),
        "{refused}"
    );
}

#[test]
fn a_list_that_is_damaged_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let file = MembersFile::new(folder.path());
    file.write(&[known(1, "a:1"), known(2, "b:1")]).unwrap();
    let path = folder.path().join("members");
    let text = std::fs::read_to_string(&path).unwrap();
    for (bad, says) in [
        (text.replace("b:1", "c:1"), "checksum"),
        (text.replace("\"version\": 1", "\"version\": 2"), "format 2"),
        (text[..text.len() / 2].to_owned(), "damaged"),
        (String::new(), "damaged"),
    ] {
        std::fs::write(&path, bad).unwrap();
        let refused = format!("{:#}", file.read().unwrap_err());
        assert!(refused.contains(says), "{refused}");
    }
}

fn member(node: u64, region: &str, index: u64) -> Member {
    Member {
        node,
        region: region.parse().unwrap(),
        peer_address: format!("{node}:1"),
        client_address: None,
        state: MemberState::Active,
        capacity_bytes: 0,
        joined_at_ms: 0,
        index,
        removed_at_ms: None,
        folder: None,
        level: 0,
    }
}

#[test]
fn who_forms_the_cluster_late_makes_the_same_group_as_the_others() {
    let mut members: Vec<Member> = (1..=4).map(|node| member(node, "a", 1)).collect();
    members.push(member(5, "b", 1));
    // They came later, the first of a region alone.
    members.extend([member(6, "a", 7), member(7, "c", 8), member(8, "c", 9)]);
    let founders = |node| Vec::from_iter(founders_with(node, &members));
    assert_eq!(founders(1), [1, 2, 3]);
    assert_eq!(founders(5), [5]);
    assert_eq!(founders(7), [7]);
    assert!(founders(9).is_empty());
}
