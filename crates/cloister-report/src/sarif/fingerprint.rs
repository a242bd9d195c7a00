//! What recognises a finding in a later version of the file.

use crate::Finding;
use crate::sources::Sources;
use crate::words::lines;
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// The name of the fingerprint, with the version of how it is made.
pub(super) const KEY: &str = "cloisterFinding/v1";

/// Makes fingerprints that differ within one report.
#[derive(Default)]
pub(super) struct Fingerprints {
    seen: HashMap<String, usize>,
}

impl Fingerprints {
    /// The fingerprint of the next finding: a hash of file, unit, class and the text of the weak lines without their
    /// indentation, then which one of its like it is. Line numbers are not part of it, so it survives changes above.
    pub(super) fn next(&mut self, finding: &Finding, sources: &Sources<'_>) -> String {
        let mut hash = Sha256::new();
        let mut add = |part: &str| {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        };
        [&finding.file, &finding.unit.name, &finding.cwe].into_iter().for_each(|part| add(part));
        lines(finding).into_iter().for_each(|line| add(sources.line(&finding.file, line).trim()));
        let digits: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let count = self.seen.entry(digits.clone()).or_default();
        *count += 1;
        format!("{digits}:{count}")
    }
}
