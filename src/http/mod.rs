//! HTTP, inbound: webhooks, the API, the fleet on a page, and health.
//!
//! Handlers learn, amend and read; they refuse to touch a namespace, a database or a record.

mod actions;
mod amend;
mod auth;
mod dto;
mod error;
mod fleet;
mod intake;
mod learner;
mod operations;
mod previews;
mod rehearsal;
mod rollback;
mod wait;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Extension};
use axum::http::{HeaderName, HeaderValue, Request, header};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_request};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;
use utoipa::OpenApi;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::forge::signature::WebhookSecrets;
use crate::ledger::Role;
use crate::reconcile::Reconciler;
use error::Problem;

/// The largest webhook body: above GitHub's own cap for what we subscribe to, in bytes.
pub const WEBHOOK_BODY_BYTES: usize = 3 * 1024 * 1024;

/// The largest API body, in bytes.
const API_BODY_BYTES: usize = 16 * 1024;

/// How long a request's body may take to arrive; what is slower is the sender's fault.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request may take, its body included; what is slower is ours.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(12);

/// The longest request id that is taken from a caller, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 100;

/// What every handler can reach.
#[derive(Clone)]
pub struct AppState {
    /// The ledger, the clock, the repositories, and the loop's wake-up.
    pub reconciler: Arc<Reconciler>,
    /// What webhooks are signed with.
    pub secrets: Arc<WebhookSecrets>,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Mayfly", description = "Ephemeral preview environments for pull requests.\n\n\
        Every answer carries `x-request-id`, the caller's own if one was sent. Every refusal is \
        `application/problem+json` (RFC 9457). Every change is remembered at once, written to the \
        journal under the token's name, and carried out by the loop."),
    tags((name = "previews", description = "The fleet"), (name = "brake", description = "The mass-teardown brake"))
)]
struct Description;

/// The main listener: webhooks, API and the fleet's page.
pub fn router(site: AppState) -> Router {
    let (api, description) = api(&site).split_for_parts();
    let description = Arc::new(finish(description));
    let document = get(move || async move { axum::Json((*description).clone()) });
    let api =
        api.route("/api/v1/openapi.json", document).layer(DefaultBodyLimit::max(API_BODY_BYTES));
    let webhooks = Router::new()
        .route("/webhooks/github", axum::routing::post(webhook::deliver))
        .layer(Extension(Arc::new(intake::Intake::start(&site.reconciler))));
    let request_id = HeaderName::from_static("x-request-id");
    Router::new()
        .merge(api)
        .merge(webhooks)
        .merge(fleet::routes())
        .fallback(|| async {
            Problem::not_found("there is nothing here; see /api/v1/openapi.json")
        })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .with_state(site)
        .layer(
            ServiceBuilder::new()
                .layer(map_request(without_long_id))
                .layer(SetRequestIdLayer::new(request_id.clone(), MakeRequestUuid))
                .layer(SetSensitiveRequestHeadersLayer::new([
                    header::AUTHORIZATION,
                    HeaderName::from_static("x-hub-signature-256"),
                ]))
                .layer(TraceLayer::new_for_http().make_span_with(span))
                .layer(PropagateRequestIdLayer::new(request_id))
                .layer(SetResponseHeaderLayer::if_not_present(
                    header::X_CONTENT_TYPE_OPTIONS,
                    HeaderValue::from_static("nosniff"),
                ))
                .layer(CatchPanicLayer::custom(|_| Problem::internal().into_response()))
                .layer(from_fn(in_time)),
        )
}

/// The operations listener: liveness, readiness, metrics.
pub fn operations(site: AppState) -> Router {
    operations::routes().with_state(site)
}

/// The OpenAPI description, as the API serves it.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (_, description) = routes_by_role()
        .into_iter()
        .fold(OpenApiRouter::with_openapi(Description::openapi()), |all, (_, some)| all.merge(some))
        .split_for_parts();
    finish(description)
}

/// The API, each group of routes behind the role that it needs: a route that is in no group does
/// not exist.
fn api(site: &AppState) -> OpenApiRouter<AppState> {
    routes_by_role().into_iter().fold(
        OpenApiRouter::with_openapi(Description::openapi()),
        |all, (role, some)| {
            let guard = from_fn_with_state((site.clone(), role), auth::require);
            all.merge(some.route_layer(guard))
        },
    )
}

fn routes_by_role() -> [(Role, OpenApiRouter<AppState>); 3] {
    let viewer = OpenApiRouter::new()
        .routes(routes!(previews::list))
        .routes(routes!(previews::get))
        .routes(routes!(previews::receipt))
        .routes(routes!(rehearsal::rehearsal))
        .routes(routes!(previews::journal))
        .routes(routes!(wait::wait))
        .routes(routes!(previews::brake));
    let operator = OpenApiRouter::new()
        .routes(routes!(actions::extend))
        .routes(routes!(actions::pin))
        .routes(routes!(actions::unpin))
        .routes(routes!(actions::stop))
        .routes(routes!(actions::start))
        .routes(routes!(actions::redeploy))
        .routes(routes!(actions::reset_data))
        .routes(routes!(actions::rotate_password))
        .routes(routes!(actions::image))
        .routes(routes!(rollback::rollback))
        .routes(routes!(actions::approve));
    let admin = OpenApiRouter::new()
        .routes(routes!(actions::delete))
        .routes(routes!(actions::release_brake));
    let all = [(Role::Viewer, viewer), (Role::Operator, operator), (Role::Admin, admin)];
    all.map(|(role, mut some)| {
        for operation in operations_of(some.get_openapi_mut()) {
            let says = operation.description.get_or_insert_default();
            says.push_str(&format!("\n\nNeeds the role `{}` or a larger one.", role.as_str()));
        }
        (role, some)
    })
}

fn operations_of(
    description: &mut utoipa::openapi::OpenApi,
) -> impl Iterator<Item = &mut Operation> {
    description
        .paths
        .paths
        .values_mut()
        .flat_map(|item| [&mut item.get, &mut item.post, &mut item.delete])
        .flatten()
}

/// Adds to the description what is true of every operation.
fn finish(mut description: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    description.components.get_or_insert_default().add_security_scheme("token", bearer);
    for operation in operations_of(&mut description) {
        for (status, response) in &mut operation.responses.responses {
            let RefOr::T(response) = response else { continue };
            if response.description.is_empty() {
                response.description = meaning(status).to_owned();
            }
        }
    }
    description
}

fn meaning(status: &str) -> &'static str {
    match status {
        "200" => "As it is now.",
        "202" => "Remembered, and in the journal; the loop does it next.",
        "4XX" => {
            "Refused, and nothing was changed. 400: the request cannot be read. 401: no valid \
             token. 403: the token's role is too small. 404: no such thing. 408: the body came \
             too slowly. 409: not in this state; the detail says why. 413: the body is too large. \
             415: not JSON. 422: a value makes no sense."
        }
        _ => {
            "500: a fault of ours; it is in the log under this answer's x-request-id. 503: the \
             ledger does not answer; ask again after as many seconds as Retry-After says. 504: \
             waited in vain."
        }
    }
}

/// Drops a caller's request id that is too long to be one: it goes into every log line.
async fn without_long_id(mut request: Request<Body>) -> Request<Body> {
    if request.headers().get("x-request-id").is_some_and(|id| id.len() > MAX_REQUEST_ID_BYTES) {
        request.headers_mut().remove("x-request-id");
    }
    request
}

/// Answers for a handler that does not.
async fn in_time(request: Request<Body>, next: Next) -> Response {
    // Whoever asks to wait says for how long.
    let limit = match request.uri().path().ends_with("/wait") {
        true => wait::LONGEST + REQUEST_TIMEOUT,
        false => REQUEST_TIMEOUT,
    };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::busy().into_response(),
    }
}

/// A span without headers or query, which can hold secrets.
fn span<B>(request: &Request<B>) -> tracing::Span {
    let id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("");
    tracing::info_span!("request", method = %request.method(), path = request.uri().path(), id)
}

/// Marks an answer as never to be kept by anybody.
fn uncached(response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    let never = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, never);
    response
}
