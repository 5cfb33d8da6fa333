//! `bar`: one line for status bars, again whenever it changes.

mod line;

use std::io::{Write as _, stdout};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};

use self::line::{Bar, BarFormat};
use super::args::DaemonArg;
use crate::client::{Client, FromDaemon, Link};
use crate::protocol::{BoardLine, Line};
use crate::sources::boot_time;

/// Where the bar takes no line, the link waits when so many news wait.
const MOST_NEWS: usize = 256;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BarArgs {
    /// Whose words to speak
    #[arg(short, long, value_enum, default_value = "plain")]
    format: BarFormat,

    /// Print the line as it is now, and end
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    daemon: DaemonArg,
}

const EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor bar --format waybar         in Waybar's config: \"exec\", with \"return-type\": \"json\"
  ebpf-ai-monitor bar --format eww            (deflisten agents `ebpf-ai-monitor bar --format eww`)
  ebpf-ai-monitor bar --format i3blocks       with interval=persist and format=json
  ebpf-ai-monitor bar --once                  \"2 waiting 3m, 1 working\", \"idle\" or \"off\"

It prints a line at once and one for each change, and says `off` while the
monitor does not run. Muted sessions do not count as waiting. It ends when the
bar closes the pipe.";

#[derive(Debug)]
enum News {
    Daemon(FromDaemon),
    /// Nobody reads our lines any more.
    Unread,
}

impl BarArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let dirs = self.daemon.runtime_dirs();
        if self.once {
            let board = Client::board(&dirs).ok();
            let bar = Bar::of(board.as_ref(), boot_time().as_nanos());
            writeln!(stdout(), "{}", bar.line(self.format)?)?;
            return Ok(());
        }
        let (sender, news) = sync_channel(MOST_NEWS);
        let from_pipe = sender.clone();
        thread::Builder::new().name("pipe".into()).spawn(move || tell_of_the_end(&from_pipe))?;
        Link::to(dirs).start(move |it| sender.send(News::Daemon(it)).is_ok())?;
        print_lines(self.format, &news)
    }
}

fn print_lines(format: BarFormat, news: &Receiver<News>) -> anyhow::Result<()> {
    let mut board: Option<BoardLine> = None;
    let mut printed = String::new();
    loop {
        let now_ns = boot_time().as_nanos();
        let patience = board.as_ref().and_then(|board| Bar::of(Some(board), now_ns).next_change());
        match news.recv_timeout(patience.unwrap_or(Duration::MAX)) {
            // The whole board follows.
            Ok(News::Daemon(FromDaemon::Found(_) | FromDaemon::Line(Line::Answer(_)))) => continue,
            Ok(News::Daemon(FromDaemon::Line(Line::Board(new)))) => board = Some(new),
            Ok(News::Daemon(FromDaemon::Line(Line::Update(update)))) => {
                if let Some(board) = &mut board {
                    board.update(update);
                }
            }
            Ok(News::Daemon(FromDaemon::Lost(_))) => board = None,
            Ok(News::Unread) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let line = Bar::of(board.as_ref(), boot_time().as_nanos()).line(format)?;
        if line != printed {
            let mut out = stdout().lock();
            writeln!(out, "{line}")?;
            out.flush()?;
            printed = line;
        }
    }
}

/// Of a bar that reads no more we would hear only with the next line.
fn tell_of_the_end(news: &SyncSender<News>) {
    let out = stdout();
    loop {
        let mut awaited = [PollFd::new(&out, PollFlags::empty())];
        match poll(&mut awaited, None) {
            Ok(_) if awaited[0].revents().is_empty() => {}
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
    let _ = news.send(News::Unread);
}
