//! The keys `transcripts` and `notes`: what an agent writes down of itself.

use ebpf_ai_monitor_core::{Entry, Mark, MarkText, NoteRule, Notes, Transcripts};

use crate::document::{Read, Table, Value};
use crate::keys::SAYS;

const ENTRIES: [(&str, Entry); 5] = [
    ("begun", Entry::Begun),
    ("called", Entry::Called),
    ("returned", Entry::Returned),
    ("ended", Entry::Ended),
    ("aborted", Entry::Aborted),
];

pub(crate) fn transcripts(mut table: Table<'_>, old: &mut Option<Transcripts>) -> Read<()> {
    let mut transcripts = old.take().unwrap_or_default();
    if let Some(value) = table.take("files") {
        transcripts.files = patterns(value)?;
    }
    if let Some(value) = table.take("ignored") {
        let marks = value.list()?.into_iter().map(|value| {
            let mut table = value.table()?;
            let mark = mark(&mut table)?;
            table.end()?;
            Ok(mark)
        });
        transcripts.ignored = marks.collect::<Read<_>>()?;
    }
    if let Some(value) = table.take("marks") {
        let marks = value.list()?.into_iter().map(|value| {
            let mut table = value.table()?;
            let mark = mark(&mut table)?;
            let entry = table.need("says")?.one_of(&ENTRIES)?;
            table.end()?;
            Ok((mark, entry))
        });
        transcripts.marks = marks.collect::<Read<_>>()?;
    }
    // `files = []` is how a person turns them off for one agent.
    *old = (!transcripts.files.is_empty()).then_some(transcripts);
    table.end()
}

pub(crate) fn notes(mut table: Table<'_>, old: &mut Option<Notes>) -> Read<()> {
    let mut notes = old.take().unwrap_or_default();
    if let Some(value) = table.take("files") {
        notes.files = patterns(value)?;
    }
    for (name, key) in [
        ("process", &mut notes.process),
        ("started", &mut notes.started),
        ("status", &mut notes.status),
        ("detail", &mut notes.detail),
        ("transcript", &mut notes.transcript),
    ] {
        if let Some(value) = table.take(name) {
            *key = value.text()?;
        }
    }
    if let Some(value) = table.take("rules") {
        notes.rules = value.list()?.into_iter().map(note_rule).collect::<Read<_>>()?;
    }
    let needed = [&notes.process, &notes.started, &notes.status];
    if !notes.files.is_empty() && needed.iter().any(|key| key.is_empty()) {
        return Err(table.problem("must have process, started and status"));
    }
    *old = (!notes.files.is_empty()).then_some(notes);
    table.end()
}

fn note_rule(value: Value<'_>) -> Read<NoteRule> {
    let mut table = value.table()?;
    let rule = NoteRule {
        status: table.need("status")?.text()?,
        detail: table.take("detail").map(|detail| detail.text()).transpose()?,
        says: table.need("says")?.one_of(&SAYS)?,
    };
    table.end()?;
    Ok(rule)
}

fn mark(table: &mut Table<'_>) -> Read<Mark> {
    let key = table.need("key")?.text()?;
    let text = match (table.take("is"), table.take("starts_with")) {
        (Some(whole), None) => MarkText::Is(whole.text()?),
        (None, Some(start)) => MarkText::StartsWith(start.text()?),
        _ => return Err(table.problem("must have either is or starts_with")),
    };
    Ok(Mark { key, text })
}

fn patterns(value: Value<'_>) -> Read<Vec<String>> {
    value.list()?.iter().map(pattern).collect()
}

/// A path below the home, or a whole one; `*` stands for one name, or a part
/// of it.
fn pattern(value: &Value<'_>) -> Read<String> {
    let text = value.text()?;
    if !(text.starts_with("~/") || text.starts_with('/')) || text.split('/').any(|it| it == "..") {
        return Err(value.problem("must begin with ~/ or / and go nowhere up"));
    }
    Ok(text)
}
