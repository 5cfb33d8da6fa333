//! Patterns of paths: `~` is the home, `*` is a whole name or a part of one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

/// A path from the root on, one entry for each name. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Name>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Literal(OsString),
    /// With at least one `*`.
    Wild(OsString),
}

impl Pattern {
    /// `None` where it is neither a whole path nor one below the home, or goes
    /// upwards.
    pub(super) fn parse(text: &str, home: &Path) -> Option<Self> {
        let (start, rest) = match text.strip_prefix("~/") {
            Some(rest) => (home, rest),
            None => (Path::new("/"), text.strip_prefix('/')?),
        };
        let mut names = Vec::new();
        for component in start.components() {
            match component {
                Component::RootDir => {}
                Component::Normal(name) => names.push(Name::Literal(name.to_owned())),
                Component::Prefix(_) | Component::CurDir | Component::ParentDir => return None,
            }
        }
        for name in rest.split('/').filter(|name| !name.is_empty() && *name != ".") {
            names.push(match name {
                ".." => return None,
                _ if name.contains('*') => Name::Wild(name.into()),
                _ => Name::Literal(name.into()),
            });
        }
        (start.is_absolute() && !names.is_empty()).then_some(Self(names))
    }

    /// What is looked for in a directory so deep below the root.
    pub(super) fn name(&self, depth: usize) -> &Name {
        &self.0[depth]
    }

    /// Whether the names at this depth are those of the files themselves.
    pub(super) fn ends_at(&self, depth: usize) -> bool {
        depth + 1 == self.0.len()
    }

    /// Whether a directory so deep was named in full, and so by a person.
    pub(super) fn is_literal_to(&self, depth: usize) -> bool {
        self.0[..depth].iter().all(|name| matches!(name, Name::Literal(_)))
    }
}

impl Name {
    pub(super) fn fits(&self, name: &OsStr) -> bool {
        match self {
            Self::Literal(whole) => whole == name,
            Self::Wild(wild) => fits(wild.as_bytes(), name.as_bytes()),
        }
    }
}

/// All before the first `*` is the start of the name, all after the last its
/// end, and what is between is found in turn, each as early as can be.
fn fits(wild: &[u8], name: &[u8]) -> bool {
    let mut parts = wild.split(|byte| *byte == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else { return wild == name };
    let Some(mut rest) = name.strip_prefix(first).and_then(|rest| rest.strip_suffix(last)) else {
        return false;
    };
    for part in parts.filter(|part| !part.is_empty()) {
        let Some(at) = rest.windows(part.len()).position(|found| found == part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_a_whole_name_or_a_part_of_one() {
        let table = [
            ("*", "anything", true),
            ("*", ".hidden", true),
            ("*.jsonl", "a.jsonl", true),
            ("*.jsonl", ".jsonl", true),
            ("*.jsonl", "a.jsonl.bak", false),
            ("*.jsonl", "a.json", false),
            ("session-*", "session-", true),
            ("session-*", "sessions", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxc", false),
            ("a*a", "a", false),
            ("a*bc*bc", "abcbc", true),
            ("a*bc*bc", "abc", false),
            ("**", "", true),
            ("*é*", "caf\u{e9}s", true),
            ("name", "name", true),
            ("name", "names", false),
        ];
        for (wild, name, expected) in table {
            let is_wild = wild.contains('*');
            let pattern =
                if is_wild { Name::Wild(wild.into()) } else { Name::Literal(wild.into()) };
            assert_eq!(pattern.fits(OsStr::new(name)), expected, "{wild} {name}");
        }
    }

    #[test]
    fn begins_at_the_home_or_at_the_root() {
        let literal = |name: &str| Name::Literal(name.into());
        let wild = |name: &str| Name::Wild(name.into());
        let home = Path::new("/home/a*b");
        let table = [
            (
                "~/.x/*/*.jsonl",
                Some(vec![
                    literal("home"),
                    literal("a*b"),
                    literal(".x"),
                    wild("*"),
                    wild("*.jsonl"),
                ]),
            ),
            ("/var//./log/*", Some(vec![literal("var"), literal("log"), wild("*")])),
            ("~/../x", None),
            ("x/*", None),
            ("~x/*", None),
            ("~", None),
            ("/", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(Pattern::parse(text, home), expected.map(Pattern), "{text}");
        }
        assert_eq!(Pattern::parse("~/x", Path::new("nowhere")), None);

        let pattern = Pattern::parse("~/.x/*/*.jsonl", home).unwrap();
        assert!(pattern.is_literal_to(3) && !pattern.is_literal_to(4));
        assert!(!pattern.ends_at(3) && pattern.ends_at(4));
    }
}
