//! Where the daemon and its clients meet.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// The daemon's own folder in the runtime directory.
const FOLDER: &str = "ebpf-ai-monitor";
const SOCKET: &str = "socket";
const FACTS: &str = "facts";

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

    /// That of the person's desktop, be it there or not.
    pub(crate) fn of_desktop(&self, uid: u32) -> PathBuf {
        match self {
            Self::At(dir) => dir.clone(),
            Self::Default => login_dir(uid),
        }
    }

    /// Where another user's daemon may be, in the order in which it chooses.
    pub(crate) fn of_daemon(uid: u32) -> Vec<PathBuf> {
        vec![login_dir(uid), fallback_dir(uid)]
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

/// Where the daemon tells facts.
pub(crate) fn facts(runtime_dir: &Path) -> PathBuf {
    folder(runtime_dir).join(FACTS)
}

/// Makes the daemon's folder, mode 0700.
pub(crate) fn make(runtime_dir: &Path) -> anyhow::Result<()> {
    make_private(runtime_dir)?;
    make_private(&folder(runtime_dir))
}

/// Makes a directory for us alone where there is none.
fn make_private(path: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().mode(0o700).create(path);
    if !is_own_directory(path, rustix::process::geteuid().as_raw()) {
        made.with_context(|| format!("cannot make the directory {}", path.display()))?;
        bail!("{} is not a directory of this user: remove it", path.display());
    }
    Ok(())
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
