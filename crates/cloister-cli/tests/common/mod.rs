//! The program, and a tiny package for it.

use burn::tensor::Device;
use cloister_engine::{Backend, Engine};
use cloister_package::{Tolerance, fs, testing};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A folder with a package in `model`.
pub struct Place {
    folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let config = testing::config();
        let tensors = testing::tensors(&config, 5);
        fs::write_package(&place.package(), testing::manifest(config), &tensors, testing::tokenizer_json()).unwrap();
        let package = fs::read_package(&place.package(), Device::flex()).unwrap();
        let engine = Engine::new(package, Backend::Cpu, "test").unwrap();
        let pinned = engine.pin_self_test("def f(x):\n    return x\n", Tolerance { cpu: 1e-3, webgpu: 1e-2 });
        let pinned = pollster::block_on(pinned).unwrap();
        fs::update_manifest(&place.package(), |manifest| manifest.self_test = pinned).unwrap();
        place
    }

    pub fn package(&self) -> PathBuf {
        self.path("model")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs the program in the folder, on the CPU, with the package.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with_input(arguments, "")
    }

    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let (name, rest) = arguments.split_first().unwrap();
        let package = self.package();
        let mut all = vec![*name, "--package", package.to_str().unwrap(), "--device", "cpu"];
        all.extend(rest);
        run_in(self.folder.path(), &all, input)
    }
}

/// Runs the program as it is.
pub fn run_in(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cloister"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("CLOISTER_PACKAGE")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that stops before it reads leaves a closed pipe.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

pub fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

pub fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}
