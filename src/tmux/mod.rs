//! How tmux is called, and what its processes are named.

mod client;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ebpf_ai_monitor_core::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(crate) use self::client::Client;

/// For a person who waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// The kernel's name of a server.
pub(crate) const SERVER: &str = "tmux: server";

/// A client of this server, by UTF-8, which never starts another one.
pub(crate) fn client(server: Pid, socket: &Path) -> Command {
    let mut client = Command::new(program_of(server));
    client.args(["-u", "-N", "-S"]).arg(socket);
    // It is no concern of ours that this daemon may run in a pane itself.
    client.env_remove("TMUX").env_remove("TMUX_PANE");
    client
}

/// The server's own program, which speaks as it does. One that the user could
/// have written is not run: it may come from an agent in a sandbox, which we
/// are not in.
fn program_of(server: Pid) -> PathBuf {
    let exe = fs::read_link(format!("/proc/{}/exe", server.0)).unwrap_or_default();
    // The kernel adds this where the file was replaced meanwhile, by a newer
    // version most likely.
    let bytes = exe.as_os_str().as_bytes();
    let path = Path::new(OsStr::from_bytes(bytes.strip_suffix(b" (deleted)").unwrap_or(bytes)));
    let is_named = path.file_name().is_some_and(|name| name.as_bytes().starts_with(b"tmux"));
    let is_of_root = path.symlink_metadata().is_ok_and(|file| {
        file.is_file() && file.uid() == 0 && file.permissions().mode() & 0o022 == 0
    });
    if is_named && is_of_root { path.to_owned() } else { PathBuf::from("tmux") }
}

/// Has a client show this pane and type into it. Without a client, the pane
/// is what the next one will be shown.
pub(crate) fn choose(
    server: Pid,
    socket: &Path,
    pane: &str,
    client: Option<&str>,
) -> anyhow::Result<()> {
    let clients = ["list-clients", "-F", "c #{client_tty} #{session_id}", ";"];
    let panes = ["list-panes", "-a", "-F", "p #{pane_id} #{session_id} #{window_id}"];
    let lists = ask(server, socket, &[&clients[..], &panes[..]].concat())?;
    let target = target_of(&lists, pane, client).with_context(|| format!("no pane is {pane}"))?;
    let device = client.map(|tty| format!("/dev/{tty}"));
    let command = match &device {
        Some(device) => vec!["switch-client", "-c", device, "-t", &target],
        None => vec!["select-window", "-t", &target, ";", "select-pane", "-t", &target],
    };
    ask(server, socket, &command).map(drop)
}

/// Shows a message to everybody who looks at this server. `text` is a format.
pub(crate) fn tell_all(server: Pid, socket: &Path, text: &str) -> anyhow::Result<()> {
    let clients = ask(server, socket, &["list-clients", "-F", "#{client_tty}"])?;
    // One of control mode has no terminal.
    for client in clients.iter().filter(|client| !client.is_empty()) {
        ask(server, socket, &["display-message", "-c", client, text])?;
    }
    Ok(())
}

/// `tmux 3.3a`.
pub(crate) fn version(server: Pid, socket: &Path) -> anyhow::Result<String> {
    let lines = ask(server, socket, &["display-message", "-p", "#{version}"])?;
    let version = lines.into_iter().next().filter(|line| !line.is_empty());
    version.map(|version| format!("tmux {version}")).context("tmux does not say")
}

/// What a client shows, for [`show`]: `$1:@2.%3`.
pub(crate) fn shown(server: Pid, socket: &Path, client: &str) -> anyhow::Result<String> {
    let device = format!("/dev/{client}");
    let target = "#{session_id}:#{window_id}.#{pane_id}";
    let lines = ask(server, socket, &["display-message", "-p", "-c", &device, target])?;
    lines.into_iter().next().filter(|line| line.starts_with('$')).context("tmux does not say")
}

/// Has a client show again what [`shown`] said of it.
pub(crate) fn show(server: Pid, socket: &Path, client: &str, target: &str) -> anyhow::Result<()> {
    let device = format!("/dev/{client}");
    ask(server, socket, &["switch-client", "-c", &device, "-t", target]).map(drop)
}

/// Sets an option of the whole server; status lines that show it are drawn anew.
pub(crate) fn set_option(
    server: Pid,
    socket: &Path,
    name: &str,
    value: &str,
) -> anyhow::Result<()> {
    ask(server, socket, &["set-option", "-g", name, value]).map(drop)
}

/// As if it had never been set.
pub(crate) fn unset_option(server: Pid, socket: &Path, name: &str) -> anyhow::Result<()> {
    ask(server, socket, &["set-option", "-gu", name]).map(drop)
}

/// `$1:@2.%3`: the client stays in its session if that has the pane's window.
fn target_of(lists: &[String], pane: &str, client: Option<&str>) -> Option<String> {
    let fields = |kind: &'static str| {
        let lines = lists.iter().map(|line| line.split(' ').collect::<Vec<_>>());
        lines.filter(move |fields| fields.first() == Some(&kind))
    };
    let session = client.and_then(|tty| {
        let device = format!("/dev/{tty}");
        fields("c").find(|it| it.get(1) == Some(&device.as_str()))?.get(2).copied()
    });
    let mut places: Vec<_> = fields("p").filter(|it| it.get(1) == Some(&pane)).collect();
    places.sort_by_key(|it| it.get(2).copied() != session);
    let place = places.first()?;
    Some(format!("{}:{}.{pane}", place.get(2)?, place.get(3)?))
}

/// Runs one or more commands, and gives the lines that they print.
fn ask(server: Pid, socket: &Path, command: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut asked = Client::start(client(server, socket).args(command))?;
    let until = Instant::now() + PATIENCE;
    let mut lines = Vec::new();
    loop {
        let heard = asked.hear()?;
        lines.extend(heard.lines);
        if heard.is_over {
            break;
        }
        let patience = until.saturating_duration_since(Instant::now());
        if patience.is_zero() {
            bail!("tmux did not answer within {PATIENCE:?}");
        }
        let patience = Timespec::try_from(patience)?;
        let _ = poll(&mut [PollFd::new(&asked, PollFlags::IN)], Some(&patience));
    }
    if !asked.end()?.success() {
        bail!("tmux refuses: {}", command.join(" "));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_stays_in_its_session_if_that_has_the_pane() {
        let lists =
            ["c /dev/pts/1 $0", "c /dev/pts/2 $1", "p %3 $0 @2", "p %3 $1 @2", "p %4 $0 @5"];
        let lists = lists.map(str::to_owned);
        let target = |pane, client| target_of(&lists, pane, client);
        assert_eq!(target("%3", Some("pts/1")).as_deref(), Some("$0:@2.%3"));
        assert_eq!(target("%3", Some("pts/2")).as_deref(), Some("$1:@2.%3"));
        assert_eq!(target("%4", Some("pts/2")).as_deref(), Some("$0:@5.%4"));
        assert_eq!(target("%3", None).as_deref(), Some("$0:@2.%3"));
        assert_eq!(target("%9", Some("pts/1")), None);
    }
}
