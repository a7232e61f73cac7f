//! Watches that poke: an object of ours changed, so a look at its preview is due.
//!
//! Refuses to remember anything but names: what was seen by a watch decides nothing.

use std::time::Duration;

use futures_util::StreamExt;
use kube::api::{Api, ObjectMeta, PartialObjectMeta};
use kube::core::DynamicObject;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use tokio::sync::mpsc::Sender;
use tokio_util::sync::CancellationToken;

use super::calls::Calls;
use super::config::KubernetesConfig;
use super::kinds::Kind;
use super::marks::{PREVIEW, of_instance};
use super::route;
use crate::preview::PreviewName;

/// How often a watch that does not work is spoken of, at most.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Watches namespaces, Deployments, Jobs and routes of this installation, their metadata only.
pub(super) fn start(
    calls: &Calls,
    config: &KubernetesConfig,
    changes: &Sender<PreviewName>,
    stop: &CancellationToken,
) {
    for kind in [Kind::Namespace, Kind::Deployment, Kind::Job, route::kind(config)] {
        let api = Api::all_with(calls.client(), &kind.resource());
        let labels = of_instance(&config.instance);
        let (changes, stop) = (changes.clone(), stop.clone());
        tokio::spawn(async move {
            stop.run_until_cancelled(follow(kind, api, labels, changes)).await;
        });
    }
}

async fn follow(
    kind: Kind,
    api: Api<PartialObjectMeta<DynamicObject>>,
    labels: String,
    changes: Sender<PreviewName>,
) {
    let events = watcher(api, Config::default().labels(&labels)).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut complained: Option<tokio::time::Instant> = None;
    while let Some(event) = events.next().await {
        match event {
            // What is there at the start is looked at by the first look.
            Ok(Event::Apply(object) | Event::Delete(object)) => {
                if let Some(name) = preview_of(&object.metadata) {
                    // A full queue is fine: the loop looks at everything from time to time.
                    let _ = changes.try_send(name);
                }
            }
            Ok(Event::Init | Event::InitApply(_) | Event::InitDone) => {}
            Err(error) if complained.is_none_or(|at| at.elapsed() > COMPLAIN_EVERY) => {
                complained = Some(tokio::time::Instant::now());
                tracing::warn!(?kind, %error, "a watch failed; it is tried again");
            }
            Err(_) => {}
        }
    }
}

fn preview_of(metadata: &ObjectMeta) -> Option<PreviewName> {
    PreviewName::parse(metadata.labels.as_ref()?.get(PREVIEW)?)
}
