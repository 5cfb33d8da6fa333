//! How tmux is called, and what its processes are named.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{ffi::OsStr, fs};

use ebpf_ai_monitor_core::Pid;

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
