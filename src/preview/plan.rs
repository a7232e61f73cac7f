//! What to do next: a pure function of what should be and what was seen.
//!
//! A step is planned only when everything that it stands on was *seen* in place. Refuses to act
//! on [`Seen::Unknown`] or on what stands on it, and refuses to remove anything that the forge has
//! not confirmed where the reason is the forge's.

use super::desired::{Desired, Reason, Spec};
use super::notice::{Notice, Told};
use super::observed::{Confirmation, Health, Observed, Seen};
use super::step::Step;

/// What one pass will do, and how things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Steps in order. Those after a failed one are not tried in this pass.
    pub steps: Vec<Step>,
    /// How things stand before the steps.
    pub outlook: Outlook,
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// The goal was seen to hold. Nothing to do until something changes.
    Settled,
    /// There are steps to do; look again at once.
    Acting,
    /// Nothing to do but wait for the world; the text says for what.
    Waiting(String),
    /// Somebody else's thing is in the way; a person must decide.
    Blocked(String),
}

/// Plans one pass.
pub fn plan(desired: &Desired, seen: &Observed, head: &super::CommitSha) -> Plan {
    match desired {
        Desired::Up(spec) => up(spec, seen),
        Desired::Down(reason) => down(*reason, seen, head),
    }
}

fn up(spec: &Spec, seen: &Observed) -> Plan {
    if let Some(conflict) = conflict(seen) {
        let notice = Notice::Blocked { conflict: conflict.clone() };
        return finish(say(seen, notice), Outlook::Blocked(conflict));
    }
    let mut steps = Vec::new();
    let mut waits = Vec::new();
    let want = &spec.revision;

    let namespace = match &seen.namespace {
        Seen::Present(()) => true,
        Seen::Absent => {
            steps.push(Step::EnsureNamespace);
            false
        }
        other => wait(&mut waits, "namespace", other),
    };
    let ensure_database = || Step::EnsureDatabase { generation: spec.data_generation };
    let database = match (&seen.database, &seen.role) {
        (Seen::Present(db), _) if db.generation != spec.data_generation => {
            steps.push(Step::RemoveDatabase);
            false
        }
        // A drop that was interrupted can only be dropped again.
        (Seen::Leaving(_), _) => {
            steps.push(Step::RemoveDatabase);
            false
        }
        (Seen::Present(db), Seen::Present(())) if db.ready => true,
        (Seen::Unknown(_), _) => wait(&mut waits, "database", &seen.database),
        (_, Seen::Unknown(_) | Seen::Leaving(_)) => wait(&mut waits, "role", &seen.role),
        _ => {
            steps.push(ensure_database());
            false
        }
    };
    let ready = match &seen.workload {
        Seen::Present(workload) if workload.revision == *want => match &workload.health {
            Health::Ready => namespace && database,
            Health::Progressing(why) => {
                waits.push(format!("workload: {why}"));
                false
            }
            Health::Dead(_) => {
                if namespace && database {
                    steps.push(Step::EnsureWorkload(want.clone()));
                }
                false
            }
        },
        Seen::Absent | Seen::Present(_) => {
            if namespace && database {
                steps.push(Step::EnsureWorkload(want.clone()));
            }
            false
        }
        other => wait(&mut waits, "workload", other),
    };
    let routed = match &seen.route {
        Seen::Present(route) if route.revision == *want => ready,
        Seen::Absent | Seen::Present(_) => {
            if ready {
                steps.push(Step::EnsureRoute(want.clone()));
            }
            false
        }
        other => wait(&mut waits, "route", other),
    };
    let named = match &seen.record {
        Seen::Present(()) => routed,
        Seen::Absent => {
            if routed {
                steps.push(Step::EnsureRecord);
            }
            false
        }
        other => wait(&mut waits, "DNS record", other),
    };
    if named {
        if let Confirmation::Unconfirmed(why) = &seen.pull {
            waits.push(format!("pull request: {why}"));
            return finish(steps, Outlook::Waiting(waits.join("; ")));
        }
        let notice = Notice::Ready {
            revision: want.clone(),
            expires_at: spec.expires_at,
            expiring: spec.expiring,
        };
        return finish(say(seen, notice), Outlook::Settled);
    }
    // One word at the start of a life; a push is told when it is served, to spare the forge.
    if !matches!(&seen.told, Told::Said(Notice::Preparing { .. } | Notice::Ready { .. })) {
        steps.push(Step::Publish(Notice::Preparing { commit: want.commit.clone() }));
    }
    finish(steps, Outlook::Waiting(waits.join("; ")))
}

fn down(reason: Reason, seen: &Observed, head: &super::CommitSha) -> Plan {
    if let (true, Confirmation::Unconfirmed(why)) = (reason.needs_confirmation(), &seen.pull) {
        return finish(Vec::new(), Outlook::Waiting(format!("pull request: {why}")));
    }
    let mut steps = Vec::new();
    let mut waits = Vec::new();
    // Each stage stands on the one before: it may go when that one is not ours any more.
    let record = gone(&seen.record);
    let route = gone(&seen.route);
    let namespace = gone(&seen.namespace);
    let database = gone(&seen.database.without_detail());
    let role = gone(&seen.role);
    remove(&seen.record, true, Step::RemoveRecord, &mut steps);
    remove(&seen.route, record, Step::RemoveRoute, &mut steps);
    remove(&seen.namespace, record && route, Step::RemoveNamespace, &mut steps);
    // A namespace that hangs in its finalizers does not keep the data: dropping ends the sessions.
    let leaving = namespace || matches!(seen.namespace, Seen::Leaving(_));
    remove(&seen.database, record && route && leaving, Step::RemoveDatabase, &mut steps);
    remove(&seen.role, database && leaving, Step::RemoveRole, &mut steps);
    for (part, state) in [
        ("DNS record", &seen.record),
        ("route", &seen.route.without_detail()),
        ("namespace", &seen.namespace),
        ("database", &seen.database.without_detail()),
        ("role", &seen.role),
    ] {
        if let Seen::Unknown(why) | Seen::Leaving(why) = state {
            waits.push(format!("{part}: {why}"));
        }
    }
    let nothing_left = record && route && namespace && database && role;
    if !nothing_left {
        let silent = matches!(
            &seen.told,
            Told::Never | Told::Said(Notice::Stopping { .. } | Notice::Gone { .. })
        );
        if !silent && says_goodbye(reason) {
            steps.push(Step::Publish(Notice::Stopping { reason }));
        }
        return finish(steps, Outlook::Waiting(waits.join("; ")));
    }
    if reason == Reason::AwaitingApproval {
        let notice = Notice::AwaitingApproval { commit: head.clone() };
        return finish(say(seen, notice), Outlook::Settled);
    }
    if seen.told == Told::Never {
        return finish(steps, Outlook::Settled);
    }
    match &seen.deployment {
        Seen::Unknown(why) => {
            finish(steps, Outlook::Waiting(format!("deployment on the forge: {why}")))
        }
        Seen::Present(()) | Seen::Leaving(_) => {
            finish(vec![Step::Publish(Notice::Gone { reason })], Outlook::Acting)
        }
        Seen::Absent | Seen::Foreign(_) => {
            finish(say(seen, Notice::Gone { reason }), Outlook::Settled)
        }
    }
}

/// A fork that lost its approval is told so once, by the notice that asks for the next one.
fn says_goodbye(reason: Reason) -> bool {
    reason != Reason::AwaitingApproval
}

/// Nothing of ours is there: positively absent, or somebody else's.
fn gone<T>(seen: &Seen<T>) -> bool {
    matches!(seen, Seen::Absent | Seen::Foreign(_))
}

fn remove<T>(seen: &Seen<T>, allowed: bool, step: Step, steps: &mut Vec<Step>) {
    if allowed && matches!(seen, Seen::Present(_) | Seen::Leaving(_)) {
        steps.push(step);
    }
}

fn say(seen: &Observed, notice: Notice) -> Vec<Step> {
    match &seen.told {
        Told::Said(said) if *said == notice => Vec::new(),
        _ => vec![Step::Publish(notice)],
    }
}

fn wait<T>(waits: &mut Vec<String>, part: &str, seen: &Seen<T>) -> bool {
    if let Seen::Unknown(why) | Seen::Leaving(why) = seen {
        waits.push(format!("{part}: {why}"));
    }
    false
}

fn finish(steps: Vec<Step>, outlook: Outlook) -> Plan {
    let outlook = match outlook {
        Outlook::Blocked(conflict) => Outlook::Blocked(conflict),
        _ if !steps.is_empty() => Outlook::Acting,
        outlook => outlook,
    };
    Plan { steps, outlook }
}

/// The first part whose name somebody else holds.
fn conflict(seen: &Observed) -> Option<String> {
    let parts = [
        ("namespace", seen.namespace.clone()),
        ("database", seen.database.without_detail()),
        ("role", seen.role.clone()),
        ("route", seen.route.without_detail()),
        ("DNS record", seen.record.clone()),
    ];
    parts.into_iter().find_map(|(part, seen)| match seen {
        Seen::Foreign(whose) => Some(format!("{part}: {whose}")),
        _ => None,
    })
}
