//! A cluster that hangs, panics, or waits in the middle of a look, or of making a namespace, until it is
//! told to go on.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use mayfly::cluster::{Cluster, ClusterSeen};
use mayfly::fault::{Fault, Progress};
use mayfly::preview::{PreviewName, Revision};
use mayfly::workload::{DatabaseUrls, Shape, WorkloadOrder};
use tokio::sync::Semaphore;

use super::cluster::FakeCluster;
use super::wait::soon;

/// What the next such calls do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Answer.
    Fine,
    /// Say that it has begun, and never answer.
    Hang,
    /// Panic.
    Panic,
    /// Say that it has begun, and answer when told.
    Wait,
}

/// The wrapper; clones share the mood.
#[derive(Clone)]
pub struct RudeCluster {
    inner: FakeCluster,
    mood: Arc<Mutex<Mood>>,
    begun: Arc<Semaphore>,
    told: Arc<Semaphore>,
}

impl RudeCluster {
    pub fn new(inner: FakeCluster, mood: Mood) -> Self {
        let closed = || Arc::new(Semaphore::new(0));
        Self { inner, mood: Arc::new(Mutex::new(mood)), begun: closed(), told: closed() }
    }

    pub fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    async fn in_its_mood(&self) {
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Fine => {}
            Mood::Hang => {
                self.begun.add_permits(1);
                std::future::pending().await
            }
            Mood::Panic => panic!("told to panic"),
            Mood::Wait => {
                self.begun.add_permits(1);
                soon("somebody lets it go on", self.told.acquire()).await.unwrap().forget();
            }
        }
    }

    /// Waits until a look, or the step that a new preview begins with, has begun.
    pub async fn has_begun(&self) {
        soon("it has begun", self.begun.acquire()).await.unwrap().forget();
    }

    /// Lets one look go on.
    pub fn go_on(&self) {
        self.told.add_permits(1);
    }
}

#[async_trait]
impl Cluster for RudeCluster {
    async fn observe(&self, name: &PreviewName, shape: &Shape) -> ClusterSeen {
        self.in_its_mood().await;
        self.inner.observe(name, shape).await
    }

    async fn ensure_namespace(
        &self,
        name: &PreviewName,
        shape: &Shape,
        urls: &DatabaseUrls,
    ) -> Result<(), Fault> {
        self.in_its_mood().await;
        self.inner.ensure_namespace(name, shape, urls).await
    }

    async fn ensure_migration(
        &self,
        name: &PreviewName,
        order: &WorkloadOrder,
    ) -> Result<Progress, Fault> {
        self.inner.ensure_migration(name, order).await
    }

    async fn ensure_workload(
        &self,
        name: &PreviewName,
        order: &WorkloadOrder,
    ) -> Result<(), Fault> {
        self.inner.ensure_workload(name, order).await
    }

    async fn ensure_route(
        &self,
        name: &PreviewName,
        shape: &Shape,
        revision: &Revision,
    ) -> Result<(), Fault> {
        self.inner.ensure_route(name, shape, revision).await
    }

    async fn remove_others(
        &self,
        name: &PreviewName,
        shape: &Shape,
        revision: &Revision,
    ) -> Result<(), Fault> {
        self.inner.remove_others(name, shape, revision).await
    }

    async fn remove_route(&self, name: &PreviewName) -> Result<(), Fault> {
        self.inner.remove_route(name).await
    }

    async fn remove_namespace(&self, name: &PreviewName) -> Result<(), Fault> {
        self.inner.remove_namespace(name).await
    }

    async fn owned(&self) -> Result<Vec<PreviewName>, Fault> {
        self.inner.owned().await
    }
}
