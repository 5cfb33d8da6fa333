//! What can be known of an agent: how to recognise it and how to read its
//! signs. No agent is known here: what is known of each is data, a file in
//! `agents/`. The rules that use the signs are elsewhere.

use std::time::Duration;

use crate::evidence::Says;
use crate::{Command, DensityRule, Notes, Transcripts, Waits};

/// Programs that run another program's script: the agent's name comes second.
const INTERPRETERS: &[&str] = &[
    "node",
    "nodejs",
    "bun",
    "deno",
    "python",
    "python3",
    "python3.9",
    "python3.10",
    "python3.11",
    "python3.12",
    "python3.13",
    "python3.14",
];

/// Options of interpreters that take the next word.
const VALUED_OPTIONS: &[&str] = &["-r", "--require", "--import", "--loader", "-X", "-W"];

/// Options of interpreters after which there is no script.
const CODE_OPTIONS: &[&str] = &["-e", "--eval", "-p", "--print", "-c"];

/// The kernel cuts a thread's name after so many bytes (`TASK_COMM_LEN` - 1).
const COMM_BYTES: usize = 15;

/// One agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// `claude`: what `--processes` takes and the board shows.
    pub name: String,
    /// `Claude Code`.
    pub display_name: String,
    /// `claude-code`: what badges call their source.
    pub badge_source: String,
    /// Base names of its programs and scripts, without `.js`, `.exe` and such.
    pub programs: Vec<String>,
    /// Folders of its packages, for scripts with a name like `index.js`.
    pub packages: Vec<String>,
    pub not_sessions: NotSessions,
    pub titles: Titles,
    pub waits: Waits,
    pub prompt: PromptSign,
    pub greets: Greets,
    pub silence: Silence,
    pub density: DensityRule,
    /// A progress bar that stands still on a screen that does, for so long,
    /// was forgotten; `None` where it never is.
    pub progress_lapses_after: Option<Duration>,
    /// The logs of its conversations, and the notes of its status.
    pub transcripts: Option<Transcripts>,
    pub notes: Option<Notes>,
}

/// Runs of an agent's program that hold no conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotSessions {
    /// First words: `mcp-server`.
    pub subcommands: Vec<String>,
    /// Options at any place: `--print`.
    pub options: Vec<String>,
    /// Options that take the next word, which is then no subcommand.
    pub valued: Vec<String>,
}

/// How the window's title tells the agent's state. It is trusted only after a
/// title that says `Working` was seen in the session: some versions write one
/// title at rest and never change it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Titles {
    /// The first that fits counts.
    pub rules: Vec<(TitleStart, Says)>,
    /// What any other title says. An empty one says nothing.
    pub otherwise: Option<Says>,
    /// A working title that is not written again for so long was forgotten;
    /// `None` where it stands still.
    pub lapses_after: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TitleStart {
    /// One picture of a spinner: braille dots, a turning circle or arc.
    Spinner,
    Text(String),
}

/// How a prompt that takes a line is told from work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptSign {
    None,
    /// Bracketed paste is on for the prompt only, as readline and
    /// `prompt_toolkit` have it: a pasted line must not be entered by itself.
    PasteMode,
}

/// How an agent tells that it takes prompts. Until then it starts up: it loads,
/// or asks whether to trust the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greets {
    Nothing,
    /// It writes its note, and the title where that is on.
    Note,
    /// It sends its title or its status.
    Sequence,
}

/// What it means that an agent's screen does not move and never did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// It is known to animate while it works.
    Waits,
    SaysNothing,
}

impl Titles {
    pub fn read(&self, title: &str) -> Option<Says> {
        let title = title.trim();
        let first = title.chars().next()?;
        let fits = |start: &TitleStart| match start {
            TitleStart::Spinner => is_spinner(first),
            TitleStart::Text(text) => title.starts_with(text.as_str()),
        };
        let rule = self.rules.iter().find(|(start, _)| fits(start));
        rule.map_or(self.otherwise, |(_, says)| Some(*says))
    }
}

/// Glyphs that are drawn only in turn: braille dots, quarters of circles.
const fn is_spinner(glyph: char) -> bool {
    matches!(glyph, '\u{2801}'..='\u{28FF}' | '◐'..='◓' | '◜'..='◟' | '◴'..='◷')
}

impl NotSessions {
    fn contains(&self, arguments: &[String]) -> bool {
        let has = |list: &[String], word: &String| {
            let word = word.split_once('=').map_or(word.as_str(), |(option, _)| option);
            list.iter().any(|known| known == word)
        };
        let mut expects_subcommand = true;
        let mut words = arguments.iter().take_while(|word| *word != "--");
        while let Some(word) = words.next() {
            if word.starts_with('-') {
                if has(&self.options, word) {
                    return true;
                }
                if has(&self.valued, word) && !word.contains('=') {
                    words.next();
                }
            } else if expects_subcommand {
                if has(&self.subcommands, word) {
                    return true;
                }
                expects_subcommand = false;
            }
        }
        false
    }
}

/// The agents to watch.
#[derive(Clone, Debug)]
pub struct Profiles {
    profiles: Vec<Profile>,
    /// What [`Profiles::names`] gives.
    names: Vec<String>,
}

impl Profiles {
    pub fn new(profiles: Vec<Profile>) -> Self {
        let mut names: Vec<String> = Self::interpreters().map(String::from).collect();
        for program in profiles.iter().flat_map(|profile| &profile.programs) {
            names.extend([
                program.clone(),
                format!("{program}.exe"),
                format!("{program}.js"),
                format!(".{program}-wrapped"),
            ]);
        }
        names.sort_unstable();
        names.dedup();
        Self { profiles, names }
    }

    /// The profile whose session this process may be. Whether it is one shows
    /// when it uses a terminal.
    pub fn identify(&self, command: &Command) -> Option<&Profile> {
        let argument = command.argv.first().map_or("", String::as_str);
        let program = [command.exe.as_str(), argument, command.comm.as_str()]
            .into_iter()
            .find_map(|name| self.profiles.iter().find(|profile| profile.has_program(name)));
        let names = [command.exe.as_str(), argument, command.comm.as_str()];
        let script =
            if names.into_iter().any(is_interpreter) { script(&command.argv) } else { None };
        let by_script = script.and_then(|at| {
            let path = &command.argv[at];
            self.profiles.iter().find(|profile| profile.has_script(path))
        });
        let profile = by_script.or(program)?;
        let arguments = command.argv.get(script.unwrap_or(0) + 1..).unwrap_or_default();
        (!profile.not_sessions.contains(arguments)).then_some(profile)
    }

    /// For who does not read the notes that agents keep: that one is missing
    /// then tells nothing.
    #[must_use]
    pub fn without_notes(mut self) -> Self {
        for profile in &mut self.profiles {
            profile.notes = None;
        }
        self
    }

    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.name == name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.profiles.iter()
    }

    /// All base names, of programs and of interpreters, under which an agent
    /// may be executed. They may be longer than the kernel's 15 bytes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    pub fn interpreters() -> impl Iterator<Item = &'static str> {
        INTERPRETERS.iter().copied()
    }
}

impl Profile {
    fn has_program(&self, name: &str) -> bool {
        let name = stem(name);
        self.programs.iter().any(|program| {
            let wrapped = format!(".{program}-wrapped");
            name == program
                || name == wrapped
                || is_cut_from(name, &wrapped)
                || is_cut_from(name, program)
        })
    }

    fn has_script(&self, path: &str) -> bool {
        let in_package =
            || path.split('/').any(|folder| self.packages.iter().any(|package| package == folder));
        self.has_program(path)
            || (matches!(stem(path), "index" | "cli" | "main" | "__main__") && in_package())
    }
}

/// Whether the kernel made `name` out of the longer `whole`.
fn is_cut_from(name: &str, whole: &str) -> bool {
    name.len() == COMM_BYTES && whole.len() > COMM_BYTES && whole.starts_with(name)
}

/// `/usr/bin/claude.exe (deleted)` is `claude`.
fn stem(path: &str) -> &str {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let base = path.rsplit('/').next().unwrap_or(path);
    let suffix = [".js", ".mjs", ".cjs", ".ts", ".py", ".exe"];
    suffix.iter().find_map(|suffix| base.strip_suffix(suffix)).unwrap_or(base)
}

fn is_interpreter(name: &str) -> bool {
    let name = stem(name);
    INTERPRETERS.contains(&name) || name.strip_prefix("python3.").is_some()
}

/// Where the script stands among an interpreter's arguments.
fn script(argv: &[String]) -> Option<usize> {
    let mut at = 1;
    while let Some(word) = argv.get(at) {
        match word.as_str() {
            word if CODE_OPTIONS.contains(&word) => return None,
            word if VALUED_OPTIONS.contains(&word) => at += 2,
            "run" => at += 1,
            word if word.starts_with('-') => at += 1,
            _ => return Some(at),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reason;

    const RESTS: Says = Says::Waiting(Reason::Unknown);
    const ASKS: Says = Says::Waiting(Reason::Permission);

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn named(name: &str) -> Profile {
        Profile {
            name: name.to_owned(),
            display_name: name.to_owned(),
            badge_source: "generic".to_owned(),
            programs: words(&[name]),
            packages: Vec::new(),
            not_sessions: NotSessions::default(),
            titles: Titles::default(),
            waits: Waits::Any,
            silence: Silence::SaysNothing,
            density: DensityRule::default(),
            progress_lapses_after: None,
            prompt: PromptSign::None,
            greets: Greets::Nothing,
            transcripts: None,
            notes: None,
        }
    }

    fn profiles() -> Profiles {
        let agent = Profile {
            packages: words(&["agent-cli"]),
            not_sessions: NotSessions {
                subcommands: words(&["mcp"]),
                options: words(&["-p", "--print"]),
                valued: words(&["--model"]),
            },
            ..named("agent")
        };
        Profiles::new(vec![agent, named("repl-of-a-long-name")])
    }

    fn command(comm: &str, exe: &str, line: &str) -> Command {
        let argv = line.split_whitespace().map(String::from).collect();
        Command { comm: comm.to_owned(), exe: exe.to_owned(), argv }
    }

    #[test]
    fn identifies_the_whole_table() {
        let table = [
            ("agent", "agent", "agent", Some("agent")),
            ("agent", "agent.exe (deleted)", "agent", Some("agent")),
            ("agent", "node", "agent", Some("agent")),
            ("node", "node", "node --no-warnings /opt/bin/agent", Some("agent")),
            ("node", "node", "node -r hook.js /opt/bin/agent.js", Some("agent")),
            ("node", "node", "node /opt/lib/agent-cli/dist/index.js", Some("agent")),
            ("node", "node", "node /opt/lib/other-cli/dist/index.js", None),
            ("node", "node", "node /opt/lib/agent-cli/dist/server.js", None),
            ("node", "node", "node --require ./agent.js server.js", None),
            ("node", "node", "node -e agent", None),
            ("node", "node", "node", None),
            ("agent", "bun", "bun run /opt/bin/agent.js", Some("agent")),
            ("python3", "python3.12", "python3 -m agent", Some("agent")),
            ("python3", "python3.12", "python3 -c import-agent", None),
            (".agent-wrapped", ".agent-wrapped", "agent", Some("agent")),
            ("repl-of-a-long-", "", "", Some("repl-of-a-long-name")),
            (".repl-of-a-long", "", "", Some("repl-of-a-long-name")),
            ("repl-of-a-lon", "", "", None),
            ("agent", "agent", "agent -p hello", None),
            ("agent", "agent", "agent --print=yes", None),
            ("agent", "agent", "agent explain -- -p", Some("agent")),
            ("agent", "agent", "agent mcp serve", None),
            ("agent", "agent", "agent explain mcp", Some("agent")),
            ("agent", "agent", "agent --model mcp", Some("agent")),
            ("agent", "agent", "agent --model=small mcp", None),
            ("vim", "vim", "vim agent", None),
            ("agent-helper", "agent-helper", "agent-helper", None),
            ("", "", "", None),
        ];
        let profiles = profiles();
        for (comm, exe, line, expected) in table {
            let found = profiles.identify(&command(comm, exe, line));
            assert_eq!(found.map(|found| found.name.as_str()), expected, "{comm} {exe}: {line}");
        }
    }

    #[test]
    fn names_all_that_may_be_executed() {
        let profiles = profiles();
        let names: Vec<&str> = profiles.names().collect();
        for name in ["agent", "agent.exe", "agent.js", ".agent-wrapped", "node", "bun", "python3"] {
            assert!(names.contains(&name), "{name}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_the_title_counts() {
        let titles = Titles {
            rules: vec![
                (TitleStart::Spinner, Says::Working),
                (TitleStart::Text("!".to_owned()), ASKS),
                (TitleStart::Text("!!".to_owned()), Says::Working),
            ],
            otherwise: Some(RESTS),
            lapses_after: None,
        };
        let table = [
            ("⠂ fix the bug", Some(Says::Working)),
            ("◑ fix the bug", Some(Says::Working)),
            ("◴ fix the bug", Some(Says::Working)),
            ("!! fix the bug", Some(ASKS)),
            ("  ! fix the bug", Some(ASKS)),
            ("fix the bug", Some(RESTS)),
            ("  ", None),
            ("", None),
        ];
        for (title, expected) in table {
            assert_eq!(titles.read(title), expected, "{title:?}");
        }
        let silent = Titles { otherwise: None, ..titles };
        assert_eq!(silent.read("fix the bug"), None);
    }
}
