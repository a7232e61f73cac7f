//! Tests that cannot run here, said aloud and counted.
//!
//! Refuses to be quiet: the number of those is the last line of the run.

use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Mutex;

/// One counter for each reason.
pub struct Skipped {
    /// What is missing, and how to get it.
    why: &'static str,
    counter: Mutex<Option<ChildStdin>>,
}

impl Skipped {
    pub const fn for_want_of(why: &'static str) -> Self {
        Self { why, counter: Mutex::new(None) }
    }

    /// A process of its own counts: nothing of ours runs after the last test, and what a test prints
    /// is not shown when it passes.
    pub fn count(&self) {
        let mut counter = self.counter.lock().unwrap();
        let counter = counter.get_or_insert_with(|| {
            let script = r#"echo "skipped: $(wc -l) tests need $0" >&2"#;
            let mut counter = Command::new("sh");
            let counter = counter.args(["-c", script, self.why]).stdin(Stdio::piped());
            counter.spawn().unwrap().stdin.take().unwrap()
        });
        writeln!(counter).unwrap();
    }
}
