//! Answers of several tokens: what a model that answers in text says of each.
//!
//! The answers are laid out as a trie. The prompt's prefill gives the logits of the first tokens; one more step reads all
//! inner nodes of the trie at once, each with its ancestors, behind the prompt's keys and values. At each node only the
//! trie's own continuations count (constrained decoding), so an answer's score is the sum of the logarithms of its tokens'
//! probabilities among them.

use crate::EngineError;
use std::collections::BTreeMap;

/// The answers of a package.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerTrie {
    tokens: Vec<u32>,
    /// The token of each inner node below the root.
    inner: Vec<u32>,
    /// Which inner node each of them follows; `None` for the root.
    parents: Vec<Option<usize>>,
    /// For the root and each inner node the columns of its continuations.
    children: Vec<Vec<usize>>,
    /// For each answer its (node, column) from the first token to the last; node 0 is the root.
    paths: Vec<Vec<(usize, usize)>>,
}

impl AnswerTrie {
    /// The trie of answers, each a list of tokens.
    ///
    /// # Errors
    /// [`EngineError::Inconsistent`] for an answer without tokens, or one that another begins with: nothing would tell
    /// whether it has ended.
    pub fn new<'a>(answers: impl IntoIterator<Item = &'a [u32]>) -> Result<Self, EngineError> {
        let mut trie = Self {
            tokens: Vec::new(),
            inner: Vec::new(),
            parents: Vec::new(),
            children: vec![Vec::new()],
            paths: Vec::new(),
        };
        // What follows a node by a token: an inner node, or an answer's end.
        let mut edges: BTreeMap<(usize, u32), Option<usize>> = BTreeMap::new();
        for answer in answers {
            let mut node = 0;
            let mut path = Vec::with_capacity(answer.len());
            for (place, token) in answer.iter().enumerate() {
                let column = trie.column(*token);
                path.push((node, column));
                let ends = place + 1 == answer.len();
                let known = edges.get(&(node, *token)).copied();
                node = match known {
                    None => {
                        trie.children[node].push(column);
                        let next = (!ends).then(|| {
                            trie.inner.push(*token);
                            trie.parents.push(node.checked_sub(1));
                            trie.children.push(Vec::new());
                            trie.inner.len()
                        });
                        edges.insert((node, *token), next);
                        next.unwrap_or(node)
                    }
                    Some(Some(next)) if !ends => next,
                    Some(_) => {
                        return Err(EngineError::Inconsistent(
                            "an answer is the beginning of another one, or the same".into(),
                        ));
                    }
                };
            }
            if path.is_empty() {
                return Err(EngineError::Inconsistent("an answer has no tokens".into()));
            }
            trie.paths.push(path);
        }
        Ok(trie)
    }

    fn column(&mut self, token: u32) -> usize {
        self.tokens.iter().position(|known| *known == token).unwrap_or_else(|| {
            self.tokens.push(token);
            self.tokens.len() - 1
        })
    }

    /// The tokens whose logits are wanted, one column each.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The tokens of the inner nodes below the root, parents before children. Empty where every answer is one token.
    pub fn inner(&self) -> &[u32] {
        &self.inner
    }

    /// For each inner node the one that it follows; `None` for the prompt.
    pub fn parents(&self) -> &[Option<usize>] {
        &self.parents
    }

    /// The tokens that the longest answer takes behind the prompt, its last not counted: that is only predicted.
    pub fn depth(&self) -> usize {
        self.paths.iter().map(Vec::len).max().map_or(0, |longest| longest.saturating_sub(1))
    }

    /// The logits of the answers, in their order, from the logits of [`Self::tokens`] at the prompt's end and at each inner
    /// node. Where every answer is one token, they are the model's own.
    pub fn scores(&self, logits: &[f32]) -> Vec<f32> {
        let width = self.tokens.len();
        if self.inner.is_empty() {
            return self.paths.iter().filter_map(|path| logits.get(path.first()?.1).copied()).collect();
        }
        let rows: Vec<(&[f32], f32)> = logits
            .chunks_exact(width.max(1))
            .zip(&self.children)
            .map(|(row, children)| {
                let largest = children.iter().map(|c| row[*c]).fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = children.iter().map(|c| (row[*c] - largest).exp()).sum();
                (row, largest + sum.ln())
            })
            .collect();
        let score = |path: &Vec<(usize, usize)>| {
            path.iter().filter_map(|(node, column)| rows.get(*node).map(|(row, all)| row[*column] - all)).sum()
        };
        self.paths.iter().map(score).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_share_their_beginnings() {
        let trie = AnswerTrie::new([&[1, 2, 3][..], &[1, 2, 4], &[5], &[1, 6]]).unwrap();
        assert_eq!((trie.inner(), trie.parents()), (&[1, 2][..], &[None, Some(0)][..]));
        assert_eq!((trie.tokens(), trie.depth()), (&[1, 2, 3, 4, 5, 6][..], 2));
    }

    #[test]
    fn scores_are_probabilities_among_the_answers() {
        let trie = AnswerTrie::new([&[1, 2, 3][..], &[1, 2, 4], &[5], &[1, 6]]).unwrap();
        let logits: Vec<f32> = (0..18).map(|i| ((i * 7 % 11) as f32 - 5.0) / 2.0).collect();
        let scores = trie.scores(&logits);
        let sum: f32 = scores.iter().map(|score| score.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{scores:?}");
        // The columns are the tokens 1, 2, 3, 4, 5, 6.
        let at = |node: usize, column: usize| logits[node * 6 + column];
        let first = (at(0, 0).exp() + at(0, 4).exp()).ln();
        assert!((scores[2] - (at(0, 4) - first)).abs() < 1e-5);
        let (second, third) = ((at(1, 1).exp() + at(1, 5).exp()).ln(), (at(2, 2).exp() + at(2, 3).exp()).ln());
        assert!((scores[1] - (at(0, 0) - first + at(1, 1) - second + at(2, 3) - third)).abs() < 1e-5);
    }

    #[test]
    fn answers_of_one_token_keep_their_logits() {
        let trie = AnswerTrie::new([&[7][..], &[3], &[9]]).unwrap();
        assert!(trie.inner().is_empty());
        assert_eq!(trie.scores(&[0.5, -2.0, 8.0]), [0.5, -2.0, 8.0]);
    }

    #[test]
    fn an_answer_that_another_begins_with_is_refused() {
        for answers in [[&[1][..], &[1, 2]], [&[1, 2], &[1]], [&[1, 2], &[1, 2]], [&[1], &[]]] {
            assert!(AnswerTrie::new(answers).is_err(), "{answers:?}");
        }
    }
}
