//! The kernel matrix: the tests of the kernel side and the daemon itself on
//! other kernels, in emulated machines. `make test-kernels` runs it.

mod support;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use support::report;
use support::vm::built::Built;
use support::vm::{Arch, Machine, Outcome, Processors, Root};
use tempfile::TempDir;

/// For one machine. The slowest takes eight minutes beside another.
const PATIENCE: Duration = Duration::from_secs(900);
/// So many run side by side, with two processors each.
const AT_ONCE: usize = 2;
const MEMORY_MB: u32 = 1024;

/// One machine: a kernel, what is wrong with it, and what must come of it.
struct Case {
    name: &'static str,
    /// As in `kernels/fetch.sh`.
    kernel: &'static str,
    arch: Arch,
    need: Need,
    /// Added to the kernel's command line.
    append: &'static str,
    /// A command before all others.
    prepare: &'static str,
    expected: Expected,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    /// The mirror may lack this kernel; that is told.
    IfHad,
}

#[derive(Clone, Copy)]
enum Expected {
    /// The daemon gets ready, and warns of nothing but this; then these tests pass.
    Works { warns: &'static [&'static str], tests: Tests },
    /// The daemon ends with one line that says this.
    Refuses(&'static str),
}

#[derive(Clone, Copy)]
enum Tests {
    /// All of the kernel side, a scripted agent's life, and jumps of the clock.
    All,
    /// The kernel side without counting losses, and a scripted agent's life: too
    /// slow, another processor's emulation loses some (and tells of them) even of a
    /// paced writer.
    Uncounted,
    /// The same without what 5.10 cannot.
    On510,
    /// A scripted agent's life only.
    Life,
}

const WORKS: Expected = Expected::Works { warns: &[], tests: Tests::All };
const LIVES: Expected = Expected::Works { warns: &[], tests: Tests::Life };

/// A stock kernel that must be there.
const STOCK: Case = Case {
    name: "",
    kernel: "6.1",
    arch: Arch::X86,
    need: Need::Required,
    append: "",
    prepare: "true",
    expected: WORKS,
};

/// Those that take longest come first.
const CASES: &[Case] = &[
    Case {
        name: "6.1 arm64",
        kernel: "6.1-arm64",
        arch: Arch::Arm,
        need: Need::IfHad,
        expected: Expected::Works { warns: &[], tests: Tests::Uncounted },
        ..STOCK
    },
    Case { name: "newest", kernel: "newest", ..STOCK },
    Case { name: "6.12", kernel: "6.12", ..STOCK },
    Case { name: "6.1", ..STOCK },
    Case {
        name: "5.10",
        kernel: "5.10",
        need: Need::IfHad,
        expected: Expected::Works {
            warns: &[
                "no evidence by escape sequences",
                "no timer in the kernel, one in user space serves",
                "CAP_BPF and CAP_PERFMON are kept",
            ],
            tests: Tests::On510,
        },
        ..STOCK
    },
    // An early word of what will be the newest.
    Case { name: "next", kernel: "next", need: Need::IfHad, expected: LIVES, ..STOCK },
    Case {
        name: "6.1, no tracefs",
        prepare: "umount /sys/kernel/tracing",
        expected: LIVES,
        ..STOCK
    },
    Case {
        name: "6.1, ftrace off",
        prepare: "echo 0 >/proc/sys/kernel/ftrace_enabled",
        expected: LIVES,
        ..STOCK
    },
    Case {
        name: "6.1, no BTF",
        prepare: "mount -t tmpfs none /sys/kernel/btf",
        expected: Expected::Works {
            warns: &["the tty probe does not work here"],
            tests: Tests::Life,
        },
        ..STOCK
    },
    Case {
        name: "6.1, lockdown",
        append: "lockdown=confidentiality",
        expected: Expected::Refuses("this kernel is locked down (confidentiality)"),
        ..STOCK
    },
];

/// What needs content, and so Linux 5.17. And there io_uring waits in threads
/// of the kernel's own, which no look at the process finds.
const NOT_ON_5_10: &[&str] = &[
    "sees_every_way_to_wait_for_input",
    "finds_sequences_in_all_their_forms",
    "loses_",
    "misses_no_enter_however_close_it_follows",
    "never_tells_of_other_users_terminals",
    "tells_of_big_redraws",
    "tells_the_kind_of_keys_and_nothing_else",
];

impl Tests {
    fn script(self, built: &Built) -> String {
        let kernel = format!("{} --test-threads=1", built.kernel_test.display());
        let daemon = format!("{} --test-threads=1", built.daemon_test.display());
        let life = format!("{daemon} follows_a_scripted_agent_by_the_density_of_its_output");
        let clocks = format!("{} --ignored", built.clocks_test.display());
        match self {
            Self::All => format!("{kernel} && {life} two_capabilities_are_enough && {clocks}"),
            Self::Uncounted => {
                format!("{kernel} --skip loses_ && {life} two_capabilities_are_enough")
            }
            Self::On510 => {
                let skipped = NOT_ON_5_10.iter().map(|name| format!(" --skip {name}"));
                format!("{kernel}{} && {life}", skipped.collect::<String>())
            }
            Self::Life => life,
        }
    }
}

/// What all machines of one kind of processor share.
struct Guest {
    archives: Vec<PathBuf>,
    built: Built,
}

impl Guest {
    fn build(arch: Arch, kernels: &Path, folder: &Path) -> Result<Self> {
        let tree = kernels.join(format!("root-{}.cpio", arch.debian()));
        ensure!(tree.exists(), "there is no {}: make test-kernels fetches it", tree.display());
        let built = Built::new(arch, &tree.with_extension(""))?;
        let programs = Root::new()?;
        for program in &built.programs {
            programs.add_program(program, arch)?;
        }
        if arch == Arch::X86 {
            // For `clocks`. Of this machine's release, as all in there.
            programs.add_program(Path::new("/usr/bin/script"), arch)?;
        }
        programs.add_script("/init", include_str!("kernels/guest.sh"))?;
        let archive = folder.join(format!("programs-{}.cpio", arch.debian()));
        programs.pack(&archive)?;
        Ok(Self { archives: vec![tree, archive], built })
    }
}

impl Case {
    fn run(&self, guest: &Guest, kernel: &Path) -> Result<Outcome> {
        let folder = TempDir::new()?;
        let archive = folder.path().join("case.cpio");
        let root = Root::new()?;
        let tests = match self.expected {
            Expected::Works { tests, .. } => format!(" && {}", tests.script(&guest.built)),
            Expected::Refuses(_) => String::new(),
        };
        let start = format!("start {}", guest.built.monitor.display());
        root.add_text("/case.sh", &format!("{} && {start}{tests}\n", self.prepare))?;
        root.pack(&archive)?;
        let mut archives: Vec<&Path> = guest.archives.iter().map(PathBuf::as_path).collect();
        archives.push(&archive);
        let machine = Machine {
            arch: self.arch,
            processors: Processors::Two,
            kernel,
            root: &archives,
            append: self.append,
            memory_mb: MEMORY_MB,
            patience: PATIENCE,
        };
        machine.run(|_| ())
    }

    /// In a few words what came, or what is wrong with it.
    fn judge(&self, outcome: &Outcome) -> Result<String> {
        let log: Vec<&str> =
            outcome.lines.iter().filter_map(|line| line.strip_prefix("log: ")).collect();
        match self.expected {
            Expected::Works { warns, .. } => {
                ensure!(outcome.code == Some(0), "ended with {:?}", outcome.code);
                ensure!(log.iter().any(|line| line.contains(" ready: ")), "it was never ready");
                let warned = |line: &&&str| line.contains(" WARN ") || line.contains(" ERROR ");
                let warnings: Vec<_> = log.iter().filter(warned).collect();
                for line in &warnings {
                    ensure!(warns.iter().any(|text| line.contains(text)), "unexpected: {line}");
                }
                for text in warns {
                    ensure!(warnings.iter().any(|line| line.contains(text)), "not told: {text}");
                }
                Ok(if warns.is_empty() { "works" } else { "works, with what it announced" }.into())
            }
            Expected::Refuses(text) => {
                ensure!(outcome.code == Some(1), "ended with {:?}", outcome.code);
                let [line] = log[..] else { bail!("one line was expected") };
                ensure!(line.contains(text), "it does not say {text:?}");
                Ok(format!("refuses: {line}"))
            }
        }
    }
}

/// What became of a case, as one line of the table.
enum Row {
    Seen(String),
    NotHad(String),
    Wrong(String),
}

#[test]
#[ignore = "boots ten machines: make test-kernels"]
fn every_kernel_ends_as_the_table_says() -> Result<()> {
    let started = Instant::now();
    let kernels = PathBuf::from(std::env::var_os("KERNELS_DIR").context("KERNELS_DIR is unset")?);
    // KERNELS="6.1 newest" takes a part of the table.
    let wanted = std::env::var("KERNELS").unwrap_or_default();
    let is_wanted = |case: &&Case| {
        wanted.is_empty() || wanted.split_whitespace().any(|kernel| kernel == case.kernel)
    };
    let cases: Vec<&Case> = CASES.iter().filter(is_wanted).collect();
    let folder = TempDir::new()?;
    let x86 = Guest::build(Arch::X86, &kernels, folder.path())?;
    let arm = cases
        .iter()
        .any(|case| case.arch == Arch::Arm)
        .then(|| Guest::build(Arch::Arm, &kernels, folder.path()));
    report(&format!("built and packed in {} s", started.elapsed().as_secs()));

    let left = Mutex::new(cases.into_iter().collect::<VecDeque<_>>());
    let wrong = Mutex::new(Vec::new());
    // By a function, so that the lock is not held through the loop's body.
    let next = || lock(&left).pop_front();
    let work = || {
        while let Some(case) = next() {
            let guest = match (case.arch, &arm) {
                (Arch::X86, _) => Ok(&x86),
                (Arch::Arm, Some(Ok(arm))) => Ok(arm),
                (Arch::Arm, Some(Err(error))) => Err(format!("{error:#}")),
                (Arch::Arm, None) => Err("not built".to_owned()),
            };
            let begun = Instant::now();
            let row = row(case, guest, &kernels);
            let seconds = begun.elapsed().as_secs();
            let text = match &row {
                Row::Seen(text) => text.clone(),
                Row::NotHad(why) => format!("not had: {why}"),
                Row::Wrong(why) => format!("WRONG: {why}"),
            };
            report(&format!("{:<16} {seconds:>4} s  {text}", case.name));
            let is_missed = matches!(row, Row::NotHad(_)) && case.need == Need::Required;
            if is_missed || matches!(row, Row::Wrong(_)) {
                lock(&wrong).push(case.name);
            }
        }
    };
    thread::scope(|scope| {
        (0..AT_ONCE).for_each(|_| drop(scope.spawn(work)));
    });
    report(&format!("{} s in all", started.elapsed().as_secs()));
    let wrong = lock(&wrong);
    ensure!(wrong.is_empty(), "not as the table says: {wrong:?}");
    Ok(())
}

fn row(case: &Case, guest: Result<&Guest, String>, kernels: &Path) -> Row {
    let kernel = kernels.join(case.kernel).join("vmlinuz");
    if !kernel.exists() {
        return Row::NotHad("the mirror has no such kernel".to_owned());
    }
    let guest = match guest {
        Ok(guest) => guest,
        Err(why) => return Row::NotHad(why),
    };
    let outcome = match case.run(guest, &kernel) {
        Ok(outcome) => outcome,
        Err(error) => return Row::Wrong(format!("{error:#}")),
    };
    match case.judge(&outcome) {
        Ok(text) => Row::Seen(format!("{}; {text}", release(&outcome))),
        Err(error) => Row::Wrong(format!("{error:#}\n    {}", outcome.lines.join("\n    "))),
    }
}

/// The guest's first word, for the table.
fn release(outcome: &Outcome) -> &str {
    outcome.lines.iter().find(|line| line.starts_with("Linux ")).map_or("", String::as_str)
}

fn lock<T>(it: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}
