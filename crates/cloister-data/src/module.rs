//! Authored modules: files of made-up projects, right as they stand, and small changes that each make one function weak.

use crate::DataError;
use ruff_python_ast::Stmt;
use ruff_text_size::Ranged;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::Path;

/// A file of a made-up project, and what would make it weak: one group.
#[derive(Debug, Clone)]
pub struct Module {
    /// The file's name without its end, unique.
    pub name: String,
    /// The code, which is right.
    pub text: String,
    /// What would make it weak.
    pub changes: Vec<Change>,
}

/// One protection of one function, and what may stand in its place.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The function, as `name` or `Class.method`.
    pub function: String,
    /// The weakness without the protection, as "CWE-89".
    pub cwe: String,
    /// A text that occurs once in the function.
    pub safe: String,
    /// What may stand in its place, each alone.
    pub weak: Vec<String>,
    /// The line that is weak then, without indentation, where it is not what has changed.
    pub carrier: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    change: Vec<Change>,
}

impl Module {
    /// Reads `NAME.py` beside each `NAME.toml` of a folder, in order.
    ///
    /// # Errors
    /// [`DataError`] names the first file that cannot be read.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>, DataError> {
        let mut modules = Vec::new();
        for path in crate::pair::toml_files(folder)? {
            let read = |path: &Path| {
                std::fs::read_to_string(path).map_err(|source| DataError::Read { path: path.into(), source })
            };
            let file: File = toml::from_str(&read(&path)?)
                .map_err(|error| DataError::Format { path: path.clone(), reason: error.to_string() })?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            modules.push(Self { name, text: read(&path.with_extension("py"))?, changes: file.change });
        }
        Ok(modules)
    }

    /// The module with one change in it, and the 1-based lines that carry the weakness. `None` where the change has no such
    /// variant.
    ///
    /// # Errors
    /// [`DataError::Entry`] where the function, the text or the line is not there once.
    pub fn changed(&self, change: &Change, variant: usize) -> Result<Option<(String, Vec<u32>)>, DataError> {
        let Some(weak) = change.weak.get(variant) else { return Ok(None) };
        let fault = |reason: &str| DataError::Entry {
            id: format!("{} in modules/{}", change.function, self.name),
            reason: reason.into(),
        };
        let function = function(&self.text, &change.function).ok_or_else(|| fault("there is no such function"))?;
        let body = &self.text[function.clone()];
        let mut places = body.match_indices(&change.safe);
        let (Some((at, _)), None) = (places.next(), places.next()) else {
            return Err(fault(&format!("its text `{}` does not occur once", change.safe)));
        };
        let start = function.start + at;
        let end = start + change.safe.len();
        let text = format!("{}{weak}{}", &self.text[..start], &self.text[end..]);
        let line_of = |at: usize| text[..at].matches('\n').count() as u32 + 1;
        if let Some(carrier) = &change.carrier {
            let (first, last) = (line_of(function.start), line_of(function.end + weak.len() - change.safe.len()));
            let lines: Vec<u32> = (1..)
                .zip(text.lines())
                .filter(|(number, line)| (first..=last).contains(number) && line.trim() == carrier.trim())
                .map(|(number, _)| number)
                .collect();
            if lines.len() != 1 {
                return Err(fault(&format!("the line `{carrier}` does not occur once")));
            }
            return Ok(Some((text, lines)));
        }
        // Lines that only lead to the change, or that both forms begin or end with, are not what is weak.
        let old: Vec<&str> = change.safe.lines().collect();
        let new: Vec<&str> = weak.lines().collect();
        let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
        let rest = new.len().saturating_sub(same).min(old.len().saturating_sub(same));
        let behind = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
        let first = line_of(start);
        let lines: Vec<u32> = (same..new.len() - behind)
            .filter(|index| !new[*index].trim().is_empty())
            .map(|index| first + index as u32)
            .collect();
        if lines.is_empty() {
            return Err(fault("the change leaves no line that could be weak: name its `carrier`"));
        }
        Ok(Some((text, lines)))
    }
}

/// The bytes of a function's lines, decorators included. `None` where there is not exactly one of the name.
fn function(text: &str, wanted: &str) -> Option<Range<usize>> {
    fn find(body: &[Stmt], prefix: &str, wanted: &str, found: &mut Vec<Range<usize>>) {
        for stmt in body {
            match stmt {
                Stmt::FunctionDef(function) => {
                    let name = format!("{prefix}{}", function.name);
                    if name == wanted {
                        let first =
                            function.decorator_list.first().map_or(stmt.start(), |d| d.start().min(stmt.start()));
                        found.push(first.to_usize()..stmt.end().to_usize());
                    }
                    find(&function.body, &format!("{name}."), wanted, found);
                }
                Stmt::ClassDef(class) => find(&class.body, &format!("{prefix}{}.", class.name), wanted, found),
                Stmt::If(branch) => find(&branch.body, prefix, wanted, found),
                Stmt::Try(attempt) => find(&attempt.body, prefix, wanted, found),
                Stmt::With(with) => find(&with.body, prefix, wanted, found),
                _ => {}
            }
        }
    }
    let parsed = ruff_python_parser::parse_module(text).ok()?;
    let mut found = Vec::new();
    find(&parsed.syntax().body, "", wanted, &mut found);
    let [only] = found.as_slice() else { return None };
    let start = text[..only.start].rfind('\n').map_or(0, |at| at + 1);
    let end = text[only.end..].find('\n').map_or(text.len(), |at| only.end + at + 1);
    Some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "import os\n\nclass A:\n    @route('/x')\n    @login\n    def f(self, q):\n        self.check(\n            q,\n            1,\n        )\n        return run(q)\n\ndef g(q):\n    return run(q)\n";

    fn changed(function: &str, safe: &str, weak: &str, carrier: Option<&str>) -> Result<(String, Vec<u32>), DataError> {
        let change = Change {
            function: function.into(),
            cwe: "CWE-78".into(),
            safe: safe.into(),
            weak: vec![weak.into()],
            carrier: carrier.map(str::to_string),
        };
        let module = Module { name: "m".into(), text: TEXT.into(), changes: Vec::new() };
        assert!(module.changed(&change, 1)?.is_none());
        Ok(module.changed(&change, 0)?.unwrap())
    }

    #[test]
    fn a_change_is_made_in_its_function_alone() {
        let (text, lines) = changed("A.f", "return run(q)", "return call(q)", None).unwrap();
        assert_eq!((text, lines), (TEXT.replacen("run(q)", "call(q)", 1), vec![11]));
        assert_eq!(changed("g", "run", "call", None).unwrap().1, [14]);
    }

    #[test]
    fn the_carrier_or_what_has_changed_is_weak() {
        let (text, lines) = changed("A.f", "    @login\n", "", Some("def f(self, q):")).unwrap();
        assert_eq!((text, lines), (TEXT.replace("    @login\n", ""), vec![5]));
        let (_, lines) =
            changed("A.f", "check(\n            q,\n            1,", "check(\n            q,\n            2,", None)
                .unwrap();
        assert_eq!(lines, [9]);
    }

    #[test]
    fn what_is_not_there_once_is_a_fault() {
        for (function, safe, carrier) in
            [("h", "run", None), ("A.f", "q", None), ("g", "none", None), ("g", "run", Some("return"))]
        {
            assert!(changed(function, safe, "x", carrier).is_err(), "{function} {safe}");
        }
        assert!(changed("g", "    return run(q)\n", "", None).is_err());
    }
}
