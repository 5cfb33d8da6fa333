//! `manual`: the pages of section 1, one for each command. Packages ship them.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use clap::Command;

pub(crate) fn manual(command: Command, dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(command, dir))
        .with_context(|| format!("cannot write the manual to {}", dir.display()))
}
