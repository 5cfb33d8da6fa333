//! The agents that run: as the daemon sees them, and as /proc does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ebpf_ai_monitor_agents::Agents;

use super::super::args::AGENTS_DIR;
use super::{Finding, Patient};
use crate::config::{ConfigFiles, Flags, SYSTEM};
use crate::proc;
use crate::protocol::{BoardLine, living};

/// `board`: of the daemon, if it runs.
pub(super) fn look(patient: &Patient, board: Option<&BoardLine>) -> Finding {
    let seen = board.map(|board| {
        let name = |row: &crate::protocol::RowLine| (row.tty.clone(), row.agent.clone());
        living(&board.rows).map(name).collect()
    });
    decide(seen.as_ref(), &running(patient))
}

/// Terminals, and the agent on each.
type ByTerminal = BTreeMap<String, String>;

/// `seen`: by the daemon, if it runs; `running`: by /proc.
fn decide(seen: Option<&ByTerminal>, running: &ByTerminal) -> Finding {
    const CHECK: &str = "agents";
    let list = |agents: &mut dyn Iterator<Item = (&String, &String)>| {
        agents.map(|(tty, agent)| format!("{agent} on {tty}")).collect::<Vec<_>>().join(", ")
    };
    match seen {
        None if running.is_empty() => Finding::ok(CHECK, "none runs in a terminal"),
        None => Finding::ok(CHECK, list(&mut running.iter())),
        Some(seen) => {
            let unseen = list(&mut running.iter().filter(|(tty, _)| !seen.contains_key(*tty)));
            if !unseen.is_empty() {
                return Finding::warning(
                    CHECK,
                    format!("the daemon does not see {unseen}"),
                    "is it among its --processes? Else restart the daemon, and tell of it",
                );
            }
            match seen.is_empty() {
                true => Finding::ok(CHECK, "none runs in a terminal"),
                false => Finding::ok(CHECK, format!("seen: {}", list(&mut seen.iter()))),
            }
        }
    }
}

/// Those of the configuration that run on terminals of the person.
fn running(patient: &Patient) -> ByTerminal {
    let files = ConfigFiles(vec![PathBuf::from(SYSTEM), patient.config()]);
    let wanted = files.read().unwrap_or_default().with(&Flags::default());
    let (agents, _) = Agents::with_directory(&patient.config_dir.join(AGENTS_DIR));
    let profiles = agents.profiles(&wanted.processes);
    let agent = |pid| {
        let stat = proc::stat(pid)?;
        let tty = format!("pts/{}", stat.pts()?);
        let profile = profiles.identify(&proc::command(pid, stat.comm))?;
        Some((tty, profile.name.clone()))
    };
    proc::of_user(patient.uid()).filter_map(agent).collect()
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn an_agent_that_the_daemon_does_not_see_is_named() {
        let map = |pairs: &[(&str, &str)]| -> ByTerminal {
            pairs.iter().map(|(tty, agent)| ((*tty).into(), (*agent).into())).collect()
        };
        let (none, one) = (map(&[]), map(&[("pts/1", "claude")]));
        let two = map(&[("pts/1", "claude"), ("pts/2", "codex")]);
        let table = [
            (None, &none, State::Ok, "none runs in a terminal"),
            (None, &two, State::Ok, "claude on pts/1, codex on pts/2"),
            (Some(&none), &none, State::Ok, "none runs in a terminal"),
            (Some(&one), &one, State::Ok, "seen: claude on pts/1"),
            // One by a flag of the daemon's, of which the files say nothing.
            (Some(&two), &one, State::Ok, "seen: claude on pts/1, codex on pts/2"),
            (Some(&one), &two, State::Warning, "the daemon does not see codex on pts/2"),
        ];
        for (seen, running, state, message) in table {
            let finding = decide(seen, running);
            assert_eq!((finding.state, finding.message.as_str()), (state, message));
        }
    }
}
