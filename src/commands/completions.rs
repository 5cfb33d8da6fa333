//! `completions`: what makes a shell complete this program's words.

use std::io::{Write as _, stdout};

use clap::Command;
use clap_complete::{Generator as _, Shell};

pub(crate) fn completions(command: &Command, shell: Shell) -> anyhow::Result<()> {
    let mut command = without_hidden(command);
    command.build();
    let mut script = Vec::new();
    shell.try_generate(&command, &mut script)?;
    stdout().write_all(&script)?;
    Ok(())
}

/// The generators offer hidden commands too.
fn without_hidden(command: &Command) -> Command {
    let visible = command.get_subcommands().filter(|it| !it.is_hide_set());
    Command::new(env!("CARGO_PKG_NAME"))
        .bin_name(env!("CARGO_PKG_NAME"))
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .args(command.get_arguments())
        .subcommands(visible)
}
