//! The packages in tests/fixtures/hostile, read from disk as a user's would be: each folder lays its files over those of
//! `sound` and names in `expected.txt` the error that it must give.
//!
//! `UPDATE_FIXTURES=1 cargo test -p cloister-package --test hostile_folder` writes the folder anew.

// clippy.toml allows this in tests, and does not see that their helpers are a part of them.
#![allow(clippy::unwrap_used)]

use burn::tensor::Device;
use cloister_model::CodeGenConfig;
use cloister_package::writer::{PackageFiles, build_package};
use cloister_package::{fs::read_package, hash, testing};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const MANIFEST: &str = "model.json";
const TOKENIZER: &str = "tokenizer.json";
const EXPECTED: &str = "expected.txt";
const SOUND: &str = "sound";

/// The files of a package by their names; one without bytes is taken away from the sound ones.
type Files = BTreeMap<String, Option<Vec<u8>>>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/hostile")
}

#[test]
fn each_hostile_package_gives_its_own_error() {
    if std::env::var_os("UPDATE_FIXTURES").is_some() {
        write_all();
    }
    read_package(&folder().join(SOUND), Device::default()).unwrap();
    let mut seen = BTreeMap::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let case = entry.unwrap().path();
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        if case.is_dir() && name != SOUND {
            let expected = fs::read_to_string(case.join(EXPECTED)).unwrap();
            let message = message(&case);
            assert_eq!(message, expected.trim_end(), "{name}");
            let twin = seen.insert(message, name.clone());
            assert_eq!(twin, None, "{name} gives the same error as another");
        }
    }
    assert_eq!(seen.len(), cases().len(), "a case of this test is missing in the folder: write it anew");
}

/// What the loader says of a case.
fn message(case: &Path) -> String {
    let laid = tempfile::tempdir().unwrap();
    for source in [&folder().join(SOUND), case] {
        for file in fs::read_dir(source).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), laid.path().join(file.file_name())).unwrap();
        }
    }
    for absent in fs::read_to_string(case.join("absent.txt")).unwrap_or_default().lines() {
        fs::remove_file(laid.path().join(absent)).unwrap();
    }
    read_package(laid.path(), Device::default()).err().map_or_else(|| "none".into(), |error| error.to_string())
}

fn config() -> CodeGenConfig {
    CodeGenConfig { n_embd: 8, n_layer: 1, rotary_dim: 2, line_pointer_dim: None, ..testing::config() }
}

fn package(config: CodeGenConfig) -> PackageFiles {
    let tensors = testing::tensors(&config, 1);
    build_package(testing::manifest(config), &tensors, testing::tokenizer_json()).unwrap()
}

fn write_all() {
    let _ = fs::remove_dir_all(folder());
    let sound = package(config());
    let mut files: Files = sound.files.iter().map(|(name, bytes)| (name.clone(), Some(bytes.clone()))).collect();
    files.insert(MANIFEST.into(), Some(sound.manifest.to_json().unwrap().into_bytes()));
    write(SOUND, &files);
    for (name, files) in cases() {
        write(name, &files);
        fs::write(folder().join(name).join(EXPECTED), message(&folder().join(name)) + "\n").unwrap();
    }
}

fn write(name: &str, files: &Files) {
    let folder = folder().join(name);
    fs::create_dir_all(&folder).unwrap();
    let absent: Vec<&str> = files.iter().filter(|(_, bytes)| bytes.is_none()).map(|(name, _)| name.as_str()).collect();
    if !absent.is_empty() {
        fs::write(folder.join("absent.txt"), absent.join("\n")).unwrap();
    }
    for (name, bytes) in files.iter().filter_map(|(name, bytes)| Some((name, bytes.as_ref()?))) {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// Every fault, as the files that differ from the sound ones.
fn cases() -> Vec<(&'static str, Files)> {
    let sound = package(config());
    let (shard_name, shard) = &sound.files[1];
    let json: Value = serde_json::from_str(&sound.manifest.to_json().unwrap()).unwrap();
    let file = |name: &str, bytes: &[u8]| Files::from([(name.to_string(), Some(bytes.to_vec()))]);
    let manifest = |change: &dyn Fn(&mut Value)| {
        let mut json = json.clone();
        change(&mut json);
        file(MANIFEST, json.to_string().as_bytes())
    };
    // A shard that the manifest vouches for: the fault is inside.
    let vouched = |shard: &[u8]| {
        let mut files = manifest(&|json| {
            json["weights"]["shards"][0]["bytes"] = json!(shard.len());
            json["weights"]["shards"][0]["sha256"] = json!(hash::sha256_hex(shard));
        });
        files.insert(shard_name.clone(), Some(shard.to_vec()));
        files
    };
    let header_end = 8 + u64::from_le_bytes(shard[..8].try_into().unwrap()) as usize;
    let header = |change: &dyn Fn(&mut Value)| {
        let mut header: Value = serde_json::from_slice(&shard[8..header_end]).unwrap();
        change(&mut header);
        let header = header.to_string();
        vouched(&[&(header.len() as u64).to_le_bytes(), header.as_bytes(), &shard[header_end..]].concat())
    };
    let mut flipped = shard.clone();
    flipped[header_end] ^= 1;
    let mut not_finite = shard.clone();
    not_finite[header_end..header_end + 4].fill(0xff);
    let pointer = CodeGenConfig { line_pointer_dim: Some(4), ..config() };
    vec![
        ("missing-manifest", Files::from([(MANIFEST.into(), None)])),
        ("missing-tokenizer", Files::from([(TOKENIZER.into(), None)])),
        ("missing-shard", Files::from([(shard_name.clone(), None)])),
        ("wrong-hash", file(shard_name, &flipped)),
        ("truncated-shard", file(shard_name, &shard[..shard.len() / 2])),
        ("empty-shard", file(shard_name, b"")),
        ("too-long", file(shard_name, &[&shard[..], b"\n"].concat())),
        ("manifest-is-html", file(MANIFEST, b"<!doctype html><title>404</title>")),
        ("manifest-cut-off", file(MANIFEST, &json.to_string().as_bytes()[..200])),
        ("unknown-schema", manifest(&|json| json["schema"] = json!(99))),
        ("unknown-architecture", manifest(&|json| json["architecture"]["family"] = json!("mamba"))),
        ("unknown-quantization", manifest(&|json| json["weights"]["quantization"] = json!({"scheme": "q2"}))),
        (
            "quantised-manifest-plain-shards",
            manifest(&|json| json["weights"]["quantization"] = json!({"scheme": "q8", "blockSize": 32})),
        ),
        ("absurd-layers", manifest(&|json| json["architecture"]["config"]["n_layer"] = json!(u64::MAX))),
        ("absurd-shard-size", manifest(&|json| json["weights"]["shards"][0]["bytes"] = json!(u64::MAX))),
        ("path-outside", manifest(&|json| json["weights"]["shards"][0]["file"] = json!("../../secret"))),
        ("threshold-is-text", manifest(&|json| json["threshold"] = json!("high"))),
        ("absurd-header", vouched(&[&u64::MAX.to_le_bytes(), &shard[8..]].concat())),
        ("header-not-json", vouched(&[&8u64.to_le_bytes(), b"not json".as_slice(), &shard[header_end..]].concat())),
        ("wrong-shape", header(&|header| header["ln_f.bias"]["shape"] = json!([2, 4]))),
        (
            "unknown-tensor",
            header(&|header| {
                let entry = header.as_object_mut().and_then(|header| header.remove("ln_f.bias")).unwrap();
                header["another"] = entry;
            }),
        ),
        ("integer-tensor", header(&|header| header["ln_f.bias"]["dtype"] = json!("I16"))),
        ("not-finite", vouched(&not_finite)),
        ("missing-tensor", manifest(&|json| json["architecture"]["config"] = serde_json::to_value(&pointer).unwrap())),
    ]
}
