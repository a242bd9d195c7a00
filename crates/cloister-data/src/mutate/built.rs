//! Texts that are put together: %-format, `.format`, f-strings and sums.

use super::Finder;
use ruff_python_ast::{Expr, ExprBinOp, FStringPart, InterpolatedStringElement, Operator};
use ruff_text_size::Ranged;

/// Stands in a [`Built::shape`] where a value goes.
pub const HOLE: char = '\0';

/// A text that is put together from a literal and values.
pub struct Built<'e> {
    /// The literal as it is written, quotes and all, a [`HOLE`] for each value.
    pub shape: String,
    /// The values, in order.
    pub holes: Vec<&'e Expr>,
}

impl<'e> Built<'e> {
    /// Reads an expression. `None` where it is something else, or is put together in a way that one literal cannot show.
    pub fn read(finder: &Finder, expr: &'e Expr) -> Option<Self> {
        let built = match expr {
            Expr::BinOp(sum) if sum.op == Operator::Add => Self::sum(finder, sum),
            Expr::BinOp(format) if format.op == Operator::Mod && format.left.is_string_literal_expr() => {
                let holes = match &*format.right {
                    Expr::Tuple(tuple) => tuple.elts.iter().collect(),
                    Expr::Dict(_) => return None,
                    one => vec![one],
                };
                Self::literal(finder.of(&*format.left), "%s", '%', holes)
            }
            Expr::Call(call) => match &*call.func {
                Expr::Attribute(method)
                    if method.attr.as_str() == "format"
                        && method.value.is_string_literal_expr()
                        && call.arguments.keywords.is_empty() =>
                {
                    Self::literal(finder.of(&*method.value), "{}", '{', call.arguments.args.iter().collect())
                }
                _ => None,
            },
            Expr::FString(string) => match string.value.as_slice() {
                [FStringPart::FString(string)] => {
                    let mut shape = String::new();
                    let mut holes = Vec::new();
                    let mut at = string.start();
                    for element in &string.elements {
                        if let InterpolatedStringElement::Interpolation(value) = element {
                            let plain = value.debug_text.is_none() && value.format_spec.is_none();
                            if !plain || !value.conversion.is_none() {
                                return None;
                            }
                            shape.push_str(finder.of(&ruff_text_size::TextRange::new(at, value.start())));
                            shape.push(HOLE);
                            holes.push(&*value.expression);
                            at = value.end();
                        }
                    }
                    shape.push_str(finder.of(&ruff_text_size::TextRange::new(at, string.end())));
                    let shape = shape.strip_prefix(['f', 'F'])?.to_string();
                    (shape.starts_with(['"', '\'']) && !shape.contains(['{', '}'])).then_some(Self { shape, holes })
                }
                _ => None,
            },
            _ => None,
        }?;
        let any = built.holes.iter().any(|hole| super::rules::may_be_anything(hole));
        (any && built.holes.iter().all(|hole| !hole.is_starred_expr())).then_some(built)
    }

    fn literal(source: &str, hole: &str, sign: char, holes: Vec<&'e Expr>) -> Option<Self> {
        let count = source.matches(hole).count();
        let fits = count == holes.len() && source.matches(sign).count() == count;
        (fits && !source.contains(HOLE)).then(|| Self { shape: source.replace(hole, &HOLE.to_string()), holes })
    }

    /// A sum of literals and values on one line.
    fn sum(finder: &Finder, sum: &'e ExprBinOp) -> Option<Self> {
        if finder.of(sum).contains(['\n', HOLE]) {
            return None;
        }
        let mut parts = Vec::new();
        flatten(sum, &mut parts);
        let quote =
            parts.iter().find(|part| part.is_string_literal_expr()).and_then(|l| finder.of(*l).chars().next())?;
        let (mut text, mut holes) = (String::new(), Vec::new());
        for part in parts {
            if part.is_string_literal_expr() {
                let inside = finder.of(part).strip_prefix(quote)?.strip_suffix(quote)?;
                // A triple or a second literal would leave its quotes.
                if inside.contains(quote) {
                    return None;
                }
                text.push_str(inside);
            } else {
                text.push(HOLE);
                holes.push(part);
            }
        }
        let shape = format!("{quote}{text}{quote}");
        matches!(quote, '"' | '\'').then_some(Self { shape, holes })
    }

    /// Whether a quote stands at a hole: what the value is put between quotes by hand.
    pub fn quotes_by_hand(&self) -> bool {
        let quote = |c: Option<char>| matches!(c, Some('"' | '\''));
        let inside = self.shape.trim_matches(['"', '\'']);
        inside.match_indices(HOLE).any(|(at, _)| {
            quote(inside[..at].chars().next_back()) || quote(inside[at + HOLE.len_utf8()..].chars().next())
        })
    }
}

fn flatten<'e>(sum: &'e ExprBinOp, parts: &mut Vec<&'e Expr>) {
    match &*sum.left {
        Expr::BinOp(left) if left.op == Operator::Add => flatten(left, parts),
        left => parts.push(left),
    }
    parts.push(&sum.right);
}
