//! What sources do to their images arrives in any order, late and twice, among
//! pushes here, and always comes to the same: what each of them has, and no less
//! for what the others have deleted.

use std::collections::{BTreeMap, BTreeSet};

use entrepot_oci::{Digest, Tag};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::{prop_assert_eq, proptest};

use super::{Machine, account, app, digest, image, region, replica_of, tag};
use crate::command::{Command, DeleteReplica};
use crate::query::{self, Source, TagOrigin};

/// Region, account and repository: two accounts of one region, two repositories of
/// one account, and one name in two regions.
const SOURCES: [(&str, &str, &str); 5] = [
    ("eu-west-1", "123456789012", "app"),
    ("eu-west-1", "210987654321", "app"),
    ("eu-west-1", "123456789012", "team/app"),
    ("eu-west-1", "210987654321", "team/app"),
    ("us-east-1", "123456789012", "app"),
];
const IMAGES: [u8; 3] = [10, 11, 12];
const TAGS: u8 = 3;

/// What is done at a source; the log index is its place among the others.
#[derive(Clone, Copy, Debug)]
enum Act {
    Push(u8, Option<u8>),
    /// If there is such a tag.
    Untag(u8),
    /// If there is such an image.
    Delete(u8),
}

/// What a source has, and what it sends of how it got there.
#[derive(Debug)]
struct World {
    source: Source,
    place: usize,
    images: BTreeSet<u8>,
    tags: BTreeMap<u8, u8>,
    sent: Vec<Command>,
}

fn act() -> impl Strategy<Value = Act> {
    let image = || select(IMAGES.to_vec());
    prop_oneof![
        4 => (image(), 0..TAGS).prop_map(|(image, tag)| Act::Push(image, Some(tag))),
        1 => image().prop_map(|image| Act::Push(image, None)),
        2 => (0..TAGS).prop_map(Act::Untag),
        2 => image().prop_map(Act::Delete),
    ]
}

/// Who does what, and when it arrives: by the first number; and the second time,
/// if at all, by the second one.
fn acts(sources: usize) -> impl Strategy<Value = Vec<(usize, Act, u16, Option<u16>)>> {
    let again = prop_oneof![3 => Just(None), 1 => any::<u16>().prop_map(Some)];
    vec((0..sources, act(), any::<u16>(), again), 0..30)
}

/// What is pushed here, and when; under tags of this registry's own.
fn own_pushes() -> impl Strategy<Value = Vec<(u8, bool, u16)>> {
    vec((select(IMAGES.to_vec()), any::<bool>(), any::<u16>()), 0..2)
}

/// Each source has its own tags; the images are the same.
fn name(place: usize, number: u8) -> String {
    format!("s{place}-v{number}")
}

// === impl World ===

impl World {
    fn new(place: usize) -> Self {
        let (from, account, name) = SOURCES[place];
        let source = Source::new(
            &region(from),
            &account.parse().unwrap(),
            &name.parse().unwrap(),
        );
        Self {
            source,
            place,
            images: BTreeSet::new(),
            tags: BTreeMap::new(),
            sent: Vec::new(),
        }
    }

    fn at(&self, sequence: u64) -> TagOrigin {
        TagOrigin {
            source: self.source.clone(),
            sequence,
        }
    }

    /// Whether anything is sent.
    fn act(&mut self, sequence: u64, act: Act) -> bool {
        match act {
            Act::Push(number, at) => {
                self.images.insert(number);
                self.tags.extend(at.map(|at| (at, number)));
                let names: Vec<String> = at.map(|at| name(self.place, at)).into_iter().collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let push = replica_of(image(number, &[1], &names), &self.at(sequence));
                self.sent.push(push.into());
                true
            }
            Act::Untag(at) => match self.tags.remove(&at) {
                Some(number) => self.deletes(sequence, number, Some(&name(self.place, at))),
                None => false,
            },
            Act::Delete(number) => {
                let is_there = self.images.remove(&number);
                self.tags.retain(|_, at| *at != number);
                is_there && self.deletes(sequence, number, None)
            }
        }
    }

    fn deletes(&mut self, sequence: u64, number: u8, name: Option<&str>) -> bool {
        let name: Option<Tag> = name.map(tag);
        let digest = digest(number);
        let origin = self.at(sequence);
        let command = DeleteReplica::new(&account(), &app(), &digest, name.as_ref(), &origin);
        self.sent.push(command.into());
        true
    }
}

proptest! {
    #[test]
    fn in_whatever_order_it_arrives_the_destination_has_what_the_sources_have(
        acts in (1..=SOURCES.len()).prop_flat_map(acts),
        own in own_pushes(),
    ) {
        let mut worlds: Vec<World> = (0..SOURCES.len()).map(World::new).collect();
        let mut arriving: Vec<(u16, Command)> = Vec::new();
        for (sequence, (place, act, first, again)) in (1..).zip(acts) {
            if worlds[place].act(sequence, act) {
                let command = worlds[place].sent.last().unwrap();
                arriving.push((first, command.clone()));
                arriving.extend(again.map(|again| (again, command.clone())));
            }
        }
        let mut images: BTreeSet<u8> = worlds.iter().flat_map(|it| it.images.clone()).collect();
        let mut tags: BTreeMap<String, u8> = BTreeMap::new();
        for world in &worlds {
            let all = world.tags.iter();
            tags.extend(all.map(|(at, number)| (name(world.place, *at), *number)));
        }
        for (number, is_tagged, at) in own {
            let name = format!("own-{number}");
            let names: &[&str] = if is_tagged { &[&name] } else { &[] };
            arriving.push((at, image(number, &[1], names).into()));
            images.insert(number);
            tags.extend(is_tagged.then(|| (name.clone(), number)));
        }
        arriving.sort_by_key(|(at, _)| *at);
        let mut machine = Machine::with_app();
        for (_, command) in arriving {
            machine.done(command);
        }
        let found = query::tags(&machine.state, &account(), &app(), None, 100).unwrap();
        let found: BTreeMap<String, Digest> =
            found.into_iter().map(|entry| (entry.tag.to_string(), entry.digest)).collect();
        let expected: BTreeMap<String, Digest> =
            tags.into_iter().map(|(name, number)| (name, digest(number))).collect();
        prop_assert_eq!(found, expected);
        let found = query::manifests(&machine.state, &account(), &app(), None, 100).unwrap();
        let found: BTreeSet<Digest> = found.into_iter().map(|entry| entry.digest).collect();
        let expected: BTreeSet<Digest> = images.iter().map(|it| digest(*it)).collect();
        prop_assert_eq!(found, expected);
    }
}
