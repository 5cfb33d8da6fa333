//! A Unix user for one test: its uid marks every process an agent leaves behind, so that all of
//! them, and nobody else's, are ended when the test is over.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::report;

const PREFIX: &str = "aimon-test-";
/// On disk: Codex copies itself (300 MB) into a new home.
const HOMES: &str = "/var/tmp";
/// Accounts below belong to the system: never end their processes.
const FIRST_UID: u32 = 1000;
/// The account files have one lock; two threads must not race for it.
static ACCOUNTS: Mutex<()> = Mutex::new(());

/// An account with an empty home. Dropping it ends its processes, then removes both.
#[derive(Debug)]
pub struct TestUser(Account);

/// A line of the accounts. Unlike `TestUser` it can be dropped without a consequence.
#[derive(Debug)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: PathBuf,
}

impl TestUser {
    /// Needs root. Also removes the accounts of test runs that were killed.
    pub fn create() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", process::id());
        let home = Path::new(HOMES).join(&name);

        accounts()?.iter().filter(|account| account.is_left_over()).for_each(Account::remove);
        let mut useradd = Command::new("useradd");
        useradd.args(["--no-create-home", "--shell", "/bin/bash", "--home-dir"]).arg(&home);
        change_accounts(useradd.arg(&name))?;
        let account = accounts()?.into_iter().find(|account| account.name == name);
        let user = Self(account.with_context(|| format!("useradd made no account {name}"))?);
        fs::create_dir(&home).with_context(|| format!("cannot make {}", home.display()))?;
        user.own(&home)?;
        user.make_folder("tmp")?;
        Ok(user)
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn uid(&self) -> u32 {
        self.0.uid
    }

    pub fn home(&self) -> &Path {
        &self.0.home
    }

    /// A command run as this user, with a small clean environment.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .uid(self.0.uid)
            .gid(self.0.gid)
            .current_dir(&self.0.home)
            .env_clear()
            .env("HOME", &self.0.home)
            .env("USER", &self.0.name)
            .env("LOGNAME", &self.0.name)
            .env("SHELL", "/bin/bash")
            .env("LANG", "C.UTF-8")
            // Agents leave sockets and folders there: let them go with the home.
            .env("TMPDIR", self.0.home.join("tmp"))
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
        command
    }

    /// Writes a file below the home; it and new folders on the way belong to the user.
    pub fn write(&self, below_home: impl AsRef<Path>, text: &str) -> Result<()> {
        let path = self.0.home.join(below_home);
        if let Some(folder) = path.parent() {
            self.make_folder(folder)?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        self.own(&path)
    }

    /// Makes a folder and its parents, all of them the user's.
    pub fn make_folder(&self, below_home: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.0.home.join(below_home);
        let missing: Vec<_> = path.ancestors().take_while(|folder| !folder.exists()).collect();
        for folder in missing.into_iter().rev() {
            fs::create_dir(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            self.own(folder)?;
        }
        Ok(path)
    }

    pub fn own(&self, path: &Path) -> Result<()> {
        let Account { uid, gid, .. } = self.0;
        chown(path, Some(uid), Some(gid)).with_context(|| format!("cannot own {}", path.display()))
    }
}

impl Drop for TestUser {
    fn drop(&mut self) {
        self.0.remove();
    }
}

impl Account {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| name.starts_with(PREFIX))?;
        let uid = fields.nth(1)?.parse().ok().filter(|uid| *uid >= FIRST_UID)?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name: name.to_owned(), uid, gid, home: Path::new(HOMES).join(name) })
    }

    /// Whether the test process it was made for is gone.
    fn is_left_over(&self) -> bool {
        let owner = self.name.trim_start_matches(PREFIX).split('-').next();
        owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
    }

    fn remove(&self) {
        self.end_processes();
        let _ = fs::remove_dir_all(&self.home);
        self.remove_sockets();
        // Forced: a zombie nobody has reaped yet must not keep the account.
        let removed = change_accounts(Command::new("userdel").arg("--force").arg(&self.name));
        if let Err(error) = removed {
            report(&format!("cannot remove the test user: {error:#}"));
        }
    }

    /// Codex keeps a folder of sockets in `/tmp`, whatever `TMPDIR` says.
    fn remove_sockets(&self) {
        for entry in fs::read_dir("/tmp").into_iter().flatten().flatten() {
            let is_ours = entry.metadata().is_ok_and(|entry| entry.uid() == self.uid);
            if is_ours && fs::remove_dir_all(entry.path()).is_err() {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Agents leave daemons behind that no longer descend from the terminal: go by the uid.
    fn end_processes(&self) {
        for _ in 0..100 {
            let living = living_processes_of(self.uid);
            if living.is_empty() {
                return;
            }
            living.into_iter().for_each(|pid| end(pid, self.uid));
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The accounts of all test runs.
fn accounts() -> Result<Vec<Account>> {
    let text = fs::read_to_string("/etc/passwd").context("cannot read the accounts")?;
    Ok(text.lines().filter_map(Account::parse).collect())
}

fn living_processes_of(uid: u32) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| is_living(*pid, uid))
        .collect()
}

fn is_living(pid: Pid, uid: u32) -> bool {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = fs::read_to_string(path).unwrap_or_default();
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        value.and_then(|value| value.split_whitespace().next())
    };
    field("Uid:") == Some(uid.to_string().as_str()) && field("State:") != Some("Z")
}

/// By pidfd and a second look, so that a pid given to somebody else in between is spared.
fn end(pid: Pid, uid: u32) {
    if let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
        && is_living(pid, uid)
    {
        let _ = pidfd_send_signal(&process, Signal::KILL);
    }
}

fn change_accounts(command: &mut Command) -> Result<()> {
    let _accounts = ACCOUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {}", complaint.trim());
    Ok(())
}
