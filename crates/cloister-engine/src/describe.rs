//! From the parser's terms to the report's, and the words of a finding: from the catalogue, never from the model.

use cloister_report::{Notice, Severity, UnitInfo};
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
            severity: entry.severity,
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
    UnitInfo { name: unit.name.clone(), kind: unit.kind, range: unit.range }
}

/// A remark of the parser as one about a file.
pub(crate) fn notice(file: &str, notice: cloister_source::Notice) -> Notice {
    Notice { file: file.into(), kind: notice.kind, message: notice.message, range: notice.range }
}
