//! The file of turns: a JSON object a line, mode 0600, in a directory of the
//! person's. It is bounded, and nothing of what terminals show is in it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::protocol::{PhaseWord, ReasonWord};

const NAME: &str = "history.jsonl";
/// Some 5,000 lines; when it is longer the older half goes.
const MOST_BYTES: usize = 1 << 20;
const DAY_S: f64 = 86_400.0;

/// A line: a session worked, or waited.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Seconds since 1970.
    pub(crate) ended: f64,
    pub(crate) seconds: f64,
    pub(crate) phase: PhaseWord,
    #[serde(default)]
    pub(crate) reason: Option<ReasonWord>,
    /// For how many of the seconds the person should have come and had not.
    #[serde(default)]
    pub(crate) called_seconds: f64,
    /// Turns that ended at its end.
    #[serde(default)]
    pub(crate) turns: u32,
    pub(crate) agent: String,
    pub(crate) project: String,
    pub(crate) pid: u32,
}

#[derive(Debug)]
pub(super) struct HistoryFile {
    path: PathBuf,
    days: u32,
    trimmed_on: Option<u64>,
}

pub(crate) fn path_in(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

impl HistoryFile {
    pub(super) fn new(dir: &Path, days: u32) -> Self {
        Self { path: path_in(dir), days, trimmed_on: None }
    }

    pub(super) fn append(&mut self, now: f64, entries: &[Entry]) -> anyhow::Result<()> {
        self.trim(now)?;
        let mut lines = String::new();
        for entry in entries {
            lines += &serde_json::to_string(entry)?;
            lines.push('\n');
        }
        let mut options = OpenOptions::new();
        let file = open(options.append(true).create(true), &self.path)?;
        // Whole lines at once: a reader sees no half of one.
        (&file).write_all(lines.as_bytes()).context("cannot write the history")?;
        if file.metadata().is_ok_and(|about| about.len() > MOST_BYTES as u64) {
            self.trimmed_on = None;
        }
        Ok(())
    }

    /// Once a day, and when it has grown too long.
    fn trim(&mut self, now: f64) -> anyhow::Result<()> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "days since 1970"
        )]
        let today = (now / DAY_S) as u64;
        if self.trimmed_on == Some(today) {
            return Ok(());
        }
        if let Some(dir) = self.path.parent() {
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(dir);
            made.with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let text = match fs::symlink_metadata(&self.path) {
            Ok(about) if about.is_file() => fs::read_to_string(&self.path).unwrap_or_default(),
            Ok(_) => anyhow::bail!("{} is no file", self.path.display()),
            Err(_) => String::new(),
        };
        let kept = kept_of(&text, now - f64::from(self.days) * DAY_S, MOST_BYTES);
        if kept.len() < text.len() {
            let temporary = self.path.with_extension("tmp");
            let _ = fs::remove_file(&temporary);
            let mut options = OpenOptions::new();
            let file = open(options.write(true).create_new(true), &temporary)?;
            (&file).write_all(kept.as_bytes()).context("cannot write the history")?;
            fs::rename(&temporary, &self.path).context("cannot rename the history")?;
        }
        self.trimmed_on = Some(today);
        Ok(())
    }
}

fn open(options: &mut OpenOptions, path: &Path) -> anyhow::Result<File> {
    let options = options.mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options.open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// The end of the text without what ended before `oldest`; of one that is too
/// long, about the last half of what may be.
fn kept_of(text: &str, oldest: f64, most_bytes: usize) -> String {
    let mut start = 0;
    if text.len() > most_bytes {
        let middle = text.len() - most_bytes / 2;
        let next = text.as_bytes()[middle..].iter().position(|byte| *byte == b'\n');
        start = next.map_or(text.len(), |at| middle + at + 1);
    }
    let is_young =
        |line: &&str| serde_json::from_str::<Entry>(line).is_ok_and(|entry| entry.ended >= oldest);
    text[start..].lines().filter(is_young).flat_map(|line| [line, "\n"]).collect()
}

/// What is written down in a directory, as far as it can be read.
pub(crate) fn read(dir: &Path) -> Vec<Entry> {
    let text = fs::read_to_string(path_in(dir)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn entry(ended: f64) -> Entry {
        Entry {
            ended,
            seconds: 2.0,
            phase: PhaseWord::Working,
            reason: None,
            called_seconds: 0.0,
            turns: 1,
            agent: "claude".to_owned(),
            project: "shop".to_owned(),
            pid: 7,
        }
    }

    #[test]
    fn old_lines_go_and_the_file_is_the_persons_alone() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("state");
        let mut file = HistoryFile::new(&dir, 2);
        let day = |day: f64| day * DAY_S;
        file.append(day(1.0), &[entry(day(1.0))]).unwrap();
        file.append(day(2.0), &[entry(day(2.0))]).unwrap();
        assert_eq!(read(&dir), [entry(day(1.0)), entry(day(2.0))]);
        file.append(day(3.5), &[entry(day(3.5))]).unwrap();
        assert_eq!(read(&dir), [entry(day(2.0)), entry(day(3.5))]);
        let mode = fs::metadata(path_in(&dir)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_long_file_loses_its_older_half() {
        let line = |ended| serde_json::to_string(&entry(ended)).unwrap() + "\n";
        let text: String = (0..100).map(f64::from).map(line).collect();
        assert_eq!(kept_of(&text, 0.0, text.len()), text);
        let kept = kept_of(&text, 0.0, text.len() - 1);
        assert!(kept.len() <= text.len() / 2 && kept.len() > text.len() / 3, "{}", kept.len());
        assert!(text.ends_with(&kept));
        assert_eq!(kept_of("no line of ours\n", 0.0, 1000), "");
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "mine\n").unwrap();
        std::os::unix::fs::symlink(&elsewhere, path_in(dir.path())).unwrap();
        assert!(HistoryFile::new(dir.path(), 2).append(0.0, &[entry(0.0)]).is_err());
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "mine\n");
    }
}
