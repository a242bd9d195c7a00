//! The parser's statements, reduced to those of the [`Outline`].

use std::ops;

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::{Alias, ExceptHandler, Expr, FStringPart, Identifier, Stmt};
use ruff_text_size::Ranged;

use crate::lines::Edit;
use crate::outline::{
    Block, Definition, Evidence, EvidenceWeight, Import, ImportPart, Kind, Outline, Statement, bytes_of,
};

pub(crate) struct Reader {
    outline: Outline,
}

impl Reader {
    /// Adds the statements of a module to an outline that holds its tokens.
    pub(crate) fn read(outline: Outline, module: &[Stmt]) -> Outline {
        let mut reader = Self { outline };
        let (statements, texts) = reader.suite(module);
        reader.hide(&texts, "");
        reader.outline.statements = statements;
        reader.outline
    }

    /// The statements of a suite, and the places of those that are only text.
    fn suite(&mut self, suite: &[Stmt]) -> (Vec<Statement>, Vec<ops::Range<usize>>) {
        let statements: Vec<Statement> = suite.iter().map(|statement| self.statement(statement)).collect();
        let texts = statements.iter().filter(|statement| matches!(statement.kind, Kind::Text));
        let texts = texts.map(|statement| statement.bytes.clone()).collect();
        (statements, texts)
    }

    /// The statements of a suite inside another statement, which must not become empty.
    fn body(&mut self, suite: &[Stmt]) -> Vec<Statement> {
        let (statements, texts) = self.suite(suite);
        self.hide(&texts, if texts.len() == statements.len() { "pass" } else { "" });
        statements
    }

    fn hide(&mut self, texts: &[ops::Range<usize>], first_with: &'static str) {
        for (index, bytes) in texts.iter().enumerate() {
            let with = if index == 0 { first_with } else { "" };
            let bytes = if with.is_empty() { self.with_semicolon(bytes) } else { bytes.clone() };
            self.outline.hidden.push(Edit { bytes, with });
        }
    }

    /// A simple statement with the semicolon that parts it from the next, or else from the one before.
    fn with_semicolon(&self, bytes: &ops::Range<usize>) -> ops::Range<usize> {
        let tokens = &self.outline.tokens;
        let next = tokens.partition_point(|token| token.bytes.start < bytes.end);
        let own = tokens.partition_point(|token| token.bytes.start < bytes.start);
        if let Some(token) = tokens.get(next).filter(|token| token.kind == TokenKind::Semi) {
            let following = tokens.get(next + 1).filter(|token| token.kind != TokenKind::Newline);
            return bytes.start..following.map_or(token.bytes.end, |token| token.bytes.start);
        }
        match own.checked_sub(1).and_then(|before| tokens.get(before)) {
            Some(token) if token.kind == TokenKind::Semi => token.bytes.start..bytes.end,
            _ => bytes.clone(),
        }
    }

    fn statement(&mut self, statement: &Stmt) -> Statement {
        let bytes = bytes_of(statement.range());
        let (kind, weight) = self.kind(statement, &bytes);
        if kind_is_code(&kind) {
            self.outline.evidence.push(Evidence { start: keyword_start(statement), weight });
        }
        Statement { bytes, kind }
    }

    fn kind(&mut self, statement: &Stmt, bytes: &ops::Range<usize>) -> (Kind, EvidenceWeight) {
        let simple = EvidenceWeight::Simple;
        match statement {
            Stmt::FunctionDef(function) => {
                self.body(&function.body);
                let parameters = function.parameters.iter().map(|parameter| parameter.name().to_string()).collect();
                let definition = definition(&function.name, parameters, &function.body, bytes, Vec::new());
                let weight = if function.body.is_empty() { simple } else { EvidenceWeight::Definition };
                (Kind::Function(definition), weight)
            }
            Stmt::ClassDef(class) => {
                let body = self.body(&class.body);
                let weight = if class.body.is_empty() { simple } else { EvidenceWeight::Definition };
                (Kind::Class(definition(&class.name, Vec::new(), &class.body, bytes, body)), weight)
            }
            Stmt::Import(import) => {
                (Kind::Import(Import { prefix: "import ".to_owned(), parts: parts(&import.names) }), simple)
            }
            Stmt::ImportFrom(import) => {
                let dots = ".".repeat(usize::try_from(import.level).unwrap_or(0).min(64));
                let module = import.module.as_ref().map_or("", |module| module.as_str());
                (
                    Kind::Import(Import {
                        prefix: format!("from {dots}{module} import "),
                        parts: parts(&import.names),
                    }),
                    simple,
                )
            }
            Stmt::Assign(assign) => {
                let names: Option<Vec<_>> = assign.targets.iter().map(assigned_names).collect();
                (self.assignment(names.map(|names| names.concat()), bytes), simple)
            }
            Stmt::AnnAssign(assign) if assign.value.is_none() => {
                if self.calls(bytes) {
                    (Kind::Other, simple)
                } else {
                    (Kind::Inert, EvidenceWeight::None)
                }
            }
            Stmt::AnnAssign(assign) => (self.assignment(assigned_names(&assign.target), bytes), simple),
            Stmt::Pass(_) => (Kind::Inert, simple),
            Stmt::Expr(expression) => self.expression(&expression.value, bytes),
            _ => match self.suites(statement) {
                Some(suites) => {
                    let has_body = suites.first().is_some_and(|suite| !suite.is_empty());
                    let weight = if has_body { EvidenceWeight::Block } else { simple };
                    let only_chooses = match statement {
                        Stmt::Try(_) => true,
                        Stmt::If(block) => !self.calls(&bytes_of(block.test.range())),
                        _ => false,
                    };
                    (Kind::Block(Block { suites, only_chooses }), weight)
                }
                None => (Kind::Other, simple),
            },
        }
    }

    fn expression(&self, value: &Expr, bytes: &ops::Range<usize>) -> (Kind, EvidenceWeight) {
        if is_plain_text(value) && self.outline.stands_alone(bytes) {
            return (Kind::Text, EvidenceWeight::None);
        }
        if matches!(value, Expr::EllipsisLiteral(_)) {
            return (Kind::Inert, EvidenceWeight::None);
        }
        let does_something = matches!(value, Expr::Call(_) | Expr::Await(_) | Expr::Yield(_) | Expr::YieldFrom(_));
        (Kind::Other, if does_something { EvidenceWeight::Simple } else { EvidenceWeight::None })
    }

    fn assignment(&self, names: Option<Vec<String>>, bytes: &ops::Range<usize>) -> Kind {
        let is_metadata = |name: &String| name.len() > 4 && name.starts_with("__") && name.ends_with("__");
        match names {
            Some(names) if names.iter().all(is_metadata) && !self.calls(bytes) => Kind::Inert,
            Some(names) => Kind::Assign(names),
            None => Kind::Other,
        }
    }

    /// Whether there may be a call: what calls something is never left out.
    fn calls(&self, bytes: &ops::Range<usize>) -> bool {
        self.outline.tokens_in(bytes).iter().any(|token| matches!(token.kind, TokenKind::Lpar | TokenKind::Await))
    }

    fn suites(&mut self, statement: &Stmt) -> Option<Vec<Vec<Statement>>> {
        Some(match statement {
            Stmt::If(block) => {
                let mut suites = vec![self.body(&block.body)];
                suites.extend(block.elif_else_clauses.iter().map(|clause| self.body(&clause.body)));
                suites
            }
            Stmt::For(block) => vec![self.body(&block.body), self.body(&block.orelse)],
            Stmt::While(block) => vec![self.body(&block.body), self.body(&block.orelse)],
            Stmt::With(block) => vec![self.body(&block.body)],
            Stmt::Match(block) => block.cases.iter().map(|case| self.body(&case.body)).collect(),
            Stmt::Try(block) => {
                let mut suites = vec![self.body(&block.body)];
                for handler in &block.handlers {
                    let ExceptHandler::ExceptHandler(handler) = handler;
                    suites.push(self.body(&handler.body));
                }
                suites.push(self.body(&block.orelse));
                suites.push(self.body(&block.finalbody));
                suites
            }
            _ => return None,
        })
    }
}

fn kind_is_code(kind: &Kind) -> bool {
    !matches!(kind, Kind::Text)
}

/// The line of the keyword rather than of a decorator: an error is told there.
fn keyword_start(statement: &Stmt) -> usize {
    match statement {
        Stmt::FunctionDef(function) => function.name.start().to_usize(),
        Stmt::ClassDef(class) => class.name.start().to_usize(),
        _ => statement.start().to_usize(),
    }
}

fn definition(
    name: &Identifier,
    parameters: Vec<String>,
    suite: &[Stmt],
    bytes: &ops::Range<usize>,
    body: Vec<Statement>,
) -> Definition {
    let body_start = suite.first().map_or(bytes.end, |first| first.start().to_usize());
    Definition { name: name.to_string(), parameters, name_start: name.start().to_usize(), body_start, body }
}

fn parts(names: &[Alias]) -> Vec<ImportPart> {
    let known = names.iter().filter(|alias| !alias.name.is_empty());
    known
        .map(|alias| match &alias.asname {
            Some(other) => ImportPart { name: other.to_string(), text: format!("{} as {other}", alias.name) },
            None => {
                let first = alias.name.split('.').next().unwrap_or_default();
                ImportPart { name: first.to_owned(), text: alias.name.to_string() }
            }
        })
        .collect()
}

/// The names that an assignment to this target makes known, if it is made of names only.
fn assigned_names(target: &Expr) -> Option<Vec<String>> {
    match target {
        Expr::Name(name) => Some(vec![name.id.to_string()]),
        Expr::Tuple(tuple) => tuple
            .elts
            .iter()
            .map(|element| match element {
                Expr::Name(name) => Some(name.id.to_string()),
                _ => None,
            })
            .collect(),
        _ => None,
    }
}

/// A string, or an f-string that evaluates nothing.
fn is_plain_text(value: &Expr) -> bool {
    match value {
        Expr::StringLiteral(_) | Expr::BytesLiteral(_) => true,
        Expr::FString(string) => string.value.iter().all(|part| match part {
            FStringPart::Literal(_) => true,
            FStringPart::FString(string) => string.elements.iter().all(|element| element.is_literal()),
        }),
        _ => false,
    }
}
