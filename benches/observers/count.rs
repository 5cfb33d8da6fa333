//! Instructions instead of time: an emulated machine whose clock goes one
//! nanosecond for each, so that no neighbour can disturb.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::loads::LOADS;
use crate::observer::{Kind, Observer};
use crate::support::pty::{OnPty, example};
use crate::support::user::TestUser;
use crate::support::vm::{Arch, Machine, Processors, Root};

/// How the guest starts this program.
pub(crate) const WORD: &str = "count";
const KERNEL: &str = "6.12";
const PATIENCE: Duration = Duration::from_secs(600);
const MEMORY_MB: u32 = 1024;
/// A tenth of what is timed: the clock does not lie here.
const SHARE: u32 = 10;
/// The tick of the kernel's own falls into some.
const BURSTS: usize = 7;
/// In this order. What comes first after the start of the machine counts more than
/// all that follows, with and without observers.
const ROUNDS: [(&str, Option<Kind>); 4] = [
    ("warm-up", None),
    ("tty", Some(Kind::Tty)),
    ("nobody", None),
    ("syscalls", Some(Kind::Syscalls)),
];
/// There is no compiler in the guest, and another's start counts as little.
const LEFT_OUT: [&str; 1] = ["compile of a small C file"];

/// In the guest: prints `OBSERVER LOAD INSTRUCTIONS`.
pub(crate) fn run() -> Result<()> {
    let user = TestUser::create()?;
    let program = example(&user, "scripted_agent")?;
    let _agent = OnPty::start(user.command(program).args(["--take-terminal", "enter"]))?;
    for (name, kind) in ROUNDS {
        let _observer = kind.map(|kind| Observer::start(kind, &user, "")).transpose()?;
        for (number, load) in LOADS.iter().enumerate() {
            if LEFT_OUT.contains(&load.name) {
                continue;
            }
            let count = load.count.div_ceil(SHARE);
            let mut best = f64::INFINITY;
            for _ in 0..BURSTS {
                let start = Instant::now();
                (load.run)(count).with_context(|| format!("cannot run {}", load.name))?;
                best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(count));
            }
            println!("{name} {number} {best:.1}");
        }
    }
    Ok(())
}

pub(crate) fn measure(_user: &TestUser, _folder: &Path) -> Result<String> {
    let mut page = String::from("## Instructions\n\n");
    let folder = std::env::var_os("KERNELS_DIR").map(PathBuf::from).unwrap_or_default();
    let (tree, kernel) = (folder.join("root-amd64.cpio"), folder.join(KERNEL).join("vmlinuz"));
    if !tree.exists() || !kernel.exists() {
        page += "Not counted: `make test-kernels` fetches the emulated machine.\n";
        return Ok(page);
    }
    let counts = in_machine(&tree, &kernel)?;
    writeln!(
        page,
        "Of one operation, kernel and program together, in an emulated machine (Linux {KERNEL}, \
         one processor, `-icount`): the least of {BURSTS} bursts. An emulator counts what is \
         executed, not how long that takes.\n"
    )?;
    writeln!(page, "| operation | nobody | tty probe | syscall probe |\n|---|--:|--:|--:|")?;
    for (number, load) in LOADS.iter().enumerate() {
        let count = |name: &str| {
            let found = counts.iter().find(|it| it.0 == name && it.1 == number);
            found.map(|it| it.2)
        };
        let counts = ["nobody", "tty", "syscalls"].map(count);
        let [Some(nobody), Some(tty), Some(syscalls)] = counts else { continue };
        let more = |count: f64| format!("{count:.0} ({:+.0})", count - nobody);
        writeln!(page, "| {} | {nobody:.0} | {} | {} |", load.name, more(tty), more(syscalls))?;
    }
    Ok(page)
}

fn in_machine(tree: &Path, kernel: &Path) -> Result<Vec<(String, usize, f64)>> {
    let us = std::env::current_exe()?;
    let built = us.parent().and_then(Path::parent).context("the benchmark has a target folder")?;
    let root = Root::new()?;
    let monitor = Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"));
    for program in [&us, monitor, &built.join("examples/scripted_agent")] {
        root.add_program(program, Arch::X86)?;
    }
    root.add_script("/init", include_str!("../../tests/kernels/guest.sh"))?;
    root.add_text("/case.sh", &format!("{} {WORD}\n", us.display()))?;
    let folder = TempDir::new()?;
    let archive = folder.path().join("programs.cpio");
    root.pack(&archive)?;
    let machine = Machine {
        arch: Arch::X86,
        processors: Processors::Counted,
        kernel,
        root: &[tree, &archive],
        append: "",
        memory_mb: MEMORY_MB,
        patience: PATIENCE,
    };
    let outcome = machine.run(|_| ())?;
    ensure!(outcome.code == Some(0), "{}", outcome.lines.join("\n"));
    let count = |line: &String| {
        let mut words = line.split(' ');
        let (name, load, count) = (words.next()?, words.next()?, words.next()?);
        Some((name.to_owned(), load.parse().ok()?, count.parse().ok()?))
    };
    Ok(outcome.lines.iter().filter_map(count).collect())
}
