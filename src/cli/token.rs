//! `mayfly token`: making and revoking API tokens.
//!
//! A token is shown once, on standard output, and never kept.

use std::io::Write;

use anyhow::{Context, bail};
use chrono::TimeDelta;
use clap::Subcommand;

use super::{ConfigArg, ledger, wrong};
use crate::clock::{fresh_bytes, fresh_id};
use crate::config::{Config, duration};
use crate::database::Password;
use crate::ledger::Role;

/// Actors in the journal that are not people.
const RESERVED: [&str; 3] = ["mayfly", "github", "sweep"];

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token and print it, once.
    Create {
        #[command(flatten)]
        config: ConfigArg,
        /// Under which name its deeds are in the journal.
        #[arg(long)]
        name: String,
        /// viewer looks; operator extends, stops, starts; admin deletes.
        #[arg(long, default_value = "viewer")]
        role: String,
        /// How long it is valid.
        #[arg(long, default_value = "90d")]
        valid_for: String,
    },
    /// Revoke every token of a name.
    Revoke {
        #[command(flatten)]
        config: ConfigArg,
        /// The name.
        #[arg(long)]
        name: String,
    },
}

pub(super) async fn run(command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Create { config, name, role, valid_for } => {
            let role =
                Role::parse(&role).ok_or_else(|| wrong("--role", "viewer, operator or admin"))?;
            let valid_for =
                duration::parse(&valid_for).map_err(|why| wrong("--valid-for", &why))?;
            if valid_for < TimeDelta::minutes(1) {
                return Err(wrong("--valid-for", "at least a minute").into());
            }
            if name.trim().is_empty() || name.len() > 100 {
                return Err(wrong("--name", "1 to 100 characters").into());
            }
            if RESERVED.contains(&name.as_str()) {
                let why = "is what the journal calls somebody else; choose another";
                return Err(wrong("--name", why).into());
            }
            let ledger = ledger(&Config::load(&config.config)?).await?;
            let token = fresh_token();
            let now = ledger.server_time().await?;
            let expires_at = now + valid_for;
            if !ledger.is_migrated().await? {
                bail!("the ledger's schema is not up to date; run: mayfly migrate");
            }
            ledger.add_token(fresh_id(), &name, role, &token, expires_at, now).await?;
            eprintln!("valid until {}; it is shown only now:", expires_at.format("%F %R UTC"));
            writeln!(std::io::stdout(), "{token}").context("showing the token; revoke it")?;
        }
        TokenCommand::Revoke { config, name } => {
            let ledger = ledger(&Config::load(&config.config)?).await?;
            match ledger.revoke_tokens(&name, ledger.server_time().await?).await? {
                0 => bail!("there is no valid token named {name:?}"),
                count => println!("revoked {count}"),
            }
        }
    }
    Ok(())
}

/// A new token: recognisable by its prefix, 256 bits.
fn fresh_token() -> String {
    format!("mayfly_{}", Password::from_bytes(fresh_bytes()).reveal())
}
