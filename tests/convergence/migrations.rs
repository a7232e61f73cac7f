//! The same walk with migrations: nothing stands on a database that has not had the commit's own, a run
//! that somebody took away takes nothing down, and a failed one is not tried again.

use super::*;

fn done() -> MigrationState {
    MigrationState::Ended(Ended::Done)
}

fn failed() -> Ended {
    Ended::Failed { why: "exit code 1".to_owned(), log: "ERROR".to_owned() }
}

fn running() -> MigrationState {
    MigrationState::Running("they run".to_owned())
}

fn every_migrating_world() -> Vec<World> {
    let there = Seen::Present(NamespaceSeen { fenced: true });
    let (a, b) = (revision('a', 0), revision('b', 1));
    let mut worlds = Vec::new();
    for namespace in [Seen::Absent, there] {
        let is_there = !namespace.is_absent();
        for workload in [None, Some(a.clone()), Some(b.clone())] {
            for generation in [None, Some(0), Some(1)] {
                for run in [
                    None,
                    Some((a.clone(), running())),
                    Some((a.clone(), done())),
                    Some((b.clone(), done())),
                ] {
                    if !is_there && (workload.is_some() || run.is_some()) {
                        continue;
                    }
                    for remembered in [vec![], vec![(a.clone(), Ended::Done)]] {
                        for route in [None, Some(a.clone())] {
                            for record in [Seen::Present(()), Seen::Absent] {
                                // What the generation's own migrations left, where they are over.
                                let of = |it: &Revision| Some(it.restart) == generation;
                                let over = run.iter().filter(|(_, state)| *state == done());
                                let over = over.map(|(of, _)| of).chain(workload.as_ref());
                                let over = over.chain(remembered.iter().map(|(of, _)| of));
                                let applied = over.into_iter().find(|it| of(it)).cloned();
                                worlds.push(World {
                                    namespace: namespace.clone(),
                                    database: generation.map_or(Seen::Absent, |generation| {
                                        let generation = Some(generation);
                                        Seen::Present(DatabaseSeen {
                                            ready: true,
                                            generation,
                                            stale_login: false,
                                        })
                                    }),
                                    role: generation.is_some(),
                                    ran: Some(Ran {
                                        run: run.clone(),
                                        remembered: remembered.clone(),
                                        applied,
                                    }),
                                    workload: workload.clone().map(|it| (it, Health::Ready)),
                                    others: false,
                                    route: route.clone(),
                                    opened: false,
                                    heard: route.clone(),
                                    record: record.clone(),
                                    reachable: !record.is_absent(),
                                    deployment: false,
                                    told: Told::Never,
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

#[test]
fn a_preview_that_migrates_reaches_every_goal_under_every_single_trouble() {
    let intents = [
        (up('a', 0), Desired::Down(Reason::Closed)),
        (Desired::Down(Reason::Closed), up('a', 0)),
        (up('a', 0), up('b', 1)),
    ];
    let (worlds, troubles) = (every_migrating_world(), every_trouble());
    let mut cases = 0_u64;
    for world in &worlds {
        for (first, then) in &intents {
            for trouble in &troubles {
                run(world, first, then, *trouble);
                cases += 1;
            }
        }
    }
    assert!(cases > 50_000, "only {cases} cases");
}

/// Everything of this commit in place, and its migrations as said.
fn settled(ran: Ran) -> World {
    let a = revision('a', 0);
    World {
        namespace: Seen::Present(NamespaceSeen { fenced: true }),
        database: Seen::Present(DatabaseSeen {
            ready: true,
            generation: Some(0),
            stale_login: false,
        }),
        role: true,
        ran: Some(ran),
        workload: Some((a.clone(), Health::Ready)),
        others: false,
        route: Some(a.clone()),
        opened: false,
        heard: Some(a.clone()),
        record: Seen::Present(()),
        reachable: true,
        deployment: true,
        told: Told::Said(Notice::Ready {
            revision: a,
            expires_at: instant(),
            expiring: false,
            choice: Default::default(),
        }),
    }
}

fn planned(world: &World, desired: &Desired) -> (Vec<Step>, Outlook) {
    let plan = plan(desired, &world.look(None, desired), &commit('a'));
    (plan.steps, plan.outlook)
}

#[test]
fn a_run_that_somebody_took_away_takes_nothing_down_once_it_is_remembered() {
    let a = revision('a', 0);
    let remembered = vec![(a.clone(), Ended::Done)];
    let applied = Some(a.clone());
    let world = settled(Ran { run: None, remembered, applied: applied.clone() });
    assert_eq!(planned(&world, &up('a', 0)), (vec![], Outlook::Settled));
    // What nobody remembers is run, beside what serves.
    let world = settled(Ran { run: None, remembered: vec![], applied });
    assert_eq!(planned(&world, &up('a', 0)).0, [Step::EnsureMigration(a)]);
}

#[test]
fn each_state_of_a_new_commits_migrations_leads_to_one_step_and_to_no_other() {
    let (a, b) = (revision('a', 0), revision('b', 0));
    let run = |state| Some((b.clone(), state));
    let failing = |why: &str| {
        let serves = Some(a.commit.clone());
        Step::Publish(Notice::Failing { commit: b.commit.clone(), why: why.to_owned(), serves })
    };
    let report = |ended| Step::EnsureReport { revision: b.clone(), ended };
    let stuck = MigrationState::Stuck("no such image".to_owned());
    let table = [
        (Some((a.clone(), done())), vec![], vec![Step::EnsureMigration(b.clone())]),
        (run(running()), vec![], vec![]),
        (run(stuck), vec![], vec![failing("no such image")]),
        (run(done()), vec![], vec![report(Ended::Done)]),
        (run(MigrationState::Ended(failed())), vec![], vec![report(failed())]),
        // Not run again, even where its run is not there any more: that takes a push or a redeploy.
        (run(MigrationState::Ended(failed())), vec![failed()], vec![failing("exit code 1")]),
        (None, vec![failed()], vec![failing("exit code 1")]),
        (None, vec![Ended::Done], vec![Step::EnsureWorkload(b.clone())]),
    ];
    for (run, kept, steps) in table {
        let remembered = kept.into_iter().map(|ended| (b.clone(), ended)).collect();
        let world = settled(Ran { run, remembered, applied: Some(a.clone()) });
        let (planned, outlook) = planned(&world, &up('b', 0));
        assert_eq!(planned, steps, "{world:?}");
        assert_ne!(outlook, Outlook::Settled);
    }
}

#[test]
fn migrations_wait_for_all_that_they_stand_on_and_are_not_wanted_when_nothing_is() {
    let (desired, a) = (up('a', 0), revision('a', 0));
    let ready = settled(Ran::default());
    let blind = |part| {
        let seen = ready.look(Some(part), &desired);
        plan(&desired, &seen, &commit('a')).steps
    };
    // Namespace, database, role, image, and the run itself.
    for part in [1, 2, 3, 10, 11] {
        assert!(!blind(part).contains(&Step::EnsureMigration(a.clone())), "{part}");
    }
    let down = Desired::Down(Reason::Closed);
    assert_eq!(ready.look(None, &down).migrations, None);
}

fn up(digit: char, generation: u32) -> Desired {
    super::up(digit, generation)
}
