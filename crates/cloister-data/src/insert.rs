//! Puts a pattern at a random place inside a real function.

use crate::Pattern;
use crate::pattern::{fill, words};
use rand::{Rng, seq::IndexedRandom};
use ruff_python_ast::visitor::{Visitor, walk_expr};
use ruff_python_ast::{Expr, ExprContext, Stmt, StmtFunctionDef};
use ruff_text_size::Ranged;
use std::collections::BTreeSet;

/// A host function with a pattern in it: the twins differ in nothing but the pattern's two forms. The pattern's imports
/// are not in them: they belong at the top of what is read.
#[derive(Debug, Clone)]
pub struct Inserted {
    /// The host with the unsafe form.
    pub weak: String,
    /// 1-based lines of `weak` that carry the weakness.
    pub lines: Vec<u32>,
    /// The host with the safe form.
    pub safe: String,
    /// The names that the pattern brought along.
    pub names: BTreeSet<String>,
}

/// How often the statements of a pattern are spread over the host instead of following each other.
const SPREAD: f64 = 0.6;

/// At most so many statements of the host stand between two of a pattern's.
const GAP: usize = 3;

/// Inserts `pattern` into `host`, the text of one function (decorators and context lines may stand before it). Where both
/// forms have as many statements, those are often spread over the host's, so that a flow has to be followed.
///
/// `None` where the host does not parse, holds no function, or has no name that could carry data from outside; or where
/// the result would not parse (an `await` in a function that is not async, say). The names in `own` are not such names.
pub fn insert(pattern: &Pattern, host: &str, own: &BTreeSet<String>, rng: &mut impl Rng) -> Option<Inserted> {
    let parsed = ruff_python_parser::parse_module(host).ok()?;
    let function = last_function(&parsed.syntax().body)?;
    let starts = line_starts(host);
    let mut blocks = Vec::new();
    collect_places(&function.body, host, &starts, &mut blocks);
    let all: Vec<(&[Place], usize)> =
        blocks.iter().flat_map(|block| (0..block.len()).map(move |index| (block.as_slice(), index))).collect();
    let &(block, index) = all.choose(rng)?;

    let parameters: Vec<String> = function
        .parameters
        .iter()
        .map(|parameter| parameter.name().to_string())
        .filter(|name| name != "self" && name != "cls")
        .collect();
    let names = local_names(function, &starts);
    let stored = names.stored;
    let before: Vec<String> = stored
        .iter()
        .filter(|(line, name)| *line < block[index].line && !own.contains(name))
        .map(|(_, name)| name.clone())
        .collect();
    let variables = if parameters.is_empty() { &before } else { &parameters };
    let first = variables.choose(rng)?;
    let second = variables.choose(rng)?;
    let mut taken = names.all;
    taken.extend(parameters.iter().cloned());
    let bound = pattern.bind([first, second], &taken, rng);

    let [weak, safe] = [&pattern.weak, &pattern.safe].map(|template| fill(template, &bound));
    let (weak, safe) = (weak.trim_matches('\n'), safe.trim_matches('\n'));
    let [mut weak_starts, mut safe_starts] = [weak, safe].map(statement_starts);
    if weak_starts.len() != safe_starts.len() || !rng.random_bool(SPREAD) {
        (weak_starts, safe_starts) = (vec![0], vec![0]);
    }
    let held: BTreeSet<&str> = bound.values().flat_map(|value| words(value)).collect();
    let mut at = index;
    let places: Vec<Place> = (0..weak_starts.len())
        .map(|statement| {
            if statement > 0 {
                for _ in 0..rng.random_range(0..=GAP) {
                    let Some(next) = block.get(at + 1) else { break };
                    // What the pattern holds on to must still be the same behind the host's statement.
                    if stored
                        .iter()
                        .any(|(line, name)| (block[at].line..next.line).contains(line) && held.contains(name.as_str()))
                    {
                        break;
                    }
                    at += 1;
                }
            }
            block[at]
        })
        .collect();

    let host: Vec<&str> = host.lines().collect();
    let (weak, numbers) = compose(&host, weak, &weak_starts, &places);
    let (safe, _) = compose(&host, safe, &safe_starts, &places);
    ruff_python_parser::parse_module(&weak).ok()?;
    ruff_python_parser::parse_module(&safe).ok()?;
    let lines = pattern.weak_lines.iter().map(|line| numbers.get(*line as usize - 1).copied());
    let names = held.into_iter().filter(|word| !taken.iter().any(|name| name == word)).map(str::to_owned).collect();
    Some(Inserted { weak, lines: lines.collect::<Option<_>>()?, safe, names })
}

/// The 0-based lines at which the statements of a form begin; one statement where it cannot be told.
fn statement_starts(form: &str) -> Vec<usize> {
    let Ok(parsed) = ruff_python_parser::parse_module(form) else { return vec![0] };
    let lines = line_starts(form);
    let mut starts: Vec<usize> =
        parsed.syntax().body.iter().map(|stmt| line_of(&lines, stmt.start().to_usize())).collect();
    // Two statements on one line stay together, and what stands before the first belongs to it.
    starts.dedup();
    if let Some(first) = starts.first_mut() {
        *first = 0;
    }
    if starts.is_empty() { vec![0] } else { starts }
}

/// The host with each statement of `form` before its place, and the 1-based number of each line of `form` in it.
fn compose(host: &[&str], form: &str, starts: &[usize], places: &[Place]) -> (String, Vec<u32>) {
    let form: Vec<&str> = form.lines().collect();
    let mut out: Vec<String> = Vec::new();
    let mut numbers = Vec::with_capacity(form.len());
    let mut done = 0;
    for (statement, place) in places.iter().enumerate() {
        out.extend(host[done..place.line].iter().map(ToString::to_string));
        done = place.line;
        let end = starts.get(statement + 1).copied().unwrap_or(form.len());
        for line in &form[starts[statement]..end] {
            out.push(format!("{:1$}{line}", "", place.indent));
            numbers.push(out.len() as u32);
        }
    }
    out.extend(host[done..].iter().map(ToString::to_string));
    (out.join("\n") + "\n", numbers)
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

/// The start of every statement that begins its line, in this body and the ones inside it, by body.
fn collect_places(body: &[Stmt], host: &str, starts: &[usize], blocks: &mut Vec<Vec<Place>>) {
    let mut places = Vec::new();
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
                collect_places(&s.body, host, starts, blocks);
                for clause in &s.elif_else_clauses {
                    collect_places(&clause.body, host, starts, blocks);
                }
            }
            Stmt::For(s) => collect_places(&s.body, host, starts, blocks),
            Stmt::While(s) => collect_places(&s.body, host, starts, blocks),
            Stmt::With(s) => collect_places(&s.body, host, starts, blocks),
            Stmt::Try(s) => collect_places(&s.body, host, starts, blocks),
            _ => {}
        }
    }
    blocks.push(places);
}

/// The names that a function uses.
#[derive(Default)]
struct LocalNames {
    all: Vec<String>,
    /// With the 0-based line at which each is bound.
    stored: Vec<(usize, String)>,
}

fn local_names(function: &StmtFunctionDef, starts: &[usize]) -> LocalNames {
    struct Collect<'s> {
        starts: &'s [usize],
        names: LocalNames,
    }
    impl<'a> Visitor<'a> for Collect<'_> {
        fn visit_expr(&mut self, expr: &'a Expr) {
            if let Expr::Name(name) = expr {
                self.names.all.push(name.id.to_string());
                if name.ctx == ExprContext::Store {
                    self.names.stored.push((line_of(self.starts, name.start().to_usize()), name.id.to_string()));
                }
            }
            walk_expr(self, expr);
        }
    }
    let mut collect = Collect { starts, names: LocalNames::default() };
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
            let made = insert(&pattern(), host, &BTreeSet::new(), &mut StdRng::seed_from_u64(seed)).unwrap();
            let weak: Vec<&str> = made.weak.lines().collect();
            let safe: Vec<&str> = made.safe.lines().collect();
            assert_eq!(weak.len(), safe.len());
            let different: Vec<usize> = (0..weak.len()).filter(|i| weak[*i] != safe[*i]).collect();
            assert_eq!(different, [made.lines[0] as usize - 1]);
            assert!(weak[different[0]].contains("os.system('ls ' + name)"), "{}", made.weak);
        }
    }

    #[test]
    fn a_flow_is_spread_in_order() {
        let pattern = Pattern {
            weak: "$NEW1 = $VAR.strip()\nif $NEW1:\n    os.system($NEW1)\n".into(),
            safe: "$NEW1 = quote($VAR)\nif $NEW1:\n    os.system($NEW1)\n".into(),
            weak_lines: vec![3],
            ..pattern()
        };
        let host = "def f(name):\n    a()\n    b()\n    while c():\n        d()\n        e()\n    return 1\n";
        let mut apart = 0;
        for seed in 0..60 {
            let made = insert(&pattern, host, &BTreeSet::new(), &mut StdRng::seed_from_u64(seed)).unwrap();
            let lines: Vec<&str> = made.weak.lines().collect();
            let [source] = (0..lines.len()).filter(|i| lines[*i].contains("strip")).collect::<Vec<_>>()[..] else {
                panic!("{}", made.weak)
            };
            let sink = made.lines[0] as usize - 1;
            assert!(lines[sink].contains("os.system") && sink > source + 1, "{}", made.weak);
            assert_eq!(lines[sink - 1].len() - lines[sink - 1].trim_start().len() + 4, lines[sink].find('o').unwrap());
            apart += usize::from(sink > source + 2);
            // Nothing of the host is lost or moved.
            let rest: Vec<&str> = lines
                .iter()
                .enumerate()
                .filter(|(i, _)| *i != source && *i != sink && *i != sink - 1)
                .map(|(_, line)| *line)
                .collect();
            assert_eq!(rest.join("\n") + "\n", host);
            let safe: Vec<&str> = made.safe.lines().collect();
            assert_eq!(safe.len(), lines.len());
            assert!((0..lines.len()).all(|i| (lines[i] == safe[i]) == (i != source)), "{}\n{}", made.weak, made.safe);
        }
        assert!((15..50).contains(&apart), "{apart} of 60 spread");
    }

    #[test]
    fn a_flow_ends_where_its_name_is_bound_again() {
        let pattern = Pattern {
            weak: "$NEW1 = $VAR.strip()\nos.system($NEW1 + $VAR)\n".into(),
            safe: "$NEW1 = quote($VAR)\nos.system($NEW1 + $VAR)\n".into(),
            weak_lines: vec![2],
            ..pattern()
        };
        let host = "def f(name):\n    a()\n    b()\n    name = c()\n    d()\n    return name\n";
        for seed in 0..60 {
            let made = insert(&pattern, host, &BTreeSet::new(), &mut StdRng::seed_from_u64(seed)).unwrap();
            let at = |text: &str| made.weak.lines().position(|line| line.contains(text)).unwrap();
            let (source, bound, sink) = (at("strip"), at("name = c()"), at("os.system"));
            assert!((source < bound) == (sink < bound), "{}", made.weak);
        }
    }

    #[test]
    fn hosts_without_data_are_refused() {
        for host in ["x = 1\n", "def f():\n    return 1\n", "def f(:\n"] {
            assert!(insert(&pattern(), host, &BTreeSet::new(), &mut StdRng::seed_from_u64(1)).is_none(), "{host}");
        }
    }
}
