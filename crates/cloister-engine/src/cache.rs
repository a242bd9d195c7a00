//! Scores of prompts that were read before: while somebody types, most units stay as they are.

use crate::RawScore;
use lru::LruCache;
use sha2::{Digest, Sha256};
use std::num::NonZeroUsize;

/// Prompts that are remembered: several large files.
const CAPACITY: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// The scores of the prompts used last, by the SHA-256 of their tokens.
#[derive(Debug)]
pub(crate) struct ScoreCache(LruCache<[u8; 32], RawScore>);

impl ScoreCache {
    pub(crate) fn new() -> Self {
        Self(LruCache::new(CAPACITY))
    }

    pub(crate) fn get(&mut self, key: &[u8; 32]) -> Option<&RawScore> {
        self.0.get(key)
    }

    pub(crate) fn put(&mut self, key: [u8; 32], score: RawScore) {
        self.0.put(key, score);
    }
}

/// Names a prompt by what the model sees of it: its tokens and where its lines end, not the lines' numbers, which change
/// when something is written above.
pub(crate) fn key(ids: &[u32], line_ends: &[usize]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((ids.len() as u64).to_le_bytes());
    for id in ids {
        hash.update(id.to_le_bytes());
    }
    for end in line_ends {
        hash.update((*end as u64).to_le_bytes());
    }
    hash.finalize().into()
}
