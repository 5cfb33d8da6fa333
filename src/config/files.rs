//! Where configuration is written down, and what is wrong with it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::Config;

/// For everybody on this machine.
pub(crate) const SYSTEM: &str = "/etc/ebpf-ai-monitor/config.toml";

/// One that is longer is none.
const MAX_BYTES: u64 = 1 << 20;

/// Words that are less alike are not suggested.
const ALIKE: f64 = 0.7;

/// Where files may lie, the stronger one last. None need be there.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFiles(pub(crate) Vec<PathBuf>);

impl ConfigFiles {
    /// What they say together: a table is taken key by key, anything else
    /// whole from the last file that names it.
    pub(crate) fn read(&self) -> anyhow::Result<Config> {
        let mut together = Table::new();
        for path in &self.0 {
            if let Some(table) = read(path)? {
                put_over(&mut together, table);
            }
        }
        together.try_into().context("the files do not go together")
    }

    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.0
    }
}

/// What one file says, checked; `None` if it is not there.
fn read(path: &Path) -> anyhow::Result<Option<Table>> {
    let about = match fs::metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    if !about.is_file() || about.len() > MAX_BYTES {
        bail!("{} is no file, or larger than 1 MiB", path.display());
    }
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let _: Config = parse(path, &text)?;
    parse(path, &text).map(Some)
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> anyhow::Result<T> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let before = text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let message = error.message().replace('\n', " ");
        let hint = suggestion(&message).map(|word| format!("; did you mean `{word}`?"));
        let hint = hint.unwrap_or_default();
        anyhow::anyhow!("{}:{line}:{column}: {message}{hint}", path.display())
    })
}

/// serde names the word that it does not know and then those that it does.
fn suggestion(message: &str) -> Option<&str> {
    if !message.starts_with("unknown ") {
        return None;
    }
    let mut words = message.split('`').skip(1).step_by(2);
    let unknown = words.next()?;
    let lower = unknown.to_lowercase();
    let alike = words.map(|word| (strsim::jaro_winkler(&lower, &word.to_lowercase()), word));
    let best = alike.max_by(|(one, _), (other, _)| one.total_cmp(other));
    best.filter(|(alike, _)| *alike >= ALIKE).map(|(_, word)| word)
}

fn put_over(base: &mut Table, top: Table) {
    for (key, value) in top {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(top)) => put_over(base, top),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Flags;
    use super::*;

    /// What the files say together, the last one strongest.
    fn read_all(texts: &[&str]) -> anyhow::Result<Config> {
        let folder = tempfile::tempdir()?;
        let file = |(number, text): (usize, &&str)| {
            let path = folder.path().join(format!("{number}.toml"));
            fs::write(&path, text).map(|()| path)
        };
        let paths = texts.iter().enumerate().map(file).collect::<Result<_, _>>()?;
        ConfigFiles(paths).read()
    }

    #[test]
    fn the_users_file_wins_key_by_key() {
        let system = "wait_threshold_ms = 2000\n[notifications]\ndelay_ms = 5\nurgency = \"low\"";
        let user = "[notifications]\ndelay_ms = 7";
        let wanted = read_all(&[system, user]).unwrap().with(&Flags::default());
        assert_eq!(wanted.threshold, Duration::from_secs(2));
        assert_eq!(wanted.calls.policy.delay, Duration::from_millis(7));
        assert_eq!(wanted.calls.policy.urgency, ebpf_ai_monitor_core::Urgency::Low);
    }

    #[test]
    fn files_that_are_not_there_say_nothing() {
        let nowhere = ConfigFiles(vec![PathBuf::from("/nowhere/config.toml")]);
        let wanted = nowhere.read().unwrap().with(&Flags::default());
        assert_eq!(wanted, Config::default().with(&Flags::default()));
    }

    #[test]
    fn names_what_is_wrong_and_where() {
        let table = [
            ("[notifications]\ndelay = 5", "2:1: unknown field `delay`"),
            ("[notifications]\ndelay = 5", "did you mean `delay_ms`?"),
            ("[notification]\ndelay_ms = 5", "did you mean `notifications`?"),
            ("[notifications]\ndelay_ms = -5", "2:12: invalid value"),
            ("[notifications]\ndelay_ms = 3600001", "2:12: 3600001 is more than 3600000"),
            ("wait_threshold_ms = 0", "1:21: 0 is less than 1"),
            ("log_level = \"info\"", "did you mean `INFO`?"),
            ("project_order = [\"name\"]", "unknown variant `name`"),
            ("[notifications]\nquiet_hours = [\"22-7\"]", "2:15: \"22-7\" is no time"),
            ("[notifications]\nurgency = \"loud\"", "2:11: unknown variant `loud`"),
            ("[notifications.reasons.tired]", "unknown variant `tired`"),
            ("[metrics]\nlisten = \"0.0.0.0:80\"", "2:10: \"0.0.0.0:80\" is no loopback address"),
            ("[metrics]\nfile = \"a.txt\"", "ends in .prom"),
            ("[[hooks]]\ncommand = []", "a command begins with a program"),
            ("[[hooks]]\ncommand = [\"a\"]\non = [\"calls\"]", "did you mean `call`?"),
            ("[notifications\n", "1:"),
        ];
        for (text, expected) in table {
            let error = read_all(&["", text]).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("1.toml:"), "{text}: {error}");
        }
    }
}
