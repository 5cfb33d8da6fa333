//! What a process takes and holds, by the kernel's own account.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::boot_time_ns;

/// What was taken between two moments.
#[derive(Debug)]
pub struct Meter {
    pid: u32,
    began_ns: u64,
    cpu: Duration,
}

impl Meter {
    pub fn start(pid: u32) -> Result<Self> {
        Ok(Self { pid, began_ns: boot_time_ns(), cpu: cpu_time(pid)? })
    }

    /// Of one core.
    pub fn share(&self) -> Result<f64> {
        let passed = Duration::from_nanos(boot_time_ns() - self.began_ns);
        Ok((cpu_time(self.pid)? - self.cpu).as_secs_f64() / passed.as_secs_f64())
    }
}

/// What can leak.
#[derive(Clone, Copy, Debug)]
pub struct Holds {
    pub resident_kib: u64,
    pub descriptors: usize,
    pub threads: usize,
}

impl Holds {
    /// The least of half a second: looks and those who ask come and go.
    pub fn of(pid: u32) -> Result<Self> {
        let mut least = Self::now(pid)?;
        for _ in 0..25 {
            thread::sleep(Duration::from_millis(20));
            let now = Self::now(pid)?;
            least.resident_kib = least.resident_kib.min(now.resident_kib);
            least.descriptors = least.descriptors.min(now.descriptors);
            least.threads = least.threads.min(now.threads);
        }
        Ok(least)
    }

    /// Whether the memory of one and the same process still grows, for people.
    pub fn by_tenths(all: &[Self]) -> String {
        let last = all.len().saturating_sub(1);
        let parts = (0..=10).filter_map(|part| all.get(last * part / 10));
        let parts: Vec<u64> = parts.map(|it| it.resident_kib).collect();
        format!("KiB from tenth to tenth: {parts:?}")
    }

    fn now(pid: u32) -> Result<Self> {
        let count = |what: &str| Ok::<_, anyhow::Error>(fs::read_dir(proc(pid, what))?.count());
        Ok(Self {
            resident_kib: status(pid, "VmRSS:")?,
            descriptors: count("fd")?,
            threads: count("task")?,
        })
    }
}

/// CPU time of all threads, in the scheduler's nanoseconds.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(proc(pid, "task"))? {
        // One that has just ended has nothing to say.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        total += text.split(' ').next().and_then(|it| it.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(Duration::from_nanos(total))
}

/// A number of `/proc/PID/status`.
pub fn status(pid: u32, field: &str) -> Result<u64> {
    let text = fs::read_to_string(proc(pid, "status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.with_context(|| format!("no {field}"))?.parse().context(field.to_owned())
}

/// Median, p99 and the most, in words.
pub fn spread(nanos: &[u64]) -> String {
    if nanos.is_empty() {
        return "nothing was measured".to_owned();
    }
    let [median, p99, most] = [50, 99, 100].map(|share| percentile(nanos, share));
    format!("{} times: median {median:?}, p99 {p99:?}, most {most:?}", nanos.len())
}

pub fn percentile(nanos: &[u64], share: usize) -> Duration {
    let mut sorted = nanos.to_vec();
    sorted.sort_unstable();
    let at = sorted.len().saturating_sub(1) * share / 100;
    Duration::from_nanos(sorted.get(at).copied().unwrap_or_default())
}

fn proc(pid: u32, what: &str) -> String {
    format!("/proc/{pid}/{what}")
}
