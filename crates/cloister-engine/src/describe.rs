//! From the parser's terms to the report's, and the words of a finding: from the catalogue, never from the model.

use cloister_report::{Notice, NoticeKind, Position, Range, Severity, UnitInfo, UnitKind};
use cloister_source::Unit;
use sha2::{Digest, Sha256};

/// What the catalogue says of a class.
pub(crate) struct ClassText {
    pub(crate) name: String,
    pub(crate) severity: Severity,
    pub(crate) problem: String,
    pub(crate) remedy: String,
    pub(crate) links: Vec<String>,
}

/// The words for a CWE id. A class that the catalogue lacks is still reported, with a link to its definition.
pub(crate) fn class(cwe: &str) -> ClassText {
    match cloister_catalogue::entry(cwe) {
        Some(entry) => ClassText {
            name: entry.title.clone(),
            severity: severity(entry.severity),
            problem: entry.problem.clone(),
            remedy: entry.remedy.clone(),
            links: entry.links.clone(),
        },
        None => ClassText {
            name: cwe.into(),
            severity: Severity::Medium,
            problem: format!("The model reports {cwe} here, a class that this version has no description of."),
            remedy: "Read the definition of the class, and check whether the code does what it describes.".into(),
            links: vec![format!("https://cwe.mitre.org/data/definitions/{}.html", cwe.trim_start_matches("CWE-"))],
        },
    }
}

fn severity(severity: cloister_catalogue::Severity) -> Severity {
    match severity {
        cloister_catalogue::Severity::Low => Severity::Low,
        cloister_catalogue::Severity::Medium => Severity::Medium,
        cloister_catalogue::Severity::High => Severity::High,
        cloister_catalogue::Severity::Critical => Severity::Critical,
    }
}

/// The same for the same file, unit and class on every machine: 16 hexadecimal digits.
pub(crate) fn finding_id(file: &str, unit: &str, cwe: &str) -> String {
    let mut hash = Sha256::new();
    for part in [file, unit, cwe] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// A unit as reports name it.
pub(crate) fn unit(unit: &Unit) -> UnitInfo {
    let kind = match unit.kind {
        cloister_source::UnitKind::Function => UnitKind::Function,
        cloister_source::UnitKind::Method => UnitKind::Method,
        cloister_source::UnitKind::Module => UnitKind::Module,
    };
    UnitInfo { name: unit.name.clone(), kind, range: range(unit.range) }
}

/// A remark of the parser as one about a file.
pub(crate) fn notice(file: &str, notice: cloister_source::Notice) -> Notice {
    use cloister_source::NoticeKind as Kind;
    let kind = match notice.kind {
        Kind::SyntaxError => NoticeKind::SyntaxError,
        Kind::NotPython => NoticeKind::NotPython,
        Kind::Empty => NoticeKind::Empty,
        Kind::Truncated => NoticeKind::Truncated,
        Kind::ControlCharacters => NoticeKind::ControlCharacters,
        Kind::BidiCharacters => NoticeKind::BidiCharacters,
        Kind::LoneSurrogate => NoticeKind::LoneSurrogate,
    };
    Notice { file: file.into(), kind, message: notice.message, range: notice.range.map(range) }
}

pub(crate) fn range(range: cloister_source::Range) -> Range {
    let place =
        |place: cloister_source::Position| Position { line: place.line, column: place.column, utf16: place.utf16 };
    Range { start: place(range.start), end: place(range.end) }
}
