//! What nothing refers to goes, and nothing else.

use entrepot_oci::Digest;

use super::{Machine, account, app, digest, image, link, repository};
use crate::command::{
    BeginCollection, CollectBlobs, CollectFiles, CollectLinks, CollectedBlob, Command,
    ConfirmCollected, CreateRepository, DeleteManifest, ForgetCollected, LinkBlob, MountBlob,
    OrphanFile, UnlinkBlob,
};
use crate::limits::RELINKED_AFTER_MS;
use crate::query::{self, Why};
use crate::response::{Collected, Outcome, Refused};

const MANY: usize = 100;
const EVER: i64 = i64::MAX;

impl Machine {
    /// With the repository `app`, and blobs 1 and 2 in it.
    fn collecting() -> Self {
        let mut machine = Self::default();
        machine.done(CreateRepository::new(&account(), &app(), 1));
        for number in [1, 2] {
            machine.done(link("app", number));
        }
        machine.done(BeginCollection {});
        machine
    }

    fn collect_links(&mut self, cutoff_ms: i64) -> Collected {
        let links = query::unused_links(&self.state, cutoff_ms, None, MANY).unwrap();
        self.collected(CollectLinks {
            links,
            cutoff_ms,
            ..CollectLinks::default()
        })
    }

    fn collect_blobs(&mut self) -> Collected {
        let found = query::unlinked_blobs(&self.state, MANY).unwrap();
        self.collected(collect(&found))
    }

    #[track_caller]
    fn collected(&mut self, command: impl Into<Command>) -> Collected {
        match self.done(command) {
            Outcome::Collected(collected) => collected,
            other => panic!("{other:?}"),
        }
    }

    fn knows(&self, number: u8) -> bool {
        query::blob(&self.state, &digest(number)).unwrap().is_some()
    }

    fn confirm(&mut self, node: u64, number: u8, index: u64) {
        let digest = digest(number).to_string();
        self.done(ConfirmCollected {
            node,
            collected: vec![CollectedBlob { digest, index }],
        });
    }

    fn delete_image(&mut self, number: u8, at_ms: i64) {
        self.done(DeleteManifest {
            at_ms,
            ..DeleteManifest::new(&account(), &app(), &digest(number))
        });
    }
}

fn collect(digests: &[Digest]) -> CollectBlobs {
    CollectBlobs {
        digests: digests.iter().map(ToString::to_string).collect(),
        nodes: vec![3],
        at_ms: 70,
    }
}

fn seen(index: u64, number: u8) -> LinkBlob {
    LinkBlob {
        seen: Some(index),
        ..link("app", number)
    }
}

#[test]
fn what_no_image_names_goes_in_its_time() {
    let mut machine = Machine::collecting();
    machine.done(image(10, &[1], &["v1"]));
    // The links came at 10.
    assert_eq!(machine.collect_links(9).links, 0);
    assert_eq!(machine.collect_links(10).links, 1);
    let collected = machine.collect_blobs();
    assert_eq!((collected.blobs, collected.bytes), (1, 100));
    assert_eq!(collected.blobs, 1);
    assert!(machine.knows(1) && !machine.knows(2));

    let entry = query::collected(&machine.state, &digest(2))
        .unwrap()
        .unwrap();
    assert_eq!(entry.pending, [1, 2, 3]);
    assert_eq!((entry.why, entry.at_ms), (Why::Unreferenced, 70));
    assert_eq!(entry.index, machine.index);
}

#[test]
fn a_blob_goes_with_its_last_link() {
    let mut machine = Machine::collecting();
    let mount = MountBlob {
        create_repository: true,
        ..MountBlob::new(&account(), &app(), &repository("zoo"), &digest(1), 10)
    };
    machine.done(mount);
    machine.done(image(10, &[2], &[]));
    machine.delete_image(10, 50);
    let step = |machine: &Machine, cutoff_ms| CollectLinks {
        links: query::unused_links(&machine.state, cutoff_ms, None, MANY).unwrap(),
        cutoff_ms,
        nodes: vec![3],
        at_ms: 70,
    };
    // It goes with the second of its links.
    let collected = machine.collected(step(&machine, 10));
    assert_eq!(
        (collected.links, collected.blobs, collected.bytes),
        (2, 1, 100)
    );
    assert!(!machine.knows(1) && machine.knows(2));
    let collected = machine.collected(step(&machine, 50));
    assert_eq!((collected.links, collected.blobs), (1, 1));
    let entry = |number| query::collected(&machine.state, &digest(number)).unwrap();
    let (first, second) = (entry(1).unwrap(), entry(2).unwrap());
    assert_eq!((first.why, first.at_ms), (Why::Unreferenced, 70));
    assert_eq!(
        (second.why, second.index),
        (Why::ImageDeleted, machine.index)
    );
    assert_eq!(second.pending, [1, 2, 3]);
    assert_eq!(machine.collect_blobs().blobs, 0);
}

#[test]
fn a_blob_of_a_deleted_image_lives_on_for_as_long_as_a_new_one() {
    let mut machine = Machine::collecting();
    machine.done(image(10, &[1, 2], &[]));
    machine.delete_image(10, 50);
    assert_eq!(machine.collect_links(49).links, 0);
    assert_eq!(machine.collect_links(50).links, 2);
    machine.collect_blobs();
    let entry = query::collected(&machine.state, &digest(1)).unwrap();
    assert_eq!(entry.unwrap().why, Why::ImageDeleted);
}

#[test]
fn a_blob_that_two_images_name_stays_with_either() {
    let mut machine = Machine::collecting();
    machine.done(image(10, &[1, 2], &[]));
    machine.done(image(11, &[1, 2], &[]));
    machine.delete_image(10, 50);
    assert_eq!(machine.collect_links(EVER).links, 0);
    machine.delete_image(11, 60);
    assert_eq!(machine.collect_links(EVER).links, 2);
}

#[test]
fn a_link_that_is_asked_for_again_is_as_good_as_new() {
    let mut machine = Machine::collecting();
    let later = 10 + RELINKED_AFTER_MS;
    machine.done(LinkBlob {
        at_ms: later,
        ..seen(machine.index, 1)
    });
    assert_eq!(machine.collect_links(later - 1).links, 1);
    assert!(query::linked(&machine.state, &account(), &app(), &digest(1)).unwrap());
    assert_eq!(machine.collect_links(later).links, 1);
}

#[test]
fn a_blob_that_another_repository_has_stays() {
    let mut machine = Machine::collecting();
    let mount = MountBlob {
        create_repository: true,
        ..MountBlob::new(&account(), &app(), &repository("zoo"), &digest(1), 10)
    };
    machine.done(mount);
    machine.done(UnlinkBlob::new(&account(), &app(), &digest(1)));
    assert_eq!(machine.collect_blobs().blobs, 0);
    machine.done(UnlinkBlob::new(&account(), &repository("zoo"), &digest(1)));
    // It comes back before anybody looks.
    machine.done(seen(machine.index, 1));
    assert_eq!(machine.collect_blobs().blobs, 0);
    assert_eq!(machine.collected(collect(&[digest(1), digest(2)])).blobs, 0);
    machine.done(UnlinkBlob::new(&account(), &app(), &digest(1)));
    assert_eq!(machine.collect_blobs().blobs, 1);
    let entry = query::collected(&machine.state, &digest(1)).unwrap();
    assert_eq!(entry.unwrap().why, Why::Unlinked);
}

#[test]
fn copies_that_were_looked_at_before_a_collection_do_not_count() {
    let mut machine = Machine::collecting();
    machine.collect_links(EVER);
    let before = machine.index;
    machine.collect_blobs();
    let refused = Refused::CollectedMeanwhile(digest(1).to_string());
    assert_eq!(machine.refused(seen(before, 1)), refused);
    assert_eq!(machine.refused(link("app", 1)), refused);
    let known = LinkBlob {
        must_be_known: true,
        ..seen(EVER as u64, 1)
    };
    assert!(matches!(
        machine.refused(known.clone()),
        Refused::BlobsUnknown(_)
    ));
    machine.done(seen(before + 1, 1));
    // Nothing is said of copies then.
    machine.done(LinkBlob {
        repository: "zoo".to_owned(),
        create_repository: true,
        seen: None,
        ..known
    });
    let blob = query::blob(&machine.state, &digest(1)).unwrap().unwrap();
    assert_eq!(blob.holders, [1, 2]);
    // The nodes have yet to look whether it is needed.
    let entry = query::collected(&machine.state, &digest(1))
        .unwrap()
        .unwrap();
    assert_eq!(entry.pending, [1, 2, 3]);
}

#[test]
fn a_collection_is_forgotten_once_nobody_deletes_and_no_older_look_counts() {
    let mut machine = Machine::collecting();
    machine.collect_links(EVER);
    machine.collect_blobs();
    let index = machine.index;
    let forget = |floor| ForgetCollected {
        floor,
        digests: vec![digest(1).to_string()],
    };
    let left = |machine: &Machine| {
        query::collections(&machine.state, None, MANY)
            .unwrap()
            .len()
    };
    // Of another collection.
    machine.confirm(1, 1, index - 1);
    assert_eq!(
        query::all_to_delete(&machine.state, 1, None, MANY)
            .unwrap()
            .len(),
        2
    );
    for node in 1..=3 {
        assert_eq!(left(&machine), 2);
        assert_eq!(
            query::nodes_to_delete(&machine.state, MANY).unwrap()[0],
            node.min(1)
        );
        machine.confirm(node, 1, index);
        machine.done(forget(index - 1));
    }
    assert_eq!(left(&machine), 2);
    machine.done(forget(index));
    assert_eq!(left(&machine), 1);
    let refused = Refused::CollectedMeanwhile(digest(9).to_string());
    assert_eq!(machine.refused(seen(index - 1, 9)), refused);
    machine.done(seen(index, 9));
}

#[test]
fn a_file_of_what_is_known_stays() {
    let mut machine = Machine::collecting();
    let files = [1, 7].map(|number| OrphanFile {
        digest: digest(number).to_string(),
        size: 30,
    });
    let collect = CollectFiles {
        node: 2,
        files: files.to_vec(),
        at_ms: 80,
    };
    let collected = machine.collected(collect);
    assert_eq!(collected.blobs, 1);
    let entry = query::collected(&machine.state, &digest(7))
        .unwrap()
        .unwrap();
    assert_eq!(
        (entry.pending, entry.size, entry.why),
        (vec![2], 30, Why::Orphan)
    );
}

#[test]
fn nothing_is_noted_before_collection_begins_and_all_is_found_then() {
    let mut machine = Machine::with_app();
    machine.done(image(10, &[1], &[]));
    machine.done(UnlinkBlob::new(&account(), &app(), &digest(2)));
    machine.done(link("app", 3));
    machine.delete_image(10, 50);
    assert!(
        query::unused_links(&machine.state, EVER, None, MANY)
            .unwrap()
            .is_empty()
    );
    assert!(
        query::unlinked_blobs(&machine.state, MANY)
            .unwrap()
            .is_empty()
    );
    let refused = machine.refused(CollectLinks::default());
    assert!(matches!(refused, Refused::Invalid(_)));

    assert!(!machine.collected(BeginCollection {}).more);
    assert_eq!(machine.collect_links(EVER).links, 2);
    assert_eq!(machine.collect_blobs().blobs, 3);
}

#[test]
fn all_of_it_waits_for_the_last_old_node() {
    let commands: [Command; 4] = [
        BeginCollection {}.into(),
        CollectLinks::default().into(),
        seen(1, 1).into(),
        LinkBlob {
            must_be_known: true,
            ..link("app", 1)
        }
        .into(),
    ];
    assert!(commands.iter().all(|command| command.level() == 9));
    assert_eq!(Command::from(link("app", 1)).level(), 0);
}
