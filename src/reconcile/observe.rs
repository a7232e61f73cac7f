//! One look at the world, all backends at once.
//!
//! Changes nothing out there. A look that fails is `Unknown`; it never ends the pass, so that one backend
//! that is down does not hide the others.

use chrono::{DateTime, Utc};

use super::Reconciler;
use super::hosts::{self, Resolved};
use super::image::{is_by_commit, pinned};
use super::rehearsal::remembered;
use crate::cluster::ClusterSeen;
use crate::fault::Disposition;
use crate::ledger::{FIRST_EPOCH, Kind, Lease, LeaseLost, LedgerError, Preview};
use crate::preview::observed::{Confirmation, ImageSeen, Resolution, RouteSeen, Served, Standing};
use crate::preview::parity::Versions;
use crate::preview::phase::Phase;
use crate::preview::{
    Desired, Memory, Observed, Parity, Part, Policy, Revision, Seen, Status, Told, together,
};
use crate::repository::Repository;

/// What one look came to.
pub(super) struct Look {
    pub(super) seen: Observed,
    /// Why the pull request could not be read, if so.
    pub(super) unread: Option<(Disposition, String)>,
    /// The repository as it is for this preview: with what its labels choose, and the image of the
    /// wanted commit where that is known.
    pub(super) repository: Repository,
    /// What was written down to be made, beside looking.
    pub(super) intended: &'static [Kind],
}

/// Asks every backend, and re-reads the pull request into `memory` where hearsay is not enough.
pub(super) async fn look(
    this: &Reconciler,
    lease: &Lease,
    memory: &mut Memory,
    repository: &Repository,
    now: DateTime<Utc>,
) -> Result<Result<Look, LeaseLost>, LedgerError> {
    let preview = &lease.preview;
    let (name, policy) = (&preview.name, &repository.policy);
    // Which image is wanted depends on the head, and what runs may depend on the labels; everything
    // else is asked at once.
    let mut read = None;
    let mut pins = (ImageSeen::Known, Vec::new());
    if is_by_commit(repository) || !policy.choices.is_empty() {
        read = Some(confirm(this, preview, memory, policy, now).await);
        let chosen = repository.chosen(&memory.choice(policy));
        match pinned(this, lease, &chosen, memory, now).await? {
            Ok(found) => pins = found,
            Err(lost) => return Ok(Err(lost)),
        }
    }
    let (seen_image, images) = pins;
    let effective = repository.chosen(&memory.choice(policy)).with_images(images);
    let repository = &effective;
    let is_new = is_new(this, lease, &memory.desired(policy, now)).await?;
    let confirmed = async {
        match read {
            Some(read) => read,
            None => confirm(this, preview, memory, policy, now).await,
        }
    };
    let cluster = async {
        match is_new {
            true => ClusterSeen::nothing(),
            false => this.seams.cluster.observe(name, &repository.shape).await,
        }
    };
    // What has never been there is about to be made: that is written down while the forge answers.
    let intended: &[Kind] = if is_new { &Kind::ALL } else { &[] };
    let intending = async {
        match intended {
            [] => Ok(Ok(())),
            kinds => this.ledger.intend(lease, kinds, &this.site.suffix, now).await,
        }
    };
    let records = async {
        // The forge takes longest: its request goes out first.
        tokio::task::yield_now().await;
        hosts::records(this, hosts::known(preview, &repository.shape)).await
    };
    let (written, read, mut cluster, databases, records) = tokio::join!(
        intending,
        confirmed,
        cluster,
        this.seams.databases.observe(name, &preview.password),
        records,
    );
    if let Err(lost) = written? {
        return Ok(Err(lost));
    }
    let desired = memory.desired(policy, now);
    if is_new && matches!(desired, Desired::Down(_)) {
        cluster = this.seams.cluster.observe(name, &repository.shape).await;
    }
    let nothing_left = [
        cluster.namespace.is_gone(),
        cluster.route.is_gone(),
        databases.together(None).is_gone(),
        databases.role.is_gone(),
        together::records(&records, None).is_gone(),
    ];
    let migrations = remembered(this, preview, repository, &desired, cluster.migration).await?;
    let down = matches!(desired, Desired::Down(_));
    let want = match &desired {
        Desired::Up(spec) => Some(&spec.revision),
        Desired::Down(_) => None,
    };
    let routed = cluster.route.present().is_some_and(|route| route.revision.as_ref() == want);
    let hosts = hosts::wanted(name, &repository.shape);
    let record = together::records(&records, want.map(|_| &hosts[..]));
    // A resolver that is asked too early remembers "no such name" for reviewers too.
    let resolved = if want.is_some() && routed && !record.is_foreign() {
        hosts::resolve(this, hosts).await
    } else if record.present().is_some() {
        Resolved::unasked("asked for when the route leads to this commit")
    } else {
        Resolved::unasked("not there")
    };
    let served = served(this, preview, repository, want, &cluster.route, &resolved, now).await;
    // The forge's budget is small: it is asked for its deployments only where the answer counts,
    // for the receipt.
    let deployment = if preview.told == Told::Never {
        Seen::Absent
    } else if down && nothing_left.into_iter().all(|gone| gone) {
        this.seams.forge.observe(&preview.repository, name).await
    } else {
        Seen::Unknown("not asked".to_owned())
    };
    let parity = parity(this, repository).await;
    let components = repository.shape.databases();
    let mut database = databases.together(want.map(|_| &components[..]));
    let mut workload = cluster.workload;
    if let Seen::Present(database) = &mut database {
        database.stale_login |= memory.is_rotating();
        // What is on its way out may still use the login that is to be locked.
        if let (true, Seen::Present(workload), Some(want)) =
            (database.stale_login, &mut workload, want)
        {
            let alone = this.seams.cluster.is_alone(name, want).await;
            workload.others |= !alone.unwrap_or(false);
        }
    }
    let (pull, unread) = match read {
        Ok(()) => (Confirmation::Confirmed, None),
        Err((disposition, why)) => {
            (Confirmation::Unconfirmed(why.clone()), Some((disposition, why)))
        }
    };
    let seen = Observed {
        pull,
        image: seen_image,
        namespace: cluster.namespace,
        database,
        role: databases.role,
        migrations,
        workload,
        route: cluster.route,
        record,
        records,
        resolution: resolved.all,
        served,
        deployment,
        told: preview.told.clone(),
        parity,
    };
    Ok(Ok(Look { seen, unread, repository: effective, intended }))
}

/// Whether a preview that is to be there never was: the ledger knows of no intent, and the cluster need not
/// be asked. What is there of its name all the same, an ensure meets, and then the next look. On the way
/// down it is asked.
async fn is_new(this: &Reconciler, lease: &Lease, desired: &Desired) -> Result<bool, LedgerError> {
    let preview = &lease.preview;
    let may_be = preview.phase == Phase::Pending && matches!(desired, Desired::Up(_));
    // Intents are written under a lease: under the first one there are none.
    Ok(may_be && (lease.epoch == FIRST_EPOCH || this.ledger.intended_nothing(preview.id).await?))
}

/// Compares with production. What is not stated there is not asked for here.
async fn parity(this: &Reconciler, repository: &Repository) -> Parity {
    let unasked = || Seen::Unknown("not asked".to_owned());
    let production = &repository.production;
    let chart = repository.shape.chart.as_ref();
    production.compare(&Versions {
        postgres: this.seams.databases.major_version(),
        kubernetes: match production.kubernetes {
            Some(_) => this.seams.cluster.kubernetes().await,
            None => unasked(),
        },
        chart: match (&production.chart, chart) {
            (Some(_), Some(chart)) => chart.source.version().await,
            (Some(_), None) => Seen::Absent,
            (None, _) => unasked(),
        },
    })
}

/// Asks the URL, once everything that it leads through was seen in place.
async fn served(
    this: &Reconciler,
    preview: &Preview,
    repository: &Repository,
    want: Option<&Revision>,
    route: &Seen<RouteSeen>,
    resolved: &Resolved,
    now: DateTime<Utc>,
) -> Served {
    let leads = route
        .present()
        .is_some_and(|route| route.revision.as_ref() == want && route.standing == Standing::Served);
    let (Some(want), true, Resolution::Right { .. }) = (want, leads, &resolved.all) else {
        return Served::NotYet("asked when route and name lead to this commit".to_owned());
    };
    let Err(why) = resolved.serve(this, &repository.shape, &want.commit).await else {
        return Served::Right;
    };
    // Since when it is so: with all in place behind it, and not served.
    let before = |part, status| {
        let of_part = preview.conditions.iter().find(|condition| condition.part == part);
        of_part.filter(|condition| condition.status == status).map(|condition| condition.since)
    };
    let since = [
        before(Part::Route, Status::True),
        before(Part::Dns, Status::True),
        before(Part::Served, Status::False),
    ];
    let since: Option<Vec<_>> = since.into_iter().collect();
    let newest = since.and_then(|since| since.into_iter().max());
    match newest {
        Some(since) if now - since >= this.limits.serve_patience => Served::Wrong(why),
        _ => Served::NotYet(why),
    }
}

/// Reads the pull request, unless it was read since it last may have changed.
async fn confirm(
    this: &Reconciler,
    preview: &Preview,
    memory: &mut Memory,
    policy: &Policy,
    now: DateTime<Utc>,
) -> Result<(), (Disposition, String)> {
    if memory.is_confirmed(&memory.desired(policy, now), policy) {
        return Ok(());
    }
    let number = memory.facts.key.number;
    let facts = this.seams.forge.pull(&preview.repository, number).await;
    let facts = facts.map_err(|fault| (fault.disposition, fault.to_string()))?;
    if facts.key != memory.facts.key {
        let why = "the forge answered with another repository's pull request".to_owned();
        return Err((Disposition::Permanent, why));
    }
    memory.confirm(facts, now).map_err(|stale| (Disposition::Transient, stale.to_string()))
}
