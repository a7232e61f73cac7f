//! Row 8b: webhook to objects on a real control plane, alone and among five hundred previews.
//!
//! The objects are seen by watches, as any controller sees them. Refuses to count anybody's requests but
//! Mayfly's.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use kube::api::{DynamicObject, ListParams, PostParams};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::growth::multiply;
use super::kinds::OBJECTS;
use super::plane::{Plane, api};
use super::report::{Goal, Row, Spread, milliseconds};
use super::rounds::Rounds;
use super::setup::{Place, UNLIMITED};
use super::stage::{REAL, Stage};

/// The numbers of pull requests begin here, and those of copies there.
const FIRST: u32 = 30_001;
const COPIES: u32 = 300_000;

/// How many previews are there in the end, and how many of them are opened at once.
const FLEET: (u32, u32) = (500, 50);
const QUICK_FLEET: (u32, u32) = (100, 12);

/// How many objects are made at once where the fleet is made.
const AT_ONCE: usize = 32;

/// How long nothing may be heard of the copies before they count as idle, and how long that may take.
const QUIET: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(180);

/// What is measured, and its goals.
fn lines((fleet, crowd): (u32, u32)) -> [(String, f64); 5] {
    [
        (
            "a real control plane: webhook → 10 objects, no other previews, in ms: p50".to_owned(),
            45.0,
        ),
        (format!("the same among {fleet} previews"), 50.0),
        (format!("{crowd} pull requests at once → 10 objects of each, in ms: p50"), 1200.0),
        ("requests to a real API server for one open, no other previews".to_owned(), 16.0),
        (format!("the same among {fleet} previews"), 16.0),
    ]
}

pub async fn measure(stage: &Stage, directory: &Path, quick: bool) -> Result<Vec<Row>> {
    let (count, fleet) = if quick { (5, QUICK_FLEET) } else { (25, FLEET) };
    let lines = lines(fleet);
    let Some(plane) = Plane::start(directory).await? else {
        let why = "no control plane here: tests/tools/build control-plane";
        let row = |(what, goal): (String, _)| Row::not_run("8b", &what, Goal::AtMost(goal), why);
        return Ok(lines.into_iter().map(row).collect());
    };
    let place = Place { kubeconfig: &plane.kubeconfig, entry: plane.entry, limits: UNLIMITED };
    let stage = stage.beside(directory, REAL, 0, &place).await?;
    let sight = |namespace: &str| plane.there(namespace);
    let mut rounds = Rounds::new(&stage, FIRST, &sight).await?;
    // The first one finds no template.
    let first = rounds.open().await?;
    rounds.rest(&first).await?;
    let alone = open(&mut rounds, &plane, count).await?;
    let crowd: Vec<f64> =
        rounds.open_at_once(fleet.1).await?.into_iter().map(milliseconds).collect();
    fill(&stage, &plane, first.number, fleet.0).await?;
    let among = open(&mut rounds, &plane, count).await?;
    let figures = [
        (alone.took, "ms"),
        (among.took, "ms"),
        (crowd, "ms"),
        (alone.asked, "requests"),
        (among.asked, "requests"),
    ];
    let row = |((what, goal), (figures, unit)): ((String, _), _)| {
        let spread = Spread::of(figures);
        let ours = format!("{:.0} {unit}", spread.median);
        Row::new("8b", &what, Goal::AtMost(goal), (String::new(), ours), spread)
    };
    Ok(lines.into_iter().zip(figures).map(row).collect())
}

/// What opening some, one after the other, takes.
struct Taken {
    took: Vec<f64>,
    asked: Vec<f64>,
}

async fn open(rounds: &mut Rounds<'_>, plane: &Plane, count: usize) -> Result<Taken> {
    let mut taken = Taken { took: Vec::new(), asked: Vec::new() };
    for _ in 0..count {
        let before = plane.asked().await?;
        let opened = rounds.open_warm().await?;
        taken.asked.push(plane.asked().await? - before);
        taken.took.push(milliseconds(opened.objects()));
        rounds.rest(&opened).await?;
    }
    Ok(taken)
}

/// Makes copies of this preview, in the ledger and in the cluster, until there are as many as the fleet has.
/// None of them is looked at.
async fn fill(stage: &Stage, plane: &Plane, number: u32, fleet: u32) -> Result<()> {
    let mut session = PgConnection::connect(&stage.ledger.url(stage.name.database)).await?;
    let there: i64 =
        sqlx::query_scalar("SELECT count(*) FROM previews").fetch_one(&mut session).await?;
    let count = fleet.saturating_sub(u32::try_from(there)?);
    let copies = COPIES..COPIES + count;
    multiply(&mut session, i64::from(number), (COPIES.into(), i64::from(copies.end) - 1)).await?;
    let of_copies =
        |set: &str| AssertSqlSafe(format!("UPDATE previews SET {set} WHERE number >= {COPIES}"));
    // While they are made, they are somebody else's.
    let leased = "lease_owner = gen_random_uuid(), lease_until = now() + interval '1 day'";
    sqlx::raw_sql(of_copies(leased)).execute(&mut session).await?;
    let from = format!("pr-{number}");
    let mut originals = Vec::new();
    for (resource, _) in OBJECTS {
        let namespace = (resource != "namespaces").then_some(&*from);
        let label = format!("mayfly.dev/instance={}", REAL.instance);
        let params = ListParams::default().labels(&label);
        let found = api(&plane.client, resource, namespace)?.list(&params).await?;
        for object in found.items {
            let object = bare(serde_json::to_value(object)?);
            if resource != "namespaces" || object["metadata"]["name"] == *from {
                originals.push((resource, object.to_string()));
            }
        }
    }
    let making = copies.map(|copy| make(plane, &originals, &from, format!("pr-{copy}")));
    stream::iter(making).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
    // Controllers make an account in each of them, slowly: they are waited for too.
    let (begun, accounts) = (Instant::now(), api(&plane.client, "serviceaccounts", None)?);
    let default = ListParams::default().fields("metadata.name=default");
    while accounts.list(&default).await?.items.len() < fleet as usize {
        pause(begun, "the controllers are not done").await?;
    }
    let (begun, mut quiet, mut heard) = (Instant::now(), Instant::now(), 0_i64);
    while quiet.elapsed() < QUIET {
        let pokes = AssertSqlSafe(format!(
            "SELECT sum(pokes)::bigint FROM previews WHERE number >= {COPIES}"
        ));
        let now = sqlx::query_scalar(pokes).fetch_one(&mut session).await?;
        if now != heard {
            (heard, quiet) = (now, Instant::now());
        }
        pause(begun, "the copies are not quiet").await?;
    }
    let idle = "lease_owner = NULL, lease_until = NULL, wake_at = now() + interval '1 year'";
    sqlx::raw_sql(of_copies(idle)).execute(&mut session).await?;
    Ok(session.close().await?)
}

async fn pause(begun: Instant, what: &str) -> Result<()> {
    ensure!(begun.elapsed() < PATIENCE, "{what} in {PATIENCE:?}");
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(())
}

/// An object as it can be made again: without what the server adds, and without pods, which the controllers
/// would make for minutes.
fn bare(mut object: Value) -> Value {
    if let Some(it) = object.as_object_mut() {
        it.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|key, _| ["name", "namespace", "labels", "annotations"].contains(&&**key));
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|key, _| !["clusterIP", "clusterIPs"].contains(&&**key));
        spec.entry("replicas").and_modify(|it| *it = 0.into());
    }
    object
}

async fn make(plane: &Plane, originals: &[(&str, String)], from: &str, to: String) -> Result<()> {
    for (resource, object) in originals {
        let namespace = (*resource != "namespaces").then_some(&*to);
        let copy: DynamicObject = serde_json::from_str(&object.replace(from, &to))?;
        let made =
            api(&plane.client, resource, namespace)?.create(&PostParams::default(), &copy).await;
        made.with_context(|| format!("{resource} of {to}"))?;
    }
    Ok(())
}
