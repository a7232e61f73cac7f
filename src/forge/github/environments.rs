//! What a preview leaves on the repository when it is gone: nothing.
//!
//! Refuses to remove a deployment that is not ours, and an environment that holds one or that we
//! took none of ours from just now: a person may have made it. Where GitHub does not let us, that is
//! said once in the log, and nothing waits for it.

use super::GitHub;
use super::deployments::Deployment;
use crate::fault::{Disposition, Fault};
use crate::forge::RepositoryRef;
use crate::preview::PreviewName;

impl GitHub {
    /// Removes our ended deployments of this preview, and their environment if no other is in it.
    pub(super) async fn clear(
        &self,
        repo: &RepositoryRef,
        name: &PreviewName,
    ) -> Result<(), Fault> {
        let full_name = repo.full_name();
        let ours = self.deployments(repo, Some(name)).await?;
        for deployment in &ours {
            let doing = format!("deleting deployment {} of {full_name}", deployment.id);
            let route = format!("/repos/{full_name}/deployments/{}", deployment.id);
            if !self.tidy(&doing, &route, "ended deployments stay").await? {
                return Ok(());
            }
        }
        if ours.is_empty() {
            return Ok(());
        }
        let doing = format!("listing what is left in environment {name} of {full_name}");
        let route = format!("/repos/{full_name}/deployments?environment={name}&per_page=100");
        let left: Vec<Deployment> = self.client.list(&doing, &route).await?;
        if left.iter().any(|deployment| deployment.environment == name.namespace()) {
            return Ok(());
        }
        let doing = format!("deleting environment {name} of {full_name}");
        let route = format!("/repos/{full_name}/environments/{name}");
        self.tidy(&doing, &route, "environments of previews that are gone stay").await.map(drop)
    }

    /// Deletes; `false` where GitHub will not have it.
    async fn tidy(&self, doing: &str, route: &str, else_: &'static str) -> Result<bool, Fault> {
        match self.client.delete(doing, route).await {
            Ok(()) => Ok(true),
            Err(fault) if fault.disposition == Disposition::Transient => Err(fault),
            Err(fault) => {
                self.say_once(else_, &fault.to_string());
                Ok(false)
            }
        }
    }
}
