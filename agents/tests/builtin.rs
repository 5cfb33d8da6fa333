//! What the built-in profiles tell of real command lines and titles.

use ebpf_ai_monitor_agents::{Agents, Origin};
use ebpf_ai_monitor_core::{Command, DensityRule, Profiles, Reason, Says, Silence, Waits};

const RESTS: Says = Says::Waiting(Reason::Unknown);
const ASKS: Says = Says::Waiting(Reason::Permission);

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn all() -> Profiles {
    let agents = Agents::builtin();
    let mut names: Vec<String> = agents.names().map(String::from).collect();
    names.push("my-agent-with-a-long-name".to_owned());
    agents.profiles(&names)
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
    let profiles = Agents::builtin().profiles(&words(&["codex", "codex", "repl", ""]));
    let names: Vec<&str> = profiles.iter().map(|profile| profile.name.as_str()).collect();
    assert_eq!(names, ["codex", "repl"]);
    assert!(profiles.identify(&command("claude", "claude", "claude")).is_none());
    assert!(profiles.get("claude").is_none());
}

#[test]
fn a_name_without_a_file_is_a_program_of_which_nothing_is_known() {
    let profiles = Agents::builtin().profiles(&words(&["repl"]));
    let profile = profiles.get("repl").unwrap();
    assert_eq!(profile.display_name, "repl");
    assert_eq!(profile.badge_source, "generic");
    assert_eq!(profile.programs, ["repl"]);
    assert_eq!((profile.waits, profile.silence), (Waits::Any, Silence::SaysNothing));
    assert_eq!(profile.density, DensityRule::default());
    assert_eq!(profile.titles.lapses_after.unwrap().as_millis(), 5000);
    assert_eq!(profile.progress_lapses_after, None);
}

#[test]
fn knows_seven_agents_and_what_badges_call_them() {
    let agents = Agents::builtin();
    let told: Vec<_> = agents
        .iter()
        .map(|agent| {
            assert_eq!(agent.origin, Origin::BuiltIn);
            (agent.profile.name.as_str(), agent.profile.badge_source.as_str())
        })
        .collect();
    assert_eq!(
        told,
        [
            ("claude", "claude-code"),
            ("codex", "codex"),
            ("gemini", "generic"),
            ("qwen", "generic"),
            ("opencode", "generic"),
            ("aider", "generic"),
            ("copilot", "generic"),
        ]
    );
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
        ("my-agent-with-a-long-name", "x", Some(RESTS)),
    ];
    let profiles = all();
    for (agent, title, expected) in table {
        let profile = profiles.get(agent).unwrap();
        assert_eq!(profile.titles.read(title), expected, "{agent}: {title:?}");
    }
}
