//! Writes `assets/dataset/rows.jsonl` from the authored pairs, and the evaluation rows of a split on request.

use cloister_data::{Dataset, NO_WEAKNESS, Row, Split, Variant, agreement, check, read_blind, rows};
use rand::{SeedableRng, rngs::StdRng};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => publish(Path::new("assets/dataset")),
        ["--test-rows", path] => test_rows(Path::new("assets/dataset"), Path::new(path)),
        ["--variant", name, input, output] => variant_rows(name, Path::new(input), Path::new(output)),
        _ => Err("usage: dataset [--test-rows FILE | --variant NAME INPUT OUTPUT]".into()),
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
        "{} rows of {} groups, {} patterns; {} train, {} valid, {} test; {} modules with {} changes\n{}",
        rows.len(),
        dataset.pairs.len() + dataset.safe.len(),
        dataset.patterns.len(),
        count(Split::Train),
        count(Split::Valid),
        count(Split::Test),
        dataset.modules.len(),
        dataset.modules.iter().map(|module| module.changes.len()).sum::<usize>(),
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

/// Rows with their code in another dress. A row that cannot be dressed so is left out.
fn variant_rows(name: &str, input: &Path, output: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let variant = Variant::ALL.into_iter().find(|variant| variant.name() == name);
    let variant = variant.ok_or_else(|| format!("there is no variant {name}; the others: {:?}", Variant::ALL))?;
    let text = std::fs::read_to_string(input)?;
    let mut out = std::io::BufWriter::new(std::fs::File::create(output)?);
    let mut count = 0;
    for (number, line) in text.lines().enumerate() {
        let mut row: serde_json::Value = serde_json::from_str(line)?;
        let code = row["code"].as_str().unwrap_or_default();
        if let Some(code) = variant.of(code, &mut StdRng::seed_from_u64(number as u64)) {
            row["code"] = code.into();
            // Lines have moved.
            row["line"] = serde_json::Value::Null;
            writeln!(out, "{row}")?;
            count += 1;
        }
    }
    out.flush()?;
    Ok(format!("{count} rows in {}", output.display()))
}
