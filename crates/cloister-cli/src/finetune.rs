//! `cloister finetune` and `cloister merge`.

use crate::Outcome;
use crate::comparison::Comparison;
use crate::error::CliError;
use crate::finetune_args::{FinetuneCommand, MergeCommand, Preset};
use crate::progress::Steps;
use crate::{device, import};
use cloister_finetune::data::{self, limited};
use cloister_finetune::examples::ExampleMaker;
use cloister_finetune::train::{self, Step};
use cloister_finetune::{Base, Method, Row, Schedule, Settings, Split, adapter, base, export};
use cloister_package::{Manifest, WeightType, Weights, fs::read_manifest};
use std::path::{Path, PathBuf};

/// Steps between two lines of the log on stderr.
const TOLD: usize = 10;

/// Rows that the study learned from, and rows that it measured on.
const STUDY: (usize, usize) = (500, 100);

/// Tunes by each method from each seed, exports, and measures base and tuned packages on the rows held out.
pub fn run(command: &FinetuneCommand) -> Result<Outcome, CliError> {
    let split = rows(command)?;
    let folder = base_folder(command)?;
    let manifest = read_manifest(&folder).map_err(|source| CliError::Package { folder: folder.clone(), source })?;
    let runs = runs(command);
    let mut tuned = Vec::with_capacity(runs.len());
    for (method, seed) in &runs {
        let place = match runs.len() {
            1 => command.output.clone(),
            _ => command.output.join(format!("{}-seed-{seed}", method.name())),
        };
        let package = command.export.clone().filter(|_| runs.len() == 1).unwrap_or_else(|| place.join("package"));
        tune(command, *method, *seed, &folder, &manifest, &split.train, &place, &package)?;
        tuned.push((format!("{}, seed {seed}", method.name()), package));
    }
    if split.held_out.is_empty() {
        eprintln!("no rows are held out, so nothing was measured; give some with --held-out FILE");
        return Ok(Outcome::Nothing);
    }
    let packages = std::iter::once(("base, not tuned".to_string(), folder)).chain(tuned);
    Comparison::measure(packages, &split.held_out, command.device)?.write(&command.output)?;
    Ok(Outcome::Nothing)
}

fn runs(command: &FinetuneCommand) -> Vec<(Method, u64)> {
    let mut methods: Vec<Method> = command.method.iter().map(|method| (*method).into()).collect();
    if methods.is_empty() {
        methods.push(if command.preset == Some(Preset::Study) { Method::Full } else { Method::Lora });
    }
    methods.iter().flat_map(|method| command.seed.iter().map(|seed| (*method, *seed))).collect()
}

fn rows(command: &FinetuneCommand) -> Result<Split, CliError> {
    // The same rows whatever seed the training has: runs are compared on them.
    const SEED: u64 = 0;
    let mut split = Split::new(data::read(&command.data)?, command.held_out_share, SEED);
    if let Some(path) = &command.held_out {
        split.train.append(&mut split.held_out);
        split.held_out = data::read(path)?;
    }
    let study = command.preset.map(|Preset::Study| STUDY);
    if let Some(most) = command.rows.or(study.map(|(learned, _)| learned)) {
        split.train = limited(split.train, most, SEED);
    }
    if let (Some((_, most)), None) = (study, &command.held_out) {
        split.held_out = limited(split.held_out, most, SEED);
    }
    Ok(split)
}

/// The package to start from; a checkpoint is imported first.
fn base_folder(command: &FinetuneCommand) -> Result<PathBuf, CliError> {
    let options = import::options_for(&command.base, Weights::plain(WeightType::F32), None, command.prompt.as_deref())?;
    let steps = Steps::things("importing");
    let folder = base::package_of(&command.base, &command.output.join("base"), || options, &mut |done, total| {
        steps.at(done as u64, total as u64);
    });
    steps.finish();
    Ok(folder?)
}

#[expect(clippy::too_many_arguments, reason = "each is another thing, and nothing else needs them together")]
fn tune(
    command: &FinetuneCommand,
    method: Method,
    seed: u64,
    base: &Path,
    manifest: &Manifest,
    rows: &[Row],
    folder: &Path,
    package: &Path,
) -> Result<(), CliError> {
    let place = device::training(command.device)?;
    let base = Base::read(base, place.device_for(method))?;
    let sequence = command.sequence.unwrap_or(512).min(manifest.architecture.config.n_positions);
    let made = ExampleMaker::new(&base, sequence)?.make(rows)?;
    let settings = settings(command, method, seed, sequence, made.examples.len());
    let learned = adapter::learned(&settings, &manifest.architecture.config);
    eprintln!(
        "{}, seed {seed}: {} examples of {} rows, {learned} of {} parameters are learned, {} steps",
        method.name(),
        made.examples.len(),
        rows.len(),
        manifest.architecture.config.num_params(),
        settings.steps
    );
    for (count, why) in [(made.unknown, "of classes that the base has no answer for"), (made.empty, "without code")] {
        if count > 0 {
            eprintln!("{count} rows {why} are left out");
        }
    }
    let steps = Steps::things(method.name());
    let tuned = train::run(&base, &made.examples, &settings, folder, &place, |step: &Step| {
        steps.at(step.step as u64, step.steps as u64);
        if step.step.is_multiple_of(TOLD) || step.step == step.steps || step.step == 1 {
            let speed = step.tokens as f64 / step.seconds;
            steps.tell(&format!(
                "step {:>5}/{}  loss {:.4}  gradient {:.3}  lr {:.2e}  {:.1} s  {speed:.0} tokens/s",
                step.step, step.steps, step.loss, step.norm, step.rate, step.seconds
            ));
        }
    });
    steps.finish();
    let manifest = export::package(&base, &tuned?, &settings, import::weights(command.quantize), package)?;
    eprintln!("{}: {}", package.display(), manifest.training.notes);
    Ok(())
}

fn settings(command: &FinetuneCommand, method: Method, seed: u64, sequence: usize, examples: usize) -> Settings {
    let study = command.preset == Some(Preset::Study);
    let batch = command.batch.unwrap_or(if study { 8 } else { 16 });
    let epochs = command.epochs.unwrap_or(3);
    let steps = command.steps.unwrap_or((epochs * examples).div_ceil(batch.max(1)));
    let schedule = command.schedule.map_or(if study { Schedule::Linear } else { Schedule::Cosine }, Schedule::from);
    Settings {
        method,
        rank: command.rank,
        alpha: command.alpha,
        targets: command.targets.iter().map(|target| (*target).into()).collect(),
        steps,
        batch,
        micro_batch: command.micro_batch,
        sequence,
        learning_rate: command.learning_rate.unwrap_or(method.default_learning_rate()),
        warmup: command.warmup.unwrap_or(steps / 20),
        schedule,
        weight_decay: command.weight_decay,
        clip: command.clip,
        seed,
        checkpoint_every: command.checkpoint_every,
    }
}

/// `cloister merge`.
pub fn merge(command: &MergeCommand) -> Result<Outcome, CliError> {
    let weights = import::weights(command.quantize);
    let manifest = export::merge_adapter(&command.base, &command.adapter, weights, &command.output)?;
    eprintln!("{}: {}", command.output.display(), manifest.training.notes);
    Ok(Outcome::Nothing)
}
