//! Rows 8 to 10: how soon a pull request has its preview in a cluster, and how soon nothing is left of it.
//!
//! Against an API server whose answers all take the same time, so that what is counted is round trips and
//! not the machine. Refuses to call a preview declared that lacks one of its objects.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::api_server::{ApiServer, Asked};
use super::plain::Plain;
use super::report::{Goal, Row, Spread, percentile};
use super::rounds::Rounds;

/// What one request takes where round trips are counted.
pub const TRIP: Duration = Duration::from_millis(10);

/// The objects of a preview.
const OBJECTS: [(&str, usize); 9] = [
    ("namespaces", 1),
    ("resourcequotas", 1),
    ("limitranges", 1),
    ("networkpolicies", 2),
    ("serviceaccounts", 1),
    ("secrets", 1),
    ("deployments", 1),
    ("services", 1),
    ("ingresses", 1),
];

/// When the last of a preview's objects was there, if all of them are.
pub fn there(server: &ApiServer, namespace: &str) -> Option<Instant> {
    let mut moments: HashMap<String, Vec<Instant>> = HashMap::new();
    for ((resource, ..), at) in server.objects().of(namespace) {
        moments.entry(resource).or_default().push(at);
    }
    let last = OBJECTS.iter().map(|(resource, count)| {
        let of_it = moments.get_mut(*resource)?;
        of_it.sort_unstable();
        of_it.get(count - 1).copied()
    });
    last.collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// How long whoever applies the same objects one after the other takes, in round trips.
async fn sequential(server: &ApiServer, number: u32) -> Result<f64> {
    let (from, to) = (format!("pr-{number}"), format!("sequential-{number}"));
    let mut objects = Vec::new();
    for (resource, count) in OBJECTS {
        let all = server.objects().of(&from).into_iter().map(|(key, _)| key);
        let meant: Vec<_> = all.filter(|key| key.0 == resource).take(count).collect();
        for key in meant {
            let found = server.objects().get(&key).ok().context("one of its objects went")?;
            let mut object = (*found).clone();
            let metadata = object["metadata"].as_object_mut().context("no metadata")?;
            // Without the marks that would have Mayfly look at them.
            metadata.retain(|key, _| key == "name");
            if resource == "namespaces" {
                metadata.insert("name".to_owned(), to.as_str().into());
            }
            objects.push((resource, object));
        }
    }
    let mut client = Plain::connect(server.address).await?;
    let begun = Instant::now();
    for (resource, object) in &objects {
        let namespace = (*resource != "namespaces").then_some(&*to);
        client.apply(resource, namespace, object).await?;
    }
    Ok(begun.elapsed().as_secs_f64() / TRIP.as_secs_f64())
}

/// Measures the three rows.
pub async fn measure(rounds: &mut Rounds<'_>, quick: bool) -> Result<Vec<Row>> {
    let count = if quick { 10 } else { 60 };
    // The first one finds no template, and nobody has asked for the version yet.
    let warm = rounds.open().await?;
    rounds.close(warm.number).await?;
    let (mut trips, mut readys, mut asked, mut theirs) = (vec![], vec![], vec![], vec![]);
    let mut last_asked = Vec::new();
    for _ in 0..count {
        rounds.server.set_latency(TRIP);
        let opened = rounds.open_warm().await?;
        theirs.push(sequential(rounds.server, opened.number).await?);
        rounds.server.set_latency(Duration::ZERO);
        trips.push(opened.objects.as_secs_f64() / TRIP.as_secs_f64());
        readys.push(milliseconds(opened.ready));
        asked.push(opened.asked.len() as f64);
        last_asked = opened.asked;
        rounds.close(opened.number).await?;
    }
    eprintln!("one open asks the API server for: {}", counted(&last_asked));
    let (mut declared, mut gone) = (vec![], vec![]);
    for _ in 0..count {
        let opened = rounds.open_warm().await?;
        declared.push(milliseconds(opened.declared));
        gone.push(milliseconds(rounds.close(opened.number).await?));
    }
    let middle = |of: &[f64]| Spread::of(of.to_vec()).median;
    let last =
        |of: &[f64]| Spread { median: percentile(of.to_vec(), 99), ..Spread::of(of.to_vec()) };
    let one = format!("{:.1} one by one", middle(&theirs));
    let trip = |what: &str| format!("webhook → all 10 objects, in round trips of 10 ms: {what}");
    let said = |of: f64| (one.clone(), format!("{of:.1}; Ready in {:.0} ms", middle(&readys)));
    let of_it = |figure: f64| (String::new(), format!("{figure:.0} ms"));
    let declares = |what: &str| format!("webhook → declared, API server at once, in ms: {what}");
    Ok(vec![
        Row::new(
            "8",
            &trip("p50"),
            Goal::AtMost(3.5),
            said(middle(&trips)),
            Spread::of(trips.clone()),
        ),
        Row::new("8", &trip("p99"), Goal::AtMost(5.0), said(last(&trips).median), last(&trips)),
        Row::new(
            "8",
            "the same objects one after the other, by a plain client: the instrument tells the difference",
            Goal::AtLeast(10.0),
            (String::new(), one.clone()),
            Spread::of(theirs),
        ),
        Row::new(
            "8",
            "requests to the API server for one open, until its objects are there",
            Goal::AtMost(16.0),
            (String::new(), format!("{:.0}", middle(&asked))),
            Spread::of(asked),
        ),
        Row::new(
            "9",
            &declares("p50"),
            Goal::AtMost(60.0),
            of_it(middle(&declared)),
            Spread::of(declared.clone()),
        ),
        Row::new(
            "9",
            &declares("p99"),
            Goal::AtMost(250.0),
            of_it(last(&declared).median),
            last(&declared),
        ),
        Row::new(
            "10",
            "closed → verified gone, our own share, in ms: p99",
            Goal::AtMost(1000.0),
            of_it(last(&gone).median),
            last(&gone),
        ),
    ])
}

/// How often each was asked for, in the order of the alphabet.
fn counted(asked: &[Asked]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for Asked { verb, resource, .. } in asked {
        *counts.entry(format!("{verb} {resource}")).or_default() += 1;
    }
    let each: Vec<_> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    each.join(", ")
}

fn milliseconds(of: Duration) -> f64 {
    of.as_secs_f64() * 1000.0
}
