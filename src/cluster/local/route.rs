//! The route of a preview's public hosts: one small file that the proxy reads.
//!
//! All its services are in the one file, so that they are led to together. Refuses to change or remove a file that does not carry our stamp.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{self, Layout};
use super::record::Run;
use crate::preview::{Host, PreviewName, Seen, Stamp};
use crate::workload::{Shape, WEB};

/// What a route file says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Route {
    /// Whose it is: [`Stamp::line`].
    pub(super) stamp: String,
    /// The public host.
    pub(super) host: String,
    /// Where it leads.
    #[serde(flatten)]
    pub(super) run: Run,
    /// What runs with that, by the component's name.
    #[serde(default)]
    pub(super) components: BTreeMap<String, Component>,
}

/// A component that runs with what the public host leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Component {
    #[serde(flatten)]
    pub(super) run: Run,
    /// Whether its own host leads to it.
    pub(super) is_public: bool,
}

impl Route {
    /// All that it leads to, and what runs with that.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        std::iter::once(&self.run).chain(self.components.values().map(|it| &it.run))
    }

    /// Whether it leads to, and goes with, what this shape has: no more, no less.
    pub(super) fn is_of(&self, shape: &Shape) -> bool {
        let services = shape.services();
        let wanted: BTreeMap<_, _> = services
            .iter()
            .filter_map(|it| Some((it.component.as_ref()?.as_str(), it.is_public)))
            .collect();
        self.components.iter().map(|(name, it)| (name.as_str(), it.is_public)).eq(wanted)
    }

    /// The run of a service.
    pub(super) fn run_of(&self, service: &str) -> Option<&Run> {
        match service {
            WEB => Some(&self.run),
            component => self.components.get(component).map(|it| &it.run),
        }
    }

    /// Goes with a service that was started again.
    pub(super) fn follow(&mut self, service: &str, run: &Run) {
        match self.components.get_mut(service) {
            Some(component) => component.run = run.clone(),
            None if service == WEB => self.run = run.clone(),
            None => {}
        }
    }

    /// Where one of the preview's hosts leads.
    pub(super) fn leads(&self, host: &Host) -> Option<&Run> {
        match &host.component {
            None => Some(&self.run),
            Some(name) => {
                self.components.get(name.as_str()).filter(|it| it.is_public).map(|it| &it.run)
            }
        }
    }
}

/// The file of a host, which is one that we minted.
pub(super) fn path(routes: &Path, host: &str) -> PathBuf {
    routes.join(format!("{host}.json"))
}

/// The route of a host; `None` when there is none.
pub(super) fn read(routes: &Path, host: &str) -> io::Result<Option<Route>> {
    let Some(text) = files::read(&path(routes, host))? else { return Ok(None) };
    let route: Route = serde_json::from_str(&text)?;
    if route.host != host {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is for another host"));
    }
    Ok(Some(route))
}

/// The route of a host if it is ours.
pub(super) fn look(routes: &Path, host: &str, stamp: &Stamp) -> Seen<Route> {
    match read(routes, host) {
        Ok(None) => Seen::Absent,
        Ok(Some(route)) if Stamp::parse(&route.stamp).as_ref() == Some(stamp) => {
            Seen::Present(route)
        }
        Ok(Some(route)) => Seen::Foreign(format!("a route stamped {:?}", route.stamp)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData || is_syntax(&error) => {
            Seen::Foreign(format!("a route file that Mayfly did not write: {error}"))
        }
        Err(error) => Seen::Unknown(format!("reading its route: {error}")),
    }
}

fn is_syntax(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput)
}

/// Writes a route.
pub(super) fn write(layout: &Layout, route: &Route) -> io::Result<()> {
    layout.write(&path(&layout.routes(), &route.host), &serde_json::to_vec_pretty(route)?)
}

/// Every preview of which there is a route with this instance's stamp.
pub(super) fn owned(routes: &Path, instance: &str) -> io::Result<Vec<PreviewName>> {
    let mut owned = Vec::new();
    for entry in fs::read_dir(routes)? {
        let file = entry?.file_name();
        let Some(host) = file.to_str().and_then(|file| file.strip_suffix(".json")) else {
            continue;
        };
        let label = host.split('.').next().unwrap_or_default();
        let Some(name) = PreviewName::parse(label) else { continue };
        match look(routes, host, &Stamp::new(instance, &name)) {
            Seen::Present(_) => owned.push(name),
            Seen::Unknown(why) => return Err(io::Error::other(why)),
            _ => {}
        }
    }
    Ok(owned)
}
