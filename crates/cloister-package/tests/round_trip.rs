//! What is written is read again.

// clippy.toml allows this in tests, and does not see that their helpers are a part of them.
#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, TensorData};
use cloister_model::quant::{Along, Bits, Quantized};
use cloister_model::{CodeGen, CodeGenBuilder, named_tensors};
use cloister_package::{
    LoadedPackage, MAX_SHARD_BYTES, WeightType, Weights, fs, testing, writer::KeptTensor, writer::build_package,
};
use std::path::Path;

fn values(data: &TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}

/// With the weights as tensors that can be looked at.
fn trainable(folder: &Path) -> LoadedPackage<CodeGen> {
    fs::read_package_as::<CodeGenBuilder>(folder, Device::default(), |_, _| ()).unwrap()
}

#[test]
fn a_package_on_disk_gives_its_model_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = testing::config();
    let tensors = testing::tensors(&config, 1);
    let mut manifest = testing::manifest(config);
    let written = fs::write_package(folder.path(), manifest.clone(), &tensors, testing::tokenizer_json()).unwrap();
    let loaded = trainable(folder.path());
    assert_eq!(loaded.manifest, written);
    assert_eq!(loaded.tokenizer, testing::tokenizer_json());
    for ((name, expected), (read_name, read)) in tensors.iter().zip(named_tensors(&loaded.model)) {
        assert_eq!(*name, read_name);
        assert_eq!(values(expected), values(&read), "{name}");
    }

    // In half precision the matrices are the nearest half floats, the vectors are as they were.
    manifest.weights.dtype = WeightType::F16;
    fs::write_package(folder.path(), manifest, &tensors, testing::tokenizer_json()).unwrap();
    let loaded = trainable(folder.path());
    for ((name, expected), (_, read)) in tensors.iter().zip(named_tensors(&loaded.model)) {
        let exact = expected.shape().num_dims() == 1;
        for (a, b) in values(expected).iter().zip(values(&read)) {
            let stored = if exact { *a } else { half::f16::from_f32(*a).to_f32() };
            assert_eq!(stored, b, "{name}");
        }
    }
}

#[test]
fn quantised_matrices_come_back_as_they_were_rounded() {
    let mut config = testing::config();
    // The head and its scales are cut into runs.
    (config.vocab_size, config.n_embd, config.n_layer) = (300_001, 64, 1);
    let tensors = testing::tensors(&config, 2);
    for (bits, shards) in [(Bits::Eight, 4), (Bits::Four, 2)] {
        let mut manifest = testing::manifest(config.clone());
        manifest.weights = Weights::quantized(bits);
        let folder = tempfile::tempdir().unwrap();
        let written = fs::write_package(folder.path(), manifest, &tensors, testing::tokenizer_json()).unwrap();
        assert_eq!(written.weights.shards.len(), shards, "{bits:?}");
        let loaded = trainable(folder.path());
        assert_eq!(loaded.manifest, written);
        for ((name, expected), (_, read)) in tensors.iter().zip(named_tensors(&loaded.model)) {
            let expected = match expected.shape().to_vec()[..] {
                [rows, columns] => Quantized::new(bits, Along::of(name), &values(expected), [rows, columns]).values(),
                _ => values(expected),
            };
            assert!(expected == values(&read), "{name} in {bits:?}");
        }
    }
}

#[test]
fn tensors_larger_than_a_shard_are_cut_and_joined() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = testing::config();
    // The embedding and the head take 25.6 MB each, in runs of rows of different sizes.
    (config.vocab_size, config.n_embd, config.n_layer) = (100_000, 64, 1);
    let tensors = testing::tensors(&config, 2);
    let manifest = testing::manifest(config);
    let written = fs::write_package(folder.path(), manifest, &tensors, testing::tokenizer_json()).unwrap();
    assert_eq!(written.weights.shards.len(), 4);
    assert!(written.weights.shards.iter().all(|shard| shard.bytes <= MAX_SHARD_BYTES));
    let mut steps = Vec::new();
    let loaded = fs::read_package_as::<CodeGenBuilder>(folder.path(), Device::default(), |done, total| {
        steps.push((done, total))
    })
    .unwrap();
    for ((name, expected), (_, read)) in tensors.iter().zip(named_tensors(&loaded.model)) {
        assert_eq!(values(expected), values(&read), "{name}");
    }
    assert_eq!(steps.len(), 5);
    assert_eq!(steps.last().map(|(done, total)| done == total), Some(true));

    // A smaller package in the same folder leaves no shard of the larger one behind.
    let config = testing::config();
    let tensors = testing::tensors(&config, 1);
    fs::write_package(folder.path(), testing::manifest(config), &tensors, testing::tokenizer_json()).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    fs::read_package(folder.path(), Device::default()).unwrap();
}

#[test]
fn one_tensor_at_a_time_gives_the_same_package() {
    let mut config = testing::config();
    (config.vocab_size, config.n_embd, config.n_layer) = (100_000, 64, 1);
    let tensors = testing::tensors(&config, 2);
    for weights in [Weights::plain(WeightType::F16), Weights::quantized(Bits::Eight)] {
        let mut manifest = testing::manifest(config.clone());
        manifest.weights = weights;
        let [whole, apart] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let written = fs::write_package(whole.path(), manifest.clone(), &tensors, testing::tokenizer_json()).unwrap();
        let mut writer = fs::PackageWriter::new(apart.path()).unwrap();
        let mut given_up = fs::PackageWriter::new(&apart.path().join("other")).unwrap();
        for (name, data) in &tensors {
            let (values, columns) = (values(data), data.shape().to_vec().pop().unwrap());
            let kept = KeptTensor::new(name, &data.shape().to_vec(), &manifest.weights, |row, column| {
                values[row * columns + column]
            });
            given_up.add(kept.clone().unwrap()).unwrap();
            writer.add(kept.unwrap()).unwrap();
        }
        assert_eq!(writer.finish(manifest, &testing::tokenizer_json()).unwrap(), written);
        drop(given_up);
        assert_eq!(std::fs::read_dir(apart.path().join("other")).unwrap().count(), 0);
        for entry in std::fs::read_dir(whole.path()).unwrap() {
            let name = entry.unwrap().file_name();
            let [a, b] = [&whole, &apart].map(|folder| std::fs::read(folder.path().join(&name)).unwrap());
            assert!(a == b, "{name:?}");
        }
    }
}

#[test]
fn a_package_is_the_same_bytes_each_time() {
    let package = || testing::package(testing::config(), 3).unwrap();
    assert_eq!(package(), package());
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let config = testing::config();
    let tensors = testing::tensors(&config, 1);
    let build =
        |manifest, tensors: &[_]| build_package(manifest, tensors, testing::tokenizer_json()).unwrap_err().to_string();
    assert!(build(testing::manifest(config.clone()), &tensors[1..]).contains("wte.weight"));
    assert!(build(testing::manifest(config.clone()), &[&tensors[..], &tensors[..1]].concat()).contains("twice"));
    let stranger = ("stranger".to_string(), TensorData::new(vec![0f32], [1]));
    assert!(build(testing::manifest(config.clone()), &[&tensors[..], &[stranger]].concat()).contains("stranger"));

    let mut too_large = tensors.clone();
    too_large[0].1 = TensorData::full([288, 32], 1e6f32);
    let mut half = testing::manifest(config.clone());
    half.weights.dtype = WeightType::F16;
    assert!(build(half, &too_large).contains("F16"));
    let mut eight = testing::manifest(config.clone());
    eight.weights = Weights::quantized(Bits::Eight);
    too_large[0].1 = TensorData::full([288, 32], 1e9f32);
    assert!(build(eight, &too_large).contains("quantised"));

    let mut manifest = testing::manifest(config);
    manifest.threshold = 2.0;
    assert!(build(manifest, &tensors).contains("threshold"));
}

#[test]
fn a_manifest_on_disk_can_be_completed_later() {
    let folder = tempfile::tempdir().unwrap();
    let config = testing::config();
    let tensors = testing::tensors(&config, 1);
    fs::write_package(folder.path(), testing::manifest(config), &tensors, testing::tokenizer_json()).unwrap();
    fs::update_manifest(folder.path(), |manifest| manifest.threshold = 0.75).unwrap();
    let loaded = trainable(folder.path());
    assert_eq!(loaded.manifest.threshold, 0.75);
    assert!(fs::update_manifest(folder.path(), |manifest| manifest.threshold = f64::NAN).is_err());
    assert_eq!(fs::read_manifest(folder.path()).unwrap(), loaded.manifest);
}
