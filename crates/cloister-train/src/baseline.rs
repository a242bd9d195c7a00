//! The simple baseline: TF-IDF over words and word pairs of the code, and multinomial logistic regression.

use cloister_data::masked;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::collections::HashMap;

/// What the baseline gets to see of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Everything.
    Words,
    /// The code with every name, number and string blanked out.
    Masked,
    /// How many lines and characters there are.
    Length,
}

impl View {
    /// The text as it is seen.
    pub fn of(self, text: &str) -> String {
        // A step is a quarter of an octave.
        let step = |count: usize| (4.0 * (count.max(1) as f64).log2()).round();
        match self {
            Self::Words => text.into(),
            Self::Masked => masked(text),
            Self::Length => format!("lines{} characters{}", step(text.lines().count()), step(text.chars().count())),
        }
    }
}

/// A fitted baseline.
pub struct TfIdf {
    features: HashMap<String, (usize, f32)>,
    /// [labels · (features + 1)]; the last of a row is the bias.
    weights: Vec<f32>,
    labels: usize,
}

/// Settings that are usual for such a baseline.
const MIN_DOCUMENTS: usize = 2;
const EPOCHS: usize = 40;
const L2: f32 = 1e-5;

impl TfIdf {
    /// Fits on texts with labels below `labels`, by Adagrad.
    pub fn fit(rows: &[(&str, usize)], labels: usize, seed: u64) -> Self {
        let documents: Vec<HashMap<String, f32>> = rows.iter().map(|(text, _)| counts(text)).collect();
        let mut frequency: HashMap<&str, usize> = HashMap::new();
        for document in &documents {
            for term in document.keys() {
                *frequency.entry(term).or_default() += 1;
            }
        }
        let mut terms: Vec<(&str, usize)> =
            frequency.into_iter().filter(|(_, count)| *count >= MIN_DOCUMENTS).collect();
        terms.sort_unstable();
        let total = rows.len() as f32;
        let features: HashMap<String, (usize, f32)> = terms
            .into_iter()
            .enumerate()
            .map(|(index, (term, count))| {
                (term.to_string(), (index, ((1.0 + total) / (1.0 + count as f32)).ln() + 1.0))
            })
            .collect();
        let width = features.len() + 1;
        let mut model = Self { features, weights: vec![0.0; labels * width], labels };
        let vectors: Vec<Vec<(usize, f32)>> = documents.iter().map(|document| model.vector(document)).collect();
        let mut squares = vec![1e-8f32; labels * width];
        let mut order: Vec<usize> = (0..rows.len()).collect();
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..EPOCHS {
            order.shuffle(&mut rng);
            for &row in &order {
                let probabilities = model.softmax(&vectors[row]);
                for (label, p) in probabilities.into_iter().enumerate() {
                    let error = p - f32::from(u8::from(label == rows[row].1));
                    for &(feature, value) in &vectors[row] {
                        let at = label * width + feature;
                        let gradient = error * value + L2 * model.weights[at];
                        squares[at] += gradient * gradient;
                        model.weights[at] -= 0.5 * gradient / squares[at].sqrt();
                    }
                }
            }
        }
        model
    }

    /// Probability of each label.
    pub fn predict(&self, text: &str) -> Vec<f32> {
        self.softmax(&self.vector(&counts(text)))
    }

    /// Features with their weights, of unit length, and the bias.
    fn vector(&self, document: &HashMap<String, f32>) -> Vec<(usize, f32)> {
        let mut vector: Vec<(usize, f32)> = document
            .iter()
            .filter_map(|(term, count)| self.features.get(term).map(|(index, idf)| (*index, (1.0 + count.ln()) * idf)))
            .collect();
        let norm = vector.iter().map(|(_, value)| value * value).sum::<f32>().sqrt().max(1e-6);
        vector.iter_mut().for_each(|(_, value)| *value /= norm);
        vector.sort_unstable_by_key(|(index, _)| *index);
        vector.push((self.features.len(), 1.0));
        vector
    }

    fn softmax(&self, vector: &[(usize, f32)]) -> Vec<f32> {
        let width = self.features.len() + 1;
        let scores: Vec<f32> = (0..self.labels)
            .map(|label| vector.iter().map(|(feature, value)| self.weights[label * width + feature] * value).sum())
            .collect();
        let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exponentials: Vec<f32> = scores.iter().map(|score| (score - top).exp()).collect();
        let sum: f32 = exponentials.iter().sum();
        exponentials.into_iter().map(|value| value / sum).collect()
    }
}

/// Words, signs and pairs of neighbours, with their counts.
fn counts(text: &str) -> HashMap<String, f32> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if !c.is_whitespace() {
            words.push(c.to_string());
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    let mut counts = HashMap::new();
    for pair in words.windows(2) {
        *counts.entry(format!("{} {}", pair[0], pair[1])).or_insert(0.0) += 1.0;
    }
    for word in words {
        *counts.entry(word).or_insert(0.0) += 1.0;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_hides_what_it_should() {
        assert_eq!(View::Length.of("ab\ncd\n"), "lines4 characters10");
        assert_eq!(View::Masked.of("x = f('a', 12)\n"), View::Masked.of("y = g('b', 3)  # no\n"));
        assert_ne!(View::Masked.of("x = f(1)\n"), View::Masked.of("if f(1): pass\n"));
    }

    #[test]
    fn it_learns_what_words_can_tell() {
        let rows = [("os.system(cmd)", 1), ("os.system(x)", 1), ("run([cmd])", 0), ("run([x])", 0)];
        let model = TfIdf::fit(&rows, 2, 1);
        assert!(model.predict("os.system(y)")[1] > 0.7);
        assert!(model.predict("run([y])")[0] > 0.7);
    }
}
