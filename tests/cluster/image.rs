//! An image of one static program, or of a tree of files, pushed to the node's registry.
//!
//! Refuses to make it run as root: pod security would not let it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Whom the program runs as.
const USER: &str = "65532";

/// What to put into an image.
#[derive(clap::Args)]
pub struct Image {
    /// Where to: host:port of a registry that speaks HTTP
    #[arg(long)]
    pub registry: String,
    /// The repository, such as acme/shop
    #[arg(long)]
    pub name: String,
    /// The program; it becomes /program
    #[arg(long)]
    pub binary: PathBuf,
    /// A directory whose files go along, at the same place below the root
    #[arg(long)]
    pub tree: Option<PathBuf>,
    /// What to run; /program unless told. May be given several times, one word each
    #[arg(long, allow_hyphen_values = true)]
    pub entrypoint: Vec<String>,
    /// Where to find crane; on the path unless told
    #[arg(long, default_value = "crane")]
    pub crane: PathBuf,
}

impl Image {
    /// Pushes it; the reference by digest under which it can be pulled.
    pub fn push(&self) -> Result<String> {
        let scratch = tempfile::tempdir()?;
        let layer = scratch.path().join("layer.tar");
        let mut tar = Command::new("tar");
        // The same files make the same digest, and everybody may read them.
        tar.args([
            "--create",
            "--owner=0",
            "--group=0",
            "--mtime=@0",
            "--sort=name",
            "--mode=a+rX",
        ]);
        tar.arg("--file").arg(&layer);
        // The program under its new name, through a link that tar follows.
        let program = scratch.path().join("program");
        std::os::unix::fs::symlink(
            self.binary.canonicalize().context("finding the program")?,
            program,
        )?;
        tar.args(["--dereference", "--directory"]).arg(scratch.path()).arg("program");
        if let Some(tree) = &self.tree {
            tar.arg("--directory").arg(tree.canonicalize()?).arg(".");
        }
        output(&mut tar)?;
        let tag = format!("{}/{}:latest", self.registry, self.name);
        let crane = |arguments: &[&str]| {
            output(Command::new(&self.crane).arg("--insecure").args(arguments))
        };
        let layer = layer.to_str().context("a name that is not text")?;
        crane(&["append", "--oci-empty-base", "--new_layer", layer, "--new_tag", &tag])?;
        let entrypoint = match &self.entrypoint[..] {
            [] => "/program".to_owned(),
            words => words.join(","),
        };
        let mutate = ["mutate", &tag, "--tag", &tag, "--user", USER, "--entrypoint", &entrypoint];
        crane(&[&mutate[..], &["--set-platform", "linux/amd64"]].concat())?;
        let digest = crane(&["digest", &tag])?;
        Ok(format!("{}/{}@{digest}", self.registry, self.name))
    }

    /// One of a single program.
    pub fn of(registry: &str, name: &str, binary: &Path, crane: &Path) -> Self {
        Self {
            registry: registry.to_owned(),
            name: name.to_owned(),
            binary: binary.to_owned(),
            tree: None,
            entrypoint: Vec::new(),
            crane: crane.to_owned(),
        }
    }
}

/// What a program says, or why it failed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
