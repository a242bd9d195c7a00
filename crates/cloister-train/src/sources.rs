//! What the training draws from: the parts of the data set and of the corpus that may be used for it.

use crate::measure;
use cloister_data::{
    Change, Dataset, Module, Mutation, Mutations, NO_WEAKNESS, Pair, Pattern, Split, held_out, mutations, rows,
};
use cloister_train::TrainError;
use cloister_train::batch::{Sites, Sources};
use cloister_train::corpus::{CorpusList, CorpusUnit, read_units, units_of};
use cloister_train::examples::{ExampleMaker, Item};
use cloister_train::recipe::Recipe;
use rand::{SeedableRng, rngs::StdRng};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

/// The longest function that patterns are put into: it leaves room for them.
const HOST_BYTES: usize = 1400;

/// The longest function that a protection is taken out of. There are few of them.
const PROTECTED_BYTES: usize = 2400;

/// More functions than these do not make a rule be drawn more often.
const RULE_FUNCTIONS: usize = 500;

/// The answers: "none", then every class of the data set in numerical order.
pub fn labels(dataset: &Dataset) -> Vec<String> {
    let numbers: BTreeSet<u32> = (dataset.pairs.iter().map(|pair| &pair.cwe))
        .chain(dataset.patterns.iter().map(|pattern| &pattern.cwe))
        .filter_map(|cwe| cwe.strip_prefix("CWE-")?.parse().ok())
        .collect();
    std::iter::once(NO_WEAKNESS.to_string()).chain(numbers.into_iter().map(|n| format!("CWE-{n}"))).collect()
}

/// The authored groups of a split, as items without renaming.
pub fn authored(dataset: &Dataset, split: Split, maker: &ExampleMaker) -> Result<Vec<Item>, TrainError> {
    let groups = groups_of(dataset, split)?;
    let mut rng = StdRng::seed_from_u64(0);
    let mut items = Vec::new();
    for pair in dataset.pairs.iter().filter(|pair| groups.contains(&pair.id)) {
        items.extend(maker.pair(pair, 0.0, &mut rng)?);
    }
    for snippet in dataset.safe.iter().filter(|snippet| groups.contains(&snippet.id)) {
        for (_, example) in maker.windows(&snippet.code, &[], maker.answers.none)? {
            items.push(Item { examples: vec![example], twins: false });
        }
    }
    Ok(items)
}

fn groups_of(dataset: &Dataset, split: Split) -> Result<HashSet<String>, TrainError> {
    Ok(rows(dataset)?.into_iter().filter(|row| row.split == split).map(|row| row.group).collect())
}

/// The patterns that only figures are made with.
pub fn held_out_patterns(dataset: &Dataset) -> BTreeSet<String> {
    held_out(dataset.patterns.iter().map(|pattern| (pattern.cwe.as_str(), pattern.id.as_str())))
}

/// The patterns that are `wanted`, by class.
fn by_class(dataset: &Dataset, wanted: impl Fn(&Pattern) -> bool) -> BTreeMap<&str, Vec<&Pattern>> {
    let mut classes: BTreeMap<&str, Vec<&Pattern>> = BTreeMap::new();
    for pattern in dataset.patterns.iter().filter(|pattern| wanted(pattern)) {
        classes.entry(&pattern.cwe).or_default().push(pattern);
    }
    classes
}

/// Whether patterns may be put into a function.
fn is_host(unit: &CorpusUnit) -> bool {
    (80..=HOST_BYTES).contains(&unit.text.len())
}

/// Gathers what fine-tuning draws from and hands it on.
pub fn with_sources(
    recipe: &Recipe,
    dataset: &Dataset,
    list: &CorpusList,
    corpus: &Path,
    then: impl FnOnce(&Sources) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let train = groups_of(dataset, Split::Train)?;
    let mut units = read_units(&corpus.join("units.jsonl"))?;
    units.retain(|unit| unit.split == Split::Train && unit.function);
    let mut more = read_units(&list.hosts_file(corpus))?;
    more.retain(|unit| unit.split == Split::Train);
    let modules: &[Module] = if recipe.finetune.module_share > 0.0 { &dataset.modules } else { &[] };
    let functions = modules.iter().flat_map(|module| units_of(&module.name, Split::Train, &module.text));
    units.extend(functions.filter(|unit| unit.function));
    let tested = held_out_patterns(dataset);
    let patterns = by_class(dataset, |pattern| !tested.contains(&pattern.id)).into_iter().map(|(class, patterns)| {
        let common = recipe.finetune.common.iter().any(|common| common == class);
        (if common { recipe.finetune.common_weight } else { 1.0 }, patterns)
    });
    let (protected, doubtful) = twins(units.iter().chain(&more), &labels(dataset));
    // What a rule would mend is not taken for right, wherever it stands.
    let host = |unit: &&CorpusUnit| is_host(unit) && !doubtful.contains(unit.text.as_str());
    then(&Sources {
        changes: changes(modules),
        pairs: dataset.pairs.iter().filter(|pair: &&Pair| train.contains(&pair.id)).collect(),
        safe: dataset.safe.iter().filter(|snippet| train.contains(&snippet.id)).collect(),
        patterns: patterns.collect(),
        hosts: units.iter().filter(host).collect(),
        protected,
    })
}

/// The changes of modules by class. Four times the changes are drawn twice as often.
fn changes(modules: &[Module]) -> Vec<(f64, Vec<(&Module, &Change)>)> {
    let mut classes: BTreeMap<&str, Vec<(&Module, &Change)>> = BTreeMap::new();
    for module in modules {
        for change in &module.changes {
            classes.entry(&change.cwe).or_default().push((module, change));
        }
    }
    classes.into_values().map(|changes| ((changes.len() as f64).sqrt(), changes)).collect()
}

/// The functions that a rule makes twins of, by the rule; and the texts of those that have a weak form. A rule with four times
/// the functions is drawn twice as often: neither do few come again and again, nor does the commonest rule drown the others.
fn twins<'u>(units: impl Iterator<Item = &'u CorpusUnit>, labels: &[String]) -> (Sites<'u>, HashSet<&'u str>) {
    let units: Vec<&CorpusUnit> = units.filter(|unit| unit.text.len() <= PROTECTED_BYTES).collect();
    let read: Vec<(&CorpusUnit, Mutations)> =
        units.into_par_iter().map(|unit| (unit, mutations(&unit.text, unit.body_start()))).collect();
    let doubtful = read.iter().filter(|(_, read)| read.weak).map(|(unit, _)| unit.text.as_str()).collect();
    let sites = read.into_iter().flat_map(|(unit, read)| read.found.into_iter().map(move |found| (unit, found)));
    let sites = sites.filter(|(_, mutation)| labels.iter().any(|label| label == mutation.cwe));
    let mut rules: BTreeMap<&str, Vec<(&CorpusUnit, Mutation)>> = BTreeMap::new();
    for site in sites {
        rules.entry(site.1.rule).or_default().push(site);
    }
    let weighted = |(rule, sites): (&str, Vec<(&'u CorpusUnit, Mutation)>)| {
        let functions: HashSet<&str> = sites.iter().map(|(unit, _)| unit.text.as_str()).collect();
        eprintln!("fine-tuning: {} places in {} functions for the rule {rule}", sites.len(), functions.len());
        ((functions.len().min(RULE_FUNCTIONS) as f64).sqrt(), sites)
    };
    (rules.into_iter().map(weighted).collect(), doubtful)
}

/// Twins in functions of the validation packages: of the patterns that gave no gradient and are not measured on, and of the
/// functions' own protections. Authored pairs are harder than most code, so that probabilities fitted on them alone are
/// timid.
pub fn generated(
    recipe: &Recipe,
    dataset: &Dataset,
    units: &[CorpusUnit],
    maker: &ExampleMaker,
    count: usize,
) -> Result<Vec<Item>, TrainError> {
    let tested = held_out_patterns(dataset);
    let patterns = by_class(dataset, |p| tested.contains(&p.id) && !measure::in_top_25(&p.cwe));
    let (protected, _) = twins(units.iter(), &labels(dataset));
    let sources = Sources {
        pairs: Vec::new(),
        changes: Vec::new(),
        safe: Vec::new(),
        patterns: patterns.into_values().map(|patterns| (1.0, patterns)).collect(),
        hosts: units.iter().filter(|unit| is_host(unit)).collect(),
        protected,
    };
    let mut settings = recipe.finetune.clone();
    (settings.authored_share, settings.module_share) = (0.0, 0.0);
    (settings.pattern_share, settings.mutation_share) = (0.5, 0.5);
    let mut items: Vec<Item> = sources.round(maker, &settings, recipe.seed, 0)?.into_iter().flatten().collect();
    items.truncate(count);
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_on_gives_no_gradient() {
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
        let dataset = Dataset::read(&assets.join("dataset")).unwrap();
        let recipe = Recipe::read(&assets.join("training/recipe.toml")).unwrap();
        let list = CorpusList::read(&assets.join("training/corpus.toml")).unwrap();
        let corpus = tempfile::tempdir().unwrap();
        let plain =
            format!("def f(path):\n    text = read(path)\n{}    return text\n", "    text = text + path\n".repeat(4));
        let weak = format!("import pickle\n{}", plain.replace("read(path)", "pickle.loads(path)"));
        let units = [("train", &plain), ("valid", &plain), ("test", &plain), ("train", &weak)].map(|(split, text)| {
            let unit =
                serde_json::json!({"package": split, "split": split, "function": true, "text": text, "context": 0});
            format!("{unit}\n")
        });
        std::fs::write(corpus.path().join("units.jsonl"), units.concat()).unwrap();
        std::fs::write(list.hosts_file(corpus.path()), "").unwrap();
        let (patterns, groups) = (held_out_patterns(&dataset), groups_of(&dataset, Split::Train).unwrap());
        with_sources(&recipe, &dataset, &list, corpus.path(), |sources| {
            let mut drawn = sources.patterns.iter().flat_map(|(_, patterns)| patterns);
            assert!(drawn.all(|pattern| !patterns.contains(&pattern.id)));
            assert!(sources.pairs.iter().all(|pair| groups.contains(&pair.id)));
            assert!(!patterns.is_empty() && !sources.pairs.is_empty() && sources.pairs.len() < dataset.pairs.len());
            // The weak form is a twin to be mended, and no ordinary function.
            let hosts = sources.hosts.iter().filter(|host| ["train", "valid", "test"].contains(&host.package.as_str()));
            assert_eq!(hosts.map(|host| &host.text).collect::<Vec<_>>(), [&plain]);
            assert!(
                !sources.changes.is_empty() && sources.hosts.iter().any(|host| host.package == dataset.modules[0].name)
            );
            let sites: Vec<&Mutation> =
                sources.protected.iter().flat_map(|(_, sites)| sites).map(|(_, site)| site).collect();
            assert!(sites.iter().any(|site| site.mends && site.cwe == "CWE-502"), "{sites:?}");
            Ok(())
        })
        .unwrap();
    }
}
