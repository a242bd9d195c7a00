//! What Cargo.lock says: the versions in use, and which of our crates one crate is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::project::Project;

/// A read Cargo.lock.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    packages: Vec<Package>,
}

#[derive(Debug)]
struct Package {
    name: String,
    version: String,
    /// Of the workspace, not of a registry.
    ours: bool,
    needs: Vec<String>,
}

impl Lock {
    /// Reads the project's Cargo.lock.
    pub fn read(project: &Project) -> Result<Self> {
        let path = project.path("Cargo.lock");
        let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        Self::parse(path, &text)
    }

    fn parse(path: PathBuf, text: &str) -> Result<Self> {
        let content =
            |problem: String| Error::Content { path: path.clone(), problem, help: "Restore it from git.".to_owned() };
        let table: toml::Table = text.parse().map_err(|error| content(format!("is not a lock file: {error}")))?;
        let list = table.get("package").and_then(toml::Value::as_array);
        let list = list.ok_or_else(|| content("lists no packages".to_owned()))?;
        let packages = list.iter().filter_map(Package::from_toml).collect();
        Ok(Self { path, packages })
    }

    /// The one locked version of a package.
    pub fn version(&self, name: &str) -> Result<&str> {
        let mut versions = self.packages.iter().filter(|package| package.name == name);
        match (versions.next(), versions.next()) {
            (Some(only), None) => Ok(&only.version),
            (found, _) => Err(Error::Content {
                path: self.path.clone(),
                problem: format!("holds {} of {name}", if found.is_some() { "several versions" } else { "no version" }),
                help: "Exactly one is needed: see `cargo tree -i` for who asks for it.".to_owned(),
            }),
        }
    }

    /// The names of the workspace's crates that `name` is built from, itself among them.
    pub fn own_crates_of(&self, name: &str) -> BTreeSet<String> {
        let ours: BTreeMap<&str, &Package> = self
            .packages
            .iter()
            .filter(|package| package.ours)
            .map(|package| (package.name.as_str(), package))
            .collect();
        let mut found = BTreeSet::new();
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            if let Some(package) = ours.get(name)
                && found.insert(package.name.clone())
            {
                open.extend(package.needs.iter().map(String::as_str));
            }
        }
        found
    }
}

impl Package {
    fn from_toml(value: &toml::Value) -> Option<Self> {
        let text = |key| value.get(key).and_then(toml::Value::as_str);
        let needs = value.get("dependencies").and_then(toml::Value::as_array);
        // "name" or "name version": the version stands there only where several are locked.
        let first_word = |need: &toml::Value| Some(need.as_str()?.split(' ').next()?.to_owned());
        Some(Self {
            name: text("name")?.to_owned(),
            version: text("version")?.to_owned(),
            ours: text("source").is_none(),
            needs: needs.map(|needs| needs.iter().filter_map(first_word).collect()).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
version = 4
[[package]]
name = "page"
version = "0.1.0"
dependencies = ["engine", "twice 1.0.0"]
[[package]]
name = "engine"
version = "0.1.0"
dependencies = ["wasm-bindgen"]
[[package]]
name = "trainer"
version = "0.1.0"
dependencies = ["engine"]
[[package]]
name = "wasm-bindgen"
version = "0.2.130"
source = "registry"
[[package]]
name = "twice"
version = "1.0.0"
source = "registry"
[[package]]
name = "twice"
version = "2.0.0"
source = "registry"
"#;

    #[test]
    fn versions_and_closure_are_read() {
        let lock = Lock::parse("Cargo.lock".into(), TEXT).unwrap();
        assert_eq!(lock.version("wasm-bindgen").unwrap(), "0.2.130");
        assert!(lock.version("twice").unwrap_err().to_string().contains("several versions of twice"));
        assert!(lock.version("absent").unwrap_err().to_string().contains("no version of absent"));
        assert_eq!(lock.own_crates_of("page").into_iter().collect::<Vec<_>>(), ["engine", "page"]);
    }

    #[test]
    fn a_broken_file_is_named() {
        let error = Lock::parse("Cargo.lock".into(), "[[").unwrap_err().to_string();
        assert!(error.starts_with("Cargo.lock is not a lock file"), "{error}");
    }
}
