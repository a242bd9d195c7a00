//! Batches of examples: what to draw, and how to pad.

use crate::TrainError;
use crate::corpus::CorpusUnit;
use crate::examples::{Example, ExampleMaker, Item};
use crate::recipe::Finetune;
use cloister_data::{Change, Module, Mutation, Pair, Pattern, SafeSnippet};
use rand::{
    Rng, SeedableRng,
    rngs::StdRng,
    seq::{IndexedRandom, SliceRandom},
};
use rayon::prelude::*;

/// Where items are drawn from: the training split alone.
pub struct Sources<'a> {
    /// Authored pairs.
    pub pairs: Vec<&'a Pair>,
    /// Authored safe snippets.
    pub safe: Vec<&'a SafeSnippet>,
    /// Authored modules' changes by class, with the class's weight.
    pub changes: Vec<(f64, Vec<(&'a Module, &'a Change)>)>,
    /// Patterns by class, with the class's weight.
    pub patterns: Vec<(f64, Vec<&'a Pattern>)>,
    /// Real functions.
    pub hosts: Vec<&'a CorpusUnit>,
    /// Real functions that a rule makes twins of.
    pub protected: Sites<'a>,
}

/// Real functions with what a rule changes in them, by rule, with the rule's weight.
pub type Sites<'a> = Vec<(f64, Vec<(&'a CorpusUnit, Mutation)>)>;

/// Batches are drawn for so many steps at a time, so that they can be sorted by length.
pub const ROUND: usize = 50;

/// How often a unit of an authored pair is drawn that its weakness is not in.
const BESIDE: f64 = 0.25;

impl Sources<'_> {
    /// The batches of a round, each a list of items whose padded size is at most half of
    /// `batch_tokens`. Depends on the seed and
    /// the round alone.
    ///
    /// # Errors
    /// [`TrainError`] from encoding.
    pub fn round(
        &self,
        maker: &ExampleMaker,
        settings: &Finetune,
        seed: u64,
        round: usize,
    ) -> Result<Vec<Vec<Item>>, TrainError> {
        let base = seed ^ ((round as u64 + 1) << 32);
        let wanted = ROUND * settings.stage.batch_tokens;
        let mut items: Vec<Item> = Vec::new();
        let mut tokens = 0;
        for part in 0.. {
            let drawn: Result<Vec<Vec<Item>>, TrainError> = (0..256u64)
                .into_par_iter()
                .map(|index| self.draw(maker, settings, &mut StdRng::seed_from_u64(base ^ (part << 16) ^ index)))
                .collect();
            for item in drawn?.into_iter().flatten() {
                tokens += item.examples.iter().map(|example| example.ids.len()).sum::<usize>();
                items.push(item);
            }
            if tokens >= wanted {
                break;
            }
        }
        items.sort_by_key(Item::tokens);
        let mut batches: Vec<Vec<Item>> = Vec::new();
        let (mut rows, mut longest) = (0, 0);
        for item in items {
            let count = item.examples.len();
            longest = item.tokens().max(longest);
            if batches.is_empty() || (rows + count) * longest > settings.stage.batch_tokens / 2 {
                batches.push(Vec::new());
                (rows, longest) = (0, item.tokens());
            }
            rows += count;
            if let Some(batch) = batches.last_mut() {
                batch.push(item);
            }
        }
        batches.shuffle(&mut StdRng::seed_from_u64(base));
        Ok(batches)
    }

    fn draw(&self, maker: &ExampleMaker, settings: &Finetune, rng: &mut StdRng) -> Result<Vec<Item>, TrainError> {
        let dice: f64 = rng.random();
        if dice < settings.authored_share {
            // A tenth of the authored part are the snippets that are right.
            if rng.random_bool(0.1)
                && let Some(snippet) = self.safe.choose(rng)
            {
                let windows = maker.windows(&snippet.code, &[], maker.answers.none)?;
                return Ok(windows.into_iter().map(|(_, example)| alone(example)).collect());
            }
            let Some(pair) = self.pairs.choose(rng) else { return Ok(Vec::new()) };
            let mut items = maker.pair(pair, settings.rename_share, rng)?;
            // The other units of a pair would soon be known by heart.
            items.retain(|item| item.twins || rng.random_bool(BESIDE));
            return Ok(items);
        }
        let dice = dice - settings.authored_share;
        if dice < settings.module_share {
            let Some((module, change)) = weighted(&self.changes, rng) else { return Ok(Vec::new()) };
            let variant = rng.random_range(0..change.weak.len().max(1));
            return Ok(maker.changed(module, change, variant, settings.rename_share, rng)?.into_iter().collect());
        }
        let dice = dice - settings.module_share;
        let inserts = dice < settings.pattern_share;
        let mutates = !inserts && dice < settings.pattern_share + settings.mutation_share;
        for _ in 0..8 {
            let made = if inserts {
                let (Some(pattern), Some(host)) = (weighted(&self.patterns, rng), self.host(rng)) else { break };
                let bystander = weighted(&self.patterns, rng).filter(|_| rng.random_bool(settings.bystander_share));
                maker.inserted(pattern, bystander.copied(), host, rng)?
            } else if mutates {
                let Some((host, mutation)) = weighted(&self.protected, rng) else { break };
                maker.mutated(mutation, host, rng)?
            } else {
                let Some(host) = self.host(rng) else { break };
                maker.ordinary(host)?.map(alone)
            };
            if let Some(item) = made {
                return Ok(vec![item]);
            }
        }
        Ok(Vec::new())
    }

    /// A real function, the shorter of two: short ones give more rows for the same work.
    fn host(&self, rng: &mut StdRng) -> Option<&CorpusUnit> {
        let (one, other) = (self.hosts.choose(rng)?, self.hosts.choose(rng)?);
        Some(if one.text.len() < other.text.len() { one } else { other })
    }
}

/// One of a group that is drawn by its weight.
fn weighted<'a, T>(groups: &'a [(f64, Vec<T>)], rng: &mut StdRng) -> Option<&'a T> {
    groups.choose_weighted(rng, |(weight, _)| *weight).ok()?.1.choose(rng)
}

fn alone(example: Example) -> Item {
    Item { examples: vec![example], twins: false }
}

/// Examples padded to one length, as flat arrays.
pub struct Padded {
    /// `[rows · len]`.
    pub ids: Vec<i32>,
    /// Rows.
    pub rows: usize,
    /// Tokens of a row, padding included.
    pub len: usize,
    /// Flat index of each row's last token.
    pub last: Vec<i32>,
    /// Each row's label.
    pub labels: Vec<i32>,
    /// (weak row, safe row) of the twins.
    pub twins: Vec<(i32, i32)>,
    /// The most own lines of a row.
    pub lines: usize,
    /// Flat indices of the ends of each row's own lines, `[rows · lines]`, padded with the row's last token.
    pub line_ends: Vec<i32>,
    /// 0 for a line, a large negative number for padding, `[rows · lines]`.
    pub mask: Vec<f32>,
    /// What each line is, `[rows · lines]`: the row's label where it carries the weakness, else "none".
    pub line_labels: Vec<i32>,
    /// What each counts, `[rows · lines]`: a row's weak lines 1 in all, what a safe twin has in their place 1 in all, its
    /// other lines 1 in all, and padding 0.
    pub line_weights: Vec<f32>,
    /// Rows with weak lines.
    pub pointed: Vec<i32>,
    /// Target distribution over the lines of the pointed rows, `[pointed · lines]`; padding has weight 0.
    pub targets: Vec<f32>,
}

impl Padded {
    /// Pads on the right: a causal model never looks there.
    /// `none` is the label of a line that carries nothing.
    pub fn new(items: &[Item], none: usize) -> Self {
        let examples: Vec<&Example> = items.iter().flat_map(|item| &item.examples).collect();
        let len = examples.iter().map(|example| example.ids.len()).max().unwrap_or(1);
        let mut padded = Self {
            ids: Vec::with_capacity(examples.len() * len),
            rows: examples.len(),
            len,
            last: Vec::new(),
            labels: Vec::new(),
            twins: Vec::new(),
            lines: examples.iter().map(|example| example.line_ends.len()).max().unwrap_or(0),
            line_ends: Vec::new(),
            mask: Vec::new(),
            line_labels: Vec::new(),
            line_weights: Vec::new(),
            pointed: Vec::new(),
            targets: Vec::new(),
        };
        for (row, example) in examples.iter().enumerate() {
            padded.ids.extend(example.ids.iter().map(|id| *id as i32));
            padded.ids.resize((row + 1) * len, 0);
            let last = (row * len + example.ids.len() - 1) as i32;
            padded.last.push(last);
            padded.labels.push(example.label as i32);
            if !example.weak.is_empty() {
                padded.pointed.push(row as i32);
            }
            let decisive = example.weak.len() + example.mended.len();
            for line in 0..padded.lines {
                let position = example.line_ends.get(line);
                let carries = example.weak.contains(&line);
                let alike = if carries || example.mended.contains(&line) {
                    decisive
                } else {
                    example.line_ends.len() - decisive
                };
                padded.line_ends.push(position.map_or(last, |p| (row * len + p) as i32));
                padded.mask.push(if position.is_some() { 0.0 } else { -1e30 });
                padded.line_labels.push(if carries { example.label } else { none } as i32);
                padded.line_weights.push(if position.is_some() { 1.0 / alike as f32 } else { 0.0 });
                if !example.weak.is_empty() {
                    padded.targets.push(if carries { 1.0 / example.weak.len() as f32 } else { 0.0 });
                }
            }
        }
        let mut row = 0;
        for item in items {
            if item.twins {
                padded.twins.push((row, row + 1));
            }
            row += item.examples.len() as i32;
        }
        padded
    }

    /// Flat indices of every `stride`th token that is followed by another of its own row, beginning elsewhere in each row,
    /// and those followers.
    pub fn successors(&self, stride: usize) -> (Vec<i32>, Vec<i32>) {
        let starts = (0..self.rows).map(|row| (row * self.len, row % stride));
        let places = starts.zip(&self.last).flat_map(|((start, offset), last)| {
            (start + offset..*last as usize).step_by(stride).map(|place| place as i32)
        });
        let places: Vec<i32> = places.collect();
        let next = places.iter().map(|place| self.ids[*place as usize + 1]).collect();
        (places, next)
    }
}
