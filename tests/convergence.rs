//! The plan reaches its goal from every state of the world, whatever goes wrong on the way, and
//! never does on the way what must not be done.
//!
//! A model of the world, small enough to be walked through whole: no I/O, no clock.

mod migrations;

use chrono::{DateTime, TimeDelta, Utc};
use mayfly::preview::migration::lost_data;
use mayfly::preview::observed::{
    Confirmation, DatabaseSeen, Health, ImageSeen, NamespaceSeen, Resolution, RouteSeen, Served,
    Standing, WorkloadSeen,
};
use mayfly::preview::{
    Choice, CommitSha, Desired, Ended, MigrationSeen, MigrationState, MigrationsSeen, Notice,
    Observed, Outlook, Parity, Reason, Revision, Seen, Spec, Step, Told, plan,
};

fn instant() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
}

fn commit(digit: char) -> CommitSha {
    CommitSha::parse(&digit.to_string().repeat(40)).unwrap()
}

fn revision(digit: char, generation: u32) -> Revision {
    Revision { commit: commit(digit), restart: generation }
}

fn up(digit: char, generation: u32) -> Desired {
    Desired::Up(Spec {
        revision: revision(digit, generation),
        data_generation: generation,
        choice: Choice::default(),
        expires_at: instant(),
        expiring: false,
    })
}

/// What became of migrations, where the preview has some.
#[derive(Clone, Debug, Default)]
struct Ran {
    run: Option<(Revision, MigrationState)>,
    /// What the ledger has, which nothing takes away.
    remembered: Vec<(Revision, Ended)>,
    /// Whose migrations the database that is there has had; none of a database that was made again.
    applied: Option<Revision>,
}

/// The truth. Only `apply` and `tick` change it.
#[derive(Clone, Debug)]
struct World {
    namespace: Seen<NamespaceSeen>,
    database: Seen<DatabaseSeen>,
    role: bool,
    ran: Option<Ran>,
    workload: Option<(Revision, Health)>,
    /// Whether what was ready before the workload was asked for runs on beside it.
    others: bool,
    route: Option<Revision>,
    /// Whether the way in was opened with the workload, before it leads anywhere.
    opened: bool,
    /// Where visitors are led: whoever serves routes hears of a change a moment later.
    heard: Option<Revision>,
    /// Removed by somebody else, who takes a moment.
    record: Seen<()>,
    /// Whether the record is what resolvers say: a moment after it was written.
    reachable: bool,
    deployment: bool,
    told: Told,
}

impl World {
    fn resolution(&self) -> Resolution {
        match (!self.record.is_absent(), self.reachable) {
            (true, true) => Resolution::Right { addresses: Default::default() },
            (true, false) => Resolution::NotYet("a secondary lags behind".to_owned()),
            (false, _) => Resolution::Wrong("no such name".to_owned()),
        }
    }

    fn migrations(&self, desired: &Desired) -> Option<MigrationsSeen> {
        let (Some(ran), Desired::Up(spec)) = (&self.ran, desired) else { return None };
        let run = match &ran.run {
            Some((revision, state)) => {
                Seen::Present(MigrationSeen { revision: revision.clone(), state: state.clone() })
            }
            None => Seen::Absent,
        };
        let kept = ran.remembered.iter().find(|(revision, _)| *revision == spec.revision);
        // Each generation of the data has restarts of its own here.
        let here = |revision: &Revision| revision.restart == spec.data_generation;
        let begun = ran.run.iter().map(|(of, _)| of).chain(ran.remembered.iter().map(|(of, _)| of));
        let begun = begun.into_iter().any(here);
        Some(MigrationsSeen { run, remembered: kept.map(|(_, ended)| ended.clone()), begun })
    }

    /// The database is another one from now on, or none.
    fn forget_data(&mut self) {
        if let Some(ran) = &mut self.ran {
            ran.applied = None;
        }
    }

    /// What a visitor gets, for whom this should be served.
    fn served(&self, desired: &Desired) -> Served {
        match desired {
            Desired::Up(spec) if self.serves(&spec.revision) => Served::Right,
            _ => Served::NotYet("404".to_owned()),
        }
    }

    fn look(&self, blind: Option<usize>, desired: &Desired) -> Observed {
        let there = |there: bool| if there { Seen::Present(()) } else { Seen::Absent };
        let mut seen = Observed {
            pull: Confirmation::Confirmed,
            image: ImageSeen::Known,
            namespace: self.namespace.clone(),
            database: self.database.clone(),
            role: there(self.role),
            migrations: self.migrations(desired),
            workload: match &self.workload {
                Some((revision, health)) => Seen::Present(WorkloadSeen {
                    revision: revision.clone(),
                    health: health.clone(),
                    others: self.others,
                }),
                None => Seen::Absent,
            },
            route: match &self.route {
                Some(revision) => Seen::Present(RouteSeen {
                    revision: Some(revision.clone()),
                    standing: Standing::Served,
                }),
                None if self.opened => {
                    let standing = Standing::Served;
                    Seen::Present(RouteSeen { revision: None, standing })
                }
                None => Seen::Absent,
            },
            record: self.record.clone(),
            records: Vec::new(),
            resolution: self.resolution(),
            served: self.served(desired),
            deployment: there(self.deployment),
            told: self.told.clone(),
            parity: Parity::Same,
        };
        let why = || "could not look".to_owned();
        match blind {
            Some(0) => seen.pull = Confirmation::Unconfirmed(why()),
            Some(1) => seen.namespace = Seen::Unknown(why()),
            Some(2) => seen.database = Seen::Unknown(why()),
            Some(3) => seen.role = Seen::Unknown(why()),
            Some(4) => seen.workload = Seen::Unknown(why()),
            Some(5) => seen.route = Seen::Unknown(why()),
            Some(6) => seen.record = Seen::Unknown(why()),
            Some(8) => seen.resolution = Resolution::NotYet(why()),
            Some(10) => seen.image = ImageSeen::Awaited(why()),
            Some(11) => {
                if let Some(migrations) = &mut seen.migrations {
                    migrations.run = Seen::Unknown(why());
                }
            }
            Some(9) => seen.served = Served::Wrong(why()),
            Some(7) => seen.deployment = Seen::Unknown(why()),
            _ => {}
        }
        seen
    }

    /// What a step does, and what must hold when it is done.
    fn apply(&mut self, step: &Step, desired: &Desired) {
        let going = matches!(desired, Desired::Down(_));
        match step {
            Step::EnsureNamespace => {
                self.namespace = Seen::Present(NamespaceSeen { fenced: true });
            }
            Step::EnsureDatabase { generation } => {
                self.role = true;
                let before = self.database.present().and_then(|it| it.generation);
                if before != Some(*generation) {
                    self.forget_data();
                }
                let stale_login = self.database.present().is_some_and(|db| db.stale_login);
                self.database = Seen::Present(DatabaseSeen {
                    ready: true,
                    generation: Some(*generation),
                    stale_login,
                });
            }
            Step::EnsureMigration(revision) => {
                assert!(self.namespace.present().is_some(), "migrations without a namespace");
                assert!(
                    self.role && self.database.present().is_some_and(|db| db.ready),
                    "migrations without a database"
                );
                let ran = self.ran.as_mut().expect("a step about what it does not have");
                if ran.run.as_ref().is_none_or(|(of, _)| of != revision) {
                    let state = MigrationState::Running("started".to_owned());
                    ran.run = Some((revision.clone(), state));
                }
            }
            Step::EnsureReport { revision, ended } => {
                let ran = self.ran.as_mut().expect("a step about what it does not have");
                let seen = Some((revision.clone(), MigrationState::Ended(ended.clone())));
                assert_eq!(ran.run, seen, "a report of what did not end");
                if ran.remembered.iter().all(|(of, _)| of != revision) {
                    ran.remembered.push((revision.clone(), ended.clone()));
                }
            }
            Step::EnsureWorkload(revision) => {
                if let Some(ran) = &self.ran {
                    assert_eq!(ran.applied.as_ref(), Some(revision), "before its migrations");
                }
                assert!(self.namespace.present().is_some(), "a workload without a namespace");
                assert!(
                    self.role && self.database.present().is_some_and(|db| db.ready),
                    "a workload without its data"
                );
                let runs = |(before, health): &(Revision, Health)| {
                    before != revision && *health == Health::Ready
                };
                self.others |= self.workload.as_ref().is_some_and(runs);
                self.workload = Some((revision.clone(), Health::Progressing("starting".into())));
                self.opened |= self.route.is_none();
            }
            Step::EnsureRoute(revision) => {
                assert_eq!(
                    self.workload,
                    Some((revision.clone(), Health::Ready)),
                    "a route to what is not ready"
                );
                self.route = Some(revision.clone());
            }
            Step::RemoveOthers(revision) => {
                assert_eq!(self.heard.as_ref(), Some(revision), "taken away under visitors");
                self.others = false;
            }
            Step::RemoveLogin => {
                assert!(!self.others, "locked while what uses it may run");
                let Desired::Up(spec) = desired else { panic!("locked on the way down") };
                assert!(self.serves(&spec.revision), "locked before its successor is served");
                if let Seen::Present(database) = &mut self.database {
                    database.stale_login = false;
                }
            }
            Step::EnsureRecord => {
                assert!(self.route.is_some(), "a name that leads nowhere");
                self.record = Seen::Present(());
            }
            Step::Publish(notice) => {
                if let Notice::Ready { revision, .. } = notice {
                    assert!(self.serves(revision), "told Ready, and it is not");
                }
                if matches!(notice, Notice::Gone { .. }) {
                    assert!(self.is_empty(), "told Gone, and something is left: {self:?}");
                }
                self.deployment = matches!(
                    notice,
                    Notice::Preparing { .. } | Notice::Failing { .. } | Notice::Ready { .. }
                );
                self.told = Told::Said(notice.clone());
            }
            Step::RemoveRecord => {
                if !self.record.is_absent() {
                    self.record = Seen::Leaving("it is asked to go".into());
                }
            }
            Step::RemoveRoute => {
                assert!(self.record.is_absent(), "a name left behind that leads nowhere");
                self.route = None;
                self.opened = false;
            }
            Step::RemoveNamespace => {
                assert!(
                    going || matches!(self.namespace, Seen::Leaving(_)),
                    "a namespace removed from a preview that should be up"
                );
                let has_route = self.route.is_some() || self.opened;
                assert!(!going || !has_route, "a route left behind that leads nowhere");
                if !self.namespace.is_absent() {
                    self.namespace = Seen::Leaving("finalizers".into());
                }
            }
            Step::RemoveDatabase => {
                assert!(
                    !going || !matches!(self.namespace, Seen::Present(_)),
                    "data removed under a running workload"
                );
                self.database = Seen::Absent;
                self.forget_data();
            }
            Step::RemoveRole => {
                assert!(self.database.is_absent(), "a role removed before its database");
                self.role = false;
            }
        }
    }

    fn tick(&mut self) {
        if matches!(self.namespace, Seen::Leaving(_)) {
            self.namespace = Seen::Absent;
            self.workload = None;
            self.others = false;
            if let Some(ran) = &mut self.ran {
                ran.run = None;
            }
        }
        let has_data = self.database.present().is_some();
        if let Some(Ran { run: Some((revision, state)), applied, .. }) = &mut self.ran
            && matches!(state, MigrationState::Running(_))
        {
            *state = MigrationState::Ended(Ended::Done);
            *applied = Some(revision.clone()).filter(|_| has_data);
        }
        self.heard = self.route.clone();
        if matches!(self.record, Seen::Leaving(_)) {
            self.record = Seen::Absent;
        }
        self.reachable = self.record.present().is_some();
        if let Some((_, health @ (Health::Progressing(_) | Health::Failing { .. }))) =
            &mut self.workload
        {
            *health = Health::Ready;
        }
    }

    fn serves(&self, revision: &Revision) -> bool {
        self.ran.as_ref().is_none_or(|ran| ran.applied.as_ref() == Some(revision))
            && self.record.present().is_some()
            && self.reachable
            && self.route.as_ref() == Some(revision)
            && self.heard.as_ref() == Some(revision)
            && self.workload == Some((revision.clone(), Health::Ready))
    }

    fn is_empty(&self) -> bool {
        self.namespace.is_absent()
            && self.database.is_absent()
            && !self.role
            && self.route.is_none()
            && !self.opened
            && self.record.is_absent()
    }
}

fn every_world() -> Vec<World> {
    let database =
        |ready, generation| Seen::Present(DatabaseSeen { ready, generation, stale_login: ready });
    let mut worlds = Vec::new();
    let there = |fenced| Seen::Present(NamespaceSeen { fenced });
    for namespace in [Seen::Absent, there(true), there(false), Seen::Leaving("finalizers".into())] {
        let workloads = match namespace {
            Seen::Absent => vec![None],
            _ => vec![
                None,
                Some((revision('a', 0), Health::Ready)),
                Some((revision('a', 0), Health::Progressing("starting".into()))),
                Some((revision('a', 0), Health::Dead("exited".into()))),
                Some((
                    revision('a', 0),
                    Health::Failing { why: "no such image".into(), log: String::new() },
                )),
                Some((revision('b', 1), Health::Ready)),
            ],
        };
        for workload in workloads {
            for database in [
                Seen::Absent,
                database(true, Some(0)),
                database(false, None),
                database(false, Some(0)),
                database(true, Some(1)),
                Seen::Leaving("an interrupted drop".into()),
            ] {
                for role in [true, false] {
                    for route in [None, Some(revision('a', 0)), Some(revision('b', 1))] {
                        for record in
                            [Seen::Present(()), Seen::Absent, Seen::Leaving("asked".into())]
                        {
                            for (told, deployment) in every_word() {
                                worlds.push(World {
                                    namespace: namespace.clone(),
                                    database: database.clone(),
                                    role,
                                    ran: None,
                                    workload: workload.clone(),
                                    others: route.is_some() && workload.is_some(),
                                    route: route.clone(),
                                    opened: false,
                                    heard: route.clone(),
                                    record: record.clone(),
                                    reachable: !record.is_absent(),
                                    deployment,
                                    told,
                                });
                            }
                        }
                    }
                }
            }
        }
    }
    worlds
}

fn every_word() -> Vec<(Told, bool)> {
    let ready = |digit, generation| {
        Told::Said(Notice::Ready {
            revision: revision(digit, generation),
            choice: Choice::default(),
            expires_at: instant(),
            expiring: false,
        })
    };
    let gone = Told::Said(Notice::Gone { reason: Reason::Closed });
    vec![
        (Told::Never, false),
        (Told::Unsure, false),
        (Told::Unsure, true),
        (ready('a', 0), true),
        (ready('b', 1), true),
        (gone, false),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    /// The nth step fails before, and the rest of its pass is not tried.
    FailsBefore(usize),
    /// The process dies after the nth step: what was told is not recorded.
    CrashesAfter(usize),
    /// The nth step happens twice.
    Repeats(usize),
    /// In the nth pass, this part cannot be seen.
    Blind(usize, usize),
    /// After the nth step, the intent becomes another.
    Flips(usize),
}

fn every_trouble() -> Vec<Trouble> {
    let mut troubles = vec![Trouble::None];
    for nth in 1..=8 {
        troubles.extend([
            Trouble::FailsBefore(nth),
            Trouble::CrashesAfter(nth),
            Trouble::Repeats(nth),
            Trouble::Flips(nth),
        ]);
    }
    for pass in 0..3 {
        troubles.extend((0..12).map(|part| Trouble::Blind(pass, part)));
    }
    troubles
}

fn renew_data(spec: &mut Spec) {
    spec.data_generation += 1;
    spec.revision.restart += 1;
}

/// Runs to the goal under one trouble; how many passes it took.
fn run(start: &World, first: &Desired, then: &Desired, trouble: Trouble) -> usize {
    const BOUND: usize = 40;
    let mut world = start.clone();
    let mut desired = first.clone();
    let mut then = then.clone();
    let mut flipped = false;
    let mut count = 0;
    for pass in 0..BOUND {
        let blind = match trouble {
            Trouble::Blind(nth, part) if nth == pass => Some(part),
            _ => None,
        };
        let seen = world.look(blind, &desired);
        if let Desired::Up(spec) = &mut desired
            && lost_data(&spec.revision, &seen).is_some()
        {
            renew_data(spec);
            // What people want is changed for good: whatever is wanted next has it too.
            if let Desired::Up(next) = &mut then {
                renew_data(next);
            }
            continue;
        }
        let plan = plan(&desired, &seen, &commit('a'));
        if blind == Some(0) && matches!(desired, Desired::Down(_)) {
            assert!(plan.steps.is_empty(), "removal on hearsay: {plan:?}");
        }
        if plan.outlook == Outlook::Settled {
            assert!(plan.steps.is_empty());
            match &desired {
                Desired::Up(spec) => assert!(world.serves(&spec.revision), "Ready, and is not"),
                Desired::Down(_) => assert!(world.is_empty(), "Gone, and something is left"),
            }
            if flipped || !matches!(trouble, Trouble::Flips(_)) {
                return pass;
            }
            desired = then.clone();
            flipped = true;
        }
        for step in &plan.steps {
            count += 1;
            match trouble {
                Trouble::FailsBefore(nth) if nth == count => break,
                Trouble::CrashesAfter(nth) if nth == count => {
                    world.apply(step, &desired);
                    if matches!(step, Step::Publish(_)) {
                        world.told = Told::Unsure;
                    }
                    break;
                }
                Trouble::Repeats(nth) if nth == count => {
                    world.apply(step, &desired);
                    world.apply(step, &desired);
                }
                Trouble::Flips(nth) if nth == count => {
                    world.apply(step, &desired);
                    desired = then.clone();
                    flipped = true;
                    break;
                }
                _ => world.apply(step, &desired),
            }
        }
        world.tick();
    }
    panic!(
        "no goal after {BOUND} passes from {start:?} to {desired:?} with {trouble:?}: {world:?}"
    );
}

#[test]
fn every_goal_is_reached_from_every_state_under_every_single_trouble() {
    let intents = [
        (up('a', 0), Desired::Down(Reason::Closed)),
        (Desired::Down(Reason::Closed), up('a', 0)),
        (Desired::Down(Reason::Stopped), up('b', 1)),
        (up('a', 0), up('b', 1)),
    ];
    let troubles = every_trouble();
    let mut cases = 0_u64;
    for world in every_world() {
        for (first, then) in &intents {
            if *first == Desired::Down(Reason::Stopped) {
                // A person's stop needs no confirmation; one trouble shows it.
                run(&world, first, then, Trouble::None);
                cases += 1;
                continue;
            }
            for trouble in &troubles {
                run(&world, first, then, *trouble);
                cases += 1;
            }
        }
    }
    assert!(cases > 500_000, "only {cases} cases");
}

#[test]
fn a_settled_world_plans_nothing_and_stays_so() {
    for world in every_world() {
        for desired in [up('a', 0), Desired::Down(Reason::Merged)] {
            let mut world = world.clone();
            let mut settled = false;
            for _ in 0..40 {
                let plan = plan(&desired, &world.look(None, &desired), &commit('a'));
                assert!(!settled || plan.outlook == Outlook::Settled, "it was settled before");
                settled = plan.outlook == Outlook::Settled;
                for step in &plan.steps {
                    world.apply(step, &desired);
                }
                world.tick();
            }
            assert!(settled);
        }
    }
}

#[test]
fn nothing_is_done_to_what_is_not_ours() {
    let foreign = || Seen::Foreign("somebody".to_owned());
    for world in every_world() {
        for desired in [up('a', 0), Desired::Down(Reason::Closed)] {
            for part in 0..5 {
                let mut seen = world.look(None, &desired);
                match part {
                    0 => seen.namespace = Seen::Foreign("somebody".to_owned()),
                    1 => seen.database = Seen::Foreign("somebody".to_owned()),
                    2 => seen.role = foreign(),
                    3 => seen.route = Seen::Foreign("somebody".to_owned()),
                    _ => seen.record = foreign(),
                }
                for step in plan(&desired, &seen, &commit('a')).steps {
                    let touches = match step {
                        Step::EnsureNamespace | Step::RemoveNamespace => 0,
                        Step::EnsureDatabase { .. } | Step::RemoveDatabase => 1,
                        Step::RemoveRole | Step::RemoveLogin => 2,
                        Step::EnsureRoute(_) | Step::RemoveRoute => 3,
                        Step::EnsureRecord | Step::RemoveRecord => 4,
                        Step::EnsureMigration(_)
                        | Step::EnsureReport { .. }
                        | Step::EnsureWorkload(_)
                        | Step::RemoveOthers(_) => 0,
                        Step::Publish(_) => continue,
                    };
                    assert_ne!(touches, part, "{step:?} touches a foreign thing");
                }
            }
        }
    }
}

#[test]
fn at_most_two_words_are_said_per_revision() {
    let mut world = World {
        namespace: Seen::Absent,
        database: Seen::Absent,
        role: false,
        ran: None,
        workload: None,
        others: false,
        route: None,
        opened: false,
        heard: None,
        record: Seen::Absent,
        reachable: false,
        deployment: false,
        told: Told::Never,
    };
    for (desired, most) in [(up('a', 0), 2), (up('b', 0), 2), (Desired::Down(Reason::Merged), 2)] {
        let mut said = 0;
        for _ in 0..40 {
            for step in plan(&desired, &world.look(None, &desired), &commit('a')).steps {
                said += usize::from(matches!(step, Step::Publish(_)));
                world.apply(&step, &desired);
            }
            world.tick();
        }
        assert!(said <= most, "{said} words for {desired:?}");
    }
}
