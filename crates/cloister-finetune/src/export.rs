//! From a tuned model to a package.

use crate::merge::merged;
use crate::{Base, FinetuneError, Settings, Tuned, saved};
use burn::tensor::Device;
use cloister_engine::{Backend, Engine};
use cloister_model::named_tensors;
use cloister_package::fs::{PackageWriter, read_package, update_manifest};
use cloister_package::writer::KeptTensor;
use cloister_package::{Calibration, Manifest, Weights};
use std::path::Path;

/// What the self-test reads where the base's reads nothing.
const SELF_TEST: &str = "import os\n\ndef remove(name):\n    os.system(\"rm -r \" + name)\n";

/// Merges what was learned, and writes the package to `folder` with the matrices stored as `weights` says. Its self-test is
/// computed with the weights as they are stored. The base's calibration and figures are left out: they were measured on
/// another model.
///
/// # Errors
/// [`FinetuneError`] where the package cannot be written or read again.
pub fn package(
    base: &Base,
    tuned: &Tuned,
    settings: &Settings,
    weights: Weights,
    folder: &Path,
) -> Result<Manifest, FinetuneError> {
    let model = merged(tuned)?;
    let mut manifest = base.manifest.clone();
    manifest.id = format!("{}-{}", base.manifest.id, settings.method.name());
    manifest.name = format!("{} ({})", base.manifest.name, settings.method.name());
    manifest.calibration = Calibration::default();
    manifest.threshold = 0.5;
    manifest.evaluation = Vec::new();
    manifest.weights = weights;
    manifest.training.command = "cloister finetune".into();
    manifest.training.seed = Some(settings.seed);
    manifest.training.notes = format!(
        "Fine-tuned by {} from the package {} in {} steps of {} examples at a peak learning rate of {:e}. {}",
        settings.method.name(),
        base.hash,
        settings.steps,
        settings.batch,
        settings.learning_rate,
        base.manifest.training.notes
    );
    manifest.card.trained_on.push("Code of its user's, in fine-tuning; this program does not know it.".into());
    let mut writer = PackageWriter::new(folder)?;
    for (name, data) in named_tensors(&model) {
        let shape = data.shape().to_vec();
        let columns = shape.last().copied().unwrap_or(0);
        let values: Vec<f32> = data.iter::<f32>().collect();
        drop(data);
        writer.add(KeptTensor::new(&name, &shape, &manifest.weights, |row, column| values[row * columns + column])?)?;
    }
    drop(model);
    let tolerance = manifest.self_test.tolerance;
    let text = if manifest.self_test.text.is_empty() { SELF_TEST } else { &manifest.self_test.text }.to_string();
    writer.finish(manifest, &base.tokenizer_json)?;
    let device = Device::flex();
    let engine = Engine::new(read_package(folder, device)?, Backend::Cpu, "this processor")?;
    let pinned = pollster::block_on(engine.pin_self_test(&text, tolerance))?;
    Ok(update_manifest(folder, |manifest| manifest.self_test = pinned)?)
}

/// Merges the adapter in a folder into the package that it was tuned on, and writes a package.
///
/// # Errors
/// [`FinetuneError::OtherBase`] where it was tuned on another, and as [`package`].
pub fn merge_adapter(base: &Path, adapter: &Path, weights: Weights, folder: &Path) -> Result<Manifest, FinetuneError> {
    let run = saved::read_adapter_info(adapter)?;
    let base = Base::read(base, Device::flex())?;
    if base.hash != run.base {
        return Err(FinetuneError::OtherBase { path: adapter.into(), expected: run.base, found: base.hash });
    }
    let adapters = saved::read_adapter(adapter, &run.settings, base.model.config(), &Device::flex())?;
    let tuned = Tuned { base: base.model.clone(), adapters: Some(adapters) };
    package(&base, &tuned, &run.settings, weights, folder)
}
