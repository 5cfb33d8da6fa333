//! How the parts of the daemon do. They report; who shows it, to whom, is not
//! known here.

use std::fmt::Display;
use std::sync::Arc;

/// The way to report. It never waits, and where nobody listens nothing happens.
#[derive(Clone)]
pub(crate) struct Reporter(Option<Arc<dyn Fn(Report) + Send + Sync>>);

/// What one part says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// One word: `badges`.
    pub(crate) part: &'static str,
    /// What keeps it from its work; `None`: nothing does any more.
    pub(crate) problem: Option<String>,
}

impl Reporter {
    pub(crate) fn to(listener: impl Fn(Report) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    pub(crate) fn nobody() -> Self {
        Self(None)
    }

    pub(crate) fn trouble(&self, part: &'static str, problem: impl Display) {
        if let Some(tell) = &self.0 {
            tell(Report { part, problem: Some(problem.to_string()) });
        }
    }

    pub(crate) fn well(&self, part: &'static str) {
        if let Some(tell) = &self.0 {
            tell(Report { part, problem: None });
        }
    }

    /// Trouble if it failed, else well.
    pub(crate) fn outcome<T>(&self, part: &'static str, outcome: &anyhow::Result<T>) {
        match outcome {
            Ok(_) => self.well(part),
            Err(error) => self.trouble(part, format_args!("{error:#}")),
        }
    }
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reporter")
    }
}
