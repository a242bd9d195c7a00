//! The steps in order, and what each reads and leaves.

use crate::sources::{authored, generated, labels, with_sources};
use crate::{Arguments, Step, measure};
use burn::module::Module;
use burn::tensor::Device;
use cloister_data::{Dataset, NO_WEAKNESS, Row, Split, batch, rows};
use cloister_engine::{PromptTemplate, Tokenizer};
use cloister_package::{CorpusEntry, DatasetEntry, Training};
use cloister_train::batch::ROUND;
use cloister_train::corpus::{CorpusList, CorpusUnit};
use cloister_train::examples::{ExampleMaker, Item};
use cloister_train::export::HeldOut;
use cloister_train::finetune::Answers;
use cloister_train::recipe::Recipe;
use cloister_train::{TrainError, bpe, corpus, export, finetune, optimise, pretrain, tokens};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

/// Functions of the validation packages that the threshold is set on.
const ORDINARY_FUNCTIONS: usize = 1200;

/// A run of the training: what it reads, and where its steps leave their work.
struct Run<'a> {
    arguments: &'a Arguments,
    recipe: Recipe,
    dataset: Dataset,
    list: CorpusList,
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
    let run = Run {
        arguments,
        recipe,
        dataset,
        list: CorpusList::read(&arguments.corpus)?,
        corpus: arguments.work.join("corpus"),
        pretrain: arguments.work.join("pretrain"),
        finetune: arguments.work.join("finetune"),
    };
    match &arguments.step {
        Step::All => {
            corpus::prepare(&run.list, &run.corpus)?;
            if !run.corpus.join("valid.u16").exists() {
                run.train_tokenizer()?;
            }
            run.pretrain()?;
            run.finetune()?;
            run.export()
        }
        Step::Corpus => corpus::prepare(&run.list, &run.corpus),
        Step::Tokenizer => run.train_tokenizer(),
        Step::Pretrain => run.pretrain(),
        Step::Finetune => run.finetune(),
        Step::Samples { tokens } => run.print_samples(*tokens),
        Step::Export => run.export(),
        Step::Figures { input } => measure::note_figures(input, &arguments.output),
        Step::Ordinary { rows, count } => {
            measure::ordinary_rows(corpus::measure_units(&run.list, &run.corpus)?, run.recipe.seed, rows, *count)
        }
        Step::Generated { rows, count } => {
            let hosts = corpus::measure_units(&run.list, &run.corpus)?.into_iter().flatten().collect();
            measure::generated_rows(hosts, run.recipe.seed, &run.dataset, rows, *count)
        }
        Step::Baseline { kind, input, predictions } => {
            if input.len() != predictions.len() {
                return Err(TrainError::Arguments("give as many --predictions as --input".into()));
            }
            let files: Vec<(PathBuf, PathBuf)> = input.iter().cloned().zip(predictions.iter().cloned()).collect();
            measure::baseline(&run.recipe, &run.dataset, &arguments.output, *kind, &files)
        }
    }
}

impl Run<'_> {
    fn train_tokenizer(&self) -> Result<(), TrainError> {
        let units = corpus::read_units(&self.corpus.join("units.jsonl"))?;
        let path = self.corpus.join("tokenizer.json");
        if !path.exists() {
            bpe::train(&units, &labels(&self.dataset), self.recipe.model.vocab_size, &path)?;
        }
        let tokenizer = Tokenizer::from_bytes(&self.tokenizer_bytes()?)?;
        tokens::write(&units, Split::Train, &tokenizer, self.recipe.seed, &self.corpus.join("train.u16"))?;
        tokens::write(&units, Split::Valid, &tokenizer, self.recipe.seed, &self.corpus.join("valid.u16"))
    }

    fn tokenizer_bytes(&self) -> Result<Vec<u8>, TrainError> {
        let path = self.corpus.join("tokenizer.json");
        std::fs::read(&path).map_err(|_| TrainError::Missing(path))
    }

    fn pretrain(&self) -> Result<(), TrainError> {
        let train = tokens::read(&self.corpus.join("train.u16"))?;
        let valid = tokens::read(&self.corpus.join("valid.u16"))?;
        pretrain::run(&self.recipe, &train, &valid, &self.pretrain, &Device::flex().autodiff())
    }

    fn maker(&self) -> Result<ExampleMaker, TrainError> {
        let tokenizer = Tokenizer::from_bytes(&self.tokenizer_bytes()?)?;
        let template = PromptTemplate::new(&tokenizer, &self.recipe.prompt.prefix, &self.recipe.prompt.suffix)?;
        let labels = labels(&self.dataset);
        let mut answers = Vec::with_capacity(labels.len());
        for label in &labels {
            let token = bpe::answer_token(label);
            answers.push(tokenizer.token_id(&token).ok_or_else(|| TrainError::Content {
                path: self.corpus.join("tokenizer.json"),
                reason: format!("it has no token {token}, because the data set has changed"),
            })?);
        }
        let none = labels.iter().position(|label| label == NO_WEAKNESS).unwrap_or(0);
        let labels: BTreeMap<String, usize> = labels.into_iter().zip(0..).collect();
        let answers = Answers { tokens: answers, none };
        Ok(ExampleMaker { tokenizer, template, labels, answers, context: self.recipe.model.n_positions })
    }

    fn finetune(&self) -> Result<(), TrainError> {
        let maker = self.maker()?;
        let device = Device::flex().autodiff();
        let initial = optimise::finished(&self.pretrain, &self.recipe.pretrain, &self.recipe.model, &device)?;
        let valid = authored(&self.dataset, Split::Valid, &maker)?;
        with_sources(&self.recipe, &self.dataset, &self.list, &self.corpus, |sources| {
            finetune::run(&self.recipe, initial, sources, &valid, &maker, &self.finetune, &device)
        })
    }

    fn print_samples(&self, tokens: usize) -> Result<(), TrainError> {
        let maker = self.maker()?;
        with_sources(&self.recipe, &self.dataset, &self.list, &self.corpus, |sources| {
            let mut settings = self.recipe.finetune.clone();
            settings.stage.batch_tokens = tokens.div_ceil(ROUND);
            for item in sources.round(&maker, &settings, self.recipe.seed, 0)?.into_iter().flatten() {
                for example in &item.examples {
                    let answer =
                        maker.labels.iter().find(|(_, index)| **index == example.label).map(|(label, _)| label);
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

    fn export(&self) -> Result<(), TrainError> {
        let maker = self.maker()?;
        let device = Device::flex();
        let model =
            optimise::finished(&self.finetune, &self.recipe.finetune.stage, &self.recipe.model, &device)?.valid();
        let mut hosts: Vec<CorpusUnit> = corpus::read_units(&self.corpus.join("units.jsonl"))?;
        hosts.retain(|unit| unit.split == Split::Valid && unit.function);
        hosts.shuffle(&mut StdRng::seed_from_u64(self.recipe.seed));
        let mut ordinary = Vec::new();
        for host in &hosts {
            if let Some(example) = maker.ordinary(host)? {
                ordinary.push(Item { examples: vec![example], twins: false });
            }
            if ordinary.len() == ORDINARY_FUNCTIONS {
                break;
            }
        }
        let mut labelled = authored(&self.dataset, Split::Valid, &maker)?;
        let generated = generated(&self.recipe, &self.dataset, &hosts, &maker, labelled.len())?;
        labelled.extend(generated);
        let held_out = HeldOut { labelled: &labelled, ordinary: &ordinary };
        let training = self.provenance()?;
        let bytes = self.tokenizer_bytes()?;
        export::run(&self.recipe, &model, &held_out, &maker, training, &bytes, &self.arguments.output)
    }

    fn provenance(&self) -> Result<Training, TrainError> {
        let rows: Vec<Row> = rows(&self.dataset)?;
        let mut hash = Sha256::new();
        for row in &rows {
            hash.update(serde_json::to_vec(row).unwrap_or_default());
        }
        for module in &self.dataset.modules {
            hash.update(&module.text);
            for change in &module.changes {
                hash.update(serde_json::to_vec(change).unwrap_or_default());
            }
        }
        let groups: HashSet<&String> = rows.iter().map(|row| &row.group).collect();
        let stdlib = CorpusEntry {
            name: "the Python standard library".into(),
            version: self.list.stdlib.version.clone(),
            licence: self.list.stdlib.licence.clone(),
        };
        let packages = self.list.packages.iter().chain(&self.list.hosts).map(|package| CorpusEntry {
            name: package.name.clone(),
            version: package.version.clone(),
            licence: package.licence.clone(),
        });
        let (pretrain, finetune) = (&self.recipe.pretrain, &self.recipe.finetune.stage);
        Ok(Training {
            command: "cargo xtask train".into(),
            seed: Some(self.recipe.seed),
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
}
