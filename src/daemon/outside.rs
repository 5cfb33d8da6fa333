//! What the daemon shows to others and does for them: everything that goes
//! and comes with the person's desktop.

use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ebpf_ai_monitor_core::{Fact, Profiles, WindowId};
use sd_notify::NotifyState;
use tracing::{debug, warn};

use super::Settings;
use super::reload::Reload;
use crate::config::Wanted;
use crate::health::Reporter;
use crate::reach::Reach;
use crate::runtime_dir::RuntimeDir;
use crate::sinks::badges::Badges;
use crate::sinks::facts::Facts;
use crate::sinks::history::History;
use crate::sinks::journal::Journal;
use crate::sinks::metrics::Metrics;
use crate::sinks::notify::{Notify, Person};
use crate::sinks::socket::{About, Socket};
use crate::sinks::tmux_status::TmuxStatus;
use crate::sinks::{Handle, Sink};
use crate::sources::login::Logins;
use crate::sources::sway::Sway;
use crate::sources::{Dated, boot_time};

/// How long the sinks may take to clear up at the end.
const END_PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Outside {
    pub(super) sinks: Vec<Box<dyn Sink>>,
    pub(super) facts: Option<Facts>,
    pub(super) reporter: Reporter,
}

impl Outside {
    pub(super) fn log_only() -> anyhow::Result<Self> {
        end_on_signal(Vec::new())?;
        Ok(Self { sinks: vec![Box::new(Journal)], facts: None, reporter: Reporter::nobody() })
    }

    pub(super) fn open(
        settings: Settings,
        runtime_dir: RuntimeDir,
        about: About,
        wanted: &Wanted,
        profiles: &Profiles,
        inbox: &Arc<SyncSender<Dated>>,
    ) -> anyhow::Result<Self> {
        let uid = settings.user.uid.as_raw();
        let desktop = runtime_dir.of_desktop(uid);
        let told = || Arc::downgrade(inbox);
        let reach = Reach::start(runtime_dir.clone(), uid)?;
        let socket = Socket::open(runtime_dir.clone(), about, told(), reach.clone())?;
        let reporter = socket.reporter();
        let facts = Facts::open(runtime_dir.clone(), profiles.clone(), reporter.clone())?;
        let badges =
            Badges::start(desktop.clone(), profiles.clone(), tell_seen(inbox), reporter.clone())?;
        let person = Person {
            name: settings.user.name.clone(),
            home: settings.user.dir.clone(),
            runtime_dir: desktop.clone(),
        };
        let (calls, health) = (wanted.calls.clone(), reporter.clone());
        let notify = Notify::start(person, calls, profiles.clone(), reach, health)?;
        let tmux_status = TmuxStatus::start(wanted.tmux_status)?;
        let reload = Reload {
            files: settings.config,
            flags: settings.flags,
            holds: wanted.clone(),
            inbox: told(),
            notify: Box::new(notify.calls()),
            tmux_status: Box::new(tmux_status.switch()),
            log: settings.log,
            reporter: reporter.clone(),
        };
        reload.start()?;
        let history = wanted
            .history
            .map(|wanted| History::start(&settings.state_dir, wanted, reporter.clone()));
        let history = history.transpose()?;
        let handles = [
            socket.handle(),
            facts.handle(),
            badges.handle(),
            notify.handle(),
            tmux_status.handle(),
        ];
        let handles = handles.into_iter().chain(history.iter().map(History::handle));
        let (revivers, enders) = part(handles);
        revive_on_login(Logins::new(desktop.clone(), uid)?, revivers, reporter.clone())?;
        end_on_signal(enders)?;
        Sway::start(desktop, uid, told(), reporter.clone())?;
        let metrics = Metrics::start(wanted.metrics.clone(), reporter.clone())?;
        let mut sinks: Vec<Box<dyn Sink>> = vec![
            Box::new(Journal),
            Box::new(socket),
            Box::new(badges),
            Box::new(notify),
            Box::new(tmux_status),
        ];
        sinks.extend(metrics.map(|metrics| Box::new(metrics) as Box<dyn Sink>));
        sinks.extend(history.map(|history| Box::new(history) as Box<dyn Sink>));
        Ok(Self { sinks, facts: Some(facts), reporter })
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

fn revive_on_login(
    mut logins: Logins,
    revivers: Revivers,
    reporter: Reporter,
) -> anyhow::Result<()> {
    thread::Builder::new().name("login".into()).spawn(move || {
        loop {
            if let Err(error) = logins.wait() {
                warn!("log-ins: {error:#}; going on without");
                reporter.trouble("log-ins", format_args!("{error:#}"));
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
