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
use crate::preview::{Desired, Memory, Part, Status};
use crate::repository::Repository;
use crate::workload::{Image, ImageTemplate};

/// How the image stands, and the image where it is known and not the same for every commit.
pub(super) type Pinned = (ImageSeen, Option<Image>);

/// Whether the image has to be asked for, and so depends on which commit is the head.
pub(super) fn is_by_commit(repository: &Repository) -> bool {
    matches!(repository.shape.image, Some(ImageTemplate::Tagged(_)))
}

/// Finds the image of the wanted commit.
pub(super) async fn pinned(
    this: &Reconciler,
    lease: &Lease,
    repository: &Repository,
    memory: &Memory,
    now: DateTime<Utc>,
) -> Result<Result<Pinned, LeaseLost>, LedgerError> {
    let desired = memory.desired(&repository.policy, now);
    let (Some(ImageTemplate::Tagged(template)), Desired::Up(spec)) =
        (&repository.shape.image, desired)
    else {
        return Ok(Ok((ImageSeen::Known, None)));
    };
    let commit = &spec.revision.commit;
    let remembered = this.ledger.image_of(lease.preview.id, commit).await?;
    let (seen_at, image) = remembered.unwrap_or((now, None));
    // Since when it is wanted and not there: a push may have waited for an approval, and the condition
    // may be about the commit before.
    let awaited = lease.preview.conditions.iter().find(|it| it.part == Part::Image);
    let awaited = awaited.filter(|it| it.status == Status::False).map_or(now, |it| it.since);
    let awaited = awaited.max(seen_at);
    // What the configuration does not name any more may not run any more.
    let configured = repository.shape.image.as_ref().map(ImageTemplate::name);
    let image = image.as_deref().and_then(|text| Image::parse(text).ok());
    if let Some(image) = image.filter(|image| Some(image.name()) == configured) {
        return Ok(Ok((ImageSeen::Known, Some(image))));
    }
    let tag = template.render(commit, memory.facts.key.number);
    let seen = match this.seams.images.resolve(&tag).await {
        Found::Digest(image) => {
            let text = image.to_string();
            let Ok(text) = this.ledger.pin(lease, commit, &text, now).await? else {
                return Ok(Err(LeaseLost));
            };
            tracing::info!(image = text, commit = commit.short(), "pinned");
            let image = Image::parse(&text).unwrap_or(image);
            return Ok(Ok((ImageSeen::Known, Some(image))));
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
    Ok(Ok((seen, None)))
}
