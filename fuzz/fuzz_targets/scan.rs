//! The scanner of recorded output: raw bytes of a terminal.
#![no_main]

use ebpf_ai_monitor::sources::replay::Scanner;
use ebpf_ai_monitor_core::Sequence;
use libfuzzer_sys::fuzz_target;

/// What bad UTF-8 is replaced by takes three bytes for one.
const MOST_BYTES: usize = 3 * 128;
const NUMBERS: [&str; 6] = ["0", "2", "9", "99", "777", "7501"];

fuzz_target!(|bytes: &[u8]| {
    let mut scanner = Scanner::default();
    for byte in bytes {
        if let Some(Sequence::Osc(text)) = scanner.scan(*byte) {
            assert!(text.len() <= MOST_BYTES, "{text:?}");
            assert!(text.split_once(';').is_some_and(|(it, _)| NUMBERS.contains(&it)), "{text:?}");
        }
    }
    // Whatever came before, a cancel and a whole sequence are understood.
    let mut last = None;
    for byte in b"\x1b\\\x1b\\\x18\x1b]7501;state=idle\x07" {
        last = scanner.scan(*byte).or(last);
    }
    assert_eq!(last, Some(Sequence::Osc("7501;state=idle".to_owned())));
});
