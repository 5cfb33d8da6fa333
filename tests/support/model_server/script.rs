//! What the model does: a command in brackets in the person's prompt, as in `please [think 30]`.

use std::{ops::Range, time::Duration};

use serde_json::{Value, json};

use super::Turn;

/// Before the first word. Real models never answer at once.
const LATENCY: Duration = Duration::from_secs(2);
/// Between the steps of a task.
const STEP_LATENCY: Duration = Duration::from_millis(700);
const STEP: &str = "sleep 0.3";
const PING_PERIOD: Duration = Duration::from_secs(5);
const WORD_PERIOD: Duration = Duration::from_millis(200);
const WORDS: [&str; 8] = ["lorem ", "ipsum ", "dolor ", "sit ", "amet ", "sed ", "do ", "eiusmod "];
/// The shell tools of the agents.
const SHELLS: [&str; 5] = ["Bash", "exec_command", "bash", "run_shell_command", "shell"];
const SUBAGENTS: [&str; 2] = ["Agent", "Task"];
const QUESTIONS: [&str; 3] = ["AskUserQuestion", "request_user_input", "ask_user_question"];

/// Durations are in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// A few words, with the pauses of a real model.
    Answer,
    /// Nothing but pings, then words.
    Think(u64),
    /// Not even pings, then words.
    Mute(u64),
    /// Five words a second.
    Stream(u64),
    /// Words, a silence, words.
    Stall(u64),
    /// A silent shell command that needs no permission.
    Run(u64),
    /// A shell command that prints a line each second.
    Print(u64),
    /// A shell command that outlives the turn.
    Background(u64),
    /// A shell command that needs the person's permission.
    Permission,
    /// A question by the agent's question tool.
    Question,
    /// The model cannot be reached, then words.
    Down(u64),
    /// So many quick commands that need no permission, one after another.
    Steps(u64),
    /// A command that prints so many numbers.
    Flood(u64),
    /// A subagent that runs a silent command.
    Subagent(u64),
}

/// One step of an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Act {
    Say(String),
    Call { tool: String, arguments: Value },
    Pause(Duration),
    Ping,
}

/// The last command of a prompt.
pub(super) fn command(prompt: &str) -> Option<Command> {
    let (_, rest) = prompt.rsplit_once('[')?;
    let (inside, _) = rest.split_once(']')?;
    let mut words = inside.split(' ');
    let name = words.next()?;
    // Or a number of things.
    let seconds = words.next().and_then(|word| word.parse().ok()).unwrap_or(10);
    Some(match name {
        "answer" => Command::Answer,
        "think" => Command::Think(seconds),
        "mute" => Command::Mute(seconds),
        "stream" => Command::Stream(seconds),
        "stall" => Command::Stall(seconds),
        "run" => Command::Run(seconds),
        "print" => Command::Print(seconds),
        "background" => Command::Background(seconds),
        "permission" => Command::Permission,
        "question" => Command::Question,
        "down" => Command::Down(seconds),
        "steps" => Command::Steps(seconds),
        "flood" => Command::Flood(seconds),
        "subagent" => Command::Subagent(seconds),
        _ => return None,
    })
}

pub(super) fn acts(turn: &Turn) -> Vec<Act> {
    let Some(command) = command(&turn.prompt) else { return vec![say("Hello.")] };
    if turn.tools.is_empty() {
        return vec![say(r#"{"title":"scripted title","isNewTopic":false}"#)];
    }
    if turn.is_notice {
        return vec![Act::Pause(LATENCY), say("What ran in the background is over.")];
    }
    if let Some(output) = &turn.tool_output {
        return acts_after_tool(turn, command, output);
    }
    match command {
        Command::Answer => {
            let mut acts = vec![Act::Pause(LATENCY)];
            acts.append(&mut words(0..8));
            acts.push(say("A short answer."));
            acts
        }
        Command::Think(seconds) => {
            let mut acts = silence_with_pings(Duration::from_secs(seconds));
            acts.push(say(&format!("An answer after {seconds} s of silence.")));
            acts
        }
        Command::Mute(seconds) => {
            vec![Act::Pause(Duration::from_secs(seconds)), say("An answer after a mute time.")]
        }
        Command::Stream(seconds) => words(0..seconds.saturating_mul(5)),
        Command::Stall(seconds) => {
            let mut acts = words(0..10);
            acts.push(Act::Pause(Duration::from_secs(seconds)));
            acts.append(&mut words(10..20));
            acts
        }
        Command::Run(seconds) => {
            vec![say("I run a tool. "), shell(turn, &format!("sleep {seconds}"), Run::Plain)]
        }
        Command::Print(seconds) => {
            let line = format!("for i in $(seq {seconds}); do echo line $i; sleep 1; done");
            vec![shell(turn, &line, Run::Plain)]
        }
        Command::Background(seconds) => {
            vec![shell(turn, &format!("sleep {seconds}"), Run::Background)]
        }
        Command::Permission => {
            let words = "I need a permission. ";
            vec![Act::Pause(LATENCY), say(words), shell(turn, "touch asked-for", Run::Asking)]
        }
        Command::Question => vec![Act::Pause(LATENCY), question(turn)],
        Command::Down(_) => vec![Act::Pause(LATENCY), say("The model is back.")],
        Command::Steps(_) => vec![say("Many steps. "), shell(turn, STEP, Run::Plain)],
        Command::Flood(numbers) => {
            vec![say("A flood. "), shell(turn, &format!("seq {numbers}"), Run::Plain)]
        }
        Command::Subagent(seconds) => vec![Act::Pause(LATENCY), subagent(turn, seconds)],
    }
}

fn acts_after_tool(turn: &Turn, command: Command, output: &str) -> Vec<Act> {
    // Codex gives a command that takes longer back as a session, to be asked again.
    let session = output.split("rocess running with session ID ").nth(1);
    let session = session.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    if let Some(id) = session.and_then(|digits| digits.parse::<u64>().ok())
        && !matches!(command, Command::Background(_))
        && turn.tools.contains_key("write_stdin")
    {
        let arguments = json!({ "session_id": id, "chars": "", "yield_time_ms": 30_000 });
        return vec![Act::Call { tool: "write_stdin".to_owned(), arguments }];
    }
    if let Command::Steps(steps) = command
        && (turn.answers as u64) < steps
    {
        return vec![Act::Pause(STEP_LATENCY), shell(turn, STEP, Run::Plain)];
    }
    vec![Act::Pause(LATENCY), say("Done after the tool.")]
}

fn say(text: &str) -> Act {
    Act::Say(text.to_owned())
}

fn words(numbers: Range<u64>) -> Vec<Act> {
    let word = |number: u64| WORDS[usize::try_from(number).unwrap_or(0) % WORDS.len()];
    numbers.flat_map(|number| [say(word(number)), Act::Pause(WORD_PERIOD)]).collect()
}

fn silence_with_pings(mut left: Duration) -> Vec<Act> {
    let mut acts = Vec::new();
    while left > PING_PERIOD {
        acts.extend([Act::Pause(PING_PERIOD), Act::Ping]);
        left -= PING_PERIOD;
    }
    acts.push(Act::Pause(left));
    acts
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    Plain,
    Background,
    Asking,
}

/// A call of the agent's shell tool, in the form that agent's tool takes.
fn shell(turn: &Turn, line: &str, run: Run) -> Act {
    let Some(tool) = SHELLS.into_iter().find(|name| turn.tools.contains_key(*name)) else {
        return say("I have no shell.");
    };
    let takes = |name: &str| turn.tools[tool].get(name).is_some();
    let mut arguments = json!({});
    match tool {
        "exec_command" => arguments["cmd"] = json!(line),
        "shell" => arguments["command"] = json!(["bash", "-c", line]),
        _ => arguments["command"] = json!(line),
    }
    if takes("description") {
        arguments["description"] = json!("run a command");
    }
    if takes("yield_time_ms") {
        arguments["yield_time_ms"] = json!(if run == Run::Background { 1_000 } else { 30_000 });
    }
    if takes("is_background") {
        arguments["is_background"] = json!(run == Run::Background);
    }
    if run == Run::Background && takes("run_in_background") {
        arguments["run_in_background"] = json!(true);
    }
    if run == Run::Asking && takes("sandbox_permissions") {
        arguments["sandbox_permissions"] = json!("require_escalated");
        arguments["justification"] = json!("May I touch a file?");
    }
    Act::Call { tool: tool.to_owned(), arguments }
}

/// A call of the tool that starts an agent below the agent.
fn subagent(turn: &Turn, seconds: u64) -> Act {
    let Some(tool) = SUBAGENTS.into_iter().find(|name| turn.tools.contains_key(*name)) else {
        return say("I am alone.");
    };
    let arguments = json!({
        "description": "a part of it",
        "prompt": format!("your part [run {seconds}]"),
        "subagent_type": "general-purpose",
    });
    Act::Call { tool: tool.to_owned(), arguments }
}

fn question(turn: &Turn) -> Act {
    let Some(tool) = QUESTIONS.into_iter().find(|name| turn.tools.contains_key(*name)) else {
        return say("I cannot ask.");
    };
    let arguments = json!({ "questions": [{
        "id": "q1",
        "header": "Pick",
        "question": "Which one do you prefer?",
        "multiSelect": false,
        "options": [
            { "label": "Red", "description": "red" },
            { "label": "Blue", "description": "blue" },
        ],
    }] });
    Act::Call { tool: tool.to_owned(), arguments }
}
