//! Trains the tokenizer: byte-level BPE as CodeGen's, smaller.

use crate::TrainError;
use crate::corpus::CorpusUnit;
use cloister_data::Split;
use std::path::Path;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};

/// Separates texts in pre-training, as in GPT-2.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// The token that answers a label.
pub fn answer_token(label: &str) -> String {
    format!("<|{label}|>")
}

/// Trains on a sample of the corpus and writes `tokenizer.json`. `vocab_size` counts the end of text and the answers,
/// whose tokens come last.
///
/// # Errors
/// [`TrainError`] where the file cannot be written.
pub fn train(units: &[CorpusUnit], labels: &[String], vocab_size: usize, path: &Path) -> Result<(), TrainError> {
    let special: Vec<AddedToken> = std::iter::once(END_OF_TEXT.to_string())
        .chain(labels.iter().map(|label| answer_token(label)))
        .map(|text| AddedToken::from(text, true))
        .collect();
    let fail = |error: tokenizers::Error| TrainError::Content { path: path.into(), reason: error.to_string() };
    let byte_level = ByteLevel::new(false, false, true);
    let mut tokenizer: TokenizerImpl<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    > = TokenizerImpl::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(byte_level)));
    tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(byte_level)));
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocab_size - special.len())
        .min_frequency(2)
        .show_progress(false)
        .max_token_length(Some(24))
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    // A sixth of the corpus fixes three thousand merges as well as all of it.
    let sample = units.iter().filter(|unit| unit.split == Split::Train).step_by(6).map(|unit| unit.text.as_str());
    tokenizer.train(&mut trainer, sample).map_err(fail)?;
    tokenizer.add_special_tokens(special).map_err(fail)?;
    tokenizer.save(path, false).map_err(fail)
}
