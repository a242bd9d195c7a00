//! The pre-training corpus: the standard library and pinned wheels, cut into units as the engine reads them.

use crate::TrainError;
use crate::error::at;
use cloister_data::{Split, mutations};
use cloister_source::{Limits, analyse_source};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// `assets/training/corpus.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusList {
    /// The standard library.
    pub stdlib: Stdlib,
    /// Pinned packages.
    #[serde(rename = "package")]
    pub packages: Vec<CorpusPackage>,
    /// Pinned packages of which only functions with a protection are used, in fine-tuning.
    #[serde(rename = "host", default)]
    pub hosts: Vec<CorpusPackage>,
    /// Pinned packages that are measured on: what ordinary code is.
    #[serde(rename = "measure", default)]
    pub measure: Vec<CorpusPackage>,
}

/// The standard library of the Python at hand.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stdlib {
    /// Python's version, "3.11"; another one gives a slightly different corpus.
    pub version: String,
    /// Its licence.
    pub licence: String,
}

/// A pinned wheel.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CorpusPackage {
    /// Name on the package index.
    pub name: String,
    /// Version.
    pub version: String,
    /// SPDX expression.
    pub licence: String,
    /// SHA-256 of the wheel.
    pub sha256: String,
    /// Whether it gives gradients.
    #[serde(default = "gives_gradients")]
    pub split: Split,
}

fn gives_gradients() -> Split {
    Split::Train
}

/// A piece of the corpus.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CorpusUnit {
    /// The package it comes from.
    pub package: String,
    /// The package's split.
    pub split: Split,
    /// Whether it is a function or method (a host for patterns).
    pub function: bool,
    /// Context lines, then the unit's, as the model reads them.
    pub text: String,
    /// How many of the lines are context.
    pub context: usize,
}

impl CorpusUnit {
    /// The byte at which the context ends and the unit begins.
    pub fn body_start(&self) -> usize {
        match self.context.checked_sub(1) {
            Some(last) => self.text.match_indices('\n').nth(last).map_or(0, |(at, _)| at + 1),
            None => 0,
        }
    }

    /// The unit as Python that can be read without the rest of its file.
    pub fn as_code(&self) -> String {
        let (context, body) = self.text.split_at(self.body_start());
        as_code(context, body)
    }
}

/// Puts a method under the header of its class again, which `context` has: other tools read Python alone.
pub fn as_code(context: &str, body: &str) -> String {
    if context.lines().any(|line| line.starts_with("class ")) {
        let indented: String = body.lines().map(|line| format!("    {line}\n")).collect();
        return format!("{context}{indented}");
    }
    format!("{context}{body}")
}

impl CorpusList {
    /// Reads the list.
    ///
    /// # Errors
    /// [`TrainError`] where it cannot be read.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(at(path))?;
        toml::from_str(&text).map_err(|error| TrainError::Content { path: path.into(), reason: error.to_string() })
    }
}

impl CorpusList {
    /// Where in the corpus's folder the functions with a protection are. Another list or other rules give another file.
    pub fn hosts_file(&self, folder: &Path) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update(cloister_data::RULES.to_le_bytes());
        self.hosts.iter().for_each(|package| hash.update(&package.sha256));
        let digest: String = hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        folder.join(format!("hosts-{digest}.jsonl"))
    }
}

/// Reads units written by [`prepare`].
///
/// # Errors
/// [`TrainError`] where the file is missing or damaged.
pub fn read_units(path: &Path) -> Result<Vec<CorpusUnit>, TrainError> {
    let file = std::fs::File::open(path).map_err(|_| TrainError::Missing(path.into()))?;
    let mut units = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line.map_err(at(path))?;
        units.push(
            serde_json::from_str(&line)
                .map_err(|error| TrainError::Content { path: path.into(), reason: error.to_string() })?,
        );
    }
    Ok(units)
}

/// Fetches what is missing, cuts it into units and writes them to `folder/units.jsonl`; and to [`CorpusList::hosts_file`] the
/// functions with a protection of the packages that are hosts only.
///
/// # Errors
/// [`TrainError`] where Python is missing, a package is not the pinned one, or files cannot be written.
pub fn prepare(list: &CorpusList, folder: &Path) -> Result<(), TrainError> {
    let wheels = folder.join("wheels");
    std::fs::create_dir_all(&wheels).map_err(at(&wheels))?;
    let units = folder.join("units.jsonl");
    if !units.exists() {
        let mut sources: Vec<Source> = Vec::new();
        for text in python_files(&stdlib_path(list)?)? {
            sources.push(Source { package: "stdlib", split: Split::Train, text });
        }
        for package in &list.packages {
            sources.extend(fetched(package, &wheels)?);
        }
        let total: usize = sources.iter().map(|source| source.text.len()).sum();
        eprintln!("corpus: {} files, {:.1} MB", sources.len(), total as f64 / 1e6);
        write_units(sources.into_par_iter().map(|source| source.units()).collect(), &units)?;
    }
    let hosts = list.hosts_file(folder);
    if !hosts.exists() {
        let mut cut = Vec::new();
        // One package after the other: together they are many times the corpus.
        for package in &list.hosts {
            let sources = fetched(package, &wheels)?;
            cut.extend(sources.into_par_iter().map(|source| protected_units(&source)).collect::<Vec<_>>());
        }
        write_units(cut, &hosts)?;
    }
    Ok(())
}

/// The functions of the packages that are measured on, by package, as the model reads them.
///
/// # Errors
/// [`TrainError`] where a package is not the pinned one or cannot be fetched.
pub fn measure_units(list: &CorpusList, folder: &Path) -> Result<Vec<Vec<CorpusUnit>>, TrainError> {
    let wheels = folder.join("wheels");
    std::fs::create_dir_all(&wheels).map_err(at(&wheels))?;
    let of = |package| -> Result<Vec<CorpusUnit>, TrainError> {
        let sources = fetched(package, &wheels)?;
        let mut units: Vec<CorpusUnit> = sources.iter().flat_map(Source::units).collect();
        units.retain(|unit| unit.function && analyse_source(&unit.as_code(), &Limits::default()).notices.is_empty());
        units.sort_by(|a, b| a.text.cmp(&b.text));
        units.dedup_by(|b, a| a.text == b.text);
        Ok(units)
    };
    list.measure.iter().map(of).collect()
}

/// A file of a package.
struct Source<'l> {
    package: &'l str,
    split: Split,
    text: String,
}

fn fetched<'l>(package: &'l CorpusPackage, wheels: &Path) -> Result<Vec<Source<'l>>, TrainError> {
    let texts = wheel_sources(&fetch(package, wheels)?, package)?;
    Ok(texts.into_iter().map(|text| Source { package: &package.name, split: package.split, text }).collect())
}

/// The units of a file that are functions with a protection.
fn protected_units(source: &Source) -> Vec<CorpusUnit> {
    let mut units = source.units();
    units.retain(|unit| unit.function && !mutations(&unit.text, unit.body_start()).found.is_empty());
    units
}

fn write_units(cut: Vec<Vec<CorpusUnit>>, path: &Path) -> Result<(), TrainError> {
    let partial = path.with_extension("partial");
    let mut out = BufWriter::new(std::fs::File::create(&partial).map_err(at(&partial))?);
    let mut seen = HashSet::new();
    let (mut count, mut bytes) = (0usize, 0usize);
    for unit in cut.into_iter().flatten() {
        // Vendored copies and generated code repeat; each text counts once.
        if !seen.insert(Sha256::digest(unit.text.as_bytes())) {
            continue;
        }
        count += 1;
        bytes += unit.text.len();
        let line = serde_json::to_string(&unit)
            .map_err(|error| TrainError::Content { path: path.into(), reason: error.to_string() })?;
        writeln!(out, "{line}").map_err(at(&partial))?;
    }
    out.into_inner().map_err(|error| TrainError::File { path: partial.clone(), source: error.into_error() })?;
    std::fs::rename(&partial, path).map_err(at(path))?;
    eprintln!("corpus: {count} units in {}, {:.1} MB as the model reads them", path.display(), bytes as f64 / 1e6);
    Ok(())
}

impl Source<'_> {
    fn units(&self) -> Vec<CorpusUnit> {
        units_of(self.package, self.split, &self.text)
    }
}

/// The units of a file of a package.
pub fn units_of(package: &str, split: Split, text: &str) -> Vec<CorpusUnit> {
    let parsed = analyse_source(text, &Limits::default());
    parsed
        .units
        .into_iter()
        .filter(|unit| unit.lines.len() >= 3)
        .map(|unit| {
            let context = unit.context.len();
            let lines = unit.context.iter().map(|line| &line.line).chain(&unit.lines);
            let text: String = lines.flat_map(|line| [line.text.as_str(), "\n"]).collect();
            let function = unit.kind != cloister_source::UnitKind::Module;
            CorpusUnit { package: package.into(), split, function, text, context }
        })
        .filter(|unit| unit.text.len() <= 12_000)
        .collect()
}

fn stdlib_path(list: &CorpusList) -> Result<PathBuf, TrainError> {
    let output = Command::new("python3")
        .args([
            "-c",
            "import sys, sysconfig; print('%d.%d' % sys.version_info[:2]); print(sysconfig.get_path('stdlib'))",
        ])
        .output()
        .map_err(|error| TrainError::Python(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines();
    let version = lines.next().unwrap_or_default();
    if version != list.stdlib.version {
        eprintln!(
            "corpus: the standard library is Python {version}'s; the recipe was made with {}",
            list.stdlib.version
        );
    }
    lines.next().map(PathBuf::from).ok_or_else(|| TrainError::Python("it does not say where its library is".into()))
}

/// Folders that hold tests, vendored copies or data.
fn is_skipped(path: &str) -> bool {
    path.split('/').any(|part| {
        matches!(
            part,
            "site-packages"
                | "test"
                | "tests"
                | "testing"
                | "_vendor"
                | "vendor"
                | "idlelib"
                | "lib2to3"
                | "locale"
                | "migrations"
        )
    })
}

fn python_files(root: &Path) -> Result<Vec<String>, TrainError> {
    let mut folders = vec![root.to_path_buf()];
    let mut paths = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(at(&folder))? {
            let path = entry.map_err(at(&folder))?.path();
            let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            if is_skipped(&relative) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "py") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    // A few test files are not UTF-8 on purpose.
    Ok(paths.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect())
}

/// The wheel of a package, fetched by pip unless it is there, and checked against the pinned hash.
fn fetch(package: &CorpusPackage, folder: &Path) -> Result<PathBuf, TrainError> {
    if let Some(path) = find_wheel(package, folder)? {
        return Ok(path);
    }
    let fail = |reason: String| TrainError::Corpus { name: package.name.clone(), reason };
    eprintln!("corpus: fetching {} {}", package.name, package.version);
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--python-version", "3.11"]);
    for platform in [
        "any",
        "manylinux_2_28_x86_64",
        "manylinux_2_27_x86_64",
        "manylinux_2_24_x86_64",
        "manylinux_2_17_x86_64",
        "manylinux2014_x86_64",
        "manylinux1_x86_64",
    ] {
        command.args(["--platform", platform]);
    }
    let status = command
        .arg("--dest")
        .arg(folder)
        .arg(format!("{}=={}", package.name, package.version))
        .status()
        .map_err(|error| TrainError::Python(error.to_string()))?;
    if !status.success() {
        return Err(fail("pip could not download it".into()));
    }
    find_wheel(package, folder)?.ok_or_else(|| fail("what pip brought is not the pinned file".into()))
}

fn find_wheel(package: &CorpusPackage, folder: &Path) -> Result<Option<PathBuf>, TrainError> {
    let prefix = format!("{}-{}-", package.name, package.version).to_lowercase();
    for entry in std::fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        if name.starts_with(&prefix) {
            let bytes = std::fs::read(&path).map_err(at(&path))?;
            let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            return if found == package.sha256 {
                Ok(Some(path))
            } else {
                Err(TrainError::Corpus {
                    name: package.name.clone(),
                    reason: format!("its SHA-256 is {found}, not the pinned one"),
                })
            };
        }
    }
    Ok(None)
}

fn wheel_sources(path: &Path, package: &CorpusPackage) -> Result<Vec<String>, TrainError> {
    let fail = |reason: String| TrainError::Corpus { name: package.name.clone(), reason };
    let file = std::fs::File::open(path).map_err(at(path))?;
    let mut archive = zip::ZipArchive::new(file).map_err(|error| fail(error.to_string()))?;
    let mut sources = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|error| fail(error.to_string()))?;
        let name = entry.name().to_string();
        if !name.ends_with(".py") || is_skipped(&name) || entry.size() > 1 << 20 {
            continue;
        }
        let mut text = String::new();
        if entry.read_to_string(&mut text).is_ok() {
            sources.push(text);
        }
    }
    Ok(sources)
}
