//! The lines of a unit: the text without what is hidden, without its indentation, laid out alike, with everything visible.

use std::cmp::Reverse;
use std::ops;

use ruff_python_ast::token::TokenKind;

use crate::characters::visible;
use crate::outline::Outline;
use crate::text::SourceText;
use crate::unit::UnitLine;

/// Longer lines are shortened; characters.
const MAX_LINE: usize = 400;
/// What stays of a shortened line: characters at its head and at its tail.
const LINE_ENDS: (usize, usize) = (280, 110);
/// On a line that is too long, longer strings and numbers are shortened first.
const MAX_LITERAL: usize = 80;
const LITERAL_ENDS: (usize, usize) = (48, 24);
/// Stands for what was taken out of a line.
const GAP: &str = "...";

/// A part of the text that is not shown, and what is shown instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) bytes: ops::Range<usize>,
    pub(crate) with: &'static str,
}

impl Edit {
    /// Sorts edits and joins those that overlap; of those the first one's replacement stays.
    pub(crate) fn apart(mut edits: Vec<Self>) -> Vec<Self> {
        edits.sort_by_key(|edit| (edit.bytes.start, Reverse(edit.bytes.end)));
        let mut apart: Vec<Self> = Vec::with_capacity(edits.len());
        for edit in edits {
            match apart.last_mut() {
                Some(last) if edit.bytes.start < last.bytes.end => {
                    last.bytes.end = last.bytes.end.max(edit.bytes.end);
                }
                _ => apart.push(edit),
            }
        }
        apart
    }
}

/// The lines of `bytes` as the model reads them, without those that hold no code. `edits` are apart and in order.
pub(crate) fn unit_lines(
    source: &SourceText<'_>,
    outline: &Outline,
    edits: &[Edit],
    bytes: &ops::Range<usize>,
) -> Vec<UnitLine> {
    let text = source.text();
    let mut lines = Vec::new();
    // Columns that all lines lose: what the first one stands in by, of the layout and as it is written.
    let (mut outer, mut indentation) = (None, None);
    if bytes.is_empty() {
        return lines;
    }
    for number in source.line_of(bytes.start)..=source.line_of(bytes.end - 1) {
        let Some(line) = source.line_bytes(number) else { break };
        // The line of the first token is shown from its indentation on.
        let lead =
            text.get(line.start..bytes.start).is_none_or(|lead| lead.trim_start_matches('\u{feff}').trim().is_empty());
        let start = if lead { line.start } else { bytes.start };
        let shown = start..line.end.min(bytes.end).max(start);
        let line_end = shown.end;
        let edited = edited_line(text, edits, shown.clone());
        let edited = if edited.chars().count() > MAX_LINE {
            edited_line(text, &with_short_literals(text, outline, edits, &shown), shown)
        } else {
            edited
        };
        let edited = if start == 0 { edited.trim_start_matches('\u{feff}') } else { &edited };
        let line = visible(edited.trim_end());
        let code = line.trim_start();
        if code.is_empty() {
            continue;
        }
        let indented = line.len() - code.len();
        let common = *indentation.get_or_insert(indented);
        let line = match outline.layout.columns(&(start..line_end)) {
            Some(columns) => {
                let outer = *outer.get_or_insert(columns);
                format!("{}{code}", " ".repeat(columns.saturating_sub(outer)))
            }
            None => line[common.min(indented)..].to_owned(),
        };
        let line = shorten(&line, MAX_LINE, LINE_ENDS);
        lines.push(UnitLine { number, text: line.trim_end().to_owned() });
    }
    lines
}

fn edited_line(text: &str, edits: &[Edit], shown: ops::Range<usize>) -> String {
    let mut line = String::with_capacity(shown.len());
    let mut reached = shown.start;
    let first = edits.partition_point(|edit| edit.bytes.end <= shown.start);
    for edit in edits[first..].iter().take_while(|edit| edit.bytes.start < shown.end) {
        line.push_str(&text[reached..edit.bytes.start.max(reached)]);
        if edit.bytes.start >= shown.start {
            line.push_str(edit.with);
        }
        reached = edit.bytes.end.clamp(reached, shown.end);
    }
    line.push_str(&text[reached..shown.end]);
    line
}

/// The edits with the middle of each long literal on the line taken out.
fn with_short_literals(text: &str, outline: &Outline, edits: &[Edit], shown: &ops::Range<usize>) -> Vec<Edit> {
    let first = outline.tokens.partition_point(|token| token.bytes.end <= shown.start);
    let on_line = outline.tokens[first..].iter().take_while(|token| token.bytes.start < shown.end);
    let long = on_line.filter(|token| {
        matches!(
            token.kind,
            TokenKind::String | TokenKind::FStringMiddle | TokenKind::TStringMiddle | TokenKind::Int | TokenKind::Float
        ) && token.bytes.start >= shown.start
            && token.bytes.end <= shown.end
            && token.bytes.len() > MAX_LITERAL
    });
    let cuts = long.map(|token| {
        let start = text.floor_char_boundary(token.bytes.start + LITERAL_ENDS.0);
        Edit { bytes: start..text.ceil_char_boundary(token.bytes.end - LITERAL_ENDS.1), with: GAP }
    });
    let before = edits.partition_point(|edit| edit.bytes.end <= shown.start);
    let on_line = edits[before..].iter().take_while(|edit| edit.bytes.start < shown.end).cloned();
    Edit::apart(on_line.chain(cuts).collect())
}

/// The text, or its head and tail with a gap between where it is longer than `most` characters.
pub(crate) fn shorten(text: &str, most: usize, (head, tail): (usize, usize)) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_owned();
    }
    let head: String = text.chars().take(head).collect();
    let tail: String = text.chars().skip(count - tail.min(count)).collect();
    format!("{}{GAP}{tail}", head.trim_end())
}
