//! A recording of a session as facts. What it knows beyond that (the text, the
//! truth) reaches no fact; the truth is kept apart for `score`.

mod format1;
mod format2;
mod lines;
mod scan;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ebpf_ai_monitor_core::{BootTime, Profiles};
use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};

pub(crate) use self::format2::{EndLine, EndWord, EventLine};
use self::lines::Lines;
pub use self::scan::Scanner;
use super::Dated;

/// What `record` writes.
pub(crate) const FORMAT: u32 = 2;

/// Output is told once for each slot of this length, and judged by these slots.
pub(crate) const SLOT: Duration = Duration::from_millis(125);

/// Every recording is of one terminal.
const TTY: u64 = 1;

/// What a recording holds, in order of time.
#[derive(Clone, Debug)]
pub struct Recording {
    pub name: String,
    /// The profile that the header means: `claude` where it says `claude-code`.
    pub agent: String,
    /// When it began, on the clock of its facts.
    pub zero: BootTime,
    /// So long is known what happened.
    pub end: BootTime,
    pub facts: Vec<Dated>,
    pub truths: Vec<Truth>,
}

/// What the agent truly did in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    pub from: BootTime,
    pub until: BootTime,
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Working,
    Waiting,
}

/// The first line. More may stand in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) ev: HeaderWord,
    pub(crate) format: u32,
    pub(crate) name: String,
    pub(crate) agent: String,
    /// The session's process.
    pub(crate) pid: u32,
    /// When the process started, since the recording began: less than 0 if it
    /// was found running. Not in format 1.
    #[serde(default)]
    pub(crate) started_ns: i64,
    /// The release of the kernel.
    pub(crate) kernel: Option<String>,
    /// The version of this program.
    pub(crate) recorded_by: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HeaderWord {
    Header,
}

/// Reads a recording, packed with gzip or not.
pub fn read(path: &Path, profiles: &Profiles) -> anyhow::Result<Recording> {
    let read = || {
        let mut file = BufReader::new(File::open(path)?);
        if file.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            parse(BufReader::new(MultiGzDecoder::new(file)), profiles)
        } else {
            parse(file, profiles)
        }
    };
    read().with_context(|| format!("cannot read {}", path.display()))
}

/// Reads the unpacked text of a recording, which may hold anything.
pub fn parse(text: impl BufRead, profiles: &Profiles) -> anyhow::Result<Recording> {
    let mut lines = Lines::new(text);
    let header: Header = match lines.next()? {
        Some(line) => line.parse().context("the first line is no header")?,
        None => bail!("it is empty: the first line must be a header"),
    };
    match header.format {
        1 => format1::read(header, lines, profiles),
        FORMAT => format2::read(header, lines),
        other => bail!("format {other} is not known, only 1 and {FORMAT} are"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use ebpf_ai_monitor_agents::Agents;
    use ebpf_ai_monitor_core::{Fact, Pid};
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const HEADER: [&str; 2] = [
        r#"{"ev":"header","format":1,"name":"x","agent":"codex","pid":5}"#,
        r#"{"ev":"header","format":2,"name":"x","agent":"codex","pid":5,"started_ns":0}"#,
    ];

    fn profiles() -> Profiles {
        Agents::builtin().profiles(&["codex".to_owned()])
    }

    fn error(text: impl BufRead) -> String {
        format!("{:#}", parse(text, &profiles()).unwrap_err())
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        let deep =
            format!(r#"{{"t":1,"ev":"bell","x":{}{}}}"#, "[".repeat(9_000), "]".repeat(9_000));
        let [first, second] = HEADER;
        let table = [
            ("", "", "must be a header"),
            ("", r#"{"ev":"out","t":1}"#, "first line is no header: line 1"),
            ("", "no JSON", "first line is no header: line 1"),
            (
                "",
                r#"{"ev":"header","format":3,"name":"x","agent":"y","pid":1}"#,
                "format 3 is not known",
            ),
            (
                "",
                r#"{"ev":"header","format":2,"name":"x","agent":"y","pid":-1}"#,
                "line 1 is wrong",
            ),
            (first, r#"{"ev":"out"}"#, "line 2 is wrong: missing field `t`"),
            (first, "\n\n{", "line 4 is wrong"),
            (
                first,
                r#"{"ev":"truth","t":0,"until":1,"state":"asleep"}"#,
                "line 2 is wrong: unknown variant `asleep`",
            ),
            (second, r#"{"t":1}"#, "line 2 is wrong: missing field `ev`"),
            (second, r#"{"ev":"bell"}"#, "line 2 is wrong: missing field `t`"),
            (second, r#"{"t":-1,"ev":"bell"}"#, "line 2 is wrong: invalid value: integer `-1`"),
            (second, r#"{"t":1e99,"ev":"bell"}"#, "line 2 is wrong"),
            (second, r#"{"t":"1","ev":"bell"}"#, "line 2 is wrong: invalid type: string"),
            (second, r#"{"t":1,"ev":"whistle"}"#, "line 2 is wrong: unknown variant `whistle`"),
            (second, r#"{"t":1,"ev":"quiet"}"#, "line 2 is wrong: missing field `last_output`"),
            (second, r#"{"t":1,"ev":"look","wait":"read"}"#, "line 2 is wrong: wait and mode"),
            (second, r#"{"t":1,"ev":"keys","bytes":1,"enter":1}"#, "line 2 is wrong: invalid type"),
            (second, r#"{"t":1,"ev":"exit","ev":"bell"}"#, "line 2 is wrong: duplicate field"),
            (second, r#"{"t":1,"ev":"started","agent":"claude"}"#, "line 2 is wrong: the header"),
            (second, second, "line 2 is wrong"),
            (second, &deep, "line 2 is wrong: recursion limit"),
        ];
        for (header, line, expected) in table {
            let text =
                if header.is_empty() { line.to_owned() } else { format!("{header}\n{line}\n") };
            let error = error(text.as_bytes());
            assert!(error.contains(expected), "{line:.80}: {error}");
            assert!(!error.contains('\n') && error.len() < 400, "one line: {error}");
        }
    }

    #[test]
    fn a_file_that_unpacks_without_end_is_refused() {
        let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::copy(&mut std::io::repeat(b' ').take(20 << 20), &mut bomb).unwrap();
        let bomb = bomb.finish().unwrap();
        assert!(bomb.len() < 200_000);
        let unpacked = BufReader::new(MultiGzDecoder::new(bomb.as_slice()));
        assert!(error(unpacked).contains("line 1 is longer than"));
    }

    #[test]
    fn what_is_not_in_order_is_sorted() {
        let text = format!(
            "{}\n{}\n{}\n{}\n",
            HEADER[1],
            r#"{"t":3000000,"ev":"bell"}"#,
            r#"{"ev":"truth","t":0,"until":9000000,"state":"working","phase":"WORK"}"#,
            r#"{"ev":"output","t":2000000}"#,
        );
        let recording = parse(text.as_bytes(), &profiles()).unwrap();
        let times: Vec<u64> = recording.facts.iter().map(|fact| fact.at.as_nanos()).collect();
        assert_eq!(times, [0, 0, 2_000_000, 3_000_000]);
        assert_eq!(recording.end, BootTime::from_millis(9));
        assert_eq!(recording.truths[0].state, State::Working);
    }

    #[test]
    fn the_largest_times_are_only_large() {
        let max = u64::MAX;
        let header = r#"{"ev":"header","format":2,"name":"x","agent":"codex","pid":5,"started_ns":-9223372036854775808}"#;
        let text = format!(
            "{header}\n{{\"t\":{max},\"ev\":\"output\"}}\n{{\"t\":{max},\"ev\":\"end\"}}\n"
        );
        let recording = parse(text.as_bytes(), &profiles()).unwrap();
        let Fact::Output(process) = recording.facts.last().unwrap().fact else { panic!() };
        assert_eq!(process.pid, Pid(5));
    }

    #[test]
    fn reads_packed_and_plain_files() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("ebpf-ai-monitor-replay-{}", std::process::id()));
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(HEADER[1].as_bytes()).unwrap();
        for bytes in [HEADER[1].as_bytes(), &packed.finish().unwrap()] {
            std::fs::write(&path, bytes).unwrap();
            let read = read(&path, &profiles()).map(|recording| recording.name);
            std::fs::remove_file(&path).unwrap();
            assert_eq!(read.unwrap(), "x");
        }
        let error = format!("{:#}", read(&path, &profiles()).unwrap_err());
        assert!(error.starts_with("cannot read /") && error.contains("No such file"), "{error}");
    }
}
