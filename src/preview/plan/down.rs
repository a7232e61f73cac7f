//! What to do next for a preview that should be gone: the way back, each stage when the one before it
//! was seen to be gone.
//!
//! Refuses to remove anything that the forge has not confirmed where the reason is the forge's.

use super::super::desired::Reason;
use super::super::facts::CommitSha;
use super::super::notice::{Notice, Told};
use super::super::observed::{Confirmation, Observed, Seen};
use super::super::step::Step;
use super::{Draft, Plan};

pub(super) fn down(reason: Reason, seen: &Observed, head: &CommitSha) -> Plan {
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
