//! Where the person wants numbers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::up_to;
use crate::sinks::metrics::MetricsChoices;

const DEFAULT_EVERY: Duration = Duration::from_secs(15);

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Metrics {
    file: PromFile,
    listen: Loopback,
    every_s: Every,
}

/// An absolute path that ends in `.prom`, or nothing.
#[derive(Debug, Default)]
struct PromFile(Option<PathBuf>);

#[derive(Debug, Default)]
struct Loopback(Option<SocketAddr>);

/// From a second to an hour.
#[derive(Debug)]
struct Every(Duration);

impl Default for Every {
    fn default() -> Self {
        Self(DEFAULT_EVERY)
    }
}

impl From<Metrics> for MetricsChoices {
    fn from(wanted: Metrics) -> Self {
        let Metrics { file, listen, every_s } = wanted;
        Self { file: file.0, listen: listen.0, every: every_s.0 }
    }
}

impl<'de> Deserialize<'de> for PromFile {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let text = String::deserialize(value)?;
        let path = PathBuf::from(&text);
        if text.is_empty() {
            return Ok(Self(None));
        }
        if !path.is_absolute() || path.extension().is_none_or(|it| it != "prom") {
            let problem = "the file is an absolute path that ends in .prom";
            return Err(serde::de::Error::custom(problem));
        }
        Ok(Self(Some(path)))
    }
}

impl<'de> Deserialize<'de> for Loopback {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let text = String::deserialize(value)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        let address: Option<SocketAddr> = text.parse().ok();
        let loopback = address.filter(|address| address.ip().is_loopback());
        let problem = || format!("{text:?} is no loopback address such as \"127.0.0.1:9477\"");
        loopback.map(|it| Self(Some(it))).ok_or_else(|| serde::de::Error::custom(problem()))
    }
}

impl<'de> Deserialize<'de> for Every {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        match up_to(value, 3_600)? {
            0 => Err(serde::de::Error::custom("0 is less than 1")),
            seconds => Ok(Self(Duration::from_secs(seconds))),
        }
    }
}
