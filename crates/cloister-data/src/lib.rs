//! The data set: authored pairs and safe snippets, patterns, splits, and the generator that puts patterns into real
//! functions. The format is described in `assets/dataset/README.md`.

mod blind;
mod check;
mod duplicates;
mod insert;
mod module;
mod mutate;
mod pair;
mod pattern;
mod rename;
mod row;
mod split;
mod variants;

pub use blind::{Agreement, BlindAnswer, Half, agreement, read_blind};
pub use check::check;
pub use duplicates::{NearDuplicate, masked, near_duplicates};
pub use insert::{Inserted, insert};
pub use module::{Change, Module};
pub use mutate::{Mutated, Mutation, Mutations, RULES, mutations, with_imports};
pub use pair::{Dataset, Pair, SafeSnippet, weak_lines};
pub use pattern::Pattern;
pub use rename::{rename_locals, rename_twins};
pub use row::{INSTRUCTION, NO_WEAKNESS, Row, batch, rows};
pub use split::{Split, assign, held_out};
pub use variants::{Variant, at_the_margin};

/// A fault in the data set's files.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or folder that cannot be read.
    #[error("{path} cannot be read ({source}); run the command from the project's root")]
    Read {
        /// The path.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is not the TOML it should be.
    #[error("{path} is not a data file: {reason}; see assets/dataset/README.md for the format")]
    Format {
        /// The path.
        path: std::path::PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// An entry that breaks a rule of the format.
    #[error("entry {id}: {reason}; correct it in assets/dataset")]
    Entry {
        /// The entry's id.
        id: String,
        /// The rule it breaks.
        reason: String,
    },
}
