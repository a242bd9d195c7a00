//! The corpus as one stream of token ids.

use crate::TrainError;
use crate::bpe::END_OF_TEXT;
use crate::corpus::CorpusUnit;
use crate::error::at;
use cloister_data::Split;
use cloister_engine::Tokenizer;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use rayon::prelude::*;
use std::path::Path;

/// Encodes the units of a split in random order, each followed by the end of text, and writes them as little-endian u16.
///
/// # Errors
/// [`TrainError`] where the tokenizer fails or the file cannot be written.
pub fn write(
    units: &[CorpusUnit],
    split: Split,
    tokenizer: &Tokenizer,
    seed: u64,
    path: &Path,
) -> Result<(), TrainError> {
    let end = tokenizer.token_id(END_OF_TEXT).ok_or_else(|| TrainError::Content {
        path: path.into(),
        reason: format!("the tokenizer has no {END_OF_TEXT}"),
    })?;
    let mut chosen: Vec<&CorpusUnit> = units.iter().filter(|unit| unit.split == split).collect();
    chosen.shuffle(&mut StdRng::seed_from_u64(seed));
    let encoded: Result<Vec<Vec<u8>>, TrainError> = chosen
        .par_iter()
        .map(|unit| {
            let ids = tokenizer.encode(&unit.text)?.ids;
            Ok(ids.into_iter().chain([end]).flat_map(|id| (id as u16).to_le_bytes()).collect())
        })
        .collect();
    let bytes = encoded?.concat();
    eprintln!("tokens: {split:?}: {} tokens of {} units", bytes.len() / 2, chosen.len());
    std::fs::write(path, bytes).map_err(at(path))
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// [`TrainError::Missing`] where it is not there.
pub fn read(path: &Path) -> Result<Vec<u16>, TrainError> {
    let bytes = std::fs::read(path).map_err(|_| TrainError::Missing(path.into()))?;
    Ok(bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect())
}
