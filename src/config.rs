//! The user's `config.toml`: what they want to be told of, and how. People read of its
//! keys in `docs/notifications.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ebpf_ai_monitor_core::{
    AlertPolicy, Choice, FocusRule, ProjectSource, QuietHours, Repeat, TimeOfDay, Urgency,
};
use serde::{Deserialize, Deserializer};

use crate::protocol::ReasonWord;

/// One that is longer is none.
const MAX_BYTES: u64 = 1 << 20;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The first that names a project decides.
    project_order: Option<Vec<ProjectWord>>,
    pub(crate) notifications: Notifications,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ProjectWord {
    Environment,
    Session,
    Mark,
    Directory,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Notifications {
    enabled: Option<bool>,
    delay_ms: Option<Milliseconds>,
    recheck_ms: Option<Milliseconds>,
    only_unfocused: Option<bool>,
    repeat: Option<RepeatWord>,
    repeat_every_s: Option<Seconds>,
    minimum_work_s: Option<Seconds>,
    quiet_hours: Vec<Hours>,
    urgency: Option<UrgencyWord>,
    sound: Option<String>,
    timeout_ms: Option<Milliseconds>,
    reasons: BTreeMap<ReasonWord, Choices>,
    agents: BTreeMap<String, Choices>,
    projects: BTreeMap<String, Choices>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Choices {
    enabled: Option<bool>,
    urgency: Option<UrgencyWord>,
    sound: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RepeatWord {
    Once,
    UntilSeen,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UrgencyWord {
    Low,
    Normal,
    Critical,
}

/// At most an hour.
#[derive(Clone, Copy, Debug)]
struct Milliseconds(Duration);

/// At most a day.
#[derive(Clone, Copy, Debug)]
struct Seconds(Duration);

/// `22:00-07:30`.
#[derive(Clone, Copy, Debug)]
struct Hours(QuietHours);

impl Config {
    /// What the file says; the defaults where there is none.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let about = match fs::metadata(path) {
            Ok(about) => about,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        if !about.is_file() || about.len() > MAX_BYTES {
            bail!("{} is no file, or larger than 1 MiB", path.display());
        }
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let before = text.get(..at).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let message = error.message().replace('\n', " ");
            anyhow::anyhow!("{}:{line}:{column}: {message}", path.display())
        })
    }

    pub(crate) fn project_order(&self) -> Vec<ProjectSource> {
        let source = |word: &ProjectWord| match word {
            ProjectWord::Environment => ProjectSource::Environment,
            ProjectWord::Session => ProjectSource::Session,
            ProjectWord::Mark => ProjectSource::Mark,
            ProjectWord::Directory => ProjectSource::Directory,
        };
        let default = || ProjectSource::DEFAULT_ORDER.to_vec();
        self.project_order.as_ref().map_or_else(default, |it| it.iter().map(source).collect())
    }
}

impl From<Notifications> for AlertPolicy {
    fn from(wanted: Notifications) -> Self {
        let mut policy = Self::default();
        let set = |place: &mut Duration, wanted: Option<Duration>| {
            *place = wanted.unwrap_or(*place);
        };
        policy.enabled = wanted.enabled.unwrap_or(policy.enabled);
        set(&mut policy.delay, wanted.delay_ms.map(|it| it.0));
        set(&mut policy.recheck, wanted.recheck_ms.map(|it| it.0));
        set(&mut policy.timeout, wanted.timeout_ms.map(|it| it.0));
        set(&mut policy.minimum_work, wanted.minimum_work_s.map(|it| it.0));
        if wanted.only_unfocused == Some(false) {
            policy.focus = FocusRule::Always;
        }
        if let Some(RepeatWord::UntilSeen) = wanted.repeat {
            let pause = wanted.repeat_every_s.map_or(Duration::from_secs(60), |it| it.0);
            policy.repeat = Repeat::UntilSeen(pause);
        }
        policy.quiet = wanted.quiet_hours.into_iter().map(|it| it.0).collect();
        policy.urgency = wanted.urgency.map_or(policy.urgency, Urgency::from);
        policy.sound = wanted.sound.filter(|name| !name.is_empty());
        for (reason, choices) in wanted.reasons {
            policy.reasons.insert(reason.into(), choices.into());
        }
        let named = |map: BTreeMap<String, Choices>| {
            map.into_iter().map(|(name, choices)| (name, choices.into())).collect()
        };
        policy.agents = named(wanted.agents);
        policy.projects = named(wanted.projects);
        policy
    }
}

impl From<Choices> for Choice {
    fn from(wanted: Choices) -> Self {
        let Choices { enabled, urgency, sound } = wanted;
        Self { enabled, urgency: urgency.map(Urgency::from), sound }
    }
}

impl From<UrgencyWord> for Urgency {
    fn from(word: UrgencyWord) -> Self {
        match word {
            UrgencyWord::Low => Self::Low,
            UrgencyWord::Normal => Self::Normal,
            UrgencyWord::Critical => Self::Critical,
        }
    }
}

impl<'de> Deserialize<'de> for Milliseconds {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        Ok(Self(Duration::from_millis(up_to(value, 3_600_000)?)))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        Ok(Self(Duration::from_secs(up_to(value, 86_400)?)))
    }
}

fn up_to<'de, D: Deserializer<'de>>(value: D, most: u64) -> Result<u64, D::Error> {
    let number = u64::deserialize(value)?;
    if number > most {
        return Err(serde::de::Error::custom(format!("{number} is more than {most}")));
    }
    Ok(number)
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let text = String::deserialize(value)?;
        let time = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            TimeOfDay::new(hour.parse().ok()?, minute.parse().ok()?, 0)
        };
        let hours = text
            .split_once('-')
            .and_then(|(from, until)| Some(QuietHours { from: time(from)?, until: time(until)? }));
        let problem = || format!("{text:?} is no time such as \"22:00-07:30\"");
        hours.map(Self).ok_or_else(|| serde::de::Error::custom(problem()))
    }
}

#[cfg(test)]
mod tests {
    use ebpf_ai_monitor_core::Reason;

    use super::*;

    fn read(text: &str) -> anyhow::Result<AlertPolicy> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("config.toml");
        fs::write(&path, text)?;
        let config = Config::read(&path).map_err(|error| {
            let folder = folder.path().display().to_string();
            anyhow::anyhow!("{}", error.to_string().replace(&folder, ""))
        })?;
        Ok(config.notifications.into())
    }

    #[test]
    fn reads_every_key() {
        let text = r#"
            [notifications]
            enabled = true
            delay_ms = 500
            recheck_ms = 100
            only_unfocused = false
            repeat = "until-seen"
            repeat_every_s = 90
            minimum_work_s = 20
            quiet_hours = ["22:00-07:30"]
            urgency = "low"
            sound = "bell"
            timeout_ms = 0
            [notifications.reasons.permission]
            urgency = "critical"
            [notifications.agents.codex]
            enabled = false
            [notifications.projects."acme/site"]
            sound = ""
        "#;
        let policy = read(text).unwrap();
        let time = |hour, minute| TimeOfDay::new(hour, minute, 0).unwrap();
        assert_eq!(policy.delay, Duration::from_millis(500));
        assert_eq!(policy.recheck, Duration::from_millis(100));
        assert_eq!(policy.focus, FocusRule::Always);
        assert_eq!(policy.repeat, Repeat::UntilSeen(Duration::from_secs(90)));
        assert_eq!(policy.minimum_work, Duration::from_secs(20));
        assert_eq!(policy.quiet, [QuietHours { from: time(22, 0), until: time(7, 30) }]);
        assert_eq!(policy.urgency, Urgency::Low);
        assert_eq!(policy.sound.as_deref(), Some("bell"));
        assert_eq!(policy.timeout, Duration::ZERO);
        assert_eq!(policy.reasons[&Reason::Permission].urgency, Some(Urgency::Critical));
        assert_eq!(policy.reasons[&Reason::Interrupted].enabled, Some(false), "as by default");
        assert_eq!(policy.agents["codex"].enabled, Some(false));
        assert_eq!(policy.projects["acme/site"].sound.as_deref(), Some(""));
        assert_eq!(read("").unwrap(), AlertPolicy::default());
    }

    #[test]
    fn names_what_is_wrong_and_where() {
        let table = [
            ("[notifications]\ndelay = 5", "2:1: unknown field `delay`"),
            ("[notifications]\ndelay_ms = -5", "2:12: invalid value"),
            ("[notifications]\ndelay_ms = 3600001", "2:12: 3600001 is more than 3600000"),
            ("[notifications]\nquiet_hours = [\"22-7\"]", "2:15: \"22-7\" is no time"),
            ("[notifications]\nurgency = \"loud\"", "2:11: unknown variant `loud`"),
            ("project_order = [\"title\"]", "1:18: unknown variant `title`"),
            ("[notifications.reasons.tired]", "unknown variant `tired`"),
            ("[notifications\n", "1:"),
        ];
        for (text, expected) in table {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("config.toml:"), "{text}: {error}");
        }
    }
}
