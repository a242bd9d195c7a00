//! JSON Lines: one object per line, blank lines skipped.

use crate::{EvalError, Prediction, Row};
use serde::de::DeserializeOwned;
use std::{collections::HashMap, io::BufRead};

/// What can stand on a line.
pub trait Record: DeserializeOwned {
    /// Its id.
    fn id(&self) -> &str;

    /// Whether its values make sense; used on every line read.
    ///
    /// # Errors
    /// What is wrong with which field, as a part of a sentence.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// All rows of a file.
///
/// # Errors
/// The first line that cannot be read, is not a row, or has the id of an earlier one.
pub fn read_rows(reader: impl BufRead) -> Result<Vec<Row>, EvalError> {
    read(reader)
}

/// All predictions of a file.
///
/// # Errors
/// The first line that cannot be read, is not a prediction, or has the id of an earlier one.
pub fn read_predictions(reader: impl BufRead) -> Result<Vec<Prediction>, EvalError> {
    read(reader)
}

fn read<T: Record>(reader: impl BufRead) -> Result<Vec<T>, EvalError> {
    let mut first = HashMap::new();
    let mut all = Vec::new();
    for record in numbered::<T, _>(reader) {
        let (line, record) = record?;
        if let Some(first) = first.insert(record.id().to_owned(), line) {
            return Err(EvalError::DuplicateLine { line, first, id: record.id().to_owned() });
        }
        all.push(record);
    }
    Ok(all)
}

/// The records of a file one by one. A bad line gives an error and the reading goes on with the next, so that a caller
/// can report it and skip it; after [`EvalError::Read`] nothing follows.
pub fn records<T: Record>(reader: impl BufRead) -> impl Iterator<Item = Result<T, EvalError>> {
    numbered(reader).map(|record| record.map(|(_, record)| record))
}

fn numbered<T: Record, R: BufRead>(mut reader: R) -> impl Iterator<Item = Result<(usize, T), EvalError>> {
    let mut line = 0;
    let mut over = false;
    std::iter::from_fn(move || {
        while !over {
            line += 1;
            // Bytes and not text: a line that is not UTF-8 is that line's fault and not the end of the file.
            let mut bytes = Vec::new();
            match reader.read_until(b'\n', &mut bytes) {
                Ok(0) => over = true,
                Ok(_) => {
                    let start = if line == 1 && bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
                    if !bytes[start..].trim_ascii().is_empty() {
                        return Some(parse(line, &bytes[start..]).map(|record| (line, record)));
                    }
                }
                Err(error) => {
                    over = true;
                    return Some(Err(EvalError::Read { line, reason: error.to_string() }));
                }
            }
        }
        None
    })
}

fn parse<T: Record>(line: usize, bytes: &[u8]) -> Result<T, EvalError> {
    let record: T = serde_json::from_slice(bytes).map_err(|error| {
        // The parser sees one line and calls it the first, which would contradict the true number.
        let text = error.to_string();
        let reason = text.split_once(" at line ").map_or(text.as_str(), |(reason, _)| reason).to_owned();
        EvalError::Json { line, column: error.column(), reason }
    })?;
    match record.check() {
        Ok(()) => Ok(record),
        Err(problem) => Err(EvalError::Field { line, id: record.id().to_owned(), problem }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEAK: &str = r#"{"id":"a","source":"s","code":"x","cwe":"CWE-89","safe":false,"line":3,"group":"g"}"#;
    const SAFE: &str = r#"{"id":"b","source":"s","code":"x","cwe":null,"safe":true,"line":null,"group":"g"}"#;

    #[test]
    fn rows_are_read_past_blank_lines_marks_and_carriage_returns() {
        let rows = read_rows(format!("\u{feff}{WEAK}\r\n\n  \n{SAFE}").as_bytes()).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].cwe.as_deref(), rows[0].line, rows[0].safe), (Some("CWE-89"), Some(3), false));
        assert_eq!((rows[1].cwe.as_deref(), rows[1].line, rows[1].safe), (None, None, true));
        assert_eq!(read_rows(&b""[..]).unwrap(), []);
    }

    #[test]
    fn faults_name_their_line() {
        let fault = |text: &str| read_rows(text.as_bytes()).unwrap_err();
        assert!(matches!(fault(&format!("{WEAK}\n\n{{\"id\": 1}}")), EvalError::Json { line: 3, .. }));
        assert!(matches!(fault(&format!("{WEAK}\n{SAFE} x")), EvalError::Json { line: 2, .. }));
        let missing = fault(r#"{"id":"a"}"#);
        assert_eq!(
            missing,
            EvalError::Json { line: 1, column: 10, reason: "missing field `source`".into() },
            "{missing}"
        );
        assert!(matches!(fault(&WEAK.replace("\"CWE-89\"", "null")), EvalError::Field { line: 1, .. }));
        assert!(matches!(fault(&WEAK.replace("CWE-89", "SQLi")), EvalError::Field { line: 1, .. }));
        assert!(matches!(fault(&WEAK.replace("\"line\":3", "\"line\":0")), EvalError::Field { line: 1, .. }));
        let again = fault(&format!("{WEAK}\n{SAFE}\n{WEAK}"));
        assert_eq!(again, EvalError::DuplicateLine { line: 3, first: 1, id: "a".into() });
    }

    #[test]
    fn predictions_need_only_the_verdict() {
        let read = |text: &str| read_predictions(text.as_bytes());
        let short = &read(r#"{"id":"a","vulnerable":false}"#).unwrap()[0];
        assert!(short.findings.is_empty() && short.scores.is_empty());
        let bad = r#"{"id":"a","vulnerable":true,"scores":{"CWE-89":1.5}}"#;
        assert!(matches!(read(bad), Err(EvalError::Field { line: 1, .. })));
        let none = r#"{"id":"a","vulnerable":true,"scores":{"none":0.5}}"#;
        assert!(matches!(read(none), Err(EvalError::Field { line: 1, .. })));
    }

    #[test]
    fn reading_goes_on_after_a_bad_line() {
        let mut text = format!("{WEAK}\n").into_bytes();
        text.extend_from_slice(b"{\"id\":\"\xff\"}\nnot json\n");
        text.extend_from_slice(SAFE.as_bytes());
        let read: Vec<_> = records::<Row>(&text[..]).map(|record| record.map(|row| row.id)).collect();
        assert_eq!((read.len(), &read[0], &read[3]), (4, &Ok("a".into()), &Ok("b".into())));
        assert!(matches!(read[1], Err(EvalError::Json { line: 2, .. })));
        assert!(matches!(read[2], Err(EvalError::Json { line: 3, .. })));
    }

    #[test]
    fn a_broken_reader_ends_the_reading() {
        struct Broken;
        impl std::io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("gone"))
            }
        }
        let read: Vec<_> = records::<Row>(std::io::BufReader::new(Broken)).collect();
        assert_eq!(read, [Err(EvalError::Read { line: 1, reason: "gone".into() })]);
    }
}
