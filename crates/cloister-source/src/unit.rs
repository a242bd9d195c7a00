//! The units: what one prefill of the model looks at.

use std::ops;

use serde::{Deserialize, Serialize};

use crate::text::Range;

/// The name of the unit that holds the code at module level.
pub const MODULE_UNIT: &str = "<module>";

/// What a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitKind {
    /// A function, with the functions inside it.
    Function,
    /// A function of a class.
    Method,
    /// Code outside functions: of the module, or of one class body.
    Module,
}

/// One line of code as the model reads it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnitLine {
    /// Its line in the file, from 1.
    pub number: u32,
    /// The code without comments, docstrings and the unit's own indentation. Never empty, at most about 400 characters.
    pub text: String,
}

/// Where a line of context comes from. The order is the one in which the model reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContextRole {
    /// An import, reduced to the names that the unit uses.
    Import,
    /// An assignment at module level.
    Global,
    /// The class statement around a method, or a decorator of it.
    ClassHeader,
    /// An assignment in the class body.
    ClassAttribute,
}

/// A line that the unit needs to be understood, from elsewhere in the file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContextLine {
    /// The line.
    pub line: UnitLine,
    /// Where it comes from.
    pub role: ContextRole,
    /// The names that it brings in, for which it was chosen.
    pub names: Vec<String>,
}

/// A piece of code that is judged by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// The qualified name, as in `Class.method`; [`MODULE_UNIT`] for the module. Unique in its file: a second unit of
    /// the same name ends in ` (2)`.
    pub name: String,
    /// What it is.
    pub kind: UnitKind,
    /// Its place, with its decorators.
    pub range: Range,
    /// Its place in bytes.
    pub bytes: ops::Range<usize>,
    /// Its code. Never empty.
    pub lines: Vec<UnitLine>,
    /// How many of the first lines are decorators and the `def` or `class` statement; 0 for the module.
    pub header: usize,
    /// Lines from elsewhere that it needs, in the order in which the model reads them.
    pub context: Vec<ContextLine>,
}
