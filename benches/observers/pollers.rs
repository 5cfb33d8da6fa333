//! Observers that ask again and again, each a program of its own, so that its
//! cost can be told: `observers poll tmux SOCKET`, `observers poll proc NAME`.
//! They print `TTY STATE` for each change.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::observer::THRESHOLD;

pub(crate) const WORD: &str = "poll";
const PERIOD: Duration = Duration::from_millis(300);
/// The major number of the first pts devices (Documentation/admin-guide/devices.txt).
const PTS_MAJOR: u32 = 136;

/// Of each terminal: what was there the last time, when that changed, and the
/// state that was told.
type Seen = BTreeMap<String, (String, Instant, Option<&'static str>)>;

pub(crate) fn run(words: &[String]) -> Result<()> {
    let [what, of] = words else { bail!("poll tmux SOCKET, or poll proc NAME") };
    let look = if what == "tmux" { screens } else { run_times };
    let mut seen = Seen::new();
    loop {
        let begun = Instant::now();
        for (tty, what) in look(of)? {
            compare(&mut seen, tty, what);
        }
        thread::sleep(PERIOD.saturating_sub(begun.elapsed()));
    }
}

/// What changes works; what stays the same for the threshold waits.
fn compare(seen: &mut Seen, tty: String, what: String) {
    let now = Instant::now();
    let (last, changed_at, told) =
        seen.entry(tty.clone()).or_insert_with(|| (what.clone(), now, None));
    if *last != what {
        (*last, *changed_at) = (what, now);
    }
    let state = if *changed_at == now {
        "working"
    } else if now - *changed_at >= THRESHOLD {
        "waiting"
    } else {
        return;
    };
    if *told != Some(state) {
        println!("{tty} {state}");
        *told = Some(state);
    }
}

/// The screen of each pane.
fn screens(socket: &str) -> Result<Vec<(String, String)>> {
    let tmux = |words: &[&str]| -> Result<String> {
        let output = Command::new("tmux").args(["-S", socket]).args(words).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let panes = tmux(&["list-panes", "-a", "-F", "#{pane_id} #{pane_tty}"])?;
    let panes = panes.lines().filter_map(|line| line.split_once(" /dev/"));
    panes.map(|(pane, tty)| Ok((tty.into(), tmux(&["capture-pane", "-p", "-t", pane])?))).collect()
}

/// How long each process of this name has run.
fn run_times(name: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("no /proc")?.flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((front, fields)) = stat.rsplit_once(')') else { continue };
        if !front.ends_with(&format!("({name}")) {
            continue;
        }
        // tty_nr is the fifth after the name.
        let device = fields.split_whitespace().nth(4).and_then(|it| it.parse::<u32>().ok());
        let Some(device) = device.filter(|it| it >> 8 & 0xfff == PTS_MAJOR) else { continue };
        let number = device & 0xff | device >> 12 & 0xfff00;
        // All of its threads.
        let mut total = String::new();
        for thread in fs::read_dir(entry.path().join("task")).into_iter().flatten().flatten() {
            let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            total += text.split(' ').next().unwrap_or_default();
            total.push(' ');
        }
        found.push((format!("pts/{number}"), total));
    }
    Ok(found)
}
