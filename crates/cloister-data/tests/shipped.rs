//! The data set in `assets/dataset` keeps its own rules.

use cloister_catalogue::TOP_25_OF_2024;
use cloister_data::{Dataset, Split, agreement, check, near_duplicates, read_blind, rows};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../assets/dataset")
}

#[test]
fn every_entry_is_well_formed() {
    check(&Dataset::read(&root()).unwrap()).unwrap();
}

#[test]
fn all_of_the_top_25_are_there_in_every_split() {
    let rows = rows(&Dataset::read(&root()).unwrap()).unwrap();
    assert!(rows.len() >= 500, "{}", rows.len());
    for id in TOP_25_OF_2024 {
        let cwe = format!("CWE-{id}");
        let count = |split| rows.iter().filter(|row| row.output == cwe && row.split == split).count();
        assert!(count(Split::Train) >= 4, "{cwe}: {} for training", count(Split::Train));
        assert!(count(Split::Test) >= 1, "{cwe} is not in the test split");
    }
}

#[test]
fn no_group_straddles_a_split() {
    let mut splits: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows(&Dataset::read(&root()).unwrap()).unwrap() {
        splits.entry(row.group).or_default().insert(format!("{:?}", row.split));
    }
    assert!(splits.values().all(|splits| splits.len() == 1));
}

#[test]
fn the_published_rows_are_the_pairs() {
    let made = rows(&Dataset::read(&root()).unwrap()).unwrap();
    let text = std::fs::read_to_string(root().join("rows.jsonl")).unwrap();
    let published: Vec<cloister_data::Row> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(made == published, "assets/dataset/rows.jsonl is stale: run `cargo xtask dataset`");
}

/// A second reader saw single halves alone. Each of their disagreements has been settled in the data.
#[test]
fn the_blind_reading_agrees() {
    let answers = read_blind(&root()).unwrap();
    let groups: BTreeSet<&str> = answers.iter().map(|answer| answer.group.as_str()).collect();
    assert_eq!(groups.len(), answers.len(), "a pair was read twice: whoever has seen one half knows the other");
    let agreement = agreement(&Dataset::read(&root()).unwrap(), &answers).unwrap();
    assert!(agreement.read >= 300, "{agreement}");
    assert!(agreement.verdict as f64 >= 0.9 * agreement.read as f64, "{agreement}");
    assert!(agreement.class as f64 >= 0.9 * agreement.weak as f64, "{agreement}");
}

/// Whoever has seen one group must not know another one by its shape.
#[test]
fn no_two_groups_are_near_duplicates() {
    let found = near_duplicates(&Dataset::read(&root()).unwrap(), 0.6);
    assert!(found.is_empty(), "{found:#?}");
}

/// Neither half may be recognisable by its length.
#[test]
fn lengths_do_not_give_the_label_away() {
    let dataset = Dataset::read(&root()).unwrap();
    let longer = dataset.pairs.iter().filter(|pair| pair.fixed.len() > pair.vulnerable.len()).count() as f64;
    let share = longer / dataset.pairs.len() as f64;
    let sum = |f: fn(&cloister_data::Pair) -> &String| dataset.pairs.iter().map(|p| f(p).len()).sum::<usize>() as f64;
    let ratio = sum(|p| &p.fixed) / sum(|p| &p.vulnerable);
    assert!((0.9..1.15).contains(&ratio), "fixed halves are {ratio:.2} times as long (longer in {share:.2} of pairs)");
}
