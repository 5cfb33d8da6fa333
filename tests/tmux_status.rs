//! `#{@ai_monitor}` in a real tmux status line, with a real daemon. Needs root
//! and BTF.

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use support::monitor::Monitor;
use support::mux::Mux;
use support::user::TestUser;
use support::{take_turn, wait_until};

const THRESHOLD: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(20);

fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
}

fn configure(user: &TestUser, is_wanted: bool) -> Result<()> {
    user.write("config.toml", &format!("[tmux]\nstatus = {is_wanted}\n"))
}

fn start(user: &TestUser) -> Result<Monitor> {
    let mut command = Command::new(binary());
    command.arg("--config").arg(user.home().join("config.toml"));
    Monitor::start_by(command, binary(), user, THRESHOLD, &["scripted_agent"])
}

#[test]
fn a_status_line_shows_who_waits_once_it_is_wanted() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    configure(&user, false)?;
    let monitor = start(&user)?;
    let inner = Mux::new(&user, "inner")?;
    inner.run(&["new-session", "-d", "-s", "shop", "-x", "80", "-y", "24", &inner.agent()])?;
    inner.run(&["set-option", "-g", "status-right", "[#{@ai_monitor}]"])?;
    // So that nothing but the monitor has the line drawn.
    inner.run(&["set-option", "-g", "status-interval", "0"])?;
    // The line is no part of a pane: it is seen by a client in another tmux.
    let outer = Mux::new(&user, "outer")?;
    let attach = format!("TMUX= exec tmux -u -S {} attach", user.home().join("inner").display());
    outer.run(&["new-session", "-d", "-s", "see", "-x", "80", "-y", "25", &attach])?;
    let line = || {
        let screen = outer.run(&["capture-pane", "-p", "-t", "see"]).unwrap_or_default();
        screen.lines().last().unwrap_or_default().to_owned()
    };
    let option = || inner.run(&["show-options", "-gqv", "@ai_monitor"]).unwrap_or_default();
    wait_until("the status line", BOUND, || line().contains("[]")).with_context(line)?;
    let waits = || monitor.all_changes().is_ok_and(|it| it.iter().any(|it| it.to == "waiting"));
    wait_until("the wait", BOUND, waits)?;
    assert_eq!(inner.run(&["show-options", "-g"])?.matches("@ai_monitor").count(), 1);

    configure(&user, true)?;
    wait_until("the count", BOUND, || line().contains("[● 1]")).with_context(line)?;
    inner.run(&["new-window", "-d", &inner.agent()])?;
    wait_until("both", BOUND, || line().contains("[● 2]")).with_context(line)?;
    configure(&user, false)?;
    wait_until("nothing", BOUND, || line().contains("[]")).with_context(line)?;
    assert_eq!(option(), "");
    configure(&user, true)?;
    wait_until("both again", BOUND, || line().contains("[● 2]")).with_context(line)?;
    // At its end it takes away what would be stale.
    kill_process(Pid::from_raw(monitor.pid().try_into()?).context("it has a pid")?, Signal::TERM)?;
    wait_until("nothing at the end", BOUND, || option().is_empty()).with_context(option)?;
    Ok(())
}
