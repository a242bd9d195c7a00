//! Plain text for terminals: one line a finding that editors can jump from, then its explanation.

use crate::escape::{paragraph, visible};
use crate::sources::Sources;
use crate::words::{CANCELLED, numbered_code, percent, summary};
use crate::{Analysis, Finding, Notice};
use textwrap::{Options, WordSplitter, fill};

/// Columns of a line of explanation, indentation included.
const WIDTH: usize = 80;
const INDENTATION: &str = "  ";

pub(crate) fn render(analysis: &Analysis, sources: &Sources<'_>) -> String {
    let mut report: String = analysis.findings.iter().map(|one| finding(one, sources) + "\n").collect();
    report.extend(analysis.notices.iter().map(|one| notice(one) + "\n"));
    if !analysis.notices.is_empty() {
        report.push('\n');
    }
    if analysis.cancelled {
        report.push_str(CANCELLED);
        report.push('\n');
    }
    report + &summary(analysis, sources) + "\n"
}

fn finding(finding: &Finding, sources: &Sources<'_>) -> String {
    let start = finding.range.start;
    let mut text = format!(
        "{}:{}:{}: {} {} ({})\n",
        visible(&finding.file),
        start.line,
        start.column,
        visible(&finding.cwe),
        paragraph(&finding.name),
        percent(finding.confidence)
    );
    for line in numbered_code(finding, sources, visible) {
        text.push_str(&format!("{INDENTATION}{INDENTATION}{line}\n"));
    }
    text.push_str(&wrapped(&finding.problem));
    text.push_str(&wrapped(&format!("Remedy: {}", finding.remedy)));
    for link in &finding.links {
        text.push_str(&format!("{INDENTATION}{}\n", visible(link)));
    }
    text
}

fn notice(notice: &Notice) -> String {
    let place = notice.range.map(|range| format!(":{}:{}", range.start.line, range.start.column));
    let (file, place) = (visible(&notice.file), place.unwrap_or_default());
    format!("{file}{place}: {}: {}", notice.kind.as_str(), paragraph(&notice.message))
}

fn wrapped(text: &str) -> String {
    let options = Options::new(WIDTH)
        .initial_indent(INDENTATION)
        .subsequent_indent(INDENTATION)
        .break_words(false)
        // A class's id or a name with hyphens stays whole.
        .word_splitter(WordSplitter::NoHyphenation);
    fill(&paragraph(text), options) + "\n"
}
