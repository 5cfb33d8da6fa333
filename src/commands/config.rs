//! `config`: what the files say, and what is wrong with them.

use std::io::{Write as _, stdout};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Refusal;
use super::args::{CONFIG, config_dir};
use crate::config::{ConfigFiles, EXAMPLE, SYSTEM};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor config check
  ebpf-ai-monitor config check ./config.toml
  ebpf-ai-monitor config example > ~/.config/ebpf-ai-monitor/config.toml

Exit codes: 0 all is right, 2 a file is wrong.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what is wrong with the configuration
    Check {
        /// Only these [default: the system's and your own]
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print every key there is, with its default and what it does
    Example,
}

impl ConfigArgs {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Check { files } => check(files),
            Command::Example => Ok(stdout().write_all(EXAMPLE.as_bytes())?),
        }
    }
}

fn check(files: Vec<PathBuf>) -> anyhow::Result<()> {
    let missing = files.iter().filter(|path| !path.exists());
    Refusal::of(missing.map(|path| format!("{} is not there", path.display())))?;
    let files = if files.is_empty() { default_files() } else { files };
    let wrong = files.iter().map(|path| ConfigFiles(vec![path.clone()]).read());
    Refusal::of(wrong.filter_map(|read| Some(format!("{:#}", read.err()?))))?;
    for path in files {
        let state = if path.exists() { "right" } else { "not there, which is no error" };
        writeln!(stdout(), "{}: {state}", path.display())?;
    }
    Ok(())
}

fn default_files() -> Vec<PathBuf> {
    let own = config_dir().map(|dir| dir.join(CONFIG));
    [PathBuf::from(SYSTEM)].into_iter().chain(own).collect()
}
