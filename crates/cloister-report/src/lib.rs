//! What Cloister reports, and the formats it is written in.
//!
//! The types are those of the page's interface and of the JSON report, field by field. [`render`] writes an
//! [`Analysis`] as SARIF 2.1.0, JSON, Markdown, or text for a terminal. Everything that comes from the analysed source
//! is hostile until escaped, so each format escapes what would act in it.
//!
//! ```
//! use cloister_report::{Analysis, Format, ModelInfo, SourceFile, render};
//!
//! let files = [SourceFile { name: "app.py".into(), text: "print(1)\n".into() }];
//! let model = ModelInfo { id: "tiny".into(), hash: "00".into() };
//! let text = render(&Analysis::default(), &files, &model, Format::Text)?;
//! assert_eq!(text, "No findings in 0 units of 1 file.\n");
//! # Ok::<(), cloister_report::ReportError>(())
//! ```

mod error;
mod escape;
mod format;
mod json;
mod markdown;
mod sarif;
mod sources;
mod text;
mod types;
mod words;

pub use error::ReportError;
pub use format::Format;
pub use types::{
    Analysis, ClassProbability, Finding, ModelInfo, Notice, NoticeKind, Position, Range, Severity, SourceFile,
    UnitInfo, UnitKind, UnitVerdict,
};

use sources::Sources;

/// Writes an analysis of `files`, made by `model`, in a format. The text ends with a line end.
///
/// # Errors
/// [`ReportError`] where analysis and files do not belong together: a file or a line that is not there; and where a
/// probability is none.
pub fn render(
    analysis: &Analysis,
    files: &[SourceFile],
    model: &ModelInfo,
    format: Format,
) -> Result<String, ReportError> {
    let sources = Sources::new(files);
    sources.check(analysis)?;
    match format {
        Format::Sarif => sarif::render(analysis, &sources, model),
        Format::Json => json::render(analysis, &sources, model),
        Format::Markdown => Ok(markdown::render(analysis, &sources, model)),
        Format::Text => Ok(text::render(analysis, &sources)),
    }
}
