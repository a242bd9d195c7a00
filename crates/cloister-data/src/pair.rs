//! Authored code: pairs of a weak and a fixed half, and safe snippets.

use crate::{DataError, Module, Pattern};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// A piece of code with a weakness and the same code fixed: one group.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The group's name, unique over the data set.
    pub id: String,
    /// The main weakness, as "CWE-89".
    pub cwe: String,
    /// Other ids that would be right too.
    #[serde(default)]
    pub also: Vec<String>,
    /// The kind of program.
    pub style: String,
    /// What is wrong, in one sentence.
    pub description: String,
    /// What to do about it, in one sentence.
    pub remedy: String,
    /// Texts of the lines that carry the weakness, without indentation.
    pub weak: Vec<String>,
    /// The code with the weakness.
    pub vulnerable: String,
    /// The code without it.
    pub fixed: String,
}

/// Ordinary or dangerous-looking code that is right.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SafeSnippet {
    /// The group's name, unique over the data set.
    pub id: String,
    /// The kind of program.
    pub style: String,
    /// Why it is right, in one sentence.
    pub description: String,
    /// The code.
    pub code: String,
}

/// Everything in `assets/dataset`.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// Authored pairs, in the order of their files.
    pub pairs: Vec<Pair>,
    /// Authored safe snippets.
    pub safe: Vec<SafeSnippet>,
    /// Patterns for the generator.
    pub patterns: Vec<Pattern>,
    /// Authored modules, in the order of their files.
    pub modules: Vec<Module>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    pair: Vec<Pair>,
    #[serde(default)]
    safe: Vec<SafeSnippet>,
    #[serde(default)]
    pattern: Vec<Pattern>,
}

impl Dataset {
    /// Reads `pairs/*.toml`, `patterns/*.toml` and `modules/*` below a folder.
    ///
    /// # Errors
    /// [`DataError`] names the first file that cannot be read.
    pub fn read(root: &Path) -> Result<Self, DataError> {
        let mut dataset = Self::default();
        for folder in ["pairs", "patterns"] {
            for path in toml_files(&root.join(folder))? {
                let text =
                    std::fs::read_to_string(&path).map_err(|source| DataError::Read { path: path.clone(), source })?;
                let file: File = toml::from_str(&text)
                    .map_err(|error| DataError::Format { path: path.clone(), reason: error.to_string() })?;
                dataset.pairs.extend(file.pair);
                dataset.safe.extend(file.safe);
                dataset.patterns.extend(file.pattern);
            }
        }
        dataset.modules = Module::read_all(&root.join("modules"))?;
        Ok(dataset)
    }
}

pub(crate) fn toml_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let fail = |source| DataError::Read { path: folder.to_path_buf(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The 1-based lines of the vulnerable half that carry the weakness, ascending.
///
/// # Errors
/// [`DataError::Entry`] where a text does not occur exactly once.
pub fn weak_lines(pair: &Pair) -> Result<Vec<u32>, DataError> {
    let mut lines = Vec::new();
    for text in &pair.weak {
        let wanted = text.trim();
        let found: Vec<u32> =
            (1u32..).zip(pair.vulnerable.lines()).filter(|(_, line)| line.trim() == wanted).map(|(n, _)| n).collect();
        match found.as_slice() {
            [line] => lines.push(*line),
            _ => {
                let reason = format!("the weak line `{wanted}` occurs {} times, not once", found.len());
                return Err(DataError::Entry { id: pair.id.clone(), reason });
            }
        }
    }
    lines.sort_unstable();
    lines.dedup();
    Ok(lines)
}
