//! How fast, next to what the machine can do: `make bench`, see docs/performance.md.
//!
//! Its own servers in a directory of its own, the release binary, alternating rounds with the baseline.
//! Refuses to compare with another run or another machine.

#![allow(missing_docs, clippy::cast_precision_loss, clippy::cast_possible_truncation)]

mod data;
mod intake;
mod machine;
mod report;
mod stage;

use std::time::Duration;

use anyhow::{Context, Result};

use machine::{Ticks, resident_mebibytes};
use report::{Goal, Report, Row, Spread};
use stage::{Stage, binary};

#[tokio::main]
async fn main() -> Result<()> {
    let quick = std::env::var("QUICK").is_ok_and(|it| it == "1");
    let (rounds, length) = if quick { (1, 1) } else { (5, 3) };
    let base = tempfile::Builder::new().prefix("mayfly-bench-").tempdir_in(disk())?;
    open(base.path())?;
    let begin = Ticks::now();
    let stage = Stage::set(base.path()).await?;
    let mut rows = small(&stage)?;
    let length = Duration::from_secs(length);
    rows.splice(0..0, data::measure(&stage.previews, quick).await?);
    rows.splice(0..0, intake::measure(&stage, base.path(), rounds, length).await?);
    let foreign_cpu = Ticks::now().foreign_since(begin);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let report = Report { version: env!("CARGO_PKG_VERSION"), cores, quick, foreign_cpu, rows };
    println!("{}", report.table());
    let place = scratch()?.join("report.json");
    std::fs::write(&place, serde_json::to_vec_pretty(&report)?)?;
    println!("the same as JSON: {}", place.display());
    Ok(())
}

/// Row 14: what it takes to be there.
fn small(stage: &Stage) -> Result<Vec<Row>> {
    let pid = stage.mayfly.id().context("mayfly serve has ended")?;
    let mebibytes = std::fs::metadata(binary())?.len() as f64 / 1024.0 / 1024.0;
    let start = stage.started_in.as_secs_f64() * 1000.0;
    let idle = resident_mebibytes(pid);
    let row = |what: &str, most: f64, figure: f64, unit: &str| {
        let said = (String::new(), format!("{figure:.0} {unit}"));
        Row::new("14", what, Goal::AtMost(most), said, Spread::of(vec![figure]))
    };
    Ok(vec![
        row("idle memory, in MiB", 25.0, idle, "MiB"),
        row("the stripped binary, in MiB", 30.0, mebibytes, "MiB"),
        row("exec → /readyz, in ms", 150.0, start, "ms"),
    ])
}

/// Where a run has its servers: what is kept over a restart is on a disk, which the system's directory
/// for temporary files need not be, and PostgreSQL's own user may pass.
fn disk() -> std::path::PathBuf {
    std::env::var_os("BENCH_DIR").map_or_else(|| "/var/tmp".into(), Into::into)
}

/// Where a run leaves its report: beside the build.
fn scratch() -> Result<std::path::PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().nth(3).context("a program of a target directory")?;
    let place = target.join("bench");
    std::fs::create_dir_all(&place)?;
    Ok(place)
}

/// PostgreSQL's own user passes through.
fn open(directory: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?)
}
