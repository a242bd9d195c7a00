//! The analysed texts by name and line.

use crate::{Analysis, Range, ReportError, SourceFile};
use std::collections::HashMap;

/// The files of an analysis.
pub(crate) struct Sources<'a> {
    files: Vec<Source<'a>>,
    by_name: HashMap<&'a str, usize>,
}

/// One file.
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    lines: Vec<&'a str>,
}

impl<'a> Sources<'a> {
    pub(crate) fn new(files: &'a [SourceFile]) -> Self {
        let mut by_name = HashMap::new();
        for (index, file) in files.iter().enumerate() {
            by_name.entry(file.name.as_str()).or_insert(index);
        }
        let files = files.iter().map(|file| Source { name: &file.name, lines: split_lines(&file.text) });
        Self { files: files.collect(), by_name }
    }

    /// Every file, in the order given.
    pub(crate) fn files(&self) -> &[Source<'a>] {
        &self.files
    }

    /// The place of a file in [`Sources::files`].
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// A line, from 1, without its line end; empty where it is not there.
    pub(crate) fn line(&self, file: &str, number: u32) -> &'a str {
        self.get(file).and_then(|source| source.line(number)).unwrap_or_default()
    }

    /// The text of a range with `\n` between its lines.
    pub(crate) fn slice(&self, file: &str, range: &Range) -> String {
        let mut text = String::new();
        for number in range.start.line..=range.end.line {
            let line = self.line(file, number);
            let start = if number == range.start.line { byte_of_column(line, range.start.column) } else { 0 };
            let end = if number == range.end.line { byte_of_column(line, range.end.column) } else { line.len() };
            if number > range.start.line {
                text.push('\n');
            }
            text.push_str(line.get(start..end).unwrap_or_default());
        }
        text
    }

    /// Whether the analysis can be of these files.
    pub(crate) fn check(&self, analysis: &Analysis) -> Result<(), ReportError> {
        for finding in &analysis.findings {
            self.check_range(&finding.file, &finding.range)?;
            finding.lines.iter().try_for_each(|line| self.check_line(&finding.file, *line))?;
            check_probability(&finding.file, finding.confidence)?;
        }
        for verdict in &analysis.units {
            self.check_range(&verdict.file, &verdict.unit.range)?;
            check_probability(&verdict.file, verdict.safe)?;
            verdict.top.iter().try_for_each(|class| check_probability(&verdict.file, class.probability))?;
        }
        for notice in &analysis.notices {
            match &notice.range {
                Some(range) => self.check_range(&notice.file, range)?,
                None => self.source(&notice.file).map(drop)?,
            }
        }
        Ok(())
    }

    fn check_range(&self, file: &str, range: &Range) -> Result<(), ReportError> {
        self.check_line(file, range.start.line)?;
        self.check_line(file, range.end.line)
    }

    fn check_line(&self, file: &str, line: u32) -> Result<(), ReportError> {
        match self.source(file)?.line(line) {
            Some(_) => Ok(()),
            None => Err(ReportError::NoSuchLine { file: file.into(), line }),
        }
    }

    fn source(&self, file: &str) -> Result<&Source<'a>, ReportError> {
        self.get(file).ok_or_else(|| ReportError::UnknownFile { file: file.into() })
    }

    fn get(&self, file: &str) -> Option<&Source<'a>> {
        self.files.get(self.index(file)?)
    }
}

impl<'a> Source<'a> {
    fn line(&self, number: u32) -> Option<&'a str> {
        self.lines.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
    }
}

fn check_probability(file: &str, value: f64) -> Result<(), ReportError> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(ReportError::NotAProbability { file: file.into(), value }) }
}

/// The lines as Python counts them: `\n`, `\r\n` and a lone `\r` end one.
fn split_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(end) = rest.find(['\n', '\r']) {
        lines.push(&rest[..end]);
        let width = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = &rest[end + width..];
    }
    lines.push(rest);
    lines
}

/// The byte at a column, from 1, in UTF-16 code units; the line's end where the line is shorter.
fn byte_of_column(line: &str, column: u32) -> usize {
    let mut ahead = u64::from(column).saturating_sub(1);
    for (byte, character) in line.char_indices() {
        let width = character.len_utf16() as u64;
        if ahead < width {
            return byte;
        }
        ahead -= width;
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Position;

    fn range(start: (u32, u32), end: (u32, u32)) -> Range {
        let position = |(line, column)| Position { line, column, utf16: 0 };
        Range { start: position(start), end: position(end) }
    }

    #[test]
    fn lines_end_as_in_python() {
        assert_eq!(split_lines("a\r\nb\rc\n\nd"), ["a", "b", "c", "", "d"]);
        assert_eq!(split_lines("a\n"), ["a", ""]);
        assert_eq!(split_lines(""), [""]);
    }

    #[test]
    fn columns_are_utf16() {
        let files = [SourceFile { name: "a".into(), text: "x = '😀' + y\r\nz".into() }];
        let sources = Sources::new(&files);
        assert_eq!(sources.slice("a", &range((1, 6), (1, 8))), "😀");
        assert_eq!(sources.slice("a", &range((1, 12), (2, 2))), "y\nz");
        assert_eq!(sources.slice("a", &range((1, 99), (1, 100))), "");
        assert_eq!(sources.slice("a", &range((2, 1), (1, 1))), "");
    }
}
