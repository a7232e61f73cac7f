//! The pages on which a person makes an App of a manifest, and the code that comes of it.
//!
//! Refuses a code that was used, as GitHub does.

use std::sync::Arc;

use axum::extract::{Form, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::{not_found, refusal};
use super::{Shared, payload};

/// What comes with the App and is told only once; it opens nothing.
pub const APP_PEM: &str =
    "-----BEGIN RSA PRIVATE KEY-----\nbm90IGEga2V5\n-----END RSA PRIVATE KEY-----\n";
/// See [`APP_PEM`].
pub const APP_WEBHOOK_SECRET: &str = "e340154128314309424b7c8e90325147d99fdafa";

#[derive(Deserialize)]
struct Posted {
    manifest: String,
}

#[derive(Deserialize)]
struct Asked {
    state: Option<String>,
}

/// The pages; they know nothing of tokens.
pub(super) fn pages(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/settings/apps/new", routing::post(new_app))
        .route("/organizations/{name}/settings/apps/new", routing::post(new_app))
        .with_state(shared)
}

/// The person agrees.
async fn new_app(
    State(hub): State<Arc<Shared>>,
    Query(asked): Query<Asked>,
    Form(posted): Form<Posted>,
) -> Response {
    let manifest: Option<Value> = serde_json::from_str(&posted.manifest).ok();
    let redirect = manifest.as_ref().and_then(|manifest| manifest["redirect_url"].as_str());
    let (Some(redirect), Some(state)) = (redirect, asked.state) else {
        return refusal(422, "the manifest needs a redirect_url");
    };
    let to = format!("{redirect}?code=manifest-code&state={state}");
    hub.state().manifest = manifest;
    (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
}

pub(super) async fn conversion(
    State(hub): State<Arc<Shared>>,
    Path(code): Path<String>,
) -> Response {
    let Some(manifest) = hub.state().manifest.take().filter(|_| code == "manifest-code") else {
        return not_found();
    };
    let mut app = payload::app();
    app["name"] = manifest["name"].clone();
    app["permissions"] = manifest["default_permissions"].clone();
    app["events"] = manifest["default_events"].clone();
    app["pem"] = json!(APP_PEM);
    app["webhook_secret"] = json!(APP_WEBHOOK_SECRET);
    app["client_secret"] = json!("1726be1638095a19edd134c77bde3aa2ece1e5d8");
    (StatusCode::CREATED, Json(app)).into_response()
}
