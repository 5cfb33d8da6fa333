//! The note that an agent keeps for one of its processes: one JSON object.

use std::io::Read as _;

use anyhow::{Context as _, ensure};
use ebpf_ai_monitor_core::{Note, Notes, Pid};
use serde_json::{Map, Value};

use super::file::OwnFile;

const MOST_BYTES: u64 = 64 * 1024;
/// Of a text. A longer one is none that a profile knows.
const MOST_TEXT: usize = 256;

/// An error tells nothing of what is written.
pub(super) fn read(own: &OwnFile, agent: &str, notes: &Notes) -> anyhow::Result<Note> {
    ensure!(own.size <= MOST_BYTES, "it is longer than {MOST_BYTES} bytes");
    let mut text = Vec::new();
    (&own.file).take(MOST_BYTES).read_to_end(&mut text).context("cannot read it")?;
    parse(&text, agent, notes)
}

fn parse(text: &[u8], agent: &str, notes: &Notes) -> anyhow::Result<Note> {
    let object: Map<String, Value> =
        serde_json::from_slice(text).ok().context("it is no JSON object")?;
    let text = |key: &str| {
        let text = object.get(key).and_then(Value::as_str);
        text.filter(|text| text.len() <= MOST_TEXT).map(String::from)
    };
    let number = |key: &str| {
        let value = object.get(key)?;
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    };
    let pid = number(&notes.process).and_then(|pid| u32::try_from(pid).ok());
    Ok(Note {
        agent: agent.to_owned(),
        pid: Pid(pid.context("it names no process")?),
        started_tick: number(&notes.started).context("it does not say when the process began")?,
        transcript: text(&notes.transcript).filter(|name| !name.is_empty()),
        status: text(&notes.status).unwrap_or_default(),
        detail: text(&notes.detail).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes() -> Notes {
        Notes {
            process: "pid".to_owned(),
            started: "procStart".to_owned(),
            status: "status".to_owned(),
            detail: "waitingFor".to_owned(),
            transcript: "sessionId".to_owned(),
            ..Notes::default()
        }
    }

    fn read(text: &str) -> Option<Note> {
        parse(text.as_bytes(), "claude", &notes()).ok()
    }

    #[test]
    fn reads_what_the_profile_names() {
        let note = |transcript: Option<&str>, status: &str, detail: &str| {
            Some(Note {
                agent: "claude".to_owned(),
                pid: Pid(7),
                started_tick: 123,
                transcript: transcript.map(str::to_owned),
                status: status.to_owned(),
                detail: detail.to_owned(),
            })
        };
        let long = format!(r#"{{"pid":7,"procStart":123,"status":"{}"}}"#, "x".repeat(257));
        let table = [
            (
                r#"{"pid":7,"procStart":"123","status":"waiting","waitingFor":"x","sessionId":"s"}"#,
                note(Some("s"), "waiting", "x"),
            ),
            (r#"{"pid":"7","procStart":123,"status":"busy","more":[1]}"#, note(None, "busy", "")),
            (r#"{"pid":7,"procStart":123,"status":5,"sessionId":""}"#, note(None, "", "")),
            (&long, note(None, "", "")),
            (r#"{"pid":7,"procStart":-1,"status":"busy"}"#, None),
            (r#"{"pid":4294967296,"procStart":123}"#, None),
            (r#"{"pid":7,"procStart":"then"}"#, None),
            (r#"{"pid":7}"#, None),
            (r#"{"procStart":123}"#, None),
            (r#"{"in":{"pid":7,"procStart":123}}"#, None),
            (r#"[{"pid":7,"procStart":123}]"#, None),
            (r#"{"pid":7,"procStart":123"#, None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(read(text), expected, "{text:.100}");
        }
    }

    #[test]
    fn a_huge_one_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("note");
        let owner = rustix::process::geteuid().as_raw();
        let text = r#"{"pid":7,"procStart":1}"#;
        for (spaces, is_read) in [(0, true), (MOST_BYTES as usize, false)] {
            std::fs::write(&path, format!("{text}{}", " ".repeat(spaces))).unwrap();
            let own = OwnFile::open(&path, owner).unwrap();
            assert_eq!(super::read(&own, "claude", &notes()).is_ok(), is_read);
        }
    }

    #[test]
    fn an_error_tells_nothing_of_the_text() {
        for text in [r#"{"secret":"word""#, r#""secret word""#, r#"{"pid":"secret word"}"#] {
            let error = format!("{:?}", parse(text.as_bytes(), "claude", &notes()).unwrap_err());
            assert!(!error.contains("secret") && !error.contains("word"), "{error}");
        }
    }
}
