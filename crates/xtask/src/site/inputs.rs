//! One hash over everything that a build reads.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use walkdir::{DirEntry, WalkDir};

use crate::error::{Error, Result};

/// Folders that a build writes, or that are installed and named by a lock file.
const NOT_SOURCES: [&str; 6] = ["node_modules", "generated", "dist", "target", "output", ".git"];

/// A hash in hexadecimal over the names and contents of files and folders below `root`. What is absent counts as
/// empty, so that a folder that appears later changes the hash.
pub fn hash(root: &Path, names: &[String]) -> Result<String> {
    let mut hash = Sha256::new();
    for name in names {
        for file in walk(&root.join(name), is_source)? {
            let bytes = fs::read(&file).map_err(Error::file("read", &file))?;
            let below = file.strip_prefix(root).unwrap_or(&file);
            hash.update(below.to_string_lossy().as_bytes());
            hash.update([0]);
            hash.update(bytes.len().to_le_bytes());
            hash.update(&bytes);
        }
    }
    Ok(format!("{:x}", hash.finalize()))
}

/// A hash in hexadecimal over one file.
pub fn hash_file(file: &Path) -> Result<String> {
    Ok(format!("{:x}", Sha256::digest(fs::read(file).map_err(Error::file("read", file))?)))
}

/// All files below a folder, or the file itself, in a fixed order. None if there is nothing.
pub fn files(start: &Path) -> Result<Vec<PathBuf>> {
    walk(start, |_| true)
}

fn is_source(entry: &DirEntry) -> bool {
    entry.depth() == 0 || !entry.file_name().to_str().is_some_and(|name| NOT_SOURCES.contains(&name))
}

fn walk(start: &Path, enters: impl FnMut(&DirEntry) -> bool) -> Result<Vec<PathBuf>> {
    if !start.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in WalkDir::new(start).sort_by_file_name().into_iter().filter_entry(enters) {
        let entry = entry.map_err(|error| Error::File {
            action: "read",
            path: error.path().unwrap_or(start).to_path_buf(),
            source: error.into(),
        })?;
        if entry.file_type().is_file() {
            found.push(entry.into_path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_contents_count_and_products_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let names = ["src".to_owned(), "later".to_owned()];
        let now = || hash(root, &names).unwrap();
        fs::create_dir_all(root.join("src/generated")).unwrap();
        fs::write(root.join("src/a"), "one").unwrap();
        let first = now();
        assert_eq!(first, now());
        fs::write(root.join("src/generated/b"), "made").unwrap();
        assert_eq!(first, now(), "products are not read");
        fs::rename(root.join("src/a"), root.join("src/c")).unwrap();
        let renamed = now();
        assert_ne!(first, renamed);
        fs::write(root.join("later"), "").unwrap();
        assert_ne!(renamed, now());
    }
}
