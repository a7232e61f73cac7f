//! What to do next for a preview that should be there.
//!
//! Everything in its order: namespace and database, migrations, workload, route, name, and the word to
//! the pull request when the URL was seen to serve the commit. Refuses to take away what is served before its
//! successor is.

use super::super::desired::Spec;
use super::super::migration::{MigrationState, MigrationsSeen};
use super::super::notice::{Notice, Told};
use super::super::observed::{
    Confirmation, Health, ImageSeen, Observed, Resolution, Seen, Served, Standing,
};
use super::super::revision::Revision;
use super::super::step::Step;
use super::migrate::migrated;
use super::{Draft, Ground, Outlook, Plan};

pub(super) fn up(spec: &Spec, seen: &Observed) -> Plan {
    let mut draft = Draft::default();
    if let Some(conflict) = seen.conflict() {
        draft.say(seen, Notice::Blocked { conflict: conflict.clone() });
        return Plan { steps: draft.steps, outlook: Outlook::Blocked(conflict) };
    }
    let want = &spec.revision;
    let namespace = match &seen.namespace {
        Seen::Present(namespace) if namespace.fenced => Ground::Seen,
        Seen::Absent | Seen::Present(_) => draft.lay(Step::EnsureNamespace),
        other => {
            draft.remove("namespace", other, true, Step::RemoveNamespace);
            Ground::Missing
        }
    };
    let database = up_database(spec, seen, &mut draft);
    let mut failing = None;
    let image = Ground::seen(match &seen.image {
        ImageSeen::Known => true,
        ImageSeen::Awaited(why) => {
            draft.waits.push(format!("image: {why}"));
            false
        }
        ImageSeen::Refused(why) => {
            draft.waits.push(format!("image: {why}"));
            failing = Some(why);
            false
        }
    });
    let ground = namespace.min(database).min(image);
    let stands = migrated(spec, seen, ground, &mut draft, &mut failing);
    let ready = match &seen.workload {
        Seen::Present(workload) if workload.revision == *want => match &workload.health {
            Health::Ready => stands.if_seen(),
            Health::Progressing(why) => {
                draft.waits.push(format!("workload: {why}"));
                Ground::Missing
            }
            Health::Failing { why, .. } => {
                draft.waits.push(format!("workload: {why}"));
                failing = failing.or(Some(why));
                Ground::Missing
            }
            Health::Dead(_) => draft.ensure(stands, Step::EnsureWorkload(want.clone())),
        },
        Seen::Absent | Seen::Present(_) => draft.ensure(stands, Step::EnsureWorkload(want.clone())),
        other => draft.wait("workload", other),
    };
    let mut awaited = false;
    let routed = match &seen.route {
        Seen::Present(route) if route.revision.as_ref() == Some(want) => match &route.standing {
            Standing::Served => ready,
            // It leads here all the same: whoever issues its certificate may first ask for the name
            // (RFC 8555, section 8).
            Standing::Awaited(why) => {
                draft.waits.push(format!("route: {why}"));
                awaited = true;
                ready
            }
            Standing::Refused(why) => {
                draft.waits.push(format!("route: {why}"));
                failing = failing.or(Some(why));
                Ground::Missing
            }
        },
        // Done, it leads: a name may follow at once.
        Seen::Absent | Seen::Present(_) if ready.is_seen() => {
            draft.lay(Step::EnsureRoute(want.clone()))
        }
        other => draft.wait("route", other),
    };
    let named = match (&seen.record, &seen.resolution) {
        (Seen::Present(()) | Seen::Absent, Resolution::Right { .. }) => routed.is_seen(),
        (Seen::Present(()), Resolution::NotYet(why)) => {
            draft.waits.push(format!("DNS: {why}"));
            false
        }
        // What is on its way out is asked to stay: the intent became another.
        (Seen::Present(()) | Seen::Absent | Seen::Leaving(_), _) => {
            draft.ensure(routed, Step::EnsureRecord);
            false
        }
        (other, _) => {
            draft.wait("DNS record", other);
            false
        }
    };
    let served = named
        && !awaited
        && match &seen.served {
            Served::Right => true,
            Served::NotYet(why) => {
                draft.waits.push(format!("URL: {why}"));
                false
            }
            Served::Wrong(why) => {
                draft.waits.push(format!("URL: {why}"));
                // Told once for a commit: what a URL answers instead can change with each look.
                let said = |told: &Told| {
                    matches!(told, Told::Said(Notice::Failing { commit, .. })
                        if *commit == want.commit)
                };
                failing = failing.or(Some(why).filter(|_| !said(&seen.told)));
                false
            }
        };
    if !served {
        let notice = match failing {
            Some(why) => failure(spec, seen, why),
            None => preparation(spec, seen),
        };
        notice.into_iter().for_each(|notice| draft.act(Step::Publish(notice)));
        return draft.finish(false);
    }
    if let Confirmation::Unconfirmed(why) = &seen.pull {
        draft.waits.push(format!("pull request: {why}"));
        return draft.finish(false);
    }
    draft.say(
        seen,
        Notice::Ready {
            revision: want.clone(),
            choice: spec.choice.clone(),
            expires_at: spec.expires_at,
            expiring: spec.expiring,
        },
    );
    // What was served before stays until visitors were seen to get what replaces it.
    if seen.workload.present().is_some_and(|workload| workload.others) {
        draft.act(Step::RemoveOthers(want.clone()));
    } else if seen.database.present().is_some_and(|database| database.stale_login) {
        // Nothing is left that could use it.
        draft.act(Step::RemoveLogin);
    }
    draft.finish(true)
}

/// One word at the start of a life, and after a commit that failed; any other push is told when it
/// is served, to spare the forge.
fn preparation(spec: &Spec, seen: &Observed) -> Option<Notice> {
    let commit = &spec.revision.commit;
    let heard = match &seen.told {
        Told::Said(Notice::Preparing { .. } | Notice::Ready { .. }) => true,
        Told::Said(Notice::Failing { commit: failed, .. }) => failed == commit,
        _ => false,
    };
    (!heard).then(|| Notice::Preparing { commit: commit.clone() })
}

/// What to tell the pull request when its commit cannot be served for this reason; `None` when it
/// was told.
pub fn failure(spec: &Spec, seen: &Observed, why: &str) -> Option<Notice> {
    let serves = seen.route.present().and_then(|route| route.revision.as_ref());
    let serves = serves.filter(|revision| **revision != spec.revision);
    let notice = Notice::Failing {
        commit: spec.revision.commit.clone(),
        why: why.to_owned(),
        serves: serves.map(|revision| revision.commit.clone()),
    };
    (seen.told != Told::Said(notice.clone())).then_some(notice)
}

/// Whether it cannot be told what stood on the database, which matters where something migrates it.
fn is_unclear(seen: &Observed) -> bool {
    let blind = matches!(seen.workload, Seen::Unknown(_));
    let unclear = |it: &MigrationsSeen| blind || matches!(it.run, Seen::Unknown(_));
    seen.migrations.as_ref().is_some_and(unclear)
}

/// The commit whose migrations still run, or may begin, and are not the wanted ones: they would go on
/// with whatever database takes the place of theirs.
fn still_migrating<'a>(spec: &Spec, seen: &'a Observed) -> Option<&'a Revision> {
    let run = seen.migrations.as_ref()?.run.present()?;
    let is_over = matches!(run.state, MigrationState::Ended(_));
    (!is_over && run.revision != spec.revision).then_some(&run.revision)
}

fn up_database(spec: &Spec, seen: &Observed, draft: &mut Draft) -> Ground {
    let is_there = matches!(&seen.database,
        Seen::Present(db) if db.generation.is_none_or(|it| it == spec.data_generation));
    if let Some(revision) = still_migrating(spec, seen).filter(|_| !is_there) {
        let commit = revision.commit.short();
        draft.waits.push(format!("database: until the migrations of {commit} are over"));
        return Ground::Missing;
    }
    match (&seen.database, &seen.role) {
        (Seen::Present(db), _) if db.generation.is_some_and(|g| g != spec.data_generation) => {
            // A label may ask for it, and a label may be hearsay.
            match &seen.pull {
                Confirmation::Confirmed => draft.act(Step::RemoveDatabase),
                Confirmation::Unconfirmed(why) => draft.waits.push(format!("pull request: {why}")),
            }
            Ground::Missing
        }
        (Seen::Present(db), Seen::Present(())) if db.ready => Ground::Seen,
        // A drop that was interrupted can only be dropped again.
        (Seen::Leaving(_), _) => {
            draft.remove("database", &seen.database, true, Step::RemoveDatabase);
            Ground::Missing
        }
        (Seen::Unknown(_), _) => draft.wait("database", &seen.database),
        (_, Seen::Unknown(_) | Seen::Leaving(_)) => draft.wait("role", &seen.role),
        // Made again under migrations that may have run, it would pass for one that had them.
        (Seen::Absent, _) if is_unclear(seen) => {
            draft.waits.push("database: until it is seen what stood on it".to_owned());
            Ground::Missing
        }
        _ => draft.lay(Step::EnsureDatabase { generation: spec.data_generation }),
    }
}
