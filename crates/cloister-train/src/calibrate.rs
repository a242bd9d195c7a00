//! From logits to probabilities, on held-out groups.

use crate::score::Verdict;
use cloister_package::Calibration;

/// Platt scaling: the scale and offset that make sigmoid(scale·odds + offset) fit the outcomes best, by Newton's method
/// with a small pull towards (1, 0), so that few rows or a perfect separation give no extreme values.
pub fn platt(rows: &[(f64, bool)]) -> (f64, f64) {
    const PULL: f64 = 0.05;
    let (mut scale, mut offset) = (1.0, 0.0);
    for _ in 0..100 {
        let (mut gs, mut go) = (PULL * (scale - 1.0), PULL * offset);
        let (mut hss, mut hso, mut hoo) = (PULL, 0.0, PULL);
        for &(odds, outcome) in rows {
            let p = sigmoid(scale * odds + offset);
            let (error, weight) = (p - f64::from(u8::from(outcome)), p * (1.0 - p));
            gs += error * odds;
            go += error;
            hss += weight * odds * odds;
            hso += weight * odds;
            hoo += weight;
        }
        let determinant = hss * hoo - hso * hso;
        let (ds, d_o) = ((hoo * gs - hso * go) / determinant, (hss * go - hso * gs) / determinant);
        // Newton can overshoot far from the optimum: a step is at most 1 in either direction.
        scale -= ds.clamp(-1.0, 1.0);
        offset -= d_o.clamp(-1.0, 1.0);
        if ds.abs() + d_o.abs() < 1e-9 {
            break;
        }
    }
    (scale.max(1e-3), offset)
}

/// The temperature under which the classes' probabilities fit best, by a search over a fine grid.
pub fn temperature(rows: &[(&Verdict, usize)], none: usize) -> f64 {
    let loss = |temperature: f64| -> f64 {
        rows.iter()
            .map(|(verdict, label)| {
                let scaled = |i: usize| f64::from(verdict.logits[i]) / temperature;
                let classes: Vec<f64> = (0..verdict.logits.len()).filter(|i| *i != none).map(scaled).collect();
                let top = classes.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                top + classes.iter().map(|z| (z - top).exp()).sum::<f64>().ln() - scaled(*label)
            })
            .sum()
    };
    let grid = (0..=120).map(|i| 0.25 * 1.03f64.powi(i));
    grid.min_by(|a, b| loss(*a).total_cmp(&loss(*b))).unwrap_or(1.0)
}

/// The probability of a weakness under a calibration.
pub fn probability(calibration: &Calibration, odds: f64) -> f64 {
    sigmoid(calibration.scale * odds + calibration.offset)
}

/// The lowest threshold that flags at most `share` of ordinary functions. It may be below one half: the probabilities are
/// those of the authored windows, and what weighs a miss against a false alarm is the share. Between .05 and .999: outside
/// the probabilities are too coarse to tell functions apart.
pub fn threshold(mut ordinary: Vec<f64>, share: f64) -> f64 {
    ordinary.sort_by(|a, b| b.total_cmp(a));
    let allowed = (ordinary.len() as f64 * share).floor() as usize;
    ordinary.get(allowed).map_or(0.5, |p| (p + 1e-6).clamp(0.05, 0.999))
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platt_finds_a_known_scale() {
        // Outcomes at exactly the rates that scale 0.5 and offset −1 ask for.
        let mut rows = Vec::new();
        for step in -40..=40 {
            let odds = f64::from(step) / 4.0;
            let weak = (sigmoid(0.5 * odds - 1.0) * 400.0).round() as usize;
            rows.extend((0..400).map(|i| (odds, i < weak)));
        }
        let (scale, offset) = platt(&rows);
        assert!((scale - 0.5).abs() < 0.01 && (offset + 1.0).abs() < 0.02, "{scale} {offset}");
    }

    #[test]
    fn separable_rows_give_finite_values() {
        let (scale, offset) = platt(&[(5.0, true), (4.0, true), (-5.0, false), (-4.0, false)]);
        assert!(scale.is_finite() && offset.is_finite() && scale > 0.0);
    }

    #[test]
    fn the_threshold_flags_its_share() {
        let ordinary: Vec<f64> = (0..100).map(|i| f64::from(i) / 100.0).collect();
        let threshold = threshold(ordinary.clone(), 0.05);
        assert_eq!(ordinary.iter().filter(|p| **p >= threshold).count(), 5);
        assert_eq!(super::threshold(vec![0.001; 50], 0.05), 0.05);
        let unsure: Vec<f64> = ordinary.iter().map(|p| p * 0.4).collect();
        let low = super::threshold(unsure.clone(), 0.05);
        assert!(low < 0.5 && unsure.iter().filter(|p| **p >= low).count() == 5);
    }
}
