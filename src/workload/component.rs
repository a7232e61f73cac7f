//! Several services in one preview: the preview's own, called `web`, and the components beside it.
//!
//! Pure: who runs, in which order, and what each is told of the others. Refuses to know an address:
//! where a neighbour listens is for whoever runs it to say.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{DATABASE_VARIABLE, ImageTemplate, PodShape, Proof, Shape, TagTemplate, WorkloadOrder};
use crate::preview::{ComponentName, Host, PreviewName, Suffix};

/// What the preview's own service is called among its components.
pub const WEB: &str = "web";

/// A service beside the preview's own, from the repository's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its name, in hosts, objects and its neighbours' variables.
    pub name: ComponentName,
    /// Whether it runs: a tier may go without.
    pub is_on: bool,
    /// Whether the public reaches it, at a host of its own.
    pub is_public: bool,
    /// Whether it has a database of its own; otherwise it has the preview's.
    pub has_database: bool,
    /// Which services have to be ready before it starts.
    pub needs: Vec<ComponentName>,
    /// As [`Shape::command`].
    pub command: Vec<String>,
    /// The preview's own service's where `None`.
    pub directory: Option<PathBuf>,
    /// Beside, and over, what every service of the preview has.
    pub env: Vec<(String, String)>,
    /// As [`Shape::probe_path`].
    pub probe_path: String,
    /// As [`Shape::proof`].
    pub proof: Proof,
    /// The preview's own service's where `None`.
    pub image: Option<ImageTemplate>,
    /// Its pods; what they may reach is the preview's.
    pub pod: PodShape,
}

/// One service of a preview, as it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Which component; the preview's own service when `None`.
    pub component: Option<ComponentName>,
    /// Whether the public reaches it.
    pub is_public: bool,
    /// Whether it has a database of its own.
    pub has_database: bool,
    /// What it runs.
    pub shape: Shape,
}

impl Service {
    /// Its name among its neighbours.
    pub fn name(&self) -> &str {
        self.component.as_ref().map_or(WEB, ComponentName::as_str)
    }

    /// Its host, whether or not anything leads there.
    pub fn host(&self, name: &PreviewName) -> Host {
        Host::of(name, self.component.as_ref())
    }

    /// The services that it waits for: those that it needs and that are not ready.
    pub fn awaits(&self, is_ready: impl Fn(&str) -> bool) -> Vec<&str> {
        self.shape.needs.iter().map(ComponentName::as_str).filter(|it| !is_ready(it)).collect()
    }

    /// What people are told of it: nothing of its name where it is the only one.
    pub fn tell(&self, why: &str) -> String {
        match &self.component {
            Some(name) => format!("{name}: {why}"),
            None => why.to_owned(),
        }
    }
}

/// A variable in which a service is told of one of these.
pub fn variable(service: &str, what: &str) -> String {
    format!("{}_{what}", service.to_ascii_uppercase().replace('-', "_"))
}

impl Shape {
    /// Every service that runs, each after those that it needs. A chart has its own and is one to us.
    pub fn services(&self) -> Vec<Service> {
        let own =
            Service { component: None, is_public: true, has_database: false, shape: self.clone() };
        let mut waiting: Vec<_> =
            std::iter::once(own).chain(self.running().map(|it| self.service(it))).collect();
        let known: Vec<_> = waiting.iter().map(|it| it.name().to_owned()).collect();
        for service in &mut waiting {
            // What this tier goes without is not waited for.
            service.shape.needs.retain(|needed| known.iter().any(|it| it == needed.as_str()));
        }
        let mut ordered: Vec<Service> = Vec::new();
        while !waiting.is_empty() {
            let stands = |it: &Service| {
                it.awaits(|name| ordered.iter().any(|before| before.name() == name)).is_empty()
            };
            // The configuration refuses a circle; one that was made otherwise is as it is listed.
            let next = waiting.iter().position(stands).unwrap_or_default();
            ordered.push(waiting.remove(next));
        }
        ordered
    }

    /// The components that run: this tier's, and none beside a chart.
    fn running(&self) -> impl Iterator<Item = &Component> {
        self.components.iter().filter(|it| it.is_on && self.chart.is_none())
    }

    /// Whether it has more than one service.
    pub fn has_components(&self) -> bool {
        self.running().next().is_some()
    }

    /// Whether this variable says where one of its services is.
    pub fn tells(&self, name: &str) -> bool {
        let services = self.components.iter().map(|it| it.name.as_str()).chain([WEB]);
        !self.components.is_empty()
            && services
                .into_iter()
                .any(|it| ["URL", "HOST"].iter().any(|of| variable(it, of) == name))
    }

    /// Every component that the public reaches.
    pub fn public_components(&self) -> impl Iterator<Item = &ComponentName> {
        self.running().filter(|it| it.is_public).map(|it| &it.name)
    }

    /// Every component that has a database of its own.
    pub fn databases(&self) -> Vec<ComponentName> {
        self.running().filter(|it| it.has_database).map(|it| it.name.clone()).collect()
    }

    /// Every image that has to be asked for, since it is another one for each commit.
    pub fn tagged(&self) -> Vec<(Option<&ComponentName>, &TagTemplate)> {
        let of_components = self.running().map(|it| (Some(&it.name), &it.image));
        let all = std::iter::once((None, &self.image)).chain(of_components);
        let tagged = all.filter_map(|(of, image)| match image {
            Some(ImageTemplate::Tagged(template)) => Some((of, template)),
            _ => None,
        });
        tagged.collect()
    }

    fn service(&self, of: &Component) -> Service {
        let mut env: BTreeMap<_, _> = self.env.iter().cloned().collect();
        env.extend(of.env.iter().cloned());
        let mut pod = of.pod.clone();
        if of.image.is_none() {
            pod.image.clone_from(&self.pod.image);
        }
        let shape = Self {
            command: of.command.clone(),
            directory: of.directory.clone().or_else(|| self.directory.clone()),
            env: env.into_iter().collect(),
            migrations: None,
            probe_path: of.probe_path.clone(),
            proof: of.proof.clone(),
            image: of.image.clone().or_else(|| self.image.clone()),
            pod,
            needs: of.needs.clone(),
            components: Vec::new(),
            ..self.clone()
        };
        let (is_public, has_database) = (of.is_public, of.has_database);
        Service { component: Some(of.name.clone()), is_public, has_database, shape }
    }

    /// What every service is told of those that the public reaches: `API_HOST`, `WEB_HOST`.
    pub(crate) fn public_hosts(
        &self,
        name: &PreviewName,
        suffix: &Suffix,
    ) -> Vec<(String, String)> {
        if !self.has_components() {
            return Vec::new();
        }
        let own = (variable(WEB, "HOST"), name.host(suffix));
        let told = |of: &ComponentName| {
            (variable(of.as_str(), "HOST"), Host::of(name, Some(of)).full(suffix))
        };
        self.public_components().map(told).chain([own]).collect()
    }
}

impl WorkloadOrder {
    /// The order of one of its services, which is told where each service listens: `API_URL`.
    pub fn of(&self, service: &Service, urls: &[(String, String)]) -> Self {
        let mut order = Self { shape: service.shape.clone(), ..self.clone() };
        if self.shape.has_components() {
            let told = urls.iter().map(|(of, url)| (variable(of, "URL"), url.clone()));
            order.env.extend(told);
        }
        let own = order.databases.iter().find(|(of, _)| Some(of) == service.component.as_ref());
        if let Some((_, url)) = own.cloned() {
            let variable = order.env.iter_mut().find(|(name, _)| name == DATABASE_VARIABLE);
            variable.into_iter().for_each(|(_, value)| value.clone_from(&url));
        }
        order
    }
}
