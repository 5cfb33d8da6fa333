//! The desktop: where a call for the person can be heard and seen.

use ebpf_ai_monitor_core::Pid;

use super::person::Directory;
use super::{Finding, Patient, within};
use crate::sinks::badges;
use crate::sinks::notify::{self, Server};
use crate::sources::{hops, sway};
use crate::{proc, tmux};

const NO_ANSWER: &str = "it does not answer";

pub(super) fn look(patient: &Patient) -> Vec<Finding> {
    let (dir, uid) = (patient.desktop(), patient.uid());
    let mut findings = Vec::new();
    let runtime_dir = dir.clone();
    let asked = dir.join("bus").exists().then(|| {
        let answer = within(super::PATIENCE, move || notify::find_server(&runtime_dir));
        answer.map(|it| it.map_err(|error| format!("{error:#}")))
    });
    findings.extend(bus(asked));
    let runtime_dir = dir.clone();
    let version = within(super::PATIENCE, move || sway::version(&runtime_dir, uid));
    findings.push(self::sway(version.map(|it| it.map_err(|error| format!("{error:#}")))));
    findings.push(self::tmux(&tmux_servers(uid)));
    let badges = dir.join(badges::FOLDER);
    let about = badges.symlink_metadata().ok();
    findings.push(self::badges(&badges, about.as_ref().map(Directory::from), uid, dir.is_dir()));
    findings
}

/// What the bus says of the notification daemon; `None` of an answer: none came.
type Asked = Option<Result<Option<Server>, String>>;

/// `None`: there is no bus.
fn bus(asked: Option<Asked>) -> Vec<Finding> {
    const BUS: &str = "session bus";
    const DAEMON: &str = "notifications";
    let Some(asked) = asked else {
        return vec![Finding::warning(
            BUS,
            "there is none in the runtime directory: no notifications",
            "log in to a desktop, or start dbus-daemon by systemctl --user start dbus.socket",
        )];
    };
    let server = match asked {
        None => {
            return vec![Finding::failure(BUS, NO_ANSWER, "systemctl --user status dbus.service")];
        }
        Some(Err(problem)) => {
            return vec![Finding::failure(BUS, problem, "systemctl --user status dbus.service")];
        }
        Some(Ok(server)) => server,
    };
    let daemon = match server {
        None => Finding::warning(
            DAEMON,
            "no notification daemon is on the bus",
            "start one, such as swaync, mako or dunst",
        ),
        Some(Server { name, version: Some(version) }) => {
            Finding::ok(DAEMON, format!("{name} {version}"))
        }
        Some(Server { name, version: None }) => Finding::failure(
            DAEMON,
            format!("{name} has the name, and does not say who it is"),
            "restart the notification daemon",
        ),
    };
    vec![Finding::ok(BUS, "answers"), daemon]
}

/// `None`: no answer came.
fn sway(version: Option<Result<Option<String>, String>>) -> Finding {
    const CHECK: &str = "sway";
    match version {
        Some(Ok(Some(version))) => Finding::ok(CHECK, version),
        Some(Ok(None)) => Finding::warning(
            CHECK,
            "does not run: no windows, no badges, no way to a session but in tmux",
            "notifications, `list` and `watch` work without",
        ),
        Some(Err(problem)) => Finding::failure(CHECK, problem, "swaymsg -t get_version"),
        None => Finding::failure(CHECK, NO_ANSWER, "swaymsg -t get_version"),
    }
}

/// A server, and whether it answers.
#[derive(Debug)]
struct Tmux {
    pid: u32,
    version: Option<String>,
}

fn tmux(servers: &[Tmux]) -> Finding {
    const CHECK: &str = "tmux";
    let silent: Vec<String> = servers
        .iter()
        .filter(|server| server.version.is_none())
        .map(|server| server.pid.to_string())
        .collect();
    if !silent.is_empty() {
        let message = format!("server {} does not answer", silent.join(", "));
        return Finding::warning(CHECK, message, "what runs in it has no window; tmux info");
    }
    let versions = servers
        .iter()
        .filter_map(|server| Some(format!("{} (pid {})", server.version.as_ref()?, server.pid)));
    match versions.collect::<Vec<_>>() {
        none if none.is_empty() => Finding::ok(CHECK, "no server runs"),
        some => Finding::ok(CHECK, some.join(", ")),
    }
}

/// All of this user's, each asked.
fn tmux_servers(uid: u32) -> Vec<Tmux> {
    let servers = proc::of_user(uid)
        .filter(|pid| proc::stat(*pid).is_some_and(|stat| stat.comm == tmux::SERVER));
    let ask = |pid: Pid| {
        let version = within(super::PATIENCE, move || hops::tmux_version(pid).ok()).flatten();
        Tmux { pid: pid.0, version }
    };
    servers.map(ask).collect()
}

fn badges(
    path: &std::path::Path,
    about: Option<Directory>,
    uid: u32,
    has_runtime_dir: bool,
) -> Finding {
    const CHECK: &str = "badges";
    let path = path.display();
    match about {
        None if has_runtime_dir => {
            Finding::ok(CHECK, format!("{path} is not there yet: the daemon makes it"))
        }
        None => Finding::warning(CHECK, "no runtime directory to put them in", "log in"),
        Some(Directory { is_one: false, .. }) => Finding::failure(
            CHECK,
            format!("{path} is no directory"),
            format!("rm {path}; the daemon makes it anew"),
        ),
        Some(Directory { owner, .. }) if owner != uid => Finding::failure(
            CHECK,
            format!("{path} belongs to user {owner}"),
            format!("sudo rm -r {path}; the daemon makes it anew"),
        ),
        Some(Directory { mode: 0o755, .. }) => Finding::ok(CHECK, path.to_string()),
        Some(Directory { mode, .. }) if mode & 0o300 != 0o300 => Finding::failure(
            CHECK,
            format!("{path} is not writable ({mode:o})"),
            format!("chmod 755 {path}"),
        ),
        Some(Directory { mode, .. }) => Finding::warning(
            CHECK,
            format!("{path} has mode {mode:o}"),
            format!("chmod 755 {path}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn states(findings: &[Finding]) -> Vec<State> {
        findings.iter().map(|finding| finding.state).collect()
    }

    #[test]
    fn notifications_take_a_bus_and_a_daemon_on_it() {
        let server = |version: Option<&str>| Server {
            name: "mako".to_owned(),
            version: version.map(str::to_owned),
        };
        use State::{Failure, Ok as Well, Warning};
        let table: [(Option<Asked>, &[State]); 6] = [
            (None, &[Warning]),
            (Some(None), &[Failure]),
            (Some(Some(Err("refused".to_owned()))), &[Failure]),
            (Some(Some(Ok(None))), &[Well, Warning]),
            (Some(Some(Ok(Some(server(None))))), &[Well, Failure]),
            (Some(Some(Ok(Some(server(Some("1.4")))))), &[Well, Well]),
        ];
        for (asked, expected) in table {
            let findings = bus(asked);
            assert_eq!(states(&findings), expected, "{findings:?}");
        }
        assert_eq!(bus(Some(Some(Ok(Some(server(Some("1.4")))))))[1].message, "mako 1.4");
    }

    #[test]
    fn sway_answers_or_is_not_there() {
        for (version, state) in [
            (None, State::Failure),
            (Some(Err("no".to_owned())), State::Failure),
            (Some(Ok(None)), State::Warning),
            (Some(Ok(Some("sway 1.7".to_owned()))), State::Ok),
        ] {
            assert_eq!(sway(version.clone()).state, state, "{version:?}");
        }
    }

    #[test]
    fn a_tmux_that_hangs_is_named() {
        let server = |pid, version: Option<&str>| Tmux { pid, version: version.map(str::to_owned) };
        assert_eq!(tmux(&[]).message, "no server runs");
        let well = [server(7, Some("tmux 3.3a")), server(9, Some("tmux 3.4"))];
        assert_eq!(tmux(&well).message, "tmux 3.3a (pid 7), tmux 3.4 (pid 9)");
        let ill = tmux(&[server(7, Some("tmux 3.3a")), server(9, None)]);
        assert_eq!((ill.state, ill.message.as_str()), (State::Warning, "server 9 does not answer"));
    }

    #[test]
    fn badges_are_the_users_and_for_all_to_read() {
        let dir = |is_one, owner, mode| Some(Directory { is_one, owner, mode });
        for (about, has_runtime_dir, state) in [
            (None, true, State::Ok),
            (None, false, State::Warning),
            (dir(true, 1000, 0o755), true, State::Ok),
            (dir(true, 1000, 0o700), true, State::Warning),
            (dir(true, 1000, 0o555), true, State::Failure),
            (dir(true, 0, 0o755), true, State::Failure),
            (dir(false, 1000, 0o777), true, State::Failure),
        ] {
            let finding = badges("/badges".as_ref(), about, 1000, has_runtime_dir);
            assert_eq!(finding.state, state, "{about:?} {finding:?}");
        }
    }
}
