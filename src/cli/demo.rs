//! `mayfly demo`: the arguments, and the one production door into the demo's room.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::demo::script::Script;
use crate::demo::story;
use crate::telemetry::{LogFormat, init_logs};

#[derive(clap::Args)]
pub(super) struct DemoArgs {
    /// Keep everything running, with the fleet's page and curl lines to play with, until Ctrl-C.
    #[arg(long)]
    stay: bool,
    /// The port of the previews' URLs; another one if it is taken.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The sample app; `cargo build --example sample-shop` makes it.
    #[arg(long)]
    app: Option<PathBuf>,
    /// Where the sample's schema and rows are.
    #[arg(long, default_value = "seed-data/shop")]
    seed: PathBuf,
}

pub(super) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    if std::env::var_os("MAYFLY_LOG").is_some() {
        init_logs(LogFormat::Text, None);
    }
    let app = match args.app {
        Some(app) => app,
        None => {
            let program = std::env::current_exe()?;
            program.with_file_name("examples").join("sample-shop")
        }
    };
    let script = Script { stay: args.stay, port: args.port, app, seed: args.seed };
    story::tell(script).await
}
