//! The agents under test as data: how each is set up for the scripted model, and how a person
//! reads its screen.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::user::TestUser;

/// One real agent. In texts `{url}` stands for the model server and `{project}` for the project
/// folder.
#[derive(Debug)]
pub struct AgentKind {
    /// What the report calls this set-up.
    pub title: &'static str,
    /// As the monitor calls it.
    pub name: &'static str,
    /// Below the folder the agents are installed in.
    pub program: &'static str,
    pub environment: &'static [&'static [(&'static str, &'static str)]],
    /// What the terminal says of itself, against what tmux says.
    pub terminal: &'static [(&'static str, &'static str)],
    /// Paths below the home, with the parts of their texts: no login, no telemetry.
    pub files: &'static [(&'static str, &'static [&'static str])],
    /// Texts on the screen, asked in this order; none of them means starting up.
    pub looks: &'static [(Look, &'static [&'static str])],
    /// Keys that grant a permission.
    pub approval: &'static [&'static str],
    /// Keys that say yes to the dialog at the start.
    pub trust: &'static [&'static str],
    /// Keys that end the agent.
    pub farewell: &'static [&'static str],
}

/// What a person concludes from the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Starting,
    Working,
    /// Asks for a permission, or anything else.
    Asking,
    /// At rest: the person's turn.
    Resting,
    Gone,
}

impl AgentKind {
    pub fn look(&self, screen: &str) -> Look {
        let shown = |texts: &[&str]| texts.iter().any(|text| screen.contains(text));
        self.looks.iter().find(|(_, texts)| shown(texts)).map_or(Look::Starting, |(look, _)| *look)
    }

    /// Writes the configuration and gives the command that starts the agent in its project.
    pub fn prepare(
        &self,
        user: &TestUser,
        agents: &Path,
        url: &str,
    ) -> Result<std::process::Command> {
        let project = user.make_folder("proj")?;
        let project = project.to_str().context("the home is not text")?;
        let fill = |text: &str| text.replace("{url}", url).replace("{project}", project);
        user.write("proj/README.md", "a project\n")?;
        for (path, parts) in self.files {
            user.write(path, &fill(&parts.concat()))?;
        }
        let program = agents.join(self.program);
        let can_run = user.command("test").arg("-x").arg(&program).status()?.success();
        ensure!(can_run, "{} cannot be run by {}", program.display(), user.name());
        let mut command = user.command("env");
        if !self.terminal.is_empty() {
            command.args(["-u", "TMUX", "-u", "TMUX_PANE"]);
        }
        command.args(self.terminal.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(program).current_dir(project);
        for (name, value) in self.environment.iter().copied().flatten() {
            command.env(name, fill(value));
        }
        Ok(command)
    }
}

const CLAUDE_ENVIRONMENT: &[(&str, &str)] = &[
    ("ANTHROPIC_BASE_URL", "{url}"),
    ("CLAUDE_CODE_TMPDIR", "{project}/../tmp"),
    ("ANTHROPIC_API_KEY", "sk-ant-fake-0123456789abcdefghijklmnop"),
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("DISABLE_AUTOUPDATER", "1"),
    ("DISABLE_ERROR_REPORTING", "1"),
    ("DISABLE_TELEMETRY", "1"),
];
const CLAUDE_WITHOUT_TITLE: &[(&str, &str)] = &[("CLAUDE_CODE_DISABLE_TERMINAL_TITLE", "1")];
const CLAUDE_STATE: &str = r#"{
    "hasCompletedOnboarding": true, "lastOnboardingVersion": "99.0.0",
    "numStartups": 50, "theme": "dark", "autoUpdates": false,
    "hasSeenAutoDefaultNudge": true,
    "customApiKeyResponses": { "approved": ["6789abcdefghijklmnop"], "rejected": [] }"#;
const CLAUDE_TRUST: &str = r#", "projects": { "{project}": {
    "hasTrustDialogAccepted": true, "hasCompletedProjectOnboarding": true
} }"#;
const CLAUDE_PERMISSIONS: &str = r#"{ "permissions": {
    "defaultMode": "default", "allow": ["Bash(sleep:*)", "Bash(for:*)", "Bash(seq:*)"]
}"#;
const CLAUDE_HOOK: &str = r#", "hooks": { "PermissionRequest": [{ "matcher": "Bash", "hooks": [{
    "type": "command", "command": "cat yes.json"
}] }] }"#;
const CLAUDE_YES: &str = r#"{ "hookSpecificOutput": {
    "hookEventName": "PermissionRequest", "decision": { "behavior": "allow" }
} }"#;
const CLAUDE_STATE_FILE: (&str, &[&str]) = (".claude.json", &[CLAUDE_STATE, CLAUDE_TRUST, "}"]);
const CLAUDE_SETTINGS: &str = ".claude/settings.json";

pub const CLAUDE: AgentKind = AgentKind {
    title: "claude",
    name: "claude",
    program: "node_modules/.bin/claude",
    environment: &[CLAUDE_ENVIRONMENT],
    terminal: &[],
    files: &[CLAUDE_STATE_FILE, (CLAUDE_SETTINGS, &[CLAUDE_PERMISSIONS, "}"])],
    looks: &[
        (Look::Gone, &["Resume this session with"]),
        (Look::Asking, &["Do you want to", "Enter to select", "Enter to confirm"]),
        // The second is in the list of subagents: it goes on by itself when that one comes back.
        (Look::Working, &["esc to interrupt", "◯ general-purpose"]),
        (Look::Resting, &["❯"]),
    ],
    approval: &["1"],
    trust: &["Down", "Enter"],
    farewell: &["C-c", "C-c"],
};

/// Nothing on its screen moves while it works, and its title never changes.
pub const CLAUDE_SILENT: AgentKind = AgentKind {
    title: "claude silent",
    environment: &[CLAUDE_ENVIRONMENT, CLAUDE_WITHOUT_TITLE],
    files: &[
        CLAUDE_STATE_FILE,
        (CLAUDE_SETTINGS, &[CLAUDE_PERMISSIONS, r#", "prefersReducedMotion": true }"#]),
    ],
    ..CLAUDE
};

/// In a folder that it has not seen before.
pub const CLAUDE_NEW: AgentKind = AgentKind {
    title: "claude new",
    files: &[(".claude.json", &[CLAUDE_STATE, "}"]), CLAUDE.files[1]],
    ..CLAUDE
};

/// A program of the person's grants what it asks.
pub const CLAUDE_HOOKED: AgentKind = AgentKind {
    title: "claude hooked",
    files: &[
        CLAUDE_STATE_FILE,
        (CLAUDE_SETTINGS, &[CLAUDE_PERMISSIONS, CLAUDE_HOOK, "}"]),
        ("proj/yes.json", &[CLAUDE_YES]),
    ],
    ..CLAUDE
};

/// In a terminal that shows progress bars; the title never changes, and subagents are waited for.
pub const CLAUDE_GHOSTTY: AgentKind = AgentKind {
    title: "claude ghostty",
    environment: &[
        CLAUDE_ENVIRONMENT,
        CLAUDE_WITHOUT_TITLE,
        &[("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "1")],
    ],
    terminal: &[
        ("TERM", "xterm-ghostty"),
        ("TERM_PROGRAM", "ghostty"),
        ("TERM_PROGRAM_VERSION", "1.2.3"),
    ],
    ..CLAUDE
};

/// Without them it asks at the start.
const CODEX_RULES: &str = r#"
    approval_policy = "on-request"
    sandbox_mode = "workspace-write"
"#;
const CODEX_CONFIG: &str = r#"
    model = "gpt-5"
    model_provider = "scripted"
    check_for_update_on_startup = false

    [model_providers.scripted]
    name = "scripted"
    base_url = "{url}/v1"
    env_key = "FAKE_KEY"
    wire_api = "responses"

    [analytics]
    enabled = false
"#;
const CODEX_TRUST: &str = r#"
    [projects."{project}"]
    trust_level = "trusted"
"#;

/// No spinner but the title's while words arrive.
const CODEX_SPINNERS: &[&str] = &[
    "esc to interrupt",
    "title: ⠋",
    "title: ⠙",
    "title: ⠹",
    "title: ⠸",
    "title: ⠼",
    "title: ⠴",
    "title: ⠦",
    "title: ⠧",
    "title: ⠇",
    "title: ⠏",
];

pub const CODEX: AgentKind = AgentKind {
    title: "codex",
    name: "codex",
    program: "node_modules/.bin/codex",
    environment: &[&[("FAKE_KEY", "sk-fake-000")]],
    terminal: &[],
    files: &[(".codex/config.toml", &[CODEX_RULES, CODEX_CONFIG, CODEX_TRUST])],
    looks: &[
        (Look::Gone, &["codex resume "]),
        (Look::Asking, &["Would you like to run", "Trust this folder?"]),
        (Look::Working, CODEX_SPINNERS),
        (Look::Resting, &["gpt-5 default"]),
    ],
    approval: &["y"],
    trust: &["Enter"],
    farewell: &["C-c", "C-c"],
};

/// In a folder that it has not seen before.
pub const CODEX_NEW: AgentKind = AgentKind {
    title: "codex new",
    files: &[
        (".codex/config.toml", &[CODEX_CONFIG]),
        // It asks in repositories only.
        ("proj/.git/HEAD", &["ref: refs/heads/main\n"]),
        ("proj/.git/objects/none", &[]),
        ("proj/.git/refs/none", &[]),
    ],
    ..CODEX
};

/// Nothing on its screen moves while it works, and nothing tells words that arrive from words that
/// are all: there the model tells.
pub const CODEX_STILL: AgentKind = AgentKind {
    title: "codex still",
    files: &[(
        ".codex/config.toml",
        &[CODEX_RULES, CODEX_CONFIG, CODEX_TRUST, "[tui]\nanimations = false\n"],
    )],
    looks: &[
        CODEX.looks[0],
        CODEX.looks[1],
        (Look::Working, &["esc to interrupt", "model: busy"]),
        CODEX.looks[3],
    ],
    ..CODEX
};
