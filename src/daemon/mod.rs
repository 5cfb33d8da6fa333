//! The loop: facts in, boards out.

mod lateness;
mod outside;
mod pace;
mod reload;
mod start;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use anyhow::bail;
use ebpf_ai_monitor_core::{Board, Fact, Model, Profiles};
use nix::unistd::User;
use sd_notify::NotifyState;
use tracing::level_filters::LevelFilter;
use tracing::{debug, error, info, warn};

use self::lateness::Lateness;
use self::outside::Outside;
use self::pace::Pace;
use self::reload::configured;
use self::start::Start;
use crate::config::{ConfigFiles, Flags, TranscriptUse};
use crate::confinement;
use crate::health::Reporter;
use crate::privileges;
use crate::runtime_dir::RuntimeDir;
use crate::sinks::Sink;
use crate::sinks::facts::Facts;
use crate::sinks::mask::mask;
use crate::sinks::socket::About;
use crate::sources::hops::Hops;
use crate::sources::kernel::{Kernel, ProbeChoice, QuietTimer};
use crate::sources::sleep::{Sleep, Sleeps};
use crate::sources::transcripts::WrittenFiles;
use crate::sources::{self, Dated, boot_time};

/// With both cores of a small machine busy, this cuts the slowest answers from
/// 0.3 ms to 0.1 ms. Costs nothing, since the daemon sleeps nearly always.
const NICENESS: i32 = -10;

pub(crate) struct Settings {
    pub(crate) user: User,
    /// Of the user's own profiles.
    pub(crate) agents_dir: PathBuf,
    pub(crate) config: ConfigFiles,
    pub(crate) flags: Flags,
    pub(crate) probe: ProbeChoice,
    pub(crate) output: Output,
    /// Where the history is kept.
    pub(crate) state_dir: PathBuf,
    pub(crate) log: LogSwitch,
}

/// Sets what is logged.
pub(crate) type LogSwitch = Box<dyn Fn(LevelFilter) + Send>;

#[derive(Debug)]
pub(crate) enum Output {
    LogOnly,
    Socket(RuntimeDir),
}

/// Runs until a signal ends it or the kernel source fails.
pub(crate) fn run(settings: Settings) -> anyhow::Result<()> {
    let uid = settings.user.uid.as_raw();
    start::check(&settings.user)?;
    let Start { wanted, agents, problems } = settings.read()?;
    let profiles = agents.profiles(&wanted.processes);
    let profiles = match wanted.transcripts {
        TranscriptUse::Read => profiles,
        TranscriptUse::Ignore => profiles.without_notes(),
    };
    // May be refused to who has two capabilities only; then as we are.
    let _ = rustix::process::setpriority_process(None, NICENESS);

    libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Debug, log_libbpf)));
    let program = Path::new("/proc/self/exe");
    let (mut kernel, seen) =
        Kernel::start(uid, &profiles, program, settings.probe, QuietTimer::Kernel)?;
    debug!("self-test: {seen:?}");
    let kept = privileges::kept_capabilities();
    privileges::become_user(&settings.user, kept)?;
    confinement::confine()?;
    let mut limits = kernel.limits(seen);
    if !kept.is_empty() {
        limits.push("this kernel is older than 5.19: CAP_BPF and CAP_PERFMON are kept".to_owned());
    }
    limits.iter().for_each(|limit| warn!("{limit}"));

    // From here on this is the user's own process, and threads may start.
    let (inbox, facts) = sources::channel();
    let inbox = Arc::new(inbox);
    let user = settings.user.clone();
    let outside = match settings.output {
        Output::LogOnly => Outside::log_only()?,
        Output::Socket(ref runtime_dir) => {
            let about =
                About { user: user.name.clone(), probe: kernel.probe_name().to_owned(), limits };
            let runtime_dir = runtime_dir.clone();
            Outside::open(settings, runtime_dir, about, &wanted, &profiles, &inbox)?
        }
    };
    let Outside { sinks, facts: teller, reporter } = outside;
    for (part, problem) in problems {
        reporter.trouble(part, problem);
    }
    if wanted.transcripts == TranscriptUse::Read {
        let started = read_transcripts(&profiles, &user, &inbox, reporter.clone());
        if let Err(error) = &started {
            warn!("transcripts: {error:#}; going on without");
        }
        reporter.outcome("transcripts", &started);
    }
    kernel.report_to(reporter.clone());
    let hops = Hops::start(wanted.tmux_way, Arc::downgrade(&inbox), reporter.clone())?;
    thread::Builder::new().name("kernel".into()).spawn(move || {
        if let Err(error) = kernel.run(&inbox) {
            error!("kernel: {error:#}");
        }
    })?;
    info!("ready: watching {} of user {} ({uid})", wanted.processes.join(", "), user.name);
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        warn!("cannot tell systemd that we are ready: {error}");
    }
    let mut model = Model::new(profiles, wanted.threshold);
    model.apply(boot_time(), configured(&wanted));
    draw(&facts, model, hops, &mut Sinks { sinks, reporter, failing: Vec::new() }, teller.as_ref())
}

/// Optional: what fails here takes evidence away and no more.
fn read_transcripts(
    profiles: &Profiles,
    user: &User,
    inbox: &Arc<SyncSender<Dated>>,
    reporter: Reporter,
) -> anyhow::Result<()> {
    let inbox = Arc::downgrade(inbox);
    let Some(files) = WrittenFiles::new(profiles, &user.dir, user.uid.as_raw())? else {
        return Ok(());
    };
    thread::Builder::new().name("transcripts".into()).spawn(move || {
        if let Err(error) = files.run(&inbox) {
            warn!("transcripts: {error:#}; going on without");
            reporter.trouble("transcripts", format_args!("{error:#}"));
        }
    })?;
    Ok(())
}

/// One thread owns the model, and only this loop touches it: there is nothing
/// to lock and nothing to await.
fn draw(
    facts: &Receiver<Dated>,
    mut model: Model,
    mut hops: Hops,
    sinks: &mut Sinks,
    teller: Option<&Facts>,
) -> anyhow::Result<()> {
    let mut shown = Board::default();
    let mut pace = Pace::new(boot_time());
    let mut sleeps = Sleeps::new();
    let mut late = Lateness::default();
    let mut has_changed = false;
    loop {
        let due = model.next_deadline().into_iter().chain(has_changed.then(|| pace.next())).min();
        let due = due.map(|due| due.max(late.caught_up_at())).into_iter().chain(late.due()).min();
        let patience = due.map(|due| due.since(boot_time()));
        let heard = match facts.recv_timeout(patience.unwrap_or(Duration::MAX)) {
            Ok(heard) => Some(heard),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => bail!("the kernel source has stopped"),
        };
        // Before anything is taken to have been due in a sleep.
        let sleep = sleeps.take(heard.as_ref().map(|heard| heard.at));
        let slept = sleep.map(|sleep| all_slept(sleep, &model)).unwrap_or_default();
        let now = boot_time();
        let taken = late.sift(now, due, heard);
        let mut may_be_held_otherwise = false;
        let mut told = Vec::new();
        for Dated { at, fact } in slept.into_iter().chain(taken) {
            debug!("{:?}", mask(&fact, None));
            may_be_held_otherwise |= changes_holders(&fact);
            let listened = teller.filter(|teller| teller.has_readers());
            told.extend(listened.map(|teller| (teller, at, fact.clone())));
            model.apply(at, fact);
        }
        if now >= late.caught_up_at() {
            model.expire(now);
        }
        if may_be_held_otherwise {
            hops.want(model.holders());
        }

        for (teller, at, fact) in told {
            if let Err(error) = teller.tell(at, &fact, &model, &model.board()) {
                warn!("facts: {error:#}");
            }
        }
        // Most facts change nothing that is shown.
        has_changed |= model.take_change();
        let now = boot_time();
        if !has_changed || now < pace.next() {
            continue;
        }
        has_changed = false;
        let board = model.board();
        if board != shown {
            sinks.show(&shown, &board);
            pace.shown(now, board.rows.len());
            shown = board;
        }
    }
}

fn all_slept((since, until): Sleep, model: &Model) -> Vec<Dated> {
    info!("the machine slept for {:.1} s", until.since(since).as_secs_f64());
    let slept = |process| Dated { at: until, fact: Fact::Unseen { process, since } };
    model.processes().map(slept).collect()
}

/// Whether who holds the terminals may be another after it. Most facts are of
/// output, and many sessions make many of them.
fn changes_holders(fact: &Fact) -> bool {
    use Fact::{Attached, Exited, Hopped, Owned, Started};
    matches!(fact, Started { .. } | Attached { .. } | Owned { .. } | Hopped(_) | Exited(_))
}

/// All sinks, and which of them fail.
struct Sinks {
    sinks: Vec<Box<dyn Sink>>,
    reporter: Reporter,
    failing: Vec<&'static str>,
}

impl Sinks {
    fn show(&mut self, before: &Board, after: &Board) {
        for sink in &mut self.sinks {
            // One sink's failure must not silence the others.
            let (name, outcome) = (sink.name(), sink.show(before, after));
            let failed = self.failing.contains(&name);
            match &outcome {
                // Told once, until it works again.
                Err(error) if failed => debug!("{name}: {error:#}"),
                Err(error) => warn!("{name}: {error:#}"),
                Ok(()) if failed => {}
                Ok(()) => continue,
            }
            self.failing.retain(|it| *it != name);
            if outcome.is_err() {
                self.failing.push(name);
            }
            self.reporter.outcome(name, &outcome);
        }
    }
}

fn log_libbpf(_: libbpf_rs::PrintLevel, message: String) {
    debug!("libbpf: {}", message.trim_end());
}
