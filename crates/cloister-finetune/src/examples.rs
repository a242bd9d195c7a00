//! From rows to what the model reads and what it should answer.

use crate::{Base, FinetuneError, Row};
use cloister_engine::{PromptMaker, UnitPrompt};
use cloister_package::NONE_LABEL;
use cloister_source::SourceText;

/// The token that ends a text, where the tokenizer has it.
const END: &str = "<|endoftext|>";

/// A prompt with its answer. The loss is computed at the answer's tokens alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The prompt, then the answer without its last token, which is only predicted.
    pub ids: Vec<u32>,
    /// The tokens to predict; the last of them from the last of `ids`, the others from those before.
    pub answer: Vec<u32>,
    /// Places in `ids` at which the lines of the code end.
    pub line_ends: Vec<usize>,
    /// The index of the answer's label.
    pub label: usize,
}

impl Example {
    /// The places in `ids` that predict the answer's tokens.
    pub fn asked(&self) -> std::ops::Range<usize> {
        self.ids.len() - self.answer.len()..self.ids.len()
    }
}

/// Makes examples for one base.
pub struct ExampleMaker {
    prompts: PromptMaker,
    labels: Vec<String>,
    answers: Vec<Vec<u32>>,
    none: usize,
}

/// Examples, and the rows that gave none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Examples {
    /// To learn from.
    pub examples: Vec<Example>,
    /// Rows with a class that the base has no answer for.
    pub unknown: usize,
    /// Rows without code, as a text of comments.
    pub empty: usize,
}

impl ExampleMaker {
    /// For examples of at most `sequence` tokens.
    ///
    /// # Errors
    /// [`FinetuneError`] where the sequence is too short, or the base has no answer for "no weakness".
    pub fn new(base: &Base, sequence: usize) -> Result<Self, FinetuneError> {
        let labels = &base.manifest.labels;
        let mut answers: Vec<Vec<u32>> = labels.iter().map(|label| label.answer.tokens.clone()).collect();
        // An answer of one token has nothing behind it that could be confused with it.
        if let (Some(end), true) = (base.tokenizer.token_id(END), answers.iter().any(|answer| answer.len() > 1)) {
            answers.iter_mut().for_each(|answer| answer.push(end));
        }
        let longest = answers.iter().map(Vec::len).max().unwrap_or(1);
        let none = base.manifest.none_index().ok_or_else(|| {
            FinetuneError::NoRows(format!("the base {} has no answer for `{NONE_LABEL}`", base.manifest.id))
        })?;
        Ok(Self {
            prompts: base.prompt_maker(sequence, longest.saturating_sub(1))?,
            labels: labels.iter().map(|label| label.label.clone()).collect(),
            answers,
            none,
        })
    }

    /// The examples of some rows.
    ///
    /// # Errors
    /// [`FinetuneError::Engine`] where a text cannot be encoded, [`FinetuneError::NoRows`] where no row gives an example.
    pub fn make(&self, rows: &[Row]) -> Result<Examples, FinetuneError> {
        let mut made = Examples::default();
        for row in rows {
            let label = match &row.cwe {
                None => Some(self.none),
                Some(cwe) => self.labels.iter().position(|label| label == cwe),
            };
            let Some(label) = label else {
                made.unknown += 1;
                continue;
            };
            let examples = self.row(row, label)?;
            made.empty += usize::from(examples.is_empty());
            made.examples.extend(examples);
        }
        if made.examples.is_empty() {
            return Err(FinetuneError::NoRows(format!(
                "nothing can be learned from these rows: {} are of classes that the base has no answer for, {} hold no code",
                made.unknown, made.empty
            )));
        }
        Ok(made)
    }

    /// The engine judges a text unit by unit, so each unit is an example. Of a weak row those with a weak line are weak and
    /// the others are not; where no line is known, the longest unit is taken for the weak one and the others teach nothing.
    fn row(&self, row: &Row, label: usize) -> Result<Vec<Example>, FinetuneError> {
        let source = SourceText::new(&row.code);
        let mut windows: Vec<UnitPrompt> = Vec::new();
        for unit in self.prompts.parse(&row.code).0 {
            windows.extend(self.prompts.unit(&source, &unit)?.windows);
        }
        if label == self.none {
            return Ok(windows.into_iter().map(|window| self.example(window, label)).collect());
        }
        let weak = |window: &UnitPrompt| window.lines.iter().any(|line| row.lines.contains(line));
        if windows.iter().any(weak) {
            let labelled = windows.into_iter().map(|window| {
                let label = if weak(&window) { label } else { self.none };
                self.example(window, label)
            });
            return Ok(labelled.collect());
        }
        Ok(windows
            .into_iter()
            .max_by_key(|window| window.ids.len())
            .map(|window| self.example(window, label))
            .into_iter()
            .collect())
    }

    fn example(&self, window: UnitPrompt, label: usize) -> Example {
        let answer = self.answers[label].clone();
        let mut ids = window.ids;
        ids.extend(answer.iter().take(answer.len().saturating_sub(1)));
        Example { ids, answer, line_ends: window.line_ends, label }
    }
}
