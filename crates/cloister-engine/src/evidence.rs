//! What the ends of the lines add to the answer at the end of the prompt.

use crate::calibration::log_sum_exp;

/// The answer with the evidence of the lines: for each label its final logit plus the logarithm of its odds against
/// `none`, summed over the lines' label logits. The logit of `none` stays as it is, and without lines so do all.
///
/// The last position has to carry everything that it needs from far above; the end of a line has it at hand. A model that
/// was trained for it (`lineEvidence` in the package) is asked at both.
///
/// `logits` are `[labels]`, and so is each line; a line or a `none` that does not fit them says nothing.
pub fn line_evidence<'a>(logits: &[f32], lines: impl Iterator<Item = &'a [f32]> + Clone, none: usize) -> Vec<f32> {
    let lines = lines.filter(|line| line.len() == logits.len() && none < line.len());
    if lines.clone().next().is_none() {
        return logits.to_vec();
    }
    let odds = |label: usize| {
        let each = lines.clone().map(move |line| f64::from(line[label]) - f64::from(line[none]));
        log_sum_exp(each) as f32
    };
    logits.iter().enumerate().map(|(label, logit)| if label == none { *logit } else { logit + odds(label) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_of_the_lines_add_up() {
        let lines = [[0.0f32, 2.0f32.ln(), 0.0], [1.0, 1.0 + 3.0f32.ln(), 0.0]];
        let got = line_evidence(&[0.5, 1.0, -1.0], lines.iter().map(|line| &line[..]), 0);
        assert_eq!(got[0], 0.5);
        assert!((got[1] - (1.0 + 5.0f32.ln())).abs() < 1e-6, "{got:?}");
        assert!((got[2] - (-1.0 + (1.0 + (-1.0f32).exp()).ln())).abs() < 1e-6, "{got:?}");
    }

    #[test]
    fn without_lines_the_answer_stays() {
        assert_eq!(line_evidence(&[0.5, 1.0], std::iter::empty(), 0), [0.5, 1.0]);
        assert_eq!(line_evidence(&[0.5, 1.0], [&[1.0f32][..]].into_iter(), 0), [0.5, 1.0]);
        assert_eq!(line_evidence(&[0.5, 1.0], [&[1.0f32, 2.0][..]].into_iter(), 2), [0.5, 1.0]);
    }
}
