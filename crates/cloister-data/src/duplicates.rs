//! Near-duplicates between groups: the same code in other words would let a test row be remembered instead of judged.

use crate::{Dataset, at_the_margin};
use ruff_python_ast::token::TokenKind;
use ruff_text_size::Ranged;
use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Tokens of a shingle.
const SHINGLE: usize = 8;

/// Two groups that are nearly the same.
#[derive(Debug, Clone, PartialEq)]
pub struct NearDuplicate {
    /// The groups' ids.
    pub groups: [String; 2],
    /// Jaccard similarity of their shingles, 0 to 1.
    pub similarity: f64,
}

/// The groups whose weak halves (or safe snippets, or modules) are at least so similar when every name, string, number and comment
/// is blanked out, by the Jaccard similarity of their runs of eight tokens.
pub fn near_duplicates(dataset: &Dataset, least: f64) -> Vec<NearDuplicate> {
    let pairs = dataset.pairs.iter().map(|pair| (&pair.id, &pair.vulnerable));
    let safe = dataset.safe.iter().map(|snippet| (&snippet.id, &snippet.code));
    let modules = dataset.modules.iter().map(|module| (&module.name, &module.text));
    let groups: Vec<(&String, BTreeSet<u64>)> =
        pairs.chain(safe).chain(modules).map(|(id, code)| (id, shingles(code))).collect();
    let mut holders: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut found = Vec::new();
    for (index, (id, own)) in groups.iter().enumerate() {
        let mut shared: HashMap<usize, usize> = HashMap::new();
        for shingle in own {
            let holders = holders.entry(*shingle).or_default();
            for other in holders.iter() {
                *shared.entry(*other).or_default() += 1;
            }
            holders.push(index);
        }
        for (other, both) in shared {
            let union = own.len() + groups[other].1.len() - both;
            let similarity = both as f64 / union as f64;
            if similarity >= least {
                found.push(NearDuplicate { groups: [groups[other].0.clone(), (*id).clone()], similarity });
            }
        }
    }
    found.sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then_with(|| a.groups.cmp(&b.groups)));
    found
}

/// A text's kinds of tokens, separated by blanks: every name, number and string is blanked out, comments are left out.
/// Empty where it does not parse.
pub fn masked(code: &str) -> String {
    kinds(code).iter().map(|kind| format!("{kind:?} ")).collect()
}

/// Hashes of the runs of tokens, blind to what they name.
fn shingles(code: &str) -> BTreeSet<u64> {
    kinds(code)
        .windows(SHINGLE)
        .map(|run| {
            let mut hasher = DefaultHasher::new();
            run.hash(&mut hasher);
            hasher.finish()
        })
        .collect()
}

fn kinds(code: &str) -> Vec<TokenKind> {
    let Ok(parsed) = ruff_python_parser::parse_module(&at_the_margin(code)) else { return Vec::new() };
    let tokens = parsed.tokens().iter();
    tokens.filter(|token| !token.kind().is_trivia() && !token.range().is_empty()).map(|token| token.kind()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SafeSnippet;

    fn snippet(id: &str, code: &str) -> SafeSnippet {
        SafeSnippet { id: id.into(), style: String::new(), description: String::new(), code: code.into() }
    }

    #[test]
    fn other_names_do_not_hide_a_copy() {
        let first = "def f(a, b):\n    c = a.g(b['x'])\n    if c > 1:\n        return [c, 'y']\n    return b\n";
        let second = "def run(src, key):  # note\n    row = src.get(key['id'])\n    if row > 20:\n        return [row, \"no\"]\n    return key\n";
        let third = "class A:\n    x = 1\n\n    def h(self):\n        for i in self.x:\n            yield i\n";
        let dataset = Dataset {
            safe: vec![snippet("one", first), snippet("two", second), snippet("three", third)],
            ..Dataset::default()
        };
        let found = near_duplicates(&dataset, 0.5);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].groups, ["one", "two"]);
        assert!(found[0].similarity > 0.99);
    }
}
