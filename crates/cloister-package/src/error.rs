//! What can be wrong with a package.

use cloister_model::ModelError;

/// A fault in a package. Each variant names the file that has it.
#[derive(Debug, thiserror::Error, Clone, PartialEq)]
pub enum PackageError {
    /// `model.json` is not JSON.
    #[error(
        "model.json is not valid JSON ({0}); fetch the package again, or check that the server sends the file itself and not an error page"
    )]
    NotJson(String),
    /// `model.json` is larger than any manifest has reason to be.
    #[error("model.json is {found} bytes long where at most {limit} are accepted; this is not a Cloister package")]
    ManifestTooLarge {
        /// Its size.
        found: usize,
        /// The largest accepted.
        limit: usize,
    },
    /// A schema version that this program does not know.
    #[error(
        "model.json has the schema version {found} where this program reads version {known}; update Cloister, or use a package made for this version"
    )]
    UnknownSchema {
        /// The version in the file, as JSON.
        found: String,
        /// The version that can be read.
        known: u64,
    },
    /// An architecture that this program does not have.
    #[error(
        "model.json asks for the architecture `{0}` where this program has `codegen`; update Cloister, or use another package"
    )]
    UnknownArchitecture(String),
    /// A quantisation that this program cannot read.
    #[error(
        "model.json asks for the quantisation {0}, which this program cannot read; use the f16 or f32 package, or update Cloister"
    )]
    UnknownQuantization(String),
    /// A field of `model.json` that cannot be used.
    #[error("model.json cannot be used: {field} {problem}; correct it, or fetch the package again")]
    Manifest {
        /// The field, as a path.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that the manifest lists and nobody could give.
    #[error("the file `{0}` of the package is missing; copy or fetch the whole package again")]
    MissingFile(String),
    /// A file that cannot be read or written.
    #[error("the file `{file}` cannot be accessed ({reason}); check the path and its permissions")]
    Io {
        /// The file.
        file: String,
        /// The system's reason.
        reason: String,
    },
    /// A file shorter than the manifest says.
    #[error("the file `{file}` is cut off: {found} of {expected} bytes are there; fetch it again")]
    Truncated {
        /// The file.
        file: String,
        /// Bytes according to the manifest.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// A file longer than the manifest says.
    #[error(
        "the file `{file}` has {found} bytes where model.json says {expected}; file and model.json belong to different packages, fetch both again"
    )]
    TooLong {
        /// The file.
        file: String,
        /// Bytes according to the manifest.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// A file of the right size and other content.
    #[error(
        "the file `{file}` has the SHA-256 {found} where model.json says {expected}; it is damaged or was exchanged, fetch the package again"
    )]
    WrongHash {
        /// The file.
        file: String,
        /// According to the manifest.
        expected: String,
        /// Of the bytes.
        found: String,
    },
    /// A file given twice, or one that the manifest does not list.
    #[error(
        "the package has no file number {index} that is still to come (of {count}); give each file once, in the order of the list"
    )]
    UnexpectedFile {
        /// Its index.
        index: usize,
        /// How many files there are.
        count: usize,
    },
    /// A shard that is not a sound safetensors file.
    #[error(
        "the shard `{file}` is not a sound safetensors file: {problem}; the package was built wrongly, build or fetch it again"
    )]
    Shard {
        /// The file.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor that does not belong to the architecture.
    #[error("in the shard `{file}`: {source}")]
    Tensor {
        /// The file.
        file: String,
        /// What is wrong with the tensor.
        source: ModelError,
    },
    /// The tensors of all shards together do not make the model.
    #[error("the shards do not make the model of model.json: {0}")]
    Model(#[from] ModelError),
    /// Something that the package to be written lacks.
    #[error("the package cannot be written: {0}")]
    Write(String),
}

impl PackageError {
    /// A short constant name, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotJson(_) => "not-json",
            Self::ManifestTooLarge { .. } => "manifest-too-large",
            Self::UnknownSchema { .. } => "unknown-schema",
            Self::UnknownArchitecture(_) => "unknown-architecture",
            Self::UnknownQuantization(_) => "unknown-quantization",
            Self::Manifest { .. } => "manifest",
            Self::MissingFile(_) => "missing-file",
            Self::Io { .. } => "io",
            Self::Truncated { .. } => "truncated",
            Self::TooLong { .. } => "too-long",
            Self::WrongHash { .. } => "wrong-hash",
            Self::UnexpectedFile { .. } => "unexpected-file",
            Self::Shard { .. } => "shard",
            Self::Tensor { .. } => "tensor",
            Self::Model(_) => "model",
            Self::Write(_) => "write",
        }
    }

    pub(crate) fn manifest(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Manifest { field: field.into(), problem: problem.into() }
    }
}
