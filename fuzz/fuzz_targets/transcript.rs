//! A line of a transcript, as the source of transcripts reads it.
#![no_main]

use ebpf_ai_monitor_fuzz::profiles;
use libfuzzer_sys::fuzz_target;

// Not public, and needs nothing of what is around it.
#[path = "../../src/sources/transcripts/line.rs"]
mod line;

fuzz_target!(|bytes: &[u8]| {
    for profile in profiles().iter() {
        let Some(transcripts) = &profile.transcripts else { continue };
        let mut walker = line::Walker::new(transcripts.keys());
        for line in bytes.split(|byte| *byte == b'\n') {
            if walker.walk(line).is_some() {
                let _ = transcripts.read(walker.pairs());
            }
            let _ = walker.take_directory();
        }
    }
});
