//! The schemas in docs/schema: that they are those of the types, and that they
//! hold for what a real daemon says. `UPDATE_SCHEMAS=1` writes them anew. The
//! second part needs root and BTF.

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use ebpf_ai_monitor_core::protocol::{ChangeLine, Line, Request, RowLine, StatusLine};
use jsonschema::Validator;
use schemars::{Schema, schema_for};
use serde_json::{Value, json};
use support::board::Boards;
use support::monitor::Monitor;
use support::pty::{OnPty, copy_for, example};
use support::take_turn;
use support::user::TestUser;

const THRESHOLD: Duration = Duration::from_millis(1000);
const BOUND: Duration = Duration::from_secs(20);

/// One from the daemon, one to it, and what commands print with `--json`.
fn schemas() -> [(&'static str, Schema); 5] {
    [
        ("line", schema_for!(Line)),
        ("request", schema_for!(Request)),
        ("row", schema_for!(RowLine)),
        ("change", schema_for!(ChangeLine)),
        ("status", schema_for!(StatusLine)),
    ]
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema").join(format!("{name}.json"))
}

fn kept(name: &str) -> Result<Validator> {
    let text = fs::read_to_string(path(name)).with_context(|| format!("no schema {name}"))?;
    jsonschema::validator_for(&serde_json::from_str(&text)?).context("it is no schema")
}

/// Says where it is not as the schema says.
fn check(schema: &Validator, value: &Value) -> Result<()> {
    let errors: Vec<String> = schema
        .iter_errors(value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    ensure!(errors.is_empty(), "{}:\n{value:#}", errors.join("\n"));
    Ok(())
}

#[test]
fn the_kept_schemas_are_those_of_the_types() -> Result<()> {
    for (name, schema) in schemas() {
        let text = serde_json::to_string_pretty(&schema)? + "\n";
        if std::env::var_os("UPDATE_SCHEMAS").is_some() {
            fs::create_dir_all(path(name).parent().context("it has a folder")?)?;
            fs::write(path(name), &text)?;
        }
        let kept = fs::read_to_string(path(name)).unwrap_or_default();
        assert!(kept == text, "docs/schema/{name}.json is old: UPDATE_SCHEMAS=1 renews it");
    }
    Ok(())
}

#[test]
fn schemas_refuse_what_is_not_so() -> Result<()> {
    let (line, request) = (kept("line")?, kept("request")?);
    for wrong in [
        json!({ "line": "bored" }),
        json!({ "line": "board", "version": 2, "at_ns": 1, "lost_events": 0 }),
        json!({ "line": "update", "at_ns": -1, "rows": [], "gone": [] }),
        json!({ "line": "answer", "answer": "perhaps" }),
        json!({ "line": "update", "at_ns": 1, "rows": [{ "pid": 1 }], "gone": [] }),
    ] {
        assert!(check(&line, &wrong).is_err(), "{wrong}");
    }
    for wrong in [
        json!({ "request": "seen" }),
        json!({ "request": "focus", "to": "there" }),
        json!({ "request": "seen", "session": "pts/4", "more": 1 }),
        json!({ "request": "mute", "scope": { "session": 4 } }),
    ] {
        assert!(check(&request, &wrong).is_err(), "{wrong}");
        assert!(serde_json::from_value::<Request>(wrong.clone()).is_err(), "{wrong}");
    }
    Ok(())
}

#[test]
fn what_a_daemon_says_is_as_the_schemas_say() -> Result<()> {
    skip_unless_root!();
    let _turn = take_turn();
    let user = TestUser::create()?;
    let binary = Path::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"));
    let monitor = Monitor::start(binary, &user, THRESHOLD, &["scripted_agent"])?;
    let mut boards = Boards::connect(&user)?;
    let stream = UnixStream::connect(user.home().join("runtime/ebpf-ai-monitor/socket"))?;
    stream.set_read_timeout(Some(BOUND))?;
    let mut agent = user.command(example(&user, "scripted_agent")?);
    agent.args(["--take-terminal", "--explicit", "--turns=1", "--work=3000", "--wait=3600000"]);
    let agent = OnPty::start(&mut agent)?;
    boards.wait("the wait", BOUND, |row| row["phase"] == "waiting")?;
    let list = user
        .command(copy_for(&user, binary)?)
        .args(["list", "--json", "--runtime-dir"])
        .arg(user.home().join("runtime"))
        .output()?;
    let row = kept("row")?;
    let rows: Vec<Value> = serde_json::from_slice(&list.stdout)?;
    ensure!(!rows.is_empty(), "nobody is listed");
    rows.iter().try_for_each(|it| check(&row, it))?;

    let request = kept("request")?;
    let session = agent.tty();
    for asked in [
        json!({ "request": "status" }),
        json!({ "request": "seen", "session": session }),
        json!({ "request": "mute", "scope": { "session": session }, "for_s": 3600 }),
        json!({ "request": "unmute", "scope": "all" }),
        json!({ "request": "mute", "scope": { "project": "shop" } }),
        json!({ "request": "focus" }),
        json!({ "request": "focus", "to": "back" }),
        json!({ "request": "focus", "to": { "session": session } }),
        json!({ "request": "seen", "session": "nobody" }),
    ] {
        check(&request, &asked)?;
        writeln!(&stream, "{asked}")?;
    }
    drop(agent);
    boards.wait_for_rows("the farewell's end", BOUND, <[Value]>::is_empty)?;
    let (line, status, change) = (kept("line")?, kept("status")?, kept("change")?);
    let changes = monitor.lines();
    ensure!(!changes.is_empty(), "nothing has changed");
    changes.iter().try_for_each(|it| check(&change, &serde_json::from_str(it)?))?;
    // The end of the daemon is the end of the lines.
    monitor.kill()?;
    let mut kinds: Vec<String> = Vec::new();
    for text in BufReader::new(stream).lines() {
        let value: Value = serde_json::from_str(&text?)?;
        check(&line, &value)?;
        if value["answer"] == "status" {
            check(&status, &value)?;
        }
        let kind = value["answer"].as_str().or(value["line"].as_str()).unwrap_or_default();
        kinds.push(kind.to_owned());
    }
    for kind in ["board", "update", "status", "done", "failed"] {
        ensure!(kinds.iter().any(|it| it == kind), "no {kind} in {kinds:?}");
    }
    let answers = kinds.iter().filter(|it| !["board", "update"].contains(&it.as_str())).count();
    ensure!(answers == 9, "{kinds:?}");
    Ok(())
}
