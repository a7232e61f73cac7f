//! One call to the API server: under a deadline, as one field manager, with its refusals in words.
//!
//! Refuses to repeat anything but an apply that came to nothing, and to wait as long as a server
//! asks for: the loop looks again.

use std::time::Duration;

use kube::api::{
    Api, DeleteParams, DynamicObject, ListParams, LogParams, Patch, PatchParams, PostParams,
    Preconditions,
};
use kube::{Client, Error};
use serde_json::Value;

use super::kinds::Kind;
use crate::fault::Fault;

/// Who owns the fields that we apply.
pub(super) const FIELD_MANAGER: &str = "mayfly";

/// How often an apply is tried that somebody else's write came between.
const APPLY_TRIES: usize = 4;

/// How much of a workload's log is read for its last lines, in bytes.
const LOG_BYTES: i64 = 8 * 1024;

/// The API server, as one identity sees it.
pub(super) struct Calls {
    client: Client,
    timeout: Duration,
}

/// What became of a create.
pub(super) enum Created {
    /// It is ours.
    Done,
    /// Something of that name was there.
    Exists,
}

impl Calls {
    pub(super) fn new(client: Client, timeout: Duration) -> Self {
        Self { client, timeout }
    }

    /// The client, for watches, which have no deadline.
    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    fn api(&self, kind: Kind, namespace: Option<&str>) -> Api<DynamicObject> {
        let resource = kind.resource();
        match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }

    /// Reads one object; `None` where the server says that it is not there.
    pub(super) async fn get(
        &self,
        doing: &str,
        kind: Kind,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, Fault> {
        let api = self.api(kind, namespace);
        let found = self.in_time(doing, api.get_opt(name)).await?;
        found.map(|object| value(doing, &object)).transpose()
    }

    /// Reads one object of a kind that the cluster may not even know; `None` for that too, which is why
    /// nothing of ours is looked at like this.
    pub(super) async fn get_foreign(
        &self,
        doing: &str,
        kind: Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, Fault> {
        let api = self.api(kind, Some(namespace));
        match self.answer(doing, api.get(name)).await? {
            Ok(object) => value(doing, &object).map(Some),
            Err(Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(fault(doing, &error)),
        }
    }

    /// Lists what a label selector names.
    pub(super) async fn list(
        &self,
        doing: &str,
        kind: Kind,
        namespace: Option<&str>,
        labels: &str,
    ) -> Result<Vec<Value>, Fault> {
        let api = self.api(kind, namespace);
        let params = ListParams::default().labels(labels);
        let list = self.in_time(doing, api.list(&params)).await?;
        list.items.iter().map(|object| value(doing, object)).collect()
    }

    /// Creates an object, and never takes over one that is there.
    pub(super) async fn create(
        &self,
        doing: &str,
        kind: Kind,
        object: Value,
    ) -> Result<Created, Fault> {
        let api = self.api(kind, None);
        let params =
            PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let object: DynamicObject =
            serde_json::from_value(object).map_err(|e| Fault::permanent(doing, e))?;
        match self.answer(doing, api.create(&params, &object)).await? {
            Ok(_) => Ok(Created::Done),
            Err(Error::Api(status)) if status.is_already_exists() => Ok(Created::Exists),
            Err(error) => Err(fault(doing, &error)),
        }
    }

    /// Server-side apply: what is said here becomes so, and the rest is left alone. An object with a
    /// `metadata.uid` is only changed if it is still that one.
    pub(super) async fn apply(
        &self,
        doing: &str,
        kind: Kind,
        namespace: Option<&str>,
        object: &Value,
    ) -> Result<(), Fault> {
        let api = self.api(kind, namespace);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let mut tries = 0;
        loop {
            tries += 1;
            match self.answer(doing, api.patch(name, &params, &Patch::Apply(object))).await? {
                Ok(_) => return Ok(()),
                // Somebody wrote at the same moment: nothing was done, and what we say still holds.
                Err(Error::Api(status)) if status.is_conflict() && tries < APPLY_TRIES => {}
                Err(error) => return Err(fault(doing, &error)),
            }
        }
    }

    /// Changes some fields of an object that is there, and says nothing of the rest.
    pub(super) async fn merge(
        &self,
        doing: &str,
        kind: Kind,
        namespace: Option<&str>,
        object: &Value,
    ) -> Result<(), Fault> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let api = self.api(kind, namespace);
        self.in_time(doing, api.patch(name, &params, &Patch::Merge(object))).await?;
        Ok(())
    }

    /// Deletes this very object; what is gone is deleted, and its namesake is left alone. An object
    /// without a `metadata.uid` is meant by its name.
    pub(super) async fn delete(
        &self,
        doing: &str,
        kind: Kind,
        namespace: Option<&str>,
        object: &Value,
    ) -> Result<(), Fault> {
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
        let uid = Some(text("uid")).filter(|uid| !uid.is_empty());
        let preconditions = uid.map(|uid| Preconditions { uid: Some(uid), resource_version: None });
        let params = DeleteParams { preconditions, ..DeleteParams::background() };
        let api = self.api(kind, namespace);
        match self.answer(doing, api.delete(&text("name"), &params)).await? {
            Ok(_) => Ok(()),
            Err(Error::Api(status)) if status.is_not_found() => Ok(()),
            // Another one has the name by now: the one that we meant is gone.
            Err(Error::Api(status)) if status.is_conflict() && status.message.contains("UID") => {
                Ok(())
            }
            Err(error) => Err(fault(doing, &error)),
        }
    }

    /// The end of a container's log: of its last run that ended, or of the one that runs.
    pub(super) async fn log(
        &self,
        doing: &str,
        namespace: &str,
        (pod, container): (&str, &str),
        previous: bool,
    ) -> Result<String, Fault> {
        let api: Api<k8s_openapi::api::core::v1::Pod> =
            Api::namespaced(self.client.clone(), namespace);
        let params = LogParams {
            container: Some(container.to_owned()),
            previous,
            tail_lines: Some(20),
            limit_bytes: Some(LOG_BYTES),
            ..LogParams::default()
        };
        self.in_time(doing, api.logs(pod, &params)).await
    }

    /// The API server's minor version: `1.34`.
    pub(super) async fn version(&self, doing: &str) -> Result<String, Fault> {
        let version = self.in_time(doing, self.client.apiserver_version()).await?;
        // Some say `34+`.
        let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
        Ok(format!("{}.{}", digits(&version.major), digits(&version.minor)))
    }

    async fn in_time<T>(
        &self,
        doing: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, Fault> {
        self.answer(doing, call).await?.map_err(|error| fault(doing, &error))
    }

    async fn answer<T>(
        &self,
        doing: &str,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<kube::Result<T>, Fault> {
        let late = |_| {
            Fault::transient(doing, format!("the API server did not answer in {:?}", self.timeout))
        };
        tokio::time::timeout(self.timeout, call).await.map_err(late)
    }
}

fn value(doing: &str, object: &DynamicObject) -> Result<Value, Fault> {
    serde_json::to_value(object).map_err(|error| Fault::transient(doing, error))
}

fn fault(doing: &str, error: &Error) -> Fault {
    let Error::Api(status) = error else {
        return Fault::transient(doing, brief(&chain(error)));
    };
    let message = brief(&status.message);
    let cause = |reason: &str| {
        status.details.as_ref().is_some_and(|it| it.causes.iter().any(|c| c.reason == reason))
    };
    match status.code {
        401 => Fault::permanent(
            doing,
            format!("the API server does not know Mayfly: {message}; renew its credentials"),
        ),
        _ if cause("NamespaceTerminating") => {
            Fault::transient(doing, "its namespace is being removed")
        }
        403 if message.contains("exceeded quota") => Fault::permanent(doing, message),
        403 if message.contains("User \"") => {
            Fault::permanent(doing, format!("{message}; grant it as the chart's ClusterRole does"))
        }
        // A field that its kind does not have; the server calls it an error of its own.
        500 if message.contains("failed to create typed patch object") => {
            // Whatever it found instead may be a secret.
            let field = message.split(", got").next().unwrap_or_default();
            Fault::permanent(doing, format!("{field}; correct the object"))
        }
        404 => Fault::transient(doing, message),
        409 | 408 | 410 | 429 => Fault::transient(doing, message),
        code if (400..500).contains(&code) => Fault::permanent(doing, message),
        _ => Fault::transient(doing, message),
    }
}

/// Every cause, the outermost first, each said once.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// One line of bounded length.
pub(super) fn brief(text: &str) -> String {
    const MAX_CHARS: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(MAX_CHARS).collect()
}
