//! Rows 8 to 10: how soon a pull request has its preview in a cluster, and how soon nothing is left of it.
//!
//! Against an API server whose answers all take the same time, so that what is counted is round trips and
//! not the machine. Refuses to call a preview declared that lacks one of its objects.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::api_server::{ApiServer, Asked};
use super::kinds::{OBJECTS, complete};
use super::plain::Plain;
use super::report::{Goal, Row, Spread, milliseconds, percentile};
use super::rounds::Rounds;

/// What one request takes where round trips are counted.
pub const TRIP: Duration = Duration::from_millis(10);

/// Where the numbers of its pull requests begin.
pub const FIRST: u32 = 2001;

/// When the last of a preview's objects was there, if all of them are.
pub fn there(server: &ApiServer, namespace: &str) -> Option<Instant> {
    complete(server.objects().of(namespace).into_iter().map(|((resource, ..), at)| (resource, at)))
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
pub async fn measure(rounds: &mut Rounds<'_>, server: &ApiServer, quick: bool) -> Result<Vec<Row>> {
    let count = if quick { 10 } else { 60 };
    // The first one finds no template, and nobody has asked for the version yet.
    let warm = rounds.open().await?;
    rounds.rest(&warm).await?;
    rounds.close(warm.number).await?;
    let (mut trips, mut readys, mut asked, mut theirs) = (vec![], vec![], vec![], vec![]);
    let mut last_asked = Vec::new();
    for _ in 0..count {
        server.set_latency(TRIP);
        let opened = rounds.open_warm().await?;
        readys.push(milliseconds(rounds.rest(&opened).await?));
        theirs.push(sequential(server, opened.number).await?);
        server.set_latency(Duration::ZERO);
        trips.push(opened.objects().as_secs_f64() / TRIP.as_secs_f64());
        last_asked = server.asked(opened.sent, opened.there);
        asked.push(last_asked.len() as f64);
        rounds.close(opened.number).await?;
    }
    eprintln!("one open asks the API server for: {}", counted(&last_asked));
    let (mut declared, mut gone) = (vec![], vec![]);
    for _ in 0..count {
        let opened = rounds.open_warm().await?;
        declared.push(milliseconds(opened.declared));
        rounds.rest(&opened).await?;
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
