//! Intervals by drawing groups again.

use crate::{
    Metric,
    counts::Counts,
    interval::{Interval, percentiles},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;

/// How the bootstrap draws.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How often all groups are drawn again.
    pub resamples: usize,
    /// The same seed on the same rows gives the same intervals, in whatever order the rows stand.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { resamples: 2000, seed: 0 }
    }
}

/// The 95% percentile interval of every metric, over the resamples that define it. Empty with fewer than two groups, which
/// say nothing of how much groups differ.
pub(crate) fn bootstrap(groups: &[Counts], options: &Options) -> BTreeMap<Metric, Interval> {
    if groups.len() < 2 {
        return BTreeMap::new();
    }
    let mut random = StdRng::seed_from_u64(options.seed);
    let mut values: BTreeMap<Metric, Vec<f64>> = BTreeMap::new();
    for _ in 0..options.resamples {
        let mut counts = Counts::default();
        for _ in 0..groups.len() {
            counts += &groups[random.random_range(0..groups.len())];
        }
        for metric in Metric::ALL {
            if let Some(value) = metric.of(&counts) {
                values.entry(metric).or_default().push(value);
            }
        }
    }
    values.into_iter().filter_map(|(metric, mut values)| Some((metric, percentiles(&mut values)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weak(found: u64) -> Counts {
        Counts { weak: 1, found, ..Counts::default() }
    }

    #[test]
    fn the_seed_decides() {
        let groups: Vec<Counts> = (0..30).map(|at| weak(u64::from(at % 3 == 0))).collect();
        let draw = |seed| bootstrap(&groups, &Options { seed, resamples: 200 });
        assert_eq!(draw(1), draw(1));
        assert!((2..20).any(|seed| draw(seed) != draw(1)));
    }

    #[test]
    fn the_interval_is_about_as_wide_as_theory_says() {
        // Half of 400 independent rows: standard error .025, so .5 ± .049.
        let groups: Vec<Counts> = (0..400).map(|at| weak(at % 2)).collect();
        let interval = bootstrap(&groups, &Options::default())[&Metric::Recall];
        assert!((interval.low - 0.451).abs() < 0.01 && (interval.high - 0.549).abs() < 0.01, "{interval:?}");
    }

    #[test]
    fn groups_are_drawn_whole() {
        // Twenty rows in two groups, one all found and one not at all: a resample finds 0, half or all.
        let all = Counts { weak: 10, found: 10, ..Counts::default() };
        let none = Counts { weak: 10, ..Counts::default() };
        let interval = bootstrap(&[all.clone(), none], &Options::default())[&Metric::Recall];
        assert_eq!(interval, Interval { low: 0.0, high: 1.0 });
        assert!(bootstrap(&[all], &Options::default()).is_empty());
    }

    #[test]
    fn an_undefined_metric_has_no_interval() {
        let intervals = bootstrap(&[weak(1), weak(0)], &Options::default());
        assert!(!intervals.contains_key(&Metric::FalsePositiveRate));
        assert!(intervals.contains_key(&Metric::Recall));
    }
}
