//! Puts a pattern at a random place inside a real function.

use crate::Pattern;
use crate::pattern::fill;
use rand::{Rng, seq::IndexedRandom};
use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{Expr, ExprContext, Stmt, StmtFunctionDef};
use ruff_text_size::Ranged;

/// A host function with a pattern in it: the twins differ in nothing but the pattern's two forms.
#[derive(Debug, Clone)]
pub struct Inserted {
    /// The host with the unsafe form.
    pub weak: String,
    /// 1-based lines of `weak` that carry the weakness.
    pub lines: Vec<u32>,
    /// The host with the safe form.
    pub safe: String,
}

/// Inserts `pattern` into `host`, the text of one function (decorators and context lines may stand before it).
///
/// `None` where the host does not parse, holds no function, or has no name that could carry data from outside; or where
/// the result would not parse (an `await` in a function that is not async, say).
pub fn insert(pattern: &Pattern, host: &str, rng: &mut impl Rng) -> Option<Inserted> {
    let parsed = ruff_python_parser::parse_module(host).ok()?;
    let function = last_function(&parsed.syntax().body)?;
    let starts = line_starts(host);
    let mut places = Vec::new();
    collect_places(&function.body, host, &starts, &mut places);
    let place = *places.choose(rng)?;

    let parameters: Vec<String> = function
        .parameters
        .iter()
        .map(|parameter| parameter.name().to_string())
        .filter(|name| name != "self" && name != "cls")
        .collect();
    let names = local_names(function, &starts, place.line);
    let variables = if parameters.is_empty() { &names.stored_before } else { &parameters };
    let first = variables.choose(rng)?;
    let second = variables.choose(rng)?;
    let mut taken = names.all;
    taken.extend(parameters.iter().cloned());
    let bound = pattern.bind([first, second], &taken, rng);

    let lines: Vec<&str> = host.lines().collect();
    let compose = |template: &str| {
        let filled = fill(template, &bound);
        let body: Vec<String> =
            filled.trim_matches('\n').lines().map(|line| format!("{:1$}{line}", "", place.indent)).collect();
        let mut out: Vec<&str> = pattern.imports.iter().map(String::as_str).collect();
        out.extend(&lines[..place.line]);
        out.extend(body.iter().map(String::as_str));
        out.extend(&lines[place.line..]);
        let text = out.join("\n") + "\n";
        ruff_python_parser::parse_module(&text).ok().map(|_| text)
    };
    let offset = (pattern.imports.len() + place.line) as u32;
    Some(Inserted {
        weak: compose(&pattern.weak)?,
        lines: pattern.weak_lines.iter().map(|line| line + offset).collect(),
        safe: compose(&pattern.safe)?,
    })
}

/// Before which 0-based line to insert, and how far to indent.
#[derive(Debug, Clone, Copy)]
struct Place {
    line: usize,
    indent: usize,
}

/// The function that a unit's text is about: the last one at top level, or the last method of the last class.
fn last_function(body: &[Stmt]) -> Option<&StmtFunctionDef> {
    match body.last()? {
        Stmt::FunctionDef(function) => Some(function),
        Stmt::ClassDef(class) => last_function(&class.body),
        _ => None,
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect()
}

fn line_of(starts: &[usize], offset: usize) -> usize {
    starts.partition_point(|start| *start <= offset) - 1
}

/// The start of every statement that begins its line, in this body and the ones inside it.
fn collect_places(body: &[Stmt], host: &str, starts: &[usize], places: &mut Vec<Place>) {
    for stmt in body {
        let offset = match stmt {
            // A decorated definition starts at its first decorator.
            Stmt::FunctionDef(def) => def.decorator_list.first().map_or(def.start(), |d| d.start()),
            Stmt::ClassDef(def) => def.decorator_list.first().map_or(def.start(), |d| d.start()),
            _ => stmt.start(),
        }
        .to_usize();
        let line = line_of(starts, offset);
        let before = &host[starts[line]..offset];
        if before.bytes().all(|b| b == b' ') {
            places.push(Place { line, indent: before.len() });
        }
        match stmt {
            Stmt::If(s) => {
                collect_places(&s.body, host, starts, places);
                for clause in &s.elif_else_clauses {
                    collect_places(&clause.body, host, starts, places);
                }
            }
            Stmt::For(s) => collect_places(&s.body, host, starts, places),
            Stmt::While(s) => collect_places(&s.body, host, starts, places),
            Stmt::With(s) => collect_places(&s.body, host, starts, places),
            Stmt::Try(s) => collect_places(&s.body, host, starts, places),
            _ => {}
        }
    }
}

/// The names that a function uses.
struct LocalNames {
    all: Vec<String>,
    stored_before: Vec<String>,
}

fn local_names(function: &StmtFunctionDef, starts: &[usize], line: usize) -> LocalNames {
    struct Collect<'s> {
        starts: &'s [usize],
        line: usize,
        names: LocalNames,
    }
    impl<'a> Visitor<'a> for Collect<'_> {
        fn visit_expr(&mut self, expr: &'a Expr) {
            if let Expr::Name(name) = expr {
                self.names.all.push(name.id.to_string());
                if name.ctx == ExprContext::Store && line_of(self.starts, name.start().to_usize()) < self.line {
                    self.names.stored_before.push(name.id.to_string());
                }
            }
            walk_expr(self, expr);
        }
    }
    let mut collect = Collect { starts, line, names: LocalNames { all: Vec::new(), stored_before: Vec::new() } };
    collect.visit_body(&function.body);
    collect.names
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};
    use std::collections::BTreeMap;

    fn pattern() -> Pattern {
        Pattern {
            id: "p".into(),
            cwe: "CWE-78".into(),
            imports: vec!["import os".into()],
            weak: "\nos.system($CMD + $VAR)\n".into(),
            safe: "\nsubprocess.run([$CMD, $VAR])\n".into(),
            weak_lines: vec![1],
            slots: BTreeMap::from([("CMD".to_string(), vec!["'ls '".to_string()])]),
        }
    }

    #[test]
    fn twins_differ_in_the_pattern_alone() {
        let host = "@route('/')\ndef f(self, name):\n    if name:\n        g(name)\n    return 1\n";
        for seed in 0..50 {
            let made = insert(&pattern(), host, &mut StdRng::seed_from_u64(seed)).unwrap();
            let weak: Vec<&str> = made.weak.lines().collect();
            let safe: Vec<&str> = made.safe.lines().collect();
            assert_eq!(weak.len(), safe.len());
            let different: Vec<usize> = (0..weak.len()).filter(|i| weak[*i] != safe[*i]).collect();
            assert_eq!(different, [made.lines[0] as usize - 1]);
            assert!(weak[different[0]].contains("os.system('ls ' + name)"), "{}", made.weak);
        }
    }

    #[test]
    fn hosts_without_data_are_refused() {
        for host in ["x = 1\n", "def f():\n    return 1\n", "def f(:\n"] {
            assert!(insert(&pattern(), host, &mut StdRng::seed_from_u64(1)).is_none(), "{host}");
        }
    }
}
