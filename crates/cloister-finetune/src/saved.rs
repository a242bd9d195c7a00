//! What a run leaves on the disk: checkpoints to go on from, and the adapter.

use crate::error::at;
use crate::{Adapters, FinetuneError, Settings, Tuned, adapter};
use burn::module::Module;
use burn::optim::ModuleOptimizer;
use burn::tensor::Device;
use cloister_model::CodeGenConfig;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The weights of an adapter.
pub const ADAPTER_FILE: &str = "adapter.safetensors";

/// What an adapter is.
pub const ADAPTER_INFO: &str = "adapter.json";

/// What makes two runs the same: only such a run is resumed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Run {
    /// The SHA-256 of the base's `model.json`.
    pub base: String,
    /// The base's id.
    pub base_id: String,
    /// The SHA-256 of the examples.
    pub examples: String,
    /// The settings.
    pub settings: Settings,
}

/// Holds a run's folder to its run: notes the run where the folder is new.
///
/// # Errors
/// [`FinetuneError::OtherRun`] where the folder belongs to another.
pub fn claim(folder: &Path, run: &Run) -> Result<(), FinetuneError> {
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    let path = folder.join("run.json");
    let Ok(text) = std::fs::read_to_string(&path) else { return write_json(&path, run) };
    let found: Run = serde_json::from_str(&text)
        .map_err(|error| FinetuneError::Saved { path: path.clone(), reason: error.to_string() })?;
    let differs = [
        (found.base != run.base, "another base"),
        (found.examples != run.examples, "other rows"),
        (found.settings != run.settings, "other values"),
    ];
    match differs.into_iter().find(|(differs, _)| *differs) {
        Some((_, what)) => Err(FinetuneError::OtherRun { path: folder.into(), what: what.into() }),
        None => Ok(()),
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FinetuneError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| FinetuneError::Saved { path: path.into(), reason: error.to_string() })?;
    std::fs::write(path, text + "\n").map_err(at(path))
}

/// Writes what is learned, the optimiser and the step, then the mark that makes them count; removes the checkpoint before.
///
/// # Errors
/// [`FinetuneError::Saved`] or [`FinetuneError::Io`] where a file cannot be written.
pub fn save(folder: &Path, tuned: &Tuned, optimizer: &ModuleOptimizer, step: usize) -> Result<(), FinetuneError> {
    let [weights, moments] = files(folder, step);
    match &tuned.adapters {
        Some(adapters) => adapters.clone().save_file(&weights),
        None => tuned.base.clone().save_file(&weights),
    }
    .map_err(|error| FinetuneError::Saved { path: weights, reason: error.to_string() })?;
    optimizer.save(&moments).map_err(|error| FinetuneError::Saved { path: moments, reason: error.to_string() })?;
    let mark = folder.join("latest");
    let previous = marked(folder)?;
    std::fs::write(&mark, step.to_string()).map_err(at(&mark))?;
    if let Some(previous) = previous.filter(|previous| *previous != step) {
        for file in files(folder, previous) {
            // A failure to remove costs disk space only.
            let _ = std::fs::remove_file(existing(&file));
        }
    }
    Ok(())
}

/// Takes up the last checkpoint in a folder, and tells its step; `None` where there is none.
///
/// burn puts the optimiser's state on its default device first. A program that is built with a GPU backend has to set
/// `BURN_DEVICE` (to `flex`, the CPU) before it begins, or this asks for a GPU.
///
/// # Errors
/// [`FinetuneError::Saved`] where it cannot be read.
pub fn resume(
    folder: &Path,
    tuned: &mut Tuned,
    optimizer: &mut ModuleOptimizer,
    fresh: impl FnOnce() -> ModuleOptimizer,
) -> Result<Option<usize>, FinetuneError> {
    let Some(step) = marked(folder)? else { return Ok(None) };
    let [weights, moments] = files(folder, step);
    let fault = |path: &Path, reason: String| FinetuneError::Saved { path: path.into(), reason };
    match &tuned.adapters {
        Some(adapters) => {
            let loaded = adapters.clone().try_load_file(&weights);
            tuned.adapters = Some(loaded.map_err(|error| fault(&weights, error.to_string()))?);
        }
        None => {
            let loaded = tuned.base.clone().try_load_file(&weights);
            tuned.base = loaded.map_err(|error| fault(&weights, error.to_string()))?;
        }
    }
    *optimizer = fresh().load(&moments).map_err(|error| fault(&moments, error.to_string()))?;
    Ok(Some(step))
}

/// The step of the last checkpoint.
fn marked(folder: &Path) -> Result<Option<usize>, FinetuneError> {
    let mark = folder.join("latest");
    let Ok(text) = std::fs::read_to_string(&mark) else { return Ok(None) };
    match text.trim().parse() {
        Ok(step) => Ok(Some(step)),
        Err(_) => Err(FinetuneError::Saved { path: mark, reason: "the mark is not a number".into() }),
    }
}

fn files(folder: &Path, step: usize) -> [PathBuf; 2] {
    ["weights", "optimizer"].map(|what| folder.join(format!("step-{step:06}.{what}")))
}

/// burn may add its own ending to a file name.
fn existing(path: &Path) -> PathBuf {
    let mut with_ending = path.as_os_str().to_owned();
    with_ending.push(".bpk");
    let with_ending = PathBuf::from(with_ending);
    if with_ending.exists() { with_ending } else { path.to_path_buf() }
}

/// Writes an adapter: `adapter.safetensors` and, last, `adapter.json`.
///
/// # Errors
/// [`FinetuneError`] where a file cannot be written.
pub fn write_adapter(folder: &Path, adapters: &Adapters, run: &Run) -> Result<(), FinetuneError> {
    let path = folder.join(ADAPTER_FILE);
    let fault = |reason: String| FinetuneError::Saved { path: path.clone(), reason };
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = (adapters.named().into_iter())
        .map(|(name, data)| {
            let bytes = data.iter::<f32>().flat_map(f32::to_le_bytes).collect();
            (name, data.shape().to_vec(), bytes)
        })
        .collect();
    let mut views = Vec::with_capacity(tensors.len());
    for (name, shape, bytes) in &tensors {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(|error| fault(error.to_string()))?;
        views.push((name, view));
    }
    let bytes = safetensors::serialize(views, None).map_err(|error| fault(error.to_string()))?;
    std::fs::write(&path, bytes).map_err(at(&path))?;
    write_json(&folder.join(ADAPTER_INFO), run)
}

/// What an adapter is, from its `adapter.json`.
///
/// # Errors
/// [`FinetuneError`] where it cannot be read.
pub fn read_adapter_info(folder: &Path) -> Result<Run, FinetuneError> {
    let path = folder.join(ADAPTER_INFO);
    let text = std::fs::read_to_string(&path).map_err(at(&path))?;
    let run: Run =
        serde_json::from_str(&text).map_err(|error| FinetuneError::Saved { path, reason: error.to_string() })?;
    run.settings.validate()?;
    Ok(run)
}

/// Reads an adapter for a model of these sizes.
///
/// # Errors
/// [`FinetuneError`] where it cannot be read, or does not fit.
pub fn read_adapter(
    folder: &Path,
    settings: &Settings,
    config: &CodeGenConfig,
    device: &Device,
) -> Result<Adapters, FinetuneError> {
    let path = folder.join(ADAPTER_FILE);
    let tensors = adapter::parse(&path, &std::fs::read(&path).map_err(at(&path))?)?;
    Adapters::from_named(settings, config, tensors, device).map_err(|reason| FinetuneError::Saved { path, reason })
}
