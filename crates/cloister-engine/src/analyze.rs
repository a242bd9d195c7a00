//! One run over files: parse, score, report.

use crate::calibration::Probabilities;
use crate::lines::{first_block, pointed_lines};
use crate::observer::{Observer, Progress, Stage};
use crate::{AnalyzeOptions, Engine, EngineError, UnitPrompt, cache, describe};
use cloister_report::{Analysis, ClassProbability, Finding, SourceFile, UnitInfo, UnitVerdict};
use cloister_source::{SourceText, Unit};
use std::time::Duration;
use web_time::Instant;

/// Classes in a verdict where the options do not say.
const TOP: usize = 3;

/// The longest time without a breath.
const BREATH: Duration = Duration::from_millis(10);

/// The most likely window of a unit.
struct UnitScore {
    probabilities: Probabilities,
    lines: Vec<u32>,
    cached: bool,
}

impl Engine {
    /// Judges every unit of the files.
    ///
    /// A unit is reported where its probability of a weakness reaches the threshold: its likeliest class with that
    /// probability as the confidence, and any further class whose own probability reaches the threshold too. Nothing
    /// that is wrong with a text is an error: see [`Analysis::notices`].
    ///
    /// # Errors
    /// [`EngineError`] where the device or the package fails.
    pub async fn analyze(
        &mut self,
        files: &[SourceFile],
        options: &AnalyzeOptions,
        observer: &mut dyn Observer,
    ) -> Result<Analysis, EngineError> {
        let started = Instant::now();
        let mut analysis = Analysis::default();
        let mut parsed = Vec::with_capacity(files.len());
        let mut total = 0;
        for file in files {
            let (units, notices) = self.prompts.parse(&file.text);
            total += units.len();
            analysis.notices.extend(notices.into_iter().map(|notice| describe::notice(&file.name, notice)));
            parsed.push((file, units));
            observer.breathe().await;
        }
        let mut run = Run { options, observer, analysis: &mut analysis, done: 0, total, breath: Instant::now() };
        for (file, units) in parsed {
            if !run.file(self, file, &units).await? {
                run.analysis.cancelled = true;
                break;
            }
        }
        if !run.analysis.cancelled {
            run.progress(String::new());
        }
        analysis.millis = started.elapsed().as_secs_f64() * 1e3;
        Ok(analysis)
    }
}

struct Run<'a> {
    options: &'a AnalyzeOptions,
    observer: &'a mut dyn Observer,
    analysis: &'a mut Analysis,
    done: usize,
    total: usize,
    breath: Instant,
}

impl Run<'_> {
    /// Judges the units of one file; `false` where the run was cancelled within it.
    async fn file(&mut self, engine: &mut Engine, file: &SourceFile, units: &[Unit]) -> Result<bool, EngineError> {
        let source = SourceText::new(&file.text);
        let first = self.analysis.findings.len();
        let mut whole = true;
        for unit in units {
            whole = !self.observer.cancelled() && self.unit(engine, file, &source, unit).await?;
            if !whole {
                break;
            }
        }
        // Code at module level stands between the functions, so units do not follow each other line by line.
        if let Some(findings) = self.analysis.findings.get_mut(first..) {
            findings.sort_by_key(|finding| finding.range.start);
        }
        Ok(whole)
    }

    /// Judges one unit; `false` where the run was cancelled within it.
    async fn unit(
        &mut self,
        engine: &mut Engine,
        file: &SourceFile,
        source: &SourceText<'_>,
        unit: &Unit,
    ) -> Result<bool, EngineError> {
        self.progress(unit.name.clone());
        let prompts = engine.prompts.unit(source, unit)?;
        let Some(score) = self.score(engine, &prompts.windows).await? else { return Ok(false) };
        self.done += 1;
        self.analysis.notices.extend(prompts.notice.map(|notice| describe::notice(&file.name, notice)));
        if score.cached {
            self.analysis.units_cached += 1;
        } else {
            self.analysis.units_run += 1;
        }
        self.report(engine, file, source, unit, &score);
        Ok(true)
    }

    /// The window of a unit with the highest probability of a weakness; `None` where the run was cancelled.
    async fn score(&mut self, engine: &mut Engine, windows: &[UnitPrompt]) -> Result<Option<UnitScore>, EngineError> {
        let mut best: Option<UnitScore> = None;
        let mut cached = true;
        for window in windows {
            if self.breath.elapsed() >= BREATH {
                self.observer.breathe().await;
                self.breath = Instant::now();
            }
            if self.observer.cancelled() {
                return Ok(None);
            }
            let key = cache::key(&window.ids, &window.line_ends);
            let score = match engine.cache.get(&key) {
                Some(score) => score.clone(),
                None => {
                    cached = false;
                    let started = Instant::now();
                    let score = engine.scorer.score(&window.ids, &window.line_ends).await?;
                    engine.speed.add(window.ids.len(), started.elapsed());
                    self.analysis.tokens += window.ids.len();
                    engine.cache.put(key, score.clone());
                    score
                }
            };
            let manifest = &engine.manifest;
            let probabilities = Probabilities::new(&score.logits, &manifest.labels, &manifest.calibration);
            if best.as_ref().is_none_or(|best| probabilities.weak > best.probabilities.weak) {
                let lines = pointed_lines(&window.lines, &score.lines);
                best = Some(UnitScore { probabilities, lines, cached: false });
            }
        }
        Ok(best.map(|best| UnitScore { cached, ..best }))
    }

    fn report(&mut self, engine: &Engine, file: &SourceFile, source: &SourceText<'_>, unit: &Unit, score: &UnitScore) {
        let labels = &engine.manifest.labels;
        let info = describe::unit(unit);
        let threshold = self.options.threshold.unwrap_or(engine.manifest.threshold);
        let Probabilities { weak, cwes } = &score.probabilities;
        for (rank, (label, probability)) in cwes.iter().enumerate() {
            let confidence = if rank == 0 { *weak } else { *probability };
            let cwe = &labels[*label].label;
            let wanted = self.options.cwes.as_ref().is_none_or(|cwes| cwes.contains(cwe));
            if confidence >= threshold && wanted {
                self.analysis.findings.push(finding(file, source, unit, &info, cwe, confidence, &score.lines));
            }
        }
        let top = cwes.iter().take(self.options.top.unwrap_or(TOP));
        let top = top.map(|(label, p)| ClassProbability { cwe: labels[*label].label.clone(), probability: *p });
        self.analysis.units.push(UnitVerdict {
            file: file.name.clone(),
            safe: 1.0 - weak,
            top: top.collect(),
            cached: score.cached,
            unit: info,
        });
    }

    fn progress(&mut self, label: String) {
        self.observer.progress(Progress { stage: Stage::Units, done: self.done, total: self.total, label });
    }
}

fn finding(
    file: &SourceFile,
    source: &SourceText<'_>,
    unit: &Unit,
    info: &UnitInfo,
    cwe: &str,
    confidence: f64,
    pointed: &[u32],
) -> Finding {
    let lines = match pointed {
        [] => unit.lines.first().map(|line| line.number).into_iter().collect(),
        pointed => pointed.to_vec(),
    };
    let mut range = first_block(source, &lines).unwrap_or(unit.range);
    // A byte order mark before the first line is not the unit's.
    range.start = range.start.max(unit.range.start);
    let text = describe::class(cwe);
    Finding {
        id: describe::finding_id(&file.name, &unit.name, cwe),
        file: file.name.clone(),
        cwe: cwe.into(),
        name: text.name,
        severity: text.severity,
        confidence,
        unit: info.clone(),
        range,
        lines,
        problem: text.problem,
        remedy: text.remedy,
        links: text.links,
    }
}
