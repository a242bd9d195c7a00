//! Markdown for people.

use crate::escape::{code_span, fence, is_web_address, markdown, visible};
use crate::sources::Sources;
use crate::words::{CANCELLED, blocks, lines, numbered_code, percent, place, summary};
use crate::{Analysis, Finding, ModelInfo, Notice, Severity};

pub(crate) fn render(analysis: &Analysis, sources: &Sources<'_>, model: &ModelInfo) -> String {
    let mut report = format!(
        "# Cloister report\n\n{}\n\nCloister {}, model {} ({}). The findings are a model's judgement: it can be wrong \
         about code that is sound, and silent about code that is not.\n",
        summary(analysis, sources),
        env!("CARGO_PKG_VERSION"),
        code_span(&model.id),
        code_span(&model.hash),
    );
    if analysis.cancelled {
        report.push_str(&format!("\n**{CANCELLED}**\n"));
    }
    let mut file = None;
    for finding in &analysis.findings {
        if file != Some(&finding.file) {
            report.push_str(&format!("\n## {}\n", code_span(&finding.file)));
            file = Some(&finding.file);
        }
        report.push_str(&section(finding, sources));
    }
    if !analysis.notices.is_empty() {
        report.push_str("\n## Notices\n\n");
        report.extend(analysis.notices.iter().map(item));
    }
    report
}

fn section(finding: &Finding, sources: &Sources<'_>) -> String {
    let severity = match finding.severity {
        Severity::Low => "Low",
        Severity::Medium => "Medium",
        Severity::High => "High",
        Severity::Critical => "Critical",
    };
    let code = numbered_code(finding, sources, visible).join("\n");
    let fence = fence(&code);
    let mut section = format!(
        "\n### {}: {}, {}\n\n{severity} severity, confidence {}, {}.\n\n{fence}text\n{code}\n{fence}\n\n{}\n\n**Remedy.** {}\n",
        markdown(&finding.cwe),
        markdown(&finding.name),
        line_numbers(&lines(finding)),
        markdown(&percent(finding.confidence)),
        place(&finding.unit, code_span),
        markdown(&finding.problem),
        markdown(&finding.remedy),
    );
    if !finding.links.is_empty() {
        section.push('\n');
    }
    section.extend(finding.links.iter().map(|link| format!("- {}\n", address(link))));
    section
}

/// `line 4` or `lines 4–5, 9`.
fn line_numbers(lines: &[u32]) -> String {
    let blocks: Vec<_> = blocks(lines)
        .into_iter()
        .map(|block| match block.clone().count() {
            1 => block.start().to_string(),
            _ => format!("{}–{}", block.start(), block.end()),
        })
        .collect();
    format!("{} {}", if lines.len() == 1 { "line" } else { "lines" }, blocks.join(", "))
}

/// A link where it is an address on the web; else code, which nothing follows.
pub(crate) fn address(link: &str) -> String {
    if is_web_address(link) { format!("<{link}>") } else { code_span(link) }
}

fn item(notice: &Notice) -> String {
    let place = notice.range.map(|range| format!(", line {}", range.start.line)).unwrap_or_default();
    format!("- {}{place}: {}\n", code_span(&notice.file), markdown(&notice.message))
}
