//! The model's own words: what it says when nothing holds it to the answers of its package.

use crate::sampler::Sampler;
use crate::scorer::{Reading, finite, read};
use crate::{Engine, EngineError, Observer, UnitPrompt};
use cloister_report::SourceFile;
use cloister_source::SourceText;
use serde::{Deserialize, Serialize};

/// How words are chosen, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct GenerateOptions {
    /// Tokens at most.
    pub max_tokens: usize,
    /// 0 takes the likeliest token each time. Above it, logits are divided by this before one is drawn.
    pub temperature: f64,
    /// Draws from the likeliest tokens that together have this probability: 0 to 1.
    pub top_p: f64,
    /// Of what is drawn.
    pub seed: u64,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { max_tokens: 64, temperature: 0.0, top_p: 1.0, seed: 0 }
    }
}

/// Why the words end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GenerationEnd {
    /// The model said that it is done: with a token that the package lists as an end.
    Stop,
    /// As many tokens as were asked for, or as the context holds.
    Length,
    /// The caller ended it.
    Cancelled,
}

/// What the model said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Generated {
    /// Its words, without the end.
    pub text: String,
    /// Tokens of them.
    pub tokens: usize,
    /// Why they end.
    pub end: GenerationEnd,
    /// Name of the unit that it was shown.
    pub unit: String,
}

impl Engine {
    /// Shows the model the unit that holds a line (counted from 1) of a file, as an analysis does, and lets it speak. Each piece is
    /// told to the observer as it comes ([`Observer::words`]). These words are not findings: nothing checks them.
    ///
    /// # Errors
    /// [`EngineError::NoCode`] where the file has no unit, [`EngineError`] where the device or the package fails.
    pub async fn generate(
        &mut self,
        file: &SourceFile,
        line: u32,
        options: &GenerateOptions,
        observer: &mut dyn Observer,
    ) -> Result<Generated, EngineError> {
        let (unit, prompt) = self.prompt_at(file, line)?;
        let mut sampler = Sampler::new(options);
        let Reading { hidden, mut cache } = self.scorer.read_prompt(&prompt.ids).await?;
        let [_, length, width] = hidden.dims();
        let mut state = read(hidden.narrow(1, length - 1, 1).reshape([1, width])).await?;
        let context = self.scorer.model().config().n_positions;
        let mut words = Words::default();
        let end = loop {
            if words.ids.len() >= options.max_tokens {
                break GenerationEnd::Length;
            }
            observer.breathe().await;
            if observer.cancelled() {
                break GenerationEnd::Cancelled;
            }
            let token = sampler.pick(&finite(self.scorer.model().logits(&state))?);
            if self.manifest.prompt.stop.contains(&token) {
                break GenerationEnd::Stop;
            }
            words.add(token, self, observer)?;
            // The last token that fits is said, and not read.
            if cache.len() >= context {
                break GenerationEnd::Length;
            }
            let hidden = self.scorer.model().prefill(&[token], &mut cache)?;
            state = read(hidden.reshape([1, width])).await?;
        };
        words.finish(observer);
        Ok(Generated { text: words.text, tokens: words.ids.len(), end, unit })
    }

    /// The name of the innermost unit that holds a line, or else of the first, and the window of it that shows the line.
    fn prompt_at(&self, file: &SourceFile, line: u32) -> Result<(String, UnitPrompt), EngineError> {
        let (units, _) = self.prompts.parse(&file.text);
        let holds = |lines: &[u32]| lines.contains(&line);
        let unit = units
            .iter()
            .filter(|unit| unit.lines.iter().any(|own| own.number == line))
            .min_by_key(|unit| unit.lines.len())
            .or(units.first());
        let unit = unit.ok_or(EngineError::NoCode)?;
        let mut windows = self.prompts.unit(&SourceText::new(&file.text), unit)?.windows;
        let shown = windows.iter().position(|window| holds(&window.lines)).unwrap_or(0);
        if windows.is_empty() {
            return Err(EngineError::NoCode);
        }
        Ok((unit.name.clone(), windows.swap_remove(shown)))
    }
}

/// What was said so far.
#[derive(Default)]
struct Words {
    ids: Vec<u32>,
    text: String,
    /// Bytes of `text` that the observer has been told.
    told: usize,
}

impl Words {
    fn add(&mut self, token: u32, engine: &Engine, observer: &mut dyn Observer) -> Result<(), EngineError> {
        self.ids.push(token);
        self.text = engine.tokenizer().decode(&self.ids)?;
        // A character may take several tokens; until it is whole it is decoded as U+FFFD.
        let whole = self.text.trim_end_matches(char::REPLACEMENT_CHARACTER).len();
        self.tell(whole, observer);
        Ok(())
    }

    fn tell(&mut self, until: usize, observer: &mut dyn Observer) {
        if let Some(piece) = self.text.get(self.told..until).filter(|piece| !piece.is_empty()) {
            observer.words(piece);
            self.told = until;
        }
    }

    fn finish(&mut self, observer: &mut dyn Observer) {
        self.tell(self.text.len(), observer);
    }
}
