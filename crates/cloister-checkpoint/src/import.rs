//! From a checkpoint to a package, one tensor at a time.

use crate::{CheckpointError, config, tokenizer, weights};
use burn::tensor::Device;
use cloister_engine::{AnswerTrie, PromptMaker, PromptTemplate, Tokenizer};
use cloister_model::import::hugging_face::{Layout, layout};
use cloister_model::{LayerwiseForward, ModelError, tensor_shapes};
use cloister_package::fs::PackageWriter;
use cloister_package::writer::KeptTensor;
use cloister_package::{
    Architecture, Calibration, Card, Label, Manifest, NONE_LABEL, Prompt, SCHEMA, SelfTest, TokenText, Tolerance,
    Training, Weights,
};
use std::collections::BTreeMap;
use std::path::Path;

/// What the self-test of an imported model reads.
const SELF_TEST: &str = "import os\n\ndef remove(name):\n    os.system(\"rm -r \" + name)\n";

/// How a package is to be made of a checkpoint.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// How the matrices are stored.
    pub weights: Weights,
    /// The package's id, without spaces.
    pub id: String,
    /// The model's name for people.
    pub name: String,
    /// What stands before the code.
    pub prefix: String,
    /// What stands behind it.
    pub suffix: String,
    /// What the model answers for each label, "none" among them.
    pub answers: Vec<(String, String)>,
}

/// How far an import is: tensors done, and how many there are.
pub type Progress<'p> = &'p mut dyn FnMut(usize, usize);

/// Makes a package of the checkpoint in `folder` and writes it to `output`. No more than one tensor is held at a time, and of
/// the model no more than one block: its self-test is computed on the way, with the weights as they are stored.
///
/// # Errors
/// [`CheckpointError`] names the file and its fault. What stood in `output` is left as it was then.
pub fn import(
    folder: &Path,
    output: &Path,
    options: &ImportOptions,
    progress: Progress<'_>,
) -> Result<Manifest, CheckpointError> {
    let mut config = config::read(folder)?;
    let mut stored = BTreeMap::new();
    for (name, tensor) in weights::open(folder)? {
        let file = tensor.file.display().to_string();
        let tensor_fault = |source| CheckpointError::Tensor { file: file.clone(), source };
        // Fine-tunes cut the rows that no token has, and some keep the old size in their configuration.
        if name.ends_with("wte.weight")
            && let &[rows, _] = tensor.shape.as_slice()
        {
            config.vocab_size = rows;
        }
        let Some((short, layout)) = layout(&config, &name, &tensor.shape).map_err(tensor_fault)? else { continue };
        if stored.insert(short, (name.clone(), layout, tensor)).is_some() {
            return Err(tensor_fault(ModelError::DuplicateTensor(name)));
        }
    }
    let tokenizer_json = tokenizer::read(folder, config.vocab_size)?;
    let tokenizer = Tokenizer::from_bytes(&tokenizer_json).map_err(cloister_engine::EngineError::from)?;
    let mut manifest = manifest(&config, &tokenizer, options)?;
    let answers = AnswerTrie::new(manifest.labels.iter().map(|label| label.answer.tokens.as_slice()))?;
    let template =
        PromptTemplate { prefix: manifest.prompt.prefix.tokens.clone(), suffix: manifest.prompt.suffix.tokens.clone() };
    let room = config.n_positions.saturating_sub(answers.depth());
    manifest.self_test.tokens = PromptMaker::new(tokenizer, template, room).first(SELF_TEST)?;
    let mut pass = self_test(&manifest, &answers)?;

    let shapes = tensor_shapes(&config);
    let (total, mut done) = (shapes.len(), 0);
    let mut writer = PackageWriter::new(output)?;
    for (name, shape) in shapes {
        let Some((original, layout, tensor)) = stored.remove(&name) else {
            return Err(CheckpointError::Tensor {
                file: folder.display().to_string(),
                source: ModelError::Missing { count: total - done, first: name },
            });
        };
        let fault = |source| CheckpointError::Tensor { file: tensor.file.display().to_string(), source };
        let expected: Vec<usize> =
            if layout == Layout::Same { shape.clone() } else { shape.iter().rev().copied().collect() };
        if tensor.shape != expected {
            return Err(fault(ModelError::Shape { name: original, expected, found: tensor.shape.clone() }));
        }
        let raw = tensor.read(&original)?;
        let columns = tensor.shape.last().copied().unwrap_or(0);
        let at = |row: usize, column: usize| {
            let (row, column) = if shape.len() == 2 { layout.place(row, column) } else { (row, column) };
            raw.at(row * columns + column)
        };
        let kept = KeptTensor::new(&name, &shape, &manifest.weights, at)?;
        drop(raw);
        pass.add(&name, &shape, |row, column| kept.at(row, column)).map_err(fault)?;
        writer.add(kept)?;
        done += 1;
        progress(done, total);
    }
    if let Some((_, (original, _, tensor))) = stored.into_iter().next() {
        let file = tensor.file.display().to_string();
        return Err(CheckpointError::Tensor { file, source: ModelError::UnknownTensor(original) });
    }
    manifest.self_test.logits = answers.scores(&pass.finish()?);
    Ok(writer.finish(manifest, &tokenizer_json)?)
}

/// The pass over the self-test's prompt with the answers' trie behind it.
fn self_test(manifest: &Manifest, answers: &AnswerTrie) -> Result<LayerwiseForward, ModelError> {
    let prompt = &manifest.self_test.tokens;
    let last = prompt.len().saturating_sub(1);
    let chain = (0..prompt.len()).map(|place| place.checked_sub(1));
    let nodes = answers.parents().iter().map(|parent| Some(parent.map_or(last, |parent| prompt.len() + parent)));
    let parents: Vec<Option<usize>> = chain.chain(nodes).collect();
    let ids = [prompt.as_slice(), answers.inner()].concat();
    let asked = std::iter::once(last).chain(prompt.len()..ids.len()).collect();
    LayerwiseForward::new(
        &manifest.architecture.config,
        ids,
        &parents,
        asked,
        answers.tokens().to_vec(),
        &Device::flex(),
    )
}

/// With which every CodeGen ends a text.
const END_OF_TEXT: &str = "<|endoftext|>";

/// Everything but files and self-test.
fn manifest(
    config: &cloister_model::CodeGenConfig,
    tokenizer: &Tokenizer,
    options: &ImportOptions,
) -> Result<Manifest, CheckpointError> {
    let text = |text: &str| -> Result<TokenText, CheckpointError> {
        let tokens = tokenizer.encode(text).map_err(cloister_engine::EngineError::from)?.ids;
        Ok(TokenText { text: text.into(), tokens })
    };
    let mut labels = Vec::with_capacity(options.answers.len());
    for (label, answer) in &options.answers {
        labels.push(Label { label: label.clone(), answer: text(answer)? });
    }
    Ok(Manifest {
        schema: SCHEMA,
        id: options.id.clone(),
        name: options.name.clone(),
        architecture: Architecture::codegen(config.clone()),
        tokenizer: Default::default(),
        prompt: Prompt {
            prefix: text(&options.prefix)?,
            suffix: text(&options.suffix)?,
            line_evidence: false,
            stop: tokenizer.token_id(END_OF_TEXT).into_iter().collect(),
        },
        labels,
        calibration: Calibration::default(),
        threshold: 0.5,
        training: Training { notes: "Imported from a Hugging Face checkpoint.".into(), ..Training::default() },
        evaluation: Vec::new(),
        card: Card {
            trained_on: vec!["What the checkpoint was trained on; this program does not know it.".into()],
            cannot_see: vec![
                "Its probabilities are not calibrated, and nothing has been measured: its answers are places to look at.".into(),
                "Flows from one function or file into another: each function is judged with the imports and globals it names.".into(),
            ],
        },
        self_test: SelfTest {
            text: SELF_TEST.into(),
            tokens: Vec::new(),
            logits: vec![0.0; options.answers.len()],
            tolerance: Tolerance { cpu: 1e-2, webgpu: 5e-2 },
        },
        weights: options.weights.clone(),
    })
}

/// The study's prompt, and what it has a model answer: the CWE id, or "No vulnerability".
pub fn study_options(
    weights: Weights,
    id: String,
    name: String,
    labels: impl IntoIterator<Item = String>,
) -> ImportOptions {
    let none = (NONE_LABEL.to_string(), "No vulnerability".to_string());
    ImportOptions {
        weights,
        id,
        name,
        prefix: "### Instruction:\nName the CWE weakness of this Python code.\n### Input:\n".into(),
        suffix: "### Output:\n".into(),
        answers: std::iter::once(none).chain(labels.into_iter().map(|label| (label.clone(), label))).collect(),
    }
}
