//! Statements with slots: an unsafe form and its safe twin.

use rand::{Rng, seq::IndexedRandom};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// A pattern of `assets/dataset/patterns`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// The group's name, unique over the data set.
    pub id: String,
    /// The weakness of the unsafe form.
    pub cwe: String,
    /// Imports that both forms need.
    #[serde(default)]
    pub imports: Vec<String>,
    /// The statement with the weakness.
    #[serde(rename = "unsafe")]
    pub weak: String,
    /// Its safe twin.
    pub safe: String,
    /// 1-based lines of the unsafe form that carry the weakness.
    #[serde(rename = "weak")]
    pub weak_lines: Vec<u32>,
    /// Values for the named slots.
    #[serde(default)]
    pub slots: BTreeMap<String, Vec<String>>,
}

/// Names that `$NEW1`, `$NEW2`, … may become.
const FRESH: &[&str] = &[
    "tmp", "value", "item", "res", "out", "payload", "buf", "entry", "target", "doc", "info", "raw", "parsed", "state",
    "obj", "fragment", "part", "record", "text", "current", "handle", "stmt", "ref", "chunk",
];

impl Pattern {
    /// Values for every slot: the listed ones at random, fresh names that `taken` does not hold, and the given
    /// variables for `$VAR` and `$VAR2`.
    pub fn bind(&self, variables: [&str; 2], taken: &[String], rng: &mut impl Rng) -> BTreeMap<String, String> {
        let mut bound = BTreeMap::new();
        // Not one that the pattern uses itself, or that a slot may bring: two names would become one.
        let own = self.slots.values().flatten().chain([&self.weak, &self.safe]);
        let own: BTreeSet<&str> = own.flat_map(|text| words(text)).collect();
        let free: Vec<&&str> =
            FRESH.iter().filter(|name| !taken.iter().any(|t| t == **name) && !own.contains(**name)).collect();
        for name in slot_names(&self.weak).chain(slot_names(&self.safe)) {
            if bound.contains_key(name) {
                continue;
            }
            let value = match name {
                "VAR" => variables[0].to_string(),
                "VAR2" => variables[1].to_string(),
                _ => match self.slots.get(name).and_then(|values| values.choose(rng)) {
                    Some(value) => value.clone(),
                    None => {
                        let unused: Vec<_> = free.iter().filter(|n| !bound.values().any(|used| used == ***n)).collect();
                        unused.choose(rng).map_or_else(|| format!("_{}", name.to_lowercase()), |n| n.to_string())
                    }
                },
            };
            bound.insert(name.to_string(), value);
        }
        bound
    }
}

/// The names and keywords in a piece of code.
pub(crate) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// Replaces every `$SLOT` by its value.
pub(crate) fn fill(template: &str, bound: &BTreeMap<String, String>) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find('$') {
        out.push_str(&rest[..start]);
        let name = slot_at(&rest[start + 1..]);
        match bound.get(name) {
            Some(value) => out.push_str(value),
            None => out.push_str(&rest[start..start + 1 + name.len()]),
        }
        rest = &rest[start + 1 + name.len()..];
    }
    out.push_str(rest);
    out
}

/// The slots of a template, in order, with repetitions.
pub(crate) fn slot_names(template: &str) -> impl Iterator<Item = &str> {
    template.match_indices('$').map(|(i, _)| slot_at(&template[i + 1..])).filter(|name| !name.is_empty())
}

/// The slot name that a text begins with: an upper-case letter, then upper-case letters and digits.
fn slot_at(text: &str) -> &str {
    let letter = text.starts_with(|c: char| c.is_ascii_uppercase());
    let end = text.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit())).unwrap_or(text.len());
    if letter { &text[..end] } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn fresh_names_are_nobody_elses() {
        let pattern = Pattern {
            id: "p".into(),
            cwe: "CWE-78".into(),
            imports: Vec::new(),
            weak: "$NEW1 = run(value, $X)".into(),
            safe: "$NEW1 = run(payload.item)".into(),
            weak_lines: vec![1],
            slots: BTreeMap::from([("X".to_string(), vec!["res.out[0]".to_string()])]),
        };
        let taken: Vec<String> = FRESH[7..FRESH.len() - 1].iter().map(ToString::to_string).collect();
        for seed in 0..20 {
            let bound = pattern.bind(["a", "b"], &taken, &mut StdRng::seed_from_u64(seed));
            assert!(["tmp", "buf", "chunk"].contains(&bound["NEW1"].as_str()), "{bound:?}");
        }
    }

    #[test]
    fn slots_are_found_and_filled() {
        let bound = BTreeMap::from([("DB".to_string(), "conn".to_string()), ("VAR".to_string(), "q".to_string())]);
        assert_eq!(fill("$DB.run(f'{$VAR}$') # $5", &bound), "conn.run(f'{q}$') # $5");
        assert_eq!(slot_names("$DB.run($VAR2, $1)").collect::<Vec<_>>(), ["DB", "VAR2"]);
    }
}
