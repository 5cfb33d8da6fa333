//! What an agent writes down of its own turns: the log of a conversation (its
//! transcript) and the note of its status that it keeps for each process. How
//! they are read is data of the profile; what follows is decided in `belief`.

use crate::Says;

/// What a line of a transcript tells of the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entry {
    /// A prompt went to the model.
    Begun,
    /// The model calls a tool: it runs, or asks the person first.
    Called,
    /// The tool gave its answer, which goes to the model.
    Returned,
    /// The model gave its last answer.
    Ended,
    /// The person stopped the turn, or refused what was asked.
    Aborted,
}

/// How the transcripts of an agent are found and read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transcripts {
    /// Patterns of JSON-lines files: `~` is the home, `*` one name.
    pub files: Vec<String>,
    /// A line with one of these tells nothing.
    pub ignored: Vec<Mark>,
    pub marks: Vec<(Mark, Entry)>,
}

/// A key and its text, at whatever depth of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub key: String,
    pub text: MarkText,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarkText {
    Is(String),
    StartsWith(String),
}

/// How the notes of an agent are found and read: one small JSON object for
/// each process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Patterns, as in [`Transcripts::files`].
    pub files: Vec<String>,
    /// Keys: the process number; when it started, in ticks of 10 ms since boot
    /// as in `/proc/PID/stat`; its status; what it waits for; the name of its
    /// transcript's file without the suffix.
    pub process: String,
    pub started: String,
    pub status: String,
    pub detail: String,
    pub transcript: String,
    /// The first that fits counts. A status that fits none says nothing.
    pub rules: Vec<NoteRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteRule {
    pub status: String,
    /// Any if `None`.
    pub detail: Option<String>,
    pub says: Says,
}

impl Transcripts {
    /// What the keys and texts of a line tell, given in the order in which
    /// they are written: the last that is known counts.
    pub fn read<'a>(&self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Entry> {
        let mut told = None;
        for (key, text) in pairs {
            if self.ignored.iter().any(|mark| mark.fits(key, text)) {
                return None;
            }
            let known = self.marks.iter().find(|(mark, _)| mark.fits(key, text));
            told = known.map(|(_, entry)| *entry).or(told);
        }
        told
    }

    /// All keys that [`Self::read`] wants to see.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let marks = self.marks.iter().map(|(mark, _)| mark);
        self.ignored.iter().chain(marks).map(|mark| mark.key.as_str())
    }
}

impl Mark {
    fn fits(&self, key: &str, text: &str) -> bool {
        self.key == key
            && match &self.text {
                MarkText::Is(whole) => text == whole,
                MarkText::StartsWith(start) => text.starts_with(start.as_str()),
            }
    }
}

impl Notes {
    pub fn read(&self, status: &str, detail: &str) -> Option<Says> {
        let fits = |rule: &&NoteRule| {
            rule.status == status && rule.detail.as_deref().is_none_or(|known| known == detail)
        };
        self.rules.iter().find(fits).map(|rule| rule.says)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;

    fn is(key: &str, text: &str) -> Mark {
        Mark { key: key.to_owned(), text: MarkText::Is(text.to_owned()) }
    }

    fn transcripts() -> Transcripts {
        let starts = Mark {
            key: "content".to_owned(),
            text: MarkText::StartsWith("<command-name>".to_owned()),
        };
        Transcripts {
            files: Vec::new(),
            ignored: vec![is("isMeta", "true"), starts],
            marks: vec![
                (is("type", "user"), Entry::Begun),
                (is("type", "tool_result"), Entry::Returned),
                (is("stop_reason", "tool_use"), Entry::Called),
                (is("stop_reason", "end_turn"), Entry::Ended),
            ],
        }
    }

    #[test]
    fn the_last_known_pair_counts() {
        type Pairs<'a> = &'a [(&'a str, &'a str)];
        let table: [(Pairs<'_>, Option<Entry>); 7] = [
            (&[("type", "user"), ("content", "hello")], Some(Entry::Begun)),
            (&[("type", "user"), ("type", "tool_result")], Some(Entry::Returned)),
            (
                &[("type", "text"), ("stop_reason", "end_turn"), ("type", "assistant")],
                Some(Entry::Ended),
            ),
            (&[("type", "user"), ("isMeta", "true")], None),
            (&[("type", "user"), ("content", "<command-name>/help")], None),
            (&[("type", "mode")], None),
            (&[], None),
        ];
        for (pairs, expected) in table {
            assert_eq!(transcripts().read(pairs.iter().copied()), expected, "{pairs:?}");
        }
        assert!(transcripts().keys().eq([
            "isMeta",
            "content",
            "type",
            "type",
            "stop_reason",
            "stop_reason"
        ]));
    }

    #[test]
    fn an_unknown_status_says_nothing() {
        let rule = |status: &str, detail: Option<&str>, says| NoteRule {
            status: status.to_owned(),
            detail: detail.map(str::to_owned),
            says,
        };
        let asks = Says::Waiting(Reason::Permission);
        let notes = Notes {
            rules: vec![
                rule("busy", None, Says::Working),
                rule("waiting", Some("permission prompt"), asks),
            ],
            ..Notes::default()
        };
        assert_eq!(notes.read("busy", "whatever"), Some(Says::Working));
        assert_eq!(notes.read("waiting", "permission prompt"), Some(asks));
        assert_eq!(notes.read("waiting", "dialog open"), None);
        assert_eq!(notes.read("asleep", ""), None);
    }
}
