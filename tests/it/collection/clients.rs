//! Clients that push and delete without a pause, each in repositories of its own:
//! so what is there in the end follows from what each was told.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use entrepot_harness::{Admin, Cluster, Image, Random};
use serde_json::json;
use tokio::task::JoinSet;

use super::books::{Books, COPIED};
use super::pool::Pool;
use super::pushes::{Act, Pusher};
use super::{UNREFERENCED_AFTER_S, registries};
use crate::support::{EU, US};

/// In the region whose collector is looked at.
const HERE: usize = 5;
/// Images that a policy keeps.
const KEPT: usize = 2;
/// What a client has in a repository at most, and remembers of what it deleted.
const HELD_MAX: usize = 2;
const GONE_MAX: usize = 6;
/// Repositories of a client.
const PLACES: usize = 2;
/// What was acknowledged to a second attempt may be done once more by the first, which
/// nobody heard of: it is left alone for so long.
const SETTLED_AFTER: Duration = Duration::from_secs(20);

pub(super) struct Clients {
    resting: Vec<Client>,
    running: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Result<Client>>,
}

struct Client {
    nth: usize,
    region: &'static str,
    pool: Arc<Pool>,
    books: Arc<Books>,
    random: Random,
    pusher: Pusher,
    places: [Place; PLACES],
    /// What a policy has not let go yet, the oldest first.
    kept: VecDeque<Image>,
    next: u64,
    counts: Counts,
}

/// A repository.
#[derive(Default)]
struct Place {
    held: Vec<Group>,
    gone: Vec<Group>,
}

/// What is pushed and deleted together, in the order in which it is pushed.
struct Group {
    images: Vec<Image>,
    tag: String,
    settled_at: Instant,
}

#[derive(Default)]
struct Counts {
    pushed: u64,
    pushed_again: u64,
    deleted: u64,
    never_named: u64,
    evaluated: u64,
    repositories: u64,
}

/// Counts a client that ends, however it does.
struct Ends(Arc<AtomicUsize>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

// === impl Clients ===

impl Clients {
    pub(super) fn new(
        seed: u64,
        pool: &Arc<Pool>,
        books: &Arc<Books>,
        cluster: &Cluster,
    ) -> Result<Self> {
        let regions = std::iter::repeat_n(US, HERE).chain([EU]);
        let clients = regions.enumerate().map(|(nth, region)| {
            let admins: Result<Vec<Admin>> = cluster
                .ids_in(region)
                .into_iter()
                .map(|id| cluster.admin(id))
                .collect();
            let mut random = Random::new(seed ^ ((nth as u64 + 1) << 40));
            let seed = random.next_u64();
            Ok(Client {
                nth,
                region,
                pool: Arc::clone(pool),
                books: Arc::clone(books),
                pusher: Pusher::new(registries(cluster, region)?, admins?, seed),
                random,
                places: Default::default(),
                kept: VecDeque::new(),
                next: 0,
                counts: Counts::default(),
            })
        });
        Ok(Self {
            resting: clients.collect::<Result<_>>()?,
            running: Arc::default(),
            stop: Arc::default(),
            tasks: JoinSet::new(),
        })
    }

    /// Gives each client that has one its policy.
    pub(super) async fn begin(&mut self, admin: &Admin) -> Result<()> {
        let policy = json!({"rules": [{"rulePriority": 1, "action": {"type": "expire"},
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan",
                "countNumber": KEPT}}]});
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("policy.json");
        std::fs::write(&file, policy.to_string())?;
        let path = file.display().to_string();
        for client in &mut self.resting {
            if client.region == US {
                client.push_expired().await?;
                let repository = client.expired();
                let put = ["lifecycle", "put", &repository, "--file", &path, "--yes"];
                admin.run(&put).await?;
            }
        }
        Ok(())
    }

    pub(super) fn start(&mut self) {
        for mut client in self.resting.drain(..) {
            self.running.fetch_add(1, Ordering::SeqCst);
            let ends = Ends(Arc::clone(&self.running));
            let stop = Arc::clone(&self.stop);
            self.tasks.spawn(async move {
                let _ends = ends;
                while !stop.load(Ordering::SeqCst) {
                    let acted = client.act().await;
                    acted.with_context(|| format!("client {}", client.nth))?;
                }
                Ok(client)
            });
        }
    }

    /// Whether none has failed.
    pub(super) fn are_running(&self) -> bool {
        self.running.load(Ordering::SeqCst) == HERE + 1
    }

    /// Lets all end what they began.
    pub(super) async fn stop(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            self.resting.push(ended.context("a client panicked")??);
        }
        Ok(())
    }

    pub(super) fn pushed(&self) -> u64 {
        self.sum(|client| client.counts.pushed)
    }

    /// The repositories that have a policy.
    pub(super) fn expired(&self) -> Vec<String> {
        let here = self.resting.iter().filter(|client| client.region == US);
        here.map(Client::expired).collect()
    }

    /// What all have done.
    pub(super) fn summary(&self) -> String {
        let mut text = String::new();
        let sums = [
            ("manifests pushed", self.pushed()),
            ("of them again", self.sum(|it| it.counts.pushed_again)),
            ("deleted", self.sum(|it| it.counts.deleted)),
            ("mounts", self.sum(|it| it.pusher.mounted)),
            ("blobs never named", self.sum(|it| it.counts.never_named)),
            ("policies run", self.sum(|it| it.counts.evaluated)),
            (
                "repositories deleted",
                self.sum(|it| it.counts.repositories),
            ),
            ("second attempts", self.sum(|it| it.pusher.again)),
        ];
        for (nth, (what, sum)) in sums.into_iter().enumerate() {
            let comma = if nth == 0 { "" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(text, "{comma}{what}: {sum}");
        }
        text
    }

    fn sum(&self, of: impl Fn(&Client) -> u64) -> u64 {
        self.resting.iter().map(of).sum()
    }
}

// === impl Client ===

impl Client {
    async fn act(&mut self) -> Result<()> {
        let place = self.random.below(PLACES);
        match self.random.below(20) {
            0..7 => self.push(place, Duration::ZERO).await,
            7..9 => {
                // About when its blobs are to be collected.
                let ms = 2_000 * usize::try_from(UNREFERENCED_AFTER_S)?;
                let pause = Duration::from_millis(self.random.below(ms) as u64);
                self.push(place, pause).await
            }
            9..12 => self.push_again(place).await,
            12..16 => self.delete(place).await,
            // Only copied and deleted are copied.
            _ if self.region == EU => self.push(place, Duration::ZERO).await,
            16 => self.lose().await,
            17 => self.whole_repository().await,
            _ => {
                self.push_expired().await?;
                if self.random.below(2) == 0 {
                    self.counts.evaluated += 1;
                    self.pusher.evaluate(&self.expired()).await?;
                }
                Ok(())
            }
        }
    }

    async fn push(&mut self, place: usize, pause: Duration) -> Result<()> {
        if self.places[place].held.len() >= HELD_MAX {
            self.delete(place).await?;
        }
        let name = self.name();
        let images = self.pool.group(&mut self.random, &name);
        let repository = self.repository(place);
        let group = self.put(&repository, images, name, pause).await?;
        self.places[place].held.push(group);
        Ok(())
    }

    /// What was deleted comes again.
    async fn push_again(&mut self, place: usize) -> Result<()> {
        let repository = self.repository(place);
        let gone = self.places[place].gone.len();
        if gone == 0 {
            return Ok(());
        }
        let group = self.places[place].gone.swap_remove(self.random.below(gone));
        self.counts.pushed_again += group.images.len() as u64;
        let Group { images, tag, .. } = group;
        let group = self.put(&repository, images, tag, Duration::ZERO).await?;
        self.places[place].held.push(group);
        Ok(())
    }

    async fn put(
        &mut self,
        repository: &str,
        images: Vec<Image>,
        tag: String,
        pause: Duration,
    ) -> Result<Group> {
        let mut settled_at = Instant::now();
        for (nth, image) in images.iter().enumerate() {
            // One of them is enough.
            let is_tagged = nth == 0;
            let act = Act::Push {
                image,
                tag: is_tagged.then_some(&tag),
                pause,
            };
            if !self.pusher.carry_out(repository, &act).await? {
                settled_at = Instant::now() + SETTLED_AFTER;
            }
            self.counts.pushed += 1;
            let tag = is_tagged.then(|| tag.clone());
            self.books.there(self.region, repository, image, tag);
        }
        Ok(Group {
            images,
            tag,
            settled_at,
        })
    }

    /// One that is old enough, if there is one.
    async fn delete(&mut self, place: usize) -> Result<()> {
        let repository = self.repository(place);
        let held = &mut self.places[place].held;
        let now = Instant::now();
        let settled = (0..held.len()).filter(|nth| held[*nth].settled_at <= now);
        let settled: Vec<usize> = settled.collect();
        let Some(nth) = settled.get(self.random.below(settled.len())) else {
            return Ok(());
        };
        let group = held.remove(*nth);
        if self.remove(&repository, &group).await? {
            let gone = &mut self.places[place].gone;
            gone.push(group);
            if gone.len() > GONE_MAX {
                gone.remove(0);
            }
        }
        Ok(())
    }

    /// Whether each was deleted by the first attempt.
    async fn remove(&mut self, repository: &str, group: &Group) -> Result<bool> {
        let mut is_settled = true;
        for image in group.images.iter().rev() {
            let digest = image.digest();
            self.books.going(self.region, repository, digest);
            let act = Act::Delete { digest };
            is_settled &= self.pusher.carry_out(repository, &act).await?;
            self.counts.deleted += 1;
        }
        Ok(is_settled)
    }

    /// A blob that nothing ever names, whole or by half.
    async fn lose(&mut self) -> Result<()> {
        let repository = format!("lost/c{}", self.nth);
        let blob = self.pool.layer(&mut self.random);
        if self.random.below(2) == 0 {
            self.pusher.give_up(&repository, &blob).await;
        } else {
            let act = Act::Blob(&blob);
            self.pusher.carry_out(&repository, &act).await?;
        }
        self.counts.never_named += 1;
        Ok(())
    }

    async fn whole_repository(&mut self) -> Result<()> {
        let name = self.name();
        let repository = format!("whole/c{}-{name}", self.nth);
        let images = self.pool.group(&mut self.random, &name);
        let group = self.put(&repository, images, name, Duration::ZERO).await?;
        if group.settled_at > Instant::now() {
            // It stays: a push that comes late would make it anew.
            return Ok(());
        }
        for image in &group.images {
            self.books.going(self.region, &repository, image.digest());
        }
        let act = Act::DeleteRepository;
        self.pusher.carry_out(&repository, &act).await?;
        self.counts.repositories += 1;
        Ok(())
    }

    /// Into the repository with a policy: the oldest one may go from then on.
    async fn push_expired(&mut self) -> Result<()> {
        let repository = self.expired();
        let name = self.name();
        let image = self.pool.image(&mut self.random, &name);
        if self.kept.len() >= KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            self.books.going(self.region, &repository, oldest.digest());
        }
        self.put(&repository, vec![image.clone()], name, Duration::ZERO)
            .await?;
        self.kept.push_back(image);
        Ok(())
    }

    fn name(&mut self) -> String {
        self.next += 1;
        format!("n{}-{}", self.nth, self.next)
    }

    fn repository(&self, place: usize) -> String {
        let folder = if self.region == EU { COPIED } else { "app/" };
        format!("{folder}c{}-{place}", self.nth)
    }

    fn expired(&self) -> String {
        format!("expired/c{}", self.nth)
    }
}
