//! Scores recordings without the daemon's dependencies:
//! `cargo run --release -p ebpf-ai-monitor-core --example score -- FILE…`.
#![allow(dead_code, unreachable_pub, reason = "the modules belong to the binary crate")]
#![allow(clippy::print_stdout, reason = "it is a command")]

use std::time::Duration;

#[path = "../../src/sources"]
mod sources {
    use ebpf_ai_monitor_core::{BootTime, Fact};

    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Dated {
        pub at: BootTime,
        pub fact: Fact,
    }

    pub mod replay;
}

#[path = "../../src/commands"]
mod commands {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Format {
        Text,
        Json,
    }

    pub mod score;
}

fn main() -> anyhow::Result<()> {
    let (options, files): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--"));
    let format = if options.iter().any(|option| option == "--json") {
        commands::Format::Json
    } else {
        commands::Format::Text
    };
    let files: Vec<_> = files.into_iter().map(Into::into).collect();
    print!("{}", commands::score::score(&files, Duration::from_secs(1), format)?);
    Ok(())
}
