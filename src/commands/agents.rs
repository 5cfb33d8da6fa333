//! `agents`: the agents that are known, and where from.

use std::io::{Write as _, stdout};

use clap::Args;
use ebpf_ai_monitor_agents::{Agent, Agents, Origin};
use serde::Serialize;

use super::args::{FormatArg, OwnProfilesArg};
use super::{Format, Refusal, show};

const HEADINGS: [&str; 4] = ["NAME", "DISPLAY NAME", "PROGRAMS", "FROM"];

/// What `--json` prints of each.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct AgentLine<'a> {
    name: &'a str,
    display_name: &'a str,
    programs: &'a [String],
    built_in: bool,
    /// The person's own file, which tells of it or changes it.
    file: Option<String>,
}

/// Of what `--json` prints, for docs/schema.
#[cfg(test)]
pub(super) fn schema() -> schemars::Schema {
    schemars::schema_for!(AgentLine<'_>)
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AgentsArgs {
    #[command(flatten)]
    format: FormatArg,

    #[command(flatten)]
    own: OwnProfilesArg,
}

const EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor agents
  ebpf-ai-monitor agents --agents-dir ./agents    check profiles that you write";

impl AgentsArgs {
    /// Lists what is right, and then says what is wrong.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let (agents, errors) = self.own.read();
        print(&agents, self.format.format())?;
        Ok(Refusal::of(errors)?)
    }
}

fn print(agents: &Agents, format: Format) -> anyhow::Result<()> {
    let lines: Vec<AgentLine<'_>> = agents.iter().map(AgentLine::new).collect();
    let text = match format {
        Format::Json => serde_json::to_string_pretty(&lines)? + "\n",
        Format::Text => table(&lines),
    };
    stdout().write_all(text.as_bytes())?;
    Ok(())
}

impl<'a> AgentLine<'a> {
    fn new(Agent { profile, origin }: &'a Agent) -> Self {
        Self {
            name: &profile.name,
            display_name: &profile.display_name,
            programs: &profile.programs,
            built_in: !matches!(origin, Origin::File(_)),
            file: origin.path().map(|path| path.to_string_lossy().into_owned()),
        }
    }

    fn origin(&self) -> String {
        let file = self.file.as_deref().map(show::harmless);
        match (self.built_in, file) {
            (true, Some(file)) => format!("built-in, changed by {file}"),
            (_, None) => "built-in".to_owned(),
            (false, Some(file)) => file,
        }
    }
}

fn table(agents: &[AgentLine<'_>]) -> String {
    let mut lines = vec![HEADINGS.map(String::from)];
    lines.extend(agents.iter().map(|agent| {
        let (name, display_name) = (agent.name.to_owned(), agent.display_name.to_owned());
        [name, display_name, agent.programs.join(" "), agent.origin()]
    }));
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let [first, second, third] = [0, 1, 2].map(width);
    let row = |[name, display_name, programs, origin]: &[String; 4]| {
        format!("{name:first$}  {display_name:second$}  {programs:third$}  {origin}\n")
    };
    lines.iter().map(row).collect()
}
