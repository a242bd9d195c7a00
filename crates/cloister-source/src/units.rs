//! Cutting a parsed text into units.

use std::collections::HashMap;
use std::ops;

use ruff_python_ast::token::TokenKind;

use crate::context::{EnclosingClass, Surroundings};
use crate::lines::{Edit, unit_lines};
use crate::names::Names;
use crate::outline::{Definition, Kind, Outline, Statement};
use crate::text::SourceText;
use crate::unit::{MODULE_UNIT, Unit, UnitKind, UnitLine};

/// All units of the text, in the order of their first lines.
pub(crate) fn extract(source: &SourceText<'_>, text: &str, outline: &Outline) -> Vec<Unit> {
    let mut extractor =
        Extractor { source, outline, surroundings: Surroundings::new(source, outline), units: Vec::new() };
    extractor.definitions(&outline.statements, "", None);
    extractor.module(text);
    let mut units = extractor.units;
    units.sort_by_key(|unit| (unit.bytes.start, unit.kind == UnitKind::Module));
    make_names_unique(&mut units);
    units
}

struct Extractor<'a> {
    source: &'a SourceText<'a>,
    outline: &'a Outline,
    surroundings: Surroundings<'a>,
    units: Vec<Unit>,
}

impl<'a> Extractor<'a> {
    /// The functions and classes of a suite and of the blocks in it.
    fn definitions(&mut self, statements: &'a [Statement], prefix: &str, class: Option<&EnclosingClass<'a>>) {
        for statement in statements {
            match &statement.kind {
                Kind::Function(definition) => self.function(statement, definition, prefix, class),
                Kind::Class(definition) => {
                    // A class inside a class belongs to the unit of the outer one; its methods are units all the same.
                    if class.is_none() {
                        self.class(statement, definition, prefix);
                    }
                    let prefix = format!("{prefix}{}.", definition.name);
                    self.definitions(&definition.body, &prefix, Some(&EnclosingClass::new(statement, definition)));
                }
                Kind::Block(block) => block.suites.iter().for_each(|suite| self.definitions(suite, prefix, class)),
                _ => {}
            }
        }
    }

    fn function(
        &mut self,
        statement: &'a Statement,
        definition: &'a Definition,
        prefix: &str,
        class: Option<&EnclosingClass<'a>>,
    ) {
        let hidden = &self.outline.hidden;
        let lines = unit_lines(self.source, self.outline, hidden, &statement.bytes);
        let mut names = Names::read(self.source.text(), self.outline, hidden, &statement.bytes);
        // A parameter is not the global of that name.
        for parameter in &definition.parameters {
            names.plain.remove(parameter.as_str());
        }
        let context = self.surroundings.context_for(&names, class);
        self.units.push(Unit {
            name: format!("{prefix}{}", definition.name),
            kind: if class.is_some() { UnitKind::Method } else { UnitKind::Function },
            range: self.source.range(statement.bytes.clone()),
            bytes: statement.bytes.clone(),
            header: self.header(&lines, definition.body_start),
            lines,
            context,
        });
    }

    /// The statements of a class body, if there are any besides methods, imports and annotations.
    fn class(&mut self, statement: &'a Statement, definition: &'a Definition, prefix: &str) {
        let bases = self.outline.tokens_in(&(definition.name_start..definition.body_start));
        let calls_in_bases = bases.iter().filter(|token| token.kind == TokenKind::Lpar).count() > 1;
        if !class_holds_code(&definition.body) && !calls_in_bases {
            return;
        }
        let mut removed = Vec::new();
        remove_functions(&definition.body, true, &mut removed);
        let edits = Edit::apart(self.outline.hidden.iter().cloned().chain(removed).collect());
        let lines = unit_lines(self.source, self.outline, &edits, &statement.bytes);
        let names = Names::read(self.source.text(), self.outline, &edits, &statement.bytes);
        let context = self.surroundings.context_for(&names, None);
        self.units.push(Unit {
            name: format!("{prefix}{}", definition.name),
            kind: UnitKind::Module,
            range: self.source.range(statement.bytes.clone()),
            bytes: statement.bytes.clone(),
            header: self.header(&lines, definition.body_start),
            lines,
            context,
        });
    }

    /// What is left of the module without its functions, classes and imports.
    fn module(&mut self, text: &str) {
        let statements = &self.outline.statements;
        if !holds_code(statements) {
            return;
        }
        let mut removed = Vec::new();
        remove_definitions(statements, false, &mut removed);
        // Imports are context, for the units that use them.
        let rest = statements.iter().filter(|statement| match &statement.kind {
            Kind::Import(_) | Kind::Inert => self.outline.stands_alone(&statement.bytes),
            Kind::Block(block) => block.only_chooses && !holds_code(std::slice::from_ref(*statement)),
            _ => false,
        });
        removed.extend(rest.map(|statement| Edit { bytes: statement.bytes.clone(), with: "" }));
        let edits = Edit::apart(self.outline.hidden.iter().cloned().chain(removed).collect());
        let lines = unit_lines(self.source, self.outline, &edits, &(0..text.len()));
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return };
        let Some(bytes) = self.lines_bytes(first.number, last.number) else { return };
        let names = Names::read(self.source.text(), self.outline, &edits, &(0..text.len()));
        let context = self.surroundings.imports_for(&names);
        self.units.push(Unit {
            name: MODULE_UNIT.to_owned(),
            kind: UnitKind::Module,
            range: self.source.range(bytes.clone()),
            bytes,
            header: 0,
            lines,
            context,
        });
    }

    /// The number of lines before the body, which may start on the line of the `def` or `class`.
    fn header(&self, lines: &[UnitLine], body_start: usize) -> usize {
        let body_line = self.source.line_of(body_start);
        lines.iter().take_while(|line| line.number < body_line).count().max(1).min(lines.len())
    }

    fn lines_bytes(&self, first: u32, last: u32) -> Option<ops::Range<usize>> {
        Some(self.source.line_bytes(first)?.start..self.source.line_bytes(last)?.end)
    }
}

/// Whether a suite holds more than functions, imports, annotations and the like.
fn holds_code(statements: &[Statement]) -> bool {
    statements.iter().any(|statement| match &statement.kind {
        Kind::Function(_) | Kind::Import(_) | Kind::Inert | Kind::Text => false,
        // Code in the body of a class is in a unit of its own, or in that of the class around it.
        Kind::Class(_) => false,
        Kind::Block(block) => !block.only_chooses || block.suites.iter().any(|suite| holds_code(suite)),
        Kind::Assign(_) | Kind::Other => true,
    })
}

/// The same for the body of a class, with the classes inside it.
fn class_holds_code(statements: &[Statement]) -> bool {
    holds_code(statements)
        || statements.iter().any(|statement| match &statement.kind {
            Kind::Class(definition) => class_holds_code(&definition.body),
            _ => false,
        })
}

/// Takes functions and classes out of a suite. A suite that must not become empty gets a `pass`.
fn remove_definitions(statements: &[Statement], must_stay: bool, removed: &mut Vec<Edit>) {
    remove(statements, must_stay, removed, &mut |statement, _| {
        matches!(statement.kind, Kind::Function(_) | Kind::Class(_))
    });
}

/// Takes functions out of a suite, and out of the classes in it.
fn remove_functions(statements: &[Statement], must_stay: bool, removed: &mut Vec<Edit>) {
    remove(statements, must_stay, removed, &mut |statement, removed| {
        if let Kind::Class(definition) = &statement.kind {
            remove_functions(&definition.body, true, removed);
        }
        matches!(statement.kind, Kind::Function(_))
    });
}

fn remove(
    statements: &[Statement],
    must_stay: bool,
    removed: &mut Vec<Edit>,
    is_removed: &mut dyn FnMut(&Statement, &mut Vec<Edit>) -> bool,
) {
    let mut gone: Vec<&Statement> = Vec::new();
    for statement in statements {
        if is_removed(statement, removed) {
            gone.push(statement);
        } else if let Kind::Block(block) = &statement.kind {
            for suite in &block.suites {
                remove(suite, true, removed, is_removed);
            }
        }
    }
    let texts = statements.iter().filter(|statement| matches!(statement.kind, Kind::Text)).count();
    let is_empty = gone.len() + texts == statements.len();
    for (index, statement) in gone.iter().enumerate() {
        let with = if index == 0 && must_stay && is_empty { "pass" } else { "" };
        removed.push(Edit { bytes: statement.bytes.clone(), with });
    }
}

/// A name that occurs again, as with a property's setter, gets its number.
fn make_names_unique(units: &mut [Unit]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for unit in units {
        let count = seen.entry(unit.name.clone()).or_insert(0);
        *count += 1;
        if *count > 1 {
            unit.name = format!("{} ({count})", unit.name);
        }
    }
}
