//! Whatever comes while a commit is on its way, an older commit is never Ready after a newer one.
//!
//! Two hundred lives of pull requests, ten at a time in one world, each by a seed of its own: pushes
//! during the image's wait, during migrations, during the rollout and during a pass; events that come
//! late, calls that fail. A seed that fails is in the message.

use chrono::TimeDelta;
use mayfly::preview::{Notice, Phase, PullFacts};
use mayfly::workload::{ImageTag, ImageTemplate};

use crate::world::cluster::Fate;
use crate::world::faults::Mode;
use crate::world::{World, migrating, number, pr, sha};

const WORLDS: u64 = 20;
const PULLS: u32 = 10;
const MOVES: u32 = 150;
const PUSHES: &str = "abcdef";

/// The calls that may fail for a while.
const CALLS: [&str; 7] = [
    "cluster.ensure_migration",
    "cluster.ensure_workload",
    "cluster.ensure_route",
    "cluster.observe",
    "databases.ensure_database",
    "forge.publish",
    "images.resolve",
];

/// Numbers that only the seed decides (splitmix64, <https://prng.di.unimi.it/splitmix64.c>).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let at = self.below(all.len() as u64);
        &all[usize::try_from(at).unwrap()]
    }
}

/// One pull request: how far it was pushed, and every state that it was in.
struct Pull {
    number: u32,
    pushed: usize,
    built: usize,
    past: Vec<PullFacts>,
}

impl Pull {
    fn head(&self) -> char {
        PUSHES.as_bytes()[self.pushed - 1].into()
    }

    fn push(&mut self, world: &World) -> PullFacts {
        self.pushed += 1;
        let facts = world.facts(self.number, self.head());
        self.past.push(facts.clone());
        facts
    }

    /// The next image in the order of the pushes, or one that nobody waits for yet.
    fn build(&mut self, world: &World) {
        if let Some(digit) = PUSHES.chars().nth(self.built) {
            self.built += 1;
            let tag = format!("registry.test/acme/shop:{}-{}", self.number, sha(digit));
            world.images.push(&ImageTag::parse(&tag).unwrap(), digit);
        }
    }
}

async fn world() -> World {
    let mut world = World::new().await;
    let mut repository = migrating();
    repository.shape.pod.image = None;
    let template = "registry.test/acme/shop:{{ pr }}-{{ sha }}";
    repository.shape.image = Some(ImageTemplate::parse(template).unwrap());
    world.configure(repository);
    world
}

/// One thing that happens, to one of the pull requests or to all.
async fn happen(world: &World, pulls: &mut [Pull], chance: &mut Chance) {
    let at = usize::try_from(chance.below(pulls.len() as u64)).unwrap();
    let pull = &mut pulls[at];
    match chance.below(16) {
        0..=3 if pull.pushed < PUSHES.len() => {
            let facts = pull.push(world);
            world.silently(&facts);
            match chance.below(4) {
                // The webhook is lost, or comes in the middle of a pass.
                0 => {}
                1 => {
                    let late = async {
                        for _ in 0..chance.below(40) {
                            tokio::task::yield_now().await;
                        }
                        world.deliver("synchronize", facts).await;
                    };
                    let (turn, ()) = tokio::join!(world.reconciler.turn(), late);
                    turn.unwrap();
                }
                _ => drop(world.deliver("synchronize", facts).await),
            }
        }
        4..=6 => pull.build(world),
        // GitHub promises no order.
        7 => drop(world.deliver("synchronize", chance.one_of(&pull.past).clone()).await),
        8 if chance.below(2) == 0 => {
            let looks = u32::try_from(chance.below(4)).unwrap();
            let fates = [Fate::DoneAfter(looks), Fate::Hang, Fate::Fail("it failed".to_owned())];
            world.cluster.fate(chance.one_of(&fates).clone());
        }
        8 => world.cluster.ready_after(u32::try_from(chance.below(4)).unwrap()),
        9 => world.visitor.hears_after(u32::try_from(chance.below(4)).unwrap()),
        10 => world.cluster.crash(&pr(pull.number)),
        11 => {
            let call = *chance.one_of(&CALLS);
            let modes = [Mode::FailBefore, Mode::FailAfter, Mode::Repeat];
            world.faults.always(call, *chance.one_of(&modes));
        }
        12 => world.faults.heal(),
        _ => {
            let seconds = i64::try_from(chance.below(20)).unwrap();
            world.clock.advance(TimeDelta::seconds(seconds));
            world.reconciler.turn().await.unwrap();
        }
    }
}

/// Ready is true at every moment: the commit that the ledger takes for the head is what visitors get.
async fn no_ready_is_a_lie(world: &World, pulls: &[Pull], seed: u64) {
    for pull in pulls {
        let preview = world.preview(pull.number).await;
        if preview.phase == Phase::Ready {
            let serves = world.cluster.serving(&pr(pull.number)).map(|it| it.commit);
            let crashed = world.cluster.running(&pr(pull.number)).is_none();
            assert!(
                crashed || serves.as_ref() == Some(&preview.memory.facts.head),
                "seed {seed}, pull request {}: Ready, and serves {serves:?}",
                pull.number
            );
        }
    }
}

/// The pushes that the pull request was told to be Ready, in the order in which it was told.
fn told(world: &World, pull: &Pull) -> Vec<usize> {
    let said = world.forge.said(number(pull.number));
    let ready = said.into_iter().filter_map(|said| match said.notice {
        Notice::Ready { revision, .. } => Some(revision.commit),
        _ => None,
    });
    ready.map(|commit| PUSHES.chars().position(|digit| sha(digit) == commit).unwrap()).collect()
}

#[tokio::test]
async fn an_older_commit_is_never_ready_after_a_newer_one_whatever_is_on_its_way() {
    let mut lives = 0;
    for seed in 0..WORLDS {
        let world = world().await;
        let mut chance = Chance(seed);
        let pull = |number| Pull { number, pushed: 0, built: 0, past: Vec::new() };
        let mut pulls: Vec<_> = (1..=PULLS).map(pull).collect();
        for pull in &mut pulls {
            let facts = pull.push(&world);
            world.change("opened", facts).await;
        }
        for _ in 0..MOVES {
            happen(&world, &mut pulls, &mut chance).await;
            no_ready_is_a_lie(&world, &pulls, seed).await;
        }
        world.faults.heal();
        world.cluster.fate(Fate::DoneAfter(1));
        for pull in &mut pulls {
            PUSHES.chars().for_each(|_| pull.build(&world));
            world.deliver("synchronize", pull.past.last().unwrap().clone()).await;
            // Migrations that failed are not tried again by themselves.
            world.wish(pull.number, |memory| memory.overrides.redeploys += 1).await;
        }
        world.settle_for(TimeDelta::minutes(20)).await;
        for pull in &pulls {
            let told = told(&world, pull);
            assert!(told.is_sorted(), "seed {seed}, pull request {}: {told:?}", pull.number);
            assert_eq!(told.last(), Some(&(pull.pushed - 1)), "seed {seed}, {}", pull.number);
            assert!(world.serves(pull.number, pull.head()), "seed {seed}, {}", pull.number);
            lives += 1;
        }
    }
    assert!(lives >= 200, "{lives}");
}
