//! A repository whose previews are deployed by its own chart, out of a registry, by the real helm.

use serde_json::Value;

use super::stage::{CHARTED, Stage};
use super::story::{close_pull, commit, open_pull};

const PREVIEW: &str = "chart-pr-1";

/// Opened, pushed with other values on the base branch, refused by the gate, and closed.
pub async fn live(stage: &Stage) {
    let github = &stage.servers.github;
    github.put_file(CHARTED, "values-preview.yaml", &values("one", false));
    open_pull(stage, CHARTED, 1).await;
    stage.until_ready(PREVIEW, &commit(1, 1)).await;
    let greeting = async || {
        let settings = stage.cluster.get(PREVIEW, "configmap/shop").await;
        settings["data"]["GREETING"].clone()
    };
    assert_eq!(greeting().await, "one", "from the base branch");
    let pods = stage.cluster.get(PREVIEW, "deployment/shop").await["spec"]["template"].clone();
    assert_eq!(pods["spec"]["securityContext"]["runAsNonRoot"], true, "the gate filled it in");

    github.put_file(CHARTED, "values-preview.yaml", &values("two", false));
    push(stage, 2).await;
    stage.until_ready(PREVIEW, &commit(1, 2)).await;
    assert_eq!(greeting().await, "two");

    // What the gate refuses is told, and what was served is served.
    github.put_file(CHARTED, "values-preview.yaml", &values("three", true));
    push(stage, 3).await;
    let refused = |seen: &Value| {
        let mut conditions = seen["conditions"].as_array().into_iter().flatten();
        let workload = conditions.find(|it| it["part"] == "Workload");
        let words = workload.and_then(|it| it["message"].as_str()).unwrap_or_default();
        words.contains("ServiceAccount shop") && words.contains("automount")
    };
    stage.until_seen(PREVIEW, "refused by the gate", refused).await;
    assert_eq!(stage.serves(PREVIEW).await.as_deref(), Ok(&*commit(1, 2)));
    assert_eq!(greeting().await, "two");
    github.put_file(CHARTED, "values-preview.yaml", &values("four", false));
    push(stage, 4).await;
    stage.until_ready(PREVIEW, &commit(1, 4)).await;

    close_pull(stage, CHARTED, 1, PREVIEW).await;
}

async fn push(stage: &Stage, push: u32) {
    stage.servers.github.push(CHARTED, 1, &commit(1, push));
    assert_eq!(stage.deliver(CHARTED, 1, "synchronize").await, 202);
}

fn values(greeting: &str, automount: bool) -> String {
    format!("greeting: {greeting}\nserviceAccount: {{automount: {automount}}}\n")
}
