//! Every fault that a package can have gives its own error, which names the file.

// clippy.toml allows this in tests, and does not see that their helpers are a part of them.
#![allow(clippy::unwrap_used)]

use burn::tensor::Device;
use cloister_model::ModelError;
use cloister_package::writer::PackageFiles;
use cloister_package::{PackageError, PackageLoader, hash, testing};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

static SOUND: LazyLock<PackageFiles> = LazyLock::new(|| testing::package(testing::config(), 1).unwrap());

/// The manifest after a change.
fn manifest(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value: Value = serde_json::from_str(&SOUND.manifest.to_json().unwrap()).unwrap();
    change(&mut value);
    value.to_string().into_bytes()
}

fn set(pointer: &str, value: Value) -> Vec<u8> {
    manifest(|root| *root.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value)
}

fn open(json: &[u8]) -> Result<PackageLoader, PackageError> {
    PackageLoader::new(json, Device::default())
}

/// Loads the sound package with another shard, whose size and hash the manifest has right.
fn load_shard(shard: &[u8]) -> Result<(), PackageError> {
    let json = manifest(|root| {
        let entry = &mut root["weights"]["shards"][0];
        entry["bytes"] = json!(shard.len());
        entry["sha256"] = json!(hash::sha256_hex(shard));
    });
    let mut loader = open(&json)?;
    loader.accept(0, &SOUND.files[0].1)?;
    loader.accept(1, shard)?;
    loader.finish().map(|_| ())
}

fn split(shard: &[u8]) -> (Value, &[u8]) {
    let length = u64::from_le_bytes(shard[..8].try_into().unwrap()) as usize;
    (serde_json::from_slice(&shard[8..8 + length]).unwrap(), &shard[8 + length..])
}

fn join(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// The sound shard with another header. Padded with spaces, so that its size stays plausible for the architecture.
fn header(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (mut header, data) = split(&SOUND.files[1].1);
    change(&mut header);
    join(&header.to_string(), data)
}

#[track_caller]
fn shard_problem(shard: &[u8], expected: &str) {
    match load_shard(shard).unwrap_err() {
        PackageError::Shard { file, problem } => {
            assert!(file.ends_with(".safetensors"));
            assert!(problem.contains(expected), "{problem}");
        }
        other => panic!("{other}"),
    }
}

#[track_caller]
fn tensor_problem(shard: &[u8]) -> ModelError {
    match load_shard(shard).unwrap_err() {
        PackageError::Tensor { source, .. } => source,
        other => panic!("{other}"),
    }
}

#[test]
fn the_sound_package_loads() {
    load_shard(&SOUND.files[1].1).unwrap();
}

#[test]
fn not_json() {
    for bytes in [&b""[..], b"<!doctype html>", b"{", b"\xff\xfe", &[b'['; 100_000]] {
        assert!(matches!(open(bytes).err().unwrap(), PackageError::NotJson(_)));
    }
}

#[test]
fn unknown_schema_version() {
    for version in [json!(0), json!(2), json!("1"), json!(1.5), json!(null), json!(-1)] {
        let error = open(&set("/schema", version)).err().unwrap();
        assert!(matches!(error, PackageError::UnknownSchema { .. }), "{error}");
    }
    // Said first, whatever else is in the file.
    let error = open(br#"{"schema": 7, "something": "new"}"#).err().unwrap();
    assert!(matches!(error, PackageError::UnknownSchema { ref found, known: 1 } if found == "7"));
    for other in [&b"{}"[..], b"[]", b"null", b"\"text\""] {
        assert!(matches!(open(other).err().unwrap(), PackageError::Manifest { ref field, .. } if field == "schema"));
    }
}

#[test]
fn unknown_architecture_and_quantisation() {
    let error = open(&set("/architecture/family", json!("mamba"))).err().unwrap();
    assert_eq!(error, PackageError::UnknownArchitecture("mamba".into()));
    for found in
        [json!({"scheme": "q4s", "blockSize": 32}), json!({"scheme": "q8", "blockSize": 64}), json!({"scheme": "q8"})]
    {
        let error = open(&set("/weights/quantization", found.clone())).err().unwrap();
        assert!(matches!(error, PackageError::UnknownQuantization(_)), "{found}");
    }
}

#[test]
fn a_field_that_does_not_fit() {
    for (pointer, value, expected) in [
        ("/threshold", json!(1.5), "threshold"),
        ("/threshold", json!("high"), "content"),
        ("/id", json!("two words"), "id"),
        ("/calibration/scale", json!(0), "calibration.scale"),
        ("/calibration/temperature", json!(-1), "calibration.temperature"),
        ("/labels/0/label", json!("CWE-78"), "labels[1]"),
        ("/labels/0/label", json!("safe"), "labels[0]"),
        ("/labels/0/label", json!("CWE-1"), "labels"),
        ("/labels/1/answer/tokens", json!([]), "labels[1]"),
        ("/labels/1/answer/tokens", json!([288]), "labels[1]"),
        ("/labels/1/answer/tokens", json!([272]), "labels[1]"),
        ("/labels", json!([]), "labels"),
        ("/prompt/prefix/tokens", json!([-1]), "content"),
        ("/prompt/prefix/tokens", json!(vec![1; 200]), "prompt"),
        ("/selfTest/tokens", json!([]), "selfTest.tokens"),
        ("/selfTest/tokens", json!(vec![1; 129]), "selfTest.tokens"),
        ("/selfTest/logits", json!([0.0]), "selfTest.logits"),
        ("/selfTest/logits/0", json!(1e39), "selfTest.logits"),
        ("/selfTest/tolerance/cpu", json!(0), "selfTest.tolerance.cpu"),
        ("/weights/dtype", json!("f64"), "content"),
        ("/weights/shards", json!([]), "weights.shards"),
        ("/architecture/config/n_head", json!(3), "architecture.config"),
        ("/architecture/config/n_positions", json!(4), "prompt"),
        ("/tokenizer/sha256", json!("00"), "tokenizer.sha256"),
        ("/tokenizer/file", json!("model.json"), "tokenizer.file"),
        ("/weights/shards/0/file", json!("tokenizer.json"), "weights.shards[0]"),
    ] {
        let error = open(&set(pointer, value.clone())).err().unwrap();
        let PackageError::Manifest { field, .. } = &error else { panic!("{pointer} {value}: {error}") };
        assert!(field.contains(expected), "{pointer} {value}: {error}");
    }
    let stop = open(&manifest(|root| root["prompt"]["stop"] = json!([288]))).err().unwrap();
    assert!(stop.to_string().contains("prompt.stop"), "{stop}");
    let typing_error = manifest(|root| root["calibration"]["ofset"] = json!(1));
    assert!(open(&typing_error).err().unwrap().to_string().contains("ofset"));
    let text = String::from_utf8(manifest(|_| ())).unwrap();
    let twice = text.replacen('{', r#"{"threshold": 0.1,"#, 1);
    assert!(open(twice.as_bytes()).err().unwrap().to_string().contains("duplicate"));
}

#[test]
fn names_that_reach_elsewhere() {
    for name in ["../secret", "/etc/passwd", "a/b", "a\\b", "..", "", "a\u{0}", "https://example.org/x", "%2e%2e%2fx"] {
        let error = open(&set("/weights/shards/0/file", json!(name))).err().unwrap();
        assert!(matches!(error, PackageError::Manifest { .. }), "{name:?}: {error}");
    }
}

#[test]
fn absurd_sizes() {
    for (pointer, value) in [
        ("/weights/shards/0/bytes", json!(0)),
        ("/weights/shards/0/bytes", json!(u64::MAX)),
        ("/weights/shards/0/bytes", json!(16_000_001)),
        ("/weights/shards/0/bytes", json!(10)),
        ("/tokenizer/bytes", json!(1u64 << 40)),
        ("/architecture/config/n_layer", json!(1_000_000)),
        ("/architecture/config/n_layer", json!(u64::MAX)),
        ("/architecture/config/vocab_size", json!(1_000_000)),
        ("/architecture/config/n_embd", json!(1 << 20)),
        ("/weights/shards", json!(vec![json!({"file": "a", "bytes": 1, "sha256": "0"}); 5000])),
    ] {
        let error = open(&set(pointer, value)).err().unwrap();
        assert!(matches!(error, PackageError::Manifest { .. }), "{pointer}: {error}");
    }
    let error = open(&vec![b' '; 5 << 20]).err().unwrap();
    assert!(matches!(error, PackageError::ManifestTooLarge { .. }));
}

#[test]
fn a_missing_shard() {
    let mut loader = open(&manifest(|_| ())).unwrap();
    loader.accept(0, &SOUND.files[0].1).unwrap();
    assert_eq!(loader.finish().unwrap_err(), PackageError::MissingFile(SOUND.files[1].0.clone()));

    let folder = tempfile::tempdir().unwrap();
    let missing = |name: &str| {
        let error = cloister_package::fs::read_package(folder.path(), Device::default()).unwrap_err();
        assert_eq!(error, PackageError::MissingFile(name.into()));
    };
    missing("model.json");
    std::fs::write(folder.path().join("model.json"), manifest(|_| ())).unwrap();
    missing("tokenizer.json");
    std::fs::write(folder.path().join("tokenizer.json"), &SOUND.files[0].1).unwrap();
    missing(&SOUND.files[1].0);
}

#[test]
fn a_file_given_twice_or_not_listed() {
    let mut loader = open(&manifest(|_| ())).unwrap();
    loader.accept(0, &SOUND.files[0].1).unwrap();
    for index in [0, 2, usize::MAX] {
        let error = loader.accept(index, &SOUND.files[0].1).unwrap_err();
        assert_eq!(error, PackageError::UnexpectedFile { index, count: 2 });
    }
}

#[test]
fn truncated_too_long_and_wrong_hash() {
    for (index, (name, bytes)) in SOUND.files.iter().enumerate() {
        let accept = |bytes: &[u8]| open(&manifest(|_| ())).unwrap().accept(index, bytes).unwrap_err();
        let error = accept(&bytes[..bytes.len() - 1]);
        assert!(matches!(&error, PackageError::Truncated { file, .. } if file == name), "{error}");
        assert!(matches!(accept(&[]), PackageError::Truncated { .. }));
        assert!(matches!(accept(&[&bytes[..], b"\n"].concat()), PackageError::TooLong { .. }));
        let mut changed = bytes.clone();
        changed[bytes.len() / 2] ^= 1;
        assert!(matches!(accept(&changed), PackageError::WrongHash { .. }));
    }
}

#[test]
fn absurd_sizes_in_a_shards_header() {
    let data = &SOUND.files[1].1[8..];
    for claimed in [u64::MAX, 1 << 40, (1 << 20) + 1, data.len() as u64 + 1] {
        shard_problem(&[&claimed.to_le_bytes(), data].concat(), "claims");
    }
    shard_problem(&header(|h| h["ln_f.bias"]["data_offsets"] = json!([0, u64::MAX])), "claims");
    shard_problem(&header(|h| h["ln_f.bias"]["shape"] = json!([1u64 << 40, 1u64 << 40])), "");
    shard_problem(&header(|h| h["ln_f.bias"]["shape"] = json!([33])), "");
}

#[test]
fn a_shards_header_that_is_none() {
    let data = &SOUND.files[1].1;
    for text in ["", "[]", "nothing", "{\"a\": 1}", "{\"a\":", &"[".repeat(5000)] {
        shard_problem(&join(text, data), "header cannot be read");
    }
}

#[test]
fn holes_overlaps_and_duplicates() {
    let end = |h: &Value, name: &str| h[name]["data_offsets"][1].as_u64().unwrap();
    shard_problem(&[&SOUND.files[1].1[..], &[0; 4]].concat(), "");
    shard_problem(&header(|h| h["ln_f.bias"]["data_offsets"] = h["ln_f.weight"]["data_offsets"].clone()), "");
    shard_problem(&header(|h| h["ln_f.bias"]["data_offsets"][1] = json!(end(h, "ln_f.bias") - 4)), "");
    let (sound, data) = split(&SOUND.files[1].1);
    let entry = sound["ln_f.bias"].to_string();
    let twice = sound.to_string().replacen('{', &format!("{{\"ln_f.bias\": {entry},"), 1);
    shard_problem(&join(&twice, data), "twice");
}

#[test]
fn tensors_that_are_not_the_architectures() {
    let rename = |h: &mut Value, from: &str, to: &str| {
        let entry = h.as_object_mut().unwrap().remove(from).unwrap();
        h[to] = entry;
    };
    let unknown = tensor_problem(&header(|h| rename(h, "ln_f.bias", "h.9.ln_1.bias")));
    assert_eq!(unknown, ModelError::UnknownTensor("h.9.ln_1.bias".into()));
    let shape = tensor_problem(&header(|h| h["ln_f.bias"]["shape"] = json!([4, 8])));
    assert!(matches!(shape, ModelError::Shape { ref name, .. } if name == "ln_f.bias"));
    shard_problem(&header(|h| h["ln_f.bias"]["dtype"] = json!("I32")), "I32");
    let part = tensor_problem(&header(|h| rename(h, "wte.weight", "wte.weight@1")));
    assert!(matches!(part, ModelError::Shape { .. }));

    let (sound, data) = split(&SOUND.files[1].1);
    for value in [f32::NAN, f32::INFINITY] {
        let mut data = data.to_vec();
        data[..4].copy_from_slice(&value.to_le_bytes());
        assert!(matches!(tensor_problem(&join(&sound.to_string(), &data)), ModelError::NotFinite(_)));
    }
}

#[test]
fn a_tensor_that_never_comes() {
    let mut tensors = testing::tensors(&testing::config(), 1);
    let mut config = testing::config();
    // Written for a model without the line pointer, read as one with it.
    config.line_pointer_dim = None;
    tensors.truncate(tensors.len() - 4);
    let package =
        cloister_package::writer::build_package(testing::manifest(config), &tensors, testing::tokenizer_json());
    let error = load_shard(&package.unwrap().files[1].1).unwrap_err();
    assert!(matches!(error, PackageError::Model(ModelError::Missing { count: 4, .. })), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(open(&bytes).is_err());
        prop_assert!(load_shard(&bytes).is_err());
    }

    #[test]
    fn changed_manifests_never_panic(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
        let mut json = manifest(|_| ());
        let length = json.len();
        for (place, byte) in changes {
            json[place % length] = byte;
        }
        if let Ok(mut loader) = open(&json) {
            for (index, (_, bytes)) in SOUND.files.iter().enumerate() {
                let _ = loader.accept(index, bytes);
            }
            let _ = loader.finish();
        }
    }

    #[test]
    fn changed_headers_never_panic(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
        let mut shard = SOUND.files[1].1.clone();
        let length = 8 + u64::from_le_bytes(shard[..8].try_into().unwrap()) as usize;
        for (place, byte) in changes {
            shard[place % length] = byte;
        }
        let _ = load_shard(&shard);
    }
}

#[test]
fn answers_that_cannot_be_told_apart_are_refused() {
    let longer = json!({"text": "<|CWE-79|>A", "tokens": [testing::special("<|CWE-79|>"), 65]});
    let error = open(&set("/labels/1/answer", longer)).err().unwrap().to_string();
    assert!(error.contains("labels[2]") && error.contains("CWE-78"), "{error}");
    let two = json!({"text": "AB", "tokens": [65, 66]});
    assert!(open(&set("/labels/1/answer", two.clone())).is_ok());
    let asked = manifest(|root| {
        root["prompt"]["lineEvidence"] = json!(true);
        root["labels"][1]["answer"] = two;
    });
    let error = open(&asked).err().unwrap().to_string();
    assert!(error.contains("lineEvidence"), "{error}");
}
