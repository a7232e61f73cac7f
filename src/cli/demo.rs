//! `mayfly demo`: the arguments, and the one production door into the demo's room.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::demo::place::{ClusterPlace, Place};
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
    /// Run previews as pods of a cluster; this machine plays everything else.
    #[arg(long, requires_all = ["image", "postgres_host", "ingress_address"])]
    cluster: bool,
    /// With --cluster: how to reach it; KUBECONFIG if not said.
    #[arg(long, requires = "cluster")]
    kubeconfig: Option<PathBuf>,
    /// With --cluster: the sample app's image by digest, which the cluster can pull.
    #[arg(long, requires = "cluster")]
    image: Option<String>,
    /// With --cluster: an address of this machine that pods reach; PostgreSQL listens there.
    #[arg(long, requires = "cluster")]
    postgres_host: Option<IpAddr>,
    /// With --cluster: the class of the previews' Ingress.
    #[arg(long, requires = "cluster", default_value = "traefik")]
    ingress_class: String,
    /// With --cluster: where its ingress takes visitors: address:port.
    #[arg(long, requires = "cluster")]
    ingress_address: Option<SocketAddr>,
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
    let script =
        Script { stay: args.stay, port: args.port, seed: args.seed.clone(), place: place(args)? };
    story::tell(script).await
}

fn place(args: DemoArgs) -> anyhow::Result<Place> {
    if let (Some(image), Some(postgres_host), Some(ingress)) =
        (args.image, args.postgres_host, args.ingress_address)
    {
        let (kubeconfig, ingress_class) = (args.kubeconfig, args.ingress_class);
        let kubeconfig = kubeconfig.map(std::path::absolute).transpose()?;
        return Ok(Place::Cluster(ClusterPlace {
            kubeconfig,
            image,
            postgres_host,
            ingress_class,
            ingress,
        }));
    }
    let app = match args.app {
        Some(app) => app,
        None => {
            let program = std::env::current_exe()?;
            program.with_file_name("examples").join("sample-shop")
        }
    };
    Ok(Place::Machine(app))
}
