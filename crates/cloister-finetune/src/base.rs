//! The model that fine-tuning starts from.

use crate::FinetuneError;
use crate::error::at;
use burn::tensor::Device;
use cloister_checkpoint::{ImportOptions, import::import};
use cloister_engine::{AnswerTrie, PromptMaker, PromptTemplate, Tokenizer};
use cloister_model::{CodeGen, CodeGenBuilder};
use cloister_package::{MANIFEST_FILE, Manifest, fs::read_package_as};
use std::path::{Path, PathBuf};

/// A package with a model that can be trained.
pub struct Base {
    /// Its `model.json`.
    pub manifest: Manifest,
    /// The SHA-256 of its `model.json`, which names the whole package.
    pub hash: String,
    /// The file of its tokenizer.
    pub tokenizer_json: Vec<u8>,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Its model, in f32.
    pub model: CodeGen,
}

impl Base {
    /// Loads the package in a folder: to a device with autodiff where all weights are learned, else to one without.
    ///
    /// # Errors
    /// [`FinetuneError`] where the package is faulty.
    pub fn read(folder: &Path, device: Device) -> Result<Self, FinetuneError> {
        let package = read_package_as::<CodeGenBuilder>(folder, device, |_, _| ())?;
        let tokenizer = Tokenizer::from_bytes(&package.tokenizer).map_err(cloister_engine::EngineError::from)?;
        Ok(Self {
            manifest: package.manifest,
            hash: package.hash,
            tokenizer_json: package.tokenizer,
            tokenizer,
            model: package.model,
        })
    }

    /// What cuts code into the prompts that the engine would read, with `answer` tokens left free behind them and none
    /// longer than `sequence` with those.
    ///
    /// # Errors
    /// [`FinetuneError::Setting`] where the sequence leaves no room for code.
    pub fn prompt_maker(&self, sequence: usize, answer: usize) -> Result<PromptMaker, FinetuneError> {
        let prompt = &self.manifest.prompt;
        let template = PromptTemplate { prefix: prompt.prefix.tokens.clone(), suffix: prompt.suffix.tokens.clone() };
        let room = sequence.min(self.manifest.architecture.config.n_positions).saturating_sub(answer);
        if template.budget(room) < MIN_CODE {
            return Err(FinetuneError::Setting {
                name: "--sequence",
                problem: format!(
                    "leaves {} tokens for code; prompt and answer take {}, give at least {} more than that",
                    template.budget(room),
                    template.prefix.len() + template.suffix.len() + answer,
                    MIN_CODE
                ),
            });
        }
        Ok(PromptMaker::new(self.tokenizer.clone(), template, room))
    }

    /// The answers as the engine reads them.
    ///
    /// # Errors
    /// [`FinetuneError::Engine`] where one answer is the beginning of another.
    pub fn answers(&self) -> Result<AnswerTrie, FinetuneError> {
        Ok(AnswerTrie::new(self.manifest.labels.iter().map(|label| label.answer.tokens.as_slice()))?)
    }
}

/// Fewer tokens than this hold no function.
const MIN_CODE: usize = 8;

/// The folder of the package to start from: the folder given where it holds one, else `place`, where the checkpoint in the
/// folder is imported to, in f32 so that nothing is rounded. An import that is there already is used again.
///
/// # Errors
/// [`FinetuneError::NoBase`] where the folder holds neither, and what the import says.
pub fn package_of(
    folder: &Path,
    place: &Path,
    options: impl FnOnce() -> ImportOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<PathBuf, FinetuneError> {
    if folder.join(MANIFEST_FILE).is_file() {
        return Ok(folder.to_path_buf());
    }
    if !folder.join("config.json").is_file() {
        return Err(FinetuneError::NoBase(folder.into()));
    }
    if !place.join(MANIFEST_FILE).is_file() {
        std::fs::create_dir_all(place).map_err(at(place))?;
        import(folder, place, &options(), progress)?;
    }
    Ok(place.to_path_buf())
}
