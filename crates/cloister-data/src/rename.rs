//! Other names for the same code.

use rand::{Rng, seq::SliceRandom};
use ruff_python_ast::visitor::{Visitor, walk_expr, walk_parameter, walk_stmt};
use ruff_python_ast::{Expr, ExprContext, Parameter, Stmt};
use ruff_text_size::{Ranged, TextRange};
use std::collections::{BTreeMap, BTreeSet};

/// Names that a local may become: ordinary, and without a meaning of their own.
const NAMES: &[&str] = &[
    "value",
    "item",
    "data",
    "entry",
    "source",
    "query",
    "name",
    "key",
    "path",
    "target",
    "content",
    "record",
    "element",
    "arg",
    "param",
    "text",
    "word",
    "node",
    "user",
    "request_data",
    "field",
    "ident",
    "label",
    "info",
    "spec",
    "option",
    "body",
    "ref",
    "token_id",
    "index",
    "row",
    "line",
    "part",
    "piece",
    "result",
    "response",
    "res",
    "output",
    "temp",
    "val",
    "obj",
    "doc",
    "message",
    "title",
    "code",
    "kind",
    "mode",
    "group",
    "owner",
    "total",
    "count",
    "parts",
    "x",
    "y",
    "a",
    "b",
    "s",
    "d",
    "p",
    "q",
    "v",
    "n",
    "resp",
    "ctx",
    "conf",
    "params",
    "payload",
    "selected",
    "current",
    "first",
];

/// Names that stay: they carry meaning for a reader.
const KEPT: &[&str] = &["self", "cls", "request", "_", "__name__", "args", "kwargs"];

/// Gives some of the parameters and local variables of a piece of code other names, consistently. Lines stay where they
/// are. `None` where the code does not parse.
///
/// A name is renamed only if a function binds it as a parameter or variable and nothing else (import, function, class,
/// module or class attribute, keyword argument, `global`) uses it, so that the meaning stays. The parameters of a decorated
/// function stay: a route or a fixture goes by their names.
pub fn rename_locals(code: &str, share: f64, rng: &mut impl Rng) -> Option<String> {
    let map = plan(&[code], share, rng)?;
    apply(code, &map)
}

/// As [`rename_locals`] for twins, which get the same new names.
pub fn rename_twins(weak: &str, fixed: &str, share: f64, rng: &mut impl Rng) -> Option<(String, String)> {
    let map = plan(&[weak, fixed], share, rng)?;
    Some((apply(weak, &map)?, apply(fixed, &map)?))
}

/// New names that are free in all of the codes.
fn plan(codes: &[&str], share: f64, rng: &mut impl Rng) -> Option<BTreeMap<String, String>> {
    let mut names = Names::default();
    for code in codes {
        let parsed = ruff_python_parser::parse_module(code).ok()?;
        names.visit_body(&parsed.syntax().body);
    }
    let mut fresh: Vec<&str> =
        NAMES.iter().copied().filter(|n| !names.seen.contains(*n) && !names.fixed.contains(*n)).collect();
    fresh.shuffle(rng);
    let mut map = BTreeMap::new();
    for name in &names.bound {
        if names.fixed.contains(name) || KEPT.contains(&name.as_str()) || !rng.random_bool(share) {
            continue;
        }
        if let Some(new) = fresh.pop() {
            map.insert(name.clone(), new.to_string());
        }
    }
    Some(map)
}

/// Applies a plan to one piece of code.
fn apply(code: &str, map: &BTreeMap<String, String>) -> Option<String> {
    let parsed = ruff_python_parser::parse_module(code).ok()?;
    let mut names = Names::default();
    names.visit_body(&parsed.syntax().body);
    let mut places = names.places;
    places.sort_by_key(|(range, _)| range.start());
    places.dedup();
    let mut out = String::with_capacity(code.len());
    let mut done = 0usize;
    for (range, name) in places {
        let (start, end) = (range.start().to_usize(), range.end().to_usize());
        if let Some(new) = map.get(&name)
            && start >= done
        {
            out.push_str(&code[done..start]);
            out.push_str(new);
            done = end;
        }
    }
    out.push_str(&code[done..]);
    // A debug f-string such as f"{name=}" or a name inside a nested quote can make the result invalid.
    ruff_python_parser::parse_module(&out).ok().map(|_| out)
}

/// What a piece of code does with names.
#[derive(Default)]
struct Names {
    /// Bound as a parameter or variable.
    bound: BTreeSet<String>,
    /// Used in a way that forbids renaming.
    fixed: BTreeSet<String>,
    /// All that occur.
    seen: BTreeSet<String>,
    /// Where names stand.
    places: Vec<(TextRange, String)>,
    /// How many functions are around what is visited.
    depth: usize,
}

impl<'a> Visitor<'a> for Names {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(def) => {
                self.fixed.insert(def.name.to_string());
                if !def.decorator_list.is_empty() {
                    self.fixed.extend(def.parameters.iter().map(|parameter| parameter.name().to_string()));
                }
                self.depth += 1;
                walk_stmt(self, stmt);
                self.depth -= 1;
                return;
            }
            Stmt::ClassDef(def) => {
                self.fixed.insert(def.name.to_string());
                let outside = std::mem::take(&mut self.depth);
                walk_stmt(self, stmt);
                self.depth = outside;
                return;
            }
            Stmt::Import(import) => {
                for alias in &import.names {
                    let name = alias.asname.as_ref().unwrap_or(&alias.name);
                    self.fixed.insert(name.split('.').next().unwrap_or(name).to_string());
                }
            }
            Stmt::ImportFrom(import) => {
                for alias in &import.names {
                    self.fixed.insert(alias.asname.as_ref().unwrap_or(&alias.name).to_string());
                }
            }
            Stmt::Global(global) => self.fixed.extend(global.names.iter().map(|name| name.to_string())),
            Stmt::Nonlocal(nonlocal) => self.fixed.extend(nonlocal.names.iter().map(|name| name.to_string())),
            Stmt::Try(statement) => {
                for handler in &statement.handlers {
                    let ruff_python_ast::ExceptHandler::ExceptHandler(handler) = handler;
                    self.fixed.extend(handler.name.as_ref().map(|name| name.to_string()));
                }
            }
            Stmt::Match(_) => {
                // Capture patterns bind names in places this visitor does not record.
                self.fixed.extend(NAMES.iter().map(|name| name.to_string()));
            }
            _ => {}
        }
        walk_stmt(self, stmt);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(name) => {
                let text = name.id.to_string();
                if name.ctx == ExprContext::Store {
                    let names = if self.depth > 0 { &mut self.bound } else { &mut self.fixed };
                    names.insert(text.clone());
                }
                self.seen.insert(text.clone());
                self.places.push((name.range(), text));
            }
            Expr::Call(call) => {
                self.fixed
                    .extend(call.arguments.keywords.iter().filter_map(|k| k.arg.as_ref()).map(|name| name.to_string()));
            }
            _ => {}
        }
        walk_expr(self, expr);
    }

    fn visit_parameter(&mut self, parameter: &'a Parameter) {
        let text = parameter.name.to_string();
        self.bound.insert(text.clone());
        self.seen.insert(text.clone());
        self.places.push((parameter.name.range(), text));
        walk_parameter(self, parameter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    #[test]
    fn locals_change_and_everything_else_stays() {
        let code = "import os\ndef f(wanted, other=1):\n    made = os.path.join(BASE, wanted)\n    g(other=made)\n    return f'{made}/{wanted!r}'\n";
        let mut rng = StdRng::seed_from_u64(1);
        let renamed = rename_locals(code, 1.0, &mut rng).unwrap();
        assert!(!renamed.contains("wanted") && !renamed.contains("made"), "{renamed}");
        for kept in ["import os", "def f(", "os.path.join(BASE, ", "other=1", "g(other="] {
            assert!(renamed.contains(kept), "{kept} in {renamed}");
        }
        assert_eq!(renamed.lines().count(), code.lines().count());
    }

    #[test]
    fn what_others_may_go_by_stays() {
        let code = "LIMIT = 3\nclass A:\n    kind = 1\n    @route('/<name>')\n    def f(self, name):\n        made = name\n        return made\n";
        let renamed = rename_locals(code, 1.0, &mut StdRng::seed_from_u64(1)).unwrap();
        assert!(!renamed.contains("made"), "{renamed}");
        for kept in ["LIMIT = 3", "kind = 1", "def f(self, name):"] {
            assert!(renamed.contains(kept), "{kept} in {renamed}");
        }
    }

    #[test]
    fn code_that_does_not_parse_is_left_alone() {
        assert_eq!(rename_locals("def f(:", 1.0, &mut StdRng::seed_from_u64(1)), None);
    }
}
