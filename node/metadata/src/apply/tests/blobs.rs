//! Links, mounts and their end.

use bytes::Bytes;

use super::{Machine, account, app, digest, image, link, repository, unknown};
use crate::command::{Command, DeleteManifest, LONG_INLINE_LEVEL, LinkBlob, MountBlob, UnlinkBlob};
use crate::limits::{INLINE_BYTES_MAX, INLINE_BYTES_MAX_FIRST};
use crate::query;
use crate::response::{BlobLinked, Outcome, Referenced, Refused};

fn linked(created: bool, repository_created: bool) -> Outcome {
    Outcome::BlobLinked(BlobLinked {
        created,
        repository_created,
    })
}

#[test]
fn a_push_may_make_the_repository() {
    let mut machine = Machine::default();
    assert_eq!(
        machine.refused(link("app", 1)),
        Refused::RepositoryUnknown("app".to_owned())
    );
    let create = LinkBlob {
        create_repository: true,
        ..link("app", 1)
    };
    assert_eq!(machine.done(create.clone()), linked(true, true));
    assert_eq!(machine.done(create), linked(false, false));
    assert_eq!(machine.done(link("app", 2)), linked(true, false));
    assert!(
        query::repository(&machine.state, &account(), &app())
            .unwrap()
            .is_some()
    );
}

#[test]
fn holders_of_a_blob_come_together() {
    let mut machine = Machine::with_app();
    let more = LinkBlob {
        holders: vec![9, 2, 9, 0],
        ..link("app", 1)
    };
    machine.done(more);
    let blob = query::blob(&machine.state, &digest(1)).unwrap().unwrap();
    assert_eq!(blob.holders, [0, 1, 2, 9]);
    assert_eq!((blob.size, blob.root), (100, [1; 32]));
}

#[test]
fn a_digest_has_one_size_and_one_root() {
    let mut machine = Machine::with_app();
    let mismatch = Refused::BlobMismatch(digest(1).to_string());
    let size = LinkBlob {
        size: 101,
        ..link("app", 1)
    };
    assert_eq!(machine.refused(size), mismatch);
    let root = LinkBlob {
        root: vec![0; 32].into(),
        create_repository: true,
        ..link("new", 1)
    };
    assert_eq!(machine.refused(root), mismatch);
    assert_eq!(
        query::repository(&machine.state, &account(), &repository("new")).unwrap(),
        None
    );
}

#[test]
fn a_link_needs_a_root_and_holders() {
    let mut machine = Machine::with_app();
    let root = LinkBlob {
        root: vec![0; 31].into(),
        ..link("app", 5)
    };
    assert!(matches!(machine.refused(root), Refused::Invalid(_)));
    for holders in [vec![], vec![1; 65]] {
        let command = LinkBlob {
            holders,
            ..link("app", 5)
        };
        assert!(matches!(machine.refused(command), Refused::Invalid(_)));
    }
}

#[test]
fn a_small_blob_is_kept_here_once_it_came() {
    let mut machine = Machine::with_app();
    let content = Some(Bytes::from(vec![5; 100]));
    let inline = LinkBlob {
        holders: Vec::new(),
        content: content.clone(),
        ..link("app", 5)
    };
    machine.done(inline);
    machine.done(link("app", 5));
    let blob = query::blob(&machine.state, &digest(5)).unwrap().unwrap();
    assert_eq!((blob.content, blob.holders), (content, vec![1, 2]));

    let of = |bytes: usize| LinkBlob {
        size: bytes as u64,
        content: Some(Bytes::from(vec![7; bytes])),
        ..link("app", 7)
    };
    for (bytes, level) in [
        (INLINE_BYTES_MAX_FIRST, 0),
        (INLINE_BYTES_MAX, LONG_INLINE_LEVEL),
    ] {
        assert_eq!(Command::from(of(bytes)).level(), level, "{bytes} bytes");
    }
    machine.done(of(INLINE_BYTES_MAX));
    for wrong in [99, 101, INLINE_BYTES_MAX + 1] {
        let command = LinkBlob {
            content: Some(Bytes::from(vec![6; wrong])),
            ..link("app", 6)
        };
        assert!(matches!(machine.refused(command), Refused::Invalid(_)));
    }
}

#[test]
fn a_blob_is_mounted_from_a_repository_that_has_it() {
    let mut machine = Machine::with_app();
    let other = repository("other");
    let mount = |from: &str, number| {
        let mut mount = MountBlob::new(&account(), &repository(from), &other, &digest(number), 30);
        mount.create_repository = true;
        mount
    };
    let mut no_repository = mount("app", 1);
    no_repository.create_repository = false;
    assert_eq!(
        machine.refused(no_repository),
        Refused::RepositoryUnknown("other".to_owned())
    );
    assert_eq!(
        machine.refused(mount("app", 9)),
        Refused::BlobsUnknown(unknown(&[9]))
    );
    assert_eq!(
        machine.refused(mount("none", 1)),
        Refused::BlobsUnknown(unknown(&[1]))
    );
    assert_eq!(machine.done(mount("app", 1)), linked(true, true));
    assert_eq!(machine.done(mount("app", 1)), linked(false, false));
    assert!(query::linked(&machine.state, &account(), &other, &digest(1)).unwrap());
}

#[test]
fn a_blob_that_a_manifest_names_stays() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &[]));
    let unlink = UnlinkBlob::new(&account(), &app(), &digest(1));
    let referenced = Referenced {
        digest: digest(1).to_string(),
        by: digest(10).to_string(),
    };
    assert_eq!(
        machine.refused(unlink.clone()),
        Refused::BlobReferenced(referenced)
    );
    machine.done(DeleteManifest::new(&account(), &app(), &digest(10)));
    machine.done(unlink.clone());
    assert_eq!(
        machine.refused(unlink),
        Refused::BlobsUnknown(unknown(&[1]))
    );
}

#[test]
fn an_unlinked_blob_is_known_but_nobodys() {
    let mut machine = Machine::with_app();
    assert_eq!(
        query::link_any(&machine.state, &digest(1)).unwrap(),
        Some((account().into(), app()))
    );
    machine.done(UnlinkBlob::new(&account(), &app(), &digest(1)));
    assert_eq!(query::link_any(&machine.state, &digest(1)).unwrap(), None);
    assert!(query::blob(&machine.state, &digest(1)).unwrap().is_some());
}

#[test]
fn blobs_are_listed_in_the_order_of_their_digests() {
    let machine = Machine::with_app();
    let mut all: Vec<_> = (1..=3).map(digest).collect();
    all.sort();
    let page = |after, limit| -> Vec<_> {
        query::blobs(&machine.state, after, limit)
            .unwrap()
            .iter()
            .map(|blob| blob.digest)
            .collect()
    };
    assert_eq!(page(None, 10), all);
    assert_eq!(page(None, 2), all[..2]);
    assert_eq!(page(Some(&all[1]), 2), all[2..]);
}
