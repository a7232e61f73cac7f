//! Pushes that come while the commit before is still on its way: whichever step that is at, the older
//! one is never Ready after the newer one.

use std::time::Duration;

use mayfly::demo::github::PullSpec;

use super::images;
use super::install::docs_image;
use super::stage::{DOCS, Stage};
use super::story::{close_pull, commit};

const NUMBER: u32 = 20;
const PREVIEW: &str = "docs-pr-20";
const PUSHES: u32 = 12;

/// How long after a push its image is there, and how long after that the next push comes: from
/// "never waited" to "was served already".
const RHYTHM: [(u64, u64); 6] = [(0, 0), (0, 700), (900, 0), (300, 1500), (0, 2500), (1500, 300)];

/// A push each few moments, at whatever the commit before is.
pub async fn hold(stage: &Stage, image: &str) {
    let github = &stage.servers.github;
    let moment = |milliseconds| tokio::time::sleep(Duration::from_millis(milliseconds));
    let built = async |push| {
        images::tag(&stage.cluster, image, &docs_image(&stage.cluster, &commit(NUMBER, push)))
            .await;
    };
    github.open_pull(DOCS, NUMBER, PullSpec::new("Hasty", &commit(NUMBER, 1)));
    assert_eq!(stage.deliver(DOCS, NUMBER, "opened").await, 202);
    for push in 1..=PUSHES {
        if push > 1 {
            github.push(DOCS, NUMBER, &commit(NUMBER, push));
            assert_eq!(stage.deliver(DOCS, NUMBER, "synchronize").await, 202);
        }
        let (image_after, next_after) = RHYTHM[push as usize % RHYTHM.len()];
        moment(image_after).await;
        built(push).await;
        moment(next_after).await;
    }
    stage.until_ready(PREVIEW, &commit(NUMBER, PUSHES)).await;

    let of_it = |deployment: &mayfly::demo::github::Deployment| {
        (1..=PUSHES).find(|push| deployment.sha == commit(NUMBER, *push))
    };
    let mut ready: Vec<(u64, u32)> = Vec::new();
    for deployment in github.deployments(DOCS) {
        let Some(push) = of_it(&deployment) else { continue };
        let successes = deployment.statuses.iter().filter(|status| status.state == "success");
        ready.extend(successes.map(|status| (status.id, push)));
    }
    ready.sort_unstable();
    let told: Vec<_> = ready.into_iter().map(|(_, push)| push).collect();
    assert!(told.is_sorted(), "an older commit was Ready after a newer one: {told:?}");
    assert_eq!(told.last(), Some(&PUSHES));
    close_pull(stage, DOCS, NUMBER, PREVIEW).await;
}
