//! SARIF 2.1.0, for code hosts and editors.

mod fingerprint;
mod log;
mod rules;

use crate::escape::{paragraph, uri};
use crate::sources::Sources;
use crate::words::{CANCELLED, blocks, lines, percent, place};
use crate::{Analysis, Finding, ModelInfo, Notice, NoticeKind, Range, ReportError, Severity, UnitKind};
use fingerprint::Fingerprints;
use log::{
    Artifact, ArtifactLocation, Descriptor, DescriptorReference, Driver, DriverProperties, Invocation, Level, Location,
    Log, LogicalLocation, Notification, PhysicalLocation, Region, ResultProperties, Run, SarifResult, Text, Tool,
};

const SCHEMA: &str = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Longer code is not quoted; bytes.
const MAX_SNIPPET: usize = 4_000;
const MAX_SNIPPET_LINES: u32 = 40;

pub(crate) fn render(analysis: &Analysis, sources: &Sources<'_>, model: &ModelInfo) -> Result<String, ReportError> {
    let (notifications, tool_execution_notifications) = notifications(analysis, sources);
    let rules = rules::rules(&analysis.findings);
    let mut fingerprints = Fingerprints::default();
    let results = analysis.findings.iter().map(|finding| {
        let index = rules.binary_search_by_key(&rules::order(&finding.cwe), |rule| rules::order(rule.id));
        result(finding, index.unwrap_or_default(), fingerprints.next(finding, sources), sources)
    });
    let results = results.collect();
    let driver = Driver {
        name: "Cloister",
        version: env!("CARGO_PKG_VERSION"),
        semantic_version: env!("CARGO_PKG_VERSION"),
        information_uri: env!("CARGO_PKG_REPOSITORY"),
        rules,
        notifications,
        properties: DriverProperties { model_id: &model.id, model_hash: &model.hash },
    };
    let run = Run {
        tool: Tool { driver },
        invocations: [Invocation { execution_successful: !analysis.cancelled, tool_execution_notifications }],
        artifacts: artifacts(sources),
        results,
        // As the editor counts them.
        column_kind: "utf16CodeUnits",
        default_source_language: "python",
        language: "en",
    };
    Ok(serde_json::to_string_pretty(&Log { schema: SCHEMA, version: "2.1.0", runs: [run] })? + "\n")
}

fn artifacts(sources: &Sources<'_>) -> Vec<Artifact> {
    let files = sources.files().iter().enumerate();
    files
        .map(|(index, file)| Artifact {
            location: ArtifactLocation { uri: uri(file.name), index },
            mime_type: "text/x-python",
            roles: ["analysisTarget"],
            source_language: "python",
        })
        .collect()
}

fn result<'a>(finding: &'a Finding, rule_index: usize, fingerprint: String, sources: &Sources<'_>) -> SarifResult<'a> {
    let unit = &finding.unit;
    let text = format!(
        "{} ({}) {}, confidence {}. {}",
        finding.name,
        finding.cwe,
        place(unit, str::to_owned),
        percent(finding.confidence),
        finding.problem
    );
    let kind = match unit.kind {
        UnitKind::Function => "function",
        UnitKind::Method => "member",
        UnitKind::Module => "module",
    };
    let mut region = region(&finding.range);
    let snippet = || Some(sources.slice(&finding.file, &finding.range)).filter(|text| text.len() <= MAX_SNIPPET);
    if finding.range.end.line.saturating_sub(finding.range.start.line) < MAX_SNIPPET_LINES {
        region.snippet = snippet().map(plain);
    }
    let further = blocks(&lines(finding)).into_iter().filter(|block| *block.start() > finding.range.end.line);
    let further = further.map(|block| Location {
        message: Some(plain("Also carries the weakness.".into())),
        ..location(
            &finding.file,
            Some(Region { start_line: *block.start(), end_line: *block.end(), ..Region::default() }),
            sources,
        )
    });
    SarifResult {
        rule_id: &finding.cwe,
        rule_index,
        level: level(finding.severity),
        rank: (finding.confidence * 1e4).round() / 1e2,
        message: message(&text),
        locations: [Location {
            logical_locations: vec![LogicalLocation { fully_qualified_name: unit.name.clone(), kind }],
            ..location(&finding.file, Some(region), sources)
        }],
        related_locations: further.collect(),
        partial_fingerprints: [(fingerprint::KEY, fingerprint)].into(),
        properties: ResultProperties {
            id: &finding.id,
            confidence: finding.confidence,
            severity: finding.severity.as_str(),
        },
    }
}

fn level(severity: Severity) -> Level {
    match severity {
        Severity::Low => Level::Note,
        Severity::Medium => Level::Warning,
        Severity::High | Severity::Critical => Level::Error,
    }
}

fn location(file: &str, region: Option<Region>, sources: &Sources<'_>) -> Location {
    let artifact_location = ArtifactLocation { uri: uri(file), index: sources.index(file).unwrap_or_default() };
    Location {
        physical_location: PhysicalLocation { artifact_location, region },
        logical_locations: Vec::new(),
        message: None,
    }
}

fn region(range: &Range) -> Region {
    Region {
        start_line: range.start.line,
        start_column: Some(range.start.column),
        end_line: range.end.line,
        end_column: Some(range.end.column),
        snippet: None,
    }
}

fn plain(text: String) -> Text {
    Text { text, markdown: None }
}

/// A message that shows the text as it stands: braces would be placeholders (SARIF 3.11.5), brackets links (3.11.6).
fn message(text: &str) -> Text {
    let mut escaped = String::with_capacity(text.len());
    for character in paragraph(text).chars() {
        match character {
            '{' | '}' => escaped.push(character),
            '[' | ']' | '\\' => escaped.push('\\'),
            _ => {}
        }
        escaped.push(character);
    }
    plain(escaped)
}

/// The kinds of notification in use, and the notifications.
fn notifications(analysis: &Analysis, sources: &Sources<'_>) -> (Vec<Descriptor>, Vec<Notification>) {
    let mut descriptors: Vec<Descriptor> = Vec::new();
    let mut reference = |id: &'static str| {
        let known = descriptors.iter().position(|descriptor| descriptor.id == id);
        let index = known.unwrap_or_else(|| {
            descriptors.push(Descriptor { id });
            descriptors.len() - 1
        });
        DescriptorReference { id, index }
    };
    let mut notifications: Vec<Notification> = Vec::new();
    for notice in &analysis.notices {
        notifications.push(notification(notice, reference(notice.kind.as_str()), sources));
    }
    if analysis.cancelled {
        notifications.push(Notification {
            descriptor: reference("cancelled"),
            level: Level::Warning,
            message: message(CANCELLED),
            locations: Vec::new(),
        });
    }
    (descriptors, notifications)
}

fn notification(notice: &Notice, descriptor: DescriptorReference, sources: &Sources<'_>) -> Notification {
    Notification {
        descriptor,
        level: if notice.kind == NoticeKind::Empty { Level::Note } else { Level::Warning },
        message: message(&notice.message),
        locations: vec![location(&notice.file, notice.range.as_ref().map(region), sources)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_hold_no_placeholders_and_no_links() {
        assert_eq!(message("f\"{0}\" [a](1)\n\\ \u{202e}").text, "f\"{{0}}\" \\[a\\](1) \\\\ \\\\u202e");
    }
}
