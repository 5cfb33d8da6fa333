//! A person's own profiles, in real directories.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ebpf_ai_monitor_agents::{Agents, Origin};
use ebpf_ai_monitor_core::{DensityRule, Profile, Reason, Says, TitleStart, Waits};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// A directory that is removed in the end.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("aimon-agents-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("the name is new");
        Self(path)
    }

    fn with(files: &[(&str, &str)]) -> Self {
        let directory = Self::new();
        for (name, content) in files {
            fs::write(directory.0.join(name), content).expect("the directory is ours");
        }
        directory
    }

    fn read(&self) -> (Agents, Vec<String>) {
        read(&self.0)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Errors as a person reads them, the directory cut off.
fn read(path: &Path) -> (Agents, Vec<String>) {
    let (agents, errors) = Agents::with_directory(path);
    let cut = format!("{}/", path.display());
    (agents, errors.iter().map(|error| error.to_string().replace(&cut, "")).collect())
}

fn profile(agents: &Agents, name: &str) -> Profile {
    agents.profiles(&[name.to_owned()]).get(name).expect("it was asked for").clone()
}

#[test]
fn a_file_changes_the_built_in_profile_key_by_key() {
    let directory = Directory::with(&[(
        "any-name.toml",
        r#"
        name = "claude"
        programs = ["claude", "claude-nightly"]
        [not_sessions]
        options = ["--once"]
        [titles]
        rules = [{ text = "?", says = "question" }]
        [progress]
        lapses_after_ms = "never"
        [density]
        resting_slots = 3
        "#,
    )]);
    let (agents, errors) = directory.read();
    assert!(errors.is_empty(), "{errors:?}");
    let mut expected = profile(&Agents::builtin(), "claude");
    expected.programs = vec!["claude".to_owned(), "claude-nightly".to_owned()];
    expected.not_sessions.options = vec!["--once".to_owned()];
    let asks = Says::Waiting(Reason::Question);
    expected.titles.rules = vec![(TitleStart::Text("?".to_owned()), asks)];
    expected.progress_lapses_after = None;
    expected.density.resting_slots = 3;
    assert_eq!(profile(&agents, "claude"), expected);

    let changed = Origin::Changed(directory.0.join("any-name.toml"));
    assert_eq!(agents.iter().find(|it| it.profile.name == "claude").unwrap().origin, changed);
    assert!(agents.names().eq(Agents::builtin().names()), "it stays in its place");
}

#[test]
fn no_files_of_transcripts_and_notes_turn_them_off() {
    let builtin = profile(&Agents::builtin(), "claude");
    assert!(builtin.transcripts.is_some() && builtin.notes.is_some());
    let content = "name = 'claude'\ntranscripts.files = []\nnotes.files = []";
    let (agents, errors) = Directory::with(&[("x.toml", content)]).read();
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(profile(&agents, "claude"), Profile { transcripts: None, notes: None, ..builtin });
}

#[test]
fn a_new_name_is_a_new_agent_on_the_generic_profile() {
    let directory = Directory::with(&[(
        "mycli.toml",
        r#"
        name = "mycli"
        display_name = "My CLI"
        badge_source = "codex"
        packages = ["my-cli"]
        waits = "canonical-read"
        density = { longest_gap_ms = 700, working_slots = 16, expected_slots = 1 }
        titles.otherwise = "nothing"
        titles.lapses_after_ms = 3_000
        "#,
    )]);
    let (agents, errors) = directory.read();
    assert!(errors.is_empty(), "{errors:?}");
    let mut expected = profile(&Agents::builtin(), "mycli");
    expected.display_name = "My CLI".to_owned();
    expected.badge_source = "codex".to_owned();
    expected.packages = vec!["my-cli".to_owned()];
    expected.waits = Waits::CanonicalRead;
    expected.density = DensityRule {
        longest_gap: Duration::from_millis(700),
        working_slots: 16,
        expected_slots: 1,
        ..DensityRule::default()
    };
    expected.titles.otherwise = None;
    expected.titles.lapses_after = Some(Duration::from_secs(3));
    assert_eq!(profile(&agents, "mycli"), expected);
    assert_eq!(expected.programs, ["mycli"]);
    assert_eq!(agents.names().last(), Some("mycli"));
    let origin = Origin::File(directory.0.join("mycli.toml"));
    assert_eq!(agents.iter().last().unwrap().origin, origin);
}

/// Each content with the one error that it gives, from the line on.
fn assert_errors(table: &[(&str, &str)]) {
    for (content, expected) in table {
        let (_, errors) = Directory::with(&[("x.toml", content)]).read();
        assert_eq!(errors, [format!("x.toml:{expected}")], "{content}");
    }
}

#[test]
fn an_error_names_line_column_and_key() {
    assert_errors(&[
        ("", "1:1: name: is missing"),
        ("name = ''", "1:8: name: is empty"),
        ("name = 'a/b'", "1:8: name: holds a '/'"),
        ("name = \"a\\u0007\"", "1:8: name: holds a control character"),
        ("name = 'generic'", "1:8: name: stands for every program without a file"),
        ("name = 3", "1:8: name: must be a string, is an integer"),
        ("name = 'x' 'y'", "1:12: unexpected key or value, expected newline, `#`"),
        ("name = 'x'\n# é\nname = 'y'", "3:1: duplicate key"),
        ("name = 'x'\nprograms = []", "2:12: programs: must be 1 to 16 names"),
        ("name = 'x'\nprograms = 'x'", "2:12: programs: must be an array, is a string"),
        ("name = 'x'\nprograms = ['x', 'é/y']", "2:18: programs[1]: holds a '/'"),
        ("name = 'x'\npackages = ['é', '@a/b']", "2:18: packages[1]: holds a '/'"),
        ("name = 'x'\nwaits = 'no'", "2:9: waits: \"no\" is none of any, canonical-read"),
        ("name = 'x'\nsilence = 1", "2:11: silence: must be a string, is an integer"),
        (
            "name = 'x'\nbadge_source = 'x'",
            "2:16: badge_source: \"x\" is none of claude-code, codex, generic",
        ),
        ("name = 'x'\ntitles = 1", "2:10: titles: must be a table, is an integer"),
        (
            "name = 'x'\nnot_sessions = { colour = 1 }",
            "2:18: not_sessions.colour: unknown key; known are subcommands, options, valued",
        ),
        ("name = 'x'\nprompt = 'line'", "2:10: prompt: \"line\" is none of none, paste-mode"),
    ]);
    let (_, errors) = Directory::with(&[("x.toml", "name = 'x'\ncolour = 1")]).read();
    assert!(
        errors[0].starts_with("x.toml:2:1: colour: unknown key; known are name, "),
        "{errors:?}"
    );
}

#[test]
fn wrong_titles_are_refused() {
    assert_errors(&[
        (
            "name = 'x'\n[titles]\nrules = [\n  { text = '✳', says = 'sleeping' },\n]",
            "4:24: titles.rules[0].says: \"sleeping\" is none of working, waiting, done, \
             permission, question, start-up, interrupted",
        ),
        (
            "name = 'x'\n[[titles.rules]]\nspinner = true\nsays = 'working'\n\
             [[titles.rules]]\nspinner = false\nsays = 'done'",
            "6:11: titles.rules[1].spinner: can only be true",
        ),
        (
            "name = 'x'\ntitles.rules = [{ spinner = true, text = 'a', says = 'done' }]",
            "2:17: titles.rules[0]: must have either spinner or text",
        ),
        (
            "name = 'x'\ntitles.rules = [{ says = 'done' }]",
            "2:17: titles.rules[0]: must have either spinner or text",
        ),
        (
            "name = 'x'\ntitles.rules = [{ spinner = true }]",
            "2:17: titles.rules[0].says: is missing",
        ),
        (
            "name = 'x'\ntitles.rules = [{ text = ' a', says = 'done' }]",
            "2:26: titles.rules[0].text: begins with a blank, which no title does",
        ),
    ]);
}

#[test]
fn wrong_numbers_are_refused() {
    assert_errors(&[
        (
            "name = 'x'\n[titles]\nlapses_after_ms = 0",
            "3:19: titles.lapses_after_ms: 0 is not in 1 to 3600000",
        ),
        (
            "name = 'x'\n[progress]\nlapses_after_ms = 3600001",
            "3:19: progress.lapses_after_ms: 3600001 is not in 1 to 3600000",
        ),
        (
            "name = 'x'\n[progress]\nlapses_after_ms = 'soon'",
            "3:19: progress.lapses_after_ms: \"soon\" is none of never",
        ),
        (
            "name = 'x'\n[density]\nworking_slots = 17",
            "3:17: density.working_slots: 17 is not in 1 to 16",
        ),
        (
            "name = 'x'\n[density]\nlongest_gap_ms = -5",
            "3:18: density.longest_gap_ms: -5 is not in 100 to 2000",
        ),
        (
            "name = 'x'\n[density]\nlongest_gap_ms = 490.0",
            "3:18: density.longest_gap_ms: must be an integer, is a float",
        ),
        (
            "name = 'x'\n[density]\nworking_slots = 4",
            "2:1: density: expected_slots = 5 is more than working_slots = 4",
        ),
        (
            "name = 'x'\n[density]\nresting_slots = 11",
            "2:1: density: resting_slots = 11 is more than working_slots = 10",
        ),
        (
            "name = 'x'\n[progress]\nlapses_after = 5",
            "3:1: progress.lapses_after: unknown key; known are lapses_after_ms",
        ),
    ]);
}

#[test]
fn wrong_transcripts_and_notes_are_refused() {
    assert_errors(&[
        (
            "name = 'x'\ntranscripts.files = ['~/x', '../y']",
            "2:29: transcripts.files[1]: must begin with ~/ or / and go nowhere up",
        ),
        (
            "name = 'x'\nnotes.files = ['~/../y']",
            "2:16: notes.files[0]: must begin with ~/ or / and go nowhere up",
        ),
        (
            "name = 'x'\n[transcripts]\nmarks = [{ key = 'a', is = 'b', says = 'done' }]",
            "3:40: transcripts.marks[0].says: \"done\" is none of begun, called, returned, \
             ended, aborted",
        ),
        (
            "name = 'x'\n[transcripts]\nignored = [{ key = 'a' }]",
            "3:12: transcripts.ignored[0]: must have either is or starts_with",
        ),
        (
            "name = 'x'\n[notes]\nfiles = ['~/x']",
            "2:1: notes: must have process, started and status",
        ),
    ]);
}

#[test]
fn a_wrong_file_changes_nothing_and_the_others_count() {
    let directory = Directory::with(&[
        ("1.toml", "name = 'aider'\ndisplay_name = 'A'"),
        ("2.toml", "name = 'claude'\ndisplay_name = 'B'\nwaits = 'never'"),
        ("3.toml", "name = 'qwen'\ndisplay_name = 'C'"),
    ]);
    let (agents, errors) = directory.read();
    assert_eq!(errors, ["2.toml:3:9: waits: \"never\" is none of any, canonical-read"]);
    assert_eq!(profile(&agents, "aider").display_name, "A");
    assert_eq!(profile(&agents, "claude"), profile(&Agents::builtin(), "claude"));
    assert_eq!(profile(&agents, "qwen").display_name, "C");
}

#[test]
fn of_two_files_for_one_agent_the_first_counts() {
    let directory = Directory::with(&[
        ("b.toml", "display_name = 'B'\nname = 'claude'"),
        ("a.toml", "display_name = 'A'\nname = 'claude'"),
    ]);
    let (agents, errors) = directory.read();
    assert_eq!(errors, ["b.toml:2:8: name: \"claude\" was told of by a.toml already"]);
    assert_eq!(profile(&agents, "claude").display_name, "A");
}

#[test]
fn a_program_has_one_agent() {
    let directory = Directory::with(&[
        ("a.toml", "name = 'mine'\nprograms = ['my', 'claude']"),
        ("b.toml", "name = 'other'\nprograms = ['it', 'tool']"),
        ("c.toml", "name = 'third'\nprograms = ['tool']"),
        ("d.toml", "name = 'it'"),
        ("e.toml", "name = 'aider'\nprograms = ['aider', 'aider']"),
    ]);
    let (agents, errors) = directory.read();
    assert_eq!(
        errors,
        [
            "a.toml:2:19: programs[1]: \"claude\" is a program of the agent \"claude\" already",
            "c.toml:2:13: programs[0]: \"tool\" is a program of the agent \"other\" of b.toml already",
            "d.toml:1:8: name: \"it\" is a program of the agent \"other\" of b.toml already",
        ]
    );
    assert!(agents.names().eq(Agents::builtin().names().chain(["other"])));
}

#[test]
fn there_need_not_be_a_directory() {
    let (agents, errors) = read(Path::new("/nonexistent/agents"));
    assert!(errors.is_empty(), "{errors:?}");
    assert!(agents.names().eq(Agents::builtin().names()));

    let (_, errors) = Agents::with_directory(Path::new("/dev/null"));
    assert_eq!(errors[0].to_string(), "/dev/null: Not a directory (os error 20)");
}

#[test]
fn only_files_called_toml_count() {
    let wrong = "name = 'wrong'";
    let files = [".hidden.toml", "x.toml~", "x.tml", "toml", ".toml", "x.TOML"];
    let directory = Directory::with(&files.map(|name| (name, wrong)));
    fs::create_dir(directory.0.join("folder.toml")).unwrap();
    fs::write(directory.0.join("folder.toml/x.toml"), wrong).unwrap();
    // Whoever keeps their files elsewhere links to them.
    let elsewhere = Directory::with(&[("real", "name = 'linked'")]);
    symlink(elsewhere.0.join("real"), directory.0.join("x.toml")).unwrap();
    let (agents, errors) = directory.read();
    assert!(errors.is_empty(), "{errors:?}");
    assert!(agents.names().eq(Agents::builtin().names().chain(["linked"])));
}

#[test]
fn nothing_in_the_directory_hangs_or_swamps_the_reader() {
    let directory = Directory::with(&[("f.toml", "name = 'mine'")]);
    let path = |name: &str| directory.0.join(name);
    mknodat(CWD, path("a.toml"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    symlink("/dev/zero", path("b.toml")).unwrap();
    symlink("/nonexistent", path("c.toml")).unwrap();
    fs::write(path("d.toml"), format!("name = 'd'\n{}", "#".repeat(64 * 1024 - 10))).unwrap();
    fs::write(path("e.toml"), b"name = 'e'\n#\xE9").unwrap();
    let (agents, errors) = directory.read();
    assert_eq!(
        errors,
        [
            "a.toml: is no regular file",
            "b.toml: is no regular file",
            "c.toml: No such file or directory (os error 2)",
            "d.toml: is longer than 65536 bytes",
            "e.toml:2:2: is not UTF-8",
        ]
    );
    assert_eq!(agents.names().last(), Some("mine"));

    fs::write(path("d.toml"), format!("name = 'd'\n{}", "#".repeat(64 * 1024 - 11))).unwrap();
    assert_eq!(directory.read().1.len(), 4, "65536 bytes are not too many");
}

#[test]
fn at_most_256_files_are_read() {
    let directory = Directory::new();
    for number in 0..257 {
        let name = format!("{number:03}");
        fs::write(directory.0.join(format!("{name}.toml")), format!("name = '{name}'")).unwrap();
    }
    let (agents, errors) = Agents::with_directory(&directory.0);
    let expected = format!("{}: holds more than 256 profiles", directory.0.display());
    assert!(errors.len() == 1 && errors[0].to_string().starts_with(&expected), "{errors:?}");
    assert_eq!(agents.names().last(), Some("255"));
}

#[test]
fn an_error_is_one_line_whatever_it_names() {
    let directory = Directory::with(&[("a\nb.toml", "name = 'x'\n\"\\u001b[31m\\n\" = 1")]);
    let (_, errors) = directory.read();
    let expected = "a\\nb.toml:2:1: \\u{1b}[31m\\n: unknown key";
    assert!(errors[0].starts_with(expected), "{errors:?}");
}

#[test]
fn the_page_on_profiles_shows_files_that_load() {
    let page = include_str!("../../docs/profiles.md");
    let examples: Vec<&str> = page
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    assert!(examples.len() >= 2);
    for example in examples {
        let (_, errors) = Directory::with(&[("x.toml", example)]).read();
        assert!(errors.is_empty(), "{example}\n{errors:?}");
    }
}
