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
    pub environment: &'static [(&'static str, &'static str)],
    /// Paths below the home, with texts: no login, no first-run dialogs, no telemetry.
    pub files: &'static [(&'static str, &'static str)],
    /// Texts on the screen, asked in this order; none of them means starting up.
    pub looks: &'static [(Look, &'static [&'static str])],
    /// Keys that grant a permission.
    pub approval: &'static [&'static str],
    /// Keys that end the agent.
    pub farewell: &'static [&'static str],
}

/// What a person concludes from the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Starting,
    Working,
    /// Asks for a permission.
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
        for (path, text) in self.files {
            user.write(path, &fill(text))?;
        }
        let program = agents.join(self.program);
        let can_run = user.command("test").arg("-x").arg(&program).status()?.success();
        ensure!(can_run, "{} cannot be run by {}", program.display(), user.name());
        let mut command = user.command(program);
        command.current_dir(project);
        for (name, value) in self.environment {
            command.env(name, fill(value));
        }
        Ok(command)
    }
}

pub const CLAUDE: AgentKind = AgentKind {
    title: "claude",
    name: "claude",
    program: "node_modules/.bin/claude",
    environment: &[
        ("ANTHROPIC_BASE_URL", "{url}"),
        ("CLAUDE_CODE_TMPDIR", "{project}/../tmp"),
        ("ANTHROPIC_API_KEY", "sk-ant-fake-0123456789abcdefghijklmnop"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
        ("DISABLE_ERROR_REPORTING", "1"),
        ("DISABLE_TELEMETRY", "1"),
    ],
    files: &[
        (
            ".claude.json",
            r#"{
                "hasCompletedOnboarding": true, "lastOnboardingVersion": "99.0.0",
                "numStartups": 50, "theme": "dark", "autoUpdates": false,
                "hasSeenAutoDefaultNudge": true,
                "customApiKeyResponses": { "approved": ["6789abcdefghijklmnop"], "rejected": [] },
                "projects": { "{project}": {
                    "hasTrustDialogAccepted": true, "hasCompletedProjectOnboarding": true
                } }
            }"#,
        ),
        (
            ".claude/settings.json",
            r#"{ "permissions": {
                "defaultMode": "default", "allow": ["Bash(sleep:*)", "Bash(for:*)"]
            } }"#,
        ),
    ],
    looks: &[
        (Look::Gone, &["Resume this session with"]),
        (Look::Asking, &["Do you want to"]),
        (Look::Working, &["esc to interrupt"]),
        (Look::Resting, &["❯"]),
    ],
    approval: &["1"],
    farewell: &["C-c", "C-c"],
};

pub const CODEX: AgentKind = AgentKind {
    title: "codex",
    name: "codex",
    program: "node_modules/.bin/codex",
    environment: &[("FAKE_KEY", "sk-fake-000")],
    files: &[(
        ".codex/config.toml",
        r#"
            model = "gpt-5"
            model_provider = "scripted"
            approval_policy = "on-request"
            sandbox_mode = "workspace-write"
            check_for_update_on_startup = false

            [model_providers.scripted]
            name = "scripted"
            base_url = "{url}/v1"
            env_key = "FAKE_KEY"
            wire_api = "responses"

            [analytics]
            enabled = false

            [projects."{project}"]
            trust_level = "trusted"
        "#,
    )],
    looks: &[
        (Look::Gone, &["codex resume "]),
        (Look::Asking, &["Would you like to run"]),
        // No spinner but the title's while words arrive.
        (
            Look::Working,
            &[
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
            ],
        ),
        (Look::Resting, &["gpt-5 default"]),
    ],
    approval: &["y"],
    farewell: &["C-c", "C-c"],
};

/// Nothing on its screen moves while it works, and its title never changes.
pub const CLAUDE_SILENT: AgentKind = AgentKind {
    title: "claude silent",
    environment: &[
        ("ANTHROPIC_BASE_URL", "{url}"),
        ("CLAUDE_CODE_TMPDIR", "{project}/../tmp"),
        ("ANTHROPIC_API_KEY", "sk-ant-fake-0123456789abcdefghijklmnop"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("CLAUDE_CODE_DISABLE_TERMINAL_TITLE", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
        ("DISABLE_ERROR_REPORTING", "1"),
        ("DISABLE_TELEMETRY", "1"),
    ],
    files: &[
        CLAUDE.files[0],
        (
            ".claude/settings.json",
            r#"{ "prefersReducedMotion": true, "permissions": {
                "defaultMode": "default", "allow": ["Bash(sleep:*)", "Bash(for:*)"]
            } }"#,
        ),
    ],
    ..CLAUDE
};
