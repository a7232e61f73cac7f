//! What to do next: a pure function of what should be and what was seen.
//!
//! A step is planned only when everything that it stands on was *seen* in place. Refuses to act
//! on [`Seen::Unknown`] or on what stands on it, and refuses to remove anything that the forge has
//! not confirmed where the reason is the forge's.

use super::desired::{Desired, Reason, Spec};
use super::facts::CommitSha;
use super::notice::{Notice, Told};
use super::observed::{Confirmation, Health, Observed, Resolution, Seen, Standing};
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
pub fn plan(desired: &Desired, seen: &Observed, head: &CommitSha) -> Plan {
    match desired {
        Desired::Up(spec) => up(spec, seen),
        Desired::Down(reason) => down(*reason, seen, head),
    }
}

/// A plan in the making.
#[derive(Default)]
struct Draft {
    steps: Vec<Step>,
    waits: Vec<String>,
    /// Whether a step is more than asking once more for a removal that is on its way.
    acts: bool,
}

impl Draft {
    fn act(&mut self, step: Step) {
        self.steps.push(step);
        self.acts = true;
    }

    /// Notes what is waited for; `false`, since it is not there.
    fn wait<T>(&mut self, part: &str, seen: &Seen<T>) -> bool {
        if let Seen::Unknown(why) | Seen::Leaving(why) = seen {
            self.waits.push(format!("{part}: {why}"));
        }
        false
    }

    /// Removes what is there. What is leaving is asked to leave again, since nobody else may be
    /// seeing to it, but that is no news to act upon.
    fn remove<T>(&mut self, part: &str, seen: &Seen<T>, allowed: bool, step: Step) {
        match seen {
            Seen::Present(_) if allowed => self.act(step),
            Seen::Leaving(_) if allowed => self.steps.push(step),
            _ => {}
        }
        self.wait(part, seen);
    }

    fn say(&mut self, seen: &Observed, notice: Notice) {
        if seen.told != Told::Said(notice.clone()) {
            self.act(Step::Publish(notice));
        }
    }

    fn finish(self, settled: bool) -> Plan {
        let outlook = match (self.acts, settled) {
            (true, _) => Outlook::Acting,
            (false, true) => Outlook::Settled,
            (false, false) => Outlook::Waiting(self.waits.join("; ")),
        };
        Plan { steps: self.steps, outlook }
    }
}

fn up(spec: &Spec, seen: &Observed) -> Plan {
    let mut draft = Draft::default();
    if let Some(conflict) = seen.conflict() {
        draft.say(seen, Notice::Blocked { conflict: conflict.clone() });
        return Plan { steps: draft.steps, outlook: Outlook::Blocked(conflict) };
    }
    let want = &spec.revision;
    let namespace = match &seen.namespace {
        Seen::Present(namespace) if namespace.fenced => true,
        Seen::Absent | Seen::Present(_) => ensure(&mut draft, true, Step::EnsureNamespace),
        other => {
            draft.remove("namespace", other, true, Step::RemoveNamespace);
            false
        }
    };
    let database = up_database(spec, seen, &mut draft);
    let stands = namespace && database;
    let mut failing = None;
    let ready = match &seen.workload {
        Seen::Present(workload) if workload.revision == *want => match &workload.health {
            Health::Ready => stands,
            Health::Progressing(why) => {
                draft.waits.push(format!("workload: {why}"));
                false
            }
            Health::Failing { why, .. } => {
                draft.waits.push(format!("workload: {why}"));
                failing = Some(why);
                false
            }
            Health::Dead(_) => ensure(&mut draft, stands, Step::EnsureWorkload(want.clone())),
        },
        Seen::Absent | Seen::Present(_) => {
            ensure(&mut draft, stands, Step::EnsureWorkload(want.clone()))
        }
        other => draft.wait("workload", other),
    };
    let mut served = true;
    let routed = match &seen.route {
        Seen::Present(route) if route.revision.as_ref() == Some(want) => match &route.standing {
            Standing::Served => ready,
            // It leads here all the same: whoever issues its certificate may first ask for the name
            // (RFC 8555, section 8).
            Standing::Awaited(why) => {
                draft.waits.push(format!("route: {why}"));
                served = false;
                ready
            }
            Standing::Refused(why) => {
                draft.waits.push(format!("route: {why}"));
                failing = failing.or(Some(why));
                false
            }
        },
        Seen::Absent | Seen::Present(_) => {
            ensure(&mut draft, ready, Step::EnsureRoute(want.clone()))
        }
        other => draft.wait("route", other),
    };
    let named = match (&seen.record, &seen.resolution) {
        (Seen::Present(()) | Seen::Absent, Resolution::Right) => routed,
        (Seen::Present(()), Resolution::NotYet(why)) => {
            draft.waits.push(format!("DNS: {why}"));
            false
        }
        (Seen::Present(()) | Seen::Absent, _) => ensure(&mut draft, routed, Step::EnsureRecord),
        (other, _) => draft.wait("DNS record", other),
    };
    if !(named && served) {
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
            expires_at: spec.expires_at,
            expiring: spec.expiring,
        },
    );
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

/// Plans a step whose ground was seen in place; `false`, since its outcome was not.
fn ensure(draft: &mut Draft, stands: bool, step: Step) -> bool {
    if stands {
        draft.act(step);
    }
    false
}

fn up_database(spec: &Spec, seen: &Observed, draft: &mut Draft) -> bool {
    match (&seen.database, &seen.role) {
        (Seen::Present(db), _) if db.generation.is_some_and(|g| g != spec.data_generation) => {
            draft.act(Step::RemoveDatabase);
            false
        }
        (Seen::Present(db), Seen::Present(())) if db.ready => true,
        // A drop that was interrupted can only be dropped again.
        (Seen::Leaving(_), _) => {
            draft.remove("database", &seen.database, true, Step::RemoveDatabase);
            false
        }
        (Seen::Unknown(_), _) => draft.wait("database", &seen.database),
        (_, Seen::Unknown(_) | Seen::Leaving(_)) => draft.wait("role", &seen.role),
        _ => {
            draft.act(Step::EnsureDatabase { generation: spec.data_generation });
            false
        }
    }
}

fn down(reason: Reason, seen: &Observed, head: &CommitSha) -> Plan {
    let mut draft = Draft::default();
    if let (true, Confirmation::Unconfirmed(why)) = (reason.needs_confirmation(), &seen.pull) {
        draft.waits.push(format!("pull request: {why}"));
        return draft.finish(false);
    }
    // Each stage stands on the one before: it may go when that one is not ours any more.
    let record = seen.record.is_gone();
    let unreachable = record && seen.route.is_gone();
    let namespace = seen.namespace.is_gone();
    // A namespace that hangs in its finalizers does not keep the data: dropping ends the sessions.
    let emptied = unreachable && (namespace || matches!(seen.namespace, Seen::Leaving(_)));
    let database = seen.database.is_gone();
    draft.remove("DNS record", &seen.record, true, Step::RemoveRecord);
    draft.remove("route", &seen.route, record, Step::RemoveRoute);
    draft.remove("namespace", &seen.namespace, unreachable, Step::RemoveNamespace);
    draft.remove("database", &seen.database, emptied, Step::RemoveDatabase);
    draft.remove("role", &seen.role, emptied && database, Step::RemoveRole);
    if !(unreachable && namespace && database && seen.role.is_gone()) {
        let silent = matches!(
            &seen.told,
            Told::Never | Told::Said(Notice::Stopping { .. } | Notice::Gone { .. })
        );
        // A fork that lost its approval is told once, by the notice that asks for the next one.
        if !silent && reason != Reason::AwaitingApproval {
            draft.act(Step::Publish(Notice::Stopping { reason }));
        }
        return draft.finish(false);
    }
    match &seen.deployment {
        Seen::Unknown(why) => {
            draft.waits.push(format!("deployment on the forge: {why}"));
            draft.finish(false)
        }
        Seen::Present(()) | Seen::Leaving(_) => {
            // Stopping ends every deployment. Said again until they are seen to have ended, at a
            // waiting pace, since the forge may take its time to show it.
            draft.steps.push(Step::Publish(Notice::Stopping { reason }));
            draft.waits.push("the forge to show the deployment as ended".to_owned());
            draft.finish(false)
        }
        Seen::Absent | Seen::Foreign(_) => {
            match reason {
                Reason::AwaitingApproval => {
                    draft.say(seen, Notice::AwaitingApproval { commit: head.clone() });
                }
                // Nobody asked for a preview, and none was announced: no word about it.
                _ if seen.told == Told::Never => {}
                _ => draft.say(seen, Notice::Gone { reason }),
            }
            draft.finish(true)
        }
    }
}
