//! A tiny package with random weights, for tests: it answers nonsense, but by the whole path.

use crate::writer::{PackageFiles, build_package};
use crate::{
    Architecture, Calibration, Card, FileEntry, Label, Manifest, PackageError, Prompt, SelfTest, TokenText, Tolerance,
    Training, WeightType, Weights,
};
use burn::tensor::TensorData;
use cloister_model::{CodeGenConfig, tensor_shapes};
use serde_json::{Value, json};

/// Merges of the tokenizer, in GPT-2's letters: `Ġ` is a space, `Ċ` a line feed, `ĉ` a tab.
const MERGES: [(&str, &str); 14] = [
    ("Ġ", "Ġ"),
    ("ĠĠ", "ĠĠ"),
    ("Ċ", "ĠĠĠĠ"),
    ("r", "e"),
    ("i", "n"),
    ("o", "r"),
    ("re", "t"),
    ("d", "e"),
    ("de", "f"),
    ("Ċ", "Ċ"),
    ("(", ")"),
    ("Ã", "©"),
    ("s", "e"),
    ("Ġ", "="),
];

/// The added tokens, all special, behind the 256 bytes and the merges.
const SPECIAL: [&str; 7] = ["<|code|>", "<|answer|>", "<|none|>", "<|CWE-78|>", "<|CWE-79|>", "<|CWE-89|>", "<|pad|>"];

/// The labels of the package, in order.
pub const LABELS: [&str; 4] = ["none", "CWE-78", "CWE-79", "CWE-89"];

/// The id of an added token.
pub fn special(content: &str) -> u32 {
    let place = SPECIAL.iter().position(|token| *token == content).unwrap_or(SPECIAL.len());
    (256 + MERGES.len() + place) as u32
}

/// The sizes: two blocks, a context of 128 tokens, with a line pointer.
pub fn config() -> CodeGenConfig {
    CodeGenConfig {
        vocab_size: 288,
        n_positions: 128,
        n_embd: 32,
        n_layer: 2,
        n_head: 4,
        rotary_dim: 4,
        n_inner: None,
        layer_norm_epsilon: 1e-5,
        line_pointer_dim: Some(8),
    }
}

/// A manifest for the sizes, without its files. The self-test is the prompt around no code, its logits are 0: whoever
/// can compute them pins them.
pub fn manifest(config: CodeGenConfig) -> Manifest {
    let token = |text: &str| TokenText { text: text.into(), tokens: vec![special(text)] };
    let label = |label: &str| Label { label: label.into(), answer: token(&format!("<|{label}|>")) };
    Manifest {
        schema: crate::SCHEMA,
        id: "tiny-random".into(),
        name: "Tiny random model".into(),
        architecture: Architecture::codegen(config),
        tokenizer: FileEntry::default(),
        prompt: Prompt { prefix: token("<|code|>"), suffix: token("<|answer|>"), ..Prompt::default() },
        labels: LABELS.map(label).into(),
        calibration: Calibration::default(),
        threshold: 0.5,
        training: Training { notes: "Random weights, for tests.".into(), ..Training::default() },
        evaluation: Vec::new(),
        card: Card { trained_on: vec!["Nothing.".into()], cannot_see: vec!["Everything.".into()] },
        self_test: SelfTest {
            text: String::new(),
            tokens: vec![special("<|code|>"), special("<|answer|>")],
            logits: vec![0.0; LABELS.len()],
            tolerance: Tolerance::default(),
        },
        weights: Weights::plain(WeightType::F32),
    }
}

/// Weights that are the same on every machine, large enough that different inputs give clearly different logits.
pub fn tensors(config: &CodeGenConfig, seed: u64) -> Vec<(String, TensorData)> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        // xorshift64*: nothing here needs more.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let gain = name.contains("ln_") && name.ends_with("weight");
        let scale = if shape.len() == 1 { 0.2 } else { 4.0 / (shape[0] as f32).sqrt() };
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|_| uniform() * scale + if gain { 1.0 } else { 0.0 }).collect();
        (name, TensorData::new(values, shape))
    };
    tensor_shapes(config).into_iter().map(tensor).collect()
}

/// A byte-level BPE tokenizer as a `tokenizer.json`.
pub fn tokenizer_json() -> Vec<u8> {
    let mut vocabulary = serde_json::Map::new();
    let mut add = |token: String| {
        let id = vocabulary.len();
        vocabulary.insert(token, Value::from(id));
    };
    byte_letters().into_iter().for_each(|letter| add(letter.to_string()));
    MERGES.iter().for_each(|(left, right)| add(format!("{left}{right}")));
    let added: Vec<Value> = SPECIAL
        .iter()
        .map(|content| {
            json!({"id": special(content), "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        })
        .collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true});
    let merges: Vec<String> = MERGES.iter().map(|(left, right)| format!("{left} {right}")).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges}
    })
    .to_string()
    .into_bytes()
}

/// GPT-2's letter for each byte: itself where it is visible, else a letter from U+0100 on.
fn byte_letters() -> Vec<char> {
    let visible = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100;
    (0..256)
        .map(|byte| {
            let code = if visible(byte) {
                byte
            } else {
                next += 1;
                next - 1
            };
            char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
        })
        .collect()
}

/// The whole package in memory.
///
/// # Errors
/// [`PackageError`] where the sizes cannot hold the tokenizer.
pub fn package(config: CodeGenConfig, seed: u64) -> Result<PackageFiles, PackageError> {
    let tensors = tensors(&config, seed);
    build_package(manifest(config), &tensors, tokenizer_json())
}
