//! The image of the wanted commit: remembered, or asked of its registry once and then remembered.
//!
//! Refuses to run what a tag names today: what is applied is what was pinned when the commit was first
//! found, whatever happens to the tag.

use chrono::{DateTime, Utc};

use super::Reconciler;
use crate::config::duration::human;
use crate::image::Found;
use crate::ledger::{Lease, LeaseLost, LedgerError};
use crate::preview::observed::ImageSeen;
use crate::preview::{CommitSha, ComponentName, Desired, Memory, Part, PullNumber, Status};
use crate::repository::Repository;
use crate::workload::{Image, ImageTemplate, TagTemplate};

/// How the images stand, and each that is known and not the same for every commit: a component's, or
/// the preview's own service's.
pub(super) type Pinned = (ImageSeen, Vec<(Option<ComponentName>, Image)>);

/// Whether images have to be asked for, and so depend on which commit is the head.
pub(super) fn is_by_commit(repository: &Repository) -> bool {
    !repository.shape.tagged().is_empty()
}

/// Finds the images of the wanted commit.
pub(super) async fn pinned(
    this: &Reconciler,
    lease: &Lease,
    repository: &Repository,
    memory: &Memory,
    now: DateTime<Utc>,
) -> Result<Result<Pinned, LeaseLost>, LedgerError> {
    let mut all = (ImageSeen::Known, Vec::new());
    let Desired::Up(spec) = memory.desired(&repository.policy, now) else { return Ok(Ok(all)) };
    let commit = &spec.revision.commit;
    for (component, template) in repository.shape.tagged() {
        let number = memory.facts.key.number;
        let wanted = Wanted { component, template, commit, number };
        match one(this, lease, wanted, now).await? {
            Ok(Ok(image)) => all.1.push((component.cloned(), image)),
            Ok(Err(seen)) => all.0 = worse(all.0, of_component(component, seen)),
            Err(lost) => return Ok(Err(lost)),
        }
    }
    Ok(Ok(all))
}

/// One image that is wanted.
struct Wanted<'a> {
    component: Option<&'a ComponentName>,
    template: &'a TagTemplate,
    commit: &'a CommitSha,
    number: PullNumber,
}

/// Finds one, or says how it stands.
async fn one(
    this: &Reconciler,
    lease: &Lease,
    Wanted { component, template, commit, number }: Wanted<'_>,
    now: DateTime<Utc>,
) -> Result<Result<Result<Image, ImageSeen>, LeaseLost>, LedgerError> {
    let remembered = this.ledger.image_of(lease.preview.id, commit, component).await?;
    let (seen_at, image) = remembered.unwrap_or((now, None));
    // Since when it is wanted and not there: a push may have waited for an approval, and the condition
    // may be about the commit before.
    let awaited = lease.preview.conditions.iter().find(|it| it.part == Part::Image);
    let awaited = awaited.filter(|it| it.status == Status::False).map_or(now, |it| it.since);
    let awaited = awaited.max(seen_at);
    // What the configuration does not name any more may not run any more.
    let image = image.as_deref().and_then(|text| Image::parse(text).ok());
    let configured = ImageTemplate::Tagged(template.clone());
    if let Some(image) = image.filter(|image| image.name() == configured.name()) {
        return Ok(Ok(Ok(image)));
    }
    let tag = template.render(commit, number);
    let seen = match this.seams.images.resolve(&tag).await {
        Found::Digest(image) => {
            let text = image.to_string();
            let pinned = this.ledger.pin(lease, commit, component, &text, now).await?;
            let Ok(text) = pinned else { return Ok(Err(LeaseLost)) };
            tracing::info!(image = text, commit = commit.short(), "pinned");
            return Ok(Ok(Ok(Image::parse(&text).unwrap_or(image))));
        }
        Found::Refused(why) => ImageSeen::Refused(why),
        Found::NotYet(why) if now - awaited >= this.limits.image_patience => {
            let patience = human(this.limits.image_patience);
            ImageSeen::Refused(format!(
                "{why}, and did not within {patience}: see the build, or push again"
            ))
        }
        Found::NotYet(why) | Found::Unknown(why) => ImageSeen::Awaited(why),
    };
    Ok(Ok(Err(seen)))
}

fn of_component(component: Option<&ComponentName>, seen: ImageSeen) -> ImageSeen {
    let say = |why: String| component.map_or(why.clone(), |name| format!("{name}: {why}"));
    match seen {
        ImageSeen::Known => ImageSeen::Known,
        ImageSeen::Awaited(why) => ImageSeen::Awaited(say(why)),
        ImageSeen::Refused(why) => ImageSeen::Refused(say(why)),
    }
}

/// What a person has to mend comes before what may come by itself, and the first before the next.
fn worse(one: ImageSeen, other: ImageSeen) -> ImageSeen {
    match (&one, &other) {
        (ImageSeen::Known, _) | (ImageSeen::Awaited(_), ImageSeen::Refused(_)) => other,
        _ => one,
    }
}
