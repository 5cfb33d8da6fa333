//! The command line: which command is asked for, and the answer's exit code.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::commands::{
    AgentsArgs, BarArgs, CompletionsArgs, ConfigArgs, DoctorArgs, ExplainArgs, FocusArgs,
    HistoryArgs, ListArgs, ManualArgs, MuteArgs, RecordArgs, Refusal, ReplayArgs, RunArgs,
    ScoreArgs, SeenArgs, StatusArgs, UnmuteArgs, WaitArgs, WatchArgs, complain,
};
use crate::sources;

/// What is asked for cannot be.
const USAGE: u8 = 2;

/// Sees from the kernel when an AI coding agent stops working and waits for you.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    run: RunArgs,

    /// Say how the daemon does, as the command `status` does
    #[arg(long)]
    status: bool,

    /// With --status: print JSON
    #[arg(long, requires = "status")]
    json: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  sudo ebpf-ai-monitor --user alice          watch alice's agents
  sudo ebpf-ai-monitor --user alice --threshold 2000 --processes claude codex aider
  ebpf-ai-monitor doctor                     what keeps it from working, and what to do
  ebpf-ai-monitor watch                      see your sessions live
  ebpf-ai-monitor list --json | jq '.[] | select(.phase == \"waiting\")'

Exit codes: 0 done, 1 failed, 2 wrong usage.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon (the default)
    Run(RunArgs),
    /// Show the sessions live; without a terminal, one line for each change
    Watch(WatchArgs),
    /// Show the sessions once
    List(ListArgs),
    /// Print a line for a status bar, again whenever it changes
    Bar(BarArgs),
    /// Say how the state of a session is known: all evidence, best first
    Explain(ExplainArgs),
    /// Go to a session: to its window, and to its pane in tmux
    Focus(FocusArgs),
    /// Wait until a session waits for you, works, or ends: for scripts
    Wait(WaitArgs),
    /// Tell you nothing of a session, a project or anybody, for a time
    Mute(MuteArgs),
    /// Take a mute back
    Unmute(UnmuteArgs),
    /// Say that you know that a session waits
    Seen(SeenArgs),
    /// Show how long agents worked, and how long they waited for you
    History(HistoryArgs),
    /// Write what the daemon sees of a session to a file, for `replay` and `score`
    Record(RecordArgs),
    /// Show what the boards would have been during a recording
    Replay(ReplayArgs),
    /// Say how right the rules are on recordings whose truth is known
    Score(ScoreArgs),
    /// List the agents that are known, and check your profiles of them
    Agents(AgentsArgs),
    /// Print what makes a shell complete this program's words
    Completions(CompletionsArgs),
    /// Write the manual for a package
    #[command(hide = true)]
    Manual(ManualArgs),
    /// Check the configuration, or print one with every key
    Config(ConfigArgs),
    /// Say how the daemon does
    Status(StatusArgs),
    /// Check everything from the kernel to your panel, and say what to do
    Doctor(DoctorArgs),
    /// The child's part of the self-test
    #[command(hide = true)]
    SelfTestTerminal,
}

pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are no errors, and go to standard output.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => return fail(&one_line(&error), ExitCode::from(USAGE)),
    };
    let asked = match cli.command {
        Some(command) => command,
        None if cli.status => Command::Status(StatusArgs::of(&cli.run, cli.json)),
        None => Command::Run(cli.run),
    };
    let result = match asked {
        Command::Run(args) => args.run(),
        Command::Watch(args) => args.run(),
        Command::List(args) => args.run(),
        Command::Bar(args) => args.run(),
        Command::Explain(args) => args.run(),
        Command::Focus(args) => args.run(),
        Command::Wait(args) => return end(args.run()),
        Command::Mute(args) => args.run(),
        Command::Unmute(args) => args.run(),
        Command::Seen(args) => args.run(),
        Command::History(args) => args.run(),
        Command::Record(args) => args.run(),
        Command::Replay(args) => args.run(),
        Command::Score(args) => args.run(),
        Command::Agents(args) => args.run(),
        Command::Completions(args) => args.run(&Cli::command()),
        Command::Manual(args) => args.run(Cli::command()),
        Command::Config(args) => args.run(),
        Command::Status(args) => return end(args.run()),
        Command::Doctor(args) => return end(args.run()),
        Command::SelfTestTerminal => sources::kernel::self_test_terminal(),
    };
    end(result.map(|()| ExitCode::SUCCESS))
}

/// Some commands answer by their exit code.
fn end(result: anyhow::Result<ExitCode>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => match error.downcast::<Refusal>() {
            Ok(refusal) => refuse(&refusal),
            Err(error) => fail(&format!("{error:#}"), ExitCode::FAILURE),
        },
    }
}

/// What is wrong and what is possible, without the usage that follows.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.take_while(|line| !line.starts_with("Usage:")).collect();
    let line = lines.join("; ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    let line = line.strip_suffix("; For more information, try '--help'.").unwrap_or(line);
    format!("{line} (see --help)")
}

fn refuse(refusal: &Refusal) -> ExitCode {
    for problem in refusal.problems() {
        fail(problem, ExitCode::from(USAGE));
    }
    ExitCode::from(USAGE)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn fail(problem: &str, code: ExitCode) -> ExitCode {
    complain(problem);
    code
}
