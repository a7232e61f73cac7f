//! How fast, next to what the machine can do: `make bench`, see docs/performance.md.
//!
//! Its own servers in a directory of its own, the release binary, alternating rounds with the baseline.
//! Refuses to compare with another run or another machine.

#![allow(missing_docs, clippy::cast_precision_loss, clippy::cast_possible_truncation)]

mod api_server;
mod clones;
mod cluster;
mod data;
mod figure;
mod fleet;
mod growth;
mod intake;
mod kill;
mod kinds;
mod machine;
mod objects;
mod pickup;
mod plain;
mod plane;
mod protocol;
mod real;
mod report;
mod rounds;
mod setup;
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use api_server::ApiServer;
use machine::{Ticks, resident_mebibytes};
use report::{Goal, Report, Row, Spread, milliseconds};
use rounds::Rounds;
use setup::{LIMITED, Place, UNLIMITED};
use stage::{CLUSTERED, PICKING, PULLS, Stage, binary};

/// How often it is started for row 14.
const STARTS: usize = 5;

#[tokio::main]
async fn main() -> Result<()> {
    let quick = std::env::var("QUICK").is_ok_and(|it| it == "1");
    let (rounds, length) = if quick { (1, 1) } else { (5, 3) };
    let base = tempfile::Builder::new().prefix("mayfly-bench-").tempdir_in(disk())?;
    open(base.path())?;
    let begin = Ticks::now();
    let server = ApiServer::start().await?;
    let kubeconfig = server.kubeconfig(base.path())?;
    let place = |limits| Place { kubeconfig: &kubeconfig, entry: server.address, limits };
    let mut stage = Stage::set(base.path(), &place(LIMITED)).await?;
    let last = if is_wanted(&["14"]) { small(&mut stage).await? } else { Vec::new() };
    let length = Duration::from_secs(length);
    // What fails takes no other row with it.
    let (mut rows, mut failed) = (last, 0);
    let since = Instant::now();
    let mut take = |number: &'static str, measured: Result<Vec<Row>>| {
        eprintln!(
            "after {} s: row {number}, and what is measured with it",
            since.elapsed().as_secs()
        );
        match measured {
            Ok(measured) => rows.extend(measured),
            Err(error) => {
                eprintln!("row {number} could not be measured: {error:#}");
                rows.push(Row::failed(number, &error));
                failed += 1;
            }
        }
    };
    if is_wanted(&["4"]) {
        take("4", picked(&stage, base.path(), &place(UNLIMITED), quick).await);
    }
    if is_wanted(&["1", "2"]) {
        take("1", intake::measure(&stage, base.path(), rounds, length).await);
        take("1", kill::measure(base.path(), &place(LIMITED)).await.map(|row| vec![row]));
    }
    if is_wanted(&["3"]) {
        take("3", clones::beside(&stage, quick).await.map(|row| vec![row]));
    }
    if is_wanted(&["6"]) {
        take("6", clones::cold(&stage.previews, quick).await);
    }
    if is_wanted(&["5", "7"]) {
        take("5", data::measure(&stage.previews, quick).await);
    }
    if is_wanted(&["8", "9", "10", "11", "13"]) {
        take("8", in_cluster(&stage, base.path(), quick).await);
    }
    if is_wanted(&["8b"]) {
        take("8b", real::measure(&stage, base.path(), quick).await);
    }
    if is_wanted(&["12"]) {
        take("12", growth::measure(&stage.ledger, base.path(), quick).await);
    }
    rows.sort_by_key(|row| row.number.trim_end_matches(char::is_alphabetic).parse::<u32>().ok());
    let foreign_cpu = Ticks::now().foreign_since(begin);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let report = Report { version: env!("CARGO_PKG_VERSION"), cores, quick, foreign_cpu, rows };
    println!("{}", report.table());
    let place = scratch()?.join("report.json");
    std::fs::write(&place, serde_json::to_vec_pretty(&report)?)?;
    figure::write(&report, &scratch()?)?;
    println!("the same as JSON, and as pictures beside it: {}", place.display());
    ensure!(failed == 0, "{failed} of the measurements failed; the table says why");
    Ok(())
}

/// Whether one of these rows is measured: all are, unless ONLY names some.
fn is_wanted(rows: &[&str]) -> bool {
    let only = std::env::var("ONLY").unwrap_or_default();
    only.is_empty() || only.split(',').any(|it| rows.contains(&it.trim()))
}

/// Row 4, on an installation of its own.
async fn picked(
    stage: &Stage,
    directory: &Path,
    place: &Place<'_>,
    quick: bool,
) -> Result<Vec<Row>> {
    let picking = stage.beside(directory, PICKING, PULLS, place).await?;
    pickup::measure(&picking, quick).await
}

/// Rows 8 to 11 and 13, on an installation of their own.
async fn in_cluster(stage: &Stage, directory: &Path, quick: bool) -> Result<Vec<Row>> {
    let server = ApiServer::start().await?;
    let kubeconfig = server.kubeconfig(directory)?;
    let place = &Place { kubeconfig: &kubeconfig, entry: server.address, limits: UNLIMITED };
    let mut clustered = stage.beside(directory, CLUSTERED, 0, place).await?;
    let mut rows = Vec::new();
    if is_wanted(&["8", "9", "10"]) {
        let sight = |namespace: &str| cluster::there(&server, namespace);
        let mut rounds = Rounds::new(&clustered, cluster::FIRST, &sight).await?;
        rows.extend(cluster::measure(&mut rounds, &server, quick).await?);
    }
    if is_wanted(&["11", "13"]) {
        rows.extend(fleet::measure(&mut clustered, &server, quick).await?);
    }
    Ok(rows)
}

/// Row 14: what it takes to be there.
async fn small(stage: &mut Stage) -> Result<Vec<Row>> {
    // The first start of all reads the program from the disk, and makes the ledger's first sessions.
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        stage.stop().await?;
        let begun = Instant::now();
        stage.start()?;
        stage.ready().await?;
        starts.push(milliseconds(begun.elapsed()));
    }

    let pid = stage.mayfly.id().context("mayfly serve has ended")?;
    let mebibytes = std::fs::metadata(binary())?.len() as f64 / 1024.0 / 1024.0;
    let idle = resident_mebibytes(pid);
    let row = |what: &str, most: f64, figures: Vec<f64>, unit: &str| {
        let figure = Spread::of(figures);
        let said = (String::new(), format!("{:.0} {unit}", figure.median));
        Row::new("14", what, Goal::AtMost(most), said, figure)
    };
    Ok(vec![
        row("idle memory, in MiB", 25.0, vec![idle], "MiB"),
        row("the stripped binary, in MiB", 30.0, vec![mebibytes], "MiB"),
        row("exec → /readyz, in ms", 150.0, starts, "ms"),
    ])
}

/// Where a run has its servers: what is kept over a restart is on a disk, which the system's directory
/// for temporary files need not be, and PostgreSQL's own user may pass.
fn disk() -> std::path::PathBuf {
    std::env::var_os("BENCH_DIR").map_or_else(|| "/var/tmp".into(), Into::into)
}

/// The directory of the build.
fn target() -> Result<std::path::PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.ancestors().nth(3).context("a program of a target directory")?.to_owned())
}

/// Where a run leaves its report: beside the build.
fn scratch() -> Result<std::path::PathBuf> {
    let place = target()?.join("bench");
    std::fs::create_dir_all(&place)?;
    Ok(place)
}

/// PostgreSQL's own user passes through.
fn open(directory: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?)
}
