//! Where the daemon and its clients meet.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The daemon's own folder in the runtime directory.
const FOLDER: &str = "ebpf-ai-monitor";
const SOCKET: &str = "socket";

#[derive(Clone, Debug)]
pub(crate) enum RuntimeDir {
    /// `/run/user/UID`, or a folder in `/tmp` where there is no login session.
    Default,
    At(PathBuf),
}

impl RuntimeDir {
    /// For the daemon, which runs as this user by now.
    pub(crate) fn resolve(self, uid: u32) -> PathBuf {
        match self {
            Self::At(dir) => dir,
            Self::Default => {
                let login = login_dir(uid);
                if is_own_directory(&login, uid) { login } else { fallback_dir(uid) }
            }
        }
    }

    /// For clients, in the order in which they try.
    pub(crate) fn where_clients_look() -> Vec<PathBuf> {
        let uid = rustix::process::geteuid().as_raw();
        let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let mut dirs: Vec<_> =
            given.into_iter().chain([login_dir(uid), fallback_dir(uid)]).collect();
        dirs.dedup();
        dirs
    }
}

pub(crate) fn folder(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join(FOLDER)
}

pub(crate) fn socket(runtime_dir: &Path) -> PathBuf {
    folder(runtime_dir).join(SOCKET)
}

/// A directory itself, not a link to one, that belongs to this user.
pub(crate) fn is_own_directory(path: &Path, uid: u32) -> bool {
    path.symlink_metadata().is_ok_and(|it| it.is_dir() && it.uid() == uid)
}

fn login_dir(uid: u32) -> PathBuf {
    PathBuf::from(format!("/run/user/{uid}"))
}

fn fallback_dir(uid: u32) -> PathBuf {
    PathBuf::from(format!("/tmp/ebpf-ai-monitor-{uid}"))
}
