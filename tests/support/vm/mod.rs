//! Throw-away machines with a kernel of choice. They are emulated: KVM is never
//! asked for. All that goes in is an archive that becomes their root file
//! system; all that comes out is what is written to the console.

pub mod built;
pub mod waker;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// How a guest's `/init` tells its end: this and the exit code, on a line.
const END: &str = "EXIT=";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    X86,
    Arm,
}

impl Arch {
    /// In Debian's words.
    pub fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    fn qemu(self, processors: Processors) -> Command {
        let (program, machine, cpu) = match self {
            Self::X86 => ("qemu-system-x86_64", "q35", "max"),
            // Signed pointers take most of the time of an emulated `max`.
            Self::Arm => ("qemu-system-aarch64", "virt", "cortex-a72"),
        };
        let mut qemu = Command::new(program);
        qemu.args(["-machine", machine, "-cpu", cpu]);
        match processors {
            Processors::Two => qemu.args(["-accel", "tcg,thread=multi", "-smp", "2"]),
            Processors::Counted => {
                qemu.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"])
            }
        };
        qemu.args(["-display", "none", "-nodefaults", "-no-reboot"]);
        qemu
    }

    fn console(self) -> &'static str {
        match self {
            Self::X86 => "ttyS0",
            Self::Arm => "ttyAMA0",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processors {
    Two,
    /// One, and its clock goes a nanosecond for each instruction.
    Counted,
}

/// A machine that was not started yet.
#[derive(Debug)]
pub struct Machine<'a> {
    pub arch: Arch,
    pub processors: Processors,
    pub kernel: &'a Path,
    /// Archives, one over the other, that hold an `/init`.
    pub root: &'a [&'a Path],
    /// Added to the kernel's command line.
    pub append: &'a str,
    pub memory_mb: u32,
    pub patience: Duration,
}

/// What came of a machine.
#[derive(Debug)]
pub struct Outcome {
    /// What was written to the console.
    pub lines: Vec<String>,
    /// Of what it ran; none where the machine did not come to its end.
    pub code: Option<i32>,
    pub took: Duration,
}

impl Machine<'_> {
    /// Until its end, or until the patience is over. Each line is handed on at
    /// once, too.
    pub fn run(&self, hear: impl FnMut(&str)) -> Result<Outcome> {
        let folder = TempDir::new()?;
        let initrd = folder.path().join("initrd");
        let mut all = File::create(&initrd)?;
        for archive in self.root {
            io::copy(&mut File::open(archive)?, &mut all)?;
        }
        let mut qemu = self.arch.qemu(self.processors);
        qemu.arg("-m").arg(self.memory_mb.to_string());
        qemu.arg("-kernel").arg(self.kernel).arg("-initrd").arg(&initrd);
        let console = self.arch.console();
        qemu.arg("-append").arg(format!(
            "console={console} panic=-1 quiet mitigations=off random.trust_cpu=on {}",
            self.append
        ));
        qemu.args(["-serial", "stdio"]);
        waker::wake(&mut qemu, folder.path())?;
        let started = Instant::now();
        let mut running = Running::start(&mut qemu)?;
        let console = lines_of(running.0.stdout.take().context("there is a pipe")?);
        let (lines, code) = follow(&console, started + self.patience, hear);
        Ok(Outcome { lines, code, took: started.elapsed() })
    }
}

fn follow(
    console: &Receiver<String>,
    end: Instant,
    mut hear: impl FnMut(&str),
) -> (Vec<String>, Option<i32>) {
    let mut lines = Vec::new();
    loop {
        match console.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if let Some(code) = line.strip_prefix(END) {
                    return (lines, code.parse().ok());
                }
                hear(&line);
                lines.push(line);
            }
            Err(RecvTimeoutError::Timeout) => {
                lines.push("(the patience is over)".to_owned());
                return (lines, None);
            }
            Err(RecvTimeoutError::Disconnected) => return (lines, None),
        }
    }
}

fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Dropping it ends the machine.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        Ok(Self(command.spawn().with_context(|| format!("cannot start {command:?}"))?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder whose content a machine finds at its root.
#[derive(Debug)]
pub struct Root(TempDir);

impl Root {
    pub fn new() -> Result<Self> {
        Ok(Self(TempDir::new()?))
    }

    /// A place for this absolute path of the guest.
    fn place(&self, path: &Path) -> Result<PathBuf> {
        let place = self.0.path().join(path.strip_prefix("/")?);
        fs::create_dir_all(place.parent().context("a file is in a folder")?)?;
        Ok(place)
    }

    pub fn add_file(&self, path: &str, from: &Path) -> Result<()> {
        let place = self.place(path.as_ref())?;
        fs::copy(from, place).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    }

    /// A program, where it lies here too, without what only debuggers need.
    pub fn add_program(&self, program: &Path, arch: Arch) -> Result<()> {
        let strip = match arch {
            Arch::X86 => "strip",
            Arch::Arm => "aarch64-linux-gnu-strip",
        };
        let place = self.place(program)?;
        run(Command::new(strip).args(["--strip-debug", "-o"]).arg(place).arg(program))
    }

    pub fn add_script(&self, path: &str, text: &str) -> Result<()> {
        self.add_text(path, text)?;
        let place = self.place(path.as_ref())?;
        Ok(fs::set_permissions(place, fs::Permissions::from_mode(0o755))?)
    }

    pub fn add_text(&self, path: &str, text: &str) -> Result<()> {
        let place = self.place(path.as_ref())?;
        fs::write(&place, text)?;
        Ok(fs::set_permissions(place, fs::Permissions::from_mode(0o644))?)
    }

    /// Packs it the way the kernel takes it, all of it root's.
    pub fn pack(&self, archive: &Path) -> Result<()> {
        let script = "cd \"$1\" && find . -mindepth 1 -print0 | \
             cpio --create --null --format=newc --owner=0:0 --quiet >\"$2\"";
        let arguments: [&OsStr; 3] = ["pack".as_ref(), self.0.path().as_ref(), archive.as_ref()];
        run(Command::new("bash").args(["-o", "pipefail", "-c", script]).args(arguments))
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(status.success(), "{command:?} failed");
    Ok(())
}
