//! What the person wants to be told of.

use std::collections::BTreeMap;
use std::time::Duration;

use ebpf_ai_monitor_core::{
    AlertPolicy, Choice, FocusRule, QuietHours, Repeat, TimeOfDay, Urgency,
};
use serde::{Deserialize, Deserializer};

use super::{Milliseconds, Seconds};
use crate::protocol::ReasonWord;

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

/// `22:00-07:30`.
#[derive(Clone, Copy, Debug)]
struct Hours(QuietHours);

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

    fn read(text: &str) -> AlertPolicy {
        let config: crate::config::Config = toml::from_str(text).unwrap();
        config.notifications.into()
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
        let policy = read(text);
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
        assert_eq!(read(""), AlertPolicy::default());
    }
}
