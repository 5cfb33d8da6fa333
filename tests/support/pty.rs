//! A terminal of our own, without a multiplexer, and a program on it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::user::TestUser;

/// A program of `examples/`, where its user can run it.
pub fn example(user: &TestUser, name: &str) -> Result<PathBuf> {
    let tests = std::env::current_exe()?;
    let built = tests.parent().and_then(Path::parent).context("the test has no target folder")?;
    copy_for(user, &built.join("examples").join(name))
}

/// A copy in the user's home: the checkout may lie where only its owner looks.
pub fn copy_for(user: &TestUser, program: &Path) -> Result<PathBuf> {
    let name = program.file_name().context("a program has a name")?;
    let copy = user.make_folder("bin")?.join(name);
    if !copy.exists() {
        copy_program(program, &copy)?;
    }
    Ok(copy)
}

/// Written by a process of its own: a file that this one has open for writing is
/// inherited by what another thread starts at that moment, and until that has become
/// its program, the kernel refuses to run the copy ("Text file busy").
pub fn copy_program(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg(from).arg(to).status().context("cannot start cp")?;
    ensure!(status.success(), "cannot copy {} to {}", from.display(), to.display());
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(0o755))?)
}

/// Of what a program writes, so that a flood cannot fill the memory.
const MOST_KEPT: usize = 1 << 20;

/// A program that runs on a pty. Dropping this hangs up and ends it.
#[derive(Debug)]
pub struct OnPty {
    name: String,
    master: File,
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
}

impl OnPty {
    /// The program must make the terminal on its standard input its own.
    pub fn start(command: &mut Command) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?;
        let flags = OFlags::NOCTTY.bits().cast_signed();
        let slave =
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(path.to_str()?)?;
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        let child = command.spawn().context("cannot start the program on the terminal")?;
        let master = File::from(master);
        let mut output = master.try_clone()?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let keeping = Arc::clone(&said);
        thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(read @ 1..) = output.read(&mut buffer) {
                let mut kept = keeping.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() < MOST_KEPT {
                    kept.extend(&buffer[..read]);
                }
            }
        });
        let name = path.to_str()?.trim_start_matches("/dev/").to_owned();
        Ok(Self { name, master, child, said })
    }

    /// The terminal, as in `ps`.
    pub fn tty(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the terminal was sent this.
    pub fn has_said(&self, text: &str) -> bool {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// Makes the terminal the user's, as that of an emulator of theirs would be.
    pub fn give_to(&self, user: &TestUser) -> Result<()> {
        user.own(&Path::new("/dev").join(&self.name))
    }

    pub fn write(&self, keys: &[u8]) -> Result<()> {
        (&self.master).write_all(keys).context("cannot write to the terminal")
    }
}

impl Drop for OnPty {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
