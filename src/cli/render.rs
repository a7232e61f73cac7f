//! `mayfly render`: what would be applied for a pull request, and how that differs from what was.
//!
//! Reads, and changes nothing anywhere. Refuses to show a secret: of each there is the beginning of
//! its SHA-256.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use similar::TextDiff;

use super::{ConfigArg, ledger, wrong};
use crate::clock::{Clock, ServerClock};
use crate::cluster::kubernetes::KubernetesCluster;
use crate::config::{ClusterConfig, Config};
use crate::forge::github::GitHub;
use crate::forge::{Forge, RepositoryRef};
use crate::image::oci::OciImages;
use crate::image::{self, Found, Images};
use crate::preview::{Memory, PullNumber};
use crate::reconcile::Wanted;
use crate::repository::Repository;
use crate::workload::{DatabaseUrls, Image, ImageTag, Object, print};

#[derive(Args)]
pub(super) struct RenderArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The repository, as the configuration calls it: acme/shop.
    #[arg(long)]
    repo: String,
    /// The number of the pull request.
    #[arg(long)]
    pr: i64,
    /// Show how it differs from what was last applied in the cluster.
    #[arg(long)]
    diff: bool,
}

/// Stands for the URL of the database, which is nobody's to read here.
const NO_URL: &str = "postgres://not.read.by/render";

pub(super) async fn run(args: RenderArgs) -> anyhow::Result<()> {
    let config = Config::load(&args.config.config)?;
    let ClusterConfig::Kubernetes(place) = &config.cluster else {
        let why = "is local: it runs workload.command, and there is nothing to render";
        return Err(wrong("cluster", why).into());
    };
    let named = RepositoryRef::parse(&args.repo).map(|it| it.full_name());
    let named = named.context("--repo: has to be owner/name")?;
    let same = |it: &&Repository| it.reference.full_name().eq_ignore_ascii_case(&named);
    let Some(repository) = config.repositories.iter().find(same).cloned() else {
        bail!("--repo: {named} is not in the configuration");
    };
    let number = PullNumber::new(args.pr).context("--pr: has to be a number from 1")?;
    let clock = Arc::new(ServerClock::default());
    let github = GitHub::new(config.github.clone())?;
    let facts = github.pull(&repository.reference, number).await?;
    let name = repository.preview_name(number);

    // What the controller remembers: which image the commit was pinned to, what people asked for.
    let ledger = ledger(&config).await?;
    let preview = ledger.preview_of(facts.key).await?;
    let mut memory = match &preview {
        Some(preview) => preview.memory.clone(),
        None => Memory::begin(facts.clone(), clock.now()),
    };
    memory.facts = facts;
    let revision = memory.revision(&repository.policy);
    let choice = memory.choice(&repository.policy);
    let repository = repository.chosen(&choice);
    let limits = image::oci::Limits::default();
    let registries = OciImages::new(config.registries.clone(), limits, clock.clone())?;
    let mut images = Vec::new();
    for (component, template) in repository.shape.tagged() {
        let commit = &revision.commit;
        let remembered = match &preview {
            Some(preview) => {
                ledger.image_of(preview.id, commit, component).await?.and_then(|it| it.1)
            }
            None => None,
        };
        let image = match remembered {
            Some(text) => Image::parse(&text)?,
            None => asked(&registries, &template.render(commit, number)).await?,
        };
        images.push((component.cloned(), image));
    }
    ledger.close().await;
    let repository = repository.with_images(images);
    let cluster = KubernetesCluster::connect((**place).clone(), clock).await?;
    let databases = repository.shape.databases();
    let components = databases.into_iter().map(|it| (it, NO_URL.to_owned())).collect();
    let databases = DatabaseUrls { own: NO_URL.to_owned(), components };
    let wanted = Wanted {
        repository: &repository,
        name: &name,
        number,
        revision: &revision,
        databases: &databases,
    };
    let order = config.renderer.order(wanted, &config.site, (&github, &cluster)).await?;
    let objects = cluster.would_apply(&name, &order).await;
    let text = if args.diff {
        difference(&cluster.applied(&name).await?, &objects)
    } else {
        print(&objects)
    };
    // A reader that has seen enough is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

/// The image that a tag names, asked of its registry.
async fn asked(images: &dyn Images, tag: &ImageTag) -> anyhow::Result<Image> {
    match images.resolve(tag).await {
        Found::Digest(image) => Ok(image),
        Found::NotYet(why) | Found::Refused(why) | Found::Unknown(why) => bail!("image: {why}"),
    }
}

/// What would change; Secrets are not compared, since none is read.
fn difference(applied: &[Object], wanted: &[Object]) -> String {
    let comparable: Vec<_> = wanted
        .iter()
        .filter(|object| KubernetesCluster::is_noted(&object.reference()))
        .map(|object| Object::new(object.value().clone(), None))
        .collect();
    let (before, after) = (print(applied), print(&comparable));
    TextDiff::from_lines(&before, &after)
        .unified_diff()
        .context_radius(3)
        .header("applied", "wanted")
        .to_string()
}
