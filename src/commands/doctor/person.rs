//! The person: who they are, where their things are, what they want.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use ebpf_ai_monitor_agents::Agents;

use super::super::args::AGENTS_DIR;
use super::{Finding, Patient, State};
use crate::config::{ConfigFiles, SYSTEM};

pub(super) fn look(patient: &Patient) -> Vec<Finding> {
    let dir = patient.desktop();
    let about = dir.symlink_metadata().ok();
    let mut findings = vec![
        user(&patient.user.name, patient.uid(), &patient.user.dir),
        runtime_dir(&dir, about.as_ref().map(Directory::from), patient.uid()),
    ];
    let (system, own) = (PathBuf::from(SYSTEM), patient.config());
    let missing = [&system, &own].into_iter().all(|path| !path.exists());
    let problem = ConfigFiles(vec![system, own]).read().err().map(|error| format!("{error:#}"));
    findings.push(configuration(problem, missing));
    let (_, errors) = Agents::with_directory(&patient.config_dir.join(AGENTS_DIR));
    findings.push(profiles(errors.iter().map(ToString::to_string).collect()));
    findings
}

/// What counts of a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Directory {
    /// And no link to one.
    pub(super) is_one: bool,
    pub(super) owner: u32,
    pub(super) mode: u32,
}

impl From<&Metadata> for Directory {
    fn from(about: &Metadata) -> Self {
        let mode = about.permissions().mode() & 0o7777;
        Self { is_one: about.is_dir(), owner: about.uid(), mode }
    }
}

fn user(name: &str, uid: u32, home: &std::path::Path) -> Finding {
    const CHECK: &str = "user";
    let is = format!("{name} ({uid}), home {}", home.display());
    if !home.is_dir() {
        let hint = "without it there is no configuration, and nothing agents write down is read";
        return Finding::warning(CHECK, format!("{is}, which is not there"), hint);
    }
    if uid == 0 {
        let hint = "watch the user whose agents they are: --user NAME";
        return Finding::warning(CHECK, format!("{is}: projects stay unnamed"), hint);
    }
    Finding::ok(CHECK, is)
}

fn runtime_dir(path: &std::path::Path, about: Option<Directory>, uid: u32) -> Finding {
    const CHECK: &str = "runtime dir";
    let path = path.display();
    match about {
        None => Finding::warning(
            CHECK,
            format!("there is no {path}: no badges, no notifications, no windows"),
            "log in; where nobody does, loginctl enable-linger USER makes it",
        ),
        Some(Directory { is_one: false, .. }) => Finding::failure(
            CHECK,
            format!("{path} is no directory"),
            "remove it, and log in again",
        ),
        Some(Directory { owner, .. }) if owner != uid => Finding::failure(
            CHECK,
            format!("{path} belongs to user {owner}"),
            "unset XDG_RUNTIME_DIR, or log in anew instead of by su",
        ),
        Some(Directory { mode, .. }) if mode & 0o022 != 0 => Finding::warning(
            CHECK,
            format!("{path} is writable for others ({mode:o})"),
            format!("chmod 700 {path}"),
        ),
        Some(Directory { mode, .. }) if mode & 0o300 != 0o300 => Finding::failure(
            CHECK,
            format!("{path} is not writable ({mode:o})"),
            format!("chmod 700 {path}"),
        ),
        Some(_) => Finding::ok(CHECK, path.to_string()),
    }
}

fn configuration(problem: Option<String>, is_missing: bool) -> Finding {
    const CHECK: &str = "configuration";
    match problem {
        Some(problem) => {
            Finding::failure(CHECK, problem, "ebpf-ai-monitor config example shows every key")
        }
        None if is_missing => Finding::ok(CHECK, "none: the defaults hold"),
        None => Finding::ok(CHECK, "right"),
    }
}

fn profiles(problems: Vec<String>) -> Finding {
    const CHECK: &str = "profiles";
    if problems.is_empty() {
        return Finding::ok(CHECK, "right");
    }
    Finding {
        state: State::Failure,
        message: problems.join("; "),
        hint: Some("see docs/profiles.md; ebpf-ai-monitor agents checks them".to_owned()),
        check: CHECK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_directory_is_the_users_alone() {
        let dir = |is_one, owner, mode| Some(Directory { is_one, owner, mode });
        for (about, state) in [
            (None, State::Warning),
            (dir(true, 1000, 0o700), State::Ok),
            (dir(true, 1000, 0o755), State::Ok),
            (dir(true, 1000, 0o777), State::Warning),
            (dir(true, 1000, 0o500), State::Failure),
            (dir(true, 0, 0o700), State::Failure),
            (dir(false, 1000, 0o700), State::Failure),
        ] {
            let finding = runtime_dir("/run/user/1000".as_ref(), about, 1000);
            assert_eq!(finding.state, state, "{about:?} {finding:?}");
        }
    }

    #[test]
    fn what_is_written_wrong_is_a_failure() {
        assert_eq!(configuration(Some("x.toml:1:1: no".into()), false).state, State::Failure);
        assert_eq!(configuration(None, true).message, "none: the defaults hold");
        assert_eq!(configuration(None, false).state, State::Ok);
        assert_eq!(profiles(vec!["a".into(), "b".into()]).message, "a; b");
        assert_eq!(profiles(vec![]).state, State::Ok);
    }

    #[test]
    fn roots_agents_have_no_project() {
        assert_eq!(user("root", 0, "/".as_ref()).state, State::Warning);
        assert_eq!(user("alice", 1000, "/".as_ref()).state, State::Ok);
        assert_eq!(user("alice", 1000, "/nowhere".as_ref()).state, State::Warning);
    }
}
