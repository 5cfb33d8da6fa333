//! What packages ship beside the program: completions, by the real shells, and
//! the manual, by the real `man`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

const HIDDEN: [&str; 2] = ["manual", "self-test-terminal"];

fn monitor(arguments: &[&str]) -> Result<String> {
    output(Command::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor")).args(arguments))
}

/// What it printed. Complaints are failures.
fn output(command: &mut Command) -> Result<String> {
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let complaints = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success() && complaints.is_empty(), "{command:?}: {complaints}");
    Ok(String::from_utf8(done.stdout)?)
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(String::from).collect()
}

/// Those that `--help` tells of.
fn commands() -> Result<BTreeSet<String>> {
    let help = monitor(&["--help"])?;
    let (_, list) = help.split_once("Commands:\n").context("no commands in the help")?;
    let list = list.split("\n\n").next().unwrap_or_default();
    let is_name = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let names = list.lines().filter(is_name).filter_map(|line| line.split_whitespace().next());
    Ok(names.filter(|name| *name != "help").map(String::from).collect())
}

fn script(shell: &str) -> Result<(TempDir, std::path::PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("_ebpf-ai-monitor");
    fs::write(&path, monitor(&["completions", shell])?)?;
    Ok((folder, path))
}

fn is_all_but_hidden(offered: &BTreeSet<String>) -> Result<()> {
    let wanted = commands()?;
    ensure!(wanted.len() > 8, "the help was misread: {wanted:?}");
    ensure!(wanted.is_subset(offered), "{wanted:?} are not all in {offered:?}");
    ensure!(HIDDEN.iter().all(|it| !offered.contains(*it)), "hidden ones are in {offered:?}");
    Ok(())
}

#[test]
fn bash_completes_commands_options_and_their_values() -> Result<()> {
    let (_folder, script) = script("bash")?;
    let complete = |line: &str| {
        let ask = r#"
            source "$1"
            read -ra COMP_WORDS <<<"$2"
            [[ $2 == *" " ]] && COMP_WORDS+=("")
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            function=$(complete -p ebpf-ai-monitor | grep -o -- '-F [^ ]*')
            "${function#-F }" ebpf-ai-monitor "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
            printf '%s\n' "${COMPREPLY[@]}"
        "#;
        output(Command::new("bash").args(["-c", ask, "bash"]).arg(&script).arg(line))
    };
    is_all_but_hidden(&words(&complete("ebpf-ai-monitor ")?))?;
    assert_eq!(words(&complete("ebpf-ai-monitor re")?), words("record replay"));
    assert!(words(&complete("ebpf-ai-monitor watch --j")?).contains("--json"));
    assert!(words(&complete("ebpf-ai-monitor --log-level ")?).contains("DEBUG"));
    Ok(())
}

#[test]
fn fish_completes_commands() -> Result<()> {
    let (_folder, script) = script("fish")?;
    let ask = "source $argv[1]; complete -C 'ebpf-ai-monitor ' | string split -f 1 \\t";
    let offered = output(Command::new("fish").args(["--no-config", "-c", ask]).arg(&script))?;
    is_all_but_hidden(&words(&offered))
}

#[test]
fn zsh_loads_its_completions() -> Result<()> {
    let (folder, script) = script("zsh")?;
    let ask = r#"fpath=("$1" $fpath); autoload -Uz compinit; compinit -u -D
        print -r -- "${_comps[ebpf-ai-monitor]}"; autoload -Uz +X _ebpf-ai-monitor"#;
    let shown = output(Command::new("zsh").args(["-f", "-c", ask, "zsh"]).arg(folder.path()))?;
    assert_eq!(shown.trim(), "_ebpf-ai-monitor");
    output(Command::new("zsh").arg("-n").arg(&script))?;
    let text = fs::read_to_string(&script)?;
    let offered = text.lines().filter_map(|line| line.strip_prefix('\'')?.split(':').next());
    is_all_but_hidden(&offered.map(String::from).collect())
}

#[test]
fn every_command_has_a_page_that_man_shows_without_complaint() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let pages = folder.path().join("pages");
    monitor(&["manual", pages.to_str().context("the path is ASCII")?])?;
    let mut found = BTreeSet::new();
    for page in fs::read_dir(&pages)? {
        let page = page?.path();
        let shown = show(&page)?;
        for section in ["NAME", "SYNOPSIS", "OPTIONS"] {
            ensure!(shown.contains(section), "{} has no {section}", page.display());
        }
        found.insert(page.file_name().context("a file has a name")?.to_string_lossy().into_owned());
    }
    let mut wanted: BTreeSet<_> =
        commands()?.iter().map(|name| format!("ebpf-ai-monitor-{name}.1")).collect();
    wanted.insert("ebpf-ai-monitor.1".to_owned());
    // Those that have commands of their own have more.
    found.retain(|page| page.matches('-').count() <= 3);
    assert_eq!(found, wanted);
    Ok(())
}

fn show(page: &Path) -> Result<String> {
    output(
        Command::new("man")
            .args(["--warnings", "--encoding=UTF-8", "--local-file"])
            .arg(page)
            .env("MANWIDTH", "80")
            .env("LC_ALL", "C.UTF-8"),
    )
}
