//! What migrates a preview's database before its workload starts, as data.
//!
//! Refuses to take a command from the pull request: what it runs is in the image, how is the team's
//! configuration.

use std::time::Duration;

/// The pull request's own migrations, as the repository's configuration runs them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrations {
    /// Program and arguments, in the workload's own image, directory and environment.
    pub command: Vec<String>,
    /// How long they may take before they are ended.
    pub timeout: Duration,
    /// Where the repository keeps them, if histories are to be compared.
    pub directory: Option<String>,
}

impl Migrations {
    /// How long they may take, for people: `10m`, `1h 30m`.
    pub fn patience(&self) -> String {
        let seconds = self.timeout.as_secs();
        let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
        let words: Vec<_> = parts
            .iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, unit)| format!("{number}{unit}"))
            .collect();
        words.join(" ")
    }

    /// Why they failed, and the cure.
    pub fn failed(how: &str) -> String {
        format!("its migrations failed: {how}; a new commit or a redeploy runs them again")
    }

    /// The same, of migrations that hung.
    pub fn failed_late(&self) -> String {
        Self::failed(&format!(
            "they did not end within {} (workload.migrations.timeout)",
            self.patience()
        ))
    }

    /// The same, of a program that ended with this code; a shell's two say that none was started.
    pub fn failed_with(code: i64) -> String {
        match code {
            126 | 127 => Self::failed(&format!(
                "exit code {code}, as of a program that is not there or may not be run (see \
                 workload.migrations.command)"
            )),
            code => Self::failed(&format!("exit code {code}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_told_as_people_write_it() {
        for (seconds, told) in [(600, "10m"), (5400, "1h 30m"), (1, "1s"), (3661, "1h 1m 1s")] {
            let timeout = Duration::from_secs(seconds);
            let migrations = Migrations { command: vec![], timeout, directory: None };
            assert_eq!(migrations.patience(), told);
        }
    }
}
