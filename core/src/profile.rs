//! What is known of each agent: how to recognise it and how to read its signs.
//! All of it is data; the rules that use it are elsewhere. To teach the
//! monitor a new agent, add a function like [`claude`] and name it in
//! [`BUILTIN`].

use std::time::Duration;

use crate::evidence::Says;
use crate::{Command, DensityRule, Reason, Waits};

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

const BUILTIN: &[fn() -> Profile] = &[claude, codex, gemini, qwen, opencode, aider, copilot];

/// One agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// `claude`: what `--processes` takes and the board shows.
    pub name: String,
    /// `Claude Code`.
    pub display_name: String,
    /// Base names of its programs and scripts, without `.js`, `.exe` and such.
    pub programs: Vec<String>,
    /// Folders of its packages, for scripts with a name like `index.js`.
    pub packages: Vec<String>,
    pub not_sessions: NotSessions,
    pub titles: Titles,
    pub waits: Waits,
    pub silence: Silence,
    pub density: DensityRule,
    /// A progress bar that stands still on a screen that does, for so long,
    /// was forgotten; `None` where it never is.
    pub progress_lapses_after: Option<Duration>,
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
    /// What the program itself knows of the agents called `names`; a generic
    /// profile for each that it does not know.
    pub fn builtin(names: &[String]) -> Self {
        let known: Vec<Profile> = BUILTIN.iter().map(|build| build()).collect();
        let mut profiles: Vec<Profile> = Vec::new();
        for name in names {
            if name.is_empty() || profiles.iter().any(|profile| profile.name == *name) {
                continue;
            }
            let found = known.iter().find(|profile| profile.name == *name);
            profiles.push(found.cloned().unwrap_or_else(|| generic(name)));
        }
        Self::new(profiles)
    }

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

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn title(text: &str, says: Says) -> (TitleStart, Says) {
    (TitleStart::Text(text.to_owned()), says)
}

const RESTS: Says = Says::Waiting(Reason::Unknown);
const ASKS: Says = Says::Waiting(Reason::Permission);

/// A program of which nothing but the name is known.
fn generic(name: &str) -> Profile {
    Profile {
        name: name.to_owned(),
        display_name: name.to_owned(),
        programs: words(&[name]),
        packages: Vec::new(),
        not_sessions: NotSessions::default(),
        titles: Titles {
            rules: vec![(TitleStart::Spinner, Says::Working)],
            otherwise: Some(RESTS),
            lapses_after: Some(Duration::from_secs(5)),
        },
        waits: Waits::Any,
        silence: Silence::SaysNothing,
        density: DensityRule::default(),
        progress_lapses_after: None,
    }
}

/// An event loop that animates while it works and is silent at rest.
fn event_loop(name: &str, display_name: &str) -> Profile {
    Profile {
        display_name: display_name.to_owned(),
        titles: Titles::default(),
        waits: Waits::CanonicalRead,
        silence: Silence::Waits,
        ..generic(name)
    }
}

fn claude() -> Profile {
    Profile {
        packages: words(&["claude-code"]),
        not_sessions: NotSessions {
            subcommands: words(&[
                "auth",
                "config",
                "doctor",
                "install",
                "mcp",
                "plugin",
                "setup-token",
                "update",
            ]),
            options: words(&["-p", "--print", "--bg-spare", "--version", "--help"]),
            valued: words(&["--model", "--settings", "--mcp-config", "--append-system-prompt"]),
        },
        titles: Titles {
            rules: vec![(TitleStart::Spinner, Says::Working), title("✳", RESTS)],
            otherwise: None,
            // It turns once a second; pauses of 3.6 s were seen.
            lapses_after: Some(Duration::from_secs(10)),
        },
        // 2.1.197 leaves the bar running during a permission prompt.
        progress_lapses_after: Some(Duration::from_secs(5)),
        ..event_loop("claude", "Claude Code")
    }
}

fn codex() -> Profile {
    Profile {
        packages: words(&["codex"]),
        not_sessions: NotSessions {
            subcommands: words(&[
                "app-server",
                "apply",
                "cloud",
                "completion",
                "debug",
                "e",
                "exec",
                "exec-server",
                "features",
                "login",
                "logout",
                "mcp",
                "mcp-server",
                "pid-update-loop",
                "proto",
                "responses-api-proxy",
                "review",
                "sandbox",
                "stdio-to-uds",
            ]),
            options: words(&["--version", "--help"]),
            valued: words(&[
                "-a",
                "-c",
                "-C",
                "-i",
                "-m",
                "-p",
                "-s",
                "--add-dir",
                "--ask-for-approval",
                "--cd",
                "--config",
                "--disable",
                "--enable",
                "--image",
                "--model",
                "--profile",
                "--sandbox",
            ]),
        },
        titles: Titles {
            rules: vec![
                (TitleStart::Spinner, Says::Working),
                title("[ ! ] Action Required", ASKS),
                title("[ . ] Action Required", ASKS),
            ],
            otherwise: Some(RESTS),
            lapses_after: Some(Duration::from_secs(5)),
        },
        ..event_loop("codex", "Codex CLI")
    }
}

fn gemini() -> Profile {
    Profile {
        packages: words(&["gemini-cli"]),
        not_sessions: NotSessions {
            subcommands: words(&["extensions", "hooks", "mcp", "skills"]),
            options: words(&["-p", "--prompt", "--acp", "--experimental-acp", "--version"]),
            valued: words(&["-m", "--model"]),
        },
        titles: Titles {
            rules: vec![title("✦", Says::Working), title("◇", RESTS), title("✋", ASKS)],
            otherwise: None,
            lapses_after: None,
        },
        ..event_loop("gemini", "Gemini CLI")
    }
}

fn qwen() -> Profile {
    Profile {
        packages: words(&["qwen-code"]),
        not_sessions: NotSessions {
            subcommands: words(&["extensions", "mcp"]),
            options: words(&["-p", "--prompt", "--acp", "--experimental-acp", "--version"]),
            valued: words(&["-m", "--model"]),
        },
        ..event_loop("qwen", "Qwen Code")
    }
}

fn opencode() -> Profile {
    Profile {
        packages: words(&["opencode-ai"]),
        not_sessions: NotSessions {
            subcommands: words(&[
                "acp",
                "agent",
                "auth",
                "debug",
                "export",
                "github",
                "import",
                "mcp",
                "models",
                "run",
                "serve",
                "session",
                "stats",
                "uninstall",
                "upgrade",
                "web",
            ]),
            options: words(&["--version", "--help"]),
            valued: words(&["-m", "--model"]),
        },
        ..event_loop("opencode", "OpenCode")
    }
}

/// It stops to listen to its terminal while it works, so that a look tells.
fn aider() -> Profile {
    Profile {
        packages: words(&["aider"]),
        not_sessions: NotSessions {
            subcommands: Vec::new(),
            options: words(&["-m", "--message", "-f", "--message-file", "--gui", "--version"]),
            valued: words(&["--model"]),
        },
        waits: Waits::Any,
        ..event_loop("aider", "Aider")
    }
}

fn copilot() -> Profile {
    Profile {
        packages: words(&["copilot"]),
        not_sessions: NotSessions {
            subcommands: Vec::new(),
            options: words(&["-p", "--prompt", "--acp", "--version"]),
            valued: words(&["--model"]),
        },
        ..event_loop("copilot", "Copilot CLI")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Profiles {
        let mut names: Vec<String> = BUILTIN.iter().map(|build| build().name).collect();
        names.push("my-agent-with-a-long-name".to_owned());
        Profiles::builtin(&names)
    }

    fn command(comm: &str, exe: &str, line: &str) -> Command {
        let argv = line.split_whitespace().map(String::from).collect();
        Command { comm: comm.to_owned(), exe: exe.to_owned(), argv }
    }

    #[test]
    fn identifies_the_whole_table() {
        let table = [
            ("claude", "claude.exe", "claude", Some("claude")),
            ("claude", "claude.exe", "claude --resume abc", Some("claude")),
            ("claude", "claude", "/home/u/.local/bin/claude explain -- -p", Some("claude")),
            ("claude", "claude (deleted)", "claude", Some("claude")),
            ("claude", "node", "claude", Some("claude")),
            ("node", "node", "node --no-warnings /opt/bin/claude", Some("claude")),
            ("node", "node", "node /opt/lib/@anthropic-ai/claude-code/cli.js", Some("claude")),
            ("claude", "bun", "bun run /opt/bin/claude.js", Some("claude")),
            (".claude-wrapped", ".claude-wrapped", "claude", Some("claude")),
            (".claude-wrapped", "bun", "claude -p hello", None),
            ("claude", "claude.exe", "claude -p hello", None),
            ("claude", "claude.exe", "claude --print", None),
            ("claude", "claude.exe", "claude --bg-spare", None),
            ("claude", "claude.exe", "claude mcp serve", None),
            ("claude", "claude.exe", "claude --model mcp", Some("claude")),
            ("codex", "codex", "codex", Some("codex")),
            ("codex", "codex", "codex resume --last", Some("codex")),
            ("codex", "codex", "codex -p exec fix the tests", Some("codex")),
            ("codex", "codex", "codex fix exec", Some("codex")),
            ("codex", "codex", "codex -c model=o3 exec fix", None),
            ("codex", "codex", "codex --config=model=o3 exec fix", None),
            ("codex", "codex", "codex exec fix", None),
            ("codex", "codex", "codex app-server --listen unix:x", None),
            ("codex", "codex", "codex app-server pid-update-loop", None),
            ("codex", "codex", "codex mcp-server", None),
            ("node", "node", "node /usr/bin/codex", Some("codex")),
            ("node", "node", "node /x/@openai/codex/bin/codex.js --yolo", Some("codex")),
            (".codex-wrapped", ".codex-wrapped", "codex", Some("codex")),
            (".codex-wrapped", "", "", Some("codex")),
            ("", "claude (deleted)", "", Some("claude")),
            ("codex-linux-san", "codex", "codex-linux-sandbox -- ls", Some("codex")),
            ("node", "node", "node --max-old-space-size=4096 /usr/bin/gemini", Some("gemini")),
            ("node", "node", "node /x/@google/gemini-cli/dist/index.js", Some("gemini")),
            ("node", "node", "node /x/@google/gemini-cli/dist/index.js -p hi", None),
            ("node", "node", "node --require ./claude.js server.js", None),
            ("node", "node", "node -e claude", None),
            ("node", "node", "node", None),
            (".opencode-wrapp", ".opencode-wrapped", "opencode", Some("opencode")),
            (".opencode-wrapp", "", "", Some("opencode")),
            ("aider", "python3.12", "python3.12 /usr/bin/aider", Some("aider")),
            ("python3", "python3", "python3 -m aider --no-git", Some("aider")),
            ("python3", "python3.12", "python3 -c import-claude", None),
            ("MainThread", "node", "node /usr/bin/copilot", Some("copilot")),
            ("my-agent-with-a", "", "", Some("my-agent-with-a-long-name")),
            ("vim", "vim", "vim claude", None),
            ("claude-helper", "claude-helper", "claude-helper", None),
            ("", "", "", None),
        ];
        let profiles = all();
        for (comm, exe, line, expected) in table {
            let found = profiles.identify(&command(comm, exe, line));
            assert_eq!(found.map(|found| found.name.as_str()), expected, "{comm} {exe}: {line}");
        }
    }

    #[test]
    fn watches_only_what_was_asked_for() {
        let profiles = Profiles::builtin(&words(&["codex", "codex", "repl", ""]));
        let names: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
        assert_eq!(names, ["codex", "repl"]);
        assert!(profiles.identify(&command("claude", "claude", "claude")).is_none());
        assert_eq!(profiles.get("repl").unwrap().waits, Waits::Any);
        assert!(profiles.get("claude").is_none());
    }

    #[test]
    fn names_all_that_may_be_executed() {
        let profiles = Profiles::builtin(&words(&["claude"]));
        let names: Vec<&str> = profiles.names().collect();
        for name in ["claude", "claude.exe", ".claude-wrapped", "node", "bun", "python3"] {
            assert!(names.contains(&name), "{name}");
        }
    }

    #[test]
    fn no_program_belongs_to_two_profiles() {
        let mut programs: Vec<String> = BUILTIN.iter().flat_map(|build| build().programs).collect();
        let count = programs.len();
        programs.sort_unstable();
        programs.dedup();
        assert_eq!(programs.len(), count);
    }

    #[test]
    fn reads_titles_by_the_table() {
        let table = [
            ("claude", "⠂ fix the bug", Some(Says::Working)),
            ("claude", "◑ fix the bug", Some(Says::Working)),
            ("claude", "✳ fix the bug", Some(RESTS)),
            ("claude", "user@host: ~", None),
            ("claude", " ✳ fix the bug", Some(RESTS)),
            ("claude", "", None),
            ("codex", "⠋ proj", Some(Says::Working)),
            ("codex", "[ ! ] Action Required | proj", Some(ASKS)),
            ("codex", "[ . ] Action Required | proj", Some(ASKS)),
            ("codex", "proj", Some(RESTS)),
            ("codex", "", None),
            ("gemini", "✦  Working… (proj)", Some(Says::Working)),
            ("gemini", "◇  Ready (proj)", Some(RESTS)),
            ("gemini", "✋  Action Required (proj)", Some(ASKS)),
            ("qwen", "⠋ x", None),
            ("my-agent-with-a-long-name", "◴ x", Some(Says::Working)),
        ];
        let profiles = all();
        for (agent, title, expected) in table {
            let profile = profiles.get(agent).unwrap();
            assert_eq!(profile.titles.read(title), expected, "{agent}: {title:?}");
        }
    }
}
