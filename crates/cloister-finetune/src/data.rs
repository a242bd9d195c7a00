//! Rows of labelled code, and their division into those to learn from and those held out.

use crate::FinetuneError;
use crate::error::at;
use cloister_eval::{EvalError, Record, records};
use cloister_package::NONE_LABEL;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// A labelled piece of Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Unique name.
    pub id: String,
    /// The code.
    pub code: String,
    /// The weakness, as in "CWE-89"; `None` where there is none.
    pub cwe: Option<String>,
    /// The lines that carry the weakness, from 1; empty where they are not known.
    pub lines: Vec<u32>,
    /// What belongs together and is never divided: a weak row and its fixed twins.
    pub group: String,
    /// The part that the file puts it into, where it says so.
    pub split: Option<String>,
}

/// A line of a file. The fields of `cloister eval`, and those of the study's form under their names.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: String,
    #[serde(alias = "input")]
    code: String,
    #[serde(default, alias = "output")]
    cwe: Option<String>,
    #[serde(default)]
    safe: Option<bool>,
    #[serde(default)]
    line: Option<u32>,
    #[serde(default)]
    lines: Vec<u32>,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    split: Option<String>,
}

impl Line {
    fn weakness(&self) -> Option<&str> {
        self.cwe.as_deref().filter(|cwe| self.safe != Some(true) && *cwe != NONE_LABEL)
    }
}

impl Record for Line {
    fn id(&self) -> &str {
        &self.id
    }

    fn check(&self) -> Result<(), String> {
        if self.code.trim().is_empty() {
            return Err("`code` is empty".into());
        }
        if self.line == Some(0) || self.lines.contains(&0) {
            return Err("`line` is 0 where lines count from 1".into());
        }
        match self.weakness() {
            None if self.safe == Some(false) => Err("`cwe` is missing although `safe` is false".into()),
            Some(cwe) if !is_cwe(cwe) => Err(format!("`cwe` has `{cwe}` where an id is written like CWE-89")),
            _ => Ok(()),
        }
    }
}

fn is_cwe(text: &str) -> bool {
    text.strip_prefix("CWE-").is_some_and(|digits| {
        !digits.is_empty() && digits.len() < 8 && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit())
    })
}

/// The rows of a JSON Lines file: `code` and `cwe` (`null`, "none" or absent where there is no weakness); further `id`,
/// `safe`, `line` or `lines`, `group` and `split`.
///
/// # Errors
/// [`FinetuneError::Rows`] names the first bad line and its fault.
pub fn read(path: &Path) -> Result<Vec<Row>, FinetuneError> {
    let fault = |source| FinetuneError::Rows { path: path.into(), source };
    let mut rows: Vec<Row> = Vec::new();
    let mut ids = BTreeSet::new();
    for line in records::<Line>(BufReader::new(File::open(path).map_err(at(path))?)) {
        let line = line.map_err(fault)?;
        let cwe = line.weakness().map(str::to_string);
        let lines = if cwe.is_some() { line.lines.iter().copied().chain(line.line).collect() } else { Vec::new() };
        let id = if line.id.is_empty() { format!("row-{}", rows.len() + 1) } else { line.id };
        if !ids.insert(id.clone()) {
            return Err(fault(EvalError::Duplicate { what: "rows", id }));
        }
        let group = line.group.unwrap_or_else(|| id.clone());
        rows.push(Row { id, code: line.code, cwe, lines, group, split: line.split });
    }
    if rows.is_empty() {
        return Err(FinetuneError::NoRows(format!("{} holds no rows", path.display())));
    }
    Ok(rows)
}

/// Rows to learn from, and rows that are only measured on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Split {
    /// To learn from.
    pub train: Vec<Row>,
    /// To measure on.
    pub held_out: Vec<Row>,
}

impl Split {
    /// Divides rows. Where a row names its `split`, `train` is learned from, `test` is held out and others serve neither;
    /// else groups are drawn by the seed until a `share` of the rows, 0 to 1, is held out.
    pub fn new(rows: Vec<Row>, share: f64, seed: u64) -> Self {
        let mut split = Self::default();
        if rows.iter().any(|row| row.split.is_some()) {
            for row in rows {
                match row.split.as_deref() {
                    Some("train") => split.train.push(row),
                    Some("test") => split.held_out.push(row),
                    _ => {}
                }
            }
            return split;
        }
        let wanted = (rows.len() as f64 * share).round() as usize;
        let held_out = draw(&rows, wanted, seed);
        (split.held_out, split.train) = rows.into_iter().partition(|row| held_out.contains(&row.group));
        split
    }
}

/// Whole groups, drawn by the seed, of at most so many rows together; in the order of the file.
pub fn limited(rows: Vec<Row>, most: usize, seed: u64) -> Vec<Row> {
    let kept = draw(&rows, most, seed);
    rows.into_iter().filter(|row| kept.contains(&row.group)).collect()
}

fn draw(rows: &[Row], most: usize, seed: u64) -> BTreeSet<String> {
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    for row in rows {
        *sizes.entry(&row.group).or_default() += 1;
    }
    let mut groups: Vec<(&str, usize)> = sizes.into_iter().collect();
    groups.sort_unstable();
    groups.shuffle(&mut StdRng::seed_from_u64(seed));
    let mut left = most;
    let mut drawn = BTreeSet::new();
    for (group, size) in groups {
        if size <= left {
            left -= size;
            drawn.insert(group.to_string());
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn rows_are_read_in_both_forms() {
        let file = file(concat!(
            r#"{"id":"a","source":"x","code":"eval(x)","cwe":"CWE-95","safe":false,"line":1,"group":"g"}"#,
            "\n\n",
            r#"{"id":"b","code":"int(x)","cwe":"CWE-95","safe":true,"group":"g"}"#,
            "\n",
            r#"{"instruction":"?","input":"exec(x)","output":"CWE-94","lines":[1],"split":"train"}"#,
            "\n",
            r#"{"input":"pass","output":"none","lines":[]}"#
        ));
        let rows = read(file.path()).unwrap();
        let got: Vec<(&str, Option<&str>, &[u32], &str)> =
            rows.iter().map(|r| (r.id.as_str(), r.cwe.as_deref(), &r.lines[..], r.group.as_str())).collect();
        assert_eq!(
            got,
            [
                ("a", Some("CWE-95"), &[1][..], "g"),
                ("b", None, &[], "g"),
                ("row-3", Some("CWE-94"), &[1], "row-3"),
                ("row-4", None, &[], "row-4")
            ]
        );
    }

    #[test]
    fn a_bad_line_is_named_with_its_fault() {
        let good = r#"{"code":"pass"}"#;
        for (line, words) in [
            ("{", "line 2"),
            (r#"{"cwe":"CWE-89"}"#, "code"),
            (r#"{"code":" "}"#, "empty"),
            (r#"{"code":"x","cwe":"SQL injection"}"#, "CWE-89"),
            (r#"{"code":"x","safe":false}"#, "cwe"),
            (r#"{"code":"x","cwe":"CWE-89","line":0}"#, "count from 1"),
            (r#"{"id":"row-1","code":"x"}"#, "row-1"),
        ] {
            let file = file(&format!("{good}\n{line}\n"));
            let error = read(file.path()).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(file.path().to_str().unwrap()), "{error}");
        }
        assert!(matches!(read(file("\n").path()), Err(FinetuneError::NoRows(_))));
        assert!(matches!(read(Path::new("no/such/file")), Err(FinetuneError::Io { .. })));
    }

    fn row(id: usize, group: usize, split: Option<&str>) -> Row {
        Row {
            id: id.to_string(),
            code: "pass".into(),
            cwe: None,
            lines: Vec::new(),
            group: group.to_string(),
            split: split.map(str::to_string),
        }
    }

    #[test]
    fn groups_are_never_divided() {
        let rows: Vec<Row> = (0..100).map(|id| row(id, id / 3, None)).collect();
        let split = Split::new(rows.clone(), 0.2, 1);
        assert!((17..=20).contains(&split.held_out.len()), "{}", split.held_out.len());
        assert_eq!(split.train.len() + split.held_out.len(), 100);
        assert!(split.held_out.iter().all(|held| split.train.iter().all(|row| row.group != held.group)));
        assert_eq!(split, Split::new(rows.clone(), 0.2, 1));
        assert_ne!(split, Split::new(rows.clone(), 0.2, 2));
        assert!((8..=10).contains(&limited(rows, 10, 1).len()));
    }

    #[test]
    fn a_split_in_the_file_holds() {
        let parts = ["train", "valid", "test"];
        let split = Split::new((0..9).map(|id| row(id, id, Some(parts[id % 3]))).collect(), 0.5, 0);
        assert_eq!((split.train.len(), split.held_out.len()), (3, 3));
        assert!(split.held_out.iter().all(|row| row.split.as_deref() == Some("test")));
    }
}
