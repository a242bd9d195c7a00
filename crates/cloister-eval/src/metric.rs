//! The metrics and what each is made of.

use crate::counts::Counts;
use serde::{Deserialize, Serialize};

/// A metric. "Flagged" is a prediction with `vulnerable`; all lie between 0 and 1 but the differences, which lie between
/// −1 and 1. A metric whose denominator is 0 is undefined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Weak rows flagged, of the weak rows.
    Recall,
    /// Safe rows flagged, of the safe rows.
    FalsePositiveRate,
    /// Recall minus false-positive rate (Youden's J): 0 for whoever flags everything or guesses.
    Difference,
    /// Safe rows flagged with the family of the weak row of their group, or with anything where the group has no weak
    /// row, of the safe rows.
    MatchedFalsePositiveRate,
    /// [`Metric::FamilyAny`] minus [`Metric::MatchedFalsePositiveRate`].
    MatchedDifference,
    /// Weak rows flagged whose top finding has the right CWE id, of the weak rows.
    ExactTop,
    /// Weak rows flagged where some finding has the right CWE id, of the weak rows.
    ExactAny,
    /// Weak rows flagged whose top finding is of the right family, of the weak rows.
    FamilyTop,
    /// Weak rows flagged where some finding is of the right family, of the weak rows.
    FamilyAny,
    /// Weak rows flagged while no safe row of their group is, of the weak rows with a safe row in their group.
    PairAccuracy,
    /// Weak rows that are likelier to be weak than a safe row of their group, of all combinations; a draw counts half.
    /// Without a threshold; .5 for whoever guesses.
    PairRanking,
    /// Weak rows whose likeliest class has the right CWE id, flagged or not, of the weak rows. Without a threshold.
    ClassNamed,
    /// Top finding begins at most one line from the weak line, of the weak rows flagged whose line is known.
    LineTop,
    /// Some finding begins at most one line from the weak line, of the weak rows flagged whose line is known.
    LineAny,
    /// Weak rows flagged and safe rows not flagged, of all rows.
    Accuracy,
    /// Weak rows flagged, of the rows flagged.
    Precision,
    /// The harmonic mean of precision and recall. Flagging everything scores .667 on balanced pairs.
    F1,
    /// Expected calibration error of [`crate::Prediction::weak_probability`] in 10 bins of equal width; 0 is best.
    CalibrationError,
}

impl Metric {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 18] = [
        Self::Recall,
        Self::FalsePositiveRate,
        Self::Difference,
        Self::MatchedFalsePositiveRate,
        Self::MatchedDifference,
        Self::ExactTop,
        Self::ExactAny,
        Self::FamilyTop,
        Self::FamilyAny,
        Self::PairAccuracy,
        Self::PairRanking,
        Self::ClassNamed,
        Self::LineTop,
        Self::LineAny,
        Self::Accuracy,
        Self::Precision,
        Self::F1,
        Self::CalibrationError,
    ];

    /// Its name in tables.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Recall => "recall",
            Self::FalsePositiveRate => "false-positive rate (FPR)",
            Self::Difference => "R−FPR",
            Self::MatchedFalsePositiveRate => "FPR, family-matched",
            Self::MatchedDifference => "R−FPR, family-matched",
            Self::ExactTop => "exact recall, top finding",
            Self::ExactAny => "exact recall, any finding",
            Self::FamilyTop => "family recall, top finding",
            Self::FamilyAny => "family recall, any finding",
            Self::PairAccuracy => "pair accuracy",
            Self::PairRanking => "pairs ranked right, no threshold",
            Self::ClassNamed => "class named right, no threshold",
            Self::LineTop => "line ±1 of the found, top finding",
            Self::LineAny => "line ±1 of the found, any finding",
            Self::Accuracy => "accuracy",
            Self::Precision => "precision",
            Self::F1 => "F1",
            Self::CalibrationError => "calibration error (ECE)",
        }
    }

    /// Its value; `None` where it is undefined.
    pub(crate) fn of(self, counts: &Counts) -> Option<f64> {
        let minus = |a: Self, b: Self| Some(a.of(counts)? - b.of(counts)?);
        match self {
            Self::Recall => ratio(counts.found, counts.weak),
            Self::FalsePositiveRate => ratio(counts.false_alarms, counts.safe),
            Self::Difference => minus(Self::Recall, Self::FalsePositiveRate),
            Self::MatchedFalsePositiveRate => ratio(counts.matched_false_alarms, counts.safe),
            Self::MatchedDifference => minus(Self::FamilyAny, Self::MatchedFalsePositiveRate),
            Self::ExactTop => ratio(counts.exact_top, counts.weak),
            Self::ExactAny => ratio(counts.exact_any, counts.weak),
            Self::FamilyTop => ratio(counts.family_top, counts.weak),
            Self::FamilyAny => ratio(counts.family_any, counts.weak),
            Self::PairAccuracy => ratio(counts.pairs_right, counts.pairs),
            Self::PairRanking => ratio(counts.ranked_halves, 2 * counts.comparisons),
            Self::ClassNamed => ratio(counts.class_named, counts.weak),
            Self::LineTop => ratio(counts.line_top, counts.found_with_line),
            Self::LineAny => ratio(counts.line_any, counts.found_with_line),
            Self::Accuracy => ratio(right(counts), counts.rows()),
            Self::Precision => ratio(counts.found, counts.found + counts.false_alarms),
            Self::F1 => ratio(2 * counts.found, counts.found + counts.false_alarms + counts.weak),
            Self::CalibrationError => counts.calibration_error(),
        }
    }
}

/// Rows whose verdict is right.
pub(crate) fn right(counts: &Counts) -> u64 {
    counts.found + counts.safe - counts.false_alarms
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_in_the_order_of_the_names() {
        assert!(Metric::ALL.is_sorted());
        assert_eq!(Metric::ALL.len(), Metric::CalibrationError as usize + 1);
    }

    #[test]
    fn the_study_s_figures_come_out() {
        // TP 51, FP 1, TN 48, FN 0. The study prints an F1 of 99.04%; 102/103 is 99.03%.
        let counts = Counts { weak: 51, safe: 49, found: 51, false_alarms: 1, ..Counts::default() };
        let percent = |metric: Metric| (metric.of(&counts).unwrap() * 1e4).round() / 1e2;
        assert_eq!(percent(Metric::Accuracy), 99.0);
        assert_eq!(percent(Metric::Precision), 98.08);
        assert_eq!(percent(Metric::Recall), 100.0);
        assert_eq!(percent(Metric::F1), 99.03);
    }

    #[test]
    fn nothing_is_defined_without_rows() {
        assert!(Metric::ALL.iter().all(|metric| metric.of(&Counts::default()).is_none()));
    }
}
