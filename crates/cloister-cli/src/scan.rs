//! `cloister scan`.

use crate::Outcome;
use crate::args::{ScanFormat, ScanOptions};
use crate::error::CliError;
use crate::output::Output;
use crate::progress::{Steps, UnitSteps};
use crate::{device, input};
use cloister_engine::{Analysis, AnalyzeOptions, SourceFile};
use cloister_report::{Format, ModelInfo};

/// Scans, reports, and says whether something was found.
///
/// # Errors
/// [`CliError`] where there is no model or the report cannot be written. A file that cannot be read is told on stderr,
/// the others are scanned, and the outcome says so.
pub fn run(options: &ScanOptions) -> Result<Outcome, CliError> {
    let mut failed = false;
    let mut tell = |error: &CliError| {
        eprintln!("cloister: {error}");
        failed = true;
    };
    let sources = input::sources(&options.paths, &mut tell);
    let mut engine = device::open(&options.model)?;
    let wanted = AnalyzeOptions {
        threshold: options.threshold,
        cwes: (!options.cwes.is_empty()).then(|| options.cwes.clone()),
        top: None,
    };
    let steps = Steps::things("Scanning");
    let (mut files, mut all) = (Vec::new(), Analysis::default());
    for (index, source) in sources.iter().enumerate() {
        steps.at(index as u64, sources.len() as u64);
        let text = match source.read() {
            Ok(text) => text,
            Err(error) => {
                steps.tell(&format!("cloister: {error}"));
                failed = true;
                continue;
            }
        };
        let file = SourceFile { name: source.name(), text };
        steps.label(&file.name);
        let mut observer = UnitSteps { steps: &steps, name: &file.name };
        let analysis = pollster::block_on(engine.analyze(std::slice::from_ref(&file), &wanted, &mut observer))?;
        join(&mut all, analysis);
        files.push(file);
    }
    steps.finish();
    let info = engine.info();
    let model = ModelInfo { id: info.model_id, hash: info.model_hash };
    let format = match options.format {
        ScanFormat::Text => Format::Text,
        ScanFormat::Json => Format::Json,
        ScanFormat::Sarif => Format::Sarif,
        ScanFormat::Markdown => Format::Markdown,
    };
    let mut report =
        cloister_report::render(&all, &files, &model, format).map_err(|error| CliError::Report(error.to_string()))?;
    if !report.ends_with('\n') {
        report.push('\n');
    }
    let mut output = Output::open(options.output.as_deref())?;
    output.write(&report)?;
    output.flush()?;
    Ok(match (failed, all.findings.is_empty()) {
        (true, _) => Outcome::PartlyFailed,
        (false, true) => Outcome::Nothing,
        (false, false) => Outcome::Findings,
    })
}

/// Adds the answer for one file to those before.
fn join(all: &mut Analysis, one: Analysis) {
    all.findings.extend(one.findings);
    all.units.extend(one.units);
    all.notices.extend(one.notices);
    all.cancelled |= one.cancelled;
    all.millis += one.millis;
    all.tokens += one.tokens;
    all.units_run += one.units_run;
    all.units_cached += one.units_cached;
}
