//! Colour, only where a person looks and wants it.

use std::io::{IsTerminal as _, stdout};

/// Whether words are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Colour,
}

/// As terminals number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
}

impl Paint {
    /// As <https://no-color.org> has it.
    pub(super) fn of_stdout() -> Self {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if stdout().is_terminal() && !is_unwanted { Self::Colour } else { Self::Plain }
    }

    pub(super) fn word(self, word: &str, colour: Colour) -> String {
        match self {
            Self::Plain => word.to_owned(),
            Self::Colour => format!("\x1b[{}m{word}\x1b[0m", colour as u8),
        }
    }
}
