//! Makes a real function weak: a protection that stands in it is taken out again, and the original is the safe twin.

mod commands;
mod names;
mod rules;

use names::Imports;
use ruff_python_ast::visitor::{Visitor, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, ExprCall, PySourceType, Stmt};
use ruff_text_size::{Ranged, TextRange};
use std::collections::BTreeSet;

/// One way to take one protection out of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// The weakness that comes of it.
    pub cwe: &'static str,
    /// The rule's name: its sites are drawn together.
    pub rule: &'static str,
    /// Imports that the changed code needs; both twins get those that are not there.
    pub imports: Vec<&'static str>,
    /// Where the function begins in the text that it was found in.
    from: usize,
    /// What of the function is replaced.
    range: TextRange,
    /// By what.
    replacement: String,
}

/// A function before and after a mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutated {
    /// The weak twin.
    pub weak: String,
    /// 1-based lines of `weak` that carry the weakness.
    pub lines: Vec<u32>,
    /// The original, with the imports that its twin needs.
    pub safe: String,
    /// How many lines of imports stand before the original text in both.
    pub imports: usize,
}

/// Changes with the rules, so that what was found by older ones is not taken for theirs.
pub const RULES: u32 = 2;

/// Every mutation that the rules know of in the function at the end of `text`, which begins at the byte `from`. What stands
/// before is context: imports, globals and the header of a class, read for what names mean. Empty where the function does
/// not parse.
pub fn mutations(text: &str, from: usize) -> Vec<Mutation> {
    let Some((context, body)) = text.split_at_checked(from) else { return Vec::new() };
    let Ok(parsed) = ruff_python_parser::parse_module(body) else { return Vec::new() };
    // A class without a body is a fault, but what stands before it can be read.
    let context = ruff_python_parser::parse_unchecked_source(context, PySourceType::Python);
    let mut imports = Imports::default();
    imports.read(&context.syntax().body);
    imports.read(&parsed.syntax().body);
    let mut finder = Finder { text: body, imports, found: Vec::new() };
    finder.visit_body(&parsed.syntax().body);
    let mut found = finder.found;
    found.iter_mut().for_each(|mutation| mutation.from = from);
    found
}

impl Mutation {
    /// Makes the twins of `text`, which must be the text that the mutation was found in. `None` where the weak one would
    /// not parse.
    pub fn apply(&self, text: &str) -> Option<Mutated> {
        let (context, body) = text.split_at_checked(self.from)?;
        let (start, end) = (self.range.start().to_usize(), self.range.end().to_usize());
        let weak = format!("{}{}{}", body.get(..start)?, self.replacement, body.get(end..)?);
        ruff_python_parser::parse_module(&weak).ok()?;
        let (context, imports) = with_imports(context, self.imports.iter().copied());
        let first = context.matches('\n').count() + body[..start].matches('\n').count() + 1;
        let lines = (0..=self.replacement.matches('\n').count()).map(|line| (first + line) as u32).collect();
        Some(Mutated { weak: format!("{context}{weak}"), lines, safe: format!("{context}{body}"), imports })
    }
}

/// Puts import lines that are not there before a context, behind what has to stay first, in order and none twice. Gives
/// back how many.
pub fn with_imports<'i>(context: &str, imports: impl Iterator<Item = &'i str>) -> (String, usize) {
    let present: BTreeSet<&str> = context.lines().collect();
    let missing: BTreeSet<&str> = imports.filter(|line| !present.contains(line)).collect();
    let future = context
        .match_indices("from __future__")
        .last()
        .map_or(0, |(at, _)| context[at..].find('\n').map_or(context.len(), |end| at + end + 1));
    let (first, rest) = context.split_at(future);
    let lines: String = missing.iter().map(|line| format!("{line}\n")).collect();
    (format!("{first}{lines}{rest}"), missing.len())
}

/// Walks over a module and asks every rule at every place.
struct Finder<'t> {
    text: &'t str,
    imports: Imports,
    found: Vec<Mutation>,
}

impl<'t> Finder<'t> {
    /// The text of a node.
    fn of(&self, node: &impl Ranged) -> &'t str {
        &self.text[node.start().to_usize()..node.end().to_usize()]
    }

    /// What a name or a chain of attributes stands for, its first part looked up in the imports.
    fn meaning(&self, expr: &Expr) -> Option<String> {
        self.imports.meaning(expr)
    }

    fn add(
        &mut self,
        rule: (&'static str, &'static str),
        imports: &[&'static str],
        node: &impl Ranged,
        replacement: String,
    ) {
        let (rule, cwe) = rule;
        let range = node.range();
        self.found.push(Mutation { cwe, rule, imports: imports.to_vec(), from: 0, range, replacement });
    }

    fn call(&mut self, call: &ExprCall) {
        commands::execute(self, call);
        if let Some(name) = self.meaning(&call.func) {
            rules::call(self, call, &name);
            commands::subprocess(self, call, &name);
        }
    }
}

impl<'a> Visitor<'a> for Finder<'_> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        rules::statement(self, stmt);
        walk_stmt(self, stmt);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Call(call) = expr {
            self.call(call);
        }
        walk_expr(self, expr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All weak forms of a text.
    fn weak(text: &str) -> Vec<(String, String)> {
        let found = mutations(text, 0);
        found.iter().filter_map(|m| Some((m.cwe.to_string(), m.apply(text)?.weak))).collect()
    }

    fn has(text: &str, cwe: &str, line: &str) {
        let weak = weak(text);
        assert!(weak.iter().any(|(c, w)| c == cwe && w.lines().any(|l| l.trim() == line)), "{line}\n{weak:#?}");
    }

    #[test]
    fn calls_are_swapped() {
        has("import yaml\ndef f(p):\n    x = yaml.safe_load(p)\n", "CWE-502", "x = yaml.load(p, Loader=yaml.Loader)");
        has("from json import loads\ndef f(p):\n    return loads(p)\n", "CWE-502", "return pickle.loads(p)");
        has("import ast\ndef f(p):\n    return ast.literal_eval(p)\n", "CWE-95", "return eval(p)");
        has("import hashlib\ndef f(p):\n    return hashlib.sha256(p)\n", "CWE-328", "return hashlib.md5(p)");
        has("import os\ndef f(p):\n    os.chmod(p, 0o600)\n", "CWE-732", "os.chmod(p, 0o777)");
        has("import requests\ndef f(u):\n    requests.get(u)\n", "CWE-295", "requests.get(u, verify=False)");
    }

    #[test]
    fn wrappers_are_taken_off() {
        has("from shlex import quote as q\ndef f(p):\n    run('a ' + q(p))\n", "CWE-78", "run('a ' + p)");
        has(
            "from html import escape\ndef f(p):\n    return '<b>%s' % escape(p + 'x')\n",
            "CWE-79",
            "return '<b>%s' % (p + 'x')",
        );
        has(
            "import os\ndef f(d, n):\n    return os.path.join(d, os.path.basename(n))\n",
            "CWE-22",
            "return os.path.join(d, n)",
        );
        assert!(weak("import os\ndef f(n):\n    return os.path.basename(n)\n").is_empty());
        assert!(weak("import shlex\ndef f():\n    run('a ' + shlex.quote(BASE))\n").is_empty());
        assert!(weak("from urllib.parse import quote\ndef f(n):\n    return quote(n)\n").is_empty());
    }

    #[test]
    fn commands_and_queries_are_put_together() {
        let text = "import subprocess\ndef f(p):\n    subprocess.run(['git', 'clone', p], check=True)\n";
        has(text, "CWE-78", "subprocess.run(f\"git clone {p}\", check=True, shell=True)");
        has(text, "CWE-78", "subprocess.run(\"git clone %s\" % p, check=True, shell=True)");
        assert!(weak("import subprocess\nsubprocess.run(['git', 'log'])\n").is_empty());
        let text = "def f(c, a, b):\n    c.execute('SELECT x FROM t WHERE a = %s AND b = ?', (a, b))\n";
        has(text, "CWE-89", "c.execute('SELECT x FROM t WHERE a = %s AND b = %s' % (a, b))");
        assert!(weak("def f(c, a):\n    c.execute('SELECT 1', a)\n").is_empty());
    }

    #[test]
    fn a_temporary_file_loses_its_descriptor() {
        let text =
            "import tempfile\ndef f():\n    fd, name = tempfile.mkstemp(suffix='.x', text=True)\n    g(fd, name)\n";
        let made = mutations(text, text.find("def").unwrap()).iter().find_map(|m| m.apply(text)).unwrap();
        assert!(
            made.weak.contains("    name = tempfile.mktemp(suffix='.x')\n    fd = os.open(name, "),
            "{}",
            made.weak
        );
        assert_eq!((made.imports, made.lines), (1, vec![4, 5]));
        assert_eq!(made.safe, format!("import os\n{text}"));
    }

    #[test]
    fn a_method_is_found_under_its_header_alone() {
        let text =
            "from __future__ import annotations\nimport json\nclass A:\ndef f(self, p):\n    return json.loads(p)\n";
        let made = mutations(text, text.find("def").unwrap());
        let made = made.iter().find(|m| m.imports == ["import pickle"]).and_then(|m| m.apply(text)).unwrap();
        assert_eq!((made.imports, made.lines), (1, vec![6]));
        let expected = "from __future__ import annotations\nimport pickle\nimport json\nclass A:\ndef f(self, p):\n    return pickle.loads(p)\n";
        assert_eq!(made.weak, expected);
    }

    #[test]
    fn what_is_not_the_module_of_that_name_is_left() {
        assert!(weak("def f(requests, name):\n    return requests.get(name)\n").is_empty());
        assert!(weak("from .shlex import quote\ndef f(p):\n    return quote(p)\n").is_empty());
        assert!(weak("def f(self, a, b):\n    self.execute('move file', (a, b))\n").is_empty());
    }

    #[test]
    fn context_stays() {
        let text = "import yaml\nBASE = yaml.safe_load(open('x'))\ndef f(p):\n    return p\n";
        assert!(mutations(text, text.find("def").unwrap()).is_empty());
        assert!(!mutations(text, 0).is_empty());
        assert!(mutations("def f(:\n", 0).is_empty());
    }
}
