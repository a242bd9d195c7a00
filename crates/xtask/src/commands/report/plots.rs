//! The figures of docs/EVALUATION.md: what a threshold trades, and whether the probabilities can be believed.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use plotters::prelude::*;
use serde_json::Value;

use crate::error::{Error, Result};

const SIZE: (u32, u32) = (560, 420);

/// Bins of the probabilities.
const BINS: usize = 10;

/// A bin of fewer rows is left out: its share says nothing.
const FEWEST: usize = 5;

/// The colours of the systems, told apart by those who see no red or green too.
const COLOURS: [RGBColor; 3] = [RGBColor(0, 90, 181), RGBColor(220, 50, 32), RGBColor(110, 110, 110)];

/// What a system says of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// Whether the row is weak.
    pub weak: bool,
    /// Whether the system flags it, at its own threshold.
    flagged: bool,
    /// The probability of a weakness.
    probability: f64,
}

/// Brings rows and predictions together.
pub fn judged(rows: &Path, predictions: &Path) -> Result<Vec<Judged>> {
    let read = |path: &Path| -> Result<Vec<Value>> {
        let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    };
    let answers = read(predictions)?;
    let answers: HashMap<&str, &Value> = answers.iter().filter_map(|a| Some((a["id"].as_str()?, a))).collect();
    let rows = read(rows)?;
    let told = rows.iter().filter_map(|row| {
        let answer = answers.get(row["id"].as_str()?)?;
        Some(Judged {
            weak: !row["safe"].as_bool()?,
            flagged: answer["vulnerable"].as_bool()?,
            probability: answer["probability"].as_f64()?,
        })
    });
    Ok(told.collect())
}

/// Recall against false positives: a line for each system over all thresholds, a point where it stands. Points alone are of
/// systems whose confidence is no probability.
pub fn trade(path: &Path, systems: &[(&str, Vec<Judged>, bool)]) -> Result<()> {
    draw(path, "false positives", "recall", |chart| {
        chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], BLACK.mix(0.3)))?;
        for ((name, judged, line), colour) in systems.iter().zip(COLOURS) {
            if *line {
                chart.draw_series(LineSeries::new(curve(judged), colour.stroke_width(2)))?;
            }
            let own = rates(judged, |row| row.flagged);
            chart
                .draw_series([Circle::new(own, 5, colour.filled())])?
                .label(*name)
                .legend(move |(x, y)| Circle::new((x + 8, y), 5, colour.filled()));
        }
        Ok(())
    })
}

/// The share of weak rows against the probability that the model gave.
pub fn calibration(path: &Path, judged: &[Judged]) -> Result<()> {
    let points = bins(judged);
    draw(path, "probability of a weakness", "share of weak rows", |chart| {
        chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], BLACK.mix(0.3)))?;
        chart.draw_series(LineSeries::new(points.clone(), COLOURS[0].stroke_width(2)))?;
        chart
            .draw_series(points.iter().map(|point| Circle::new(*point, 5, COLOURS[0].filled())))?
            .label("Cloister")
            .legend(|(x, y)| Circle::new((x + 8, y), 5, COLOURS[0].filled()));
        Ok(())
    })
}

/// (False positives, recall) of what `flags`.
fn rates(judged: &[Judged], flags: impl Fn(&Judged) -> bool) -> (f64, f64) {
    let share = |weak: bool| {
        let rows: Vec<&Judged> = judged.iter().filter(|row| row.weak == weak).collect();
        rows.iter().filter(|row| flags(row)).count() as f64 / rows.len().max(1) as f64
    };
    (share(false), share(true))
}

/// The rates at every threshold, from the highest.
fn curve(judged: &[Judged]) -> Vec<(f64, f64)> {
    let mut thresholds: Vec<f64> = judged.iter().map(|row| row.probability).collect();
    thresholds.sort_by(|a, b| b.total_cmp(a));
    thresholds.dedup();
    let at = thresholds.into_iter().map(|threshold| rates(judged, |row| row.probability >= threshold));
    std::iter::once((0.0, 0.0)).chain(at).collect()
}

/// (Mean probability, share of weak rows) of each bin of the probability.
fn bins(judged: &[Judged]) -> Vec<(f64, f64)> {
    let of = |bin: usize| {
        let rows: Vec<&Judged> =
            judged.iter().filter(|row| ((row.probability * BINS as f64) as usize).min(BINS - 1) == bin).collect();
        let mean = |value: &dyn Fn(&Judged) -> f64| rows.iter().map(|row| value(row)).sum::<f64>() / rows.len() as f64;
        (rows.len() >= FEWEST).then(|| (mean(&|row| row.probability), mean(&|row| f64::from(u8::from(row.weak)))))
    };
    (0..BINS).filter_map(of).collect()
}

type Chart<'a> = ChartContext<
    'a,
    SVGBackend<'a>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;
type Drawn = std::result::Result<(), DrawingAreaErrorKind<std::io::Error>>;

fn draw(path: &Path, x: &str, y: &str, series: impl FnOnce(&mut Chart) -> Drawn) -> Result<()> {
    let all = || -> Drawn {
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut builder = ChartBuilder::on(&area);
        builder.margin(12).x_label_area_size(40).y_label_area_size(48);
        let mut chart = builder.build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(x)
            .y_desc(y)
            .label_style(("sans-serif", 13))
            .draw()?;
        series(&mut chart)?;
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.filled())
            .label_font(("sans-serif", 13))
            .draw()?;
        area.present()
    };
    all().map_err(|error| Error::Missing {
        what: format!("{} could not be drawn: {error}.", path.display()),
        help: "See whether the folder can be written to.".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(weak: bool, flagged: bool, probability: f64) -> Judged {
        Judged { weak, flagged, probability }
    }

    #[test]
    fn the_curve_ends_where_everything_is_flagged() {
        let judged = [row(true, true, 0.9), row(false, true, 0.8), row(true, false, 0.3), row(false, false, 0.1)];
        assert_eq!(rates(&judged, |row| row.flagged), (0.5, 0.5));
        assert_eq!(curve(&judged), [(0.0, 0.0), (0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (1.0, 1.0)]);
    }

    #[test]
    fn small_bins_are_left_out() {
        let mut judged = vec![row(true, true, 0.95); 4];
        judged.extend(vec![row(false, false, 0.25); 3]);
        judged.extend(vec![row(true, false, 0.25); 3]);
        assert_eq!(bins(&judged), [(0.25, 0.5)]);
    }

    #[test]
    fn plots_are_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let judged = vec![row(true, true, 0.9), row(false, false, 0.2)];
        let path = folder.path().join("trade.svg");
        trade(&path, &[("Cloister", judged.clone(), true), ("Bandit", judged.clone(), false)]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("<svg") && text.contains("Bandit") && text.contains("recall"), "{text}");
        calibration(&folder.path().join("calibration.svg"), &judged).unwrap();
        assert!(calibration(&folder.path().join("none/x.svg"), &judged).is_err());
    }
}
