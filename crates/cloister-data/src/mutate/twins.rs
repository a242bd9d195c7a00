//! A mutation, and the twins that it makes of a function.

use super::Mutations;
use ruff_text_size::TextRange;
use std::collections::BTreeSet;

/// One way to take one protection out of a function, or to put one in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// The weakness of the twin without the protection.
    pub cwe: &'static str,
    /// The rule's name: its sites are drawn together.
    pub rule: &'static str,
    /// Imports that the changed code needs; both twins get those that are not there.
    pub imports: Vec<&'static str>,
    /// Whether the function as it stands is the weak twin.
    pub mends: bool,
    /// Where the function begins in the text that it was found in.
    pub(super) from: usize,
    /// What of the function is replaced, and by what: in order, and apart.
    pub(super) edits: Vec<(TextRange, String)>,
    /// What of the function as it stands carries the weakness; nothing where it is what is replaced.
    pub(super) carriers: Vec<TextRange>,
}

/// A function before and after a mutation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutated {
    /// The weak twin.
    pub weak: String,
    /// 1-based lines of `weak` that carry the weakness.
    pub lines: Vec<u32>,
    /// The safe twin. Both have the imports that either needs.
    pub safe: String,
    /// How many lines of imports stand before the original text in both.
    pub imports: usize,
}

impl Mutation {
    /// Makes the twins of `text`, which must be the text that the mutation was found in. `None` where the other twin would
    /// not parse.
    pub fn apply(&self, text: &str) -> Option<Mutated> {
        let (context, body) = text.split_at_checked(self.from)?;
        let mut changed = String::with_capacity(body.len());
        let mut end = 0;
        // The ranges of what was replaced, in the original and in the changed text.
        let mut places = Vec::new();
        for (range, replacement) in &self.edits {
            changed.push_str(body.get(end..range.start().to_usize())?);
            end = range.end().to_usize();
            // What only leads to the next line is not what is weak.
            let lead = replacement.len() - replacement.trim_start_matches([',', '\n', ' ']).len();
            let start = changed.len() + lead;
            changed.push_str(replacement);
            places.push((range.start().to_usize()..end, start..changed.len()));
        }
        changed.push_str(body.get(end..)?);
        ruff_python_parser::parse_module(&changed).ok()?;
        let carriers: Vec<std::ops::Range<usize>> = match (self.carriers.is_empty(), self.mends) {
            (false, true) => self.carriers.iter().map(|carrier| (*carrier).into()).collect(),
            (false, false) => {
                self.carriers.iter().map(|carrier| shifted((*carrier).into(), &places)).collect::<Option<_>>()?
            }
            (true, true) => places.into_iter().map(|(old, _)| old).collect(),
            (true, false) => places.into_iter().map(|(_, new)| new).collect(),
        };
        let (weak, safe) = if self.mends { (body, changed.as_str()) } else { (changed.as_str(), body) };
        let (context, imports) = with_imports(context, self.imports.iter().copied());
        let before = context.matches('\n').count() + 1;
        let mut lines = BTreeSet::new();
        for carrier in carriers {
            let first = before + weak.get(..carrier.start)?.matches('\n').count();
            let more = weak.get(carrier)?.trim_end_matches('\n').matches('\n').count();
            lines.extend((first..=first + more).map(|line| line as u32));
        }
        let lines = lines.into_iter().collect();
        Some(Mutated { weak: format!("{context}{weak}"), lines, safe: format!("{context}{safe}"), imports })
    }
}

/// Settles what was found in one function. All its weak forms of one class are mended at once, else the safe twin would keep
/// the others; where they are of several classes, or nested, no twin is safe. And none is made weak that is weak already.
pub(super) fn settle(mut found: Vec<Mutation>) -> Mutations {
    let weak = found.iter().any(|mutation| mutation.mends);
    if !weak {
        return Mutations { found, weak };
    }
    found.retain(|mutation| mutation.mends);
    let merged = found.into_iter().try_fold(None::<Mutation>, |merged, mut next| {
        // Of what is not named as the carrier, what is replaced is.
        if next.carriers.is_empty() {
            next.carriers = next.edits.iter().map(|(range, _)| *range).collect();
        }
        let Some(mut merged) = merged else { return Some(Some(next)) };
        if merged.cwe != next.cwe {
            return None;
        }
        merged.imports.append(&mut next.imports);
        merged.edits.append(&mut next.edits);
        merged.carriers.append(&mut next.carriers);
        Some(Some(merged))
    });
    let Some(Some(mut merged)) = merged else { return Mutations { found: Vec::new(), weak } };
    merged.edits.sort_by_key(|(range, _)| range.start());
    let apart = merged.edits.windows(2).all(|pair| pair[0].0.end() <= pair[1].0.start());
    Mutations { found: if apart { vec![merged] } else { Vec::new() }, weak }
}

/// Where a range is after the edits, none of which is in it in part.
fn shifted(
    range: std::ops::Range<usize>,
    places: &[(std::ops::Range<usize>, std::ops::Range<usize>)],
) -> Option<std::ops::Range<usize>> {
    let moved = |at: usize| {
        let last = places.iter().rev().find(|(old, _)| old.end <= at);
        last.map_or(Some(at), |(old, new)| (at + new.end).checked_sub(old.end))
    };
    Some(moved(range.start)?..moved(range.end)?)
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
