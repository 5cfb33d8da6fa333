//! A TOML file as typed values that know where they stand, so that whatever is
//! wrong can be named by line, column and key. What the keys mean is not known
//! here.

use std::ops::{Range, RangeInclusive};

use toml::de::{DeTable, DeValue};

pub(crate) type Read<T> = Result<T, Problem>;

/// What is wrong, and where in the text.
#[derive(Debug)]
pub(crate) struct Problem {
    /// In bytes.
    pub(crate) at: usize,
    /// `titles.rules[0].says`; empty where no key is to blame.
    pub(crate) key: String,
    pub(crate) text: String,
}

/// A table whose keys are taken out one by one: what is left in the end is
/// unknown.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    /// Its own key; empty for the whole file.
    key: String,
    at: usize,
    entries: DeTable<'a>,
    taken: Vec<&'static str>,
}

#[derive(Debug)]
pub(crate) struct Value<'a> {
    key: String,
    at: usize,
    value: DeValue<'a>,
}

pub(crate) fn parse(text: &str) -> Read<Table<'_>> {
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(text.len(), |span: Range<usize>| span.start);
        Problem { at, key: String::new(), text: error.message().to_owned() }
    })?;
    Ok(Table { key: String::new(), at: 0, entries: table.into_inner(), taken: Vec::new() })
}

impl<'a> Table<'a> {
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.taken.push(key);
        let value = self.entries.remove(key)?;
        Some(Value { key: self.key_of(key), at: value.span().start, value: value.into_inner() })
    }

    pub(crate) fn need(&mut self, key: &'static str) -> Read<Value<'a>> {
        let missing = Problem { at: self.at, key: self.key_of(key), text: "is missing".to_owned() };
        self.take(key).ok_or(missing)
    }

    pub(crate) fn end(self) -> Read<()> {
        let Some(unknown) = self.entries.keys().min_by_key(|key| key.span().start) else {
            return Ok(());
        };
        Err(Problem {
            at: unknown.span().start,
            key: self.key_of(unknown.get_ref()),
            text: format!("unknown key; known are {}", self.taken.join(", ")),
        })
    }

    pub(crate) fn problem(&self, text: impl Into<String>) -> Problem {
        Problem { at: self.at, key: self.key.clone(), text: text.into() }
    }

    fn key_of(&self, key: &str) -> String {
        if self.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.key) }
    }
}

impl<'a> Value<'a> {
    pub(crate) fn problem(&self, text: impl Into<String>) -> Problem {
        Problem { at: self.at, key: self.key.clone(), text: text.into() }
    }

    pub(crate) fn table(self) -> Read<Table<'a>> {
        let DeValue::Table(entries) = self.value else { return Err(self.is_no("table")) };
        Ok(Table { key: self.key, at: self.at, entries, taken: Vec::new() })
    }

    pub(crate) fn list(self) -> Read<Vec<Self>> {
        let DeValue::Array(values) = self.value else { return Err(self.is_no("array")) };
        let element = |(index, value): (usize, toml::Spanned<DeValue<'a>>)| Self {
            key: format!("{}[{index}]", self.key),
            at: value.span().start,
            value: value.into_inner(),
        };
        Ok(values.into_iter().enumerate().map(element).collect())
    }

    /// Never empty, and safe to print.
    pub(crate) fn text(&self) -> Read<String> {
        let text = self.value.as_str().ok_or_else(|| self.is_no("string"))?;
        if text.is_empty() {
            return Err(self.problem("is empty"));
        }
        if text.contains(char::is_control) {
            return Err(self.problem("holds a control character"));
        }
        Ok(text.to_owned())
    }

    /// A text that may be a name in a path.
    pub(crate) fn base_name(&self) -> Read<String> {
        let text = self.text()?;
        if text.contains('/') { Err(self.problem("holds a '/'")) } else { Ok(text) }
    }

    pub(crate) fn texts(self) -> Read<Vec<String>> {
        self.list()?.iter().map(Self::text).collect()
    }

    pub(crate) fn base_names(self) -> Read<Vec<String>> {
        self.list()?.iter().map(Self::base_name).collect()
    }

    pub(crate) fn is_text(&self) -> bool {
        self.value.is_str()
    }

    pub(crate) fn bool(&self) -> Read<bool> {
        self.value.as_bool().ok_or_else(|| self.is_no("boolean"))
    }

    pub(crate) fn one_of<T: Copy>(&self, words: &[(&str, T)]) -> Read<T> {
        let text = self.value.as_str().ok_or_else(|| self.is_no("string"))?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.problem(format!("{text:?} is none of {}", words.join(", ")))
        })
    }

    pub(crate) fn integer(&self, range: RangeInclusive<u32>) -> Read<u32> {
        let integer = self.value.as_integer().ok_or_else(|| self.is_no("integer"))?;
        let value = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        value.filter(|value| range.contains(value)).ok_or_else(|| {
            self.problem(format!("{integer} is not in {} to {}", range.start(), range.end()))
        })
    }

    fn is_no(&self, expected: &str) -> Problem {
        let article = if expected.starts_with(['a', 'i']) { "an" } else { "a" };
        self.problem(format!("must be {article} {expected}, is {}", kind(&self.value)))
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
