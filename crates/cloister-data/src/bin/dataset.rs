//! Writes `assets/dataset/rows.jsonl` from the authored pairs, and the evaluation rows of a split on request.

use cloister_data::{Dataset, NO_WEAKNESS, Row, Split, agreement, check, read_blind, rows};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => publish(Path::new("assets/dataset")),
        ["--test-rows", path] => test_rows(Path::new("assets/dataset"), Path::new(path)),
        _ => Err("usage: dataset [--test-rows FILE]".into()),
    };
    match result {
        Ok(message) => {
            println!("{message}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn publish(root: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let dataset = Dataset::read(root)?;
    check(&dataset)?;
    let rows = rows(&dataset)?;
    let mut out = std::io::BufWriter::new(std::fs::File::create(root.join("rows.jsonl"))?);
    for row in &rows {
        writeln!(out, "{}", serde_json::to_string(row)?)?;
    }
    out.flush()?;
    let count = |split| rows.iter().filter(|row| row.split == split).count();
    Ok(format!(
        "{} rows of {} groups, {} patterns; {} train, {} valid, {} test\n{}",
        rows.len(),
        dataset.pairs.len() + dataset.safe.len(),
        dataset.patterns.len(),
        count(Split::Train),
        count(Split::Valid),
        count(Split::Test),
        agreement(&dataset, &read_blind(root)?)?
    ))
}

/// The held-out groups in the form that `cloister eval` reads.
fn test_rows(root: &Path, path: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let rows = rows(&Dataset::read(root)?)?;
    let test: Vec<&Row> = rows.iter().filter(|row| row.split == Split::Test).collect();
    let mut out = std::io::BufWriter::new(std::fs::File::create(path)?);
    for row in &test {
        let safe = row.output == NO_WEAKNESS;
        let json = serde_json::json!({
            "id": row.id, "source": "cloister", "code": row.input, "safe": safe, "group": row.group,
            "cwe": (!safe).then_some(&row.output), "line": row.lines.first(),
        });
        writeln!(out, "{json}")?;
    }
    out.flush()?;
    Ok(format!("{} rows of the test split in {}", test.len(), path.display()))
}
