//! Whether a verdict holds when the same program is written differently.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Set, predict, program};
use crate::error::{Error, Result};
use crate::programs::Programs;
use crate::project::Project;

/// What comes before the first line of [`measure`].
pub const HEAD: &str = "
## Does the verdict hold?

The share of rows whose verdict (flagged or not) is the same after a change that keeps the meaning: other names for parameters
and locals; twice the indentation and empty lines; comments taken out; comments put in that praise or blame; a statement in
every function that does nothing. Behind the semicolon: of the rows that were flagged, the share that still is. In brackets: 95%
Wilson intervals, each row for itself. A row that a change does nothing to is left out.

| set | renamed | reformatted | uncommented | commented | dead-code |
|---|---|---|---|---|---|
";

const VARIANTS: [&str; 5] = ["renamed", "reformatted", "uncommented", "commented", "dead-code"];

/// The line of one set, whose predictions are there already.
pub fn measure(project: &Project, programs: &Programs, folder: &Path, set: &Set) -> Result<String> {
    let plain = verdicts(&folder.join(format!("{}-cloister.jsonl", set.name)))?;
    let mut line = format!("| {} |", set.name);
    for variant in VARIANTS {
        let rows = folder.join(format!("{}-{variant}.jsonl", set.name));
        let predictions = folder.join(format!("{}-{variant}-cloister.jsonl", set.name));
        let [from, to] = [&set.rows, &rows].map(|path| path.display().to_string());
        program(project, programs.path("dataset"), &["--variant", variant, &from, &to])?;
        predict(project, programs, &rows, &predictions)?;
        let changed = verdicts(&predictions)?;
        let same = changed.iter().filter(|(id, verdict)| plain.get(*id) == Some(verdict)).count();
        let flagged: Vec<bool> =
            changed.iter().filter(|(id, _)| plain.get(*id) == Some(&true)).map(|(_, verdict)| *verdict).collect();
        let still = flagged.iter().filter(|verdict| **verdict).count();
        line.push_str(&format!(" {}; {} |", share(same, changed.len()), share(still, flagged.len())));
    }
    line.push('\n');
    Ok(line)
}

/// Whether each row is flagged.
fn verdicts(predictions: &Path) -> Result<HashMap<String, bool>> {
    let text = fs::read_to_string(predictions).map_err(Error::file("read", predictions))?;
    let rows = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(rows.filter_map(|row| Some((row["id"].as_str()?.to_owned(), row["vulnerable"].as_bool()?))).collect())
}

/// A share with its Wilson interval and its n.
fn share(same: usize, n: usize) -> String {
    if n == 0 {
        return "–".to_owned();
    }
    const Z: f64 = 1.96;
    let (p, n) = (same as f64 / n as f64, n as f64);
    let middle = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let short = |value: f64| format!("{value:.2}").replacen("0.", ".", 1);
    format!("{} [{}, {}], n = {n}", short(p), short((middle - half).max(0.0)), short((middle + half).min(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_intervals() {
        assert_eq!(share(95, 100), ".95 [.89, .98], n = 100");
        assert_eq!(share(3, 3), "1.00 [.44, 1.00], n = 3");
        assert_eq!(share(0, 0), "–");
    }
}
