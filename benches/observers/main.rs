//! Observers of agents side by side: what each costs those whom it does not
//! watch, those whom it does, and itself; how late it is, and how right. `make
//! bench`; needs root, tmux and bpftrace. Writes tables and plots to `BENCH_DIR`
//! and asserts nothing: the numbers are for people.
#![allow(clippy::print_stdout, reason = "it is a command")]

mod count;
mod loads;
mod observer;
mod own;
mod plots;
mod pollers;
mod turns;
mod unwatched;

#[path = "../../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rustix::process::{Resource, Rlimit, setrlimit};
use support::user::TestUser;

/// Gives its chapter of the page, and puts its plot into the folder.
type Part = fn(&TestUser, &Path) -> Result<String>;

/// For a thousand terminals, two descriptors each.
const FILES: u64 = 16_384;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, rest @ ..] = words.as_slice()
        && word == pollers::WORD
    {
        return pollers::run(rest);
    }
    if words.first().is_some_and(|word| word == count::WORD) {
        return count::run();
    }
    // `cargo test --all-targets` starts this too, without the word.
    if !words.iter().any(|word| word == "--bench") {
        return Ok(());
    }
    if let Some(reason) = support::reason_to_skip() {
        bail!("cannot measure: {reason}");
    }
    support::mount_tracefs()?;
    setrlimit(Resource::Nofile, Rlimit { current: Some(FILES), maximum: Some(FILES) })?;
    let folder = std::env::var_os("BENCH_DIR").map_or("target/bench".into(), PathBuf::from);
    fs::create_dir_all(&folder)?;
    let user = TestUser::create()?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let mut page = String::new();
    writeln!(page, "# The last run of `make bench`\n")?;
    writeln!(
        page,
        "Linux {}, {} cores, load before {}. Written by the benchmark itself; \
         [what it means](../benchmarks.md).",
        rustix::system::uname().release().to_string_lossy(),
        std::thread::available_parallelism()?,
        load.split(' ').next().unwrap_or_default(),
    )?;
    let parts: [(&str, Part); 4] = [
        ("turns", turns::measure),
        ("own", own::measure),
        ("unwatched", unwatched::measure),
        ("instructions", count::measure),
    ];
    // PARTS="turns own" for those who work on them.
    let wanted = std::env::var("PARTS").unwrap_or_default();
    for (name, measure) in parts {
        if wanted.is_empty() || wanted.split(' ').any(|word| word == name) {
            let part = measure(&user, &folder)?;
            println!("{part}");
            write!(page, "\n{part}")?;
        }
    }
    fs::write(folder.join("results.md"), page)?;
    println!("written to {}", folder.display());
    Ok(())
}
