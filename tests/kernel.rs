//! The kernel side against real programs on real terminals, by each probe. Needs
//! root and BTF.

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
use ebpf_ai_monitor::sources::kernel::{Delivery, Kernel, ProbeChoice, QuietTimer};
use ebpf_ai_monitor::sources::{self, Dated};
use ebpf_ai_monitor_agents::Agents;
use ebpf_ai_monitor_core::{BootTime, Fact, Input, Mode, Sequence, Tty, TtyMode, Wait, WaitKind};
use support::console::OnConsole;
use support::pty::{OnPty, copy_for, example};
use support::user::TestUser;
use support::{mount_tracefs, report, take_turn};

const TTY: ProbeChoice = ProbeChoice::Tty;
const SYSCALLS: ProbeChoice = ProbeChoice::Syscalls(Delivery::Best);
const PERF_BUFFER: ProbeChoice = ProbeChoice::Syscalls(Delivery::PerfBuffer);

const BOUND: Duration = Duration::from_secs(10);
/// Long enough for several looks and for the quiet timer.
const A_WHILE: Duration = Duration::from_millis(1500);

/// A picture is known to move after 3 s.
const MOVES_ALONE_FOR: Duration = Duration::from_secs(6);
const TYPES_EACH: Duration = Duration::from_millis(170);
const MOVES_FOR: Duration = Duration::from_secs(9);
const MOVERS: usize = 4;

/// The first kernel that has `bpf_loop`, without which the tty probe sees no
/// content.
const CONTENT_SINCE: (u32, u32) = (5, 17);

/// A user whose terminals are watched, and the facts about them.
struct Lab {
    facts: Receiver<Dated>,
    waiter: PathBuf,
    user: TestUser,
}

impl Lab {
    fn open(probe: ProbeChoice) -> Result<Self> {
        Self::open_with(probe, QuietTimer::Kernel)
    }

    fn open_with(probe: ProbeChoice, timer: QuietTimer) -> Result<Self> {
        let user = TestUser::create()?;
        let waiter = example(&user, "waiter")?;
        let facts = watch(&user, "waiter", probe, timer)?;
        Ok(Self { facts, waiter, user })
    }

    /// The same for whatever a shell runs.
    fn of_shells(probe: ProbeChoice) -> Result<Self> {
        let user = TestUser::create()?;
        let facts = watch(&user, "bash", probe, QuietTimer::Kernel)?;
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
fn watch(
    user: &TestUser,
    name: &str,
    probe: ProbeChoice,
    timer: QuietTimer,
) -> Result<Receiver<Dated>> {
    mount_tracefs()?;
    let program = copy_for(user, env!("CARGO_BIN_EXE_ebpf-ai-monitor").as_ref())?;
    let profiles = Agents::builtin().profiles(&[name.to_owned()]);
    let (kernel, seen) = Kernel::start(user.uid(), &profiles, &program, probe, timer)?;
    let has_content = probe != TTY || support::kernel_version() >= CONTENT_SINCE;
    ensure!((seen.sequence, seen.input) == (has_content, has_content), "{seen:?}");
    let (inbox, facts) = sources::channel();
    thread::spawn(move || kernel.run(&inbox));
    Ok(facts)
}

/// Plays a scene with each probe, and with both ways in which the second tells.
fn by_each_probe(scene: impl Fn(ProbeChoice) -> Result<()>) -> Result<()> {
    // An emulated machine takes minutes for one.
    let probes = [TTY, SYSCALLS, PERF_BUFFER];
    let probes = if support::is_emulated() { &probes[..1] } else { &probes };
    for &probe in probes {
        scene(probe).with_context(|| format!("{probe:?}"))?;
    }
    Ok(())
}

#[test]
fn sees_every_way_to_wait_for_input() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    by_each_probe(|probe| {
        let lab = Lab::open(probe)?;
        for (how, kind) in [
            ("read", WaitKind::Read),
            ("poll", WaitKind::Poll),
            ("select", WaitKind::Poll),
            ("epoll", WaitKind::Epoll),
            ("io-uring-read", WaitKind::IoUring),
            ("io-uring-poll", WaitKind::IoUring),
        ] {
            // No system call tells of the waits of a ring.
            if kind == WaitKind::IoUring && probe != TTY {
                continue;
            }
            for (mode, option) in [(TtyMode::Canonical, ""), (TtyMode::Raw, "--raw")] {
                for thread in ["", "--thread"] {
                    let arguments = format!("{how} {option} {thread}");
                    let waiter = lab.waiter(&arguments)?;
                    let expected = Wait { how: kind, mode };
                    lab.wait_for(&format!("{arguments}: {expected:?}"), |dated| {
                        match dated.fact {
                            Fact::Looked { process, waits } if process.pid.0 == waiter.pid() => {
                                (waits == Some(expected)).then_some(())
                            }
                            _ => None,
                        }
                    })?;
                    waiter.write(b"x\n")?;
                    lab.wait_for_exit(&waiter).context(arguments)?;
                }
            }
        }
        Ok(())
    })
}

#[test]
fn a_program_that_sleeps_or_waits_elsewhere_does_not_wait() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    by_each_probe(|probe| {
        let lab = Lab::open(probe)?;
        for how in ["sleep", "epoll-elsewhere", "poll-elsewhere"] {
            let sleeper = lab.waiter(how)?;
            let facts = lab.all_within(A_WHILE);
            let looks: Vec<_> = facts
                .iter()
                .filter_map(|dated| match dated.fact {
                    Fact::Looked { process, waits } if process.pid.0 == sleeper.pid() => {
                        Some(waits)
                    }
                    _ => None,
                })
                .collect();
            assert!(looks.len() >= 3, "{how}: it is looked at: {facts:#?}");
            assert!(looks.iter().all(Option::is_none), "{how}: {facts:#?}");
        }
        Ok(())
    })
}

#[test]
fn tells_who_holds_the_other_end() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    by_each_probe(|probe| {
        let lab = Lab::open(probe)?;
        let _waiter = lab.waiter("read")?;
        let owner = lab.wait_for("the owner", |dated| match &dated.fact {
            Fact::Owned { owner, .. } => Some(owner.clone()),
            _ => None,
        })?;
        assert_eq!(owner.process.pid.0, std::process::id());
        Ok(())
    })
}

#[test]
fn tells_of_quiet_once_and_on_time_with_either_timer() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    for (probe, timer) in [
        (TTY, QuietTimer::Kernel),
        (TTY, QuietTimer::UserSpace),
        (SYSCALLS, QuietTimer::UserSpace),
        (PERF_BUFFER, QuietTimer::UserSpace),
    ] {
        let lab = Lab::open_with(probe, timer)?;
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
            bail!("{probe:?}, {timer:?}: one quiet, not {quiets:?} on {tty:?}: {facts:#?}")
        };
        let delay = at.since(last_output);
        report(&format!("quiet by {probe:?}, {timer:?}: told {delay:?} after the last output"));
        assert!(delay >= Duration::from_millis(200), "{timer:?}: {delay:?}");
        let latest = if support::is_emulated() { 2000 } else { 1000 };
        assert!(delay < Duration::from_millis(latest), "{timer:?}: {delay:?}");
    }
    Ok(())
}

#[test]
fn a_picture_that_moves_on_wakes_nobody_and_holds_nothing_up() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let probes = if support::is_emulated() { &[TTY][..] } else { &[TTY, SYSCALLS] };
    probes.iter().try_for_each(|probe| move_on(*probe))
}

fn move_on(probe: ProbeChoice) -> Result<()> {
    let user = TestUser::create()?;
    let agent = example(&user, "scripted_agent")?;
    let facts = watch(&user, "scripted_agent", probe, QuietTimer::Kernel)?;
    let steps = ["--take-terminal", "animate=60000"];
    let mut movers = Vec::new();
    for _ in 0..MOVERS {
        movers.push(OnPty::start(user.command(&agent).args(steps))?);
        // Each draws at moments of its own.
        thread::sleep(Duration::from_millis(23));
    }
    let mut outputs: BTreeMap<u32, Vec<(BootTime, Duration)>> = BTreeMap::new();
    let mut keys = Vec::new();
    let (began, mut typed) = (Instant::now(), 0);
    while began.elapsed() < MOVES_FOR {
        if let Ok(Dated { at, fact }) = facts.recv_timeout(Duration::from_millis(10)) {
            let late = sources::boot_time().since(at);
            match fact {
                Fact::Output(process) => {
                    outputs.entry(process.pid.0).or_default().push((at, late));
                }
                Fact::Input { .. } => keys.push(late),
                _ => {}
            }
        }
        let due = MOVES_ALONE_FOR + TYPES_EACH * typed;
        if began.elapsed() > due {
            movers[0].write(b"x")?;
            typed += 1;
        }
    }
    ensure!(outputs.len() == MOVERS, "{outputs:?}");
    let of_one = |all: &Vec<(BootTime, Duration)>| {
        all.windows(2).map(|pair| pair[1].0.since(pair[0].0)).max()
    };
    let longest = outputs.values().filter_map(of_one).max();
    let mut late: Vec<Duration> = outputs.values().flatten().map(|(_, late)| *late).collect();
    late.sort();
    keys.sort();
    let middle = |all: &[Duration]| all.get(all.len() / 2).copied().unwrap_or_default();
    let key = middle(&keys);
    report(&format!(
        "{probe:?}: {} outputs, late by {:?}; keys by {key:?}, median",
        late.len(),
        middle(&late)
    ));
    ensure!(!keys.is_empty(), "no key was told");
    // In an emulated machine all is late, and some may fail to draw in time.
    if !support::is_emulated() {
        ensure!(longest < Some(Duration::from_secs(1)), "outputs were lost: {outputs:?}");
        ensure!(late.last() < Some(&Duration::from_secs(2)), "nobody looks: {late:?}");
        let held = late.iter().filter(|late| **late > Duration::from_millis(25)).count();
        ensure!(held >= 5 * MOVERS, "outputs woke the monitor: {late:?}");
        ensure!(key < Duration::from_millis(40), "keys wait for the next look: {keys:?}");
    }
    Ok(())
}

#[test]
fn tells_the_kind_of_keys_and_nothing_else() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    by_each_probe(|probe| {
        let lab = Lab::open(probe)?;
        let taker = lab.waiter("take --raw")?;
        lab.wait_for_tty(&taker)?;
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
            let before = sources::boot_time();
            taker.write(keys)?;
            let (at, input) = lab.wait_for("the keys", |dated| match dated.fact {
                Fact::Input { input, .. } => Some((dated.at, input)),
                _ => None,
            })?;
            assert_eq!(input, expected, "{keys:?}");
            assert!(
                before <= at && at <= sources::boot_time(),
                "told of {at:?} in the past or future"
            );
        }
        Ok(())
    })
}

#[test]
fn tells_of_keys_and_output_of_a_console() -> Result<()> {
    skip_unless_root!();
    if !OnConsole::is_there() {
        report("skipped: this machine has no virtual terminals");
        return Ok(());
    }
    let _turn = take_turn();
    let lab = Lab::open(SYSCALLS)?;
    let writer = OnConsole::start(
        &lab.user,
        lab.user.command(&lab.waiter).args(["write", "--raw", "--count", "20", "--pace", "10000"]),
    )?;
    lab.wait_for("the wait", |dated| match dated.fact {
        Fact::Looked { process, waits: Some(wait) } if process.pid.0 == writer.pid() => {
            assert_eq!(wait, Wait { how: WaitKind::Read, mode: TtyMode::Raw });
            Some(())
        }
        _ => None,
    })?;
    writer.type_keys(b"g")?;
    let facts = lab.all_within(A_WHILE);
    let keys = Input { bytes: 1, ..Input::default() };
    let has_keys =
        facts.iter().any(|it| matches!(it.fact, Fact::Input { input, .. } if input == keys));
    let outputs = facts.iter().filter(|it| matches!(it.fact, Fact::Output(_))).count();
    let sequences = facts.iter().filter(|it| matches!(it.fact, Fact::Sequence { .. })).count();
    assert!(has_keys && outputs > 0, "{facts:#?}");
    // A slow machine may write before its descriptors are known, which is told.
    let is_lossy = facts.iter().any(|it| matches!(it.fact, Fact::Gap { .. }));
    let is_all = sequences == 20 || support::is_emulated() && is_lossy && sequences > 0;
    assert!(is_all, "{sequences} of 20: {facts:#?}");
    Ok(())
}

#[test]
fn misses_no_enter_however_close_it_follows() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    by_each_probe(|probe| {
        const ROUNDS: usize = 300;
        let lab = Lab::open(probe)?;
        let taker = lab.waiter("take --raw")?;
        lab.wait_for_tty(&taker)?;
        thread::sleep(Duration::from_millis(300));
        for round in 0..ROUNDS {
            // The second write may come while the kernel still takes the first.
            taker.write(b"x")?;
            taker.write(b"\r")?;
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
    })
}

#[test]
fn never_tells_of_other_users_terminals() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    by_each_probe(|probe| {
        let lab = Lab::open(probe)?;
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
        lab.wait_for("a sequence", |dated| {
            matches!(dated.fact, Fact::Sequence { .. }).then_some(())
        })
    })
}

#[test]
fn tells_of_children() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    by_each_probe(|probe| {
        let lab = Lab::of_shells(probe)?;
        // The first may be there before the shell is known to be of interest.
        let script = "sleep 0.3; sleep 0.5; exit 0";
        let shell = OnPty::start(lab.user.command("bash").args(["-c", script]))?;
        let child = lab.wait_for("the child's start", |dated| match dated.fact {
            Fact::ChildStarted { process, child } if process.pid.0 == shell.pid() => Some(child),
            _ => None,
        })?;
        lab.wait_for("the child's exit", |dated| match dated.fact {
            Fact::ChildExited { child: exited, .. } => (exited == child).then_some(()),
            _ => None,
        })?;
        lab.wait_for_exit(&shell)
    })
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
    by_each_probe(|probe| {
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
        // A character is cut where what is scanned in one go ends, wherever that is.
        let cut_characters: Vec<String> = (1_001..=1_008)
            .flat_map(|bytes| [format!("{}\\xc3", "x".repeat(bytes)), r"\x9d0;no\a".to_owned()])
            .collect();
        let cut_characters: Vec<&str> = cut_characters.iter().map(String::as_str).collect();
        let bells = [const { Sequence::Bell }; 8];
        let lab = Lab::of_shells(probe)?;
        for (texts, expected) in table.iter().chain([&(&cut_characters[..], &bells[..])]) {
            let found: Vec<Sequence> = found_in(&lab, texts)?
                .into_iter()
                .filter_map(|fact| match fact {
                    Fact::Sequence { sequence, .. } => Some(sequence),
                    _ => None,
                })
                .collect();
            assert_eq!(found, *expected, "{:.80}", texts[0]);
        }
        Ok(())
    })
}

#[test]
fn tells_of_big_redraws() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    by_each_probe(|probe| {
        let text = |bytes: usize| "x".repeat(bytes);
        let (small, big) = (text(250), text(1_000));
        let lab = Lab::of_shells(probe)?;
        for (texts, expected) in [(&small, 0), (&big, 1)] {
            let found = found_in(&lab, &["", "", "", texts, "", "", ""])?;
            assert_eq!(found.len(), expected, "{} bytes", texts.len());
        }
        Ok(())
    })
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
    let probes = if support::is_emulated() { &[TTY][..] } else { &[TTY, SYSCALLS] };
    for &probe in probes {
        let tally = count_sequences(probe, "--pace 1000")?;
        report(&format!("{probe:?}: paced at 1 ms: {tally}"));
        assert_eq!((tally.lost, tally.gaps), (0, 0), "{tally}");
    }
    Ok(())
}

#[test]
fn loses_next_to_none_in_a_flood_and_announces_every_loss() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    by_each_probe(|probe| {
        let mut total = Tally::default();
        // Only the tty probe reads the terminal's buffers while they are emptied.
        for round in 0..if probe == TTY { 5 } else { 1 } {
            let tally = count_sequences(probe, "")?;
            report(&format!("{probe:?}: flood {round}: {tally}"));
            assert!(tally.lost == 0 || tally.gaps > 0, "a loss was not announced: {tally}");
            total.lost += tally.lost;
            total.told += tally.told;
        }
        assert!(total.lost * flood().1 <= total.lost + total.told, "{total}");
        Ok(())
    })
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
fn count_sequences(probe: ProbeChoice, options: &str) -> Result<Tally> {
    let lab = Lab::open(probe)?;
    let (sequences, _) = flood();
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
