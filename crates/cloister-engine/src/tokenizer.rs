//! The tokenizer: the tokenizers library, set up so that code is nothing but code.

use std::ops::Range;

/// Byte-level BPE without begin-of-text.
///
/// Special tokens (the answers, the end of text) are not recognised inside a text: pasted code that spells one out gets
/// ordinary tokens and cannot forge an answer. Added tokens that are not special, such as CodeGen's runs of spaces, are
/// recognised as always.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

/// Tokens with the bytes they came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// For each token the bytes of the text that it covers. The tokens of one character that needs several share its
    /// range.
    pub bytes: Vec<Range<usize>>,
}

/// A tokenizer that cannot be read or used.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum TokenizerError {
    /// The file is not a tokenizer.
    #[error("the tokenizer file cannot be read ({0}); take it again from where the model package came from")]
    Read(String),
    /// A text that cannot be encoded.
    #[error("the text cannot be turned into tokens ({0}); please report this text, or a shorter one that shows it")]
    Encode(String),
    /// Ids that cannot be decoded.
    #[error("the tokens cannot be turned into text ({0}); the tokenizer and the model do not belong together")]
    Decode(String),
}

impl Tokenizer {
    /// From the bytes of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Read`] where they are not one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let read = |error: tokenizers::Error| TokenizerError::Read(error.to_string());
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(read)?;
        inner.set_encode_special_tokens(true);
        // Lengths are the windows' business, and a post-processor could add tokens or move offsets.
        inner.with_truncation(None).map_err(read)?;
        inner.with_padding(None);
        inner.with_post_processor(None::<tokenizers::PostProcessorWrapper>);
        Ok(Self { inner })
    }

    /// Ids and byte ranges of a text.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] from the tokenizers crate.
    pub fn encode(&self, text: &str) -> Result<Encoded, TokenizerError> {
        let encoding = self.inner.encode(text, false).map_err(|error| TokenizerError::Encode(error.to_string()))?;
        let bytes = encoding.get_offsets().iter().map(|&(start, end)| start..end).collect();
        Ok(Encoded { ids: encoding.get_ids().to_vec(), bytes })
    }

    /// The number of tokens of a text; where it cannot be encoded, its bytes, since no text has more tokens.
    pub fn count(&self, text: &str) -> usize {
        self.inner.encode_fast(text, false).map_or(text.len(), |encoding| encoding.get_ids().len())
    }

    /// The text of some ids, special tokens spelled out.
    ///
    /// # Errors
    /// [`TokenizerError::Decode`] from the tokenizers crate.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.inner.decode(ids, false).map_err(|error| TokenizerError::Decode(error.to_string()))
    }

    /// The id of a token by its exact text, special ones included.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Number of tokens, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}
