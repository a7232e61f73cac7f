//! What the machine did meanwhile, as the kernel counts it.

use std::collections::BTreeMap;
use std::fs;

/// Processor time so far, in clock ticks: of everybody, and of us with all that we started.
#[derive(Clone, Copy)]
pub struct Ticks {
    busy: u64,
    all: u64,
    ours: u64,
}

impl Ticks {
    pub fn now() -> Self {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let first = text.lines().next().unwrap_or_default();
        let fields: Vec<u64> =
            first.split_whitespace().skip(1).filter_map(|it| it.parse().ok()).collect();
        let all = fields.iter().take(8).sum();
        let idle: u64 = fields.iter().skip(3).take(2).sum();
        Self { busy: all - idle, all, ours: ours() }
    }

    /// How much of the machine others had since then, from 0 to 1. What ended meanwhile of ours is
    /// counted by whoever waited for it.
    pub fn foreign_since(self, begin: Self) -> f64 {
        let busy = self.busy.saturating_sub(begin.busy);
        let ours = self.ours.saturating_sub(begin.ours);
        let all = self.all.saturating_sub(begin.all).max(1);
        busy.saturating_sub(ours) as f64 / all as f64
    }
}

/// The time of this process and its descendants, and of the children that they waited for.
fn ours() -> u64 {
    let mut processes = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(text) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((_, rest)) = text.rsplit_once(')') else { continue };
        let fields: Vec<u64> =
            rest.split_whitespace().skip(1).map(|it| it.parse().unwrap_or(0)).collect();
        let parent = fields.first().copied().unwrap_or_default() as u32;
        processes.insert(pid, (parent, fields.iter().skip(10).take(4).sum::<u64>()));
    }
    let own = std::process::id();
    let descends = |mut pid: u32| {
        while pid > 1 && pid != own {
            pid = processes.get(&pid).map_or(0, |(parent, _)| *parent);
        }
        pid == own
    };
    processes.iter().filter(|(pid, _)| descends(**pid)).map(|(_, (_, ticks))| ticks).sum()
}

/// How much memory a process holds that is in use, in MiB.
pub fn resident_mebibytes(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|it| it.split_whitespace().next()?.parse::<f64>().ok());
    kibibytes.unwrap_or(f64::NAN) / 1024.0
}

/// How much processor time a process has had, in seconds.
pub fn processor_seconds(pid: u32) -> f64 {
    /// What Linux counts in, whatever the kernel's own ticks are.
    const TICKS_A_SECOND: f64 = 100.0;
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(11).take(2));
    let ticks: Option<Vec<f64>> = fields.and_then(|it| it.map(|it| it.parse().ok()).collect());
    ticks.map_or(f64::NAN, |it| it.iter().sum::<f64>() / TICKS_A_SECOND)
}
