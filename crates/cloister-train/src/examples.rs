//! Training examples: what the engine would read of a text, with the answer and the lines.

use crate::TrainError;
use crate::corpus::CorpusUnit;
use crate::finetune::Answers;
use cloister_data::{Pair, Pattern, insert, rename_twins, weak_lines};
use cloister_engine::{PromptTemplate, Tokenizer};
use cloister_source::{Limits, WindowOptions, analyse_source, windows};
use rand::Rng;
use std::collections::BTreeMap;

/// One prompt with its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The prompt's tokens.
    pub ids: Vec<u32>,
    /// Index of the answer in the label set.
    pub label: usize,
    /// Positions of the ends of the unit's own lines.
    pub line_ends: Vec<usize>,
    /// Indices into `line_ends` of the lines that carry the weakness.
    pub weak: Vec<usize>,
}

/// Examples that belong in the same batch: a weak one and its safe twin, or a single one.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The examples; of twins the weak one is first.
    pub examples: Vec<Example>,
    /// Whether the first two are twins.
    pub twins: bool,
}

impl Item {
    /// The longest example's tokens.
    pub fn tokens(&self) -> usize {
        self.examples.iter().map(|example| example.ids.len()).max().unwrap_or(0)
    }
}

/// Makes examples for one tokenizer, prompt and label set.
pub struct ExampleMaker {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// The texts around the code.
    pub template: PromptTemplate,
    /// Index of each label, "none" included.
    pub labels: BTreeMap<String, usize>,
    /// The token that answers each label.
    pub answers: Answers,
    /// Tokens of the context.
    pub context: usize,
}

impl ExampleMaker {
    /// The engine's windows of a text. A window that holds a weak line gets the label, any other "none".
    ///
    /// # Errors
    /// [`TrainError`] where a text cannot be encoded.
    pub fn windows(&self, code: &str, weak: &[u32], label: usize) -> Result<Vec<(String, Example)>, TrainError> {
        let budget = self.template.budget(self.context);
        let count = |text: &str| self.tokenizer.encode(text).map_or(usize::MAX, |encoded| encoded.ids.len());
        let mut made = Vec::new();
        for unit in analyse_source(code, &Limits::default()).units {
            for window in windows(&unit, &count, &WindowOptions::new(budget)).windows {
                let rendered = window.render();
                let prompt = self.template.prompt(&self.tokenizer, &rendered.text)?;
                let own = rendered.lines.iter().zip(&prompt.line_ends).filter(|(line, _)| !line.is_context);
                let (numbers, line_ends): (Vec<u32>, Vec<usize>) =
                    own.map(|(line, position)| (line.number, *position)).unzip();
                let weak: Vec<usize> = (0..numbers.len()).filter(|index| weak.contains(&numbers[*index])).collect();
                let label = if weak.is_empty() { self.answers.none } else { label };
                made.push((unit.name.clone(), Example { ids: prompt.ids, label, line_ends, weak }));
            }
        }
        Ok(made)
    }

    /// An authored pair, some of its locals renamed: twins of the units that carry the weakness, and the rest alone.
    ///
    /// # Errors
    /// [`TrainError`] where a weak line is not there or a text cannot be encoded.
    pub fn pair(&self, pair: &Pair, rename: f64, rng: &mut impl Rng) -> Result<Vec<Item>, TrainError> {
        let lines = weak_lines(pair)?;
        let (weak, fixed) = rename_twins(&pair.vulnerable, &pair.fixed, rename, rng)
            .unwrap_or_else(|| (pair.vulnerable.clone(), pair.fixed.clone()));
        let Some(&label) = self.labels.get(&pair.cwe) else { return Ok(Vec::new()) };
        let mut fixed = self.windows(&fixed, &[], label)?;
        let mut items = Vec::new();
        for (name, example) in self.windows(&weak, &lines, label)? {
            let twin = fixed.iter().position(|(other, _)| *other == name);
            let mut examples = vec![example];
            examples.extend(twin.map(|index| fixed.remove(index).1));
            // A unit that the fix leaves alone is the same text twice.
            examples.dedup_by(|b, a| a.ids == b.ids);
            let twins = examples.len() == 2 && examples[0].label != self.answers.none;
            items.push(Item { examples, twins });
        }
        items.extend(fixed.into_iter().map(|(_, example)| Item { examples: vec![example], twins: false }));
        Ok(items)
    }

    /// A pattern inside a real function; `None` where the two do not go together or the result is too long.
    ///
    /// # Errors
    /// [`TrainError`] where a text cannot be encoded.
    pub fn inserted(
        &self,
        pattern: &Pattern,
        host: &CorpusUnit,
        rng: &mut impl Rng,
    ) -> Result<Option<Item>, TrainError> {
        let Some(&label) = self.labels.get(&pattern.cwe) else { return Ok(None) };
        let body_start = host.text.match_indices('\n').nth(host.context.wrapping_sub(1)).map_or(0, |(i, _)| i + 1);
        let (context, body) = host.text.split_at(body_start);
        let Some(made) = insert(pattern, body, rng) else { return Ok(None) };
        // Imports are context: the unit's own lines begin behind them.
        let own = host.context + pattern.imports.len();
        let weak: Vec<usize> = made.lines.iter().map(|line| *line as usize - 1 - pattern.imports.len()).collect();
        let mut examples = Vec::with_capacity(2);
        for (text, label, weak) in [(&made.weak, label, weak), (&made.safe, self.answers.none, Vec::new())] {
            let prompt = self.template.prompt(&self.tokenizer, &format!("{context}{text}"))?;
            if prompt.ids.len() > self.context {
                return Ok(None);
            }
            examples.push(Example { ids: prompt.ids, label, line_ends: prompt.line_ends[own..].to_vec(), weak });
        }
        Ok(Some(Item { examples, twins: true }))
    }

    /// A real function as it is; `None` where it is too long.
    ///
    /// # Errors
    /// [`TrainError`] where the text cannot be encoded.
    pub fn ordinary(&self, host: &CorpusUnit) -> Result<Option<Example>, TrainError> {
        let prompt = self.template.prompt(&self.tokenizer, &host.text)?;
        if prompt.ids.len() > self.context {
            return Ok(None);
        }
        let line_ends = prompt.line_ends[host.context..].to_vec();
        Ok(Some(Example { ids: prompt.ids, label: self.answers.none, line_ends, weak: Vec::new() }))
    }
}
