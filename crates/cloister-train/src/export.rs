//! From a fine-tuned model to the shipped package.

use crate::TrainError;
use crate::calibrate::{platt, probability, temperature, threshold};
use crate::examples::{ExampleMaker, Item};
use crate::finetune::Answers;
use crate::recipe::Recipe;
use crate::score::{Verdict, score};
use burn::tensor::{Device, Int, Tensor, TensorData};
use cloister_model::quant::Bits;
use cloister_model::{CodeGen, CodeGenBuilder, Positions, named_tensors};
use cloister_package::{
    Architecture, Calibration, Card, Label, Manifest, PackageLoader, Prompt, SelfTest, TokenText, Training, Weights,
    fs::write_package, writer::build_package,
};
use std::path::Path;

/// At most this share of ordinary functions may be flagged at the default threshold.
const ORDINARY_SHARE: f64 = 0.05;

/// What the self-test reads: exercises imports, a method, a nested block and several line ends.
const SELF_TEST: &str = "import sqlite3\n\ndef find(conn, name):\n    cursor = conn.cursor()\n    if name:\n        cursor.execute(\"SELECT id FROM users WHERE name = '\" + name + \"'\")\n    return cursor.fetchall()\n";

/// Held-out material that calibration is fitted on.
pub struct HeldOut<'a> {
    /// Twins and single functions whose answers are known: what the probabilities are fitted on.
    pub labelled: &'a [Item],
    /// Functions of the validation packages.
    pub ordinary: &'a [Item],
}

/// Calibrates, packs, pins the self-test and writes the package to `folder`.
///
/// # Errors
/// [`TrainError`] from scoring or the package.
pub fn run(
    recipe: &Recipe,
    model: &CodeGen,
    held_out: &HeldOut,
    maker: &ExampleMaker,
    training: Training,
    tokenizer: &[u8],
    folder: &Path,
) -> Result<(), TrainError> {
    let (answers, device) = (&maker.answers, &model.wte.val().device());
    let text = |text: &str| -> Result<TokenText, TrainError> {
        Ok(TokenText { text: text.into(), tokens: maker.tokenizer.encode(text)?.ids })
    };
    let windows = maker.windows(SELF_TEST, &[], maker.answers.none)?;
    let prompt = windows.into_iter().next().map(|(_, example)| example.ids).unwrap_or_default();
    let mut labels: Vec<(&String, &usize)> = maker.labels.iter().collect();
    labels.sort_by_key(|(_, index)| **index);
    let manifest = Manifest {
        schema: cloister_package::SCHEMA,
        id: recipe.id.clone(),
        name: recipe.name.clone(),
        architecture: Architecture::codegen(recipe.model.clone()),
        tokenizer: Default::default(),
        prompt: Prompt {
            prefix: text(&recipe.prompt.prefix)?,
            suffix: text(&recipe.prompt.suffix)?,
            line_evidence: true,
            stop: Vec::new(),
        },
        labels: labels
            .into_iter()
            .map(|(label, index)| Label {
                label: label.clone(),
                answer: TokenText { text: crate::bpe::answer_token(label), tokens: vec![answers.tokens[*index]] },
            })
            .collect(),
        calibration: Calibration::default(),
        threshold: 0.5,
        training,
        evaluation: Vec::new(),
        card: card(),
        self_test: SelfTest {
            text: SELF_TEST.into(),
            tokens: prompt.clone(),
            logits: vec![0.0; answers.tokens.len()],
            tolerance: Default::default(),
        },
        weights: Weights::quantized(Bits::Eight),
    };
    let tensors = named_tensors(model);
    let mut package = build_package(manifest, &tensors, tokenizer.to_vec())?;
    // Calibration and pinned logits are those of the weights as they are stored, rounded to 8 bits.
    let mut loader = PackageLoader::<CodeGenBuilder>::new(package.manifest.to_json()?.as_bytes(), device.clone())?;
    for (index, (_, bytes)) in package.files.iter().enumerate() {
        loader.accept(index, bytes)?;
    }
    let stored = loader.finish()?.model;
    (package.manifest.calibration, package.manifest.threshold) = calibrate(&stored, held_out, answers, device)?;
    package.manifest.self_test.logits = label_logits(&stored, &prompt, answers, device)?;
    write_package(folder, package.manifest, &tensors, tokenizer.to_vec())?;
    eprintln!("export: the package is in {}", folder.display());
    Ok(())
}

fn calibrate(
    model: &CodeGen,
    held_out: &HeldOut,
    answers: &Answers,
    device: &Device,
) -> Result<(Calibration, f64), TrainError> {
    let labelled = score(model, held_out.labelled, answers, device)?;
    let flat: Vec<(&Verdict, bool, usize)> = held_out
        .labelled
        .iter()
        .zip(&labelled)
        .flat_map(|(item, verdicts)| item.examples.iter().zip(verdicts))
        .map(|(example, verdict)| (verdict, !example.weak.is_empty(), example.label))
        .collect();
    let (scale, offset) = platt(&flat.iter().map(|(verdict, weak, _)| (verdict.odds, *weak)).collect::<Vec<_>>());
    let weak: Vec<(&Verdict, usize)> =
        flat.iter().filter(|(_, weak, _)| *weak).map(|(verdict, _, label)| (*verdict, *label)).collect();
    let calibration = Calibration { scale, offset, temperature: temperature(&weak, answers.none) };
    let ordinary: Vec<f64> = score(model, held_out.ordinary, answers, device)?
        .iter()
        .flatten()
        .map(|verdict| probability(&calibration, verdict.odds))
        .collect();
    let count = ordinary.len();
    let limit = threshold(ordinary, ORDINARY_SHARE);
    eprintln!(
        "calibration on {} labelled examples: scale {scale:.3}, offset {offset:.3}, temperature {:.3}; threshold {limit:.3} from {count} ordinary functions",
        flat.len(),
        calibration.temperature
    );
    Ok((calibration, limit))
}

/// Label logits of one prompt.
fn label_logits(model: &CodeGen, ids: &[u32], answers: &Answers, device: &Device) -> Result<Vec<f32>, TrainError> {
    let len = ids.len();
    let ids: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, len]), device);
    let positions = Positions::causal(model.config(), 0, len, device)?;
    let last = model.forward(ids, &positions).narrow(1, len - 1, 1).squeeze_dim::<2>(1);
    Ok(model.label_head(&answers.tokens)?.forward(last).into_data().iter::<f32>().collect())
}

fn card() -> Card {
    Card {
        trained_on: vec![
            "The standard library and pinned, permissively licensed packages (listed in the package's training section), \
             comments and docstrings removed."
                .into(),
            "Pairs of weak and fixed Python written for this project (assets/dataset), and its patterns inside real functions."
                .into(),
        ],
        cannot_see: vec![
            "Flows from one function or file into another: each function is judged with the imports and globals it names.".into(),
            "Rules that only the project knows: who may do what, which data is secret.".into(),
            "Classes outside its label set, and whatever happens at run time: configuration, versions, deployment.".into(),
            "It can be wrong in both directions: read its findings as places to look at, and its silence as no proof.".into(),
        ],
    }
}
