//! Hides what a person or a model may have written before a fact leaves the
//! daemon. What a profile reads stays, so the masked facts give the same boards.

use ebpf_ai_monitor_core::{Fact, Note, Profile, Sequence, TitleStart, Transcript};

/// All that the core knows of `OSC 7501`.
const STATUS_WORDS: [&str; 9] =
    ["idle", "working", "done", "blocked", "clear", "permission", "approval", "question", "input"];

/// The same fact without names, places and words. `profile` is that of the
/// session that it is about.
pub(crate) fn mask(fact: &Fact, profile: Option<&Profile>) -> Fact {
    match fact {
        Fact::Started { process, parent, agent, .. } => {
            let (project, directory) = (String::new(), String::new());
            let (process, parent, agent) = (*process, *parent, agent.clone());
            Fact::Started { process, parent, agent, project, named_project: None, directory }
        }
        Fact::Sequence { tty, sequence: Sequence::Osc(osc) } => {
            Fact::Sequence { tty: *tty, sequence: Sequence::Osc(mask_osc(osc, profile)) }
        }
        Fact::Transcribed { transcript: Transcript { agent, name, .. }, entry } => {
            let (agent, name) = (agent.clone(), name.clone());
            let transcript = Transcript { agent, name, directory: None };
            Fact::Transcribed { transcript, entry: *entry }
        }
        Fact::Noted(note) => Fact::Noted(mask_note(note, profile)),
        Fact::Attached { .. }
        | Fact::Owned { .. }
        | Fact::Output(_)
        | Fact::Redrawn { .. }
        | Fact::Quiet { .. }
        | Fact::Unseen { .. }
        | Fact::Input { .. }
        | Fact::Sequence { sequence: Sequence::Bell | Sequence::PasteMode(_), .. }
        | Fact::Gap { .. }
        | Fact::Looked { .. }
        | Fact::ChildStarted { .. }
        | Fact::ChildExited { .. }
        | Fact::Windows { .. }
        | Fact::Hopped(_)
        | Fact::BadgeRemoved(_)
        | Fact::Seen(_)
        | Fact::Muted { .. }
        | Fact::Unmuted(_)
        | Fact::Configured { .. }
        | Fact::Lost(_)
        | Fact::Exited(_) => fact.clone(),
    }
}

fn mask_osc(osc: &str, profile: Option<&Profile>) -> String {
    let Some((number, text)) = osc.split_once(';') else { return hide(osc) };
    let text = match number {
        "7501" => mask_status(text),
        "9" if text == "4" || text.starts_with("4;") => mask_progress(text),
        "0" | "2" => mask_title(text, profile),
        _ => hide(text),
    };
    format!("{number};{text}")
}

/// `state=blocked:app=codex:kind=permission`. Whatever is no word of the
/// status itself is somebody's.
fn mask_status(text: &str) -> String {
    let mask_field = |field: &str| match field.split_once('=') {
        Some((key @ ("state" | "kind"), word)) => {
            let is_known = STATUS_WORDS.contains(&word.trim_end_matches([':', ';']));
            format!("{key}={}", if is_known { word.to_owned() } else { hide(word) })
        }
        Some(_) | None => hide(field),
    };
    text.split_inclusive([':', ';']).map(mask_field).collect()
}

/// `4;3;50`. Whatever is no number is somebody's words.
fn mask_progress(text: &str) -> String {
    let is_number = |field: &str| field.bytes().all(|byte| byte.is_ascii_digit());
    let fields = text.split(';');
    let masked = fields.map(|it| if is_number(it) { it.to_owned() } else { hide(it) });
    masked.collect::<Vec<_>>().join(";")
}

/// Keeps the start by which a rule of the profile knows the title.
fn mask_title(title: &str, profile: Option<&Profile>) -> String {
    let rules = profile.map(|profile| profile.titles.rules.as_slice()).unwrap_or_default();
    let trimmed = title.trim_start();
    let blank = title.len() - trimmed.len();
    let known = |(start, _): &(TitleStart, _)| match start {
        TitleStart::Text(text) if trimmed.starts_with(text.as_str()) => Some(text.len()),
        TitleStart::Text(_) | TitleStart::Spinner => None,
    };
    let kept = blank + rules.iter().filter_map(known).max().unwrap_or(0);
    let (start, rest) = title.split_at(kept);
    format!("{start}{}", hide(rest))
}

/// Keeps the words that a rule of the profile knows.
fn mask_note(note: &Note, profile: Option<&Profile>) -> Note {
    let rules = profile.and_then(|profile| profile.notes.as_ref()).map(|notes| &notes.rules);
    let mut known = rules.into_iter().flatten();
    let is_status = known.clone().any(|rule| rule.status == note.status);
    let is_detail = known.any(|rule| rule.detail.as_deref() == Some(note.detail.as_str()));
    let keep = |text: &str, is_known| if is_known { text.to_owned() } else { hide(text) };
    Note {
        status: keep(&note.status, is_status),
        detail: keep(&note.detail, is_detail),
        ..note.clone()
    }
}

/// Letters and digits become `x`; glyphs, brackets and blanks stay.
fn hide(text: &str) -> String {
    text.chars().map(|char| if char.is_alphanumeric() { 'x' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use ebpf_ai_monitor_agents::Agents;
    use ebpf_ai_monitor_core::{BootTime, Entry, Pid, ProcessId};

    use super::*;

    fn profile(name: &str) -> Profile {
        let profiles = Agents::builtin().profiles(&[name.to_owned()]);
        profiles.get(name).unwrap().clone()
    }

    #[test]
    fn hides_words_and_keeps_what_the_rules_read() {
        let [claude, gemini, codex] = ["claude", "gemini", "codex"].map(profile);
        let table = [
            (&claude, "0;⠂ Fix bug 12 (now)", "0;⠂ xxx xxx xx (xxx)"),
            (&claude, "2;✳ Größe ändern", "2;✳ xxxxx xxxxxx"),
            (&gemini, "0; ✋  Action Required (shop)", "0; ✋  xxxxxx xxxxxxxx (xxxx)"),
            (&codex, "0;[ ! ] Action Required | shop", "0;[ ! ] Action Required | xxxx"),
            (&claude, "0;Action Required", "0;xxxxxx xxxxxxxx"),
            (&claude, "9;4;3;50", "9;4;3;50"),
            (&claude, "9;4;3;", "9;4;3;"),
            (&claude, "9;4", "9;4"),
            (&claude, "9;4;my secret", "9;4;xx xxxxxx"),
            (&claude, "9;4 files", "9;x xxxxx"),
            (&claude, "9;Allow rm -rf /home?", "9;xxxxx xx -xx /xxxx?"),
            (&claude, "777;notify;Claude;waits", "777;xxxxxx;xxxxxx;xxxxx"),
            (&claude, "99;i=1:d=0;hello", "99;x=x:x=x;xxxxx"),
            (
                &codex,
                "7501;state=blocked:app=codex;kind=permission",
                "7501;state=blocked:xxx=xxxxx;kind=permission",
            ),
            (&codex, "7501;kind=question:state=idle", "7501;kind=question:state=idle"),
            (&codex, "7501;state=my secret:secret", "7501;state=xx xxxxxx:xxxxxx"),
            (&codex, "7501;state=clear=idle::", "7501;state=xxxxx=xxxx::"),
            (&codex, "7501;?", "7501;?"),
            (&claude, "0", "x"),
        ];
        for (profile, osc, expected) in table {
            assert_eq!(mask_osc(osc, Some(profile)), expected, "{osc}");
            let again = mask_osc(expected, Some(profile));
            assert_eq!(again, expected, "what is masked stays as it is");
        }
        assert_eq!(mask_osc("0;✳ abc", None), "0;✳ xxx");
    }

    #[test]
    fn masked_titles_say_the_same() {
        for name in Agents::builtin().names() {
            let profile = profile(name);
            for (start, _) in &profile.titles.rules {
                let start = match start {
                    TitleStart::Text(text) => text.clone(),
                    TitleStart::Spinner => "⠂".to_owned(),
                };
                for title in [start.clone(), format!("{start} a1"), format!("  {start}b - c")] {
                    let masked = mask_title(&title, Some(&profile));
                    let (said, says) = (profile.titles.read(&masked), profile.titles.read(&title));
                    assert_eq!(said, says, "{name}: {title:?}");
                }
            }
        }
    }

    #[test]
    fn hides_places_and_unknown_words_of_notes() {
        let process = ProcessId { pid: Pid(5), started_at: BootTime::from_millis(1) };
        let [agent, project, directory] = ["claude", "shop", "/home/alice/shop"].map(String::from);
        let parent = Pid(1);
        let started =
            Fact::Started { process, parent, agent, project, named_project: None, directory };
        let Fact::Started { agent, project, directory, .. } = mask(&started, None) else {
            panic!("another fact")
        };
        assert_eq!((agent.as_str(), project.as_str(), directory.as_str()), ("claude", "", ""));

        let directory = Some("/home/alice/shop".to_owned());
        let transcript =
            Transcript { agent: "claude".to_owned(), name: "8f14".to_owned(), directory };
        let masked = mask(&Fact::Transcribed { transcript, entry: Entry::Begun }, None);
        let Fact::Transcribed { transcript, .. } = masked else { panic!("another fact") };
        assert_eq!(transcript.directory, None);

        let claude = profile("claude");
        for (status, detail, masked_status, masked_detail) in [
            ("busy", "", "busy", ""),
            ("waiting", "permission prompt", "waiting", "permission prompt"),
            ("waiting", "the plan for shop", "waiting", "xxx xxxx xxx xxxx"),
            ("reading mail", "", "xxxxxxx xxxx", ""),
        ] {
            let (status, detail) = (status.to_owned(), detail.to_owned());
            let agent = "claude".to_owned();
            let (pid, started_tick, transcript) = (Pid(5), 0, None);
            let note = Note { agent, pid, started_tick, transcript, status, detail };
            let masked = mask_note(&note, Some(&claude));
            assert_eq!(
                (masked.status.as_str(), masked.detail.as_str()),
                (masked_status, masked_detail)
            );
        }
    }
}
