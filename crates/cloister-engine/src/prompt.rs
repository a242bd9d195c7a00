//! From code to the tokens that the model reads.

use crate::{Tokenizer, TokenizerError};

/// The texts around the code. The final position of the suffix predicts the answer, with the ends of the lines where the
/// package says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptTemplate {
    /// Ids of the text before the code.
    pub prefix: Vec<u32>,
    /// Ids of the text behind the code.
    pub suffix: Vec<u32>,
}

/// A prompt's tokens, and for each line of the code the position of the token that holds its line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// All tokens: prefix, code, suffix.
    pub ids: Vec<u32>,
    /// A position in `ids` for each line of the code.
    pub line_ends: Vec<usize>,
}

impl PromptTemplate {
    /// Encodes the two texts.
    ///
    /// # Errors
    /// [`TokenizerError`] where one cannot be encoded.
    pub fn new(tokenizer: &Tokenizer, prefix: &str, suffix: &str) -> Result<Self, TokenizerError> {
        Ok(Self { prefix: tokenizer.encode(prefix)?.ids, suffix: tokenizer.encode(suffix)?.ids })
    }

    /// Tokens that are left for code in a context of `n_positions`.
    pub fn budget(&self, n_positions: usize) -> usize {
        n_positions.saturating_sub(self.prefix.len() + self.suffix.len())
    }

    /// The prompt for a piece of code whose lines each end in '\n'.
    ///
    /// # Errors
    /// [`TokenizerError`] where the code cannot be encoded.
    pub fn prompt(&self, tokenizer: &Tokenizer, code: &str) -> Result<Prompt, TokenizerError> {
        let encoded = tokenizer.encode(code)?;
        let line_feeds = code.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(place, _)| place);
        // The last token that begins at or before the line feed is the one that holds it.
        let token_of = |place: usize| encoded.bytes.partition_point(|bytes| bytes.start <= place).saturating_sub(1);
        let line_ends = line_feeds.map(|place| self.prefix.len() + token_of(place)).collect();
        Ok(Prompt { ids: [&self.prefix[..], &encoded.ids, &self.suffix].concat(), line_ends })
    }
}
