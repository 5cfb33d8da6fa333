//! What agents write of themselves, as the source sees it: real directories,
//! real inotify, files written as agents write them.

#![allow(clippy::print_stdout, reason = "numbers and skips are for who runs it")]
#![allow(clippy::wildcard_enum_match_arm, reason = "all other facts are alike here")]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use ebpf_ai_monitor::sources::transcripts::WrittenFiles;
use ebpf_ai_monitor::sources::{Dated, channel};
use ebpf_ai_monitor_agents::Agents;
use ebpf_ai_monitor_core::{Entry, Fact, Note, Pid, Profile, Profiles, Transcripts};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

const BOUND: Duration = Duration::from_secs(10);

const PROMPT: &str = r#"{"type":"user","message":{"content":"do it"},"cwd":"/home/alice/shop"}"#;
const ANSWER: &str =
    r#"{"type":"assistant","message":{"content":[{"type":"text"}],"stop_reason":"end_turn"}}"#;
const CALL: &str = r#"{"message":{"content":[{"type":"tool_use"}],"stop_reason":"tool_use"}}"#;

/// A home, and the source at work in it.
struct Desk {
    home: TempDir,
    facts: Receiver<Dated>,
    inbox: Arc<SyncSender<Dated>>,
    log: Log,
}

/// All that the source logs, of every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("nobody panics with it")).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics with it").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Desk {
    /// Returns when what happens next is seen.
    fn start(home: TempDir) -> Result<Self> {
        let (inbox, facts) = channel();
        let inbox = Arc::new(inbox);
        fs::create_dir(home.path().join("probe"))?;
        let owner = rustix::process::geteuid().as_raw();
        let files = WrittenFiles::new(&profiles(), home.path(), owner)?.context("no patterns")?;
        let (weak, log) = (Arc::downgrade(&inbox), Log::default());
        let written = log.clone();
        let logger = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(move || written.clone())
            .finish();
        thread::Builder::new()
            .name("transcripts".into())
            .spawn(move || tracing::subscriber::with_default(logger, || files.run(&weak)))?;
        let desk = Self { home, facts, inbox, log };
        for count in 0.. {
            ensure!(count < 1000, "the source did not start");
            desk.append(&format!("probe/{count}.jsonl"), &[PROMPT])?;
            if desk.facts.recv_timeout(Duration::from_millis(10)).is_ok() {
                break;
            }
        }
        Ok(desk)
    }

    fn path(&self, below_home: &str) -> PathBuf {
        self.home.path().join(below_home)
    }

    /// Adds lines in one write, as agents do; makes the file and its directories.
    fn append(&self, below_home: &str, lines: &[&str]) -> Result<()> {
        append(
            &self.path(below_home),
            &lines.iter().map(|line| format!("{line}\n")).collect::<String>(),
        )
    }

    /// The next fact that is not about the probe.
    fn next(&self) -> Result<Fact> {
        loop {
            let fact = self.facts.recv_timeout(BOUND).context("nothing was told")?.fact;
            if !is_probe(&fact) {
                return Ok(fact);
            }
        }
    }

    /// All that is told until something that happens now is.
    fn told_by_now(&self) -> Result<Vec<Fact>> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("now-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.append(&format!("probe/{name}.jsonl"), &[PROMPT])?;
        let mut told = Vec::new();
        loop {
            let fact = self.facts.recv_timeout(BOUND).context("the probe was not told")?.fact;
            match &fact {
                Fact::Transcribed { transcript, .. } if transcript.name == name => return Ok(told),
                _ if is_probe(&fact) => {}
                _ => told.push(fact),
            }
        }
    }

    fn expect_entries(&self, name: &str, expected: &[Entry]) -> Result<()> {
        for expected in expected {
            let fact = self.next()?;
            let Fact::Transcribed { transcript, entry } = &fact else {
                anyhow::bail!("{fact:?} instead of {expected:?}");
            };
            ensure!(transcript.name == name && entry == expected, "{fact:?}, not {expected:?}");
        }
        Ok(())
    }

    fn expect_silence(&self) -> Result<()> {
        let told = self.told_by_now()?;
        ensure!(told.is_empty(), "{told:?}");
        Ok(())
    }
}

fn home() -> Result<TempDir> {
    Ok(tempfile::tempdir()?)
}

fn append(path: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(path.parent().context("no parent")?)?;
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.with_context(|| path.display().to_string())?.write_all(text.as_bytes())?;
    Ok(())
}

fn wait_until(is_so: impl Fn() -> bool) -> Result<()> {
    let began = Instant::now();
    while !is_so() {
        ensure!(began.elapsed() < BOUND, "it did not come");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn is_probe(fact: &Fact) -> bool {
    matches!(fact, Fact::Transcribed { transcript, .. } if transcript.agent == "probe")
}

/// Claude and codex as they are, and one more, to know how far the source is:
/// its files come last in a turn.
fn profiles() -> Profiles {
    let agents = Agents::builtin().profiles(&["claude".to_owned(), "codex".to_owned()]);
    let claude = agents.get("claude").expect("it is built in");
    let rules = claude.transcripts.clone().expect("it has transcripts");
    let probe = Profile {
        name: "probe".to_owned(),
        programs: vec!["probe".to_owned()],
        transcripts: Some(Transcripts { files: vec!["~/probe/*.jsonl".to_owned()], ..rules }),
        notes: None,
        ..claude.clone()
    };
    Profiles::new(agents.iter().cloned().chain([probe]).collect())
}

fn note(pid: u32, status: &str) -> String {
    format!(r#"{{"pid":{pid},"procStart":"77","status":"{status}","sessionId":"s{pid}"}}"#)
}

fn noted(pid: u32, status: &str) -> Fact {
    Fact::Noted(Note {
        agent: "claude".to_owned(),
        pid: Pid(pid),
        started_tick: 77,
        transcript: Some(format!("s{pid}")),
        status: status.to_owned(),
        detail: String::new(),
    })
}

#[test]
fn follows_claude_from_its_first_day_on() -> Result<()> {
    let desk = Desk::start(home()?)?;
    let log = ".claude/projects/-work-shop/abc.jsonl";
    desk.append(log, &[r#"{"type":"mode"}"#, PROMPT])?;
    let Fact::Transcribed { transcript, entry } = desk.next()? else { anyhow::bail!("a note") };
    assert_eq!((transcript.agent.as_str(), transcript.name.as_str()), ("claude", "abc"));
    assert_eq!((transcript.directory.as_deref(), entry), (Some("/home/alice/shop"), Entry::Begun));
    desk.append(log, &[CALL])?;
    desk.expect_entries("abc", &[Entry::Called])?;
    let returned = r#"{"type":"user","message":{"content":[{"type":"tool_result"}]}}"#;
    desk.append(log, &[returned, returned, CALL, returned, ANSWER, ANSWER])?;
    desk.expect_entries("abc", &[Entry::Returned, Entry::Called, Entry::Returned, Entry::Ended])?;
    let tells_nothing = [r#"{"type":"user","isMeta":true}"#, "no JSON", "", r#"{"type":"mode"}"#];
    desk.append(log, &tells_nothing)?;
    desk.append(".claude/history.jsonl", &[PROMPT])?;
    desk.append(".claude/projects/-work-shop/abc/subagents/agent-x.jsonl", &[PROMPT])?;
    desk.append(".claude/projects/-work-shop/abc.jsonl.bak", &[PROMPT])?;
    desk.expect_silence()
}

#[test]
fn follows_codex_from_its_first_day_on() -> Result<()> {
    let desk = Desk::start(home()?)?;
    let meta = r#"{"type":"session_meta","payload":{"id":"x","cwd":"/home/alice/site"}}"#;
    let begun = r#"{"type":"event_msg","payload":{"type":"task_started"}}"#;
    let ended = r#"{"type":"event_msg","payload":{"type":"task_complete"}}"#;
    for (day, name) in [("2026/12/31", "rollout-a"), ("2027/01/01", "rollout-b")] {
        let log = format!(".codex/sessions/{day}/{name}.jsonl");
        desk.append(&log, &[meta, begun])?;
        let Fact::Transcribed { transcript, entry } = desk.next()? else { anyhow::bail!("a note") };
        assert_eq!((transcript.agent.as_str(), transcript.name.as_str()), ("codex", name));
        assert_eq!(
            (transcript.directory.as_deref(), entry),
            (Some("/home/alice/site"), Entry::Begun)
        );
        desk.append(&log, &[ended])?;
        desk.expect_entries(name, &[Entry::Ended])?;
    }
    Ok(())
}

#[test]
fn what_was_written_before_is_not_told() -> Result<()> {
    let home = home()?;
    let path = |name: &str| home.path().join(".claude/projects/-x").join(name);
    let (whole, cut, long) = (path("whole.jsonl"), path("cut.jsonl"), path("long.jsonl"));
    append(&whole, &format!("{PROMPT}\n{CALL}\n"))?;
    append(&cut, &format!("{PROMPT}\nThe rest of this line alone would tell something: "))?;
    // Its first line, which alone has the directory, is longer than what is read of it.
    let filling = "x".repeat(100_000);
    append(&long, &format!("{{\"cwd\":\"/home/alice/long\",\"text\":\"{filling}\"}}\n"))?;
    let desk = Desk::start(home)?;
    desk.expect_silence()?;
    append(&cut, &format!("{ANSWER}\n"))?;
    desk.expect_silence()?;
    for (path, directory) in
        [(&whole, "/home/alice/shop"), (&cut, "/home/alice/shop"), (&long, "/home/alice/long")]
    {
        append(path, &format!("{ANSWER}\n"))?;
        let Fact::Transcribed { transcript, entry } = desk.next()? else { anyhow::bail!("a note") };
        assert_eq!(Path::new(&transcript.name), path.file_stem().context("it has one")?);
        assert_eq!((transcript.directory.as_deref(), entry), (Some(directory), Entry::Ended));
    }
    Ok(())
}

#[test]
fn a_line_in_pieces_counts_once() -> Result<()> {
    let desk = Desk::start(home()?)?;
    let log = desk.path(".claude/projects/-x/a.jsonl");
    let (first, rest) = PROMPT.split_at(20);
    append(&log, first)?;
    desk.expect_silence()?;
    append(&log, rest)?;
    desk.expect_silence()?;
    append(&log, &format!("\n{CALL}"))?;
    desk.expect_entries("a", &[Entry::Begun])?;
    append(&log, "\n")?;
    desk.expect_entries("a", &[Entry::Called])
}

#[test]
fn a_transcript_that_is_cut_or_replaced_begins_anew() -> Result<()> {
    let desk = Desk::start(home()?)?;
    let log = desk.path(".claude/projects/-x/a.jsonl");
    append(&log, &format!("{PROMPT}\n{CALL}\n"))?;
    desk.expect_entries("a", &[Entry::Begun, Entry::Called])?;
    fs::write(&log, format!("{ANSWER}\n"))?;
    desk.expect_entries("a", &[Entry::Ended])?;
    let other = desk.path("other");
    fs::write(&other, format!("{PROMPT}\n{ANSWER}\n{PROMPT}\n"))?;
    fs::rename(&other, &log)?;
    desk.expect_entries("a", &[Entry::Begun, Entry::Ended, Entry::Begun])?;
    fs::remove_file(&log)?;
    append(&log, &format!("{PROMPT}\n{CALL}\n{ANSWER}\n"))?;
    desk.expect_entries("a", &[Entry::Begun, Entry::Called, Entry::Ended])
}

#[test]
fn tells_notes_at_the_start_and_whenever_they_change() -> Result<()> {
    let home = home()?;
    let path = home.path().join(".claude/sessions/7.json");
    append(&path, &note(7, "idle"))?;
    let started = Instant::now();
    let desk = Desk::start(home)?;
    // `start` may have taken the first of the two for its own.
    while started.elapsed() < Duration::from_millis(2500) {
        if let Ok(dated) = desk.facts.recv_timeout(Duration::from_millis(100)) {
            ensure!(is_probe(&dated.fact) || dated.fact == noted(7, "idle"), "{dated:?}");
        }
    }
    fs::write(&path, note(7, "busy"))?;
    ensure!(desk.next()? == noted(7, "busy"));
    fs::write(&path, note(7, "busy"))?;
    desk.expect_silence()?;

    // Whole, but not closed: it may be written anew.
    let mut file = File::create(&path)?;
    file.write_all(note(7, "idle").as_bytes())?;
    desk.expect_silence()?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(note(7, "waiting").as_bytes())?;
    drop(file);
    ensure!(desk.next()? == noted(7, "waiting"));

    fs::write(&path, "{")?;
    fs::write(&path, "")?;
    fs::write(&path, "[]")?;
    desk.expect_silence()?;
    fs::write(desk.path("new"), note(7, "idle"))?;
    fs::rename(desk.path("new"), &path)?;
    ensure!(desk.next()? == noted(7, "idle"));
    fs::remove_file(&path)?;
    desk.expect_silence()?;
    fs::write(&path, note(7, "idle"))?;
    ensure!(desk.next()? == noted(7, "idle"));
    fs::write(desk.path(".claude/sessions/8.json"), note(8, "busy"))?;
    ensure!(desk.next()? == noted(8, "busy"));
    Ok(())
}

#[test]
fn notes_that_were_there_are_told_twice() -> Result<()> {
    let home = home()?;
    append(&home.path().join(".claude/sessions/7.json"), &note(7, "idle"))?;
    let (inbox, facts) = channel();
    let inbox = Arc::new(inbox);
    let owner = rustix::process::geteuid().as_raw();
    let files = WrittenFiles::new(&profiles(), home.path(), owner)?.context("no patterns")?;
    let weak = Arc::downgrade(&inbox);
    thread::spawn(move || files.run(&weak));
    for _ in 0..2 {
        ensure!(facts.recv_timeout(BOUND)?.fact == noted(7, "idle"));
    }
    ensure!(facts.recv_timeout(Duration::from_secs(3)) == Err(RecvTimeoutError::Timeout));
    Ok(())
}

#[test]
fn directories_may_vanish_and_come_again() -> Result<()> {
    let desk = Desk::start(home()?)?;
    let (log, sessions) = (".claude/projects/-x/a.jsonl", ".claude/sessions/7.json");
    for round in 0..3 {
        desk.append(log, &[PROMPT])?;
        desk.expect_entries("a", &[Entry::Begun])?;
        append(&desk.path(sessions), &note(7, &format!("busy {round}")))?;
        // A note that is made is read when it is made and when it is closed.
        let told: Vec<Fact> = desk.told_by_now()?;
        ensure!(told == [noted(7, &format!("busy {round}"))], "{told:?}");

        // Each directory on the way, from the last to the first; then by a new name.
        fs::remove_dir_all(desk.path(".claude/projects/-x"))?;
        desk.append(log, &[PROMPT, ANSWER])?;
        desk.expect_entries("a", &[Entry::Begun, Entry::Ended])?;
        fs::remove_dir_all(desk.path(".claude/projects"))?;
        desk.append(log, &[PROMPT, CALL])?;
        desk.expect_entries("a", &[Entry::Begun, Entry::Called])?;
        let elsewhere = desk.path(&format!("elsewhere-{round}"));
        fs::rename(desk.path(".claude"), &elsewhere)?;
        desk.expect_silence()?;
        append(&elsewhere.join("projects/-x/a.jsonl"), &format!("{ANSWER}\n"))?;
        append(&elsewhere.join("projects/-x/b.jsonl"), &format!("{ANSWER}\n"))?;
        desk.expect_silence()?;
    }
    Ok(())
}

#[test]
fn a_directory_may_change_its_name() -> Result<()> {
    let desk = Desk::start(home()?)?;
    desk.append(".claude/projects/-x/a.jsonl", &[PROMPT])?;
    desk.expect_entries("a", &[Entry::Begun])?;
    fs::rename(desk.path(".claude/projects/-x"), desk.path(".claude/projects/-y"))?;
    // Its files are new here.
    desk.expect_entries("a", &[Entry::Begun])?;
    desk.append(".claude/projects/-y/a.jsonl", &[ANSWER])?;
    desk.expect_entries("a", &[Entry::Ended])?;
    desk.append(".claude/projects/-x/b.jsonl", &[PROMPT])?;
    desk.expect_entries("b", &[Entry::Begun])
}

#[test]
fn a_tree_that_is_moved_in_is_seen_whole() -> Result<()> {
    let desk = Desk::start(home()?)?;
    desk.append("ready/projects/-x/a.jsonl", &[PROMPT])?;
    desk.append("ready/projects/-y/b.jsonl", &[ANSWER])?;
    append(&desk.path("ready/sessions/7.json"), &note(7, "busy"))?;
    fs::rename(desk.path("ready"), desk.path(".claude"))?;
    let mut told = desk.told_by_now()?;
    ensure!(told.len() == 3 && told.contains(&noted(7, "busy")), "{told:?}");
    told.retain(|fact| matches!(fact, Fact::Transcribed { .. }));
    ensure!(told.len() == 2, "{told:?}");
    desk.append(".claude/projects/-y/b.jsonl", &[PROMPT])?;
    desk.expect_entries("b", &[Entry::Begun])
}

/// What lies in `dir`, a project's, and beside it, and in `sessions`, to hang
/// the source or to lead it to `outside`.
fn lay_traps(projects: &Path, sessions: &Path, outside: &Path) -> Result<()> {
    let dir = projects.join("-x");
    symlink(outside.join("out.jsonl"), dir.join("link.jsonl"))?;
    symlink("/dev/zero", dir.join("zero.jsonl"))?;
    symlink("loop.jsonl", dir.join("loop.jsonl"))?;
    symlink(outside, projects.join("-link"))?;
    symlink(outside.join("7.json"), sessions.join("7.json"))?;
    for (dir, name) in [(&*dir, "pipe.jsonl"), (sessions, "8.json")] {
        mknodat(CWD, dir.join(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    }
    fs::create_dir(dir.join("directory.jsonl"))?;
    fs::create_dir(sessions.join("9.json"))?;
    fs::write(projects.join("-file"), "no directory")?;
    Ok(())
}

#[test]
fn what_is_no_file_of_the_user_is_left_alone() -> Result<()> {
    let desk = Desk::start(home()?)?;
    let (projects, sessions) = (desk.path(".claude/projects"), desk.path(".claude/sessions"));
    let dir = projects.join("-x");
    let outside = desk.path("outside");
    desk.append("outside/out.jsonl", &[PROMPT])?;
    append(&outside.join("7.json"), &note(7, "busy"))?;
    for is_moved_in in [true, false] {
        fs::create_dir_all(&dir)?;
        fs::create_dir_all(&sessions)?;
        if is_moved_in {
            fs::rename(desk.path(".claude"), desk.path("trap"))?;
            desk.expect_silence()?;
            lay_traps(&desk.path("trap/projects"), &desk.path("trap/sessions"), &outside)?;
            fs::rename(desk.path("trap"), desk.path(".claude"))?;
        } else {
            desk.expect_silence()?;
            lay_traps(&projects, &sessions, &outside)?;
        }
        desk.expect_silence()?;
        desk.append("outside/out.jsonl", &[ANSWER])?;
        append(&outside.join("7.json"), " ")?;
        desk.expect_silence()?;
        if is_moved_in {
            fs::remove_dir_all(desk.path(".claude"))?;
        }
    }

    // Huge, and nearly nothing on the disk.
    let sparse = File::create(dir.join("sparse.jsonl"))?;
    sparse.set_len(1 << 40)?;
    File::create(sessions.join("5.json"))?.set_len(1 << 40)?;
    desk.expect_silence()?;
    append(&dir.join("sparse.jsonl"), &format!("\n{PROMPT}\n"))?;
    desk.expect_entries("sparse", &[Entry::Begun])?;

    if rustix::process::geteuid().is_root() {
        let others = desk.path("others.jsonl");
        fs::write(&others, format!("{PROMPT}\n"))?;
        std::os::unix::fs::chown(&others, Some(65534), None)?;
        fs::rename(others, dir.join("others.jsonl"))?;
        desk.expect_silence()?;
    }
    Ok(())
}

#[test]
fn a_home_of_links_is_followed() -> Result<()> {
    // As tools for dotfiles make it: the link comes after the source.
    let desk = Desk::start(home()?)?;
    fs::create_dir_all(desk.path("dotfiles/claude/projects"))?;
    desk.expect_silence()?;
    symlink("dotfiles/claude", desk.path(".claude"))?;
    desk.append(".claude/projects/-x/a.jsonl", &[PROMPT])?;
    desk.expect_entries("a", &[Entry::Begun])
}

#[test]
fn of_very_many_directories_the_newest_are_watched() -> Result<()> {
    let home = home()?;
    let day = Duration::from_secs(86_400);
    for number in 0..1500 {
        let log = home.path().join(format!(".claude/projects/p{number}/s{number}.jsonl"));
        append(&log, &format!("{PROMPT}\n"))?;
        let age = day * if number % 2 == 0 { number + 1 } else { 10_000 + number };
        let directory = File::open(log.parent().context("it has one")?)?;
        directory.set_modified(SystemTime::now() - age)?;
    }
    let desk = Desk::start(home)?;
    for number in [0, 2, 500, 1498] {
        desk.append(&format!(".claude/projects/p{number}/s{number}.jsonl"), &[ANSWER])?;
        desk.expect_entries(&format!("s{number}"), &[Entry::Ended])?;
    }
    desk.append(".claude/projects/p1499/s1499.jsonl", &[ANSWER])?;
    desk.expect_silence()?;
    // One that is new takes the place of an old one.
    desk.append(".claude/projects/new/new.jsonl", &[PROMPT])?;
    desk.expect_entries("new", &[Entry::Begun])?;
    desk.append(".codex/sessions/2026/01/01/new.jsonl", &[r#"{"type":"task_started"}"#])?;
    desk.expect_entries("new", &[Entry::Begun])
}

#[test]
fn many_agents_at_once_are_all_told() -> Result<()> {
    let desk = Desk::start(home()?)?;
    let projects = desk.path(".claude/projects");
    let write = &|number: usize| -> Result<()> {
        let log = projects.join(format!("p{number}/{number}.jsonl"));
        for turn in 0..50 {
            let filling = "x".repeat(turn * 400);
            append(&log, &format!("{PROMPT}\n{{\"text\":\"{filling}\"}}\n{ANSWER}\n"))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let writers = (0..20).map(|number| scope.spawn(move || write(number)));
        let writers: Vec<_> = writers.collect();
        let mut last: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        let mut left = 20 * 100;
        while left > 0 {
            let Fact::Transcribed { transcript, entry } = desk.next()? else { continue };
            last.entry(transcript.name).or_default().push(entry);
            left -= 1;
        }
        let expected = [Entry::Begun, Entry::Ended].repeat(50);
        ensure!(last.len() == 20 && last.values().all(|entries| *entries == expected));
        writers.into_iter().try_for_each(|writer| writer.join().expect("it does not panic"))
    })?;
    desk.expect_silence()
}

#[test]
fn a_long_line_does_not_hold_up_the_others() -> Result<()> {
    let desk = Desk::start(home()?)?;
    let long = desk.path(".claude/projects/-x/long.jsonl");
    let filling = "x".repeat(3 << 20);
    append(&long, &format!("{{\"text\":\"{filling}\",\"type\":\"user\"}}\n"))?;
    append(&long, &format!("{{\"text\":\"{filling}{filling}\",\"type\":\"user\"}}\n{ANSWER}\n"))?;
    desk.append(".claude/projects/-x/short.jsonl", &[CALL])?;
    desk.expect_entries("short", &[Entry::Called])?;
    desk.expect_entries("long", &[Entry::Begun, Entry::Ended])
}

#[test]
fn unfinished_lines_fill_no_more_than_a_part_of_the_memory() -> Result<()> {
    let desk = Desk::start(home()?)?;
    let paths: Vec<PathBuf> =
        (0..5).map(|number| desk.path(&format!(".claude/projects/-x/{number}.jsonl"))).collect();
    let start = format!("{{\"text\":\"{}", "x".repeat(4_000_000));
    for path in &paths {
        append(path, &start)?;
    }
    wait_until(|| desk.log.text().contains("too many unfinished lines"))?;
    for path in &paths {
        append(path, "\",\"type\":\"user\"}\n")?;
    }
    for _ in 0..4 {
        ensure!(matches!(desk.next()?, Fact::Transcribed { entry: Entry::Begun, .. }));
    }
    desk.expect_silence()
}

#[test]
fn lost_events_are_made_up_for() -> Result<()> {
    let desk = Desk::start(home()?)?;
    let (a, b) = (".claude/projects/-x/a.jsonl", ".claude/projects/-x/b.jsonl");
    desk.append(a, &[PROMPT])?;
    desk.append(b, &[PROMPT])?;
    append(&desk.path(".claude/sessions/7.json"), &note(7, "idle"))?;
    desk.append(".claude/projects/-gone/gone.jsonl", &[PROMPT])?;
    let mut told = desk.told_by_now()?;
    while told.len() < 4 {
        told.push(desk.next()?);
    }

    // Nobody takes facts: the source must wait, and its events queue.
    desk.append(a, &[PROMPT, ANSWER].repeat(600))?;
    thread::sleep(Duration::from_millis(200));
    let queue: usize =
        fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")?.trim().parse()?;
    let mut files = [a, b].map(|path| OpenOptions::new().append(true).open(desk.path(path)));
    for count in 0..queue + 1000 {
        // The kernel makes one of two like events in a row.
        files[count % 2].as_mut().expect("it is there").write_all(b"\n")?;
    }
    desk.append(b, &[CALL])?;
    append(&desk.path(".claude/sessions/8.json"), &note(8, "busy"))?;
    desk.append(".claude/projects/-new/new.jsonl", &[PROMPT, ANSWER])?;
    fs::remove_dir_all(desk.path(".claude/projects/-gone"))?;
    fs::rename(desk.path(".claude/projects/-x"), desk.path("away"))?;
    fs::create_dir(desk.path(".claude/projects/-x"))?;
    fs::rename(desk.path("away/b.jsonl"), desk.path(b))?;

    let mut told = BTreeMap::<String, Vec<Entry>>::new();
    let mut notes = Vec::new();
    let has_both = |entries: &Vec<Entry>| entries.len() == 2;
    while !told.get("new").is_some_and(has_both) || notes.len() < 2 {
        match desk.next()? {
            Fact::Transcribed { transcript, entry } => {
                told.entry(transcript.name).or_default().push(entry);
            }
            fact => notes.push(fact),
        }
    }
    ensure!(desk.log.text().contains("lost"), "{}", desk.log.text());
    desk.expect_silence()?;
    ensure!(told["a"] == [Entry::Begun, Entry::Ended].repeat(600), "{}", told["a"].len());
    ensure!(told["b"] == [Entry::Called] && told["new"] == [Entry::Begun, Entry::Ended]);
    ensure!(!told.contains_key("gone"));
    // What was told before is told again: nobody knows what came between.
    notes.sort_by_key(|fact| format!("{fact:?}"));
    ensure!(notes == [noted(7, "idle"), noted(8, "busy")], "{notes:?}");
    desk.append(".claude/projects/-gone/gone.jsonl", &[ANSWER])?;
    desk.expect_entries("gone", &[Entry::Ended])?;
    desk.append(b, &[ANSWER])?;
    desk.expect_entries("b", &[Entry::Ended])
}

#[test]
fn the_log_holds_no_text() -> Result<()> {
    let desk = Desk::start(home()?)?;
    let secrets = ["secret", r#"{"type":"secret""#, r#"{"text":"secret"} secret"#, r#""secret"#];
    desk.append(".claude/projects/-x/a.jsonl", &secrets)?;
    for text in secrets {
        append(&desk.path(".claude/sessions/7.json"), text)?;
    }
    desk.append(".claude/projects/-x/b.jsonl", &[PROMPT])?;
    desk.expect_entries("b", &[Entry::Begun])?;
    let log = desk.log.text();
    ensure!(log.contains("a.jsonl: no JSON at byte 0") && log.contains("7.json"), "{log}");
    ensure!(!log.contains("secret"), "{log}");
    Ok(())
}

/// In a user namespace, where this user's limits can be set for us alone.
#[test]
fn goes_on_with_few_watches() -> Result<()> {
    const INSIDE: &str = "AIMON_FEW_WATCHES";
    if std::env::var_os(INSIDE).is_none() {
        let script = "echo 20 >/proc/sys/user/max_inotify_watches && exec \"$0\" --exact goes_on_with_few_watches";
        let inside = std::process::Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", script])
            .arg(std::env::current_exe()?)
            .env(INSIDE, "1")
            .output()
            .context("cannot start unshare")?;
        let said = String::from_utf8_lossy(&inside.stdout);
        if !inside.status.success() && !said.contains("running 1 test") {
            println!("skipped: no user namespace: {}", String::from_utf8_lossy(&inside.stderr));
            return Ok(());
        }
        ensure!(inside.status.success(), "{said}");
        return Ok(());
    }
    let desk = Desk::start(home()?)?;
    for number in 0..30 {
        desk.append(&format!(".claude/projects/p{number}/{number}.jsonl"), &[PROMPT])?;
    }
    let told = desk.told_by_now()?;
    ensure!((5..20).contains(&told.len()), "{told:?}");
    ensure!(desk.log.text().matches("max_user_watches").count() == 1, "{}", desk.log.text());
    // Who goes makes room.
    for fact in &told[..3] {
        let Fact::Transcribed { transcript, .. } = fact else { anyhow::bail!("{fact:?}") };
        fs::remove_dir_all(desk.path(&format!(".claude/projects/p{}", transcript.name)))?;
    }
    desk.append(".claude/projects/new/new.jsonl", &[PROMPT])?;
    // Others that found no room before may be told first.
    let is_new = |fact: &Fact| matches!(fact, Fact::Transcribed { transcript, entry: Entry::Begun } if transcript.name == "new");
    while !is_new(&desk.next()?) {}
    Ok(())
}

#[test]
fn does_not_keep_the_queue_open() -> Result<()> {
    let Desk { facts, inbox, home: _home, .. } = Desk::start(home()?)?;
    drop(inbox);
    loop {
        match facts.recv_timeout(BOUND) {
            Ok(_) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => anyhow::bail!("it is open"),
        }
    }
}

#[test]
fn there_is_nothing_to_do_without_patterns() -> Result<()> {
    let home = home()?;
    let aider = Agents::builtin().profiles(&["unheard-of".to_owned()]);
    ensure!(WrittenFiles::new(&aider, home.path(), 0)?.is_none());
    Ok(())
}

/// What the thread takes of a core while an agent writes ten lines of 10 kB a
/// second, and while somebody writes without a pause. Meaningful in a release build only.
#[test]
#[ignore = "measures for half a minute"]
#[expect(clippy::print_stdout, reason = "it tells a person")]
fn cost() -> Result<()> {
    let desk = Desk::start(home()?)?;
    let line = format!(
        r#"{{"type":"user","message":{{"content":[{{"type":"tool_result","content":"{}"}}]}}}}"#,
        "some\\ntext \\\"with\\\" é ".repeat(500)
    );
    println!("lines of {} bytes", line.len());
    let log = ".claude/projects/-x/a.jsonl";
    let during = |what: &str, length: Duration, act: &dyn Fn() -> Result<()>| -> Result<()> {
        let (began, cpu) = (Instant::now(), cpu_time()?);
        let mut count = 0;
        while began.elapsed() < length {
            act()?;
            count += 1;
            while desk.facts.try_recv().is_ok() {}
        }
        let share = (cpu_time()? - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
        println!("{what}: {:.3} % of a core, {count} times", share * 100.0);
        Ok(())
    };
    let second = Duration::from_secs(1);
    during("nothing written", 5 * second, &|| {
        thread::sleep(second);
        Ok(())
    })?;
    during("10 lines a second", 20 * second, &|| {
        thread::sleep(second / 10);
        desk.append(log, &[&line])
    })?;
    during("without a pause", 5 * second, &|| desk.append(log, &[&line]))?;
    let noise = desk.path(".claude/projects/-x/noise.jsonl");
    let mut noise = OpenOptions::new().append(true).create(true).open(noise)?;
    during("single bytes without a pause", 5 * second, &|| {
        Ok(noise.try_clone()?.write_all(b"\n")?)
    })?;
    noise.flush()?;
    Ok(())
}

/// Of the threads that read transcripts, by the scheduler's own count.
fn cpu_time() -> Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        let thread = thread?.path();
        if fs::read_to_string(thread.join("comm"))?.trim() == "transcripts" {
            let stat = fs::read_to_string(thread.join("schedstat"))?;
            nanos += stat.split(' ').next().context("empty")?.parse::<u64>()?;
        }
    }
    Ok(Duration::from_nanos(nanos))
}
