//! Agents beside those that `install.sh` installs: older ones and those of others. Below the folder
//! of the agents, `npm install --prefix old @anthropic-ai/claude-code@2.0.14 @openai/codex@0.98.0`
//! and `npm install --prefix more opencode-ai @google/gemini-cli @qwen-code/qwen-code
//! @github/copilot` make them.

use crate::{
    scenes::{DAY_AFTER_UPGRADE, GLANCE, SHORT_DAY, Scene, TURNS, VISIT},
    support::agent::{AgentKind, CLAUDE, CODEX, Look},
};

pub(crate) const OTHERS: &[(&AgentKind, &[Scene])] = &[
    (&CLAUDE_2_0, SHORT_DAY),
    (&CODEX_0_98, DAY_AFTER_UPGRADE),
    (&OPENCODE, TURNS),
    (&GEMINI, VISIT),
    (&QWEN, VISIT),
    (&COPILOT, GLANCE),
];

/// Says tmux.
const GONE: (Look, &[&str]) = (Look::Gone, &["Pane is dead"]);

const CLAUDE_2_0: AgentKind = AgentKind {
    title: "claude 2.0.14",
    program: "old/node_modules/.bin/claude",
    looks: &[GONE, CLAUDE.looks[1], CLAUDE.looks[2], (Look::Resting, &["\n>"])],
    ..CLAUDE
};

const CODEX_0_98: AgentKind = AgentKind {
    title: "codex 0.98.0",
    program: "old/node_modules/.bin/codex",
    looks: &[
        GONE,
        (Look::Asking, &["Would you like to run", "Choose how you'd like"]),
        (Look::Working, &["esc to interrupt", "model: busy"]),
        (Look::Resting, &["\n›"]),
    ],
    // To go on with the model that it has.
    trust: &["Down", "Enter"],
    ..CODEX
};

const OPENCODE: AgentKind = AgentKind {
    title: "opencode",
    name: "opencode",
    program: "more/node_modules/opencode-linux-x64/bin/opencode",
    environment: &[&[("OPENCODE_DISABLE_AUTOUPDATE", "1")]],
    terminal: &[],
    files: &[(
        ".config/opencode/opencode.json",
        &[r#"{ "autoupdate": false, "share": "disabled", "model": "anthropic/scripted",
            "provider": { "anthropic": {
                "npm": "@ai-sdk/anthropic",
                "options": { "baseURL": "{url}/v1", "apiKey": "fake" },
                "models": { "scripted": { "name": "scripted" } }
            } } }"#],
    )],
    looks: &[
        GONE,
        (Look::Working, &["model: busy"]),
        (Look::Resting, &["Ask anything", "scripted"]),
    ],
    approval: &["Enter"],
    trust: &[],
    farewell: &["C-c", "C-c"],
};

const GEMINI: AgentKind = AgentKind {
    title: "gemini",
    name: "gemini",
    program: "more/node_modules/.bin/gemini",
    environment: &[&[("GEMINI_API_KEY", "fake"), ("GOOGLE_GEMINI_BASE_URL", "{url}")]],
    terminal: &[],
    files: &[(
        ".gemini/settings.json",
        &[r#"{ "security": { "auth": { "selectedType": "gemini-api-key" } },
            "general": { "disableAutoUpdate": true, "disableUpdateNag": true },
            "privacy": { "usageStatisticsEnabled": false } }"#],
    )],
    looks: &[GONE, (Look::Resting, &["Type your message", "Do you trust"])],
    approval: &[],
    trust: &[],
    farewell: &["C-c", "C-c"],
};

const QWEN: AgentKind = AgentKind {
    title: "qwen",
    name: "qwen",
    program: "more/node_modules/.bin/qwen",
    environment: &[&[
        ("OPENAI_API_KEY", "fake"),
        ("OPENAI_BASE_URL", "{url}/v1"),
        ("OPENAI_MODEL", "scripted"),
    ]],
    files: &[(
        ".qwen/settings.json",
        &[r#"{ "security": { "auth": { "selectedType": "openai" } },
            "general": { "disableAutoUpdate": true },
            "privacy": { "usageStatisticsEnabled": false } }"#],
    )],
    looks: &[GONE, (Look::Resting, &["? for shortcuts", "Type your message"])],
    ..GEMINI
};

const COPILOT: AgentKind = AgentKind {
    title: "copilot",
    name: "copilot",
    program: "more/node_modules/.bin/copilot",
    environment: &[],
    files: &[],
    looks: &[GONE, (Look::Resting, &["/login", "Do you trust", "Enter @"])],
    ..GEMINI
};
