//! What one source does to its images arrives in any order, late and twice, and
//! always comes to the same: what the source has.

use std::collections::{BTreeMap, BTreeSet};

use entrepot_oci::{Digest, Tag};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::{prop_assert_eq, proptest};

use super::{Machine, account, app, digest, image, region, replica, tag};
use crate::command::{Command, DeleteReplica, PutManifest};
use crate::query::{self, TagOrigin};

const SOURCE: &str = "eu-west-1";
const IMAGES: [u8; 3] = [10, 11, 12];
const TAGS: [&str; 3] = ["v1", "v2", "v3"];

/// What is done at the source; the log index is its place among the others.
#[derive(Clone, Copy, Debug)]
enum Act {
    Push(u8, Option<&'static str>),
    /// If there is such a tag.
    Untag(&'static str),
    /// If there is such an image.
    Delete(u8),
}

/// What the source has, and what it sends of how it got there.
#[derive(Debug, Default)]
struct Source {
    images: BTreeSet<u8>,
    tags: BTreeMap<&'static str, u8>,
    sent: Vec<Command>,
}

fn act() -> impl Strategy<Value = Act> {
    let tag = || select(TAGS.to_vec());
    prop_oneof![
        4 => (select(IMAGES.to_vec()), tag()).prop_map(|(image, tag)| Act::Push(image, Some(tag))),
        1 => select(IMAGES.to_vec()).prop_map(|image| Act::Push(image, None)),
        2 => tag().prop_map(Act::Untag),
        2 => select(IMAGES.to_vec()).prop_map(Act::Delete),
    ]
}

/// In which order they arrive: by the first number; and the second time, if at
/// all, by the second one.
fn arrivals() -> impl Strategy<Value = Vec<(u16, Option<u16>)>> {
    let again = prop_oneof![3 => Just(None), 1 => any::<u16>().prop_map(Some)];
    vec((any::<u16>(), again), 20)
}

// === impl Source ===

impl Source {
    fn act(&mut self, sequence: u64, act: Act) {
        match act {
            Act::Push(number, name) => {
                self.images.insert(number);
                let names: Vec<&str> = name.into_iter().collect();
                self.tags.extend(name.map(|name| (name, number)));
                let push = PutManifest {
                    ordered: true,
                    ..replica(image(number, &[1], &names), SOURCE, sequence)
                };
                self.sent.push(push.into());
            }
            Act::Untag(name) => {
                if let Some(number) = self.tags.remove(name) {
                    self.deletes(sequence, number, Some(name));
                }
            }
            Act::Delete(number) => {
                if self.images.remove(&number) {
                    self.tags.retain(|_, at| *at != number);
                    self.deletes(sequence, number, None);
                }
            }
        }
    }

    fn deletes(&mut self, sequence: u64, number: u8, name: Option<&str>) {
        let origin = TagOrigin {
            region: region(SOURCE),
            sequence,
        };
        let name: Option<Tag> = name.map(tag);
        let command =
            DeleteReplica::new(&account(), &app(), &digest(number), name.as_ref(), &origin);
        self.sent.push(command.into());
    }
}

proptest! {
    #[test]
    fn in_whatever_order_it_arrives_the_destination_has_what_the_source_has(
        acts in vec(act(), 0..20),
        arrivals in arrivals(),
    ) {
        let mut source = Source::default();
        for (sequence, act) in (1..).zip(acts) {
            source.act(sequence, act);
        }
        let mut arriving: Vec<(u16, &Command)> = Vec::new();
        for (command, (first, again)) in source.sent.iter().zip(arrivals) {
            arriving.push((first, command));
            arriving.extend(again.map(|again| (again, command)));
        }
        arriving.sort_by_key(|(at, _)| *at);
        let mut machine = Machine::with_app();
        for (_, command) in arriving {
            machine.done(command.clone());
        }
        let tags = query::tags(&machine.state, &account(), &app(), None, 100).unwrap();
        let found: BTreeMap<String, Digest> =
            tags.into_iter().map(|entry| (entry.tag.to_string(), entry.digest)).collect();
        let expected: BTreeMap<String, Digest> = source
            .tags
            .iter()
            .map(|(name, number)| ((*name).to_owned(), digest(*number)))
            .collect();
        prop_assert_eq!(found, expected);
        let images = query::manifests(&machine.state, &account(), &app(), None, 100).unwrap();
        let found: BTreeSet<Digest> = images.into_iter().map(|entry| entry.digest).collect();
        let expected: BTreeSet<Digest> = source.images.iter().map(|it| digest(*it)).collect();
        prop_assert_eq!(found, expected);
    }
}
