//! What is counted, and its names. A page of the docs lists them.

use std::fs;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ebpf_ai_monitor_core::{Board, BootTime, Phase, Row};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use rustix::time::{ClockId, clock_gettime};

use crate::protocol::{PhaseWord, ReasonWord};
use crate::sources::boot_time;

/// From the moment since which it waits to the moment when that was known.
const DELAYS: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// How long agents waited for the person.
const WAITS: [f64; 9] = [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0];

type Seconds = Counter<f64, AtomicU64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Agent {
    agent: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AgentState {
    agent: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AgentReason {
    agent: String,
    reason: &'static str,
}

#[derive(Debug)]
pub(super) struct Numbers {
    registry: Registry,
    sessions: Family<AgentState, Gauge>,
    turns: Family<Agent, Counter>,
    waits: Family<AgentReason, Counter>,
    seconds: Family<AgentState, Seconds>,
    delay: Histogram,
    waited: Histogram,
    lost_events: Counter,
    cpu: Seconds,
    memory: Gauge,
    /// What was seen last, and until when its seconds are counted.
    board: Board,
    counted_until: BootTime,
}

impl Numbers {
    pub(super) fn new() -> Self {
        let mut registry = Registry::default();
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("ai_monitor_build", "The monitor itself", Info::new(version));
        let mut numbers = Self {
            registry,
            sessions: Family::default(),
            turns: Family::default(),
            waits: Family::default(),
            seconds: Family::default(),
            delay: Histogram::new(DELAYS),
            waited: Histogram::new(WAITS),
            lost_events: Counter::default(),
            cpu: Seconds::default(),
            memory: Gauge::default(),
            board: Board::default(),
            counted_until: boot_time(),
        };
        numbers.register();
        numbers
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let monitor = registry.sub_registry_with_prefix("ai_monitor");
        monitor.register("sessions", "Sessions that live now", self.sessions.clone());
        monitor.register("turns", "Turns that were seen to end", self.turns.clone());
        monitor.register("waits", "Times a session began to wait", self.waits.clone());
        let seconds = self.seconds.clone();
        monitor.register_with_unit("state", "Time in each state", Unit::Seconds, seconds);
        let delay = self.delay.clone();
        let help = "From a rest to the moment when it was known";
        monitor.register_with_unit("wait_delay", help, Unit::Seconds, delay);
        let waited = self.waited.clone();
        monitor.register_with_unit("wait", "How long a wait lasted", Unit::Seconds, waited);
        let lost = self.lost_events.clone();
        monitor.register("lost_events", "Events of the kernel that were lost", lost);
        let process = registry.sub_registry_with_prefix("process");
        let cpu = self.cpu.clone();
        process.register_with_unit("cpu", "CPU that the monitor took", Unit::Seconds, cpu);
        let memory = self.memory.clone();
        let help = "Memory that the monitor has";
        process.register_with_unit("resident_memory", help, Unit::Bytes, memory);
    }

    pub(super) fn see(&mut self, board: Board) {
        let now = boot_time();
        self.count_seconds(now);
        for row in &board.rows {
            let before = self.board.row(row.session);
            count_turns(&self.turns, before, row);
            let was_waiting = before.filter(|it| matches!(it.phase, Phase::Waiting(_)));
            match (was_waiting, row.phase) {
                (None, Phase::Waiting(reason)) => {
                    let reason = ReasonWord::from(reason).as_str();
                    let of = AgentReason { agent: row.agent.clone(), reason };
                    self.waits.get_or_create(&of).inc();
                    self.delay.observe(now.since(row.since).as_secs_f64());
                }
                (Some(wait), Phase::Working | Phase::Unknown | Phase::Exited) => {
                    self.waited.observe(row.since.since(wait.since).as_secs_f64());
                }
                _ => {}
            }
        }
        let lost = board.lost_events.saturating_sub(self.board.lost_events);
        self.lost_events.inc_by(lost);
        self.sessions.clear();
        for row in living(&board) {
            self.sessions.get_or_create(&state_of(row)).inc();
        }
        self.board = board;
    }

    /// In the text format of Prometheus.
    pub(super) fn text(&mut self) -> String {
        self.count_seconds(boot_time());
        self.measure_ourselves();
        let mut text = String::new();
        // It fails only where the text does, and a String takes all.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn count_seconds(&mut self, now: BootTime) {
        let passed = now.since(self.counted_until).as_secs_f64();
        self.counted_until = now;
        for row in living(&self.board) {
            self.seconds.get_or_create(&state_of(row)).inc_by(passed);
        }
    }

    fn measure_ourselves(&mut self) {
        let taken = clock_gettime(ClockId::ProcessCPUTime);
        let taken = Duration::try_from(taken).unwrap_or_default().as_secs_f64();
        self.cpu.inc_by((taken - self.cpu.get()).max(0.0));
        self.memory.set(resident_bytes().unwrap_or_default());
    }
}

fn count_turns(turns: &Family<Agent, Counter>, before: Option<&Row>, row: &Row) {
    let known = before.map_or(0, |before| before.turns);
    let ended = row.turns.saturating_sub(known);
    if ended > 0 {
        turns.get_or_create(&Agent { agent: row.agent.clone() }).inc_by(ended.into());
    }
}

fn living(board: &Board) -> impl Iterator<Item = &Row> {
    board.rows.iter().map(AsRef::as_ref).filter(|row: &&Row| row.phase != Phase::Exited)
}

fn state_of(row: &Row) -> AgentState {
    let state = match row.phase {
        Phase::Unknown => PhaseWord::Unknown,
        Phase::Working => PhaseWord::Working,
        Phase::Waiting(_) => PhaseWord::Waiting,
        Phase::Exited => PhaseWord::Exited,
    };
    AgentState { agent: row.agent.clone(), state: state.as_str() }
}

/// proc(5): the second number of `statm`, in pages.
fn resident_bytes() -> Option<i64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = text.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(i64::try_from(rustix::param::page_size()).ok()?)
}
