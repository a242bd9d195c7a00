//! From a text to the prompts of its units.

use crate::{EngineError, PromptTemplate, Tokenizer};
use cloister_source::{Limits, Notice, NoticeKind, Rendered, SourceText, Unit, WindowOptions, analyse_source, windows};

/// A window of a unit, ready for the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitPrompt {
    /// All tokens.
    pub ids: Vec<u32>,
    /// For each of the unit's own lines in the window, the position in `ids` of its line end.
    pub line_ends: Vec<usize>,
    /// The numbers of those lines in the file.
    pub lines: Vec<u32>,
}

/// A unit cut into windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitPrompts {
    /// At least one.
    pub windows: Vec<UnitPrompt>,
    /// Where code was left out, a remark about it.
    pub notice: Option<Notice>,
}

/// Makes prompts for one package.
#[derive(Debug, Clone)]
pub struct PromptMaker {
    tokenizer: Tokenizer,
    template: PromptTemplate,
    n_positions: usize,
}

impl PromptMaker {
    /// For a context of `n_positions` tokens.
    pub fn new(tokenizer: Tokenizer, template: PromptTemplate, n_positions: usize) -> Self {
        Self { tokenizer, template, n_positions }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What stands around the code.
    pub fn template(&self) -> &PromptTemplate {
        &self.template
    }

    /// The units of a text and the remarks about it.
    pub fn parse(&self, text: &str) -> (Vec<Unit>, Vec<Notice>) {
        let parsed = analyse_source(text, &Limits::default());
        (parsed.units, parsed.notices)
    }

    /// The prompts of a unit of `source`.
    ///
    /// # Errors
    /// [`EngineError::Tokenizer`] where its text cannot be encoded.
    pub fn unit(&self, source: &SourceText<'_>, unit: &Unit) -> Result<UnitPrompts, EngineError> {
        let budget = self.template.budget(self.n_positions);
        let cut = windows(unit, &|text| self.tokenizer.count(text), &WindowOptions::new(budget));
        let mut left_out = cut.left_out_from;
        let mut prompts = Vec::with_capacity(cut.windows.len());
        for window in &cut.windows {
            let (prompt, whole) = self.window(&window.render())?;
            if !whole {
                left_out = left_out.or(window.lines.last().map(|line| line.number));
            }
            prompts.push(prompt);
        }
        let notice = left_out.map(|line| {
            let message = format!(
                "`{}` is too long: it was checked up to line {line}. Split it into smaller functions to check the rest.",
                unit.name
            );
            Notice { kind: NoticeKind::Truncated, message, range: source.code_range(line) }
        });
        Ok(UnitPrompts { windows: prompts, notice })
    }

    /// The tokens of the first window of the first unit of a text: what a self-test reads.
    ///
    /// # Errors
    /// [`EngineError::Inconsistent`] where there is no unit, [`EngineError::Tokenizer`] where it cannot be encoded.
    pub fn first(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        let (units, _) = self.parse(text);
        let Some(unit) = units.first() else {
            return Err(EngineError::Inconsistent("the text of the self-test holds no code".into()));
        };
        let prompts = self.unit(&SourceText::new(text), unit)?;
        Ok(prompts.windows.into_iter().next().map(|window| window.ids).unwrap_or_default())
    }

    /// The prompt of a window, and whether all of it fits. It does, unless the context is hardly longer than the prompt.
    fn window(&self, window: &Rendered) -> Result<(UnitPrompt, bool), EngineError> {
        let mut prompt = self.template.prompt(&self.tokenizer, &window.text)?;
        let excess = prompt.ids.len().saturating_sub(self.n_positions);
        let code_end = prompt.ids.len() - self.template.suffix.len();
        prompt.ids.drain(code_end.saturating_sub(excess)..code_end);
        let code_end = code_end.saturating_sub(excess);
        let own = window.lines.iter().zip(&prompt.line_ends).filter(|(line, end)| !line.is_context && **end < code_end);
        let (lines, line_ends) = own.map(|(line, end)| (line.number, *end)).unzip();
        Ok((UnitPrompt { ids: prompt.ids, line_ends, lines }, excess == 0))
    }
}
