//! `manual`: pages of section 1, one for each command, as packages ship them.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command};

#[derive(Debug, Args)]
pub(crate) struct ManualArgs {
    /// Where the pages are written
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl ManualArgs {
    pub(crate) fn run(self, whole: Command) -> anyhow::Result<()> {
        fs::create_dir_all(&self.dir)
            .and_then(|()| clap_mangen::generate_to(whole, &self.dir))
            .with_context(|| format!("cannot write the manual to {}", self.dir.display()))
    }
}
