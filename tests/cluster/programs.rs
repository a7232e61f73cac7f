//! Where the programs of the cluster are. Refuses to build anything by itself: `tests/tools/build`
//! does, once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Programs by name.
pub struct Programs(BTreeMap<String, PathBuf>);

/// Programs are missing, and what it takes to make them is missing too. What to do has been said.
#[derive(Debug, thiserror::Error)]
#[error("programs are missing, and cannot be built here")]
pub struct Missing;

impl Programs {
    /// Those of this set (`control-plane` or `node`), built where they are not yet there.
    pub fn built(set: &str) -> Result<Self> {
        let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/build");
        let mut command = Command::new(&build);
        command.arg(set).stdin(Stdio::null()).stderr(Stdio::inherit());
        let output = command.output().with_context(|| format!("running {}", build.display()))?;
        match output.status.code() {
            Some(0) => {}
            Some(3) => return Err(Missing.into()),
            _ => bail!("{} {set}: {}", build.display(), output.status),
        }
        let lines = String::from_utf8(output.stdout)?;
        let pairs = lines.lines().filter_map(|line| line.split_once(' '));
        Ok(Self(pairs.map(|(name, path)| (name.to_owned(), path.into())).collect()))
    }

    /// What people have who bring a cluster of their own.
    pub fn on_path() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let find = |name: &&str| {
            std::env::split_paths(&path).map(|dir| dir.join(name)).find(|it| it.is_file())
        };
        let names = ["helm", "kubectl"].into_iter();
        Self(names.filter_map(|name| Some((name.to_owned(), find(&name)?))).collect())
    }

    /// Where this one is.
    pub fn path(&self, name: &str) -> Result<&Path> {
        let path = self.0.get(name).with_context(|| format!("tests/tools/build made no {name}"))?;
        Ok(path)
    }

    /// What whoever started us needs to know. `pretended` says that the node is, and that pods meet
    /// the fate of their label.
    pub fn described(&self, kubeconfig: &Path, pretended: bool) -> Value {
        json!({
            "kubeconfig": kubeconfig,
            "helm": self.0.get("helm"),
            "kubectl": self.0.get("kubectl"),
            "pretended": pretended,
        })
    }
}
