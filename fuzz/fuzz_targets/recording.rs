//! Recordings of both formats: reading them, and living through them.
#![no_main]

use ebpf_ai_monitor::sources::replay;
use ebpf_ai_monitor_fuzz::{Listener, profiles};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(recording) = replay::parse(text, profiles()) else { return };
    assert!(recording.facts.is_sorted_by_key(|dated| dated.at));
    let mut listener = Listener::default();
    for dated in recording.facts {
        listener.hear(dated.at, dated.fact);
    }
    listener.pass(recording.end);
});
