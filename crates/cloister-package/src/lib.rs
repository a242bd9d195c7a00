//! The model package: everything that a page or a command line loads, in one documented format.
//!
//! A package is a folder, or a web address, with `model.json`, a tokenizer and weight shards of at most 16 MB each.
//! `docs/model-package.md` describes it for those who write or host one.
//!
//! - [`Manifest`] is `model.json`; [`Manifest::parse`] checks it before anything is allocated for it.
//! - [`PackageLoader`] takes the files as bytes, in any order. It checks the size and SHA-256 of each before it parses
//!   it, and uploads each tensor at once, so that the caller can free the bytes. It reads no files itself.
//! - [`fs`] reads and writes packages on a disk (native programs only).

pub mod error;
#[cfg(not(target_arch = "wasm32"))]
pub mod fs;
pub mod hash;
pub mod loader;
pub mod manifest;
mod parts;
pub mod requirements;
pub mod shard;
#[cfg(feature = "testing")]
pub mod testing;
mod validate;
pub mod writer;

pub use error::PackageError;
pub use loader::{LoadedPackage, PackageLoader};
pub use manifest::{
    Architecture, Calibration, Card, CorpusEntry, DatasetEntry, Figure, FileEntry, Label, Manifest, Prompt,
    Quantization, SelfTest, TokenText, Tolerance, Training, WeightType, Weights,
};
pub use requirements::{Precision, Requirement};

/// The version of the format that this crate reads and writes.
pub const SCHEMA: u64 = 1;

/// The name of the manifest's file.
pub const MANIFEST_FILE: &str = "model.json";

/// The label that stands for "no weakness".
pub const NONE_LABEL: &str = "none";

/// The largest weight shard, in bytes: small enough for the file limits of common static hosts.
pub const MAX_SHARD_BYTES: u64 = 16_000_000;

/// The largest manifest, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// The largest tokenizer, in bytes.
pub const MAX_TOKENIZER_BYTES: u64 = 64 << 20;

/// The most shards that a package may have.
pub const MAX_SHARDS: usize = 4096;
