//! Wordings that several formats share.

use crate::sources::Sources;
use crate::{Analysis, Finding, UnitInfo, UnitKind};
use std::ops::RangeInclusive;

/// What a run that was ended early says.
pub(crate) const CANCELLED: &str = "The analysis was stopped before all units were judged.";

/// Longer lines of code are cut; characters.
const MAX_LINE: usize = 400;

/// A probability for people. Only certainty itself is shown as such.
pub(crate) fn percent(probability: f64) -> String {
    match (probability * 100.0).round() {
        100.0.. if probability < 1.0 => ">99%".into(),
        ..1.0 if probability > 0.0 => "<1%".into(),
        rounded => format!("{rounded}%"),
    }
}

/// `No findings in 5 units of 2 files.`
pub(crate) fn summary(analysis: &Analysis, sources: &Sources<'_>) -> String {
    let findings = match analysis.findings.len() {
        0 => "No findings".into(),
        count => counted(count, "finding"),
    };
    let units = counted(analysis.units.len(), "unit");
    let files = counted(sources.files().len(), "file");
    format!("{findings} in {units} of {files}.")
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// A unit in a sentence: `in function f`, `at module level`; `show` writes its name.
pub(crate) fn place(unit: &UnitInfo, show: impl Fn(&str) -> String) -> String {
    match unit.kind {
        UnitKind::Function => format!("in function {}", show(&unit.name)),
        UnitKind::Method => format!("in method {}", show(&unit.name)),
        UnitKind::Module => "at module level".into(),
    }
}

/// The lines that carry a finding; the first of its range where it names none.
pub(crate) fn lines(finding: &Finding) -> Vec<u32> {
    if finding.lines.is_empty() { vec![finding.range.start.line] } else { finding.lines.clone() }
}

/// Lines in order as blocks of lines that follow each other.
pub(crate) fn blocks(lines: &[u32]) -> Vec<RangeInclusive<u32>> {
    let follow = |first: &u32, second: &u32| first.checked_add(1) == Some(*second);
    let ends = |block: &[u32]| Some(*block.first()?..=*block.last()?);
    lines.chunk_by(follow).filter_map(ends).collect()
}

/// The lines of a finding with their numbers; `show` makes their text harmless. A gap between blocks is shown as `...`.
pub(crate) fn numbered_code(finding: &Finding, sources: &Sources<'_>, show: impl Fn(&str) -> String) -> Vec<String> {
    let lines = lines(finding);
    let width = lines.iter().max().map_or(1, |line| line.to_string().len());
    let mut code = Vec::with_capacity(lines.len());
    for (index, block) in blocks(&lines).into_iter().enumerate() {
        if index > 0 {
            code.push(format!("{:>width$}", "..."));
        }
        code.extend(block.map(|number| {
            let line = sources.line(&finding.file, number);
            let cut = line.char_indices().nth(MAX_LINE).map(|(byte, _)| byte);
            let (line, rest) = cut.map_or((line, ""), |byte| (&line[..byte], "..."));
            format!("{number:>width$} | {}{rest}", show(line)).trim_end().to_owned()
        }));
    }
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_claim_no_certainty() {
        let shown = [0.0, 0.001, 0.5, 0.874, 0.999, 1.0].map(percent);
        assert_eq!(shown, ["0%", "<1%", "50%", "87%", ">99%", "100%"]);
    }

    #[test]
    fn following_lines_make_blocks() {
        assert_eq!(blocks(&[2, 3, 5, 8, 9]), [2..=3, 5..=5, 8..=9]);
        assert!(blocks(&[]).is_empty());
    }
}
