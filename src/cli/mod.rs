//! The command line.
//!
//! Exit codes: 0 done; 1 it failed; 2 the configuration or the call is wrong.

mod demo;
mod github_app;
mod healthcheck;
mod render;
mod token;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use secrecy::ExposeSecret;
use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::config::{Config, ConfigError};
use crate::http;
use crate::ledger::Ledger;
use crate::telemetry::{Spans, init_logs};
use crate::workload::chart;

/// Ephemeral preview environments for pull requests.
#[derive(Parser)]
#[command(name = "mayfly", version, about, after_help = EXAMPLES)]
struct Call {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  mayfly demo --stay                             see the whole of it on this machine
  mayfly check-config --config mayfly.yaml       say what is wrong with a configuration
  mayfly migrate --config mayfly.yaml            bring the ledger's schema up to date
  mayfly serve --config mayfly.yaml              run the controller
  mayfly token create --name ci --role operator  make an API token
  mayfly render --repo acme/shop --pr 7 --diff   what would change in the cluster, and why
  mayfly github-app create --organization acme   make the GitHub App that it logs in as

Every key of the configuration can be set by a variable: previews.suffix by
MAYFLY_PREVIEWS__SUFFIX. MAYFLY_LOG sets what is logged, for example debug.";

#[derive(clap::Args)]
struct ConfigArg {
    /// The configuration file; mayfly.example.yaml documents every key.
    #[arg(long, env = "MAYFLY_CONFIG", default_value = "mayfly.yaml")]
    config: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Run the controller until SIGTERM or Ctrl-C.
    Serve {
        #[command(flatten)]
        config: ConfigArg,
        /// Bring the ledger's schema up to date first.
        #[arg(long)]
        migrate: bool,
    },
    /// Bring the ledger's schema up to date; forward only, safe to repeat.
    Migrate {
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Check a configuration and say what is wrong with it.
    CheckConfig {
        #[command(flatten)]
        config: ConfigArg,
    },
    /// Print the API's OpenAPI 3.1 description.
    Openapi,
    /// Ask URLs whether all is well; for containers without a shell.
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Make and revoke API tokens.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Make a GitHub App with the permissions that Mayfly needs.
    #[command(subcommand)]
    GithubApp(github_app::GitHubAppCommand),
    /// Print what would be applied for a pull request, and nothing else is done.
    Render(render::RenderArgs),
    /// Expand plain manifests; Mayfly calls this itself, in a process that it can bound.
    #[command(hide = true, name = chart::manifests::COMMAND)]
    ExpandManifests {
        /// The directory of templates; the facts come on standard input.
        directory: PathBuf,
    },
    /// Show everything on this machine: three pull requests, from opening to receipt.
    Demo(demo::DemoArgs),
}

/// Runs the program; its exit code.
pub fn run() -> ExitCode {
    let call = Call::parse();
    // Chosen before anything can ask for TLS; a second choice would be refused, and is harmless.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mayfly: the runtime did not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(call.command)) {
        Ok(code) => code,
        Err(error) if error.is::<ConfigError>() => {
            eprintln!("mayfly: configuration: {error}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("mayfly: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, each said once: some say their cause themselves.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            let colon = if text.is_empty() { "" } else { ": " };
            text = format!("{text}{colon}{cause}");
        }
    }
    text
}

async fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve { config, migrate } => serve(Config::load(&config.config)?, migrate).await?,
        Command::Migrate { config } => {
            ledger(&Config::load(&config.config)?).await?.migrate().await?;
            println!("the ledger's schema is up to date");
        }
        Command::CheckConfig { config } => {
            Config::load(&config.config)?;
            println!("{} is fine", config.config.display());
        }
        // A reader that has seen enough is no failure.
        Command::Openapi => {
            let description = http::openapi().to_pretty_json()?;
            let _ = writeln!(std::io::stdout(), "{description}");
        }
        Command::Healthcheck(args) => healthcheck::run(args).await?,
        Command::Token(command) => token::run(command).await?,
        Command::GithubApp(command) => github_app::run(command).await?,
        Command::Render(args) => render::run(args).await?,
        Command::ExpandManifests { directory } => {
            let (facts, output) = (std::io::stdin().lock(), std::io::stdout().lock());
            let expanded =
                chart::manifests::expand(&directory, facts, std::io::BufWriter::new(output));
            if let Err(error) = expanded {
                // Without a word of ours before it: it is shown on the pull request.
                eprintln!("{error}");
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Demo(args) => return demo::run(args).await,
    }
    Ok(ExitCode::SUCCESS)
}

/// An argument that is wrong.
fn wrong(key: &str, why: &str) -> ConfigError {
    ConfigError { key: key.to_owned(), why: why.to_owned() }
}

async fn serve(config: Config, migrate: bool) -> anyhow::Result<()> {
    let spans = config.otlp.as_ref().map(Spans::start).transpose();
    let spans = spans.map_err(|why| anyhow::anyhow!("telemetry.otlp.endpoint: {why}"))?;
    init_logs(config.log_format, spans.as_ref());
    let served = serve_until_told(config, migrate).await;
    if let Some(spans) = spans {
        // It waits for the collector, and what carries the spans there needs the runtime.
        tokio::task::spawn_blocking(move || spans.stop()).await?;
    }
    served
}

async fn serve_until_told(config: Config, migrate: bool) -> anyhow::Result<()> {
    if migrate {
        let ledger = ledger(&config).await?;
        ledger.migrate().await?;
        ledger.close().await;
    }
    let mut terminated = signal(SignalKind::terminate()).context("hearing SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("hearing SIGINT")?;
    let (listen, operations) = (config.listen, config.operations_listen);
    let app = App::start(config).await.context("starting")?;
    tracing::info!(%listen, %operations, "mayfly is up");
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
    tracing::info!("stopping; previews stay as they are");
    tokio::select! {
        () = app.stop() => Ok(()),
        _ = terminated.recv() => bail!("stopped at once by a second signal"),
        _ = interrupted.recv() => bail!("stopped at once by a second signal"),
    }
}

async fn ledger(config: &Config) -> anyhow::Result<Ledger> {
    let url = config.ledger_url.expose_secret();
    Ledger::connect(url, config.ledger_connections).await.context("connecting to ledger.url")
}
