//! Checkpoints in all their forms, and packages made of them.

// clippy.toml allows this in tests, and does not see that their helpers are a part of them.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Int, Tensor, TensorData};
use cloister_checkpoint::import::import;
use cloister_checkpoint::{CheckpointError, ImportOptions, study_options, weights};
use cloister_engine::{Backend, Engine, Tokenizer};
use cloister_model::quant::Bits;
use cloister_model::{CodeGen, CodeGenBuilder, Positions};
use cloister_package::{Manifest, WeightType, Weights, fs::read_package, fs::read_package_as, testing};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/checkpoint").join(name)
}

/// A folder with configuration and tokenizer, and these files of the fixture under other names.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [("config.json", "config.json")].iter().chain(files) {
        fs::copy(fixture(from), folder.path().join(to)).unwrap();
    }
    fs::write(folder.path().join("tokenizer.json"), testing::tokenizer_json()).unwrap();
    folder
}

fn pickled() -> TempDir {
    folder(&[("pytorch_model.bin", "pytorch_model.bin")])
}

/// A tensor as it stands in a file.
type Stored = (Dtype, Vec<usize>, Vec<u8>);

/// The fixture's state dict in f32, with a mask.
fn state() -> BTreeMap<String, Stored> {
    let tensors = weights::open(pickled().path()).unwrap();
    let mut state: BTreeMap<String, Stored> = (tensors.iter().filter(|(_, tensor)| tensor.element.is_some()))
        .map(|(name, tensor)| {
            let raw = tensor.read(name).unwrap();
            let bytes = (0..raw.len()).flat_map(|index| raw.at(index).to_le_bytes()).collect();
            (name.clone(), (Dtype::F32, tensor.shape.clone(), bytes))
        })
        .collect();
    state.insert("transformer.h.0.attn.causal_mask".into(), (Dtype::U8, vec![1, 1, 2, 2], vec![1, 0, 1, 1]));
    state
}

fn packed(state: &BTreeMap<String, Stored>) -> Vec<u8> {
    let views = state
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    serialize(views, None).unwrap()
}

/// A folder with a state dict in one file.
fn whole(state: &BTreeMap<String, Stored>) -> TempDir {
    let folder = folder(&[]);
    fs::write(folder.path().join("model.safetensors"), packed(state)).unwrap();
    folder
}

/// A folder with a state dict in two files and their index, which `change` may change.
fn parts(state: &BTreeMap<String, Stored>, change: impl Fn(&mut Value)) -> TempDir {
    let folder = folder(&[]);
    let mut index = json!({"metadata": {"total_size": 1}, "weight_map": {}});
    for part in 0..2 {
        let file = format!("model-0000{}-of-00002.safetensors", part + 1);
        let of_part: BTreeMap<String, Stored> =
            state.iter().enumerate().filter(|(i, _)| i % 2 == part).map(|(_, (n, t))| (n.clone(), t.clone())).collect();
        of_part.keys().for_each(|name| index["weight_map"][name] = json!(file));
        fs::write(folder.path().join(file), packed(&of_part)).unwrap();
    }
    change(&mut index);
    fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    folder
}

fn options(weights: Weights) -> ImportOptions {
    study_options(weights, "test".into(), "Test".into(), ["CWE-78", "CWE-787", "CWE-89"].map(|id| format!("{id};")))
}

/// The study's options with answers that the test tokenizer keeps apart.
fn imported(folder: &Path, weights: Weights) -> Result<(TempDir, Manifest), CheckpointError> {
    let mut options = options(weights);
    for (label, _) in &mut options.answers {
        *label = label.trim_end_matches(';').into();
    }
    let output = tempfile::tempdir().unwrap();
    let mut steps = Vec::new();
    let manifest = import(folder, output.path(), &options, &mut |done, total| steps.push((done, total)))?;
    assert!(steps.len() == 21 && steps.last() == Some(&(21, 21)), "{steps:?}");
    Ok((output, manifest))
}

fn error(folder: &Path) -> String {
    imported(folder, Weights::plain(WeightType::F32)).unwrap_err().to_string()
}

fn trainable(package: &Path) -> CodeGen {
    read_package_as::<CodeGenBuilder>(package, Device::default(), |_, _| ()).unwrap().model
}

fn logits(model: &CodeGen, ids: &[i32]) -> Vec<f32> {
    let device = Device::default();
    let positions = Positions::causal(model.config(), 0, ids.len(), &device).unwrap();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids.to_vec(), [1, ids.len()]), &device);
    model.logits(model.forward(ids, &positions)).into_data().iter::<f32>().collect()
}

/// PyTorch's ids and logits.
fn expected() -> (Vec<i32>, Vec<f32>) {
    let bytes = fs::read(fixture("expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let words = |name: &str| -> Vec<[u8; 4]> { file.tensor(name).unwrap().data().as_chunks::<4>().0.to_vec() };
    (
        words("ids").into_iter().map(i32::from_le_bytes).collect(),
        words("logits").into_iter().map(f32::from_le_bytes).collect(),
    )
}

#[test]
fn every_form_gives_pytorch_s_logits() {
    let (ids, expected) = expected();
    let state = state();
    // A fine-tune that was saved without the outer module's name.
    let bare: BTreeMap<String, Stored> =
        state.iter().map(|(n, t)| (n.strip_prefix("transformer.").unwrap_or(n).to_string(), t.clone())).collect();
    let mut first = None;
    for folder in
        [pickled(), folder(&[("legacy.bin", "pytorch_model.bin")]), whole(&state), whole(&bare), parts(&state, |_| ())]
    {
        let (output, manifest) = imported(folder.path(), Weights::plain(WeightType::F32)).unwrap();
        assert_eq!(*first.get_or_insert(manifest.clone()), manifest);
        let delta = logits(&trainable(output.path()), &ids)
            .iter()
            .zip(&expected)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(delta <= 1e-4, "{delta}");
    }
}

#[test]
fn half_the_precision_is_read_too() {
    let mut state = state();
    for (dtype, shape, bytes) in state.values_mut().filter(|(dtype, ..)| *dtype == Dtype::F32) {
        // The upper half of an f32 is a bf16.
        *bytes = bytes.as_chunks::<4>().0.iter().flat_map(|word| [word[2], word[3]]).collect();
        *dtype = Dtype::BF16;
        assert_eq!(bytes.len(), 2 * shape.iter().product::<usize>());
    }
    let (ids, expected) = expected();
    let (output, _) = imported(whole(&state).path(), Weights::plain(WeightType::F16)).unwrap();
    let found = logits(&trainable(output.path()), &ids);
    let scale = expected.iter().map(|logit| logit.abs()).fold(0.0, f32::max);
    let delta = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(delta > 0.0 && delta < 0.05 * scale, "{delta} of {scale}");
}

/// The self-test that was computed on the way is what the engine computes of the finished package.
#[test]
fn the_package_passes_its_self_test() {
    let folder = pickled();
    for weights in [Weights::plain(WeightType::F16), Weights::quantized(Bits::Eight), Weights::quantized(Bits::Four)] {
        let (output, manifest) = imported(folder.path(), weights.clone()).unwrap();
        assert_eq!(manifest.weights.quantization, weights.quantization);
        assert!(manifest.self_test.logits.iter().all(|logit| *logit < 0.0), "{:?}", manifest.self_test.logits);
        let package = read_package(output.path(), Device::default()).unwrap();
        let mut engine = Engine::new(package, Backend::Cpu, "test").unwrap();
        let result = pollster::block_on(engine.self_test()).unwrap();
        assert!(result.max_delta < 1e-3, "{result:?}");
    }
}

#[test]
fn an_earlier_package_stays_where_an_import_fails() {
    let (output, manifest) = imported(pickled().path(), Weights::plain(WeightType::F32)).unwrap();
    let mut state = state();
    state.remove("lm_head.bias");
    import(whole(&state).path(), output.path(), &options(Weights::plain(WeightType::F32)), &mut |_, _| ()).unwrap_err();
    assert_eq!(read_package(output.path(), Device::default()).unwrap().manifest, manifest);
    assert_eq!(fs::read_dir(output.path()).unwrap().count(), 3);
}

#[test]
fn faults_of_the_weights_are_named() {
    let changed = |change: &dyn Fn(&mut BTreeMap<String, Stored>)| {
        let mut state = state();
        change(&mut state);
        error(whole(&state).path())
    };
    let bias = "lm_head.bias";
    let floats = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    for (found, words) in [
        (changed(&|state| drop(state.remove(bias))), ["missing", bias]),
        (
            changed(&|state| drop(state.insert("score.weight".into(), (Dtype::F32, vec![1], floats(&[1.0]))))),
            ["score", "not part"],
        ),
        (changed(&|state| drop(state.insert(bias.into(), (Dtype::F32, vec![2], floats(&[1.0; 2]))))), [bias, "shape"]),
        (
            changed(&|state| drop(state.insert(bias.into(), (Dtype::F32, vec![288], floats(&[f32::NAN; 288]))))),
            [bias, "finite"],
        ),
        (
            changed(&|state| drop(state.insert(bias.into(), (Dtype::I32, vec![288], vec![0; 4 * 288])))),
            [bias, "element type"],
        ),
        (
            changed(&|state| {
                drop(
                    state.insert(
                        "transformer.h.0.attn.qkv_proj.weight".into(),
                        (Dtype::F32, vec![32, 32], vec![0; 4096]),
                    ),
                )
            }),
            ["qkv_proj", "shape"],
        ),
        (
            changed(&|state| {
                drop(state.insert("transformer.h.2.ln_1.bias".into(), (Dtype::F32, vec![32], vec![0; 128])))
            }),
            ["h.2", "not part"],
        ),
    ] {
        assert!(
            words.iter().all(|word| found.contains(word)) && found.contains("model.safetensors")
                || found.contains("missing"),
            "{words:?}: {found}"
        );
    }
    let bytes = packed(&state());
    for (bytes, word) in [
        (bytes[..bytes.len() - 9].to_vec(), "ends before"),
        (bytes[..100].to_vec(), "claims"),
        (bytes[..3].to_vec(), "too short"),
        ([&u64::MAX.to_le_bytes()[..], &bytes[8..]].concat(), "claims"),
        ([&bytes[..8], b"[", &bytes[9..]].concat(), "header cannot be read"),
    ] {
        let folder = folder(&[]);
        fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        let found = error(folder.path());
        assert!(found.contains(word) && found.contains("model.safetensors"), "{word}: {found}");
    }
    let bytes = fs::read(fixture("pytorch_model.bin")).unwrap();
    for cut in [0, 10, 1000, bytes.len() - 40] {
        let folder = folder(&[]);
        fs::write(folder.path().join("pytorch_model.bin"), &bytes[..cut]).unwrap();
        let found = error(folder.path());
        assert!(found.contains("cannot be read as weights") && found.contains("pytorch_model.bin"), "{cut}: {found}");
    }
    assert!(error(folder(&[]).path()).contains("neither model.safetensors"));
}

#[test]
fn a_pickle_is_never_run() {
    let found = error(folder(&[("code.bin", "pytorch_model.bin")]).path());
    assert!(found.contains("pytorch_model.bin") || found.contains("missing"), "{found}");
    assert!(!Path::new("a-pickle-was-run").exists());
}

#[test]
fn an_index_that_lies_is_refused() {
    let state = state();
    let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    let bias = "lm_head.bias";
    let other = |index: &Value| if index["weight_map"][bias] == one { two } else { one };
    for (change, word) in [
        (
            &(|index: &mut Value| index["weight_map"][bias] = json!(other(index))) as &dyn Fn(&mut Value),
            "where it says",
        ),
        (&|index| drop(index["weight_map"].as_object_mut().unwrap().remove(bias)), "does not say so"),
        (&|index| index["weight_map"]["stranger"] = json!(one), "does not hold it"),
        (&|index| index["weight_map"]["stranger"] = json!("absent.safetensors"), "which is missing"),
        (&|index| index["weight_map"][bias] = json!("../model.safetensors"), "no plain file name"),
        (&|index| *index = json!({"weight_map": 3}), "invalid type"),
    ] {
        let found = error(parts(&state, change).path());
        assert!(found.contains(word) && found.contains("index.json"), "{word}: {found}");
    }
}

#[test]
fn other_models_are_refused() {
    let set = |key: &str, value: Value| {
        let folder = pickled();
        let path = folder.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        config[key] = value;
        fs::write(&path, config.to_string()).unwrap();
        error(folder.path())
    };
    for (found, word) in [
        (set("model_type", json!("gpt2")), "gpt2"),
        (set("model_type", Value::Null), "no model_type"),
        (set("activation_function", json!("relu")), "relu"),
        (set("tie_word_embeddings", json!(true)), "ties"),
        (set("n_head", json!(3)), "not usable"),
        (set("n_embd", json!("wide")), "invalid type"),
        (set("n_layer", json!(1)), "h.1"),
    ] {
        assert!(found.contains(word), "{word}: {found}");
    }
}

/// Fine-tunes cut the vocabulary; the configuration may not know.
#[test]
fn the_vocabulary_is_as_large_as_its_rows() {
    let mut state = state();
    for name in ["transformer.wte.weight", "lm_head.weight", "lm_head.bias"] {
        let (_, shape, bytes) = state.get_mut(name).unwrap();
        bytes.truncate(bytes.len() / 288 * 280);
        shape[0] = 280;
    }
    let (_, manifest) = imported(whole(&state).path(), Weights::plain(WeightType::F32)).unwrap();
    assert_eq!(manifest.architecture.config.vocab_size, 280);
}

#[test]
fn older_tokenizer_files_give_the_same_tokens() {
    let folder = pickled();
    let whole: Value = serde_json::from_slice(&testing::tokenizer_json()).unwrap();
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    assert!(error(folder.path()).contains("vocab.json"));
    fs::write(folder.path().join("vocab.json"), whole["model"]["vocab"].to_string()).unwrap();
    let merges: String =
        whole["model"]["merges"].as_array().unwrap().iter().map(|m| format!("{}\n", m.as_str().unwrap())).collect();
    fs::write(folder.path().join("merges.txt"), format!("#version: 0.2\n{merges}")).unwrap();
    let added: BTreeMap<&str, &Value> =
        whole["added_tokens"].as_array().unwrap().iter().map(|t| (t["content"].as_str().unwrap(), &t["id"])).collect();
    fs::write(folder.path().join("added_tokens.json"), json!(added).to_string()).unwrap();
    let (output, _) = imported(folder.path(), Weights::plain(WeightType::F32)).unwrap();
    let made = Tokenizer::from_bytes(&fs::read(output.path().join("tokenizer.json")).unwrap()).unwrap();
    let given = Tokenizer::from_bytes(&testing::tokenizer_json()).unwrap();
    for text in ["def f(x):\n        return x\n", "é = 'ü' # <|none|>\r\n\t\tx", "  a   b\n\n"] {
        assert_eq!(made.encode(text).unwrap(), given.encode(text).unwrap(), "{text:?}");
    }
    fs::write(folder.path().join("merges.txt"), "zz qq\n").unwrap();
    assert!(error(folder.path()).contains("merges.txt"));
}
