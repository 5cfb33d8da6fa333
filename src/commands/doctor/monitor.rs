//! The daemon itself: does it run, does it do well, is it this program.

use super::{Finding, Patient, rights};
use crate::client::{Client, NotRunning};
use crate::protocol::{BoardLine, StatusLine};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The board too, if there is one.
pub(super) fn look(patient: &Patient) -> (Finding, Option<BoardLine>) {
    match Client::status(&patient.sockets) {
        Ok((status, board)) => (runs(&status), Some(board)),
        Err(error) if error.is::<NotRunning>() => {
            let has_unit = rights::find_unit().is_some();
            (does_not_run(&patient.user.name, has_unit), None)
        }
        Err(error) => (is_silent(&format!("{error:#}")), None),
    }
}

const CHECK: &str = "daemon";

fn runs(status: &StatusLine) -> Finding {
    let StatusLine { program, pid, troubles, .. } = status;
    if !troubles.is_empty() {
        let troubles: Vec<String> =
            troubles.iter().map(|it| format!("{}: {}", it.part, it.problem)).collect();
        let hint = "ebpf-ai-monitor status says since when; it is well again by itself";
        return Finding::warning(CHECK, format!("degraded: {}", troubles.join("; ")), hint);
    }
    if program != VERSION {
        let message = format!("it is version {program}, this program {VERSION}");
        return Finding::warning(CHECK, message, "restart the daemon");
    }
    Finding::ok(CHECK, format!("healthy, version {program}, pid {pid}"))
}

fn does_not_run(user: &str, has_unit: bool) -> Finding {
    let hint = match has_unit {
        true => format!("sudo systemctl enable --now ebpf-ai-monitor@{user}"),
        false => format!("sudo ebpf-ai-monitor --user {user}"),
    };
    Finding::warning(CHECK, "does not run", hint)
}

fn is_silent(problem: &str) -> Finding {
    Finding::failure(CHECK, format!("does not answer: {problem}"), "restart the daemon")
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;
    use crate::protocol::{Counts, Health, TroubleLine};

    fn status(program: &str, troubles: &[(&str, &str)]) -> StatusLine {
        let trouble = |(part, problem): &(&str, &str)| TroubleLine {
            part: (*part).to_owned(),
            problem: (*problem).to_owned(),
            since_ns: 0,
        };
        StatusLine {
            program: program.to_owned(),
            pid: 7,
            user: "alice".to_owned(),
            health: if troubles.is_empty() { Health::Healthy } else { Health::Degraded },
            since_ns: 0,
            started_at_ns: 0,
            probe: "tty".to_owned(),
            limits: Vec::new(),
            troubles: troubles.iter().map(trouble).collect(),
            sessions: Counts::default(),
            lost_events: 0,
        }
    }

    #[test]
    fn a_daemon_should_be_well_and_this_program() {
        assert_eq!(runs(&status(VERSION, &[])).state, State::Ok);
        let old = runs(&status("0.0.9", &[]));
        assert!(old.state == State::Warning && old.message.contains("0.0.9"), "{old:?}");
        let ill = runs(&status(VERSION, &[("badges", "full"), ("sway", "mute")]));
        assert_eq!(
            (ill.state, ill.message.as_str()),
            (State::Warning, "degraded: badges: full; sway: mute")
        );
        let gone = does_not_run("alice", true);
        assert!(gone.state == State::Warning && gone.hint.unwrap().contains("monitor@alice"));
        assert_eq!(is_silent("late").state, State::Failure);
    }
}
