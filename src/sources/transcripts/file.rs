//! Opening what others wrote. Whoever may write in a directory decides what
//! lies there, so nothing that does may hang the reader or lead it elsewhere.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use rustix::fs::{Mode, OFlags};

/// A regular file of one user.
#[derive(Debug)]
pub(super) struct OwnFile {
    pub(super) file: File,
    pub(super) inode: u64,
    pub(super) size: u64,
}

impl OwnFile {
    /// Follows no link in the last name, waits for no writer of a pipe and takes
    /// no terminal.
    pub(super) fn open(path: &Path, owner: u32) -> anyhow::Result<Self> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file =
            File::from(rustix::fs::open(path, flags, Mode::empty()).context("cannot open it")?);
        let found = file.metadata().context("cannot look at it")?;
        ensure!(found.is_file(), "it is no regular file");
        ensure!(found.uid() == owner, "it belongs to user {}", found.uid());
        Ok(Self { file, inode: found.ino(), size: found.len() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, FileType, mknodat};

    use super::*;

    #[test]
    fn opens_regular_files_of_the_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let owner = rustix::process::geteuid().as_raw();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("file"), "text").unwrap();
        fs::create_dir(path("dir")).unwrap();
        symlink(path("file"), path("link")).unwrap();
        symlink("/dev/zero", path("zero")).unwrap();
        mknodat(CWD, path("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let _listener = UnixListener::bind(path("socket")).unwrap();
        for name in ["dir", "link", "zero", "pipe", "socket", "missing"] {
            assert!(OwnFile::open(&path(name), owner).is_err(), "{name}");
        }
        assert_eq!(OwnFile::open(&path("file"), owner).unwrap().size, 4);
        assert!(OwnFile::open(&path("file"), owner + 1).is_err());
    }
}
