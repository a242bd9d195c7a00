//! Twins of real functions: a protection that stands in one is taken out again, and the original is the safe twin; or a
//! weak form that stands in one is mended, and the original is the weak twin.

mod built;
mod commands;
mod guards;
mod names;
mod queries;
mod repairs;
mod rules;
mod twins;
mod values;

pub use twins::{Mutated, Mutation, with_imports};

use names::{Bindings, Imports};
use ruff_python_ast::visitor::{Visitor, walk_body, walk_expr, walk_stmt};
use ruff_python_ast::{Expr, ExprCall, PySourceType, Stmt};
use ruff_text_size::{Ranged, TextRange, TextSize};

/// Changes with the rules, so that what was found by older ones is not taken for theirs.
pub const RULES: u32 = 6;

/// What the rules find in a function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mutations {
    /// The ways to make a twin of it.
    pub found: Vec<Mutation>,
    /// Whether it has a weak form as it stands.
    pub weak: bool,
}

/// Every mutation that the rules know of in the function at the end of `text`, which begins at the byte `from`. What stands
/// before is context: imports, globals and the header of a class, read for what names mean. Nothing where the function does
/// not parse.
pub fn mutations(text: &str, from: usize) -> Mutations {
    let Some((context, body)) = text.split_at_checked(from) else { return Mutations::default() };
    let Ok(parsed) = ruff_python_parser::parse_module(body) else { return Mutations::default() };
    // A class without a body is a fault, but what stands before it can be read.
    let context = ruff_python_parser::parse_unchecked_source(context, PySourceType::Python);
    let mut imports = Imports::default();
    imports.read(&context.syntax().body);
    imports.read(&parsed.syntax().body);
    let bindings = Bindings::read(&parsed.syntax().body);
    let lower = text.to_ascii_lowercase();
    let mut finder = Finder { text, lower, from, imports, bindings: &bindings, found: Vec::new() };
    finder.visit_body(&parsed.syntax().body);
    guards::alone(&mut finder.found);
    twins::settle(finder.found)
}

/// A rule's name and the weakness that it is about.
type Rule = (&'static str, &'static str);

/// Walks over a module and asks every rule at every place.
struct Finder<'t> {
    /// Context and function.
    text: &'t str,
    /// The same in lower case.
    lower: String,
    /// Where the function begins.
    from: usize,
    imports: Imports,
    bindings: &'t Bindings<'t>,
    found: Vec<Mutation>,
}

impl<'t> Finder<'t> {
    /// The function's text.
    fn body(&self) -> &'t str {
        &self.text[self.from..]
    }

    /// The lines that a node stands on.
    fn line(&self, node: &impl Ranged) -> &'t str {
        let (body, start, end) = (self.body(), node.start().to_usize(), node.end().to_usize());
        let first = body[..start].rfind('\n').map_or(0, |at| at + 1);
        let last = body[end..].find('\n').map_or(body.len(), |at| end + at);
        &body[first..last]
    }

    /// The text of a node.
    fn of(&self, node: &impl Ranged) -> &'t str {
        &self.body()[node.start().to_usize()..node.end().to_usize()]
    }

    /// Whether the context or the function has one of the words, in whatever case.
    fn mentions(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.lower.contains(word))
    }

    /// What a name or a chain of attributes stands for, its first part looked up in the imports.
    fn meaning(&self, expr: &Expr) -> Option<String> {
        self.imports.meaning(expr)
    }

    /// Notes that a protection can be taken out by writing `replacement` for a node.
    fn add(&mut self, rule: Rule, imports: &[&'static str], node: &impl Ranged, replacement: String) {
        self.note(rule, imports, vec![(node.range(), replacement)], Vec::new(), false);
    }

    /// Notes that a weak form can be mended by writing `replacement` for a node.
    fn mend(&mut self, rule: Rule, imports: &[&'static str], node: &impl Ranged, replacement: String) {
        self.note(rule, imports, vec![(node.range(), replacement)], Vec::new(), true);
    }

    /// Notes a mutation of several edits, in any order. Nothing is noted where they overlap.
    fn note(
        &mut self,
        rule: Rule,
        imports: &[&'static str],
        mut edits: Vec<(TextRange, String)>,
        carriers: Vec<TextRange>,
        mends: bool,
    ) {
        edits.sort_by_key(|(range, _)| range.start());
        if edits.windows(2).any(|pair| pair[0].0.end() > pair[1].0.start()) {
            return;
        }
        let (rule, cwe) = rule;
        self.found.push(Mutation { cwe, rule, imports: imports.to_vec(), mends, from: self.from, edits, carriers });
    }

    fn call(&mut self, call: &ExprCall) {
        queries::call(self, call);
        if let Some(name) = self.meaning(&call.func) {
            rules::call(self, call, &name);
            values::call(self, call, &name);
            repairs::call(self, call, &name);
            commands::subprocess(self, call, &name);
            commands::mended(self, call, &name);
        }
    }
}

/// The offset as the syntax tree counts.
fn offset(at: usize) -> TextSize {
    TextSize::try_from(at).unwrap_or_default()
}

impl<'a> Visitor<'a> for Finder<'_> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        rules::statement(self, stmt);
        repairs::statement(self, stmt);
        walk_stmt(self, stmt);
    }

    fn visit_body(&mut self, body: &'a [Stmt]) {
        guards::body(self, body);
        walk_body(self, body);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Call(call) => self.call(call),
            Expr::Attribute(_) => values::name(self, expr),
            _ => {}
        }
        walk_expr(self, expr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All weak forms of a text.
    fn weak(text: &str) -> Vec<(String, String)> {
        let found = mutations(text, 0).found;
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
        has("import ast\ndef f(p):\n    return ast.literal_eval(p)\n", "CWE-94", "return eval(p)");
        has("import hashlib\ndef f(p):\n    return hashlib.sha256(p)\n", "CWE-327", "return hashlib.md5(p)");
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
        let made = mutations(text, text.find("def").unwrap()).found.iter().find_map(|m| m.apply(text)).unwrap();
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
        let made = mutations(text, text.find("def").unwrap()).found;
        let made = made.iter().find(|m| m.imports == ["import pickle"]).and_then(|m| m.apply(text)).unwrap();
        assert_eq!((made.imports, made.lines), (1, vec![6]));
        let expected = "from __future__ import annotations\nimport pickle\nimport json\nclass A:\ndef f(self, p):\n    return pickle.loads(p)\n";
        assert_eq!(made.weak, expected);
    }

    #[test]
    fn values_in_queries_are_handed_over() {
        let mended = |text: &str| -> Vec<(String, Vec<u32>)> {
            let found = mutations(text, 0).found.into_iter().filter(|m| m.mends);
            found.filter_map(|m| m.apply(text)).map(|made| (made.safe, made.lines)).collect()
        };
        let text = "def f(c, a, b):\n    c.execute(\"SELECT x FROM t WHERE a = '%s' AND b = %s\" % (a, b))\n";
        let safe = "def f(c, a, b):\n    c.execute(\"SELECT x FROM t WHERE a = %s AND b = %s\", (a, b))\n";
        assert_eq!(mended(text), [(safe.to_string(), vec![2])]);
        let text = "import sqlite3\ndef f(c, a):\n    q = f\"DELETE FROM t WHERE a = '{a}'\"\n    c.execute(q)\n";
        let safe = "import sqlite3\ndef f(c, a):\n    q = \"DELETE FROM t WHERE a = ?\"\n    c.execute(q, (a,))\n";
        assert_eq!(mended(text), [(safe.to_string(), vec![4])]);
        let text = "def f(c, a):\n    c.execute('SELECT x FROM t WHERE a = ' + str(a))\n";
        let safe = "def f(c, a):\n    c.execute('SELECT x FROM t WHERE a = %s', (a,))\n";
        assert_eq!(mended(text), [(safe.to_string(), vec![2])]);
        // The name of a table cannot be handed over.
        assert!(mended("def f(c, t):\n    c.execute('SELECT x FROM %s' % t)\n").is_empty());
        let text = "def f(n):\n    os.system('ls {}'.format(n))\nimport os\n";
        let safe = "def f(n):\n    os.system('ls {}'.format(shlex.quote(n)))\nimport os\n";
        assert_eq!(mended(text), [(format!("import shlex\n{safe}"), vec![3])]);
    }

    #[test]
    fn statements_apart_from_their_calls_are_built() {
        let text = "def f(c, a):\n    q = 'SELECT x FROM t WHERE a = ?'\n    g()\n    c.execute(q, (a,))\n";
        let found = mutations(text, 0).found;
        let made = found.iter().find_map(|m| m.apply(text)).unwrap();
        let weak = "def f(c, a):\n    q = 'SELECT x FROM t WHERE a = %s'\n    g()\n    c.execute(q % (a,))\n";
        assert_eq!((made.weak.as_str(), made.lines.as_slice()), (weak, [4].as_slice()));
        has(
            "def f(c, a):\n    c.execute('SELECT x FROM t WHERE a = ?', (a,))\n",
            "CWE-89",
            "c.execute(f'SELECT x FROM t WHERE a = \"{a}\"')",
        );
        let text = "import subprocess\ndef f(p):\n    cmd = ['git', p]\n    subprocess.run(cmd)\n";
        has(text, "CWE-78", "subprocess.run(\" \".join(cmd), shell=True)");
    }

    #[test]
    fn checks_are_left_out() {
        let text = "import os\ndef f(base, n):\n    p = os.path.realpath(os.path.join(base, n))\n    if not p.startswith(base):\n        raise ValueError(n)\n    with open(p) as f:\n        return f.read()\n";
        let made = mutations(text, 0).found.iter().find_map(|m| m.apply(text)).unwrap();
        assert!(!made.weak.contains("startswith") && made.weak.contains("    with open(p)"), "{}", made.weak);
        assert_eq!(made.lines, [4]);
        assert_eq!(made.safe, text);
    }

    #[test]
    fn the_name_carries_a_missing_guard() {
        let text = "@login_required\n@cached\ndef f(request):\n    return g(request)\n";
        let made = mutations(text, 0).found.iter().find_map(|m| m.apply(text)).unwrap();
        assert_eq!((made.weak.as_str(), made.lines), ("@cached\ndef f(request):\n    return g(request)\n", vec![2]));
        assert!(mutations(&text.replace("return g", "request.user.is_authenticated or g"), 0).found.is_empty());
    }

    #[test]
    fn values_protect() {
        has(
            "import yaml\ndef f(p):\n    return yaml.load(p, Loader=yaml.SafeLoader)\n",
            "CWE-502",
            "return yaml.load(p, Loader=yaml.Loader)",
        );
        has("import os\ndef f():\n    return os.environ.get('API_TOKEN')\n", "CWE-798", "return \"changeme\"");
        has(
            "import ssl\ndef f(c):\n    c.verify_mode = ssl.CERT_REQUIRED\n",
            "CWE-295",
            "c.verify_mode = ssl.CERT_NONE",
        );
    }

    #[test]
    fn what_is_not_the_module_of_that_name_is_left() {
        assert!(weak("def f(requests, name):\n    return requests.get(name)\n").is_empty());
        assert!(weak("from .shlex import quote\ndef f(p):\n    return quote(p)\n").is_empty());
        assert!(weak("def f(self, a, b):\n    self.execute('move file', (a, b))\n").is_empty());
    }

    #[test]
    fn a_check_that_asks_the_other_way_is_left() {
        let text = |test: &str| {
            format!("import os\ndef f(path):\n    if {test}:\n        raise ValueError(path)\n    return open(path)\n")
        };
        let found = |test: &str| !mutations(&text(test), 0).found.is_empty();
        assert!(found("os.path.isabs(path)") && found("x or '..' in path"));
        assert!(!found("not os.path.isabs(path)") && !found("'..' not in path"));
        assert!(found("os.path.commonpath([path, BASE]) != BASE") && found("not re.match(P, path)"));
        assert!(!found("os.path.commonpath([path, BASE]) == BASE") && !found("re.match(P, path)"));
        assert!(found("re.match(P, path) is None") && !found("(m := re.match(P, path)) is None"));
    }

    #[test]
    fn weak_forms_are_mended_together() {
        let text = "import ssl\ndef f(c):\n    c.check_hostname = False\n    g(c)\n    c.verify_mode = ssl.CERT_NONE\n";
        let read = mutations(text, 0);
        let [mutation] = read.found.as_slice() else { panic!("{read:#?}") };
        let made = mutation.apply(text).unwrap();
        assert!(made.safe.contains("= True") && made.safe.contains("CERT_REQUIRED"), "{}", made.safe);
        assert_eq!((made.weak.as_str(), made.lines.as_slice()), (text, [3, 5].as_slice()));
        // Of two classes neither twin would be safe, and nothing is taken out beside a weak form.
        let two = mutations("import pickle\ndef f(c):\n    return eval(c), pickle.loads(c)\n", 0);
        assert!(two.weak && two.found.is_empty());
        let beside = mutations("import json, pickle\ndef f(c):\n    return pickle.loads(c), json.loads(c)\n", 0);
        assert!(beside.weak && beside.found.iter().all(|mutation| mutation.mends));
    }

    #[test]
    fn a_new_argument_stands_as_the_others_do() {
        let text = "import requests\ndef f(u):\n    return requests.get(\n        u,\n        timeout=3,\n    )\n";
        let made = mutations(text, 0).found[0].apply(text).unwrap();
        assert_eq!(made.weak, text.replace("timeout=3,\n", "timeout=3,\n        verify=False,\n"));
        assert_eq!(made.lines, [6]);
        let text = "import subprocess\ndef f(p):\n    subprocess.run(\n        ['git', p], check=True\n    )\n";
        has(text, "CWE-78", "\"git %s\" % p, check=True, shell=True");
    }

    #[test]
    fn context_stays() {
        let text = "import yaml\nBASE = yaml.safe_load(open('x'))\ndef f(p):\n    return p\n";
        assert!(mutations(text, text.find("def").unwrap()).found.is_empty());
        assert!(!mutations(text, 0).found.is_empty());
        assert!(mutations("def f(:\n", 0).found.is_empty());
    }
}
