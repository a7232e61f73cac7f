//! The shop that the demo previews: a page, a table, a form, an echo.
//!
//! Everything that it knows comes from its environment, as a twelve-factor app's does: `PORT`,
//! `DATABASE_URL`, `PR_NUMBER`, `COMMIT_SHA` and, if set, `GREETING`, `BIND_ADDRESS` (a container
//! says 0.0.0.0) and `API_URL`, where another of it runs that its page asks for the products. Called as
//! `sample-shop migrate` it brings its database up to date, and ends. Refuses to show a text unescaped.

use std::env;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{Form, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::signal::unix::{SignalKind, signal};
use tower_http::set_header::SetResponseHeaderLayer;

#[derive(Clone)]
struct Shop {
    database: PgPool,
    pull_request: String,
    commit: String,
    greeting: String,
    /// Who has the products; the database when `None`.
    api: Option<String>,
}

#[derive(Serialize, Deserialize, sqlx::FromRow)]
struct Product {
    id: i64,
    name: String,
    price_cents: i32,
    created_at: DateTime<Utc>,
}

#[derive(Deserialize)]
struct NewProduct {
    name: String,
    price: String,
}

/// An error that the visitor is told of.
struct Sorry(StatusCode, String);

impl IntoResponse for Sorry {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl From<sqlx::Error> for Sorry {
    fn from(error: sqlx::Error) -> Self {
        eprintln!("database: {error}");
        Self(StatusCode::SERVICE_UNAVAILABLE, "The database does not answer.".to_owned())
    }
}

/// What this version has otherwise than the seed. Each says itself whether it was done.
const MIGRATIONS: [&str; 2] = [
    "ALTER TABLE products ADD COLUMN IF NOT EXISTS origin text",
    "CREATE INDEX IF NOT EXISTS products_by_name ON products (name)",
];

/// Brings the database up to date.
async fn migrate(url: &str) -> anyhow::Result<()> {
    use sqlx::Connection;
    let mut session = sqlx::PgConnection::connect(url).await?;
    for migration in MIGRATIONS {
        sqlx::query(migration).execute(&mut session).await?;
        println!("{migration}");
    }
    session.close().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let url = env::var("DATABASE_URL").context("DATABASE_URL is not set")?;
    if env::args().nth(1).as_deref() == Some("migrate") {
        return migrate(&url).await;
    }
    let port: u16 = env::var("PORT").context("PORT is not set")?.parse()?;
    let database = PgPoolOptions::new()
        .max_connections(3)
        .acquire_timeout(Duration::from_secs(3))
        .connect_lazy(&url)
        .map_err(|_| anyhow::anyhow!("DATABASE_URL is not a PostgreSQL URL"))?;
    let or = |name: &str, otherwise: &str| env::var(name).unwrap_or_else(|_| otherwise.to_owned());
    let shop = Shop {
        database: database.clone(),
        pull_request: or("PR_NUMBER", "?"),
        commit: or("COMMIT_SHA", "unknown"),
        greeting: or("GREETING", "Six legs welcome"),
        api: env::var("API_URL").ok(),
    };
    let app = Router::new()
        .route("/", get(page))
        .route("/products", post(add))
        .route("/api/products", get(list))
        .route("/healthz", get(health))
        .route("/ws", get(echo))
        // Which commit answers, for ingresses that cannot say it.
        .layer(SetResponseHeaderLayer::overriding(
            HeaderName::from_static("x-preview-commit"),
            HeaderValue::from_str(&shop.commit).context("COMMIT_SHA is no commit")?,
        ))
        .with_state(shop);
    let mut ended = signal(SignalKind::terminate())?;
    let address: IpAddr =
        or("BIND_ADDRESS", "127.0.0.1").parse().context("BIND_ADDRESS is no address")?;
    let listener = tokio::net::TcpListener::bind((address, port)).await?;
    println!("sample-shop listens on port {port}");
    let served = axum::serve(listener, app).with_graceful_shutdown(async move {
        ended.recv().await;
        // An open WebSocket would keep the server for ever.
        tokio::spawn(async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            std::process::exit(0);
        });
    });
    served.await?;
    database.close().await;
    println!("sample-shop ends");
    Ok(())
}

async fn products(shop: &Shop) -> Result<Vec<Product>, sqlx::Error> {
    let all = "SELECT id, name, price_cents, created_at FROM products ORDER BY id DESC LIMIT 200";
    sqlx::query_as(all).fetch_all(&shop.database).await
}

async fn list(State(shop): State<Shop>) -> Result<Json<Vec<Product>>, Sorry> {
    Ok(Json(products(&shop).await?))
}

async fn health(State(shop): State<Shop>) -> Result<&'static str, Sorry> {
    sqlx::query("SELECT 1").execute(&shop.database).await?;
    Ok("ok\n")
}

async fn add(State(shop): State<Shop>, Form(product): Form<NewProduct>) -> Result<Redirect, Sorry> {
    let refuse = |why: &str| Sorry(StatusCode::UNPROCESSABLE_ENTITY, why.to_owned());
    let name = product.name.trim();
    if name.is_empty() || name.chars().count() > 120 || name.contains('\0') {
        return Err(refuse("A product has a name of 1 to 120 characters."));
    }
    let cents = cents(&product.price).ok_or_else(|| refuse("A price looks like 12.50."))?;
    sqlx::query("INSERT INTO products (name, price_cents) VALUES ($1, $2)")
        .bind(name)
        .bind(cents)
        .execute(&shop.database)
        .await?;
    Ok(Redirect::to("/"))
}

/// Reads "12", "12.5" or "12,50" as cents, up to 100,000.00.
fn cents(price: &str) -> Option<i32> {
    let price = price.trim().replace(',', ".");
    let (whole, part) = price.split_once('.').unwrap_or((&price, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || part.len() > 2 || !digits(whole) || !digits(part) {
        return None;
    }
    let cents = whole.parse::<i32>().ok()?.checked_mul(100)?;
    Some(cents + format!("{part:0<2}").parse::<i32>().ok()?).filter(|cents| *cents <= 10_000_000)
}

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(|mut socket: WebSocket| async move {
        while let Some(Ok(message)) = socket.recv().await {
            if socket.send(message).await.is_err() {
                break;
            }
        }
    })
}

/// The products, from whoever has them.
async fn fetched(shop: &Shop) -> Result<Vec<Product>, Sorry> {
    let Some(api) = &shop.api else { return Ok(products(shop).await?) };
    let sorry = |error: reqwest::Error| {
        eprintln!("api: {error}");
        Sorry(StatusCode::BAD_GATEWAY, "The API does not answer.".to_owned())
    };
    let answer = reqwest::get(format!("{api}/api/products")).await.map_err(sorry)?;
    answer.error_for_status().map_err(sorry)?.json().await.map_err(sorry)
}

async fn page(State(shop): State<Shop>) -> Result<Html<String>, Sorry> {
    let rows: String = fetched(&shop)
        .await?
        .into_iter()
        .map(|it| {
            let (id, name) = (it.id, escape(&it.name));
            let price = format!("{}.{:02}", it.price_cents / 100, it.price_cents % 100);
            let day = it.created_at.format("%Y-%m-%d");
            format!("<tr><td>{id}<td>{name}<td class=n>{price}<td>{day}</tr>\n")
        })
        .collect();
    let (number, commit) = (escape(&shop.pull_request), escape(&shop.commit));
    let short = escape(&shop.commit.chars().take(7).collect::<String>());
    let greeting = escape(&shop.greeting);
    Ok(Html(format!(
        r#"<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>Insect garden, PR {number}</title>
<style>
:root{{--ink:#24301f;--soft:#66755f;--paper:#fbfaf4;--line:#dfe3d3;--leaf:#4c7a34}}
@media(prefers-color-scheme:dark){{:root{{--ink:#e6ebdf;--soft:#9dab95;--paper:#151a13;--line:#2d372a;--leaf:#8fc46f}}}}
body{{font:16px/1.6 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1.2rem;color:var(--ink);background:var(--paper)}}
h1{{margin:0}}p{{margin:.2rem 0 1.5rem;color:var(--soft)}}code{{color:var(--leaf)}}
table{{border-collapse:collapse;width:100%}}td,th{{text-align:left;padding:.4rem .6rem;border-bottom:1px solid var(--line);overflow-wrap:anywhere}}
.n{{text-align:right;font-variant-numeric:tabular-nums}}form{{display:flex;flex-wrap:wrap;gap:.6rem;margin-bottom:1.5rem}}
input,button{{font:inherit;padding:.4rem .7rem;border:1px solid var(--line);border-radius:.4rem;background:transparent;color:inherit}}
input[name=name]{{flex:1}}button{{background:var(--leaf);border-color:var(--leaf);color:var(--paper);cursor:pointer}}
</style>
<h1>{greeting}</h1>
<p>The insect garden shop, pull request <b id="pr">{number}</b> at
<code id="commit" title="{commit}">{short}</code></p>
<form method="post" action="/products">
<input name="name" placeholder="Product" aria-label="Product" required maxlength="120">
<input name="price" placeholder="12.50" aria-label="Price" required size="8" inputmode="decimal">
<button>Add</button></form>
<table><thead><tr><th>No.<th>Product<th class=n>Price<th>Since</tr></thead><tbody>
{rows}</tbody></table>
</html>
"#
    )))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
