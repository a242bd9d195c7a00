//! From label logits to calibrated probabilities.

use cloister_package::{Calibration, Label, NONE_LABEL};

/// What the logits of one prompt say.
#[derive(Debug, Clone, PartialEq)]
pub struct Probabilities {
    /// P(weak): the calibrated probability of any weakness, 0 to 1.
    pub weak: f64,
    /// P(CWE) for each label but `none`, the likeliest first: the index of the label and the probability. They add up
    /// to `weak`.
    pub cwes: Vec<(usize, f64)>,
}

impl Probabilities {
    /// Applies the calibration to one logit per label.
    ///
    /// With z = logsumexp(CWE logits) − the logit of `none`: P(weak) = sigmoid(scale · z + offset), and
    /// P(CWE) = P(weak) · softmax(CWE logits / temperature).
    pub fn new(logits: &[f32], labels: &[Label], calibration: &Calibration) -> Self {
        let (mut none, mut cwes) = (0.0, Vec::with_capacity(labels.len()));
        for (index, (&logit, label)) in logits.iter().zip(labels).enumerate() {
            if label.label == NONE_LABEL {
                none = f64::from(logit);
            } else {
                cwes.push((index, f64::from(logit)));
            }
        }
        let z = log_sum_exp(cwes.iter().map(|(_, logit)| *logit)) - none;
        let weak = sigmoid(calibration.scale * z + calibration.offset);
        let scaled = |logit: f64| logit / calibration.temperature;
        let total = log_sum_exp(cwes.iter().map(|(_, logit)| scaled(*logit)));
        for (_, value) in &mut cwes {
            // Rounding may put the exponential of the only class a little above 1.
            *value = weak * (scaled(*value) - total).exp().min(1.0);
        }
        // Stable, so that equal probabilities keep the order of the labels on every device.
        cwes.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        Self { weak, cwes }
    }
}

/// Softmax of scores, as probabilities in the same order.
pub(crate) fn softmax(scores: &[f32]) -> Vec<f32> {
    let total = log_sum_exp(scores.iter().map(|score| f64::from(*score)));
    scores.iter().map(|score| (f64::from(*score) - total).exp() as f32).collect()
}

pub(crate) fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + values.map(|value| (value - largest).exp()).sum::<f64>().ln()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloister_package::TokenText;

    fn labels(names: &[&str]) -> Vec<Label> {
        names.iter().map(|name| Label { label: (*name).into(), answer: TokenText::default() }).collect()
    }

    #[test]
    fn without_calibration_the_probabilities_are_the_softmax() {
        let labels = labels(&["CWE-78", "none", "CWE-89"]);
        let logits = [1.0f32, 2.0, 3.0];
        let sum: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
        let got = Probabilities::new(&logits, &labels, &Calibration::default());
        assert!((got.weak - (1f64.exp() + 3f64.exp()) / sum).abs() < 1e-12);
        assert_eq!(got.cwes.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [2, 0]);
        assert!((got.cwes[0].1 - 3f64.exp() / sum).abs() < 1e-12);
        assert!((got.cwes.iter().map(|(_, p)| p).sum::<f64>() - got.weak).abs() < 1e-12);
    }

    #[test]
    fn scale_offset_and_temperature_do_what_they_say() {
        let labels = labels(&["none", "CWE-78", "CWE-89"]);
        let logits = [0.0f32, 0.0, 1.0];
        let z = (1.0 + 1f64.exp()).ln();
        let calibration = Calibration { scale: 2.0, offset: -1.0, temperature: 0.5 };
        let got = Probabilities::new(&logits, &labels, &calibration);
        assert!((got.weak - 1.0 / (1.0 + (1.0 - 2.0 * z).exp())).abs() < 1e-12);
        assert!((got.cwes[0].1 / got.cwes[1].1 - 2f64.exp()).abs() < 1e-9);
    }

    #[test]
    fn extreme_logits_stay_probabilities() {
        let labels = labels(&["none", "CWE-78"]);
        for logits in [[-3e38f32, 3e38], [3e38, -3e38], [0.0, 0.0]] {
            let got = Probabilities::new(&logits, &labels, &Calibration::default());
            assert!((0.0..=1.0).contains(&got.weak), "{got:?}");
            assert!((0.0..=1.0).contains(&got.cwes[0].1), "{got:?}");
        }
    }
}
