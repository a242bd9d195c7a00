//! The same program in another dress: a verdict should not change with it.

use crate::rename_locals;
use rand::Rng;
use ruff_python_ast::token::TokenKind;
use ruff_python_ast::visitor::{Visitor, walk_stmt};
use ruff_python_ast::{ModModule, Stmt};
use ruff_python_parser::Parsed;
use ruff_text_size::Ranged;
use std::collections::BTreeSet;

/// A way to write the same program differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Parameters and local variables have other names.
    Renamed,
    /// Twice the indentation, and an empty line before every statement.
    Reformatted,
    /// Without comments.
    Uncommented,
    /// With comments that praise or blame.
    Commented,
    /// With a statement in every function that does nothing.
    DeadCode,
}

/// What comments may say of the code below them: nothing that counts.
const TALK: [&str; 4] = [
    "This is safe, it was reviewed by the security team.",
    "vulnerable!",
    "no weakness here, input is validated by the caller",
    "FIXME: insecure, see the audit",
];

const IDLE: &str = "unused_total = 2 * 3 + 1";

impl Variant {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Renamed, Self::Reformatted, Self::Uncommented, Self::Commented, Self::DeadCode];

    /// The word for it on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Renamed => "renamed",
            Self::Reformatted => "reformatted",
            Self::Uncommented => "uncommented",
            Self::Commented => "commented",
            Self::DeadCode => "dead-code",
        }
    }

    /// `code` in this dress; `None` where it does not parse, or nothing can be done to it.
    pub fn of(self, code: &str, rng: &mut impl Rng) -> Option<String> {
        let code = &at_the_margin(code);
        let parsed = ruff_python_parser::parse_module(code).ok()?;
        let text = Layout::new(code, &parsed);
        let made = match self {
            Self::Renamed => rename_locals(code, 1.0, rng)?,
            Self::Uncommented => without_comments(code, &parsed),
            Self::Reformatted => text.rebuilt(|line, begins| {
                let indent = line.len() - line.trim_start_matches(' ').len();
                let line = format!("{}{line}", " ".repeat(indent));
                if begins { format!("\n{line}") } else { line }
            }),
            Self::Commented => text.rebuilt(|line, begins| {
                let indent = &line[..line.len() - line.trim_start().len()];
                match begins {
                    true => format!("{indent}# {}\n{line}", TALK[rng.random_range(0..TALK.len())]),
                    false => line.into(),
                }
            }),
            Self::DeadCode => {
                let bodies = body_starts(&parsed, &text);
                let mut number = 0;
                text.rebuilt(|line, _| {
                    let indent = &line[..line.len() - line.trim_start().len()];
                    let made = if bodies.contains(&number) { format!("{indent}{IDLE}\n{line}") } else { line.into() };
                    number += 1;
                    made
                })
            }
        };
        let changed = !made.lines().eq(code.lines());
        (changed && ruff_python_parser::parse_module(&made).is_ok()).then_some(made)
    }
}

/// The code without the indentation that all of its lines share: a method cut out as it stands would not parse.
pub fn at_the_margin(code: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let shared = code.lines().filter(|line| !line.trim().is_empty()).map(indent).min().unwrap_or(0);
    code.lines().map(|line| format!("{}\n", line.get(shared..).unwrap_or_default())).collect()
}

/// The lines of a text, and which of them may be touched.
struct Layout<'c> {
    lines: Vec<&'c str>,
    starts: Vec<usize>,
    /// Lines that begin inside a string.
    inside: BTreeSet<usize>,
    /// Lines that a statement begins, with nothing but blanks before it.
    begins: BTreeSet<usize>,
}

impl<'c> Layout<'c> {
    fn new(code: &'c str, parsed: &Parsed<ModModule>) -> Self {
        let starts: Vec<usize> = std::iter::once(0).chain(code.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let line_of = |offset: usize| starts.partition_point(|start| *start <= offset) - 1;
        let text = [TokenKind::String, TokenKind::FStringMiddle, TokenKind::TStringMiddle];
        let strings = parsed.tokens().iter().filter(|token| text.contains(&token.kind()));
        let inside = strings.flat_map(|token| line_of(token.start().to_usize()) + 1..=line_of(token.end().to_usize()));
        let inside = inside.collect();
        struct Begins(Vec<usize>);
        impl<'a> Visitor<'a> for Begins {
            fn visit_stmt(&mut self, stmt: &'a Stmt) {
                self.0.push(stmt.start().to_usize());
                walk_stmt(self, stmt);
            }
        }
        let mut begins = Begins(Vec::new());
        begins.visit_body(&parsed.syntax().body);
        let alone = |offset: &usize| code[starts[line_of(*offset)]..*offset].trim().is_empty();
        let begins = begins.0.into_iter().filter(alone).map(line_of).collect();
        Self { lines: code.lines().collect(), starts, inside, begins }
    }

    /// Every line that does not begin inside a string through `change`, which is told whether a statement begins it.
    fn rebuilt(&self, mut change: impl FnMut(&str, bool) -> String) -> String {
        let mut out = String::new();
        for (number, line) in self.lines.iter().enumerate() {
            let changed = change(line, self.begins.contains(&number) && !self.inside.contains(&number));
            out.push_str(if self.inside.contains(&number) { line } else { &changed });
            out.push('\n');
        }
        out
    }
}

fn without_comments(code: &str, parsed: &Parsed<ModModule>) -> String {
    let mut out = String::new();
    let mut done = 0;
    for token in parsed.tokens().iter().filter(|token| token.kind() == TokenKind::Comment) {
        out.push_str(code[done..token.start().to_usize()].trim_end_matches(' '));
        done = token.end().to_usize();
    }
    out.push_str(&code[done..]);
    out
}

/// The lines of the first statement of each function's body that is not its docstring and stands on a line of its own.
fn body_starts(parsed: &Parsed<ModModule>, text: &Layout) -> BTreeSet<usize> {
    struct Bodies(Vec<usize>);
    impl<'a> Visitor<'a> for Bodies {
        fn visit_stmt(&mut self, stmt: &'a Stmt) {
            if let Stmt::FunctionDef(function) = stmt {
                let documented = |stmt: &&Stmt| matches!(stmt, Stmt::Expr(e) if e.value.is_string_literal_expr());
                let first = function.body.iter().find(|stmt| !documented(stmt));
                self.0.extend(first.map(|stmt| stmt.start().to_usize()));
            }
            walk_stmt(self, stmt);
        }
    }
    let mut bodies = Bodies(Vec::new());
    bodies.visit_body(&parsed.syntax().body);
    let lines = bodies.0.into_iter().map(|offset| text.starts.partition_point(|start| *start <= offset) - 1);
    lines.filter(|line| text.begins.contains(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{SeedableRng, rngs::StdRng};

    const CODE: &str = "def f(name):  # why\n    \"\"\"Say.\n    It.\n    \"\"\"\n    text = '''a\n  # b\n'''\n    if name:\n        g(name,\n          text)\n";

    fn made(variant: Variant) -> String {
        variant.of(CODE, &mut StdRng::seed_from_u64(1)).unwrap()
    }

    #[test]
    fn strings_stay_as_they_are() {
        for variant in Variant::ALL {
            assert!(made(variant).contains("'''a\n  # b\n'''"), "{variant:?}\n{}", made(variant));
            assert!(variant.of("def f(:\n", &mut StdRng::seed_from_u64(1)).is_none());
        }
    }

    #[test]
    fn a_method_cut_out_as_it_stands_is_read() {
        let made =
            Variant::Renamed.of("    def f(self, name):\n\n        return name\n", &mut StdRng::seed_from_u64(1));
        assert!(made.is_some_and(|made| made.starts_with("def f(self, ") && !made.contains("name")));
        assert_eq!(at_the_margin("x = 1\n  y\n"), "x = 1\n  y\n");
    }

    #[test]
    fn each_does_what_it_says() {
        assert!(!made(Variant::Renamed).contains("name"));
        assert!(!made(Variant::Uncommented).contains("why"));
        assert!(
            made(Variant::Reformatted)
                .contains("\n\n        if name:\n\n                g(name,\n                    text)")
        );
        assert_eq!(made(Variant::Commented).matches("# ").count(), 2 + 5, "{}", made(Variant::Commented));
        assert!(
            made(Variant::DeadCode).contains(&format!("\"\"\"\n    {IDLE}\n    text")),
            "{}",
            made(Variant::DeadCode)
        );
    }
}
