//! HTTP, inbound: webhooks, the API, the fleet on a page, and health.
//!
//! Handlers learn, amend and read; they refuse to touch a namespace, a database or a record.

mod actions;
mod auth;
mod dto;
mod error;
mod fleet;
mod operations;
mod previews;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Request, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::sensitive_headers::SetSensitiveRequestHeadersLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use utoipa::OpenApi;
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

/// How long a request may take, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How many webhooks are read and learned at once; the next is told to come back.
const WEBHOOKS_AT_ONCE: usize = 64;

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
    info(title = "Mayfly", description = "Ephemeral preview environments for pull requests."),
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
        .layer(DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(WEBHOOK_BODY_BYTES))
        .layer(
            ServiceBuilder::new()
                .layer(HandleErrorLayer::new(|_| async { Problem::busy() }))
                .layer(LoadShedLayer::new())
                .layer(GlobalConcurrencyLimitLayer::new(WEBHOOKS_AT_ONCE)),
        );
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
                .layer(TimeoutLayer::with_status_code(
                    axum::http::StatusCode::REQUEST_TIMEOUT,
                    REQUEST_TIMEOUT,
                )),
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
        .routes(routes!(previews::journal))
        .routes(routes!(previews::brake));
    let operator = OpenApiRouter::new()
        .routes(routes!(actions::extend))
        .routes(routes!(actions::pin))
        .routes(routes!(actions::unpin))
        .routes(routes!(actions::stop))
        .routes(routes!(actions::start))
        .routes(routes!(actions::redeploy))
        .routes(routes!(actions::reset_data))
        .routes(routes!(actions::approve));
    let admin = OpenApiRouter::new()
        .routes(routes!(actions::delete))
        .routes(routes!(actions::release_brake));
    [(Role::Viewer, viewer), (Role::Operator, operator), (Role::Admin, admin)]
}

fn finish(mut description: utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    description.components.get_or_insert_default().add_security_scheme("token", bearer);
    description
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
