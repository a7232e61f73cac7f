//! What the kernel says about this process, under the names that every exporter uses.
//!
//! Read from `/proc` at each scrape. Refuses to guess: what cannot be read is left out.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Ticks in a second in `/proc/<pid>/stat`: Linux shows user space 100, whatever it uses itself.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stat = Stat::read();
        let gauges = [
            ("process_resident_memory_bytes", "Memory in use", resident_bytes()),
            ("process_open_fds", "Open file descriptors", open_descriptors()),
            (
                "process_start_time_seconds",
                "When the process began, since the epoch",
                stat.as_ref().and_then(Stat::began),
            ),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let Some(stat) = stat else { return Ok(()) };
        let counter = ConstCounter::new(stat.cpu_seconds);
        let help = "Processor time, user and system";
        counter.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            help,
            None,
            MetricType::Counter,
        )?)
    }
}

/// From `/proc/self/stat`, proc_pid_stat(5).
struct Stat {
    cpu_seconds: f64,
    /// Since the machine began.
    start_seconds: f64,
}

impl Stat {
    fn read() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The second field is a name in brackets, which may hold anything.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let seconds = |number: usize| -> Option<f64> {
            let ticks: f64 = fields.get(number - 3)?.parse().ok()?;
            Some(ticks / TICKS_PER_SECOND)
        };
        Some(Self { cpu_seconds: seconds(14)? + seconds(15)?, start_seconds: seconds(22)? })
    }

    fn began(&self) -> Option<f64> {
        let machine = std::fs::read_to_string("/proc/stat").ok()?;
        let booted: f64 =
            machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
        Some(booted + self.start_seconds)
    }
}

#[allow(clippy::cast_precision_loss)]
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024.0)
}

#[allow(clippy::cast_precision_loss)]
fn open_descriptors() -> Option<f64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as f64)
}
