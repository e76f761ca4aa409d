//! The list of the last start.

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
