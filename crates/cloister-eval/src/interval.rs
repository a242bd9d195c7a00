//! Intervals.

use serde::{Deserialize, Serialize};

/// The 97.5% quantile of the standard normal distribution, for 95% intervals.
const Z: f64 = 1.959_963_984_540_054;

/// A 95% interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// Wilson's 95% score interval of a proportion, `hits` of `n`; `None` where `n` is 0 or less than `hits`. It takes the rows
/// for independent, which the two halves of a pair are not quite: the bootstrap by group does not.
#[must_use]
pub fn wilson(hits: u64, n: u64) -> Option<Interval> {
    if n == 0 || hits > n {
        return None;
    }
    let (share, n) = (hits as f64 / n as f64, n as f64);
    let scale = 1.0 + Z * Z / n;
    let middle = (share + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    Some(Interval { low: (middle - half).max(0.0), high: (middle + half).min(1.0) })
}

/// The 2.5% and 97.5% quantiles of the values, which it sorts, with linear interpolation; `None` without values.
pub(crate) fn percentiles(values: &mut [f64]) -> Option<Interval> {
    values.sort_by(f64::total_cmp);
    Some(Interval { low: quantile(values, 0.025)?, high: quantile(values, 0.975)? })
}

fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * sorted.len().checked_sub(1)? as f64;
    let low = *sorted.get(place.floor() as usize)?;
    let high = *sorted.get(place.ceil() as usize)?;
    Some(low + (high - low) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_gives_the_known_interval() {
        // 99 of 100: 94.6% to 99.8%.
        let interval = wilson(99, 100).unwrap();
        assert_eq!(((interval.low * 1e3).round(), (interval.high * 1e3).round()), (946.0, 998.0));
        let none = wilson(0, 10).unwrap();
        assert!(none.low == 0.0 && (none.high - 0.2775).abs() < 1e-4);
        assert_eq!(wilson(0, 0), None);
        assert_eq!(wilson(2, 1), None);
    }

    #[test]
    fn quantiles_lie_between_the_values() {
        let mut values: Vec<f64> = (0..=40).rev().map(f64::from).collect();
        assert_eq!(percentiles(&mut values), Some(Interval { low: 1.0, high: 39.0 }));
        assert_eq!(percentiles(&mut [3.0]), Some(Interval { low: 3.0, high: 3.0 }));
        assert_eq!(quantile(&[0.0, 1.0], 0.25), Some(0.25));
        assert_eq!(percentiles(&mut []), None);
    }
}
