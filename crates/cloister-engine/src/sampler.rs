//! From logits to a token: the likeliest, or one that is drawn.

use crate::GenerateOptions;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Picks tokens, the same ones for the same seed.
pub(crate) struct Sampler {
    temperature: f64,
    top_p: f64,
    random: StdRng,
}

impl Sampler {
    pub(crate) fn new(options: &GenerateOptions) -> Self {
        Self { temperature: options.temperature, top_p: options.top_p, random: StdRng::seed_from_u64(options.seed) }
    }

    /// A token for these logits, one for each, which are finite. Of equals the first.
    pub(crate) fn pick(&mut self, logits: &[f32]) -> u32 {
        let best = logits
            .iter()
            .enumerate()
            .fold((0, f32::NEG_INFINITY), |best, (token, logit)| if *logit > best.1 { (token, *logit) } else { best });
        if self.temperature.is_nan() || self.temperature <= 0.0 {
            return best.0 as u32;
        }
        let weight = |logit: f32| ((f64::from(logit) - f64::from(best.1)) / self.temperature).exp();
        let mut tokens: Vec<(usize, f64)> = logits.iter().map(|logit| weight(*logit)).enumerate().collect();
        tokens.sort_by(|a, b| b.1.total_cmp(&a.1));
        let all: f64 = tokens.iter().map(|(_, weight)| weight).sum();
        let mut sum = 0.0;
        let kept = tokens.iter().position(|(_, weight)| {
            sum += weight;
            sum >= self.top_p * all
        });
        tokens.truncate(kept.map_or(tokens.len(), |last| last + 1));
        let kept: f64 = tokens.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.random.random::<f64>() * kept;
        for (token, weight) in &tokens {
            drawn -= weight;
            if drawn < 0.0 {
                return *token as u32;
            }
        }
        // Rounding may leave a little behind the last.
        tokens.last().map_or(best.0, |(token, _)| *token) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [0.0, 2.0, 1.0, 2.0, -5.0];

    fn counts(options: GenerateOptions, draws: usize) -> [usize; 5] {
        let mut sampler = Sampler::new(&options);
        let mut counts = [0; 5];
        for _ in 0..draws {
            counts[sampler.pick(&LOGITS) as usize] += 1;
        }
        counts
    }

    #[test]
    fn without_temperature_it_is_the_likeliest() {
        assert_eq!(counts(GenerateOptions::default(), 10), [0, 10, 0, 0, 0]);
        assert_eq!(counts(GenerateOptions { temperature: f64::NAN, ..Default::default() }, 2), [0, 2, 0, 0, 0]);
    }

    #[test]
    fn draws_follow_the_softmax() {
        for temperature in [0.5, 1.0, 2.0] {
            let found = counts(GenerateOptions { temperature, ..Default::default() }, 20_000);
            let weights = LOGITS.map(|logit| (f64::from(logit) / temperature).exp());
            let all: f64 = weights.iter().sum();
            for (count, weight) in found.iter().zip(weights) {
                let (share, expected) = (*count as f64 / 20_000.0, weight / all);
                // Five standard errors.
                let limit = 5.0 * (expected * (1.0 - expected) / 20_000.0).sqrt() + 1e-6;
                assert!((share - expected).abs() < limit, "{temperature}: {found:?}");
            }
        }
    }

    #[test]
    fn top_p_leaves_the_tail_out() {
        // The two likeliest have .80 of the mass, the third makes it .95.
        let found = |top_p| counts(GenerateOptions { temperature: 1.0, top_p, ..Default::default() }, 2000);
        let two = found(0.75);
        assert!(two[1] > 0 && two[3] > 0 && two[0] + two[2] + two[4] == 0, "{two:?}");
        let three = found(0.85);
        assert!(three[2] > 0 && three[0] + three[4] == 0, "{three:?}");
        assert_eq!(found(0.0)[1], 2000);
    }

    #[test]
    fn a_seed_repeats_what_was_drawn() {
        let draws = |seed| {
            let mut sampler = Sampler::new(&GenerateOptions { temperature: 1.0, seed, ..Default::default() });
            (0..50).map(|_| sampler.pick(&LOGITS)).collect::<Vec<_>>()
        };
        assert_eq!(draws(3), draws(3));
        assert_ne!(draws(3), draws(4));
    }
}
