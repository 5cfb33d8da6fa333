//! Golden boards: what `replay` shows of each recording in `tests/recordings`
//! and its folders stands in a file beside it. A rule that changes any of it must say so:
//! `UPDATE_BOARDS=1 cargo test --test recordings` writes them anew.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};

#[test]
fn replays_show_the_golden_boards() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut recordings = Vec::new();
    for folder in [folder.clone(), folder.join("reduced"), folder.join("misleading")] {
        recordings.extend(list(&folder)?);
    }
    let mut problems = Vec::new();
    for recording in recordings {
        let shown = replay(&recording)?;
        let golden = golden_of(&recording);
        if env::var_os("UPDATE_BOARDS").is_some() {
            fs::write(&golden, &shown)?;
            continue;
        }
        let expected = fs::read_to_string(&golden).with_context(|| {
            format!("cannot read {}: UPDATE_BOARDS=1 makes it", golden.display())
        })?;
        problems.extend(first_difference(&golden, &expected, &shown));
    }
    ensure!(problems.is_empty(), "{}\nIf it is meant so: UPDATE_BOARDS=1", problems.join("\n"));
    Ok(())
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut recordings: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|it| it == "gz" || it == "jsonl"))
        .collect();
    recordings.sort();
    ensure!(!recordings.is_empty(), "there is no recording in {}", folder.display());
    Ok(recordings)
}

fn replay(recording: &Path) -> Result<String> {
    let nobody = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-profiles-of-ones-own");
    let output = Command::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
        .args(["replay", "--threshold", "1000", "--agents-dir"])
        .arg(nobody)
        .arg(recording)
        .output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {complaint}", recording.display());
    Ok(String::from_utf8(output.stdout)?)
}

/// `a.boards` beside `a.jsonl.gz`.
fn golden_of(recording: &Path) -> PathBuf {
    let name = recording.file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim_end_matches(".gz").trim_end_matches(".jsonl");
    recording.with_file_name(format!("{name}.boards"))
}

fn first_difference(golden: &Path, expected: &str, shown: &str) -> Option<String> {
    let (mut expected, mut shown) = (expected.lines(), shown.lines());
    for number in 1.. {
        let (was, is) = (expected.next(), shown.next());
        if was != is {
            let text = |line: Option<&str>| line.unwrap_or("(nothing)").to_owned();
            let (was, is) = (text(was), text(is));
            return Some(format!("{}:{number}:\n  was {was}\n  is  {is}", golden.display()));
        }
        was?;
    }
    None
}
