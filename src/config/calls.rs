//! How the person wants to be called where notifications are not enough.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::up_to;
use crate::sinks::notify::{Hook, HookEvent, NotifySequence, TerminalChoices};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Terminal {
    tmux_message: bool,
    bell: bool,
    sequence: SequenceWord,
    to: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
enum SequenceWord {
    #[default]
    #[serde(rename = "")]
    None,
    #[serde(rename = "9")]
    Osc9,
    #[serde(rename = "777")]
    Osc777,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HookTable {
    command: Words,
    #[serde(default = "calls_only")]
    on: BTreeSet<EventWord>,
    agents: Option<BTreeSet<String>>,
    projects: Option<BTreeSet<String>>,
    timeout_s: Option<Seconds>,
}

/// A program and its arguments.
#[derive(Debug)]
struct Words(Vec<String>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EventWord {
    Call,
    Unknown,
    Working,
    Waiting,
    Exited,
}

/// From a second to an hour.
#[derive(Debug)]
struct Seconds(Duration);

fn calls_only() -> BTreeSet<EventWord> {
    BTreeSet::from([EventWord::Call])
}

impl From<Terminal> for TerminalChoices {
    fn from(wanted: Terminal) -> Self {
        let Terminal { tmux_message, bell, sequence, to } = wanted;
        let sequence = match sequence {
            SequenceWord::None => None,
            SequenceWord::Osc9 => Some(NotifySequence::Osc9),
            SequenceWord::Osc777 => Some(NotifySequence::Osc777),
        };
        let to = to.strip_prefix("/dev/").unwrap_or(&to).to_owned();
        Self { tmux_message, bell, sequence, to: Some(to).filter(|tty| !tty.is_empty()) }
    }
}

impl From<HookTable> for Hook {
    fn from(wanted: HookTable) -> Self {
        let HookTable { command, on, agents, projects, timeout_s } = wanted;
        Self {
            command: command.0,
            on: on.into_iter().map(HookEvent::from).collect(),
            agents,
            projects,
            timeout: timeout_s.map_or(DEFAULT_TIMEOUT, |it| it.0),
        }
    }
}

impl From<EventWord> for HookEvent {
    fn from(word: EventWord) -> Self {
        match word {
            EventWord::Call => Self::Call,
            EventWord::Unknown => Self::Unknown,
            EventWord::Working => Self::Working,
            EventWord::Waiting => Self::Waiting,
            EventWord::Exited => Self::Exited,
        }
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(value)?;
        if words.first().is_none_or(String::is_empty) {
            return Err(serde::de::Error::custom("a command begins with a program"));
        }
        if words.iter().any(|word| word.contains('\0')) {
            return Err(serde::de::Error::custom("no word of a command holds a zero byte"));
        }
        Ok(Self(words))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        match up_to(value, 3_600)? {
            0 => Err(serde::de::Error::custom("0 is less than 1")),
            seconds => Ok(Self(Duration::from_secs(seconds))),
        }
    }
}
