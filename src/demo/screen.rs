//! What the demo shows: a line per preview that changes in place, and words that scroll by.
//!
//! Where the output is no terminal each change is a plain line, so that a log reads well.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::Instant;

/// The screen of one demo.
pub struct Screen {
    live: bool,
    start: Instant,
    lines: BTreeMap<String, String>,
    drawn: usize,
}

impl Screen {
    /// Takes standard output.
    pub fn new() -> Self {
        let live = std::io::stdout().is_terminal();
        Self { live, start: Instant::now(), lines: BTreeMap::new(), drawn: 0 }
    }

    /// A heading.
    pub fn heading(&mut self, text: &str) {
        let text = if self.live { format!("\n\x1b[1m{text}\x1b[0m") } else { format!("\n{text}") };
        self.scroll(&text);
    }

    /// A line with the time since the start.
    pub fn say(&mut self, text: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        self.scroll(&format!("{seconds:7.2}s  {text}"));
    }

    /// A line as it is.
    pub fn print(&mut self, text: &str) {
        self.scroll(&format!("          {text}"));
    }

    /// How a preview stands now; nothing happens when it stands as it did.
    pub fn status(&mut self, preview: &str, text: &str) {
        if self.lines.get(preview).is_some_and(|old| old == text) {
            return;
        }
        self.lines.insert(preview.to_owned(), text.to_owned());
        if self.live {
            self.erase();
            self.draw();
        } else {
            let seconds = self.start.elapsed().as_secs_f64();
            write(&format!("{seconds:7.2}s  {preview:<10} {text}\n"));
        }
    }

    fn scroll(&mut self, text: &str) {
        self.erase();
        write(&format!("{text}\n"));
        self.draw();
    }

    fn erase(&mut self) {
        if self.live && self.drawn > 0 {
            write(&format!("\x1b[{}A\x1b[J", self.drawn));
            self.drawn = 0;
        }
    }

    fn draw(&mut self) {
        if !self.live {
            return;
        }
        for (preview, text) in &self.lines {
            // A line that wraps would be counted wrong when it is erased.
            let text: String = text.chars().take(66).collect();
            write(&format!("  \x1b[36m{preview:<10}\x1b[0m {text}\n"));
        }
        self.drawn = self.lines.len();
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}

/// A reader that went away (a closed pipe) does not stop the demo from cleaning up.
fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
