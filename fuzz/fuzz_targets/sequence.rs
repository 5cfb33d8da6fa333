//! What programs tell by sequences: each line is the text of one, after its
//! first byte, which says how long after the one before and what else happens.
#![no_main]

use std::time::Duration;

use ebpf_ai_monitor_core::{BootTime, Fact, Mode, Pid, ProcessId, Sequence, Tty};
use ebpf_ai_monitor_fuzz::Listener;
use libfuzzer_sys::fuzz_target;

const AGENTS: [&str; 8] =
    ["claude", "codex", "gemini", "qwen", "opencode", "aider", "copilot", "repl"];

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let mut now = BootTime::from_millis(1_000);
    let process = ProcessId { pid: Pid(1), started_at: now };
    let agent = AGENTS[usize::from(*first) % AGENTS.len()].to_owned();
    let (project, directory) = (String::new(), String::new());
    let mut listener = Listener::default();
    let (parent, named_project) = (Pid(1), None);
    listener.hear(now, Fact::Started { process, parent, agent, project, named_project, directory });
    let tty = Some(Tty { id: 1, name: "pts/1".to_owned() });
    listener.hear(now, Fact::Attached { process, tty });
    listener.hear(now, Fact::Output(process));
    for line in rest.split(|byte| *byte == b'\n') {
        let Some((how, text)) = line.split_first() else { continue };
        now = now + Duration::from_millis(u64::from(*how) * u64::from(*how));
        let sequence = match how % 8 {
            0 => Sequence::Bell,
            1 => Sequence::PasteMode(Mode::Set),
            2 => Sequence::PasteMode(Mode::Reset),
            _ => Sequence::Osc(String::from_utf8_lossy(text).into_owned()),
        };
        listener.hear(now, Fact::Sequence { tty: 1, sequence });
        match how % 5 {
            0 => listener.hear(now, Fact::Output(process)),
            1 => listener.hear(now, Fact::Gap { tty: 1, bytes: 1 }),
            _ => {}
        }
    }
    listener.pass(now + Duration::from_secs(60));
});
