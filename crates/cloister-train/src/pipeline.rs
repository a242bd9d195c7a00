//! The steps in order, and what each reads and leaves.

use crate::{Arguments, Step, measure};
use burn::module::Module;
use burn::tensor::Device;
use cloister_data::{Dataset, Mutation, NO_WEAKNESS, Pair, Pattern, Row, Split, batch, mutations, rows};
use cloister_engine::{PromptTemplate, Tokenizer};
use cloister_package::{CorpusEntry, DatasetEntry, Training};
use cloister_train::batch::{ROUND, Sources};
use cloister_train::corpus::{CorpusList, CorpusUnit};
use cloister_train::examples::{ExampleMaker, Item};
use cloister_train::export::HeldOut;
use cloister_train::finetune::Answers;
use cloister_train::recipe::Recipe;
use cloister_train::{TrainError, bpe, corpus, export, finetune, optimise, pretrain, tokens};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

/// Functions of the validation packages that the threshold is set on.
const ORDINARY_FUNCTIONS: usize = 1200;

/// The longest function that patterns are put into: it leaves room for them.
const HOST_BYTES: usize = 1400;

/// The longest function that a protection is taken out of. There are few of them.
const PROTECTED_BYTES: usize = 2400;

/// Where the steps leave their work.
struct Places {
    corpus: PathBuf,
    pretrain: PathBuf,
    finetune: PathBuf,
}

/// Runs one step, or all.
pub fn run(arguments: &Arguments) -> Result<(), TrainError> {
    let recipe = Recipe::read(&arguments.recipe)?;
    let mut dataset = Dataset::read(&arguments.dataset)?;
    cloister_data::check(&dataset)?;
    // The shipped model can be made again after the data has grown. Its baseline learns from the same rows.
    dataset.pairs.retain(|pair| batch(&pair.id) <= recipe.finetune.data_batches);
    dataset.patterns.retain(|pattern| batch(&pattern.id) <= recipe.finetune.data_batches);
    dataset.safe.retain(|snippet| batch(&snippet.id) <= recipe.finetune.data_batches);
    let places = Places {
        corpus: arguments.work.join("corpus"),
        pretrain: arguments.work.join("pretrain"),
        finetune: arguments.work.join("finetune"),
    };
    match &arguments.step {
        Step::All => {
            corpus::prepare(&CorpusList::read(&arguments.corpus)?, &places.corpus)?;
            if !places.corpus.join("valid.u16").exists() {
                train_tokenizer(&recipe, &dataset, &places)?;
            }
            pretrain_model(&recipe, &places)?;
            finetune_model(arguments, &recipe, &dataset, &places)?;
            export_package(arguments, &recipe, &dataset, &places)
        }
        Step::Corpus => corpus::prepare(&CorpusList::read(&arguments.corpus)?, &places.corpus),
        Step::Tokenizer => train_tokenizer(&recipe, &dataset, &places),
        Step::Pretrain => pretrain_model(&recipe, &places),
        Step::Finetune => finetune_model(arguments, &recipe, &dataset, &places),
        Step::Samples { tokens } => print_samples(arguments, &recipe, &dataset, &places, *tokens),
        Step::Export => export_package(arguments, &recipe, &dataset, &places),
        Step::Figures { input } => measure::note_figures(input, &arguments.output),
        Step::Ordinary { rows, count } => measure::ordinary_rows(arguments, &recipe, &places.corpus, rows, *count),
        Step::Baseline { kind, input, predictions } => {
            if input.len() != predictions.len() {
                return Err(TrainError::Arguments("give as many --predictions as --input".into()));
            }
            let files: Vec<(PathBuf, PathBuf)> = input.iter().cloned().zip(predictions.iter().cloned()).collect();
            measure::baseline(&recipe, &dataset, &arguments.output, *kind, &files)
        }
    }
}

/// The answers: "none", then every class of the data set in numerical order.
pub fn labels(dataset: &Dataset) -> Vec<String> {
    let numbers: BTreeSet<u32> = (dataset.pairs.iter().map(|pair| &pair.cwe))
        .chain(dataset.patterns.iter().map(|pattern| &pattern.cwe))
        .filter_map(|cwe| cwe.strip_prefix("CWE-")?.parse().ok())
        .collect();
    std::iter::once(NO_WEAKNESS.to_string()).chain(numbers.into_iter().map(|n| format!("CWE-{n}"))).collect()
}

fn train_tokenizer(recipe: &Recipe, dataset: &Dataset, places: &Places) -> Result<(), TrainError> {
    let units = corpus::read_units(&places.corpus.join("units.jsonl"))?;
    bpe::train(&units, &labels(dataset), recipe.model.vocab_size, &places.corpus.join("tokenizer.json"))?;
    let tokenizer = Tokenizer::from_bytes(&tokenizer_bytes(places)?)?;
    tokens::write(&units, Split::Train, &tokenizer, recipe.seed, &places.corpus.join("train.u16"))?;
    tokens::write(&units, Split::Valid, &tokenizer, recipe.seed, &places.corpus.join("valid.u16"))
}

fn tokenizer_bytes(places: &Places) -> Result<Vec<u8>, TrainError> {
    let path = places.corpus.join("tokenizer.json");
    std::fs::read(&path).map_err(|_| TrainError::Missing(path))
}

fn pretrain_model(recipe: &Recipe, places: &Places) -> Result<(), TrainError> {
    let train = tokens::read(&places.corpus.join("train.u16"))?;
    let valid = tokens::read(&places.corpus.join("valid.u16"))?;
    pretrain::run(recipe, &train, &valid, &places.pretrain, &Device::flex().autodiff())
}

fn maker(recipe: &Recipe, dataset: &Dataset, places: &Places) -> Result<ExampleMaker, TrainError> {
    let tokenizer = Tokenizer::from_bytes(&tokenizer_bytes(places)?)?;
    let template = PromptTemplate::new(&tokenizer, &recipe.prompt.prefix, &recipe.prompt.suffix)?;
    let labels = labels(dataset);
    let mut answers = Vec::with_capacity(labels.len());
    for label in &labels {
        let token = bpe::answer_token(label);
        answers.push(tokenizer.token_id(&token).ok_or_else(|| TrainError::Content {
            path: places.corpus.join("tokenizer.json"),
            reason: format!("it has no token {token}, because the data set has changed"),
        })?);
    }
    let none = labels.iter().position(|label| label == NO_WEAKNESS).unwrap_or(0);
    let labels: BTreeMap<String, usize> = labels.into_iter().zip(0..).collect();
    let answers = Answers { tokens: answers, none };
    Ok(ExampleMaker { tokenizer, template, labels, answers, context: recipe.model.n_positions })
}

/// The authored groups of a split, as items without renaming.
fn authored(dataset: &Dataset, split: Split, maker: &ExampleMaker) -> Result<Vec<Item>, TrainError> {
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

/// Gathers what fine-tuning draws from and hands it on.
fn with_sources(
    arguments: &Arguments,
    recipe: &Recipe,
    dataset: &Dataset,
    places: &Places,
    then: impl FnOnce(&Sources) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    let train = groups_of(dataset, Split::Train)?;
    let list = CorpusList::read(&arguments.corpus)?;
    let mut units = corpus::read_units(&places.corpus.join("units.jsonl"))?;
    let text_only: HashSet<&String> = list.packages.iter().filter(|p| !p.host).map(|p| &p.name).collect();
    units.retain(|unit| unit.split == Split::Train && unit.function && !text_only.contains(&unit.package));
    let mut more = corpus::read_units(&list.hosts_file(&places.corpus))?;
    more.retain(|unit| unit.split == Split::Train);
    let mut patterns: BTreeMap<&str, Vec<&Pattern>> = BTreeMap::new();
    for pattern in &dataset.patterns {
        patterns.entry(&pattern.cwe).or_default().push(pattern);
    }
    let patterns = patterns.into_iter().map(|(class, patterns)| {
        let common = recipe.finetune.common.iter().any(|common| common == class);
        (if common { recipe.finetune.common_weight } else { 1.0 }, patterns)
    });
    then(&Sources {
        pairs: dataset.pairs.iter().filter(|pair: &&Pair| train.contains(&pair.id)).collect(),
        safe: dataset.safe.iter().filter(|snippet| train.contains(&snippet.id)).collect(),
        patterns: patterns.collect(),
        hosts: units.iter().filter(|unit| (80..=HOST_BYTES).contains(&unit.text.len())).collect(),
        protected: protected(units.iter().chain(&more)),
    })
}

fn finetune_model(
    arguments: &Arguments,
    recipe: &Recipe,
    dataset: &Dataset,
    places: &Places,
) -> Result<(), TrainError> {
    let maker = maker(recipe, dataset, places)?;
    let device = Device::flex().autodiff();
    let initial = optimise::finished(&places.pretrain, &recipe.model, &device)?;
    let valid = authored(dataset, Split::Valid, &maker)?;
    with_sources(arguments, recipe, dataset, places, |sources| {
        finetune::run(recipe, initial, sources, &valid, &maker, &places.finetune, &device)
    })
}

fn print_samples(
    arguments: &Arguments,
    recipe: &Recipe,
    dataset: &Dataset,
    places: &Places,
    tokens: usize,
) -> Result<(), TrainError> {
    let maker = maker(recipe, dataset, places)?;
    with_sources(arguments, recipe, dataset, places, |sources| {
        let mut settings = recipe.finetune.clone();
        settings.stage.batch_tokens = tokens.div_ceil(ROUND);
        for item in sources.round(&maker, &settings, recipe.seed, 0)?.into_iter().flatten() {
            for example in &item.examples {
                let answer = maker.labels.iter().find(|(_, index)| **index == example.label).map(|(label, _)| label);
                let twins = if item.twins { ", one of twins" } else { "" };
                println!("===== {}{twins}", answer.map_or("", String::as_str));
                let mut start = 0;
                for (index, end) in example.line_ends.iter().enumerate() {
                    let mark = if example.weak.contains(&index) {
                        "!"
                    } else if example.mended.contains(&index) {
                        "="
                    } else {
                        "|"
                    };
                    let text = maker.tokenizer.decode(&example.ids[start..=*end])?;
                    println!("{mark} {}", text.trim_end_matches('\n'));
                    start = end + 1;
                }
            }
        }
        Ok(())
    })
}

/// The functions that have a protection, by the rule that takes it out. A rule with four times the sites is drawn twice as
/// often: neither do few sites come again and again, nor does the commonest rule drown the others.
fn protected<'u>(units: impl Iterator<Item = &'u CorpusUnit>) -> Vec<(f64, Vec<(&'u CorpusUnit, Mutation)>)> {
    let units: Vec<&CorpusUnit> = units.filter(|unit| unit.text.len() <= PROTECTED_BYTES).collect();
    let sites: Vec<(&CorpusUnit, Mutation)> = units
        .into_par_iter()
        .flat_map_iter(|unit| mutations(&unit.text, unit.body_start()).into_iter().map(move |found| (unit, found)))
        .collect();
    let mut rules: BTreeMap<&str, Vec<(&CorpusUnit, Mutation)>> = BTreeMap::new();
    for site in sites {
        rules.entry(site.1.rule).or_default().push(site);
    }
    for (rule, sites) in &rules {
        eprintln!("fine-tuning: {} places for the rule {rule}", sites.len());
    }
    rules.into_values().map(|sites| ((sites.len() as f64).sqrt(), sites)).collect()
}

fn export_package(
    arguments: &Arguments,
    recipe: &Recipe,
    dataset: &Dataset,
    places: &Places,
) -> Result<(), TrainError> {
    let maker = maker(recipe, dataset, places)?;
    let device = Device::flex();
    let model = optimise::finished(&places.finetune, &recipe.model, &device)?.valid();
    let mut hosts: Vec<CorpusUnit> = corpus::read_units(&places.corpus.join("units.jsonl"))?;
    hosts.retain(|unit| unit.split == Split::Valid && unit.function);
    hosts.shuffle(&mut StdRng::seed_from_u64(recipe.seed));
    let mut ordinary = Vec::new();
    for host in &hosts {
        if let Some(example) = maker.ordinary(host)? {
            ordinary.push(Item { examples: vec![example], twins: false });
        }
        if ordinary.len() == ORDINARY_FUNCTIONS {
            break;
        }
    }
    let authored = authored(dataset, Split::Valid, &maker)?;
    let held_out = HeldOut { authored: &authored, ordinary: &ordinary };
    let training = provenance(recipe, dataset, &CorpusList::read(&arguments.corpus)?)?;
    let bytes = tokenizer_bytes(places)?;
    export::run(recipe, &model, &held_out, &maker, training, &bytes, &arguments.output)
}

fn provenance(recipe: &Recipe, dataset: &Dataset, list: &CorpusList) -> Result<Training, TrainError> {
    let rows: Vec<Row> = rows(dataset)?;
    let mut hash = Sha256::new();
    for row in &rows {
        hash.update(serde_json::to_vec(row).unwrap_or_default());
    }
    let groups: HashSet<&String> = rows.iter().map(|row| &row.group).collect();
    let stdlib = CorpusEntry {
        name: "the Python standard library".into(),
        version: list.stdlib.version.clone(),
        licence: list.stdlib.licence.clone(),
    };
    let packages = list.packages.iter().chain(&list.hosts).map(|package| CorpusEntry {
        name: package.name.clone(),
        version: package.version.clone(),
        licence: package.licence.clone(),
    });
    let (pretrain, finetune) = (&recipe.pretrain, &recipe.finetune.stage);
    Ok(Training {
        command: "cargo xtask train".into(),
        seed: Some(recipe.seed),
        steps: Some((pretrain.steps() + finetune.steps()) as u64),
        tokens: Some((pretrain.steps() * pretrain.batch_tokens + finetune.steps() * finetune.batch_tokens) as u64),
        corpus: std::iter::once(stdlib).chain(packages).collect(),
        dataset: Some(DatasetEntry {
            rows: rows.len() as u64,
            groups: groups.len() as u64,
            sha256: hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
        }),
        notes: "Steps and tokens are pre-training and fine-tuning together; fine-tuning's include padding.".into(),
    })
}
