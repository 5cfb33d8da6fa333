//! The command line: what is asked, by whom, and the answer's exit code.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ebpf_ai_monitor_agents::{Agents, ProfileError};
use nix::unistd::{Uid, User};
use tracing::level_filters::LevelFilter;

use crate::runtime_dir::RuntimeDir;
use crate::{commands, daemon, sources};

/// The command line or the configuration asks for what cannot be.
const USAGE: u8 = 2;

/// Below the directory of configurations.
const AGENTS_DIR: &str = "ebpf-ai-monitor/agents";
const CONFIG: &str = "ebpf-ai-monitor/config.toml";

const LONGEST_THRESHOLD_MS: u64 = 3_600_000;

/// Sees from the kernel when an AI coding agent stops working and waits for you.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    run: RunArgs,

    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  sudo ebpf-ai-monitor --user alice          watch alice's agents
  sudo ebpf-ai-monitor --user alice --threshold 2000 --processes claude codex aider
  ebpf-ai-monitor watch                      see your sessions live
  ebpf-ai-monitor list --json | jq '.[] | select(.phase == \"waiting\")'

Exit codes: 0 done, 1 failed, 2 wrong usage.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon (the default)
    Run(RunArgs),
    /// Show the sessions live; without a terminal, one line for each change
    Watch(ViewArgs),
    /// Show the sessions once
    List(ViewArgs),
    /// Say how the state of a session is known: all evidence, best first
    Explain(ExplainArgs),
    /// Go to a session: to its window, and to its pane in tmux
    Focus(FocusArgs),
    /// Write what the daemon sees of a session to a file, for `replay` and `score`
    Record(RecordArgs),
    /// Show what the boards would have been during a recording
    Replay(ReplayArgs),
    /// Say how right the rules are on recordings whose truth is known
    Score(ScoreArgs),
    /// List the agents that are known, and check your profiles of them
    Agents(AgentsArgs),
    /// Print what makes a shell complete this program's words
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
    /// Write the manual, one page for each command, as packages ship it
    #[command(hide = true)]
    Manual {
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// The child's part of the self-test
    #[command(hide = true)]
    SelfTestTerminal,
}

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  source <(ebpf-ai-monitor completions bash)
  ebpf-ai-monitor completions fish > ~/.config/fish/completions/ebpf-ai-monitor.fish

Packages and `make install` have put them in place for bash, zsh and fish.";

#[derive(Debug, Args)]
struct RunArgs {
    /// Whose agents to watch [default: you, or who called sudo]
    #[arg(short, long, value_name = "NAME")]
    user: Option<String>,

    /// How long an agent must rest until it is called waiting, in milliseconds
    #[arg(short, long, value_name = "MS", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(1..=LONGEST_THRESHOLD_MS))]
    threshold: u64,

    /// Which agents to watch; a name without a profile is watched as any program
    #[arg(short, long, value_name = "NAME", num_args = 1..,
          default_values_t = ["claude".to_owned(), "codex".to_owned()])]
    processes: Vec<String>,

    /// Where the user's own profiles are [default: ~/.config/ebpf-ai-monitor/agents]
    #[arg(long, value_name = "DIR")]
    agents_dir: Option<PathBuf>,

    /// What you want to be told of [default: ~/.config/ebpf-ai-monitor/config.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Do not read what agents write down of their turns
    #[arg(long)]
    no_transcripts: bool,

    /// What to log to standard error
    #[arg(short, long, value_enum, ignore_case = true, default_value = "INFO")]
    log_level: LogLevel,

    /// Watch and log, but write nothing: no socket
    #[arg(long)]
    dry_run: bool,

    /// Where the socket is made [default: /run/user/UID]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ViewArgs {
    /// Print JSON
    #[arg(short, long)]
    json: bool,

    /// Where the daemon's socket is [default: $XDG_RUNTIME_DIR or /run/user/UID]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
}

/// How a person names a session.
#[derive(Debug, Args)]
struct SessionArg {
    /// A PID, a terminal like pts/4, or an agent of which only one runs
    /// [default: the only session]
    #[arg(value_name = "SESSION")]
    session: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = EXPLAIN_EXAMPLES)]
struct ExplainArgs {
    #[command(flatten)]
    of: SessionArg,

    #[command(flatten)]
    view: ViewArgs,
}

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor explain               the only session there is
  ebpf-ai-monitor explain pts/4         the one on this terminal
  ebpf-ai-monitor explain codex --json | jq '.evidence_ladder'

The first source that is trusted decides. `outranked`: another decides;
`unconfirmed`: said a moment ago; `untrusted`: it has never told of work;
`doubted`: output went unseen since; `lapsed`: not repeated for too long.";

#[derive(Debug, Args)]
#[command(after_help = FOCUS_EXAMPLES)]
struct FocusArgs {
    /// A PID, a terminal like pts/4, or an agent of which only one runs
    /// [default: the session that has called for you the longest]
    #[arg(value_name = "SESSION")]
    session: Option<String>,

    #[command(flatten)]
    view: ViewArgs,
}

const FOCUS_EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor focus                 who has called for you the longest
  ebpf-ai-monitor focus pts/4           the one on this terminal
  bindsym $mod+a exec ebpf-ai-monitor focus

Fails, with the reason, where the session is in no window, or in one of
several and nobody knows in which; a pane in tmux is chosen even then.";

#[derive(Debug, Args)]
#[command(after_help = RECORD_EXAMPLES)]
struct RecordArgs {
    #[command(flatten)]
    of: SessionArg,

    /// Where to write; packed if it ends in .gz [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// What the recording is called [default: after the file]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Where the daemon's sockets are [default: $XDG_RUNTIME_DIR or /run/user/UID]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
}

const RECORD_EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor record -o slow-tool.jsonl.gz    the only session there is
  ebpf-ai-monitor record claude -o a.jsonl        until Ctrl-C or its exit
  ebpf-ai-monitor record pts/4 | jq .ev
  ebpf-ai-monitor replay slow-tool.jsonl.gz       what was seen, again

It holds times and kinds of events. In titles and notifications letters and
digits are x, but for the words by which the agent's state is known; keys,
output, projects and directories are not in it. Add lines like
  {\"t\":0,\"ev\":\"truth\",\"until\":9000000000,\"state\":\"waiting\"}
by hand, in nanoseconds, and `score` says how right the rules are.";

#[derive(Debug, Args)]
struct AgentsArgs {
    /// Print JSON
    #[arg(short, long)]
    json: bool,

    #[command(flatten)]
    own: OwnProfilesArgs,
}

#[derive(Debug, Args)]
struct OwnProfilesArgs {
    /// Where your own profiles are
    /// [default: ebpf-ai-monitor/agents in $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, value_name = "DIR")]
    agents_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = REPLAY_EXAMPLES)]
struct ReplayArgs {
    /// A recording, plain or gzip
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// How long an agent must rest until it is called waiting, in milliseconds
    #[arg(short, long, value_name = "MS", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(1..=LONGEST_THRESHOLD_MS))]
    threshold: u64,

    /// Print JSON, one object for each change
    #[arg(short, long)]
    json: bool,

    #[command(flatten)]
    own: OwnProfilesArgs,
}

const REPLAY_EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor replay slow-tool.jsonl.gz
  ebpf-ai-monitor replay --threshold 3000 slow-tool.jsonl.gz
  ebpf-ai-monitor replay --json a.jsonl | jq -c '[.at_ns, .from, .to]'

One line for each change: the second of the recording at which it was known,
the session, what it was and became, by what, and since when.";

#[derive(Debug, Args)]
#[command(after_help = SCORE_EXAMPLES)]
struct ScoreArgs {
    /// Recordings, plain or gzip
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// How long an agent must rest until it is called waiting, in milliseconds
    #[arg(short, long, value_name = "MS", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(1..=LONGEST_THRESHOLD_MS))]
    threshold: u64,

    /// Print JSON
    #[arg(short, long)]
    json: bool,

    #[command(flatten)]
    own: OwnProfilesArgs,
}

const SCORE_EXAMPLES: &str = "\
Examples:
  ebpf-ai-monitor score tests/recordings/*.jsonl*
  ebpf-ai-monitor score --json a.jsonl.gz | jq '.[-1].false_waits'

Only what a recording's `truth` lines cover is scored: turns from 1 s, waits
from 3.5 s. `false`: called waiting at work; `flips`: the other way round;
`delay`: until a wait was shown; `resume`: until a turn was.";

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "UPPER")]
enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Info => Self::INFO,
            LogLevel::Warning => Self::WARN,
            // There is no level above error here: critical errors end the daemon.
            LogLevel::Error | LogLevel::Critical => Self::ERROR,
        }
    }
}

pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are no errors, and go to standard output.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => return fail(&one_line(&error), ExitCode::from(USAGE)),
    };
    let result = match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) => return run(args),
        Command::Watch(args) => commands::watch(&client_dirs(args.runtime_dir), args.json.into()),
        Command::List(args) => commands::list(&client_dirs(args.runtime_dir), args.json.into()),
        Command::Explain(ExplainArgs { of, view }) => {
            let dirs = client_dirs(view.runtime_dir);
            commands::explain(&dirs, of.session.as_deref(), view.json.into())
        }
        Command::Focus(FocusArgs { session, view }) => {
            let desktop = view.runtime_dir.clone().map_or(RuntimeDir::Default, RuntimeDir::At);
            let dirs = client_dirs(view.runtime_dir);
            commands::focus(&dirs, &desktop, session.as_deref(), view.json.into())
        }
        Command::Record(args) => {
            let (session, file, name) = (args.of.session, args.output, args.name);
            let order = commands::Order { session, file, name };
            commands::record(&client_dirs(args.runtime_dir), &order)
        }
        Command::Replay(args) => {
            let (agents, errors) = read_agents(args.own);
            if !errors.is_empty() {
                return refuse(&errors);
            }
            let threshold = Duration::from_millis(args.threshold);
            commands::replay(&args.file, &agents, threshold, args.json.into())
        }
        Command::Score(args) => {
            let (agents, errors) = read_agents(args.own);
            if !errors.is_empty() {
                return refuse(&errors);
            }
            let threshold = Duration::from_millis(args.threshold);
            commands::score(&args.files, &agents, threshold, args.json.into())
        }
        Command::Agents(args) => {
            let (agents, errors) = read_agents(args.own);
            let listed = commands::agents(&agents, args.json.into());
            if !errors.is_empty() {
                return refuse(&errors);
            }
            listed
        }
        Command::Completions { shell } => commands::completions(&Cli::command(), shell),
        Command::Manual { dir } => commands::manual(Cli::command(), &dir),
        Command::SelfTestTerminal => sources::kernel::self_test_terminal(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}"), ExitCode::FAILURE),
    }
}

fn run(args: RunArgs) -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .with_max_level(LevelFilter::from(args.log_level))
        .init();
    let user = match find_user(args.user) {
        Ok(user) => user,
        Err(problem) => return fail(&problem, ExitCode::from(USAGE)),
    };
    let runtime_dir = args.runtime_dir.map_or(RuntimeDir::Default, RuntimeDir::At);
    let config_dir = user.dir.join(".config");
    let default_dir = || config_dir.join(AGENTS_DIR);
    let settings = daemon::Settings {
        agents_dir: args.agents_dir.unwrap_or_else(default_dir),
        config: args.config.unwrap_or_else(|| config_dir.join(CONFIG)),
        user,
        threshold: Duration::from_millis(args.threshold),
        transcripts: if args.no_transcripts {
            daemon::TranscriptUse::Ignore
        } else {
            daemon::TranscriptUse::Read
        },
        processes: args.processes,
        output: if args.dry_run {
            daemon::Output::LogOnly
        } else {
            daemon::Output::Socket(runtime_dir)
        },
    };
    match daemon::run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}"), ExitCode::FAILURE),
    }
}

fn find_user(name: Option<String>) -> Result<User, String> {
    let (found, name) = match name {
        Some(name) => (User::from_name(&name), name),
        None => {
            let uid = calling_user()?;
            (User::from_uid(uid), uid.to_string())
        }
    };
    match found {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(format!("there is no user {name}; give a name of `getent passwd`")),
        Err(error) => Err(format!("cannot look up user {name}: {error}")),
    }
}

/// Who started this: through sudo too.
fn calling_user() -> Result<Uid, String> {
    let uid = Uid::effective();
    if !uid.is_root() {
        return Ok(uid);
    }
    let caller = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
    caller.map(Uid::from_raw).ok_or_else(|| {
        "root must say whose agents to watch: ebpf-ai-monitor --user NAME".to_owned()
    })
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

fn client_dirs(given: Option<PathBuf>) -> Vec<PathBuf> {
    match given {
        Some(dir) => vec![dir],
        None => RuntimeDir::where_clients_look(),
    }
}

fn read_agents(own: OwnProfilesArgs) -> (Agents, Vec<ProfileError>) {
    let dir = own.agents_dir.or_else(|| Some(config_dir()?.join(AGENTS_DIR)));
    dir.map_or_else(|| (Agents::builtin(), Vec::new()), |dir| Agents::with_directory(&dir))
}

/// The caller's. By the XDG base directory specification a relative one does
/// not count.
fn config_dir() -> Option<PathBuf> {
    let given = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let given = given.filter(|dir| dir.is_absolute());
    given.or_else(|| std::env::home_dir().map(|home| home.join(".config")))
}

fn refuse(errors: &[ProfileError]) -> ExitCode {
    for error in errors {
        fail(&error.to_string(), ExitCode::from(USAGE));
    }
    ExitCode::from(USAGE)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[expect(clippy::print_stderr, reason = "the one place where a failed command says why")]
fn fail(problem: &str, code: ExitCode) -> ExitCode {
    eprintln!("ebpf-ai-monitor: {problem}");
    code
}
