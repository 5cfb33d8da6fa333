//! The kernel side against real programs on real terminals. Needs root and BTF.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test waits for one fact and passes over the others"
)]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use ebpf_ai_monitor::sources::kernel::{Kernel, QuietTimer};
use ebpf_ai_monitor::sources::{self, Dated};
use ebpf_ai_monitor_agents::Agents;
use ebpf_ai_monitor_core::{BootTime, Fact, Input, Mode, Sequence, Tty, TtyMode, Wait, WaitKind};
use support::pty::{OnPty, copy_for, example};
use support::user::TestUser;
use support::{report, take_turn};

const BOUND: Duration = Duration::from_secs(10);
/// Long enough for several looks and for the quiet timer.
const A_WHILE: Duration = Duration::from_millis(1500);

/// The first kernel that has `bpf_loop`, without which content is not seen.
const CONTENT_SINCE: (u32, u32) = (5, 17);

/// A user whose terminals are watched, and the facts about them.
struct Lab {
    facts: Receiver<Dated>,
    waiter: PathBuf,
    user: TestUser,
}

impl Lab {
    fn open(timer: QuietTimer) -> Result<Self> {
        let user = TestUser::create()?;
        let waiter = example(&user, "waiter")?;
        let facts = watch(&user, "waiter", timer)?;
        Ok(Self { facts, waiter, user })
    }

    /// The same for whatever a shell runs.
    fn of_shells() -> Result<Self> {
        let user = TestUser::create()?;
        let facts = watch(&user, "bash", QuietTimer::Kernel)?;
        Ok(Self { facts, waiter: PathBuf::new(), user })
    }

    fn waiter(&self, arguments: &str) -> Result<OnPty> {
        OnPty::start(self.user.command(&self.waiter).args(arguments.split_whitespace()))
    }

    /// The first fact that fits, within the bound.
    fn wait_for<T>(&self, what: &str, mut fits: impl FnMut(&Dated) -> Option<T>) -> Result<T> {
        let end = Instant::now() + BOUND;
        let mut others = Vec::new();
        while let Some(patience) = end.checked_duration_since(Instant::now()) {
            let Ok(dated) = self.facts.recv_timeout(patience) else { break };
            if let Some(found) = fits(&dated) {
                return Ok(found);
            }
            others.push(dated.fact);
        }
        bail!("{what} was not told; told were {others:#?}")
    }

    fn all_within(&self, time: Duration) -> Vec<Dated> {
        let end = Instant::now() + time;
        let mut facts = Vec::new();
        while let Some(patience) = end.checked_duration_since(Instant::now()) {
            match self.facts.recv_timeout(patience) {
                Ok(dated) => facts.push(dated),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        facts
    }

    fn wait_for_tty(&self, program: &OnPty) -> Result<Tty> {
        self.wait_for("the terminal", |dated| match &dated.fact {
            Fact::Attached { process, tty: Some(tty) } if process.pid.0 == program.pid() => {
                Some(tty.clone())
            }
            _ => None,
        })
    }

    fn wait_for_exit(&self, program: &OnPty) -> Result<()> {
        self.wait_for("the exit", |dated| match dated.fact {
            Fact::Exited(process) if process.pid.0 == program.pid() => Some(()),
            _ => None,
        })
    }
}

/// The facts about all programs of this name that the user runs.
fn watch(user: &TestUser, name: &str, timer: QuietTimer) -> Result<Receiver<Dated>> {
    let program = copy_for(user, env!("CARGO_BIN_EXE_ebpf-ai-monitor").as_ref())?;
    let profiles = Agents::builtin().profiles(&[name.to_owned()]);
    let mut kernel = Kernel::attach(user.uid(), profiles, program)?;
    let seen = kernel.self_test(timer)?;
    let has_content = support::kernel_version() >= CONTENT_SINCE;
    ensure!((seen.sequence, seen.input) == (has_content, has_content), "{seen:?}");
    let (inbox, facts) = sources::channel();
    thread::spawn(move || kernel.run(&inbox));
    Ok(facts)
}

#[test]
fn sees_every_way_to_wait_for_input() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let lab = Lab::open(QuietTimer::Kernel)?;
    for (how, kind) in [
        ("read", WaitKind::Read),
        ("poll", WaitKind::Poll),
        ("select", WaitKind::Poll),
        ("epoll", WaitKind::Epoll),
        ("io-uring-read", WaitKind::IoUring),
        ("io-uring-poll", WaitKind::IoUring),
    ] {
        for (mode, option) in [(TtyMode::Canonical, ""), (TtyMode::Raw, "--raw")] {
            for thread in ["", "--thread"] {
                let arguments = format!("{how} {option} {thread}");
                let waiter = lab.waiter(&arguments)?;
                let expected = Wait { how: kind, mode };
                lab.wait_for(&format!("{arguments}: {expected:?}"), |dated| match dated.fact {
                    Fact::Looked { process, waits } if process.pid.0 == waiter.pid() => {
                        (waits == Some(expected)).then_some(())
                    }
                    _ => None,
                })?;
                waiter.write(b"x\n")?;
                lab.wait_for_exit(&waiter).context(arguments)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_program_that_sleeps_does_not_wait() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let lab = Lab::open(QuietTimer::Kernel)?;
    let sleeper = lab.waiter("sleep")?;
    let facts = lab.all_within(A_WHILE);
    let looks = |dated: &&Dated| matches!(dated.fact, Fact::Looked { process, .. } if process.pid.0 == sleeper.pid());
    assert!(facts.iter().filter(looks).count() >= 3, "it is looked at: {facts:#?}");
    let waits = facts.iter().any(|it| matches!(it.fact, Fact::Looked { waits: Some(_), .. }));
    assert!(!waits, "{facts:#?}");
    Ok(())
}

#[test]
fn tells_who_holds_the_other_end() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let lab = Lab::open(QuietTimer::Kernel)?;
    let _waiter = lab.waiter("read")?;
    let owner = lab.wait_for("the owner", |dated| match &dated.fact {
        Fact::Owned { owner, .. } => Some(owner.clone()),
        _ => None,
    })?;
    assert_eq!(owner.process.pid.0, std::process::id());
    Ok(())
}

#[test]
fn tells_of_quiet_once_and_on_time_with_either_timer() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    for timer in [QuietTimer::Kernel, QuietTimer::UserSpace] {
        let lab = Lab::open(timer)?;
        let waiter = lab.waiter("read")?;
        lab.wait_for_tty(&waiter)?;
        lab.all_within(A_WHILE);
        // The echo of a key is not the program's own output; its answer is.
        let writer = lab.waiter("write --raw --count 5 --pace 50000")?;
        let tty = lab.wait_for_tty(&writer)?;
        writer.write(b"g")?;
        let facts = lab.all_within(A_WHILE);
        let quiets: Vec<(BootTime, BootTime)> = facts
            .iter()
            .filter_map(|dated| match dated.fact {
                Fact::Quiet { last_output, process } if process.pid.0 == writer.pid() => {
                    Some((dated.at, last_output))
                }
                _ => None,
            })
            .collect();
        let [(at, last_output)] = quiets[..] else {
            bail!("{timer:?}: one quiet, not {quiets:?} on {tty:?}: {facts:#?}")
        };
        let delay = at.since(last_output);
        report(&format!("quiet by {timer:?}: told {delay:?} after the last output"));
        assert!(delay >= Duration::from_millis(200), "{timer:?}: {delay:?}");
        let latest = if support::is_emulated() { 2000 } else { 400 };
        assert!(delay < Duration::from_millis(latest), "{timer:?}: {delay:?}");
    }
    Ok(())
}

#[test]
fn tells_the_kind_of_keys_and_nothing_else() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let lab = Lab::open(QuietTimer::Kernel)?;
    let sleeper = lab.waiter("sleep --raw")?;
    lab.wait_for_tty(&sleeper)?;
    thread::sleep(Duration::from_millis(300));
    let none = Input::default();
    for (keys, expected) in [
        (&b"secret"[..], Input { bytes: 6, ..none }),
        (b"\r", Input { bytes: 1, enter: true, ..none }),
        (b"\x1b", Input { bytes: 1, escape: true, ..none }),
        // The rest of what began with the escape byte before.
        (b"[I", Input { bytes: 2, focus_in: true, ..none }),
        (b"\x1b[O", Input { bytes: 3, focus_out: true, ..none }),
        (b"\x1b[A", Input { bytes: 3, ..none }),
        (b"\x03", Input { bytes: 1, interrupt: true, ..none }),
        (b"a line\r", Input { bytes: 7, enter: true, ..none }),
    ] {
        sleeper.write(keys)?;
        let input = lab.wait_for("the keys", |dated| match dated.fact {
            Fact::Input { input, .. } => Some(input),
            _ => None,
        })?;
        assert_eq!(input, expected, "{keys:?}");
    }
    Ok(())
}

#[test]
fn misses_no_enter_however_close_it_follows() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    const ROUNDS: usize = 300;
    let lab = Lab::open(QuietTimer::Kernel)?;
    let sleeper = lab.waiter("sleep --raw")?;
    lab.wait_for_tty(&sleeper)?;
    thread::sleep(Duration::from_millis(300));
    for round in 0..ROUNDS {
        // The second write may come while the kernel still takes the first.
        sleeper.write(b"x")?;
        sleeper.write(b"\r")?;
        let (mut bytes, mut has_enter) = (0, false);
        while bytes < 2 {
            let input = lab.wait_for("the keys", |dated| match dated.fact {
                Fact::Input { input, .. } => Some(input),
                _ => None,
            })?;
            bytes += input.bytes;
            has_enter |= input.enter;
        }
        assert!(has_enter, "round {round}: {bytes} bytes came, and no Enter among them");
        assert_eq!(bytes, 2, "round {round}");
    }
    Ok(())
}

#[test]
fn never_tells_of_other_users_terminals() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let lab = Lab::open(QuietTimer::Kernel)?;
    let stranger = TestUser::create()?;
    let theirs = example(&stranger, "waiter")?;
    let mut writers = vec![
        OnPty::start(stranger.command(&theirs).args(["write", "--count", "50"]))?,
        OnPty::start(Command::new(&lab.waiter).args(["write", "--count", "50"]))?,
    ];
    thread::sleep(Duration::from_millis(300));
    for writer in &writers {
        writer.write(b"go\n")?;
    }
    let facts = lab.all_within(A_WHILE);
    assert!(facts.is_empty(), "another user's or root's terminal was told of: {facts:#?}");
    // The same by the watched user is told, so the silence above means something.
    writers.push(lab.waiter("write --count 50")?);
    lab.wait_for_tty(&writers[2])?;
    writers[2].write(b"go\n")?;
    lab.wait_for("a sequence", |dated| matches!(dated.fact, Fact::Sequence { .. }).then_some(()))
}

#[test]
fn tells_of_children() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let lab = Lab::of_shells()?;
    let shell = OnPty::start(lab.user.command("bash").args(["-c", "sleep 0.5; true; exit 0"]))?;
    let child = lab.wait_for("the child's start", |dated| match dated.fact {
        Fact::ChildStarted { process, child } if process.pid.0 == shell.pid() => Some(child),
        _ => None,
    })?;
    lab.wait_for("the child's exit", |dated| match dated.fact {
        Fact::ChildExited { child: exited, .. } => (exited == child).then_some(()),
        _ => None,
    })?;
    lab.wait_for_exit(&shell)
}

/// Writes each text with `printf` and tells what the kernel side found, up to
/// the title `end`.
fn found_in(lab: &Lab, texts: &[&str]) -> Result<Vec<Fact>> {
    let prints = texts.iter().map(|text| format!("printf '{text}'; sleep 0.05; "));
    // The terminal is known by the time of the first print.
    let script =
        format!("sleep 0.5; {} printf '\\e]0;end\\a'; sleep 1", prints.collect::<String>());
    let shell = OnPty::start(lab.user.command("setsid").args(["--ctty", "bash", "-c", &script]))?;
    lab.wait_for_tty(&shell)?;
    let mut found = Vec::new();
    lab.wait_for("the end", |dated| match &dated.fact {
        Fact::Sequence { sequence: Sequence::Osc(osc), .. } if osc == "0;end" => Some(()),
        Fact::Sequence { .. } | Fact::Redrawn { .. } => {
            found.push(dated.fact.clone());
            None
        }
        _ => None,
    })?;
    Ok(found)
}

#[test]
fn finds_sequences_in_all_their_forms() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let osc = |text: &str| Sequence::Osc(text.to_owned());
    let cut = format!("0;{}", "x".repeat(126));
    let long = format!("\\e]0;{}\\a", "x".repeat(5_000));
    let table: &[(&[&str], &[Sequence])] = &[
        (&[r"text\e]0;a b\atext"], &[osc("0;a b")]),
        (&[r"\e]7501;state=idle\e\\"], &[osc("7501;state=idle")]),
        (&[r"\e]75", "01;st", "ate=done", r"\e", r"\\"], &[osc("7501;state=done")]),
        // The 8-bit forms, and characters whose bytes look like them, at each
        // place in a word of eight bytes.
        (&[r"\2352;eight\234"], &[osc("2;eight")]),
        (
            &[r"❯\xe2\x9d\xaf \xf0\x9d\x9d\x9d1❯12❯123❯1234❯12345❯123456❯1234567❯\a"],
            &[Sequence::Bell],
        ),
        (&[r"1234567\xf0", r"\x9d", r"\x9d\x9d0;no\a"], &[Sequence::Bell]),
        (&[r"\e]0;⠜ \xe2\x9d\xaf\a"], &[osc("0;⠜ ❯")]),
        (&[r"\ePtmux;\e\e]0;through\a\e\\"], &[osc("0;through")]),
        (&[r"\ePtmux;\e\e]2;again\e\e\\\e\\"], &[osc("2;again")]),
        (&[r"\e]0;never ended\e]2;b\a"], &[osc("2;b")]),
        (&[r"\e]0;cancelled\030", r"\a"], &[Sequence::Bell]),
        (&[&long, r"\e]0;after\a"], &[osc(&cut), osc("0;after")]),
        (&[r"\e]8;;http://x\a\e]52;c;eA==\a"], &[]),
        (
            &[r"\e[?2004h> \e[1m\233?2004l"],
            &[Sequence::PasteMode(Mode::Set), Sequence::PasteMode(Mode::Reset)],
        ),
        (&[r"\e[?20", r"04l"], &[Sequence::PasteMode(Mode::Reset)]),
        (&[r"\e[?200\e[?2004h\e[?1004h\e[2004h\e[?20045h"], &[Sequence::PasteMode(Mode::Set)]),
    ];
    let lab = Lab::of_shells()?;
    for (texts, expected) in table {
        let found: Vec<Sequence> = found_in(&lab, texts)?
            .into_iter()
            .filter_map(|fact| match fact {
                Fact::Sequence { sequence, .. } => Some(sequence),
                _ => None,
            })
            .collect();
        assert_eq!(found, *expected, "{texts:?}");
    }
    Ok(())
}

#[test]
fn tells_of_big_redraws() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let text = |bytes: usize| "x".repeat(bytes);
    let (small, big) = (text(250), text(1_000));
    let lab = Lab::of_shells()?;
    for (texts, expected) in [(&small, 0), (&big, 1)] {
        let found = found_in(&lab, &["", "", "", texts, "", "", ""])?;
        assert_eq!(found.len(), expected, "{} bytes", texts.len());
    }
    Ok(())
}

/// How many numbered sequences a writer writes, and of how many of a flood one
/// may be lost.
fn flood() -> (u32, usize) {
    if support::is_emulated() { (2_000, 500) } else { (20_000, 10_000) }
}

#[test]
fn loses_no_sequence_of_a_paced_writer() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let tally = count_sequences("--pace 1000")?;
    report(&format!("paced at 1 ms: {tally}"));
    assert_eq!((tally.lost, tally.gaps), (0, 0), "{tally}");
    Ok(())
}

#[test]
fn loses_next_to_none_in_a_flood_and_announces_every_loss() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let (_, one_lost_in) = flood();
    let mut total = Tally::default();
    for round in 0..5 {
        let tally = count_sequences("")?;
        report(&format!("flood {round}: {tally}"));
        assert!(tally.lost == 0 || tally.gaps > 0, "a loss was not announced: {tally}");
        total.lost += tally.lost;
        total.told += tally.told;
    }
    assert!(total.lost * one_lost_in <= total.lost + total.told, "{total}");
    Ok(())
}

#[derive(Debug, Default)]
struct Tally {
    told: usize,
    lost: usize,
    gaps: usize,
    lost_bytes: u64,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { told, lost, gaps, lost_bytes } = self;
        write!(f, "{told} told, {lost} lost, {gaps} gaps of {lost_bytes} bytes in all")
    }
}

/// Has numbered sequences written and counts what is told of them; fails if
/// one is told twice or garbled.
fn count_sequences(options: &str) -> Result<Tally> {
    let (sequences, _) = flood();
    let lab = Lab::open(QuietTimer::Kernel)?;
    let writer = lab.waiter(&format!("write --raw --count {sequences} {options}"))?;
    lab.wait_for_tty(&writer)?;
    thread::sleep(Duration::from_millis(300));
    writer.write(b"g")?;
    let mut times_told: BTreeMap<u32, u32> = BTreeMap::new();
    let mut tally = Tally::default();
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let dated = match lab.facts.recv_timeout(Duration::from_secs(2)) {
            Ok(dated) => dated,
            Err(RecvTimeoutError::Timeout) if !times_told.is_empty() => break,
            Err(error) => bail!("nothing is told: {error}"),
        };
        ensure!(Instant::now() < end, "the writer never ends");
        match dated.fact {
            Fact::Sequence { sequence: Sequence::Osc(text), .. } => {
                let number = text.strip_prefix("7501;state=working:n=");
                let number =
                    number.filter(|digits| digits.len() == 5).and_then(|it| it.parse().ok());
                *times_told
                    .entry(number.with_context(|| format!("garbled: {text:?}"))?)
                    .or_default() += 1;
            }
            Fact::Gap { bytes, .. } => {
                tally.gaps += 1;
                tally.lost_bytes += bytes;
            }
            _ => {}
        }
    }
    let doubled: Vec<_> = times_told.iter().filter(|(_, times)| **times > 1).collect();
    ensure!(doubled.is_empty(), "told more than once: {doubled:?}");
    tally.told = times_told.len();
    tally.lost = usize::try_from(sequences)? - tally.told;
    Ok(tally)
}
