//! Which part of the data a group belongs to.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// A part of the data. A group (a pair, a pattern, a source package) never straddles two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// For gradients.
    Train,
    /// For calibration and choosing between checkpoints.
    Valid,
    /// For figures alone.
    Test,
}

/// Assigns groups, given as (stratum, id), the stratum being class and batch: in each a fifth to test and a tenth to
/// valid, at least one of each where the stratum has three, chosen by the order of the ids' hashes.
///
/// By class and not over all, because with a dozen groups a class a plain hash would leave some classes without a test
/// group.
pub fn assign<'a, S: Ord>(groups: impl IntoIterator<Item = (S, &'a str)>) -> BTreeMap<String, Split> {
    let mut splits = BTreeMap::new();
    for groups in by_hash(groups) {
        let share = |part: usize| (groups.len() / part).max(usize::from(groups.len() >= 3));
        let (test, valid) = (share(5), share(10));
        for (rank, id) in groups.iter().enumerate() {
            let split = match rank {
                _ if rank < test => Split::Test,
                _ if rank < test + valid => Split::Valid,
                _ => Split::Train,
            };
            splits.insert(id.to_string(), split);
        }
    }
    splits
}

/// The patterns that give no gradient, of those given as (class, id): in each class every twelfth by the order of the ids'
/// hashes, and one where there are six.
pub fn held_out<'a>(patterns: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for patterns in by_hash(patterns) {
        let count = (patterns.len() / 12).max(usize::from(patterns.len() >= 6));
        out.extend(patterns.iter().take(count).map(ToString::to_string));
    }
    out
}

/// The ids of each stratum, in the order of their hashes.
fn by_hash<'a, S: Ord>(groups: impl IntoIterator<Item = (S, &'a str)>) -> impl Iterator<Item = Vec<&'a str>> {
    let mut strata: BTreeMap<S, BTreeSet<([u8; 32], &str)>> = BTreeMap::new();
    for (stratum, id) in groups {
        strata.entry(stratum).or_default().insert((Sha256::digest(id.as_bytes()).into(), id));
    }
    strata.into_values().map(|groups| groups.into_iter().map(|(_, id)| id).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_in_every_part() {
        let ids: Vec<String> = (0..3).map(|i| format!("a-{i}")).chain((0..20).map(|i| format!("b-{i}"))).collect();
        let splits = assign(ids.iter().map(|id| (&id[..1], id.as_str())));
        let count =
            |class: &str, wanted| splits.iter().filter(|(id, s)| id.starts_with(class) && **s == wanted).count();
        assert_eq!([count("a", Split::Train), count("a", Split::Valid), count("a", Split::Test)], [1, 1, 1]);
        assert_eq!([count("b", Split::Train), count("b", Split::Valid), count("b", Split::Test)], [14, 2, 4]);
    }

    #[test]
    fn a_twelfth_of_the_patterns_gives_no_gradient() {
        let ids: Vec<String> = (0..5).map(|i| format!("a{i}")).chain((0..24).map(|i| format!("b{i}"))).collect();
        let out = held_out(ids.iter().map(|id| (&id[..1], id.as_str())));
        assert_eq!(out.len(), 2);
        assert!(out.iter().all(|id| id.starts_with('b')));
    }

    #[test]
    fn another_stratum_moves_no_group() {
        let first: Vec<String> = (0..20).map(|i| format!("a-{i}")).collect();
        let second: Vec<String> = (0..20).map(|i| format!("a-b2-{i}")).collect();
        let before = assign(first.iter().map(|id| ("", id.as_str())));
        let after = assign(first.iter().map(|id| ("", id.as_str())).chain(second.iter().map(|id| ("b2", id.as_str()))));
        assert!(before.iter().all(|(id, split)| after[id] == *split));
    }
}
