//! `completions`: what makes a shell complete this program's words.

use std::io::{Write as _, stdout};

use clap::{Args, Command};
use clap_complete::{Generator as _, Shell};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  source <(ebpf-ai-monitor completions bash)
  ebpf-ai-monitor completions fish > ~/.config/fish/completions/ebpf-ai-monitor.fish

Packages and `make install` have put those of bash, zsh and fish in place.";

impl CompletionsArgs {
    pub(crate) fn run(self, whole: &Command) -> anyhow::Result<()> {
        let mut command = without_hidden(whole);
        command.build();
        let mut script = Vec::new();
        self.shell.try_generate(&command, &mut script)?;
        let script = with_one_name(&String::from_utf8(script)?);
        stdout().write_all(script.as_bytes())?;
        Ok(())
    }
}

/// For bash, clap_complete 4.6 encodes the dashes of our name in two ways, and
/// so finds no command's options.
fn with_one_name(script: &str) -> String {
    let [one, other] = ["__", "__subcmd__"].map(|dash| env!("CARGO_PKG_NAME").replace('-', dash));
    script.replace(&other, &one)
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
