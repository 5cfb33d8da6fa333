//! The loop: facts in, boards out.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ebpf_ai_monitor_agents::Agents;
use ebpf_ai_monitor_core::{AlertPolicy, Board, Fact, Model, Profiles, WindowId};
use nix::unistd::User;
use sd_notify::NotifyState;
use tracing::{debug, error, info, warn};

use crate::config::Config;
use crate::privileges;
use crate::runtime_dir::RuntimeDir;
use crate::sinks::{
    Handle, Sink, badges::Badges, facts::Facts, journal::Journal, mask::mask, notify::Notify,
    socket::Socket,
};
use crate::sources::hops::Hops;
use crate::sources::kernel::{Kernel, ProbeChoice, QuietTimer};
use crate::sources::login::Logins;
use crate::sources::sway::Sway;
use crate::sources::transcripts::WrittenFiles;
use crate::sources::{self, Dated, boot_time};

/// With both cores of a small machine busy, this cuts the slowest answers from
/// 0.3 ms to 0.1 ms. Costs nothing, since the daemon sleeps nearly always.
const NICENESS: i32 = -10;

/// How long the sinks may take to clear up at the end.
const END_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) user: User,
    pub(crate) threshold: Duration,
    pub(crate) processes: Vec<String>,
    pub(crate) probe: ProbeChoice,
    /// Of the user's own profiles.
    pub(crate) agents_dir: PathBuf,
    /// The user's own file.
    pub(crate) config: PathBuf,
    pub(crate) transcripts: TranscriptUse,
    pub(crate) output: Output,
}

#[derive(Debug)]
pub(crate) enum Output {
    LogOnly,
    Socket(RuntimeDir),
}

/// Whether what agents write down of themselves is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TranscriptUse {
    Read,
    Ignore,
}

/// Runs until a signal ends it or the kernel source fails.
pub(crate) fn run(settings: Settings) -> anyhow::Result<()> {
    let uid = settings.user.uid.as_raw();
    check_start(&settings.user)?;
    let profiles = read_agents(&settings)?.profiles(&settings.processes);
    let profiles = match settings.transcripts {
        TranscriptUse::Read => profiles,
        TranscriptUse::Ignore => profiles.without_notes(),
    };
    // May be refused to who has two capabilities only; then as we are.
    let _ = rustix::process::setpriority_process(None, NICENESS);

    libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Debug, log_libbpf)));
    let program = Path::new("/proc/self/exe");
    let (kernel, seen) =
        Kernel::start(uid, &profiles, program, settings.probe, QuietTimer::Kernel)?;
    debug!("self-test: {seen:?}");
    let kept = privileges::kept_capabilities();
    privileges::become_user(&settings.user, kept)?;
    if !kept.is_empty() {
        warn!("this kernel is older than 5.19: CAP_BPF and CAP_PERFMON are kept");
    }

    // From here on this is the user's own process, and threads may start.
    let (inbox, facts) = sources::channel();
    let inbox = Arc::new(inbox);
    let mut sinks: Vec<Box<dyn Sink>> = vec![Box::new(Journal)];
    let mut teller = None;
    if let Output::Socket(runtime_dir) = settings.output {
        let desktop = runtime_dir.of_desktop(uid);
        let socket = Socket::open(runtime_dir.clone())?;
        let facts = Facts::open(runtime_dir.clone(), profiles.clone())?;
        let badges = Badges::start(desktop.clone(), profiles.clone(), tell_seen(&inbox))?;
        let policy = read_policy(&settings.config).unwrap_or_else(|error| {
            error!("{error:#}; going on with the defaults");
            AlertPolicy::default()
        });
        let notify = Notify::start(runtime_dir, policy, profiles.clone())?;
        reload_on_hangup(settings.config, notify.policy())?;
        let handles = [socket.handle(), facts.handle(), badges.handle(), notify.handle()];
        let (revivers, enders) = part(handles);
        revive_on_login(Logins::new(desktop.clone(), uid)?, revivers)?;
        end_on_signal(enders)?;
        Sway::start(desktop, uid, Arc::downgrade(&inbox))?;
        sinks.push(Box::new(socket));
        sinks.push(Box::new(badges));
        sinks.push(Box::new(notify));
        teller = Some(facts);
    } else {
        end_on_signal(Vec::new())?;
    }
    if settings.transcripts == TranscriptUse::Read
        && let Err(error) = read_transcripts(&profiles, &settings.user, Arc::downgrade(&inbox))
    {
        warn!("transcripts: {error:#}; going on without");
    }
    let hops = Hops::start(Arc::downgrade(&inbox))?;
    thread::Builder::new().name("kernel".into()).spawn(move || {
        if let Err(error) = kernel.run(&inbox) {
            error!("kernel: {error:#}");
        }
    })?;
    info!(
        "ready: watching {} of user {} ({uid})",
        settings.processes.join(", "),
        settings.user.name
    );
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        warn!("cannot tell systemd that we are ready: {error}");
    }
    let model = Model::new(profiles, settings.threshold);
    draw(&facts, model, hops, &mut sinks, teller.as_ref())
}

/// What must hold before anything is loaded, each with what to do about it.
fn check_start(user: &User) -> anyhow::Result<()> {
    if !privileges::can_load() {
        bail!(
            "loading BPF programs needs root, or CAP_BPF and CAP_PERFMON: \
             sudo ebpf-ai-monitor --user {}",
            user.name
        );
    }
    if !privileges::is_root() && user.uid != nix::unistd::Uid::effective() {
        bail!(
            "only root may watch another user's agents: sudo ebpf-ai-monitor --user {}",
            user.name
        );
    }
    privileges::check_what_stays_allowed()
}

/// The user's own profiles are read with the user's rights only: what lies there
/// may be a link to a file that is none of the user's business.
fn read_agents(settings: &Settings) -> anyhow::Result<Agents> {
    let read = || Agents::with_directory(&settings.agents_dir);
    let (agents, errors) = privileges::as_user(&settings.user, read)?;
    for problem in errors {
        error!("{problem}");
    }
    Ok(agents)
}

fn read_policy(config: &Path) -> anyhow::Result<AlertPolicy> {
    Ok(Config::read(config)?.notifications.into())
}

/// A service reads its configuration again on SIGHUP. One that runs on a
/// terminal ends with that.
fn reload_on_hangup(
    config: PathBuf,
    change: impl Fn(AlertPolicy) + Send + 'static,
) -> anyhow::Result<()> {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGHUP])
        .context("cannot wait for SIGHUP")?;
    thread::Builder::new().name("reload".into()).spawn(move || {
        for _ in signals.forever() {
            match read_policy(&config) {
                Ok(policy) => {
                    info!("{} is read again", config.display());
                    change(policy);
                }
                Err(error) => error!("{error:#}; going on as before"),
            }
        }
    })?;
    Ok(())
}

/// Optional: what fails here takes evidence away and no more.
fn read_transcripts(
    profiles: &Profiles,
    user: &User,
    inbox: Weak<SyncSender<Dated>>,
) -> anyhow::Result<()> {
    let Some(files) = WrittenFiles::new(profiles, &user.dir, user.uid.as_raw())? else {
        return Ok(());
    };
    thread::Builder::new().name("transcripts".into()).spawn(move || {
        if let Err(error) = files.run(&inbox) {
            warn!("transcripts: {error:#}; going on without");
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
    sinks: &mut [Box<dyn Sink>],
    teller: Option<&Facts>,
) -> anyhow::Result<()> {
    let mut shown = Board::default();
    loop {
        let patience = model.next_deadline().map(|deadline| deadline.since(boot_time()));
        let told = match facts.recv_timeout(patience.unwrap_or(Duration::MAX)) {
            Ok(Dated { at, fact }) => {
                debug!("{:?}", mask(&fact, None));
                let listened = teller.filter(|teller| teller.has_readers());
                let told = listened.map(|teller| (teller, at, fact.clone()));
                model.apply(at, fact);
                told
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => bail!("the kernel source has stopped"),
        };
        model.expire(boot_time());
        hops.want(model.holders());

        let board = model.board();
        if let Some((teller, at, fact)) = told
            && let Err(error) = teller.tell(at, &fact, &model, &board)
        {
            warn!("facts: {error:#}");
        }
        if board != shown {
            for sink in &mut *sinks {
                // One sink's failure must not silence the others.
                if let Err(error) = sink.show(&shown, &board) {
                    warn!("{}: {error:#}", sink.name());
                }
            }
            shown = board;
        }
    }
}

/// Whoever takes a badge away has seen it.
fn tell_seen(inbox: &Arc<SyncSender<Dated>>) -> Box<dyn Fn(WindowId) + Send> {
    let inbox = Arc::downgrade(inbox);
    Box::new(move |window| {
        if let Some(inbox) = inbox.upgrade() {
            let _ = inbox.send(Dated { at: boot_time(), fact: Fact::BadgeRemoved(window) });
        }
    })
}

type Revivers = Vec<Box<dyn Fn() + Send>>;
type Enders = Vec<Box<dyn Fn(Sender<()>) + Send>>;

/// One thread tells sinks of log-ins, another of the end.
fn part(handles: impl IntoIterator<Item = Handle>) -> (Revivers, Enders) {
    handles.into_iter().map(|handle| (handle.revive, handle.end)).unzip()
}

fn revive_on_login(mut logins: Logins, revivers: Revivers) -> anyhow::Result<()> {
    thread::Builder::new().name("login".into()).spawn(move || {
        loop {
            if let Err(error) = logins.wait() {
                warn!("log-ins: {error:#}; going on without");
                return;
            }
            debug!("the runtime directory is there");
            for revive in &revivers {
                revive();
            }
        }
    })?;
    Ok(())
}

/// Has the sinks take away what nobody should find after the end.
fn end_on_signal(enders: Enders) -> anyhow::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
        .context("cannot wait for signals")?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        if signals.forever().next().is_some() {
            let _ = sd_notify::notify(&[NotifyState::Stopping]);
            let (done, ended) = channel();
            for end in enders {
                end(done.clone());
            }
            drop(done);
            let patience = Instant::now() + END_PATIENCE;
            while let Ok(()) =
                ended.recv_timeout(patience.saturating_duration_since(Instant::now()))
            {}
            std::process::exit(0);
        }
    })?;
    Ok(())
}

fn log_libbpf(_: libbpf_rs::PrintLevel, message: String) {
    debug!("libbpf: {}", message.trim_end());
}
