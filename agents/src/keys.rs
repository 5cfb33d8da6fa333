//! The keys of a profile's file and what each does to the profile, but for
//! those that say whose profile it is. People read of them in
//! `docs/profiles.md`.

use std::time::Duration;

use ebpf_ai_monitor_core::{
    DensityRule, Greets, NotSessions, Profile, PromptSign, Reason, Says, Silence, TitleStart,
    Titles, Waits,
};

use crate::document::{Read, Table, Value};
use crate::transcripts;

const LONGEST_MS: u32 = 3_600_000;
/// The word for a duration that does not end.
const NEVER: &str = "never";

/// What badges may call their source: readers know no other.
const BADGE_SOURCES: [(&str, &str); 3] =
    [("claude-code", "claude-code"), ("codex", "codex"), ("generic", "generic")];

pub(crate) const SAYS: [(&str, Says); 7] = [
    ("working", Says::Working),
    ("waiting", Says::Waiting(Reason::Unknown)),
    ("done", Says::Waiting(Reason::Done)),
    ("permission", Says::Waiting(Reason::Permission)),
    ("question", Says::Waiting(Reason::Question)),
    ("start-up", Says::Waiting(Reason::StartUp)),
    ("interrupted", Says::Waiting(Reason::Interrupted)),
];

/// Changes what the file gives and leaves the rest. To be called last: a key
/// that nobody has taken is unknown.
pub(crate) fn apply(mut file: Table<'_>, profile: &mut Profile) -> Read<()> {
    if let Some(value) = file.take("display_name") {
        profile.display_name = value.text()?;
    }
    if let Some(value) = file.take("badge_source") {
        profile.badge_source = value.one_of(&BADGE_SOURCES)?.to_owned();
    }
    if let Some(value) = file.take("packages") {
        profile.packages = value.base_names()?;
    }
    if let Some(value) = file.take("waits") {
        profile.waits =
            value.one_of(&[("any", Waits::Any), ("canonical-read", Waits::CanonicalRead)])?;
    }
    if let Some(value) = file.take("prompt") {
        profile.prompt =
            value.one_of(&[("none", PromptSign::None), ("paste-mode", PromptSign::PasteMode)])?;
    }
    if let Some(value) = file.take("greets") {
        profile.greets = value.one_of(&[
            ("nothing", Greets::Nothing),
            ("note", Greets::Note),
            ("sequence", Greets::Sequence),
        ])?;
    }
    if let Some(value) = file.take("silence") {
        profile.silence =
            value.one_of(&[("waits", Silence::Waits), ("says-nothing", Silence::SaysNothing)])?;
    }
    if let Some(value) = file.take("not_sessions") {
        not_sessions(value.table()?, &mut profile.not_sessions)?;
    }
    if let Some(value) = file.take("titles") {
        titles(value.table()?, &mut profile.titles)?;
    }
    if let Some(value) = file.take("progress") {
        let mut table = value.table()?;
        if let Some(value) = table.take("lapses_after_ms") {
            profile.progress_lapses_after = duration_or_never(&value)?;
        }
        table.end()?;
    }
    if let Some(value) = file.take("density") {
        density(value.table()?, &mut profile.density)?;
    }
    if let Some(value) = file.take("transcripts") {
        transcripts::transcripts(value.table()?, &mut profile.transcripts)?;
    }
    if let Some(value) = file.take("notes") {
        transcripts::notes(value.table()?, &mut profile.notes)?;
    }
    file.end()
}

fn not_sessions(mut table: Table<'_>, runs: &mut NotSessions) -> Read<()> {
    if let Some(value) = table.take("subcommands") {
        runs.subcommands = value.texts()?;
    }
    if let Some(value) = table.take("options") {
        runs.options = value.texts()?;
    }
    if let Some(value) = table.take("valued") {
        runs.valued = value.texts()?;
    }
    table.end()
}

fn titles(mut table: Table<'_>, titles: &mut Titles) -> Read<()> {
    if let Some(value) = table.take("rules") {
        titles.rules = value.list()?.into_iter().map(title_rule).collect::<Read<_>>()?;
    }
    if let Some(value) = table.take("otherwise") {
        let words: Vec<_> = SAYS
            .map(|(word, says)| (word, Some(says)))
            .into_iter()
            .chain([("nothing", None)])
            .collect();
        titles.otherwise = value.one_of(&words)?;
    }
    if let Some(value) = table.take("lapses_after_ms") {
        titles.lapses_after = duration_or_never(&value)?;
    }
    table.end()
}

fn title_rule(value: Value<'_>) -> Read<(TitleStart, Says)> {
    let mut table = value.table()?;
    let (spinner, text) = (table.take("spinner"), table.take("text"));
    let start = match (spinner, text) {
        (Some(spinner), None) if spinner.bool()? => TitleStart::Spinner,
        (Some(spinner), None) => return Err(spinner.problem("can only be true")),
        (None, Some(text)) => TitleStart::Text(title_start(&text)?),
        _ => return Err(table.problem("must have either spinner or text")),
    };
    let says = table.need("says")?.one_of(&SAYS)?;
    table.end()?;
    Ok((start, says))
}

/// Titles are read without the blanks around them.
fn title_start(value: &Value<'_>) -> Read<String> {
    let text = value.text()?;
    if text.starts_with(char::is_whitespace) {
        return Err(value.problem("begins with a blank, which no title does"));
    }
    Ok(text)
}

fn density(mut table: Table<'_>, rule: &mut DensityRule) -> Read<()> {
    if let Some(value) = table.take("longest_gap_ms") {
        rule.longest_gap = Duration::from_millis(value.integer(100..=2000)?.into());
    }
    for (key, slots) in [
        ("working_slots", &mut rule.working_slots),
        ("expected_slots", &mut rule.expected_slots),
        ("resting_slots", &mut rule.resting_slots),
    ] {
        if let Some(value) = table.take(key) {
            *slots = value.integer(1..=16)?;
        }
    }
    // By the whole rule: the file may give one of them only.
    for (key, slots) in
        [("expected_slots", rule.expected_slots), ("resting_slots", rule.resting_slots)]
    {
        if slots > rule.working_slots {
            let working = rule.working_slots;
            let text = format!("{key} = {slots} is more than working_slots = {working}");
            return Err(table.problem(text));
        }
    }
    table.end()
}

fn duration_or_never(value: &Value<'_>) -> Read<Option<Duration>> {
    if value.is_text() {
        return value.one_of(&[(NEVER, None)]);
    }
    Ok(Some(Duration::from_millis(value.integer(1..=LONGEST_MS)?.into())))
}
