//! No score may get worse than the tables in `docs/detection.md`: one of our
//! own recordings, one of those in the folder `RECORDINGS_DIR` names, if any.
//! `UPDATE_SCORES=1 cargo test --test scores` writes the tables anew.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// Title of a column, where its number is in the JSON of `score`, and by how
/// much it may be worse: half of the last digit that is printed.
const COLUMNS: [(&str, &str, f64); 11] = [
    ("work", "/working_intervals", 0.0),
    ("wait", "/waiting_intervals", 0.0),
    ("false waits", "/false_waits", 0.0),
    ("false s", "/false_wait_seconds", 0.05),
    ("missed waits", "/missed_waits", 0.0),
    ("missed works", "/missed_works", 0.0),
    ("flips", "/flips", 0.0),
    ("wrong s", "/wrong_seconds", 0.05),
    ("delay median", "/delay_ms/median", 0.0),
    ("delay p95", "/delay_ms/p95", 0.0),
    ("resume median", "/resume_ms/median", 0.0),
];
/// These say how much there is, not how good.
const AMOUNTS: usize = 2;

#[test]
fn no_score_is_worse_than_the_published_one() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = root.join("docs/detection.md");
    let own = root.join("tests/recordings");
    let mut problems = compare(&page, "own", &own)?;
    problems.extend(compare(&page, "reduced", &own.join("reduced"))?);
    problems.extend(compare(&page, "misleading", &own.join("misleading"))?);
    if let Some(folder) = env::var_os("RECORDINGS_DIR") {
        problems.extend(compare(&page, "shared", Path::new(&folder))?);
    }
    ensure!(problems.is_empty(), "worse than {}:\n{}", page.display(), problems.join("\n"));
    Ok(())
}

fn compare(page: &Path, section: &str, folder: &Path) -> Result<Vec<String>> {
    let scores = score(folder)?;
    let text = fs::read_to_string(page)?;
    let (before, rest) = split(&text, &format!("<!-- scores {section} -->\n"))?;
    let (table, after) = split(rest, &format!("<!-- /scores {section} -->\n"))?;
    if env::var_os("UPDATE_SCORES").is_some() {
        let table = render(&scores);
        let marks = (format!("<!-- scores {section} -->"), format!("<!-- /scores {section} -->"));
        fs::write(page, format!("{before}{}\n{table}{}\n{after}", marks.0, marks.1))?;
        return Ok(Vec::new());
    }
    let published: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| recording"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let mut problems = Vec::new();
    for score in &scores {
        let name = score["name"].as_str().context("a score without a name")?;
        let Some(row) = published.iter().find(|row| row.first() == Some(&name)) else {
            problems.push(format!("{name} is not in the table: UPDATE_SCORES=1 adds it"));
            continue;
        };
        for (at, (column, _, tolerance)) in COLUMNS.iter().enumerate() {
            let was: f64 =
                row.get(at + 1).and_then(|cell| cell.parse().ok()).with_context(|| {
                    format!("{section}: the column {column:?} of {name} is no number")
                })?;
            let is = number(score, at);
            if at < AMOUNTS && (is - was).abs() > 0.5 {
                problems.push(format!("{name}: {column} was {was}, is {is}: another recording?"));
            } else if at >= AMOUNTS && is > was + tolerance {
                problems.push(format!("{name}: {column} was {was}, is {is}"));
            }
        }
    }
    Ok(problems)
}

fn score(folder: &Path) -> Result<Vec<Value>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|it| it == "gz" || it == "jsonl"))
        .collect();
    files.sort();
    let nobody = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-profiles-of-ones-own");
    let output = Command::new(env!("CARGO_BIN_EXE_ebpf-ai-monitor"))
        .args(["score", "--json", "--threshold", "1000", "--agents-dir"])
        .arg(nobody)
        .args(files)
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn number(score: &Value, column: usize) -> f64 {
    score.pointer(COLUMNS[column].1).and_then(Value::as_f64).unwrap_or(f64::INFINITY)
}

fn render(scores: &[Value]) -> String {
    let titles = COLUMNS.map(|(title, ..)| title).join(" | ");
    let mut text = format!("| recording | {titles} |\n|---|{}\n", "--:|".repeat(COLUMNS.len()));
    for score in scores {
        let cells = COLUMNS.iter().enumerate().map(|(at, (_, _, tolerance))| {
            let digits = usize::from(*tolerance > 0.0);
            format!("{:.digits$}", number(score, at))
        });
        let cells = cells.collect::<Vec<_>>().join(" | ");
        text += &format!("| {} | {cells} |\n", score["name"].as_str().unwrap_or("?"));
    }
    text
}

fn split<'a>(text: &'a str, mark: &str) -> Result<(&'a str, &'a str)> {
    text.split_once(mark).with_context(|| format!("docs/detection.md lacks {}", mark.trim()))
}
