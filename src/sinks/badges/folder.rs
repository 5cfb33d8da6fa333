//! The directory of badges and the files in it. Everything is done below an
//! open directory, by names that are no paths, and links are never followed:
//! whoever swaps one for something else changes nothing elsewhere.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use ebpf_ai_monitor_core::WindowId;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub(crate) const NAME: &str = "i3pm-badges";
/// One that is longer is none of ours.
const MAX_BYTES: u64 = 64 * 1024;

/// A badge as its readers know it. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct BadgeFile {
    pub(super) window_id: u64,
    pub(super) state: &'static str,
    pub(super) source: String,
    pub(super) project: String,
    pub(super) count: u32,
    pub(super) timestamp: f64,
    pub(super) needs_attention: bool,
    pub(super) session_started: f64,
}

/// What of a badge that was there before is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    pub(super) count: u32,
    pub(super) session_started: f64,
}

#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

impl Folder {
    /// Opens it, or makes it if it is missing.
    pub(super) fn open(runtime_dir: &Path) -> anyhow::Result<Self> {
        let parent = rustix::fs::open(
            runtime_dir,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .with_context(|| format!("cannot open {}", runtime_dir.display()))?;
        match rustix::fs::mkdirat(&parent, NAME, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).context("cannot make the directory of badges"),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let folder = rustix::fs::openat2(&parent, NAME, flags, Mode::empty(), resolve)
            .context("the directory of badges is something else")?;
        let owner = rustix::fs::fstat(&folder)?.st_uid;
        let own = rustix::process::geteuid().as_raw();
        ensure!(owner == own, "the directory of badges belongs to user {owner}");
        // The mask of the one who started us may have taken more away.
        rustix::fs::fchmod(&folder, Mode::from_raw_mode(0o755))?;
        Ok(Self(folder))
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Readers see the old one or the new one, and nothing between.
    pub(super) fn write(&self, badge: &BadgeFile) -> anyhow::Result<()> {
        let (name, temporary) = (name(badge.window_id), format!(".{}.tmp", badge.window_id));
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(&self.0, &temporary, flags, Mode::from_raw_mode(0o644));
        let file = match create() {
            // Left behind by one that was killed, or laid there.
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(&self.0, &temporary, AtFlags::empty())
                    .with_context(|| format!("cannot remove {temporary}"))?;
                create()
            }
            made => made,
        };
        let mut file = File::from(file.with_context(|| format!("cannot make {temporary}"))?);
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o644))?;
        let written = serde_json::to_vec(badge).map_err(anyhow::Error::from).and_then(|text| {
            file.write_all(&text).context("cannot write")?;
            rustix::fs::renameat(&self.0, &temporary, &self.0, &name).context("cannot rename")
        });
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&self.0, &temporary, AtFlags::empty());
        }
        written.with_context(|| format!("badge {name}"))
    }

    pub(super) fn remove(&self, window: WindowId) {
        let _ = rustix::fs::unlinkat(&self.0, name(window.0), AtFlags::empty());
    }

    pub(super) fn has(&self, window: WindowId) -> bool {
        rustix::fs::statat(&self.0, name(window.0), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// The windows that have a badge of this user's, with what can be read of
    /// it.
    pub(super) fn list(&self) -> Vec<(WindowId, Kept)> {
        let Ok(names) = rustix::fs::Dir::read_from(&self.0) else { return Vec::new() };
        let windows = names.flatten().filter_map(|entry| window_of(entry.file_name().to_bytes()));
        windows.filter_map(|window| Some((window, self.read(window)?))).collect()
    }

    /// `None` of what is no file of ours. Never waits, whatever lies there.
    fn read(&self, window: WindowId) -> Option<Kept> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let name = name(window.0);
        let file = rustix::fs::openat2(&self.0, name, flags, Mode::empty(), resolve).ok()?;
        let about = rustix::fs::fstat(file.as_fd()).ok()?;
        let is_file = rustix::fs::FileType::from_raw_mode(about.st_mode).is_file();
        if !is_file || about.st_uid != rustix::process::geteuid().as_raw() {
            return None;
        }
        let mut text = Vec::new();
        File::from(file).take(MAX_BYTES).read_to_end(&mut text).ok()?;
        Some(serde_json::from_slice(&text).unwrap_or_default())
    }
}

fn name(window: u64) -> String {
    format!("{window}.json")
}

/// The window of `7.json`.
pub(super) fn window_of(name: &[u8]) -> Option<WindowId> {
    let number = std::str::from_utf8(name).ok()?.strip_suffix(".json")?;
    let window: u64 = number.parse().ok().filter(|id| *id > 0)?;
    // "+7" and "07" are others.
    (window.to_string() == number).then_some(WindowId(window))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_numbers_name_windows() {
        let table: [(&[u8], Option<u64>); 8] = [
            (b"7.json", Some(7)),
            (b"18446744073709551615.json", Some(u64::MAX)),
            (b"07.json", None),
            (b"+7.json", None),
            (b"0.json", None),
            (b".7.tmp", None),
            (b"../7.json", None),
            (b"\xff.json", None),
        ];
        for (name, window) in table {
            assert_eq!(window_of(name), window.map(WindowId), "{name:?}");
        }
    }
}
