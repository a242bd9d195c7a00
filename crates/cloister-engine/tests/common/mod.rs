//! The tiny random package, loaded.
#![allow(dead_code)]

use burn::tensor::Device;
use cloister_engine::{Analysis, AnalyzeOptions, Backend, Engine, EngineError, Observer, SourceFile, Unobserved};
use cloister_model::{CodeGen, CodeGenBuilder, CodeGenConfig, InferenceBuilder, ModelBuilder};
use cloister_package::{LoadedPackage, Manifest, PackageLoader, testing, writer::build_package};

pub fn config(n_positions: usize) -> CodeGenConfig {
    CodeGenConfig { n_positions, ..testing::config() }
}

/// The package of a changed manifest.
pub fn load(config: CodeGenConfig, change: impl FnOnce(&mut Manifest)) -> LoadedPackage {
    load_as::<InferenceBuilder>(config, change)
}

/// The same as a model that can be trained: the plain forward pass, without cache and packing.
pub fn plain(config: CodeGenConfig) -> CodeGen {
    load_as::<CodeGenBuilder>(config, |_| ()).model
}

fn load_as<B: ModelBuilder>(config: CodeGenConfig, change: impl FnOnce(&mut Manifest)) -> LoadedPackage<B::Model> {
    let tensors = testing::tensors(&config, 5);
    let mut manifest = testing::manifest(config);
    change(&mut manifest);
    let package = build_package(manifest, &tensors, testing::tokenizer_json()).unwrap();
    let json = package.manifest.to_json().unwrap();
    let mut loader = PackageLoader::<B>::new(json.as_bytes(), Device::default()).unwrap();
    for (index, (_, bytes)) in package.files.iter().enumerate() {
        loader.accept(index, bytes).unwrap();
    }
    loader.finish().unwrap()
}

pub fn try_engine(config: CodeGenConfig, change: impl FnOnce(&mut Manifest)) -> Result<Engine, EngineError> {
    Engine::new(load(config, change), Backend::Cpu, "test")
}

pub fn engine(n_positions: usize) -> Engine {
    try_engine(config(n_positions), |_| ()).unwrap()
}

pub fn file(text: &str) -> SourceFile {
    SourceFile { name: "app.py".into(), text: text.into() }
}

/// Everything is reported.
pub fn all() -> AnalyzeOptions {
    AnalyzeOptions { threshold: Some(0.0), ..AnalyzeOptions::default() }
}

pub fn analyze(engine: &mut Engine, text: &str) -> Analysis {
    analyze_with(engine, text, &all(), &mut Unobserved)
}

pub fn analyze_with(
    engine: &mut Engine,
    text: &str,
    options: &AnalyzeOptions,
    observer: &mut dyn Observer,
) -> Analysis {
    pollster::block_on(engine.analyze(&[file(text)], options, observer)).unwrap()
}
