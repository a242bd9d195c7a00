//! Packages on a disk.

use crate::writer::{KeptTensor, ShardPacker, TOKENIZER_FILE, build_package, file_entry, is_shard_name, shard_name};
use crate::{FileEntry, LoadedPackage, MANIFEST_FILE, MAX_MANIFEST_BYTES, Manifest, PackageError, PackageLoader};
use burn::tensor::{Device, TensorData};
use cloister_model::{InferenceBuilder, ModelBuilder};
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Loads the package in a folder.
///
/// # Errors
/// [`PackageError`] names the file and its fault.
pub fn read_package(folder: &Path, device: Device) -> Result<LoadedPackage, PackageError> {
    read_package_with(folder, device, |_, _| {})
}

/// As [`read_package`], and tells `progress` the bytes done and the bytes to do, after each file.
///
/// # Errors
/// [`PackageError`] names the file and its fault.
pub fn read_package_with(
    folder: &Path,
    device: Device,
    progress: impl FnMut(u64, u64),
) -> Result<LoadedPackage, PackageError> {
    read_package_as::<InferenceBuilder>(folder, device, progress)
}

/// As [`read_package_with`], for a model that another builder makes: [`cloister_model::CodeGenBuilder`] makes one to train.
///
/// # Errors
/// [`PackageError`] names the file and its fault.
pub fn read_package_as<B: ModelBuilder>(
    folder: &Path,
    device: Device,
    mut progress: impl FnMut(u64, u64),
) -> Result<LoadedPackage<B::Model>, PackageError> {
    let mut loader = PackageLoader::<B>::new(&read_manifest_bytes(folder)?, device)?;
    let files: Vec<FileEntry> = loader.files().into_iter().cloned().collect();
    let total = files.iter().map(|entry| entry.bytes).sum();
    let mut done = 0;
    for (index, entry) in files.iter().enumerate() {
        loader.accept(index, &read_entry(folder, entry)?)?;
        done += entry.bytes;
        progress(done, total);
    }
    loader.finish()
}

/// The manifest of the package in a folder.
///
/// # Errors
/// As [`Manifest::parse`], and where the file cannot be read.
pub fn read_manifest(folder: &Path) -> Result<Manifest, PackageError> {
    Manifest::parse(&read_manifest_bytes(folder)?)
}

/// Writes a package to a folder, which is made where there is none, and returns its complete manifest. Shards of an
/// earlier package in the folder are removed. See [`build_package`] for the arguments.
///
/// # Errors
/// As [`build_package`], and where a file cannot be written.
pub fn write_package(
    folder: &Path,
    manifest: Manifest,
    tensors: &[(String, TensorData)],
    tokenizer: Vec<u8>,
) -> Result<Manifest, PackageError> {
    let package = build_package(manifest, tensors, tokenizer)?;
    let json = package.manifest.to_json()?;
    fs::create_dir_all(folder).map_err(|error| io_error(folder, &error))?;
    remove_shards(folder)?;
    for (name, bytes) in &package.files {
        write(&folder.join(name), bytes)?;
    }
    // Last, so that a manifest never stands beside files that are not there yet.
    write(&folder.join(MANIFEST_FILE), json.as_bytes())?;
    Ok(package.manifest)
}

fn remove_shards(folder: &Path) -> Result<(), PackageError> {
    for entry in fs::read_dir(folder).map_err(|error| io_error(folder, &error))?.flatten() {
        if entry.file_name().to_str().is_some_and(is_shard_name) {
            fs::remove_file(entry.path()).map_err(|error| io_error(&entry.path(), &error))?;
        }
    }
    Ok(())
}

/// Writes a package one tensor at a time: no more than a shard and a tensor are held. An earlier package in the folder stays
/// as it is until [`Self::finish`]; what was written for one that is given up is removed.
pub struct PackageWriter {
    folder: PathBuf,
    packer: ShardPacker,
    partial: Vec<(PathBuf, FileEntry)>,
}

impl PackageWriter {
    /// A writer for a folder, which is made where there is none.
    ///
    /// # Errors
    /// [`PackageError::Io`] where it cannot be made.
    pub fn new(folder: &Path) -> Result<Self, PackageError> {
        fs::create_dir_all(folder).map_err(|error| io_error(folder, &error))?;
        Ok(Self { folder: folder.into(), packer: ShardPacker::default(), partial: Vec::new() })
    }

    /// Takes the next tensor, in the order of the architecture.
    ///
    /// # Errors
    /// As [`ShardPacker::add`], and where a file cannot be written.
    pub fn add(&mut self, tensor: KeptTensor) -> Result<(), PackageError> {
        self.packer.add(tensor)?.into_iter().try_for_each(|shard| self.write(&shard))
    }

    fn write(&mut self, shard: &[u8]) -> Result<(), PackageError> {
        let path = self.folder.join(format!(".weights-{}.partial", self.partial.len()));
        self.partial.push((path.clone(), file_entry(String::new(), shard)));
        write(&path, shard)
    }

    /// Writes tokenizer and manifest, and returns the complete manifest. `manifest` says everything but the files.
    ///
    /// # Errors
    /// [`PackageError`] where the manifest is not one that could be read again, or a file cannot be written.
    pub fn finish(mut self, mut manifest: Manifest, tokenizer: &[u8]) -> Result<Manifest, PackageError> {
        if let Some(shard) = std::mem::take(&mut self.packer).finish()? {
            self.write(&shard)?;
        }
        let count = self.partial.len();
        manifest.tokenizer = file_entry(TOKENIZER_FILE.into(), tokenizer);
        manifest.weights.shards = (self.partial.iter().enumerate())
            .map(|(index, (_, entry))| FileEntry { file: shard_name(index, count), ..entry.clone() })
            .collect();
        let json = manifest.to_json()?;
        remove_shards(&self.folder)?;
        for ((path, _), entry) in std::mem::take(&mut self.partial).iter().zip(&manifest.weights.shards) {
            fs::rename(path, self.folder.join(&entry.file)).map_err(|error| io_error(path, &error))?;
        }
        write(&self.folder.join(TOKENIZER_FILE), tokenizer)?;
        // Last, so that a manifest never stands beside files that are not there yet.
        write(&self.folder.join(MANIFEST_FILE), json.as_bytes())?;
        Ok(manifest)
    }
}

impl Drop for PackageWriter {
    fn drop(&mut self) {
        for (path, _) in &self.partial {
            // Nothing more can be done about it here.
            let _ = fs::remove_file(path);
        }
    }
}

/// Changes the manifest of a package on disk: figures and pinned logits are measured on the package itself, after it
/// was written.
///
/// # Errors
/// As [`read_manifest`] and [`Manifest::to_json`].
pub fn update_manifest(folder: &Path, change: impl FnOnce(&mut Manifest)) -> Result<Manifest, PackageError> {
    let mut manifest = read_manifest(folder)?;
    change(&mut manifest);
    let json = manifest.to_json()?;
    write(&folder.join(MANIFEST_FILE), json.as_bytes())?;
    Ok(manifest)
}

fn read_manifest_bytes(folder: &Path) -> Result<Vec<u8>, PackageError> {
    read_limited(&folder.join(MANIFEST_FILE), MANIFEST_FILE, MAX_MANIFEST_BYTES as u64)
}

/// The bytes of a file, which is not read at all where it is too long.
fn read_entry(folder: &Path, entry: &FileEntry) -> Result<Vec<u8>, PackageError> {
    let path = folder.join(&entry.file);
    match fs::metadata(&path) {
        Ok(metadata) if metadata.len() > entry.bytes => {
            Err(PackageError::TooLong { file: entry.file.clone(), expected: entry.bytes, found: metadata.len() })
        }
        _ => read_limited(&path, &entry.file, entry.bytes),
    }
}

fn read_limited(path: &Path, name: &str, limit: u64) -> Result<Vec<u8>, PackageError> {
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(|error| {
        match error.kind() {
            ErrorKind::NotFound => PackageError::MissingFile(name.into()),
            _ => io_error(path, &error),
        }
    })?;
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), PackageError> {
    fs::write(path, bytes).map_err(|error| io_error(path, &error))
}

fn io_error(path: &Path, error: &std::io::Error) -> PackageError {
    PackageError::Io { file: path.display().to_string(), reason: error.to_string() }
}
