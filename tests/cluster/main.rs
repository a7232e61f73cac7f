//! A real Kubernetes for the tests, on this machine, for as long as somebody wants it.
//!
//! Prints one line of JSON when it is ready, and then runs until its standard input closes or it is
//! told to stop. Refuses to leave anything behind: what a run that was killed left is removed at the
//! next start, or by `test-cluster clean`.

mod certificates;
mod control_plane;
mod image;
mod kubeconfig;
mod leftovers;
mod node;
mod programs;
mod run;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use futures_util::FutureExt;
use tokio::signal::unix::{SignalKind, signal};

use control_plane::{Addresses, ControlPlane};
use image::Image;
use node::Node;
use programs::Programs;
use run::Run;

/// How often a start is tried: a port that was free may be taken when it is used.
const STARTS: usize = 3;

/// What a program says whose port was taken.
const TAKEN: &str = "address already in use";

#[derive(Parser)]
#[command(name = "test-cluster", about = "A real Kubernetes for the tests")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// API server, controllers, scheduler, and one pretended node; needs no root
    ControlPlane(Place),
    /// The same with a node that really runs pods, and what stands around it; needs root
    Node(Place),
    /// Makes an image of a static program, pushes it, and prints its name with the digest
    PushImage(Image),
    /// Removes what runs that were killed left
    Clean(Place),
}

#[derive(clap::Args)]
struct Place {
    /// Where runs have their directories; one below the system's for temporary files unless told
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Place {
    fn base(self) -> PathBuf {
        let uid = rustix::process::getuid().as_raw();
        self.dir.unwrap_or_else(|| std::env::temp_dir().join(format!("mayfly-cluster-{uid}")))
    }
}

// One thread: the programs are tied to the life of the thread that started them.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // kube finds its TLS library by itself only where it is the only one in the tree.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let done = match Arguments::parse().what {
        What::ControlPlane(place) => control_plane(place).await,
        What::Node(place) => node(place).await,
        What::PushImage(image) => image.push().map(|name| println!("{name}")),
        What::Clean(place) => leftovers::clean(&place.base()).await.map(|_| ()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // It has said why.
        Err(error) if error.is::<programs::Missing>() => ExitCode::from(3),
        Err(error) => {
            eprintln!("test-cluster: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn control_plane(place: Place) -> Result<()> {
    if let Some(kubeconfig) = std::env::var_os("KUBECONFIG").filter(|path| !path.is_empty()) {
        eprintln!("test-cluster: using the cluster of $KUBECONFIG, {}", kubeconfig.display());
        println!("{}", Programs::on_path().described(&PathBuf::from(kubeconfig), false));
        return Ok(());
    }
    let programs = Programs::built("control-plane")?;
    let base = place.base();
    leftovers::clean(&base).await?;
    hold(&base, async |run| {
        let control_plane = ControlPlane::start(run, &programs, &Addresses::local()).await?;
        control_plane.pretend_a_node(run, &programs).await?;
        println!("{}", programs.described(&control_plane.kubeconfig, true));
        Ok(())
    })
    .await
}

async fn node(place: Place) -> Result<()> {
    node::prepare()?;
    let programs = Programs::built("node")?;
    let base = place.base();
    leftovers::clean(&base).await?;
    hold(&base, async |run| {
        let node = Node::start(run, &programs).await?;
        println!("{}", node.described()?);
        Ok(())
    })
    .await
}

/// Starts, waits until nobody wants it any longer, and removes it, whatever happens in between.
async fn hold(base: &std::path::Path, start: impl AsyncFn(&Run) -> Result<()>) -> Result<()> {
    let unwanted = unwanted()?.boxed_local().shared();
    for attempt in 1.. {
        let run = Run::make(base)?;
        let started = std::panic::AssertUnwindSafe(async {
            tokio::select! {
                () = unwanted.clone() => Ok(()),
                done = start(&run) => done,
            }
        });
        let started = started.catch_unwind().await;
        if let Ok(Ok(())) = &started {
            unwanted.clone().await;
        }
        let removed = run.remove().await.context("removing the cluster");
        match started {
            Ok(Ok(())) => return removed,
            Ok(Err(error)) if attempt < STARTS && format!("{error:#}").contains(TAKEN) => {
                eprintln!("test-cluster: once more: {error:#}");
            }
            Ok(Err(error)) => {
                if let Err(left) = removed {
                    eprintln!("test-cluster: {left:#}");
                }
                return Err(error);
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    Ok(())
}

/// Ends when whoever started us closes our standard input, or we are told to stop.
fn unwanted() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (open, closed) = tokio::sync::oneshot::channel::<()>();
    // A thread, not a task: a read of standard input cannot be called off.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(open);
    });
    Ok(async move {
        tokio::select! {
            _ = closed => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
