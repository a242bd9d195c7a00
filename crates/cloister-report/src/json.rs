//! JSON with every field of the analysis.

use crate::sources::Sources;
use crate::{Analysis, ModelInfo, ReportError};
use serde::Serialize;

/// Raised when a field changes its meaning or goes; new fields do not raise it.
const SCHEMA_VERSION: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    schema_version: u32,
    tool: Tool,
    model: &'a ModelInfo,
    /// Every file that was analysed, findings or none.
    files: Vec<&'a str>,
    #[serde(flatten)]
    analysis: &'a Analysis,
}

#[derive(Serialize)]
struct Tool {
    name: &'static str,
    version: &'static str,
}

pub(crate) fn render(analysis: &Analysis, sources: &Sources<'_>, model: &ModelInfo) -> Result<String, ReportError> {
    let report = Report {
        schema_version: SCHEMA_VERSION,
        tool: Tool { name: "Cloister", version: env!("CARGO_PKG_VERSION") },
        model,
        files: sources.files().iter().map(|file| file.name).collect(),
        analysis,
    };
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}
