//! The package on a whole host: systemd, a log-in, Sway, tmux and an agent, in
//! an emulated machine. `make test-host` runs it.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use support::report;
use support::vm::{Arch, Machine, Processors, Root};
use tempfile::TempDir;

/// One takes a minute where nothing else runs.
const PATIENCE: Duration = Duration::from_secs(420);
/// The root file system lies in memory, and for a moment its archive too.
const MEMORY_MB: u32 = 3072;

/// What becomes of alice's log-in at the first console.
const PROFILE: &str = r#"
[ "$(id -un) $(tty)" = "alice /dev/tty1" ] || return 0
export WLR_BACKENDS=headless WLR_RENDERER=pixman WLR_LIBINPUT_NO_DEVICES=1
sway --config /etc/desktop >"$HOME/sway.log" 2>&1
"#;

/// A terminal with tmux, and in it an agent that asks at once and waits for ever.
const DESKTOP: &str = "\
exec foot --log-no-syslog tmux new-session \
'/usr/bin/codex --explicit --turns=1 --work=2000 --wait=3600000' 2>/home/alice/foot.log
";

const FILES: &[(&str, &str)] = &[
    ("/etc/profile.d/desktop.sh", PROFILE),
    ("/etc/desktop", DESKTOP),
    ("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
    ("/etc/systemd/logind.conf.d/none.conf", "[Login]\nNAutoVTs=0\nReserveVT=0\n"),
    (
        "/etc/systemd/system/getty@tty1.service.d/alice.conf",
        "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin alice --noclear %I linux\n",
    ),
    (
        "/etc/systemd/system/check.service",
        "[Unit]\nAfter=multi-user.target\n\
         [Service]\nExecStart=/check.sh\nStandardOutput=file:/dev/ttyS0\nStandardError=inherit\n",
    ),
];

#[test]
#[ignore = "boots a machine: make test-host"]
fn the_package_serves_a_host_through_restart_and_crash() -> Result<()> {
    let variable = |name| std::env::var_os(name).with_context(|| format!("{name} is unset"));
    let kernels = PathBuf::from(variable("KERNELS_DIR")?);
    let package = PathBuf::from(variable("PACKAGE")?);
    let tests = std::env::current_exe()?;
    let built = tests.parent().and_then(Path::parent).context("the test has no target folder")?;
    let folder = TempDir::new()?;
    let archive = folder.path().join("host.cpio");
    let root = Root::new()?;
    root.add_file("/package.deb", &package)?;
    // Under a name that the service watches unless it is told otherwise.
    root.add_file("/usr/bin/codex", &built.join("examples/scripted_agent"))?;
    root.add_script("/check.sh", include_str!("host/check.sh"))?;
    for (path, text) in FILES {
        root.add_text(path, text)?;
    }
    root.pack(&archive)?;
    let machine = Machine {
        arch: Arch::X86,
        processors: Processors::Two,
        kernel: &kernels.join("6.1/vmlinuz"),
        root: &[&kernels.join("root-host.cpio"), &archive],
        append: "rdinit=/sbin/init systemd.wants=check.service systemd.getty_auto=no \
                 systemd.mask=getty.target systemd.show_status=no systemd.firstboot=no",
        memory_mb: MEMORY_MB,
        patience: PATIENCE,
    };
    let outcome = machine.run(|line| report(&format!("    {line}")))?;
    report(&format!("host: {} s", outcome.took.as_secs()));
    ensure!(outcome.code == Some(0), "ended with {:?}", outcome.code);
    Ok(())
}
