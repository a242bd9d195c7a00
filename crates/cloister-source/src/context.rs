//! What a unit needs from elsewhere in the file: imports, globals, and the class around it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops;

use crate::characters::visible;
use crate::lines::{shorten, unit_lines};
use crate::names::Names;
use crate::outline::{Definition, Import, Kind, Outline, Statement};
use crate::text::SourceText;
use crate::unit::{ContextLine, ContextRole, UnitLine};

/// Lines of context that one unit may have.
const MAX_LINES: usize = 60;
/// Lines of one assignment or class statement that are shown.
const MAX_STATEMENT_LINES: usize = 4;
const MAX_STATEMENT_BYTES: usize = 4_096;
/// Characters of one import that are shown, and what stays of a longer one.
const MAX_IMPORT: usize = 400;
const IMPORT_ENDS: (usize, usize) = (390, 0);
/// Statements that make the same name known, of which the first are shown.
const MAX_SAME_NAME: usize = 4;
/// The name under which `from module import *` is known.
const STAR: &str = "*";

/// The file around the units.
pub(crate) struct Surroundings<'a> {
    source: &'a SourceText<'a>,
    outline: &'a Outline,
    imports: Vec<(u32, &'a Import)>,
    globals: Vec<Assignment<'a>>,
    imports_by_name: HashMap<&'a str, Vec<usize>>,
    globals_by_name: HashMap<&'a str, Vec<usize>>,
}

struct Assignment<'a> {
    bytes: &'a ops::Range<usize>,
    names: &'a [String],
}

/// The class around a method, read once for all its methods.
pub(crate) struct EnclosingClass<'a> {
    name: &'a str,
    header: ops::Range<usize>,
    attributes: Vec<Assignment<'a>>,
    attributes_by_name: HashMap<&'a str, Vec<usize>>,
}

impl<'a> EnclosingClass<'a> {
    pub(crate) fn new(statement: &'a Statement, definition: &'a Definition) -> Self {
        let mut attributes = Vec::new();
        let mut attributes_by_name = HashMap::new();
        for statement in &definition.body {
            if let Kind::Assign(names) = &statement.kind {
                names.iter().for_each(|name| note(&mut attributes_by_name, name, attributes.len()));
                attributes.push(Assignment { bytes: &statement.bytes, names });
            }
        }
        let header = statement.bytes.start..definition.body_start;
        Self { name: &definition.name, header, attributes, attributes_by_name }
    }

    /// The assignments that a method reads, by `self`, by `cls`, by the class's name or plainly.
    fn attributes_for(&self, names: &Names<'a>) -> impl Iterator<Item = &Assignment<'a>> {
        let owned =
            names.attributes.iter().filter(|(owner, _)| matches!(*owner, "self" | "cls") || *owner == self.name);
        let used = names.plain.iter().copied().chain(owned.map(|(_, name)| *name)).collect();
        indexes(&self.attributes_by_name, &used).into_iter().map(|index| &self.attributes[index])
    }
}

impl<'a> Surroundings<'a> {
    pub(crate) fn new(source: &'a SourceText<'a>, outline: &'a Outline) -> Self {
        let mut surroundings = Self {
            source,
            outline,
            imports: Vec::new(),
            globals: Vec::new(),
            imports_by_name: HashMap::new(),
            globals_by_name: HashMap::new(),
        };
        surroundings.collect(&outline.statements);
        surroundings
    }

    fn collect(&mut self, statements: &'a [Statement]) {
        for statement in statements {
            match &statement.kind {
                Kind::Import(import) => {
                    for part in &import.parts {
                        note(&mut self.imports_by_name, &part.name, self.imports.len());
                    }
                    self.imports.push((self.source.line_of(statement.bytes.start), import));
                }
                Kind::Assign(names) => {
                    for name in names {
                        note(&mut self.globals_by_name, name, self.globals.len());
                    }
                    self.globals.push(Assignment { bytes: &statement.bytes, names });
                }
                Kind::Block(block) => block.suites.iter().for_each(|suite| self.collect(suite)),
                _ => {}
            }
        }
    }

    /// The imports that these names refer to.
    pub(crate) fn imports_for(&self, names: &Names<'_>) -> Vec<ContextLine> {
        let mut lines = self.import_lines(&names.plain);
        lines.truncate(MAX_LINES);
        lines
    }

    /// The imports and globals that these names refer to, and what they need of the class around the unit.
    pub(crate) fn context_for(&self, names: &Names<'a>, class: Option<&EnclosingClass<'a>>) -> Vec<ContextLine> {
        // What a global or a base class is made of tells what it is: `app = Flask(…)` needs the import of Flask.
        let mut known = names.plain.clone();
        let mut lines = Vec::new();
        for index in indexes(&self.globals_by_name, &names.plain).into_iter().take(MAX_LINES) {
            let global = &self.globals[index];
            known.extend(self.names_in(global.bytes).plain);
            self.push_statement(&mut lines, global.bytes, ContextRole::Global, global.names, "");
        }
        if let Some(class) = class {
            known.extend(self.names_in(&class.header).plain);
            self.push_statement(&mut lines, &class.header, ContextRole::ClassHeader, &[], "");
            for attribute in class.attributes_for(names).take(MAX_LINES) {
                known.extend(self.names_in(attribute.bytes).plain);
                self.push_statement(&mut lines, attribute.bytes, ContextRole::ClassAttribute, attribute.names, "    ");
            }
        }
        lines.splice(0..0, self.import_lines(&known));
        lines.truncate(MAX_LINES);
        lines
    }

    fn import_lines(&self, known: &HashSet<&str>) -> Vec<ContextLine> {
        let mut found = indexes(&self.imports_by_name, known);
        found.extend(self.imports_by_name.get(STAR).into_iter().flatten());
        found
            .into_iter()
            .map(|index| {
                let (number, import) = self.imports[index];
                let parts: Vec<_> = import
                    .parts
                    .iter()
                    .filter(|part| part.name == STAR || known.contains(part.name.as_str()))
                    .collect();
                let texts: Vec<&str> = parts.iter().map(|part| part.text.as_str()).collect();
                let text =
                    shorten(&visible(&format!("{}{}", import.prefix, texts.join(", "))), MAX_IMPORT, IMPORT_ENDS);
                let names = parts.iter().map(|part| part.name.clone()).filter(|name| name != STAR).collect();
                ContextLine { line: UnitLine { number, text }, role: ContextRole::Import, names }
            })
            .collect()
    }

    fn push_statement(
        &self,
        lines: &mut Vec<ContextLine>,
        bytes: &ops::Range<usize>,
        role: ContextRole,
        names: &[String],
        indentation: &str,
    ) {
        let shown = unit_lines(self.source, self.outline, &self.outline.hidden, &self.head(bytes)).into_iter();
        lines.extend(shown.take(MAX_STATEMENT_LINES).map(|line| ContextLine {
            line: UnitLine { number: line.number, text: format!("{indentation}{}", line.text) },
            role,
            names: names.to_vec(),
        }));
    }

    fn names_in(&self, bytes: &ops::Range<usize>) -> Names<'a> {
        Names::read(self.source.text(), self.outline, &self.outline.hidden, &self.head(bytes))
    }

    /// As much of a statement as may be shown: a table of a megabyte is not read again for each of its users.
    fn head(&self, bytes: &ops::Range<usize>) -> ops::Range<usize> {
        let end = self.source.text().floor_char_boundary(bytes.end.min(bytes.start + MAX_STATEMENT_BYTES));
        bytes.start..end
    }
}

fn note<'a>(by_name: &mut HashMap<&'a str, Vec<usize>>, name: &'a str, index: usize) {
    let indexes = by_name.entry(name).or_default();
    if indexes.len() < MAX_SAME_NAME {
        indexes.push(index);
    }
}

fn indexes(by_name: &HashMap<&str, Vec<usize>>, names: &HashSet<&str>) -> BTreeSet<usize> {
    // The smaller side is walked: a file may have many globals, and a unit many names.
    if by_name.len() < names.len() {
        by_name.iter().filter(|(name, _)| names.contains(**name)).flat_map(|(_, found)| found).copied().collect()
    } else {
        names.iter().filter_map(|name| by_name.get(name)).flatten().copied().collect()
    }
}
