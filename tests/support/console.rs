//! A virtual terminal of this machine, which is no pty, and a program on it.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::path::Path;
use std::process::{Child, Command};

use anyhow::{Context as _, Result, ensure};
use nix::libc;
use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mknodat};

use super::user::TestUser;

/// One that no login uses: systemd offers the first six.
const NUMBER: u32 = 41;
const MAJOR: u32 = 4;

/// A program on the console; dropping this ends it.
#[derive(Debug)]
pub struct OnConsole {
    device: File,
    child: Child,
}

impl OnConsole {
    pub fn is_there() -> bool {
        Path::new(&format!("/sys/class/tty/tty{NUMBER}")).exists()
    }

    /// The terminal, as in `ps`.
    pub fn tty() -> String {
        format!("tty{NUMBER}")
    }

    /// The program must make the terminal on its standard input its own.
    pub fn start(user: &TestUser, command: &mut Command) -> Result<Self> {
        // Not in /dev: there is no udev on every machine of the tests.
        let path = user.home().join(Self::tty());
        if !path.exists() {
            let device = makedev(MAJOR, NUMBER);
            mknodat(CWD, &path, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, device)
                .context("cannot make a device")?;
            chown(&path, Some(user.uid()), None)?;
        }
        let flags = OFlags::NOCTTY.bits().cast_signed();
        let open = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path);
        let device = open.context("cannot open a console")?;
        command.stdin(device.try_clone()?).stdout(device.try_clone()?).stderr(device.try_clone()?);
        let child = command.spawn().context("cannot start the program on the console")?;
        Ok(Self { device, child })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As if they were typed.
    pub fn type_keys(&self, keys: &[u8]) -> Result<()> {
        for key in keys {
            // SAFETY: the descriptor is open, and TIOCSTI reads one byte.
            let result = unsafe { libc::ioctl(self.device.as_raw_fd(), libc::TIOCSTI, key) };
            ensure!(result == 0, "cannot type: {}", std::io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Drop for OnConsole {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
