//! The way to a session, and back to where the person was before: what is
//! chosen in each multiplexer, then the window.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::{Context as _, bail};
use ebpf_ai_monitor_core::Pid;

use crate::protocol::{PlaceWord, RowLine};
use crate::runtime_dir::RuntimeDir;
use crate::{sources, tmux};

/// How many steps one can go back.
const MAX_STEPS_BACK: usize = 32;

/// How far one came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Its window has the focus.
    Window(u64),
    /// Its terminal shows it, wherever that is: no window of this desktop.
    Terminal,
}

#[derive(Debug)]
pub(crate) enum Errand {
    GoTo(Box<RowLine>),
    /// To where the person was before they were brought somewhere.
    Back,
}

type Answer = Box<dyn FnOnce(anyhow::Result<Arrival>) + Send>;

/// The thread that brings the person to places: compositors and multiplexers
/// may take their time, and nobody else waits for them.
#[derive(Clone, Debug)]
pub(crate) struct Reach {
    errands: Sender<(Errand, Answer)>,
}

impl std::fmt::Debug for Guide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guide").field("was_at", &self.was_at).finish_non_exhaustive()
    }
}

impl Reach {
    pub(crate) fn start(desktop: RuntimeDir, uid: u32) -> anyhow::Result<Self> {
        let (errands, inbox) = channel();
        let guide = Guide { desktop, uid, was_at: Vec::new(), brought_to: None };
        thread::Builder::new().name("reach".into()).spawn(move || guide.run(&inbox))?;
        Ok(Self { errands })
    }

    /// `answer` is called when the person is there, or cannot be brought there.
    pub(crate) fn send(
        &self,
        errand: Errand,
        answer: impl FnOnce(anyhow::Result<Arrival>) + Send + 'static,
    ) {
        let sent = self.errands.send((errand, Box::new(answer)));
        if let Err(unsent) = sent {
            let (_, answer) = unsent.0;
            answer(Err(anyhow::anyhow!("the monitor is ending")));
        }
    }
}

struct Guide {
    desktop: RuntimeDir,
    uid: u32,
    /// Where the person was before each time that they were brought elsewhere
    /// and had come by themselves.
    was_at: Vec<Spot>,
    /// The window where they were brought last.
    brought_to: Option<u64>,
}

/// A place on the desktop.
#[derive(Debug, Default)]
struct Spot {
    window: Option<u64>,
    /// What clients of multiplexers showed.
    clients: Vec<ClientSpot>,
}

#[derive(Debug)]
struct ClientSpot {
    server: Pid,
    socket: PathBuf,
    /// The client's terminal: `pts/3`.
    client: String,
    /// What it showed: `$1:@2.%3`.
    target: String,
}

impl Guide {
    fn run(mut self, inbox: &Receiver<(Errand, Answer)>) {
        for (errand, answer) in inbox {
            answer(match errand {
                Errand::GoTo(row) => self.go_to(&row),
                Errand::Back => self.go_back(),
            });
        }
    }

    fn go_to(&mut self, row: &RowLine) -> anyhow::Result<Arrival> {
        // Without a window there is nothing to go back to but panes.
        let window = sources::sway::focused_window(&self.desktop, self.uid).ok().flatten();
        let mut spot = Spot { window, clients: shown_by_clients(row) };
        let arrival = go_to(row, &self.desktop, self.uid)?;
        match self.was_at.last_mut() {
            // They are still on their way: back leads to where it began.
            Some(began) if window.is_some() && window == self.brought_to => {
                began.clients.append(&mut spot.clients);
            }
            _ => {
                if self.was_at.len() == MAX_STEPS_BACK {
                    self.was_at.remove(0);
                }
                self.was_at.push(spot);
            }
        }
        self.brought_to = match arrival {
            Arrival::Window(window) => Some(window),
            Arrival::Terminal => None,
        };
        Ok(arrival)
    }

    fn go_back(&mut self) -> anyhow::Result<Arrival> {
        let spot = self.was_at.pop().context("you were brought nowhere yet")?;
        self.brought_to = None;
        // The last that was changed comes first, as with any undoing.
        for shown in spot.clients.iter().rev() {
            let ClientSpot { server, socket, client, target } = shown;
            // It may have been closed since.
            if let Err(error) = tmux::show(*server, socket, client, target) {
                tracing::debug!("back: {error:#}");
            }
        }
        match spot.window {
            Some(window) => {
                sources::sway::focus_window(&self.desktop, self.uid, window)?;
                Ok(Arrival::Window(window))
            }
            None => Ok(Arrival::Terminal),
        }
    }
}

fn shown_by_clients(row: &RowLine) -> Vec<ClientSpot> {
    let spots = row.steps.iter().filter(|step| !step.pane.is_empty()).filter_map(|step| {
        let (server, socket) = (Pid(step.pid), PathBuf::from(&step.socket));
        let client = step.client.clone()?;
        let target = tmux::shown(server, &socket, &client).ok()?;
        Some(ClientSpot { server, socket, client, target })
    });
    spots.collect()
}

/// Brings the person to a session. The multiplexers come first, so that the
/// window shows the right thing from the moment it has the focus.
fn go_to(row: &RowLine, desktop: &RuntimeDir, uid: u32) -> anyhow::Result<Arrival> {
    for step in row.steps.iter().filter(|step| !step.pane.is_empty()) {
        tmux::choose(Pid(step.pid), Path::new(&step.socket), &step.pane, step.client.as_deref())?;
    }
    match (row.place, row.windows.as_slice()) {
        // The first is the one to which the steps lead.
        (PlaceWord::One | PlaceWord::Several, [window, ..]) => {
            sources::sway::focus_window(desktop, uid, *window)?;
            Ok(Arrival::Window(*window))
        }
        (PlaceWord::AnyOf, windows) => {
            let windows: Vec<String> = windows.iter().map(u64::to_string).collect();
            bail!("it is in one of the windows {}, and nobody knows in which", windows.join(", "))
        }
        _ => match row.steps.first() {
            Some(step) if step.client.is_some() => Ok(Arrival::Terminal),
            Some(step) if !step.pane.is_empty() => bail!(
                "it is detached; come to it by: tmux -S {} attach -t '{}'",
                step.socket,
                step.session
            ),
            // Only zellij tells sessions and no panes.
            Some(step) if !step.session.is_empty() => {
                bail!("it is detached; come to it by: zellij attach '{}'", step.session)
            }
            _ => bail!("it is in no window that is known"),
        },
    }
}
