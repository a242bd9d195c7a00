//! What is counted in a group. Every metric is made of sums over groups, so the bootstrap need only add.

use crate::{join::Case, row::weakness};
use std::ops::AddAssign;

/// How many equal bins the probabilities from 0 to 1 are put into for the calibration error.
const BINS: usize = 10;

/// Sums over rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Counts {
    pub weak: u64,
    pub safe: u64,
    /// Weak rows flagged.
    pub found: u64,
    /// Safe rows flagged.
    pub false_alarms: u64,
    /// Safe rows flagged with the family of their weak twin, or with anything where they have no weak twin.
    pub matched_false_alarms: u64,
    /// Weak rows whose top finding has the CWE id.
    pub exact_top: u64,
    pub exact_any: u64,
    pub family_top: u64,
    pub family_any: u64,
    /// Weak rows with a safe twin.
    pub pairs: u64,
    /// Those flagged while none of the twins is.
    pub pairs_right: u64,
    /// Weak rows flagged whose line is known.
    pub found_with_line: u64,
    pub line_top: u64,
    pub line_any: u64,
    /// Weak rows whose likeliest class has the CWE id, flagged or not.
    pub class_named: u64,
    /// Weak rows beside safe rows of their group, every combination.
    pub comparisons: u64,
    /// Twice those in which the weak row is the likelier one; once where neither is.
    pub ranked_halves: u64,
    pub bins: [Bin; BINS],
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Bin {
    rows: u64,
    weak: u64,
    /// Sum of the probabilities.
    probability: f64,
}

impl Counts {
    /// The sums over the rows of one group.
    pub fn of(group: &[Case], same_family: &dyn Fn(&str, &str) -> bool) -> Self {
        let same = |a: &str, b: &str| a == b || same_family(a, b);
        let weaknesses: Vec<&str> = group.iter().filter_map(|case| weakness(case.row)).collect();
        let twins = group.iter().filter(|case| case.row.safe).count();
        let twin_flagged = group.iter().any(|case| case.row.safe && case.prediction.vulnerable);
        let mut counts = Self::default();
        for case in group {
            match weakness(case.row) {
                Some(cwe) => {
                    counts.add_weak(case, cwe, &same);
                    counts.class_named += u64::from(case.prediction.likeliest_class() == Some(cwe));
                    counts.rank(case, group);
                    counts.pairs += u64::from(twins > 0);
                    counts.pairs_right += u64::from(twins > 0 && case.prediction.vulnerable && !twin_flagged);
                }
                None => {
                    let flagged = case.prediction.vulnerable;
                    let matched = weaknesses.is_empty()
                        || case.prediction.findings.iter().any(|f| weaknesses.iter().any(|cwe| same(&f.cwe, cwe)));
                    counts.safe += 1;
                    counts.false_alarms += u64::from(flagged);
                    counts.matched_false_alarms += u64::from(flagged && matched);
                }
            }
            counts.add_probability(case.prediction.weak_probability(), !case.row.safe);
        }
        counts
    }

    fn add_weak(&mut self, case: &Case, cwe: &str, same: &dyn Fn(&str, &str) -> bool) {
        self.weak += 1;
        if !case.prediction.vulnerable {
            return;
        }
        let (findings, top) = (&case.prediction.findings, case.prediction.top());
        self.found += 1;
        self.exact_top += u64::from(top.is_some_and(|finding| finding.cwe == cwe));
        self.exact_any += u64::from(findings.iter().any(|finding| finding.cwe == cwe));
        self.family_top += u64::from(top.is_some_and(|finding| same(&finding.cwe, cwe)));
        self.family_any += u64::from(findings.iter().any(|finding| same(&finding.cwe, cwe)));
        if let Some(line) = case.row.line {
            // The first line alone: a finding that spans the whole function would be near every line.
            let near = |found: u32| found.abs_diff(line) <= 1;
            self.found_with_line += 1;
            self.line_top += u64::from(top.is_some_and(|finding| near(finding.line)));
            self.line_any += u64::from(findings.iter().any(|finding| near(finding.line)));
        }
    }

    fn rank(&mut self, weak: &Case, group: &[Case]) {
        let probability = weak.prediction.weak_probability();
        for safe in group.iter().filter(|case| case.row.safe) {
            let other = safe.prediction.weak_probability();
            self.comparisons += 1;
            self.ranked_halves += u64::from(probability > other) + u64::from(probability >= other);
        }
    }

    fn add_probability(&mut self, probability: f64, weak: bool) {
        // The last bin holds 1 too. The conversion cuts off.
        let bin = &mut self.bins[((probability * BINS as f64) as usize).min(BINS - 1)];
        bin.rows += 1;
        bin.weak += u64::from(weak);
        bin.probability += probability;
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.weak + self.safe
    }

    /// The expected calibration error; `None` without rows.
    pub fn calibration_error(&self) -> Option<f64> {
        // Per bin: rows / all · |mean probability − share of weak|.
        let gaps: f64 = self.bins.iter().map(|bin| (bin.probability - bin.weak as f64).abs()).sum();
        (self.rows() > 0).then(|| gaps / self.rows() as f64)
    }
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Counts) {
        self.weak += other.weak;
        self.safe += other.safe;
        self.found += other.found;
        self.false_alarms += other.false_alarms;
        self.matched_false_alarms += other.matched_false_alarms;
        self.exact_top += other.exact_top;
        self.exact_any += other.exact_any;
        self.family_top += other.family_top;
        self.family_any += other.family_any;
        self.pairs += other.pairs;
        self.pairs_right += other.pairs_right;
        self.found_with_line += other.found_with_line;
        self.line_top += other.line_top;
        self.line_any += other.line_any;
        self.class_named += other.class_named;
        self.comparisons += other.comparisons;
        self.ranked_halves += other.ranked_halves;
        for (bin, other) in self.bins.iter_mut().zip(&other.bins) {
            bin.rows += other.rows;
            bin.weak += other.weak;
            bin.probability += other.probability;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calibration_error_is_the_weighted_gap() {
        let mut counts = Counts { weak: 2, safe: 2, ..Counts::default() };
        assert_eq!(Counts::default().calibration_error(), None);
        for (probability, weak) in [(0.0, false), (0.1 - 1e-12, true), (0.9, false), (1.0, true)] {
            counts.add_probability(probability, weak);
        }
        // Bin 0: |0.1 − 1| = 0.9; bin 9: |1.9 − 1| = 0.9; over 4 rows 0.45.
        assert!((counts.calibration_error().unwrap() - 0.45).abs() < 1e-9);
    }
}
