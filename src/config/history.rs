//! What is written down of turns, and for how long.

use serde::{Deserialize, Deserializer};

const DEFAULT_DAYS: u32 = 30;
const MOST_DAYS: u64 = 3660;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct History {
    enabled: Option<bool>,
    days: Option<Days>,
}

/// That it is kept, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HistoryUse {
    /// What is older is forgotten.
    pub(crate) days: u32,
}

#[derive(Clone, Copy, Debug)]
struct Days(u32);

impl From<History> for Option<HistoryUse> {
    fn from(wanted: History) -> Self {
        let days = wanted.days.map_or(DEFAULT_DAYS, |days| days.0);
        wanted.enabled.unwrap_or(true).then_some(HistoryUse { days })
    }
}

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let days = super::up_to(value, MOST_DAYS)?;
        match u32::try_from(days) {
            Ok(days @ 1..) => Ok(Self(days)),
            _ => Err(serde::de::Error::custom("0 is less than 1; `enabled = false` keeps none")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_for_a_month_unless_they_say_otherwise() {
        let read =
            |text: &str| -> Option<HistoryUse> { toml::from_str::<History>(text).unwrap().into() };
        assert_eq!(read(""), Some(HistoryUse { days: 30 }));
        assert_eq!(read("days = 7"), Some(HistoryUse { days: 7 }));
        assert_eq!(read("enabled = false\ndays = 7"), None);
        assert!(toml::from_str::<History>("days = 0").is_err());
        assert!(toml::from_str::<History>("days = 3661").is_err());
    }
}
