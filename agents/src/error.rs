//! What a person is told of a profile that is wrong.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::document::Problem;

/// One file, or the directory of them, that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileError {
    path: PathBuf,
    /// Line and column, both from 1; the column in characters.
    place: Option<(usize, usize)>,
    /// `titles.rules[0].says`.
    key: Option<String>,
    text: String,
}

impl ProfileError {
    pub(crate) fn new(path: &Path, why: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), place: None, key: None, text: why.to_string() }
    }

    /// `content` is what the problem counts its bytes in.
    pub(crate) fn at(path: &Path, content: &str, problem: Problem) -> Self {
        let before = content.get(..problem.at).unwrap_or(content);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
        Self {
            path: path.to_owned(),
            place: Some((line, column)),
            key: (!problem.key.is_empty()).then_some(problem.key),
            text: problem.text,
        }
    }
}

impl fmt::Display for ProfileError {
    /// One line, whatever is in the file's name and keys.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.path.display().to_string();
        if let Some((number, column)) = self.place {
            write!(line, ":{number}:{column}")?;
        }
        line.push_str(": ");
        if let Some(key) = &self.key {
            write!(line, "{key}: ")?;
        }
        line.push_str(&self.text);
        for char in line.chars() {
            if char.is_control() {
                write!(out, "{}", char.escape_default())?;
            } else {
                out.write_char(char)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ProfileError {}
